"""Everything that routes need, put together by the composition root."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from app.core.ports import Metrics
from app.core.tracing import Tracer
from app.services.activity import ActivityReader, ActivityRecorder
from app.services.administration import Administration
from app.services.authenticate import Authenticator
from app.services.batches.service import BatchService
from app.services.embed import EmbedService
from app.services.files import FileService
from app.services.idempotency import Idempotency
from app.services.journal_reader import JournalReader
from app.services.model_runtime import ModelRuntime
from app.services.uploads import UploadService
from app.services.usage import UsageService
from app.services.webhooks import WebhookSettings


@dataclass(frozen=True, slots=True)
class Services:
    """One gateway's collaborators.

    Attributes:
        ping_store: returns, or raises ``DependencyDown``.
        admin_token: opens ``/admin/v1``; None switches it off.
        tracer: tells of requests; None where traces are off.
        log_request: writes one line.
    """

    authenticator: Authenticator
    embed: EmbedService
    idempotency: Idempotency
    usage: UsageService
    journal: JournalReader
    activity: ActivityRecorder
    overview: ActivityReader
    administration: Administration
    files: FileService
    uploads: UploadService
    batches: BatchService
    webhooks: WebhookSettings
    models: Mapping[str, ModelRuntime]
    ping_store: Callable[[], Awaitable[None]]
    admin_token: str | None
    metrics: Metrics
    tracer: Tracer | None
    log_request: Callable[[Mapping[str, object]], None]
    clock_s: Callable[[], float]
    new_request_id: Callable[[], str]
    max_body_bytes: int
