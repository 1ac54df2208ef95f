"""The client of the examples, and texts as vectors."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openai import OpenAI

Matrix = NDArray[np.float32]


def connect() -> tuple[OpenAI, str]:
    """The client, and the model: of ``make serve`` in this folder, or of OPENAI_BASE_URL and OPENAI_API_KEY."""
    if "OPENAI_BASE_URL" in os.environ:
        client = OpenAI()
        return client, client.models.list().data[0].id
    dev = json.loads(Path(".embedgate/dev.json").read_text())
    return OpenAI(base_url=dev["base_url"], api_key=dev["api_key"]), dev["model"]


def embed(client: OpenAI, model: str, texts: list[str], **extra: Any) -> Matrix:
    """One row for each text, of length one. ``extra``: input_type, service_tier, truncate."""
    answer = client.embeddings.create(model=model, input=texts, extra_body=extra)
    return np.array([item.embedding for item in answer.data], dtype=np.float32)
