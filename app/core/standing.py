"""How a cluster stands at this moment, and what is wrong with it, in sentences."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.core.activity import NO_TIER, TierActivity
from app.core.tiers import Tier

_FEW = 20
"""Fewer requests than this say nothing by their share of failures."""

_FAILED_SHARE = 0.01
_REFUSED_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class ModelStanding:
    """A model as one gateway sees it.

    Attributes:
        replicas: that take work.
        may_sleep: whether having none is normal.
        tokens_per_s: of all its engines while they work; 0.0 when not measured yet.
        waiting_tokens: not answered yet, by tier.
        wait_ms: what a newcomer may expect, by tier.
        max_wait_ms: what a tier's newcomer may wait; more is refused.
    """

    replicas: int
    may_sleep: bool
    tokens_per_s: float
    waiting_tokens: Mapping[str, int]
    wait_ms: Mapping[str, float]
    max_wait_ms: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class GatewayStanding:
    """What a gateway says of itself.

    Attributes:
        gateway_id: of its process.
        at_ms: when, in Unix milliseconds.
        journal_behind_s: as in the metric of that name.
        unsettled_holds: whose fate it does not know.
        models: by id.
    """

    gateway_id: str
    at_ms: int
    journal_behind_s: float
    unsettled_holds: int
    models: Mapping[str, ModelStanding] = field(default_factory=dict)


def together(gateways: Sequence[GatewayStanding]) -> dict[str, ModelStanding]:
    """Each model as all gateways see it: replicas tell every gateway of everybody's work."""
    found: dict[str, ModelStanding] = {}
    for gateway in gateways:
        for model_id, model in gateway.models.items():
            found[model_id] = max(found.get(model_id, model), model, key=_seen)
    return dict(sorted(found.items()))


def _seen(model: ModelStanding) -> tuple[int, int]:
    return model.replicas, sum(model.waiting_tokens.values())


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong now. ``is_urgent`` when callers are hurt by it."""

    is_urgent: bool
    sentence: str


def troubles(
    gateways: Sequence[GatewayStanding], recent: Mapping[str, TierActivity], *, journal_period_s: float
) -> list[Trouble]:
    """What is wrong, the urgent first.

    Args:
        gateways: those that spoke lately.
        recent: the last minutes, by tier.
        journal_period_s: how often the journal is to leave the store.
    """
    found = [*_of_gateways(gateways, journal_period_s), *_of_models(together(gateways)), *_of_requests(recent)]
    return sorted(found, key=lambda trouble: not trouble.is_urgent)


def _of_gateways(gateways: Sequence[GatewayStanding], journal_period_s: float) -> Iterable[Trouble]:
    if not gateways:
        yield Trouble(True, "No gateway has reported in the last seconds, though one answers this.")
        return
    behind_s = max(gateway.journal_behind_s for gateway in gateways)
    if behind_s > max(60.0, 5 * journal_period_s):
        yield Trouble(False, f"The journal last left Redis {behind_s:.0f} s ago; Redis grows until it does.")
    unsettled = sum(gateway.unsettled_holds for gateway in gateways)
    if unsettled:
        yield Trouble(False, f"{unsettled} holds wait to be ended in their callers' favour: Redis did not answer.")


def _of_models(models: Mapping[str, ModelStanding]) -> Iterable[Trouble]:
    for model_id, model in models.items():
        if not model.replicas:
            if not model.may_sleep:
                yield Trouble(True, f"{model_id} has no replica: its requests are answered with 503.")
            continue
        for tier in Tier:
            wait_ms, bound_ms = model.wait_ms.get(tier.value, 0.0), model.max_wait_ms.get(tier.value)
            if bound_ms and wait_ms > bound_ms:
                yield Trouble(
                    tier in (Tier.PRIORITY, Tier.DEFAULT),
                    f"{model_id} is full for {tier.value}: newcomers would wait {wait_ms / 1000:.1f} s, "
                    f"{bound_ms / 1000:.1f} s are allowed.",
                )


def _of_requests(recent: Mapping[str, TierActivity]) -> Iterable[Trouble]:
    for tier, activity in recent.items():
        if activity.requests < _FEW:
            continue
        failed, refused = activity.failed / activity.requests, activity.refused / activity.requests
        if tier == Tier.BATCH and failed > _FAILED_SHARE:
            yield Trouble(False, f"{failed:.1%} of the lines that batches worked on in the last 5 minutes failed.")
        elif failed > _FAILED_SHARE:
            name = "requests whose tier was not read" if tier == NO_TIER else f"{tier} requests"
            yield Trouble(True, f"{failed:.1%} of the {name} of the last 5 minutes failed (5xx).")
        if tier != NO_TIER and refused > _REFUSED_SHARE:
            yield Trouble(False, f"{refused:.0%} of the {tier} requests of the last 5 minutes were refused (4xx).")
