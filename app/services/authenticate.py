"""Who is calling: a bounded local view of the directory, never older than one second.

Redis is asked once for each key and second, however many requests carry it. A key that fails
its tag, or that was refused a moment ago, costs Redis nothing. While Redis is away, what was known
of a key in the last minute stands, for requests that cost nothing; the ledger refuses the others.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from cachetools import LRUCache, TTLCache

from app.core import metric_names as names
from app.core.api_key import PresentedKey, read
from app.core.directory import Credential, DirectoryReader, KeyRecord, ProjectView
from app.core.errors import DependencyDown, Unauthenticated
from app.core.ports import Metrics

STALE_VIEW_S = 60.0
"""How old a view may be while the store does not answer; nothing that costs money is served from it."""
VIEW_TTL_S = 0.8
"""With the read itself, a revoked key is refused everywhere within one second."""
_UNKNOWN_SLUG_TTL_S = 5.0
_PEPPER_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: its project as of at most a second ago, and its key."""

    view: ProjectView
    key: KeyRecord


class Authenticator:
    """Turns an ``Authorization`` header into a :class:`Caller`.

    Args:
        directory: where keys live.
        capacity: how many keys the local view holds.
        clock_s: monotonic clock.
        wall_s: Unix time, for expiry.
        metrics: where reads are counted.
    """

    def __init__(
        self,
        directory: DirectoryReader,
        *,
        capacity: int,
        clock_s: Callable[[], float],
        wall_s: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._directory = directory
        self._clock_s = clock_s
        self._wall_s = wall_s
        self._metrics = metrics
        self._credentials: TTLCache[str, Credential] = TTLCache(capacity, VIEW_TTL_S, timer=clock_s)
        self._last_known: TTLCache[str, Credential] = TTLCache(capacity, STALE_VIEW_S, timer=clock_s)
        self._project_ids: LRUCache[str, str] = LRUCache(capacity)
        self._unknown_slugs: TTLCache[str, bool] = TTLCache(capacity, _UNKNOWN_SLUG_TTL_S, timer=clock_s)
        self._reads: dict[str, asyncio.Task[Credential]] = {}
        self._presented_keys: LRUCache[bytes, PresentedKey] = LRUCache(capacity)
        self._pepper: bytes | None = None
        self._pepper_read_at_s = float("-inf")

    async def authenticate(self, authorization: str | None) -> Caller:
        """The caller behind a header.

        Raises:
            Unauthenticated: the header opens nothing.
            DependencyDown: Redis does not answer.
        """
        presented = await self._presented(authorization)
        credential = self._credentials.get(presented.digest)
        if credential is None:
            credential = await self._read_once(presented)
        view, key = credential.view, credential.key
        if view is None or key is None or key.digest != presented.digest or not key.is_valid_at(self._wall_s()):
            raise _refused()
        if view.project.status == "disabled":
            raise Unauthenticated("This project is disabled; ask your operator.")
        return Caller(view, key)

    async def _presented(self, authorization: str | None) -> PresentedKey:
        # A hash, so that no key is kept, and a header of any length takes the same room.
        name = sha256((authorization or "").encode()).digest()
        presented = self._presented_keys.get(name)
        if presented is None:
            presented = self._presented_keys[name] = await self._take_apart(authorization)
        return presented

    async def _take_apart(self, authorization: str | None) -> PresentedKey:
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("No API key was sent. Send it as 'Authorization: Bearer <key>'.")
        presented = read(token, pepper=await self._current_pepper())
        if presented is None and await self._refresh_pepper():
            presented = read(token, pepper=await self._current_pepper())
        if presented is None:
            raise _refused()
        return presented

    async def _current_pepper(self) -> bytes:
        if self._pepper is None:
            self._pepper = await self._directory.pepper()
            self._pepper_read_at_s = self._clock_s()
        return self._pepper

    async def _refresh_pepper(self) -> bool:
        """Read the pepper again, at most once a second: a store that was restored has another one."""
        if self._clock_s() - self._pepper_read_at_s < _PEPPER_RETRY_S:
            return False
        self._pepper_read_at_s = self._clock_s()
        before = self._pepper
        self._pepper = await self._directory.pepper()
        if self._pepper == before:
            return False
        self._presented_keys.clear()
        return True

    async def _read_once(self, presented: PresentedKey) -> Credential:
        """One read for all that ask for the same key at the same time."""
        task = self._reads.get(presented.digest)
        if task is None:
            task = asyncio.create_task(self._read(presented))
            self._reads[presented.digest] = task
            task.add_done_callback(lambda _: self._reads.pop(presented.digest, None))
        return await asyncio.shield(task)

    async def _read(self, presented: PresentedKey) -> Credential:
        if presented.slug in self._unknown_slugs:
            return Credential(None, None)
        began_s = self._clock_s()
        try:
            credential = await self._fetch(presented)
        except DependencyDown:
            self._metrics.count(names.DIRECTORY_READS, outcome="failed")
            last_known = self._last_known.get(presented.digest)
            if last_known is None:
                raise
            # Nobody can change the directory while it is away; a second's rest keeps requests from queueing for it.
            self._credentials[presented.digest] = last_known
            return last_known
        self._metrics.count(names.DIRECTORY_READS, outcome="ok")
        # The age of an entry counts from before the read: what Redis said may be that old.
        if self._clock_s() - began_s < VIEW_TTL_S / 4:
            self._credentials[presented.digest] = credential
        self._last_known[presented.digest] = credential
        return credential

    async def _fetch(self, presented: PresentedKey) -> Credential:
        project_id = self._project_ids.get(presented.slug)
        if project_id is None:
            project_id = await self._directory.find_project(presented.slug)
            if project_id is None:
                self._unknown_slugs[presented.slug] = True
                return Credential(None, None)
            self._project_ids[presented.slug] = project_id
        credential = await self._directory.read_credential(project_id, presented.key_id)
        if credential.view is None:
            self._project_ids.pop(presented.slug, None)
        return credential


def _refused() -> Unauthenticated:
    return Unauthenticated("This API key is not valid: unknown, revoked or expired. Ask your operator for another.")
