"""Everything of Embedgate that is neither Ray nor vLLM."""
