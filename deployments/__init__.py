"""The composition root: the only code that imports Ray or vLLM."""
