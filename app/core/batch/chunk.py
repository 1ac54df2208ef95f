"""Chunks of a batch: the unit of work, of retry and of what is kept. Pure.

What goes in is one object, the lines with their numbers; what comes out is one object: a head that
says what was held for which line, the lines of the output file, and those of the error file.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

MAX_LINES = 256
"""Enough to fill several steps of an engine, and to spread the cost of what is done once a chunk."""

MAX_INPUTS = 2048
"""Of a chunk with more than one line; a line may have as many by itself."""

MAX_BYTES = 1024 * 1024
"""Of a chunk with more than one line."""


@dataclass(frozen=True, slots=True)
class InputLine:
    """A line of the input file; ``number`` counts from 1, empty lines included."""

    number: int
    text: bytes


class ChunkCutter:
    """Gathers lines into chunks."""

    def __init__(self) -> None:
        self._lines: list[InputLine] = []
        self._inputs = 0
        self._bytes = 0

    def add(self, line: InputLine, inputs: int) -> bytes | None:
        """Add a line; gives the chunk before it, when that one is full."""
        is_full = self._lines and (
            len(self._lines) >= MAX_LINES
            or self._inputs + inputs > MAX_INPUTS
            or self._bytes + len(line.text) > MAX_BYTES
        )
        chunk = self.rest() if is_full else None
        self._lines.append(line)
        self._inputs += inputs
        self._bytes += len(line.text)
        return chunk

    def rest(self) -> bytes | None:
        """What is gathered, as a chunk; None when that is nothing."""
        lines, self._lines, self._inputs, self._bytes = self._lines, [], 0, 0
        return dump_lines(lines) if lines else None


def dump_lines(lines: Sequence[InputLine]) -> bytes:
    """A chunk's input: each line behind its number."""
    return b"".join(b"%d %b\n" % (line.number, line.text) for line in lines)


def load_lines(chunk: bytes) -> list[InputLine]:
    """Undo :func:`dump_lines`."""
    pairs = (line.split(b" ", 1) for line in chunk.split(b"\n") if line)
    return [InputLine(int(number), text) for number, text in pairs]


class LineHold(msgspec.Struct, frozen=True, array_like=True):
    """What may be held for a line: enough to hold it again. It is captured when the line succeeded, else undone.

    ``tokens`` are those that are charged: an item that a line repeats is free.
    """

    number: int
    tokens: int
    user: str | None
    succeeded: bool


class ChunkHead(msgspec.Struct, frozen=True):
    """What became of a chunk."""

    completed: int
    failed: int
    holds: tuple[LineHold, ...]
    output_bytes: int
    total_tokens: int = 0
    """Of the lines that succeeded, repeated items included."""

    @property
    def charged_tokens(self) -> int:
        """Of the lines that succeeded."""
        return sum(hold.tokens for hold in self.holds if hold.succeeded)


@dataclass(frozen=True, slots=True)
class ChunkResults:
    """What became of a chunk, with its part of the output file and of the error file."""

    head: ChunkHead
    output: bytes
    errors: bytes

    @classmethod
    def of(
        cls, holds: Sequence[LineHold], output: Sequence[bytes], errors: Sequence[bytes], *, total_tokens: int = 0
    ) -> "ChunkResults":
        """From lines that each end with a line break."""
        joined = b"".join(output)
        head = ChunkHead(len(output), len(errors), tuple(holds), len(joined), total_tokens)
        return cls(head, joined, b"".join(errors))


def dump_results(results: ChunkResults) -> bytes:
    """As one object."""
    return b"%b\n%b%b" % (msgspec.json.encode(results.head), results.output, results.errors)


def load_results(content: bytes) -> ChunkResults:
    """Undo :func:`dump_results`."""
    start = content.index(b"\n") + 1
    head = msgspec.json.decode(content[: start - 1], type=ChunkHead)
    middle = start + head.output_bytes
    return ChunkResults(head, content[start:middle], content[middle:])


def line_digest(batch_id: str, number: int) -> str:
    """What ids of a line are made of: the same whoever works on it. Whoever knows the batch's id can tell them."""
    return hashlib.blake2b(f"{batch_id}/{number}".encode(), digest_size=12).hexdigest()
