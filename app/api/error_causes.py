"""What each error code says of its cause, and what helps: the text behind ``app/documents/errors.md``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a code is answered, and what its reader can do. ``who`` is "caller" or "operator"."""

    why: str
    remedy: str
    who: str = "caller"


CAUSES = {
    "validation_error": Cause(
        "The body breaks the contract: a field is unknown, missing, empty, too long or too large. `param` names it.",
        "Correct the field. A text that is too long can be cut with `truncate`.",
    ),
    "invalid_input": Cause("As `validation_error`, on a scoped route.", "As there."),
    "invalid_value": Cause("A field has none of the values that it may have.", "The message lists them."),
    "invalid_type": Cause("A field is of another JSON type.", "The message names both."),
    "model_not_embedding": Cause(
        "The endpoint's task mode is not `embed`.", "Use an embedding endpoint, or have its task mode changed."
    ),
    "authentication_error": Cause(
        "The key is missing, malformed, unknown, revoked, expired or of another project (scoped routes).",
        "Send `Authorization: Bearer <key>` with a valid key. `embedgate key list` shows their state.",
    ),
    "invalid_api_key": Cause("As `authentication_error`, on `/v1` routes.", "As there."),
    "endpoint_not_found": Cause(
        "The path names no endpoint of this project.", "`embedgate endpoint list -p PROJECT` lists them."
    ),
    "model_not_found": Cause(
        "No endpoint of the key's project answers for `model`; or, as a 500 on a scoped route, the endpoint's model is "
        "not deployed.",
        "`GET /v1/models` lists what the project can name. For the 500: deploy the model, or change the endpoint.",
    ),
    "insufficient_quota": Cause(
        "The request's exact cost is more than what is available.",
        "Grant credit (`embedgate project grant`). Holds of requests under way count until they end.",
        "operator",
    ),
    "billing_delinquent": Cause(
        "The project is marked as past due.", "`embedgate project change PROJECT --status active`.", "operator"
    ),
    "budget_exceeded": Cause(
        "The month's tokens or money are spent; the message says which and when the month ends, in UTC.",
        "Wait, or raise the budget (`embedgate project change --budgets`).",
        "operator",
    ),
    "rate_limit_exceeded": Cause(
        "Over the project's or the key's rate of requests or tokens; nothing was consumed.",
        "Wait as `retry-after-ms` says: the SDKs do. A request that is larger than the whole burst never fits "
        "(`x-should-retry: false`): send fewer items, or have the burst raised.",
    ),
    "not_found": Cause("There is no such route or resource, or it is another project's.", "`/docs` lists all routes."),
    "method_not_allowed": Cause("The route exists, the method does not.", "`allow` names those that do."),
    "timeout": Cause(
        "No vector before the endpoint's deadline; nothing was charged.",
        "Try again, send less at once, or have `timeout_ms` raised. In flex, long waits are normal while others are urgent.",
    ),
    "range_not_satisfiable": Cause("The range of bytes lies outside of the file.", "`content-range` says its size."),
    "conflict": Cause(
        "It exists already, is in a state that does not allow this, or an `Idempotency-Key` was used with another body.",
        "Use another name or key; look at its state first.",
    ),
    "request_too_large": Cause("The body is larger than `gateway.max_body_bytes`.", "Split it; batches take 200 MB."),
    "endpoint_inactive": Cause(
        "The endpoint was paused.", "`embedgate endpoint change SLUG -p PROJECT --status active`.", "operator"
    ),
    "model_provisioning": Cause(
        "No replica of the model is ready: it starts, sleeps (`replicas.min: 0`), or has just died.",
        "Try again as `retry-after` says. If it stays: the replicas' log says why they do not start.",
    ),
    "capacity_exceeded": Cause(
        "The expected wait is longer than the tier may wait (`max_wait`), a gateway is full, or Redis does not answer.",
        "Try again as `retry-after` says: it spreads those who come back. If it stays: more replicas, or a look at Redis.",
    ),
    "engine_error": Cause(
        "The engine failed: as a 400 for this very input, as a 503 because it is overloaded, out of memory or dead (its "
        "replica is replaced), as a 500 otherwise. Scoped routes only; `/v1` says `internal_error`.",
        "Try a 503 again. A 400 comes back for the same input. A 500 belongs to the operator, with its request id.",
    ),
    "internal_error": Cause(
        "Something went wrong on the service's side, or its configuration cannot work.",
        "The request id leads to the log line, which says more.",
        "operator",
    ),
    "invalid_tier": Cause(
        "The endpoint's own tier is not one of this release.", "`embedgate endpoint change --service-tier`.", "operator"
    ),
    "invalid_model_id": Cause(
        "The endpoint's model id cannot be parsed.", "`embedgate endpoint change --model`.", "operator"
    ),
    "invalid_embeddings_response": Cause(
        "A replica's answer could not be read as vectors of the model.",
        "Gateways and replicas are of releases that do not match, or the model's dimensions changed: deploy again.",
        "operator",
    ),
}
