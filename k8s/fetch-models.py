"""Puts models into the image, each by its commit: ``fetch-models.py owner/name@commit … [--tokenizers …]``."""

import argparse
import os
import re
import sys
from pathlib import Path

_PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")
_SMALL = ["*.json", "*.txt", "*/*.json"]
_WEIGHTS = ["*.safetensors"]


def main() -> None:
    """Fetch each model; a name without a commit is refused, as a push to the hub would change vectors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--tokenizers", nargs="*", default=[], help="models without their weights")
    given = parser.parse_args()
    wrong = [model for model in (*given.models, *given.tokenizers) if not _PINNED.fullmatch(model)]
    if wrong:
        sys.exit(f"each model is owner/name@commit, with all 40 digits: {', '.join(wrong)}")
    Path(os.environ["HF_HOME"]).mkdir(parents=True, exist_ok=True)
    for model in given.models:
        _fetch(model, [*_SMALL, *_WEIGHTS])
    for model in given.tokenizers:
        _fetch(model, _SMALL)


def _fetch(model: str, patterns: list[str]) -> None:
    from huggingface_hub import snapshot_download

    name, _, revision = model.partition("@")
    snapshot_download(name, revision=revision, allow_patterns=patterns)


if __name__ == "__main__":
    main()
