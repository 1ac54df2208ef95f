"""Puts models into the image: ``fetch-models.py BAAI/bge-base-en-v1.5@a5beb1e… …``, each by its commit."""

import os
import re
import sys
from pathlib import Path

_PINNED = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})")


def main() -> None:
    """Fetch each model; a name without a commit is refused, as a push to the hub would change vectors."""
    models = sys.argv[1:]
    wrong = [model for model in models if not _PINNED.fullmatch(model)]
    if wrong:
        sys.exit(f"each model is owner/name@commit, with all 40 digits: {', '.join(wrong)}")
    Path(os.environ["HF_HOME"]).mkdir(parents=True, exist_ok=True)
    for model in models:
        from huggingface_hub import snapshot_download

        name, _, revision = model.partition("@")
        snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.txt", "*.safetensors", "1_Pooling/*"])


if __name__ == "__main__":
    main()
