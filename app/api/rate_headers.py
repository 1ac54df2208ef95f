"""The ``x-ratelimit-…`` headers."""

from app.core.rates import Rates, go_duration


def rate_headers(rates: Rates) -> dict[str, str]:
    """Headers for the limits that are set."""
    headers: dict[str, str] = {}
    for kind, rate in (("requests", rates.requests), ("tokens", rates.tokens)):
        if rate is not None:
            headers[f"x-ratelimit-limit-{kind}"] = str(rate.limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(rate.remaining)
            headers[f"x-ratelimit-reset-{kind}"] = go_duration(rate.reset_us)
    return headers
