"""``embedgate config check`` on a folder of bad configurations, one for each rule.

The first line of each file says which line must be named and what must be said.
"""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.config import check_file
from app.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
BAD = sorted((Path(__file__).parent / "bad_configs").glob("*.yaml"))


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_each_mistake_is_named_by_line(path: Path) -> None:
    expected = re.match(r"# line (\d+): (.*)", path.read_text())
    assert expected is not None
    line, says = int(expected[1]), expected[2]
    problems = check_file(path)
    assert [p for p in problems if p.line == line and says in p.message], "\n".join(map(str, problems))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configurations_are_good(path: Path) -> None:
    assert check_file(path) == []


def test_the_command_names_file_and_line_and_fails() -> None:
    result = CliRunner().invoke(cli, ["config", "check", str(BAD[0]), str(ROOT / "configs")])
    assert result.exit_code == 1
    assert f"{BAD[0]}:" in result.output
    assert "serve.yaml: ok" in result.output


def test_every_knob_is_explained() -> None:
    result = CliRunner().invoke(cli, ["config", "explain"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    knobs = [
        i
        for i, line in enumerate(lines)
        if re.match(r"^ *[a-z_]+( = .*| \(required\))?$", line) and len(line) - len(line.lstrip()) < 8
    ]
    assert len(knobs) > 40
    for place in knobs:
        if not re.match(r"^ {4,}\S+ \S+ \S+", lines[place]):
            assert lines[place + 1].startswith(" " * (len(lines[place]) - len(lines[place].lstrip()) + 4)), lines[place]


def test_the_settings_survive_serve_and_back() -> None:
    from app.core.settings import Settings
    from app.core.settings.check import check_text
    from app.core.settings.serve_file import ServeFile

    for path in (ROOT / "configs/serve.yaml", ROOT / "configs/serve.gpu.yaml"):
        file, _ = check_text(path.read_text(), ServeFile)
        assert file is not None
        settings = file.applications[0].args
        assert Settings.model_validate(settings.model_dump(mode="json")) == settings
