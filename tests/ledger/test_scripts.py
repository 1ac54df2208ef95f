"""The scripts hold to every scenario, on the embedded Valkey and on redis-server."""

from collections.abc import Callable

import pytest

from tests.ledger.lab import Lab
from tests.ledger.scenarios import SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario(redis_url: str, scenario: Callable[[Lab], None]) -> None:
    with Lab(redis_url) as lab:
        scenario(lab)
