"""What operators do: create and change projects, endpoints and keys."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from app.core.api_key import SECRET_BYTES, digest_of, key_id_of, mint
from app.core.directory import ID_BYTES, Author, Directory, Endpoint, KeyRecord, Project, ProjectView
from app.core.errors import Conflict, InsufficientQuota, InvalidRequest, RouteNotFound
from app.core.ledger_types import NO_LIMITS, AccountState, Balance, GrantResult, Limits
from app.core.ports import Ledger
from app.services.remembered import Remembered

MAX_ENDPOINTS = 100
"""For each project: its endpoints are read as one value on the request path."""

_PAGE = 100
"""Accounts that are read at once: requests come in between."""
_TOTALS_VALID_S = 10.0
MAX_KEY_LIFE_S = 100 * 366 * 86_400


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new key. ``api_key`` is shown this once."""

    record: KeyRecord
    api_key: str


class Administration:
    """Use cases behind ``/admin/v1``.

    Args:
        directory: where the tenants live.
        ledger: where their credit is.
        key_prefix: first part of every key.
        random_bytes: source of secrets and ids.
        wall_s: Unix time.
    """

    def __init__(
        self,
        directory: Directory,
        ledger: Ledger,
        *,
        key_prefix: str,
        random_bytes: Callable[[int], bytes],
        wall_s: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._ledger = ledger
        self._key_prefix = key_prefix
        self._random_bytes = random_bytes
        self._wall_s = wall_s
        self._totals = Remembered(self._add_up, valid_s=_TOTALS_VALID_S)

    async def create_project(self, author: Author, *, name: str, slug: str) -> Project:
        """Create a tenant; raises ``Conflict`` when the slug is taken."""
        project = Project(
            project_id=f"proj_{self._random_bytes(ID_BYTES).hex()}",
            name=name,
            slug=slug,
            status="active",
            created_at_s=self._now_s(),
        )
        await self._directory.create_project(project, author)
        return project

    async def view(self, project_id: str) -> ProjectView:
        """A project with its endpoints; raises ``RouteNotFound``."""
        view = await self._directory.read_view(project_id)
        if view is None:
            raise RouteNotFound("There is no such project.")
        return view

    async def view_by_slug(self, slug: str) -> ProjectView:
        """A project by its slug; raises ``RouteNotFound``."""
        project_id = await self._directory.find_project(slug)
        if project_id is None:
            raise RouteNotFound("There is no project of that slug.")
        return await self.view(project_id)

    async def list_projects(self, *, after: str | None, limit: int) -> Sequence[Project]:
        """A page of projects in order of id."""
        return await self._directory.list_projects(after=after, limit=limit)

    async def update_project(self, project_id: str, changes: Mapping[str, object], author: Author) -> Project:
        """Change name, status, limits or budgets; raises ``RouteNotFound``."""
        return await self._directory.update_project(project_id, changes, author)

    async def account(self, project_id: str) -> AccountState:
        """A project's balance and what is open."""
        return await self._ledger.read_account(project_id)

    async def accounts(self, project_ids: Sequence[str]) -> Sequence[AccountState]:
        """Balances of several projects, in order."""
        return await self._ledger.read_accounts(project_ids)

    async def totals(self) -> tuple[Balance, int, int]:
        """The money of all projects together, to the nano-dollar; how many projects and open holds there are.

        Up to ten seconds old: every account is read for it.
        """
        return await self._totals.get()

    async def _add_up(self) -> tuple[Balance, int, int]:
        total, projects, holds = Balance(0, 0, 0, 0, 0), 0, 0
        after: str | None = None
        while page := await self._directory.project_ids(after=after, limit=_PAGE):
            for account in await self.accounts(page):
                total, holds = total + account.balance, holds + account.open_holds
            projects += len(page)
            after = page[-1]
        return total, projects, holds

    async def grant(
        self, project_id: str, amount_nano_usd: int, author: Author, *, grant_id: str | None
    ) -> tuple[str, AccountState]:
        """Add or correct credit; its id and the account after it.

        Raises:
            RouteNotFound: no such project.
            Conflict: the id was used for another grant.
            InsufficientQuota: a correction would go below what is held or captured.
            InvalidRequest: nothing, or more than an account can hold.
        """
        await self.view(project_id)
        grant_id = grant_id or f"grant_{self._random_bytes(ID_BYTES).hex()}"
        details = orjson.dumps({"actor": author.actor, "reason": author.reason}).decode()
        match await self._ledger.grant(project_id, grant_id, amount_nano_usd, details):
            case GrantResult.CONFLICT:
                raise Conflict("A grant of that id exists already, with another amount, reason or author.")
            case GrantResult.INSUFFICIENT:
                raise InsufficientQuota("The correction goes below what is held or captured; correct by less.")
            case GrantResult.OUT_OF_RANGE:
                raise InvalidRequest(
                    "'amount_nano_usd' must not be 0, and all grants together stay below 2^53.", param="amount_nano_usd"
                )
            case GrantResult.GRANTED:
                return grant_id, await self._ledger.read_account(project_id)

    async def create_endpoint(self, project_id: str, fields: Mapping[str, object], author: Author) -> Endpoint:
        """Create an endpoint; raises ``RouteNotFound``, ``Conflict`` or ``InvalidRequest``."""
        view = await self.view(project_id)
        if len(view.endpoints) >= MAX_ENDPOINTS:
            raise InvalidRequest(f"A project has at most {MAX_ENDPOINTS} endpoints.")
        endpoint = Endpoint(created_at_ms=int(self._wall_s() * 1000), **fields)  # type: ignore[arg-type]
        await self._directory.create_endpoint(project_id, endpoint, author)
        return endpoint

    async def update_endpoint(
        self, project_id: str, slug: str, changes: Mapping[str, object], author: Author
    ) -> Endpoint:
        """Change an endpoint; raises ``RouteNotFound``."""
        return await self._directory.update_endpoint(project_id, slug, changes, author)

    async def create_key(
        self, project_id: str, author: Author, *, name: str, expires_at_s: int | None, limits: Limits = NO_LIMITS
    ) -> MintedKey:
        """Mint a key and store its hash; raises ``RouteNotFound`` or ``InvalidRequest``."""
        view = await self.view(project_id)
        if expires_at_s is not None and expires_at_s <= self._wall_s():
            raise InvalidRequest("'expires_at' lies in the past.", param="expires_at")
        if expires_at_s is not None and expires_at_s > self._wall_s() + MAX_KEY_LIFE_S:
            raise InvalidRequest("'expires_at' lies over 100 years ahead; leave it out.", param="expires_at")
        api_key = mint(
            prefix=self._key_prefix,
            slug=view.project.slug,
            secret=self._random_bytes(SECRET_BYTES),
            pepper=await self._directory.pepper(),
        )
        record = KeyRecord(
            key_id=key_id_of(api_key),
            name=name,
            digest=digest_of(api_key),
            created_at_s=self._now_s(),
            expires_at_s=expires_at_s,
            limits=limits,
        )
        await self._directory.create_key(project_id, record, author)
        return MintedKey(record, api_key)

    async def list_keys(self, project_id: str, *, after: str | None, limit: int) -> Sequence[KeyRecord]:
        """A page of keys in order of id; raises ``RouteNotFound``."""
        await self.view(project_id)
        return await self._directory.list_keys(project_id, after=after, limit=limit)

    async def update_key(
        self, project_id: str, key_id: str, changes: Mapping[str, object], author: Author
    ) -> KeyRecord:
        """Change a key's name or limits; raises ``RouteNotFound``."""
        return await self._directory.update_key(project_id, key_id, changes, author)

    async def revoke_key(self, project_id: str, key_id: str, author: Author) -> KeyRecord:
        """Revoke a key, once and for ever; raises ``RouteNotFound``."""
        return await self._directory.revoke_key(project_id, key_id, author, now_s=self._now_s())

    def _now_s(self) -> int:
        return int(self._wall_s())
