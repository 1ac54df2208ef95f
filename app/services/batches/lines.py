"""The lines of one chunk on their way from text to an answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.core.batch.chunk import ChunkResults, InputLine, LineHold, line_digest
from app.core.batch.state import Closing
from app.core.embedding_request import EmbeddingRequest
from app.core.errors import EmbedgateError
from app.core.packing import TokenIds, Vector, cut
from app.services.batches.ports import LineCodec, LineName, LineVectors
from app.services.model_runtime import TokenizedInput

NOT_EXECUTED: Mapping[Closing, tuple[str, str]] = {
    "cancelled": ("batch_cancelled", "This request was not executed: the batch was cancelled."),
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "unpaid": ("insufficient_quota", "This request was not executed: the project's credit or budget ran out."),
}
"""Code and message of lines that nobody worked on."""


@dataclass(slots=True, eq=False)
class ChunkLine:
    """One line.

    Attributes:
        items: what is computed, each once.
        places: of each input among the items.
        total_tokens: of all inputs.
        hold: what its request costs; None before that is known.
        error: the answer, when it is an error.
        vectors: the answer, when it is one.
    """

    name: LineName
    number: int
    request: EmbeddingRequest | None = None
    dimensions: int = 0
    items: Sequence[TokenIds] = ()
    places: Sequence[int] = ()
    total_tokens: int = 0
    hold: LineHold | None = None
    is_held: bool = False
    error: EmbedgateError | None = None
    vectors: Sequence[Vector] = field(default=())

    @property
    def is_open(self) -> bool:
        """Whether it is to be computed."""
        return self.is_held and self.error is None and not self.vectors


def name_of(batch_id: str, number: int, custom_id: str) -> LineName:
    """How a line names itself, whoever writes it."""
    digest = line_digest(batch_id, number)
    return LineName(f"batch_req_{digest}", custom_id, f"req_{digest}")


def read_lines(
    batch_id: str,
    lines: Sequence[InputLine],
    codec: LineCodec,
    tokenize: Callable[[EmbeddingRequest], tuple[TokenizedInput, int]],
) -> list[ChunkLine]:
    """Parse and tokenize the lines of a chunk; a line that is wrong fails alone. Takes its time: run it in a thread.

    Args:
        batch_id: for names.
        lines: of the chunk.
        codec: knows the wire.
        tokenize: the items of a request, and the size of its vectors.
    """
    read = []
    for line in lines:
        custom_id, body = codec.read(line.text)
        one = ChunkLine(name_of(batch_id, line.number, custom_id), line.number)
        read.append(one)
        try:
            one.request = codec.parse(body)
            tokenized, one.dimensions = tokenize(one.request)
        except EmbedgateError as error:
            one.error = error
            continue
        unique = {item.tobytes(): item for item in tokenized.items}
        place_of = {key: place for place, key in enumerate(unique)}
        one.items = list(unique.values())
        one.places = [place_of[item.tobytes()] for item in tokenized.items]
        one.total_tokens = tokenized.total_tokens
        one.hold = LineHold(line.number, sum(map(len, one.items)), one.request.user, succeeded=False)
    return read


def write_lines(
    lines: Sequence[ChunkLine], codec: LineCodec, *, model_id: str, closing: Closing | None
) -> ChunkResults:
    """What became of a chunk. Takes its time: run it in a thread.

    Args:
        lines: with their answers.
        codec: knows the wire.
        model_id: that answered.
        closing: why lines without an answer have none.
    """
    holds, output, errors, total_tokens = [], [], [], 0
    for line in lines:
        if line.vectors:
            assert line.request is not None and line.hold is not None
            sized = [cut(vector, line.dimensions) for vector in line.vectors]
            vectors = [sized[place] for place in line.places]
            cached_tokens = line.total_tokens - line.hold.tokens
            answer = LineVectors(line.request, vectors, model_id, line.total_tokens, cached_tokens)
            output.append(codec.success(line.name, answer))
            total_tokens += line.total_tokens
        elif line.error is not None:
            errors.append(codec.failure(line.name, line.error))
        else:
            errors.append(codec.not_executed(line.name, *NOT_EXECUTED[closing or "expired"]))
        if (hold := line.hold) is not None:  # refused ones too: another worker may have found credit for them
            holds.append(LineHold(hold.number, hold.tokens, hold.user, succeeded=bool(line.vectors)))
    return ChunkResults.of(holds, output, errors, total_tokens=total_tokens)


def not_executed(batch_id: str, lines: Sequence[InputLine], codec: LineCodec, closing: Closing) -> ChunkResults:
    """A chunk that is given up; whatever may be held for its lines is given back with it."""
    errors = [
        codec.not_executed(name_of(batch_id, line.number, codec.read(line.text)[0]), *NOT_EXECUTED[closing])
        for line in lines
    ]
    holds = [LineHold(line.number, 0, None, succeeded=False) for line in lines]
    return ChunkResults.of(holds, [], errors)
