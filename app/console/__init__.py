"""The console: files that gateways serve below ``/console``."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
