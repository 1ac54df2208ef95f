"""Webhooks in the form of Standard Webhooks (standardwebhooks.com): what is sent, how it is signed. Pure."""

import base64
import hashlib
import hmac
from dataclasses import dataclass

import orjson

from app.core.batch.state import Batch

SECRET_PREFIX = "whsec_"  # noqa: S105
SECRET_BYTES = 32

GIVE_UP_AFTER_MS = 72 * 3600 * 1000
_FIRST_WAIT_MS = 5_000
_LONGEST_WAIT_MS = 4 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a project wants to be told; ``secret`` signs."""

    url: str
    secret: str


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something to tell, and how often that was tried."""

    project_id: str
    event_id: str
    type: str
    subject_id: str
    created_at_ms: int
    attempts: int = 0

    def body(self) -> bytes:
        """What is sent: the same at every attempt."""
        return orjson.dumps(
            {
                "id": self.event_id,
                "object": "event",
                "created_at": self.created_at_ms // 1000,
                "type": self.type,
                "data": {"id": self.subject_id},
            }
        )

    def next_at_ms(self, now_ms: int) -> int | None:
        """When to try again after ``attempts`` failures; None when it is to be given up."""
        wait_ms = min(_LONGEST_WAIT_MS, _FIRST_WAIT_MS * 4 ** min(self.attempts - 1, 20))
        at_ms = now_ms + wait_ms
        return at_ms if at_ms <= self.created_at_ms + GIVE_UP_AFTER_MS else None


def new_secret(random: bytes) -> str:
    """A signing secret from 32 random bytes."""
    assert len(random) == SECRET_BYTES, "24 to 64 bytes are asked for. This is a bug."
    return SECRET_PREFIX + base64.b64encode(random).decode()


def headers_of(event: WebhookEvent, webhook: Webhook, *, now_s: int) -> dict[str, str]:
    """Headers of one attempt: the event's id, the attempt's time, and the signature over both and the body."""
    key = base64.b64decode(webhook.secret.removeprefix(SECRET_PREFIX))
    signed = f"{event.event_id}.{now_s}.".encode() + event.body()
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        "content-type": "application/json",
        "webhook-id": event.event_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": f"v1,{signature}",
    }


def event_of(project_id: str, batch: Batch) -> WebhookEvent:
    """That a batch has ended."""
    digest = hashlib.blake2b(f"{batch.batch_id}/{batch.status}".encode(), digest_size=12).hexdigest()
    ended_at_ms = batch.moments_ms[batch.status.value]
    return WebhookEvent(project_id, f"evt_{digest}", f"batch.{batch.status.value}", batch.batch_id, ended_at_ms)
