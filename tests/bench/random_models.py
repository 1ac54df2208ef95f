"""Models of a real architecture with random weights: what a bench of speed needs, and no hub."""

import json
import shutil
from pathlib import Path

from tests.bench.systems import minilm_folder

SIZES = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128},
    "bge-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "bge-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
MAX_TOKENS = 512


def make(name: str, folder: Path, *, tokenizer_of: Path | None = None) -> Path:
    """A folder that vLLM loads as it loads the published model of this shape.

    Args:
        name: of ``SIZES``.
        folder: where it is made.
        tokenizer_of: a model with BERT's vocabulary; MiniLM when left out.
    """
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=30_522, max_position_embeddings=MAX_TOKENS, **SIZES[name]))
    model.to(torch.bfloat16).save_pretrained(folder)
    source = tokenizer_of or minilm_folder()
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(source / file, folder / file)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": SIZES[name]["hidden_size"], "pooling_mode_cls_token": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": MAX_TOKENS, "do_lower_case": True}))
    return folder


def flop_per_token(name: str, tokens: int) -> float:
    """Floating-point operations for one token in a text of so many: products with weights, and attention."""
    size = SIZES[name]
    hidden, layers, inner = size["hidden_size"], size["num_hidden_layers"], size["intermediate_size"]
    return 2.0 * layers * (4 * hidden**2 + 2 * hidden * inner) + 4.0 * layers * tokens * hidden
