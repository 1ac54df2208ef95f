"""Money: integer nano-USD, and what a request costs."""

MAX_AMOUNT_NANO_USD = 2**53 - 1
"""About nine million dollars. Redis' scripts count in doubles, which are exact up to here."""

MAX_PRICE_NANO_USD_PER_MTOK = 10**13
"""Ten thousand dollars a million tokens."""


def cost_nano_usd(charged_tokens: int, *, price_nano_usd_per_mtok: int, multiplier_thousandths: int) -> int:
    """What tokens cost at a tier, rounded up, once.

    Args:
        charged_tokens: tokens that were computed; cached and repeated ones are free.
        price_nano_usd_per_mtok: nano-USD for a million tokens.
        multiplier_thousandths: the tier's, 1000 for the plain price.
    """
    return -(-charged_tokens * price_nano_usd_per_mtok * multiplier_thousandths // 10**9)
