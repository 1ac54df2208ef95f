"""Projects, endpoints and keys: the tenants' directory, and the port that stores it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.core.ledger_types import NO_BUDGETS, NO_LIMITS, Budgets, Limits

ID_BYTES = 12


@dataclass(frozen=True, slots=True)
class Project:
    """A tenant. ``status`` is "active", "delinquent" or "disabled"; the slug never changes.

    ``fair_share_weight`` is its share of a tier while others wait too: a project of weight 3 gets
    three times the tokens of one of weight 1.
    """

    project_id: str
    name: str
    slug: str
    status: str
    created_at_s: int
    limits: Limits = NO_LIMITS
    budgets: Budgets = NO_BUDGETS
    fair_share_weight: int = 1


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A project's named entry.

    ``service_tier`` is what a request gets that names none. It and ``model`` are read from the
    store as they stand: a value that this release does not know is the operator's mistake and
    is answered as such, not hidden.
    """

    slug: str
    model: str
    task_mode: str
    status: str
    service_tier: str
    timeout_ms: int
    created_at_ms: int
    aliases: tuple[str, ...] = ()
    dimensions: int | None = None
    price_nano_usd_per_mtok: int = 0


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A stored key: its hash, never the key. ``expires_at_s`` and ``revoked_at_s`` are Unix seconds."""

    key_id: str
    name: str
    digest: str
    created_at_s: int
    expires_at_s: int | None = None
    revoked_at_s: int | None = None
    limits: Limits = NO_LIMITS

    def is_valid_at(self, now_s: float) -> bool:
        """Whether the key opens anything at ``now_s``."""
        return self.revoked_at_s is None and (self.expires_at_s is None or now_s < self.expires_at_s)


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A project with its endpoints by slug, as read at one moment."""

    project: Project
    endpoints: Mapping[str, Endpoint]
    _by_model: dict[str, Endpoint] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index aliases and models; an alias wins over a model, active over inactive, then the oldest."""
        by_slug = sorted(self.endpoints.values(), key=lambda e: e.slug, reverse=True)
        ranked = sorted(by_slug, key=lambda e: (e.status == "active", -e.created_at_ms))
        for endpoint in ranked:
            self._by_model[endpoint.model] = endpoint
        for endpoint in ranked:
            for alias in endpoint.aliases:
                self._by_model[alias] = endpoint

    def endpoint_for_model(self, name: str) -> Endpoint | None:
        """The endpoint that answers for a model name or alias."""
        return self._by_model.get(name)

    def model_names(self) -> Sequence[str]:
        """Models and aliases that the project can name, sorted."""
        return sorted(self._by_model)


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, and why."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Credential:
    """What one read of the directory says of a presented key."""

    view: ProjectView | None
    key: KeyRecord | None


class DirectoryReader(Protocol):
    """What the request path reads. Every method may raise ``DependencyDown``."""

    async def pepper(self) -> bytes:
        """The cluster's pepper, made on first use."""

    async def find_project(self, slug: str) -> str | None:
        """A project's id by its slug."""

    async def read_credential(self, project_id: str, key_id: str) -> Credential:
        """Project, endpoints and one key, in one round trip."""


class Directory(DirectoryReader, Protocol):
    """What administration reads and writes. Every method may raise ``DependencyDown``.

    Each change is journalled together with it: what it was and is, who made it and why.
    """

    async def project_ids(self, *, after: str | None, limit: int) -> Sequence[str]:
        """A page of all projects' ids, in order."""

    async def create_project(self, project: Project, author: Author) -> None:
        """Store a new project; raises ``Conflict`` when the slug is taken."""

    async def read_view(self, project_id: str) -> ProjectView | None:
        """A project with its endpoints."""

    async def list_projects(self, *, after: str | None, limit: int) -> Sequence[Project]:
        """Projects in order of id, from the one behind ``after``."""

    async def update_project(self, project_id: str, changes: Mapping[str, object], author: Author) -> Project:
        """Change fields of a project; raises ``RouteNotFound`` when there is none."""

    async def create_endpoint(self, project_id: str, endpoint: Endpoint, author: Author) -> None:
        """Store a new endpoint; raises ``Conflict`` when the slug is taken."""

    async def update_endpoint(
        self, project_id: str, slug: str, changes: Mapping[str, object], author: Author
    ) -> Endpoint:
        """Change fields of an endpoint; raises ``RouteNotFound`` when there is none."""

    async def create_key(self, project_id: str, key: KeyRecord, author: Author) -> None:
        """Store a key's record."""

    async def list_keys(self, project_id: str, *, after: str | None, limit: int) -> Sequence[KeyRecord]:
        """A page of the project's keys in order of id, from the one behind ``after``."""

    async def update_key(
        self, project_id: str, key_id: str, changes: Mapping[str, object], author: Author
    ) -> KeyRecord:
        """Change fields of a key; raises ``RouteNotFound`` when there is none."""

    async def revoke_key(self, project_id: str, key_id: str, author: Author, *, now_s: int) -> KeyRecord:
        """Mark a key revoked, once; raises ``RouteNotFound`` when there is none."""

    async def ping(self) -> None:
        """Answer, or raise ``DependencyDown``."""
