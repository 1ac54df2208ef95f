"""Which replica an item goes to."""

from app.core.load import EngineState, ReplicaLoad
from app.core.placement import ReplicaView, choose
from app.core.tiers import Flow, Tier

SMALL, LARGE = (Tier.DEFAULT, "small"), (Tier.DEFAULT, "large")


def view(
    *, tokens: tuple[int, ...] = (0, 0, 0, 0), per_s: float = 1000.0, projects: int = 0, company: int = 0
) -> ReplicaView:
    """As told at time 0; ``company`` items of the small project are waited for, half a second long."""
    seen = ReplicaView()
    awaited = [(*SMALL, company)] if company else []
    engine = EngineState(per_s, projects=(0, projects, 0, 0), company=awaited, company_s=0.5)
    seen.note(ReplicaLoad(engine, tokens), 0.0)
    return seen


def place(views: list[ReplicaView], flow: Flow, *, items: int = 1, now_s: float = 0.1) -> list[int]:
    """Where items of ten tokens go, one after the other."""
    places = []
    for _ in range(items):
        places.append(choose(views, flow, 10, now_s))
        views[places[-1]].sent(flow, 10)
    return places


def test_the_least_work_ahead_decides() -> None:
    assert place([view(), view()], LARGE, items=4) == [0, 1, 0, 1]
    assert place([view(tokens=(0, 50, 0, 0)), view()], LARGE, items=3) == [1, 1, 1]


def test_a_faster_replica_gets_more() -> None:
    places = place([view(per_s=3000.0), view()], LARGE, items=40)
    assert places.count(0) == 30


def test_less_urgent_work_decides_between_equals() -> None:
    assert place([view(tokens=(0, 0, 0, 100)), view()], LARGE) == [1]
    assert place([view(tokens=(0, 0, 0, 100)), view(tokens=(0, 50, 0, 0))], LARGE) == [0]


def test_a_small_project_goes_where_it_has_least_itself() -> None:
    """What a large one has waiting delays it by as much as its own, not by all of it."""
    views = [view(tokens=(0, 400, 0, 0), projects=1), view(tokens=(0, 390, 0, 0), projects=1)]
    assert sorted(place(views, SMALL, items=4)) == [0, 0, 1, 1]


def test_a_replica_that_waits_for_company_gets_it_first() -> None:
    views = [view(), view(tokens=(0, 500, 0, 0), company=4)]
    for _ in range(4):
        views[0].sent(SMALL, 10)
    assert place(views, LARGE) == [0], "others do not count as its company"
    assert place(views, SMALL, items=4) == [1, 1, 1, 1]
    assert place(views, SMALL) == [0]


def test_one_after_the_other_where_several_wait() -> None:
    assert place([view(company=3), view(company=3)], SMALL, items=6) == [0, 0, 0, 1, 1, 1]


def test_who_has_waited_long_enough_waits_no_more() -> None:
    assert place([view(), view(company=4)], SMALL, items=4, now_s=0.6) == [0, 1, 0, 1]


def test_a_project_does_not_stay_crowded_where_it_was_before() -> None:
    views = [view(), view(company=3)]
    views[0].sent(SMALL, 10)
    assert place(views, SMALL, items=3) == [1, 1, 0]


def test_what_was_answered_taken_back_or_never_sent_is_not_ahead_of_anybody() -> None:
    seen = view()
    for _ in range(3):
        seen.sent(SMALL, 10)
    seen.ended(SMALL, 10)
    assert (seen.items_of(SMALL), seen.tokens()) == (2, [0, 30, 0, 0])
    seen.cancelled(Tier.DEFAULT, 10)
    seen.unsent(Tier.DEFAULT, 10)
    assert seen.tokens() == [0, 10, 0, 0]
    for _ in range(2):
        seen.ended(SMALL, 10)
    assert seen.items_of(SMALL) == 0
    seen.note(ReplicaLoad(tokens=(0, 5, 0, 0), received_tokens=(0, 20, 0, 0)), 1.0)
    assert seen.tokens() == [0, 5, 0, 0]
