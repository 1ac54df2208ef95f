"""``embedgate config …``: configuration files, offline."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from app.cli.output import is_json, say, show_json
from app.core.settings import Settings
from app.core.settings.check import Problem, check_text
from app.core.settings.serve_file import ServeFile
from app.core.settings.tenants import ProjectsFile

config_app = typer.Typer(help="Configuration files, offline: check, explain.", no_args_is_help=True)


@config_app.command()
def check(paths: list[Path]) -> None:
    """Validate Serve and projects files; names the line of every mistake. Folders are searched for YAML."""
    found = {path: check_file(path) for path in _files(paths)}
    if is_json():
        show_json({str(path): [asdict(problem) for problem in problems] for path, problems in found.items()})
    for path, problems in found.items():
        for problem in problems:
            say(f"{path}:{problem.line}: {problem.path + ': ' if problem.path else ''}{problem.message}")
        if not problems:
            say(f"{path}: ok")
    if any(found.values()):
        raise typer.Exit(1)


@config_app.command()
def explain() -> None:
    """Print every knob under ``args`` with its default and meaning."""
    if is_json():
        show_json(Settings.model_json_schema())
        return
    for line in _explain(Settings, ""):
        typer.echo(line)


def check_file(path: Path) -> list[Problem]:
    """Problems of one file; a file with ``projects`` at its top is a projects file, others are Serve's."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        return [Problem(1, "", f"cannot be read: {error}")]
    kind = ProjectsFile if any(line.startswith("projects:") for line in text.splitlines()) else ServeFile
    _, problems = check_text(text, kind)
    return problems


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")])
        else:
            yield path


def _explain(model: type[BaseModel], indent: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        default = "" if inner or field.default is PydanticUndefined else f" = {field.default!r}"
        required = " (required)" if field.is_required() else ""
        yield f"{indent}{name}{default}{required}"
        for line in (field.description or "").splitlines():
            yield f"{indent}    {line.strip()}"
        if inner:
            yield from _explain(inner, indent + "  ")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_in(argument))), None)
