"""The tenants' directory in Redis.

Everything of a project carries the hash tag ``{project_id}``:

- ``eg:{id}:directory``: hash; field ``project`` and one field ``endpoint:<slug>`` each, JSON
- ``eg:{id}:keys``: hash; key id → record, JSON
- ``eg:{id}:key_ids``: sorted set of key ids, all with score 0, for paging

Outside of it: ``eg:slug:<slug>`` → project id, ``eg:projects`` (sorted set of ids, score 0) and
``eg:pepper``.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import orjson
from redis.asyncio import Redis

from app.core.directory import ID_BYTES, Author, Credential, Endpoint, KeyRecord, Project, ProjectView
from app.core.errors import Conflict, RouteNotFound
from app.core.ledger_types import Budgets, Limits
from app.stores.redis_client import known_fields, lua, page_of_ids, raw, translated
from app.stores.redis_ledger import account_key

T = TypeVar("T", Project, Endpoint, KeyRecord)

PEPPER = "eg:pepper"
PROJECTS = "eg:projects"
_CHANGE_ATTEMPTS = 16


class RedisDirectory:
    """``Directory`` over one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._replace = redis.register_script(lua("hash_replace"))
        self._create_key = redis.register_script(lua("key_create"))

    async def ping(self) -> None:
        """Answer, or raise ``DependencyDown``."""
        async with translated():
            await self._redis.ping()

    async def pepper(self) -> bytes:
        """The cluster's pepper, made on first use."""
        async with translated():
            await self._redis.set(PEPPER, os.urandom(32), nx=True)
            pepper = await self._redis.get(PEPPER)
        return raw(pepper)

    async def find_project(self, slug: str) -> str | None:
        """A project's id by its slug."""
        async with translated():
            found = await self._redis.get(slug_key(slug))
        return raw(found).decode() if found else None

    async def read_credential(self, project_id: str, key_id: str) -> Credential:
        """Project, endpoints and one key, in one round trip."""
        async with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hgetall(directory_key(project_id))
            pipe.hget(keys_key(project_id), key_id)
            fields, record = await pipe.execute()
        return Credential(_view(fields), _load(KeyRecord, record) if record else None)

    async def read_view(self, project_id: str) -> ProjectView | None:
        """A project with its endpoints."""
        async with translated():
            return _view(await self._redis.hgetall(directory_key(project_id)))

    async def list_projects(self, *, after: str | None, limit: int) -> Sequence[Project]:
        """Projects in order of id, from the one behind ``after``."""
        async with translated():
            ids = await self.project_ids(after=after, limit=limit)
            pipe = self._redis.pipeline(transaction=False)
            for project_id in ids:
                pipe.hget(directory_key(project_id), "project")
            return [_load(Project, found) for found in await pipe.execute() if found]

    async def project_ids(self, *, after: str | None, limit: int) -> list[str]:
        """A page of all projects' ids, in order."""
        async with translated():
            return await page_of_ids(self._redis, PROJECTS, after=after, limit=limit)

    async def create_project(self, project: Project, author: Author) -> None:
        """Store a new project; raises ``Conflict`` when the slug is taken."""
        project_id = project.project_id
        async with translated():
            await self._put(project_id, "project", b"", project, author)
            await self._redis.zadd(PROJECTS, {project_id: 0})
            own_slug = slug_key(project.slug)
            claimed = await self._redis.set(own_slug, project_id, nx=True)
            # A command whose answer was lost is sent again, and then finds its own claim.
            if not claimed and await self._redis.get(own_slug) != project_id.encode():
                parts = ("journal", "account")
                await self._redis.delete(directory_key(project_id), *(account_key(project_id, p) for p in parts))
                raise Conflict("A project of that slug exists already.")

    async def update_project(self, project_id: str, changes: Mapping[str, object], author: Author) -> Project:
        """Change fields of a project; raises ``RouteNotFound`` when there is none."""
        return await self._change(
            Project, directory_key(project_id), "project", changes, author, absent="There is no such project."
        )

    async def create_endpoint(self, project_id: str, endpoint: Endpoint, author: Author) -> None:
        """Store a new endpoint; raises ``Conflict`` when the slug is taken."""
        async with translated():
            if not await self._put(project_id, f"endpoint:{endpoint.slug}", b"", endpoint, author):
                raise Conflict("An endpoint of that slug exists already in this project.")

    async def update_endpoint(
        self, project_id: str, slug: str, changes: Mapping[str, object], author: Author
    ) -> Endpoint:
        """Change fields of an endpoint; raises ``RouteNotFound`` when there is none."""
        return await self._change(
            Endpoint,
            directory_key(project_id),
            f"endpoint:{slug}",
            changes,
            author,
            absent="There is no such endpoint.",
        )

    async def create_key(self, project_id: str, key: KeyRecord, author: Author) -> None:
        """Store a key's record."""
        keys = [keys_key(project_id), key_ids_key(project_id), account_key(project_id, "journal")]
        note = _note(key.key_id, None, key, author)
        async with translated():
            stored = await self._create_key(keys=keys, args=[key.key_id, _dump(key), _change_id(), note])
        if not stored:
            raise Conflict("A key of that id exists already.")

    async def list_keys(self, project_id: str, *, after: str | None, limit: int) -> Sequence[KeyRecord]:
        """A page of the project's keys in order of id, from the one behind ``after``."""
        async with translated():
            ids = await page_of_ids(self._redis, key_ids_key(project_id), after=after, limit=limit)
            if not ids:
                return []
            found = await self._redis.hmget(keys_key(project_id), ids)
            return [_load(KeyRecord, raw(record)) for record in found if record]

    async def update_key(
        self, project_id: str, key_id: str, changes: Mapping[str, object], author: Author
    ) -> KeyRecord:
        """Change fields of a key; raises ``RouteNotFound`` when there is none."""
        key = keys_key(project_id)
        return await self._change(KeyRecord, key, key_id, changes, author, absent="There is no such key.")

    async def revoke_key(self, project_id: str, key_id: str, author: Author, *, now_s: int) -> KeyRecord:
        """Mark a key revoked, once; raises ``RouteNotFound`` when there is none."""
        changes = {"revoked_at_s": now_s}
        return await self._change(
            KeyRecord, keys_key(project_id), key_id, changes, author, absent="There is no such key.", once=True
        )

    async def _change(
        self,
        kind: type[T],
        key: str,
        field: str,
        changes: Mapping[str, Any],
        author: Author,
        *,
        absent: str,
        once: bool = False,
    ) -> T:
        """Read, change and write back, again if somebody else was first.

        With ``once``, fields that already have a value keep it.
        """
        project_id = key[key.index("{") + 1 : key.index("}")]
        async with translated():
            for _ in range(_CHANGE_ATTEMPTS):
                before = await self._redis.hget(key, field)
                if before is None:
                    raise RouteNotFound(absent)
                current = _load(kind, raw(before))
                wanted = {k: v for k, v in changes.items() if not (once and getattr(current, k) is not None)}
                changed = dataclasses.replace(current, **wanted)
                if changed == current:
                    return current
                if await self._put(project_id, field, raw(before), changed, author, key=key, previous=current):
                    return changed
        raise Conflict("The resource is being changed by others; try again.")

    async def _put(
        self,
        project_id: str,
        field: str,
        expected: bytes,
        value: Project | Endpoint | KeyRecord,
        author: Author,
        *,
        key: str | None = None,
        previous: Project | Endpoint | KeyRecord | None = None,
    ) -> bool:
        keys = [key or directory_key(project_id), *(account_key(project_id, part) for part in ("journal", "account"))]
        flag = str(int(value.status == "delinquent")) if isinstance(value, Project) else ""
        note = _note(field, previous, value, author)
        return bool(await self._replace(keys=keys, args=[field, expected, _dump(value), _change_id(), note, flag]))


