"""House rules that a tool can check."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("app/**/*.py"), *ROOT.glob("deployments/**/*.py")])
PACKAGES = sorted({path.parent for path in SOURCES})


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 70, node.name


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_package_has_a_readme(package: Path) -> None:
    readme = package / "README.md"
    assert readme.is_file()
    assert "does not promise" in readme.read_text().lower()


def test_every_metric_in_use_is_declared() -> None:
    from app.core import metric_names

    declared = {metric.name for metric in metric_names.METRICS}
    constants = {
        value for value in vars(metric_names).values() if isinstance(value, str) and value.startswith("embedgate_")
    }
    assert constants == declared
    used = "".join(path.read_text() for path in SOURCES if path.name != "metric_names.py")
    for name, value in vars(metric_names).items():
        if isinstance(value, str) and value in declared:
            assert f"names.{name}" in used, f"{name} is declared and never recorded"


def test_locks_leave_out_what_the_service_never_imports() -> None:
    from importlib.metadata import distributions

    lock = (ROOT / "requirements.lock").read_text()
    active = [line.split("==")[0] for line in lock.splitlines() if "==" in line and "== 'never'" not in line]
    for package in ("torchvision", "torchaudio", "torchcodec", "sentence-transformers", "numba", "triton"):
        assert package not in active
    installed = {d.metadata["Name"].lower() for d in distributions()}
    assert not installed & {"torchvision", "torchaudio", "torchcodec"}
