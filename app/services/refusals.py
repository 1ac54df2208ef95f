"""What the ledger's refusals mean to a caller."""

from app.core.errors import (
    BillingDelinquent,
    BudgetExceeded,
    EmbedgateError,
    HoldConflict,
    InsufficientQuota,
    RateLimited,
)
from app.core.ledger_types import Charge, Refusal, RefusalReason, Terms
from app.core.rates import Rates


def error_of(refusal: Refusal, terms: Terms, charge: Charge, rates: Rates) -> EmbedgateError:
    """The error that a refused charge is answered with."""
    match refusal.reason:
        case RefusalReason.RATE_LIMITED | RefusalReason.LARGER_THAN_BURST:
            return _rate_limited(refusal, terms, charge, rates)
        case RefusalReason.DELINQUENT:
            return BillingDelinquent("This project is past due; its owner must settle before it is served again.")
        case RefusalReason.TOKEN_BUDGET:
            return BudgetExceeded(
                f"The project's token budget of {terms.monthly_tokens} for this month (UTC) does not cover "
                f"{charge.tokens} more; it starts anew on the first, or your operator can raise it."
            )
        case RefusalReason.MONEY_BUDGET:
            return BudgetExceeded(
                f"The project's budget of {terms.monthly_nano_usd} nano-USD for this month (UTC) does not "
                f"cover {charge.amount_nano_usd} more; it starts anew on the first, or your operator can raise it."
            )
        case RefusalReason.INSUFFICIENT:
            return InsufficientQuota(
                f"The request costs {charge.amount_nano_usd} nano-USD, which the project's balance does not cover; "
                "ask your operator for credit."
            )
        case RefusalReason.OUT_OF_RANGE:
            return InsufficientQuota("The request's cost is beyond what an account can hold.")
        case RefusalReason.CONFLICT:
            return HoldConflict(f"Hold {charge.hold_id} was taken for something else. This is a bug.")


def _rate_limited(refusal: Refusal, terms: Terms, charge: Charge, rates: Rates) -> RateLimited:
    quota = terms.quotas(charge.key_id)[refusal.bucket]
    kind = "requests" if refusal.bucket.endswith("requests") else "tokens"
    whose = "key" if ":" in refusal.bucket else "project"
    if refusal.reason is RefusalReason.LARGER_THAN_BURST:
        return RateLimited(
            f"The request has {charge.tokens} tokens, and the {whose}'s limit lets at most {quota.burst} in at once; "
            "send fewer inputs in a request.",
            wait_us=None,
            rates=rates,
        )
    wait_s = -(-refusal.wait_us // 1000) / 1000
    return RateLimited(
        f"Over the {whose}'s limit of {quota.per_minute} {kind} a minute; try again in {wait_s:.3f} s.",
        wait_us=refusal.wait_us,
        rates=rates,
    )
