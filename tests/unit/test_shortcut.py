"""Which requests go past Serve, and what they leave behind."""

import asyncio
from typing import Any

import pytest
from ray.serve._private.http_util import _apply_middlewares
from ray.serve._private.replica import Replica
from ray.serve._private.utils import Semaphore
from starlette.types import Receive, Scope, Send

from deployments.ingress_headers import IngressHeaders, middlewares
from deployments.shortcut import PastServe, shortcut_through

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}


class FakeReplica:
    """What is used of Serve's replica."""

    def __init__(self, app: Any) -> None:
        self._user_callable_wrapper = type("Wrapper", (), {"_callable": staticmethod(app)})
        self._semaphore = Semaphore(lambda: 1)
        self._route_prefix = "/"
        self._deployment_id = type("Id", (), {"app_name": "embedgate"})
        self._metrics_manager = self
        self.ongoing = 0
        self.recorded: list[tuple[str | None, str | None]] = []

    def inc_num_ongoing_requests(self, _: object) -> None:
        self.ongoing += 1

    def dec_num_ongoing_requests(self, _: object) -> None:
        self.ongoing -= 1

    def _record_errors_and_metrics(self, failure: object, status: str | None, took_ms: float, _: object) -> None:
        assert took_ms >= 0
        self.recorded.append((type(failure).__name__ if failure else None, status))


async def ask(replica: FakeReplica, *, path: str = "/v1/embeddings", request_id: bytes = b"mine-1") -> list[Any]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async def ingress(_: Scope, __: Receive, ___: Send) -> None:
        sent.append("through Serve")

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"x-request-id", request_id)]}
    await IngressHeaders(ingress, find_shortcut=lambda _: PastServe(replica))(scope, receive, send)
    return sent


async def test_a_request_takes_a_place_and_is_counted_and_named() -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (replica.ongoing, replica._semaphore._value) == (1, 1)
        await send(dict(START))
        await send({"type": "http.response.body", "body": b"{}"})

    replica = FakeReplica(app)
    start, _ = await ask(replica)
    assert (b"x-request-id", b"mine-1") in start["headers"]
    assert (replica.ongoing, replica._semaphore._value) == (0, 0)
    assert replica.recorded == [(None, "200")]


async def test_a_failure_gives_its_place_back() -> None:
    async def app(_: Scope, __: Receive, ___: Send) -> None:
        raise RuntimeError("broken")

    replica = FakeReplica(app)
    with pytest.raises(RuntimeError, match="broken"):
        await ask(replica)
    assert (replica.ongoing, replica._semaphore._value) == (0, 0)
    assert replica.recorded == [("RuntimeError", None)]


async def test_without_a_place_a_request_waits_for_one() -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send(dict(START))

    replica = FakeReplica(app)
    await replica._semaphore.acquire()
    asked = asyncio.create_task(ask(replica))
    await asyncio.sleep(0.01)
    assert not asked.done()
    assert replica.ongoing == 0
    replica._semaphore.release()
    assert len(await asked) == 1
    assert replica._semaphore._value == 0


async def test_below_a_prefix_requests_go_through_serve() -> None:
    replica = FakeReplica(None)
    replica._route_prefix = "/embeddings-of-ours"
    assert await ask(replica) == ["through Serve"]


async def test_other_requests_go_through_serve() -> None:
    assert await ask(FakeReplica(None), path="/v1/models") == ["through Serve"]


def test_ray_builds_a_gateways_ingress_as_the_shortcut_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Ray's own replica and its own layers: tells when a release changes them."""
    monkeypatch.setattr("deployments.shortcut.RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD", False)
    replica = Replica.__new__(Replica)
    for name, value in vars(FakeReplica(None)).items():
        if name.startswith("_"):
            setattr(replica, name, value)
    layer = _apply_middlewares(replica._direct_ingress_asgi, middlewares())
    assert isinstance(layer, IngressHeaders)
    assert isinstance(shortcut_through(layer._app), PastServe)


def test_an_ingress_that_is_no_gateway_has_no_shortcut() -> None:
    async def proxy(_: Scope, __: Receive, ___: Send) -> None:
        raise AssertionError("not asked")

    assert shortcut_through(proxy) is None
    (middleware,) = middlewares()
    assert isinstance(middleware.cls(proxy, *middleware.args, **middleware.kwargs), IngressHeaders)
