"""Shared libraries that child processes are started with, where this machine has them."""

import sys
from ctypes.util import find_library
from pathlib import Path

import ray


def jemalloc() -> Path | None:
    """The allocator that Redis and Valkey are built with as a rule, from Ray's own wheel.

    The Valkey of the embedded Redis' wheel is built with the C library's, which looks for each new piece of
    memory among the scattered pieces that became free: with many open holds an admission takes half as long again.
    """
    library = Path(ray.__file__).parent / "core" / "libjemalloc.so"
    return library if library.is_file() else None


def engine_libraries() -> list[str]:
    """For an engine on a CPU: Intel's OpenMP from its wheel; tcmalloc where the machine has it, else jemalloc.

    Paths of the deploying machine; a node without one of these files runs without it, and its linker says so.
    """
    openmp = Path(sys.prefix) / "lib" / "libiomp5.so"
    libraries = [str(openmp)] if openmp.is_file() else []
    if allocator := find_library("tcmalloc_minimal") or jemalloc():
        libraries.append(str(allocator))
    return libraries
