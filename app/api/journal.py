"""A project's journal as it goes over the wire, for the project itself and for the operator."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

from fastapi import Query
from pydantic import BaseModel, Field

from app.api.admin_wire import Page
from app.api.services import Services
from app.core.journal import JournalLine
from app.services.journal_reader import Sought

Kind = Literal["grant", "hold", "capture", "release", "expire", "refund", "change"]


_OPERATORS_OWN = ("actor", "reason")


class JournalQuery:
    """Which entries are asked for."""

    def __init__(
        self,
        day: Annotated[date | None, Query(description="The UTC day; today by default.")] = None,
        kind: Annotated[Kind | None, Query(description="Only moves of this kind.")] = None,
        request_id: Annotated[str | None, Query(max_length=128)] = None,
        endpoint: Annotated[str | None, Query(max_length=64)] = None,
        key_id: Annotated[str | None, Query(max_length=64)] = None,
        user: Annotated[str | None, Query(max_length=512)] = None,
        limit: Annotated[int, Query(ge=1, le=500, description="Size of the page.")] = 50,
        after: Annotated[str | None, Query(max_length=100, description="The next_cursor of the page before.")] = None,
    ) -> None:
        self.day = day or datetime.now(UTC).date()
        self.sought = Sought(kind=kind, request_id=request_id, endpoint=endpoint, key_id=key_id, user=user)
        self.limit = limit
        self.after = after


class EntryOut(BaseModel):
    """One entry; amounts in nano-USD."""

    entry_id: str
    at: datetime
    kind: str
    id: str = Field(description="Of the hold, grant or change.")
    amount_nano_usd: int
    tokens: int
    request_id: str | None
    details: dict[str, Any] = Field(description="What was written down with the move: endpoint, key, user, author…")

    @classmethod
    def of(cls, line: JournalLine, *, for_operator: bool) -> Self:
        """From the domain. Who of the operators changed something, and why, is theirs alone."""
        hidden = () if for_operator else _OPERATORS_OWN
        return cls(
            entry_id=line.entry_id,
            at=datetime.fromtimestamp(line.order[0] / 1000, UTC),
            kind=line.kind,
            id=line.id,
            amount_nano_usd=line.amount_nano_usd,
            tokens=line.tokens,
            request_id=line.details.get("request_id"),
            details={name: value for name, value in line.details.items() if name not in hidden},
        )


async def journal_of(services: Services, project_id: str, asked: JournalQuery, *, for_operator: bool) -> Page[EntryOut]:
    """A page of a project's journal."""
    page = await services.journal.page(
        project_id, day=asked.day, sought=asked.sought, before=asked.after, limit=asked.limit
    )
    entries = [EntryOut.of(line, for_operator=for_operator) for line in page.lines]
    return Page[EntryOut](data=entries, next_cursor=page.next_cursor)
