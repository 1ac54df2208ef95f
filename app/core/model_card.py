"""What the gateway must know of a model to serve it, and which requests fit it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.core.errors import InvalidRequest

MODEL_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
_MODEL_ID_RE = re.compile(MODEL_ID_PATTERN)


def is_model_id(text: str) -> bool:
    """Whether ``text`` can name a model: ``name`` or ``org/name``."""
    return _MODEL_ID_RE.match(text) is not None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A deployed model.

    Attributes:
        model_id: public name.
        revision: pins weights and tokenizer; part of every cache key.
        dimensions: native size of a vector.
        max_input_tokens: longest input, special tokens included.
        vocabulary_size: token ids lie in ``0 <= id < vocabulary_size``.
        trained_dimensions: sizes that the model was trained to be cut to; native excluded.
        prompts: text put before the input, by ``input_type``.
    """

    model_id: str
    revision: str
    dimensions: int
    max_input_tokens: int
    vocabulary_size: int
    trained_dimensions: frozenset[int] = frozenset()
    prompts: Mapping[str, str] = field(default_factory=dict)

    def check_dimensions(self, wanted: int | None) -> int:
        """The size to answer with.

        Raises:
            InvalidRequest: the model was not trained for the wanted size.
        """
        if wanted is None or wanted == self.dimensions:
            return self.dimensions
        if wanted in self.trained_dimensions:
            return wanted
        sizes = sorted({*self.trained_dimensions, self.dimensions})
        if len(sizes) == 1:
            raise InvalidRequest(
                f"This model's vectors have {self.dimensions} dimensions and cannot be cut; leave 'dimensions' out.",
                param="dimensions",
            )
        raise InvalidRequest(f"Invalid 'dimensions': this model offers {sizes}.", param="dimensions")
