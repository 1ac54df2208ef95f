"""Installs the locked dependencies into ``.venv``: standard library only, run by the machine's Python.

python3 deployments/local/install.py [--dev]
"""

import argparse
import hashlib
import itertools
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
TORCH_VERSION = "2.13.0"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
MIN_PYTHON = (3, 11)
MIN_FREE_BYTES = 6 * 1024**3
_PIP = ("-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-input", "--progress-bar", "off")
_COUNTED = re.compile(r"^\s*(Collecting|Downloading|Using cached)\s+(\S+)")


class InstallError(Exception):
    """One sentence that says what is missing."""


class Progress:
    """One line that changes on a terminal, and a line now and then elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._spinner = itertools.cycle("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
        self._last_s = 0.0

    def show(self, text: str, *, done: int = 0, total: int = 0) -> None:
        """Say what is being done."""
        now_s = time.monotonic()
        if now_s - self._last_s < (0.1 if self._is_terminal else 10):
            return
        self._last_s = now_s
        bar = f" {_bar(done, total)}" if total else ""
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\033[K{f'{next(self._spinner)}{bar} {text}'[:width]}")
        else:
            sys.stderr.write(f"{bar.strip()} {text}\n")
        sys.stderr.flush()

    def done(self, text: str) -> None:
        """A step is finished."""
        sys.stderr.write(f"\r\033[K✓ {text}\n" if self._is_terminal else f"{text}\n")
        sys.stderr.flush()
        self._last_s = 0.0


def install(*, dev: bool) -> None:
    """Make ``.venv`` hold exactly what the lock says; returns at once when it does.

    Raises:
        InstallError: the machine lacks something.
    """
    lock = ROOT / ("requirements-dev.lock" if dev else "requirements.lock")
    stamp = VENV / ".embedgate-install"
    wanted = _stamp(lock, dev=dev)
    installed = stamp.read_text().split() if stamp.exists() else []
    if wanted in installed or (not dev and _stamp(ROOT / "requirements-dev.lock", dev=True) in installed):
        return
    check_machine()
    progress = Progress()
    if not (VENV / "bin" / "pip").exists():  # pip comes last, so an interrupted creation is begun anew
        progress.show("creating .venv")
        venv.create(VENV, with_pip=True, clear=True)
    stamp.unlink(missing_ok=True)
    if _has_torch():
        progress.done("torch is in place")
    else:
        _run_pip([f"torch=={TORCH_VERSION}+cpu", "--extra-index-url", TORCH_CPU_INDEX], "torch", progress, total=2)
    total = sum(1 for line in lock.read_text().splitlines() if "==" in line and not line.startswith(" "))
    _run_pip(["--require-hashes", "-r", str(lock)], "packages", progress, total=2 * total)
    _run_pip(
        ["--no-build-isolation", "--config-settings", "editable_mode=compat", "-e", str(ROOT)], "embedgate", progress
    )
    stamp.write_text(wanted)


def check_machine() -> None:
    """Raise ``InstallError`` for a Python, a platform or a disk that cannot work."""
    if sys.version_info < MIN_PYTHON:
        wanted = ".".join(map(str, MIN_PYTHON))
        found = sys.version.split()[0]
        raise InstallError(f"Python {wanted} or later is needed, this is {found}: make PYTHON=python{wanted} serve")
    if not sys.platform.startswith("linux"):
        raise InstallError("vLLM's CPU build exists for Linux only; run this in a Linux container or virtual machine.")
    free = shutil.disk_usage(ROOT).free
    if free < MIN_FREE_BYTES:
        raise InstallError(f"{ROOT} has {free / 2**30:.1f} GB of free disk, of {MIN_FREE_BYTES >> 30} GB needed.")


def _run_pip(arguments: list[str], what: str, progress: Progress, *, total: int = 0) -> None:
    """Run pip and turn what it prints into progress.

    Raises:
        InstallError: it failed; names the last thing that it said.
    """
    began_s = time.monotonic()
    command = [str(VENV / "bin" / "python"), *_PIP, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    seen, complaints = 0, ["pip said nothing"]
    for line in process.stdout:
        if match := _COUNTED.match(line):
            seen += 1
            progress.show(f"fetching {match[2]}", done=min(seen, total), total=total)
        elif line.startswith("Installing collected"):
            progress.show(f"installing {what} (a minute or two)", done=total, total=total)
        elif line.startswith("ERROR"):
            complaints.append(line.strip())
    if process.wait() != 0:
        if any("No space left" in line for line in complaints):
            raise InstallError(f"the disk is full: {ROOT} needs {MIN_FREE_BYTES >> 30} GB.")
        raise InstallError(f"{what} could not be installed: {complaints[-1]}")
    progress.done(f"{what} installed in {time.monotonic() - began_s:.0f} s")


def _has_torch() -> bool:
    return any(VENV.glob(f"lib/python*/site-packages/torch-{TORCH_VERSION}*.dist-info"))


def _stamp(lock: Path, *, dev: bool) -> str:
    digest = hashlib.sha256(lock.read_bytes() + (ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode())
    return f"{'dev' if dev else 'run'}-{digest.hexdigest()[:20]}"


def _bar(done: int, total: int) -> str:
    filled = 20 * done // total
    return f"[{'█' * filled}{'·' * (20 - filled)}] {done}/{total}"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Install the locked dependencies into .venv.")
    parser.add_argument("--dev", action="store_true", help="also what the tests and checks need")
    try:
        install(dev=parser.parse_args().dev)
    except InstallError as error:
        sys.stderr.write(f"\nembedgate: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"\nembedgate: {'the disk is full' if error.errno == 28 else error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nembedgate: stopped; 'make serve' goes on from here.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
