"""A model's files on this machine, and the card read from them."""

import hashlib
import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from app.core.model_card import ModelCard
from app.core.settings import ModelSettings

_TOKENIZER_FILES = ("*.json", "*.txt", "*.model")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model lies and what its files say. ``has_weights`` is false at a gateway."""

    folder: Path
    card: ModelCard


class ModelFilesError(Exception):
    """The files are missing or are not those of an embedding model; the message says which."""


def locate(settings: ModelSettings, *, weights: bool) -> ModelFiles:
    """Find a model's files, fetching them from the Hub where that is the source.

    Args:
        settings: names the source.
        weights: fetch the weights too; a gateway needs only the tokenizer and the configuration.

    Raises:
        ModelFilesError: the source does not exist or is no embedding model.
    """
    source = settings.source
    if source.package:
        folder = _package_folder(source.package)
        revision = f"{source.package}:{_fingerprint(folder)}"
    elif source.path:
        folder = Path(source.path)
        revision = f"path:{_fingerprint(folder)}"
    else:
        assert source.huggingface and source.revision, "settings are validated"
        folder = _hub_folder(source.huggingface, source.revision, weights=weights)
        revision = f"{source.huggingface}@{folder.name}"
    return ModelFiles(folder, read_card(folder, settings, revision))


def read_card(folder: Path, settings: ModelSettings, revision: str) -> ModelCard:
    """Read a model's card from ``config.json``, ``tokenizer.json`` and the sentence-transformers files.

    Raises:
        ModelFilesError: a file is missing or says nothing usable.
    """
    config = _json(folder / "config.json")
    if config is None or "hidden_size" not in config:
        raise ModelFilesError(f"{settings.id}: {folder} has no config.json with a hidden_size")
    own_limit = _own_limit(folder, config)
    tokenizer = load_tokenizer(folder)
    sentence_config = _json(folder / "config_sentence_transformers.json") or {}
    prompts = settings.prompts if settings.prompts is not None else _own_prompts(sentence_config)
    limit = settings.max_input_tokens or own_limit
    if limit > own_limit:
        raise ModelFilesError(f"{settings.id}: max_input_tokens is {limit}, but the model takes {own_limit} at most")
    dimensions = _dimensions(folder, config)
    if too_large := [size for size in settings.trained_dimensions if size >= dimensions]:
        raise ModelFilesError(f"{settings.id}: trained_dimensions {too_large} are not smaller than {dimensions}")
    return ModelCard(
        model_id=settings.id,
        revision=f"{revision}:{settings.engine.dtype}",
        dimensions=dimensions,
        max_input_tokens=limit,
        vocabulary_size=min(int(config.get("vocab_size", tokenizer.get_vocab_size())), tokenizer.get_vocab_size()),
        trained_dimensions=frozenset(settings.trained_dimensions),
        prompts=prompts,
    )


def load_tokenizer(folder: Path) -> Tokenizer:
    """The model's own fast tokenizer.

    Raises:
        ModelFilesError: there is none.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelFilesError(f"{folder} has no tokenizer.json; only models with a fast tokenizer are served")
    return Tokenizer.from_file(str(path))


def _package_folder(package: str) -> Path:
    try:
        return Path(importlib.import_module(package).get_model_path())
    except (ImportError, AttributeError) as error:
        raise ModelFilesError(f"the package {package} is not installed or has no get_model_path()") from error


def _hub_folder(model_id: str, revision: str, *, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = None if weights else [*_TOKENIZER_FILES, "*/*.json"]
    try:
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=patterns))
    except Exception as error:
        raise ModelFilesError(f"{model_id} at revision {revision} could not be fetched: {error}") from error


def _own_limit(folder: Path, config: dict[str, Any]) -> int:
    sentence = _json(folder / "sentence_bert_config.json") or {}
    limits = [sentence.get("max_seq_length"), config.get("max_position_embeddings")]
    known = [int(limit) for limit in limits if limit]
    if not known:
        raise ModelFilesError(f"{folder} does not say how long an input may be")
    return min(known)


def _dimensions(folder: Path, config: dict[str, Any]) -> int:
    """The size of a vector: a last Dense module's output, where there is one, else the hidden size."""
    for module in reversed(_json(folder / "modules.json") or []):
        if module.get("type", "").endswith("Dense"):
            dense = _json(folder / module["path"] / "config.json") or {}
            return int(dense["out_features"])
    return int(config["hidden_size"])


def _own_prompts(sentence_config: dict[str, Any]) -> dict[str, str]:
    prompts = sentence_config.get("prompts") or {}
    known = {"query": prompts.get("query"), "document": prompts.get("document") or prompts.get("passage")}
    return {name: text for name, text in known.items() if text}


def _fingerprint(folder: Path) -> str:
    """Changes with the model: names, sizes and the head of every file of weights and configuration."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".bin", ".json")):
        with path.open("rb") as file:
            digest.update(f"{path.name}:{path.stat().st_size}:".encode() + file.read(1 << 20))
    return digest.hexdigest()[:16]


def _json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else None
