"""Every knob of a settings model, with its default and meaning."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined


@dataclass(frozen=True, slots=True)
class Knob:
    """One knob, or a group of them.

    Attributes:
        path: names from the outermost group on.
        default: as Python writes it; None for a group, or where there is none.
        is_required: whether it must be given.
        meaning: lines of text.
    """

    path: tuple[str, ...]
    default: str | None
    is_required: bool
    meaning: tuple[str, ...]


def explain(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Knob]:
    """All knobs of a model, groups before what is in them."""
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        has_default = not inner and field.default is not PydanticUndefined
        meaning = tuple(line.strip() for line in (field.description or "").splitlines())
        yield Knob((*path, name), repr(field.default) if has_default else None, field.is_required(), meaning)
        if inner:
            yield from explain(inner, (*path, name))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_in(argument))), None)
