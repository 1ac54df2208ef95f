"""The directory on real servers: the embedded Valkey, and redis-server where it is installed."""

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from app.core.api_key import read
from app.core.directory import Author, Endpoint, Project
from app.core.errors import Conflict, DependencyDown, RouteNotFound
from app.services.administration import Administration
from app.services.authenticate import Authenticator
from app.stores.redis_client import PATIENT_S, connect
from app.stores.redis_directory import RedisDirectory
from app.stores.redis_ledger import RedisLedger
from app.stores.redis_wire import RedisWire
from app.stores.script_pipe import ScriptPipe
from tests.fakes import RecordingMetrics

BY = Author("tester", "because")


class House:
    def __init__(self, redis: Redis, url: str) -> None:
        self.redis = redis
        self.directory = RedisDirectory(redis)
        self.administration = Administration(
            self.directory,
            RedisLedger(redis, ScriptPipe(RedisWire(url, timeout_s=PATIENT_S), clock_s=time.monotonic)),
            key_prefix="eg",
            random_bytes=secrets.token_bytes,
            wall_s=time.time,
        )

    def authenticator(self) -> Authenticator:
        return Authenticator(
            self.directory, capacity=100, clock_s=time.monotonic, wall_s=time.time, metrics=RecordingMetrics()
        )


@pytest.fixture
async def house(redis_url: str) -> AsyncIterator[House]:
    redis = connect(redis_url, timeout_s=PATIENT_S)
    await redis.flushall()
    yield House(redis, redis_url)
    await redis.aclose()


def slug() -> str:
    return f"p-{secrets.token_hex(4)}"


FIELDS = {"slug": "docs", "model": "m", "aliases": ("a",), "task_mode": "embed", "status": "active",
          "service_tier": "default", "timeout_ms": 1000, "dimensions": None}  # fmt: skip


async def test_projects_endpoints_and_keys_live(house: House) -> None:
    admin = house.administration
    project = await admin.create_project(BY, name="P", slug=slug())
    with pytest.raises(Conflict):
        await admin.create_project(BY, name="Q", slug=project.slug)
    endpoint = await admin.create_endpoint(project.project_id, FIELDS, BY)
    with pytest.raises(Conflict):
        await admin.create_endpoint(project.project_id, FIELDS, BY)
    changed = await admin.update_endpoint(project.project_id, "docs", {"status": "inactive", "aliases": ("b", "c")}, BY)
    assert (changed.status, changed.aliases, changed.model) == ("inactive", ("b", "c"), "m")
    minted = await admin.create_key(project.project_id, BY, name="ci", expires_at_s=None)
    caller = await house.authenticator().authenticate(f"Bearer {minted.api_key}")
    assert caller.view.project == project
    assert caller.view.endpoints == {"docs": changed}
    assert caller.key == minted.record
    assert endpoint.created_at_ms == changed.created_at_ms
    revoked = await admin.revoke_key(project.project_id, minted.record.key_id, BY)
    again = await admin.revoke_key(project.project_id, minted.record.key_id, BY)
    assert revoked.revoked_at_s == again.revoked_at_s is not None
    assert [k.key_id for k in await admin.list_keys(project.project_id, after=None, limit=10)] == [revoked.key_id]
    for call in (
        admin.view("proj_none"),
        admin.update_project("proj_none", {"name": "x"}, BY),
        admin.update_endpoint(project.project_id, "none", {"status": "active"}, BY),
        admin.revoke_key(project.project_id, "key_none", BY),
        admin.create_key("proj_none", BY, name="x", expires_at_s=None),
    ):
        with pytest.raises(RouteNotFound):
            await call


async def test_nothing_that_opens_a_door_is_stored(house: House) -> None:
    project = await house.administration.create_project(BY, name="P", slug=slug())
    minted = await house.administration.create_key(project.project_id, BY, name="ci", expires_at_s=None)
    secret = minted.api_key.rpartition("_")[2].encode()
    for key in await house.redis.keys("*"):
        kind = await house.redis.type(key)
        stored = {
            b"string": house.redis.get,
            b"hash": house.redis.hgetall,
            b"zset": lambda k: house.redis.zrange(k, 0, -1),
            b"stream": house.redis.xrange,
        }[kind](key)
        assert secret not in str(await stored).encode()


async def test_every_project_key_carries_the_hash_tag(house: House) -> None:
    project = await house.administration.create_project(BY, name="P", slug=slug())
    await house.administration.create_endpoint(project.project_id, FIELDS, BY)
    await house.administration.create_key(project.project_id, BY, name="ci", expires_at_s=None)
    names = {key.decode() for key in await house.redis.keys("*")}
    tagged = {name for name in names if f"{{{project.project_id}}}" in name}
    assert names - tagged == {"eg:pepper", "eg:projects", f"eg:slug:{project.slug}"}
    assert len(tagged) == 5


