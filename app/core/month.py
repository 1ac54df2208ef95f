"""Calendar months in UTC, as integers like 202611."""

from datetime import UTC, datetime

_US = 1_000_000


def month_of(now_us: int) -> int:
    """The month of a moment, in microseconds since 1970."""
    moment = datetime.fromtimestamp(now_us // _US, UTC)
    return moment.year * 100 + moment.month


def month_ends_s(month: int) -> int:
    """The first second, since 1970, that no longer belongs to a month."""
    year, number = divmod(month, 100)
    following = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return int(following.timestamp())
