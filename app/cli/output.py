"""How commands answer: tables for people, JSON for programs (``--json``, anywhere on the line)."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

JSON_OPTION = "--json"

console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)

_choice = {"json": False}


def choose(arguments: Sequence[str]) -> list[str]:
    """Note whether JSON is asked for; the arguments without that."""
    before_end = arguments[: arguments.index("--")] if "--" in arguments else arguments
    _choice["json"] = JSON_OPTION in before_end
    left = list(arguments)
    if _choice["json"]:
        left.remove(JSON_OPTION)
    return left


def is_json() -> bool:
    """Whether JSON is asked for."""
    return _choice["json"]


def remark(sentence: str) -> None:
    """Something that must be known whatever becomes of the command; for programs on standard error."""
    if is_json():
        sys.stderr.write(sentence + "\n")
    say(sentence)


def show_json(value: object) -> None:
    """One JSON document on one line."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")


def show_fields(fields: Mapping[str, Any]) -> None:
    """A thing, a field a line; or an object."""
    if is_json():
        show_json(fields)
        return
    for name, value in fields.items():
        console.print(f"{name:>12}  {text_of(value)}", soft_wrap=True, markup=False)


def show_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Things, a row each, of the named columns; or an array of whole objects."""
    if is_json():
        show_json(list(rows))
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(text_of(row.get(column))) for column in columns))
    console.print(table, soft_wrap=True)


def say(sentence: str) -> None:
    """Something for people alone; programs read the result."""
    if not is_json():
        console.print(sentence, soft_wrap=True, markup=False)


def text_of(value: Any) -> str:
    """A value in a cell."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