async def test_concurrent_changes_are_all_kept(house: House) -> None:
    project = await house.administration.create_project(BY, name="P", slug=slug())
    await house.administration.create_endpoint(project.project_id, FIELDS, BY)
    changes = [
        {"status": "inactive"},
        {"service_tier": "flex"},
        {"timeout_ms": 7},
        {"aliases": ("z",)},
        {"dimensions": 3},
    ]
    await asyncio.gather(
        *(house.administration.update_endpoint(project.project_id, "docs", change, BY) for change in changes)
    )
    endpoint = (await house.administration.view(project.project_id)).endpoints["docs"]
    assert endpoint == Endpoint(
        "docs", "m", "embed", "inactive", "flex", 7, endpoint.created_at_ms, aliases=("z",), dimensions=3
    )


async def test_one_of_many_claims_a_slug(house: House) -> None:
    name = slug()
    outcomes = await asyncio.gather(
        *(house.administration.create_project(BY, name=str(i), slug=name) for i in range(20)), return_exceptions=True
    )
    created = [o for o in outcomes if not isinstance(o, Exception)]
    assert len(created) == 1
    assert await house.directory.find_project(name) == created[0].project_id
    assert len(await house.administration.list_projects(after=None, limit=100)) == 1


async def test_a_claim_whose_answer_was_lost_is_found_again(house: House) -> None:
    """The client sends a command again when its answer did not come in time; SET NX then finds itself."""
    project = Project("proj_again", "P", slug(), "active", 0)
    await house.redis.set(f"eg:slug:{project.slug}", project.project_id)
    await house.directory.create_project(project, BY)
    assert (await house.administration.view_by_slug(project.slug)).project == project
    assert [p.project_id for p in await house.directory.list_projects(after=None, limit=10)] == ["proj_again"]


async def test_lists_are_paged_completely(house: House) -> None:
    ids = {(await house.administration.create_project(BY, name="P", slug=slug())).project_id for _ in range(7)}
    seen: list[str] = []
    after = None
    while page := await house.administration.list_projects(after=after, limit=3):
        seen += [p.project_id for p in page]
        after = seen[-1]
    assert seen == sorted(ids)


async def test_gateways_agree_on_one_pepper_and_survive_script_flush(house: House) -> None:
    peppers = await asyncio.gather(*(RedisDirectory(house.redis).pepper() for _ in range(10)))
    assert len(set(peppers)) == 1
    project = await house.administration.create_project(BY, name="P", slug=slug())
    await house.redis.script_flush()
    assert (await house.administration.update_project(project.project_id, {"name": "Q"}, BY)).name == "Q"
    minted = await house.administration.create_key(project.project_id, BY, name="k", expires_at_s=None)
    assert read(minted.api_key, pepper=peppers[0]) is not None


async def test_a_record_of_a_newer_release_is_read(house: House) -> None:
    project = await house.administration.create_project(BY, name="P", slug=slug())
    key = f"eg:{{{project.project_id}}}:directory"
    await house.redis.hset(key, "project", (await house.redis.hget(key, "project"))[:-1] + b',"colour":"red"}')
    assert (await house.administration.view(project.project_id)).project == project


async def test_a_million_keys_do_not_slow_a_look_up(house: House) -> None:
    project = await house.administration.create_project(BY, name="P", slug=slug())
    minted = await house.administration.create_key(project.project_id, BY, name="ci", expires_at_s=None)

    async def look_up_ms() -> float:
        times = []
        for _ in range(300):
            began_s = time.perf_counter()
            await house.directory.read_credential(project.project_id, minted.record.key_id)
            times.append((time.perf_counter() - began_s) * 1000)
        return statistics.median(times)

    few = await look_up_ms()
    keys = f"eg:{{{project.project_id}}}:keys"
    for start in range(0, 1_000_000, 20_000):
        await house.redis.hset(keys, mapping={f"key_{n:024x}": b"{}" for n in range(start, start + 20_000)})
    many = await look_up_ms()
    print(f"look-up: {few:.3f} ms with 1 key, {many:.3f} ms with 1,000,000")
    assert many < few * 2 + 0.1


async def test_a_store_that_is_away_is_said_within_its_bound() -> None:
    directory = RedisDirectory(connect("unix:///nowhere/redis.sock"))
    began_s = time.monotonic()
    with pytest.raises(DependencyDown):
        await directory.ping()
    assert time.monotonic() - began_s < 0.6
