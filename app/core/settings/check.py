"""The offline check of a configuration: every problem with its line, and what to do about it."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

M = TypeVar("M", bound=BaseModel)

_UNITS = {"_ms": "milliseconds", "_s": "seconds", "_bytes": "bytes", "_tokens": "tokens"}
_WITH_UNIT = re.compile(r"^\s*[\d._]+\s*[A-Za-z]+\s*$")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where; ``line`` counts from 1."""

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        """One line, as an editor reads it behind the file's name."""
        return f"line {self.line}: {self.path}: {self.message}" if self.path else f"line {self.line}: {self.message}"


def check_text(text: str, model: type[M]) -> tuple[M | None, list[Problem]]:
    """Parse YAML and validate it against a settings model.

    Returns:
        The settings and no problems, or None and all problems in order of line.
    """
    yaml = YAML(typ="rt")
    yaml.allow_duplicate_keys = False
    try:
        document = yaml.load(text)
    except ReaderError as error:
        return None, [Problem(1, "", f"not valid YAML: {str(error).splitlines()[0]}")]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        return None, [Problem(line, "", f"not valid YAML: {error.problem or error.context}")]
    if not isinstance(document, CommentedMap):
        return None, [Problem(1, "", "the file must be a mapping of settings")]
    try:
        return model.model_validate(_plain(document)), []
    except ValidationError as error:
        details = error.errors(include_url=False)
        places = [detail["loc"] for detail in details]
        # A list that lost its only item to a mistake inside of it is not the mistake.
        real = [d for d in details if not (d["type"] == "too_short" and _has_deeper(places, d["loc"]))]
        problems = [_problem(detail, document, model) for detail in real]
        return None, sorted(problems, key=lambda p: p.line)


def _has_deeper(places: Sequence[tuple[int | str, ...]], place: tuple[int | str, ...]) -> bool:
    return any(len(other) > len(place) and other[: len(place)] == place for other in places)


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):  # ruamel's scalars are subclasses
        if isinstance(node, kind):
            return kind(node)
    return node


def _problem(detail: ErrorDetails, document: CommentedMap, model: type[BaseModel]) -> Problem:
    location = detail["loc"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return Problem(_line_of(document, location), path, _message(detail, model))


def _line_of(document: CommentedMap, location: Sequence[int | str]) -> int:
    """The line of the deepest part of the location that the file has."""
    node: Any = document
    line = int(document.lc.line)
    for part in location:
        try:
            if isinstance(node, CommentedMap) and part in node:
                line = node.lc.key(part)[0]
            elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
                line = node.lc.item(part)[0]
            else:
                break
        except (KeyError, TypeError):
            break
        node = node[part]
    return line + 1


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    given = detail.get("input")
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(last, _fields_at(model, detail["loc"][:-1]))
        case "missing":
            return f"'{last}' is required"
        case kind if kind.startswith(("int", "float")) and isinstance(given, str) and _WITH_UNIT.match(given):
            unit = next((word for suffix, word in _UNITS.items() if last.endswith(suffix)), "its unit")
            return f"'{given}' carries a unit; write a plain number of {unit}"
        case _:
            return detail["msg"].removeprefix("Value error, ")


def _unknown_key(key: str, fields: Sequence[str]) -> str:
    stem = re.sub(r"_(ms|s|seconds|minutes|bytes|mb|kb|tokens)$", "", key)
    same_stem = [name for name in fields if re.sub(r"_(ms|s|bytes|tokens)$", "", name) == stem]
    close = same_stem or difflib.get_close_matches(key, fields, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else f"; known here: {', '.join(sorted(fields))}"
    return f"unknown key '{key}'{hint}"


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Names of the fields where an unknown key was found."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part)
        current = _model_in(field.annotation) if field else None
        if current is None:
            return []
    return list(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
