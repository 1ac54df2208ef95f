"""Documents say nothing of what is not there, and the references are as the code is."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main

from app.api.error_causes import CAUSES
from app.api.errors import ENGINE_RULES, INTERNAL, RULES
from app.api.reference import WRITTEN
from app.core.metric_names import METRICS
from app.core.settings import Settings
from app.core.settings.explain import explain
from app.documents import FOLDER
from deployments.command import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    *FOLDER.glob("*.md"),
    ROOT / "README.md",
    ROOT / ".github/CONTRIBUTING.md",
    *(ROOT / "app").glob("*/README.md"),
]
_FILE = re.compile(r"`((?:app|deployments|configs|tests|k8s|\.github)/[\w./-]+)`")
_COMMAND = re.compile(r"embedgate ((?:[a-z-]+ ?)+)")
_METRIC = re.compile(r"`(embedgate_\w+)`")
_KNOB = re.compile(r"`((?:gateway|engine|replicas|cache|journal|ledger|files|batches|tracing|prices)\.[\w.]+)")


@pytest.mark.parametrize("name", WRITTEN)
def test_references_are_as_the_code_is(name: str) -> None:
    assert (FOLDER / name).read_text() == WRITTEN[name](), "run 'make documents'"


def test_each_code_has_a_cause_and_no_cause_is_left_over() -> None:
    rules = (*RULES.values(), *ENGINE_RULES.values(), INTERNAL)
    assert {code for rule in rules for code in (rule.scoped_code, rule.bare_code)} == set(CAUSES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    missing = [name for name in _FILE.findall(text) if not (ROOT / name.rstrip(".")).exists()]
    missing += [name for name in _METRIC.findall(text) if name not in {metric.name for metric in METRICS}]
    missing += [name for name in _KNOB.findall(text) if not _is_knob(name)]
    missing += [words for words in _COMMAND.findall(text) if not _is_command(words.split())]
    missing += [link for link in _links(text) if not (page.parent / link).exists()]
    assert not missing


def _links(text: str) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" not in target and not target.startswith(("#", "/")):
            yield target.partition("#")[0]


def _is_knob(name: str) -> bool:
    parts = tuple(name.rstrip(".").split("."))
    if parts[-1] in ("md", "py", "json", "yaml"):
        return True
    return any(knob.path[-len(parts) :] == parts for knob in explain(Settings))


def _is_command(words: list[str]) -> bool:
    """Whether the first words name a command; what follows are its arguments."""
    group: click.Command = typer.main.get_command(cli)
    for word in words:
        if not isinstance(group, click.Group):
            return True
        found = group.commands.get(word)
        if found is None:
            return False
        group = found
    return True
