"""Guides and references, as Markdown."""

from pathlib import Path

FOLDER = Path(__file__).parent