def _change_id() -> str:
    return f"chg_{os.urandom(ID_BYTES).hex()}"


def _note(what: str, before: Any, after: Any, author: Author) -> bytes:
    """A change for the journal: the fields that differ, who made it and why. Never a key's digest."""
    old = dataclasses.asdict(before) if before is not None else {}
    new = dataclasses.asdict(after)
    differing = [name for name in new if old.get(name) != new[name] and name != "digest"]
    return orjson.dumps(
        {
            "what": what,
            "before": {name: old[name] for name in differing if name in old},
            "after": {name: new[name] for name in differing},
            "actor": author.actor,
            "reason": author.reason,
        }
    )


def slug_key(slug: str) -> str:
    """Where a project's id stands under its slug."""
    return f"eg:slug:{slug}"


def directory_key(project_id: str) -> str:
    """The hash of a project and its endpoints."""
    return f"eg:{{{project_id}}}:directory"


def keys_key(project_id: str) -> str:
    """The hash of a project's keys."""
    return f"eg:{{{project_id}}}:keys"


def key_ids_key(project_id: str) -> str:
    """The sorted set of a project's key ids."""
    return f"eg:{{{project_id}}}:key_ids"


def _dump(value: Project | Endpoint | KeyRecord) -> bytes:
    return orjson.dumps(value)


def _load(kind: type[T], record: bytes) -> T:
    """Read a record of this or a neighbouring release."""
    fields = known_fields(kind, orjson.loads(record))
    if "aliases" in fields:
        fields["aliases"] = tuple(fields["aliases"])
    for name, nested in (("limits", Limits), ("budgets", Budgets)):
        if name in fields:
            fields[name] = nested(**known_fields(nested, fields[name]))
    return kind(**fields)


def _view(fields: Mapping[Any, Any]) -> ProjectView | None:
    project = fields.get(b"project")
    if project is None:
        return None
    endpoints = [_load(Endpoint, value) for name, value in fields.items() if name.startswith(b"endpoint:")]
    return ProjectView(_load(Project, project), {endpoint.slug: endpoint for endpoint in endpoints})
