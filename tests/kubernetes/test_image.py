"""The image, as far as it can be looked at without building it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.manifests import serve_config
from tests.kubernetes.manifests import K8S, OVERLAYS, ROOT

DOCKERFILE = (K8S / "Dockerfile").read_text()
COPIED = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([program, K8S / "Dockerfile"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_everything_that_is_copied_is_in_the_context() -> None:
    """``.dockerignore`` shuts all out but what is named."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for line in COPIED for source in line.split()}
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_both_targets_end_as_nobody_special() -> None:
    for target in ("cpu", "gpu"):
        stage = re.split(r"^FROM .* AS ", DOCKERFILE, flags=re.MULTILINE)
        (text,) = (one for one in stage if one.startswith(f"{target}\n"))
        assert text.rstrip().endswith("USER 1000:1000")


def test_what_the_probes_need_is_installed() -> None:
    assert re.search(r"apt-get install .*\bbash\b.*\bwget\b", DOCKERFILE)


def test_packages_come_from_locks_with_hashes_and_no_secret_is_an_argument() -> None:
    installs = re.findall(r"pip (?:install|wheel) .*", DOCKERFILE)
    assert all("--no-deps" in line for line in installs)
    assert all("--require-hashes" in line for line in installs if "-r " in line)
    # By version: what builds the wheel, and torch's CPU build, whose index is not the lock's.
    by_name = {line.split()[-2] for line in installs if "==" in line}
    assert by_name == {"setuptools==78.1.1", "torch==2.13.0"}
    assert not re.search(r"^(ARG|ENV) .*(TOKEN|PASSWORD|SECRET|KEY)\b", DOCKERFILE, re.MULTILINE)


def test_the_packages_can_be_built_from_what_is_copied(tmp_path: Path) -> None:
    """The step ``pip install .``, in a folder that holds what the image holds."""
    for line in COPIED:
        for source in line.split():
            if (tmp_path / source).exists():
                continue
            target = tmp_path / source
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-r", ROOT / source, target], check=True)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('out'))"
    (tmp_path / "out").mkdir()
    result = subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (wheel,) = (tmp_path / "out").glob("*.whl")
    listing = subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True)
    for name in ("app/stores/lua/admit.lua", "deployments/build.py", "entry_points.txt"):
        assert name in listing.stdout


def test_the_gpu_image_has_a_compiler_for_triton() -> None:
    (stage,) = (one for one in re.split(r"^FROM .* AS ", DOCKERFILE, flags=re.MULTILINE) if one.startswith("gpu\n"))
    assert re.search(r"apt-get install .*\bgcc\b.*\blibc6-dev\b", stage)


@pytest.mark.parametrize("overlay", [overlay for overlay in OVERLAYS if overlay.startswith("prod")])
def test_the_readme_bakes_in_every_model_of_an_overlay(overlay: str) -> None:
    text = (K8S / "README.md").read_text()
    for model in serve_config(K8S / "overlays" / overlay)["applications"][0]["args"]["models"]:
        assert f"{model['source']['huggingface']}@{model['source']['revision']}" in text


def test_models_are_baked_in_by_commit_only() -> None:
    command = [sys.executable, K8S / "fetch-models.py", "BAAI/bge-base-en-v1.5@main"]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HOME": "/nowhere"}
    )
    assert result.returncode == 1
    assert "owner/name@commit" in result.stderr
