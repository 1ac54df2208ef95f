"""The one tree of errors that this service raises on purpose.

::

    EmbedgateError
    ├── InvalidRequest            the body breaks the contract
    │   ├── InvalidValue          a field has none of the values that it may have
    │   └── InvalidType           a field is of another type
    ├── ModelNotEmbedding         the endpoint is not for embeddings
    ├── Unauthenticated           missing, malformed, unknown, revoked or expired credential
    ├── NotFound
    │   ├── EndpointNotFound      no such endpoint, or none that serves the model
    │   └── RouteNotFound         no such route or resource
    ├── MethodNotAllowed
    ├── RangeNotSatisfiable       the range of bytes lies outside of the file
    ├── Conflict                  the resource exists already, or is in another state
    ├── RequestTooLarge           the body is over the bound
    ├── PaymentRequired
    │   ├── InsufficientQuota     the hold does not fit the balance
    │   ├── BillingDelinquent     the project is past due
    │   └── BudgetExceeded        the month's token or money budget is spent
    ├── RateLimited               over the request or token rate
    ├── DeadlineExceeded          no vector before the deadline
    ├── Misconfigured             the operator's configuration cannot work
    │   ├── ModelNotDeployed      the endpoint names a model that no deployment serves
    │   ├── UnknownTier           the endpoint's own tier is unknown
    │   └── InvalidModelId        the endpoint's model id cannot be parsed
    ├── EngineError               the engine failed; see ``EngineFault`` for the classes
    ├── InvalidEngineReply        the replica's reply cannot be decoded
    ├── HoldConflict              a hold's id was used for something else; a bug of ours
    └── Unavailable               try again later
        ├── EndpointInactive      switched off by its owner
        ├── ModelProvisioning     no replica is ready yet
        ├── CapacityExceeded      shed
        └── DependencyDown        Redis does not answer
            └── NotAsked          nor was it asked

How each becomes an HTTP answer stands in ``app.api.errors``, once. A message says what to do
next and never repeats a secret or the input.
"""

from enum import StrEnum

from app.core.rates import Rates


class EmbedgateError(Exception):
    """Base of the tree.

    Args:
        message: one sentence for the caller.
        param: the request field at fault, where one is.
        retry_after_s: when to come back, 1 to 60, where waiting helps.
    """

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        if retry_after_s is not None and not 1 <= retry_after_s <= 60:
            raise ValueError(f"retry_after_s must be 1..60, got {retry_after_s}. This is a bug.")
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class InvalidRequest(EmbedgateError):
    """The body breaks the contract."""


class InvalidValue(InvalidRequest):
    """A field has none of the values that it may have."""


class InvalidType(InvalidRequest):
    """A field is of another type."""


class ModelNotEmbedding(EmbedgateError):
    """The endpoint's task mode is not "embed"."""


class Unauthenticated(EmbedgateError):
    """Missing, malformed, unknown, revoked or expired credential, or one of another project."""


class NotFound(EmbedgateError):
    """Something named by the caller does not exist."""


class EndpointNotFound(NotFound):
    """No such endpoint, or no endpoint of the project serves the model."""


class RouteNotFound(NotFound):
    """No such route or resource."""


class MethodNotAllowed(EmbedgateError):
    """The route exists, the method does not."""

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class RangeNotSatisfiable(EmbedgateError):
    """The range of bytes lies outside of the file."""

    def __init__(self, message: str, *, size_bytes: int) -> None:
        super().__init__(message)
        self.size_bytes = size_bytes


class Conflict(EmbedgateError):
    """The resource exists already, or is in another state."""


class RequestTooLarge(EmbedgateError):
    """The body is over the bound."""


class PaymentRequired(EmbedgateError):
    """The project cannot pay for the request."""


class InsufficientQuota(PaymentRequired):
    """The hold does not fit the balance."""


class BillingDelinquent(PaymentRequired):
    """The project is past due."""


class BudgetExceeded(PaymentRequired):
    """The month's token or money budget is spent."""


class RateLimited(EmbedgateError):
    """Over the request or token rate.

    Args:
        message: one sentence for the caller.
        wait_us: until the request would be let in, if nothing else came; None when it never would.
        rates: where the caller stands.
    """

    def __init__(self, message: str, *, wait_us: int | None, rates: Rates) -> None:
        wait_s = 60 if wait_us is None else min(60, max(1, -(-wait_us // 1_000_000)))
        super().__init__(message, retry_after_s=wait_s)
        self.wait_us = wait_us
        self.rates = rates


class DeadlineExceeded(EmbedgateError):
    """No vector before the deadline."""


class Misconfigured(EmbedgateError):
    """The operator's configuration cannot work."""


class ModelNotDeployed(Misconfigured):
    """The endpoint names a model that no deployment serves."""


class UnknownTier(Misconfigured):
    """The endpoint's configured tier is unknown."""


class InvalidModelId(Misconfigured):
    """The endpoint's model id cannot be parsed."""


class EngineFault(StrEnum):
    """Classes of engine failure, by what a caller can do about them."""

    BAD_INPUT = "bad_input"
    OVERLOADED = "overloaded"
    OUT_OF_MEMORY = "out_of_memory"
    DEAD = "dead"
    OTHER = "other"


class EngineError(EmbedgateError):
    """The engine failed in one of the ways of :class:`EngineFault`."""

    def __init__(self, message: str, *, fault: EngineFault, retry_after_s: int | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.fault = fault


class InvalidEngineReply(EmbedgateError):
    """The replica's reply cannot be decoded as vectors of the model."""


class HoldConflict(EmbedgateError):
    """A hold's id was used for something else."""


class Unavailable(EmbedgateError):
    """Try again later; ``retry_after_s`` says when."""

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class EndpointInactive(Unavailable):
    """Switched off by its owner."""


class ModelProvisioning(Unavailable):
    """No replica of the model is ready yet."""


class CapacityExceeded(Unavailable):
    """Shed: the wait would be longer than the tier allows."""


class DependencyDown(Unavailable):
    """Redis does not answer."""


class NotAsked(DependencyDown):
    """Redis did not answer a moment ago, and was not asked again: nothing happened there."""
