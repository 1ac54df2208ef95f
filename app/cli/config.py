"""``embedgate config …``: configuration files, offline."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer

from app.cli.output import is_json, say, show_json
from app.core.settings import Settings
from app.core.settings.check import Problem, check_text
from app.core.settings.explain import explain as explain_knobs
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
    for knob in explain_knobs(Settings):
        indent = "  " * (len(knob.path) - 1)
        default = f" = {knob.default}" if knob.default is not None else ""
        typer.echo(f"{indent}{knob.path[-1]}{default}{' (required)' if knob.is_required else ''}")
        for line in knob.meaning:
            typer.echo(f"{indent}    {line}")


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
