"""Routes of administration for a project's webhook."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.services import Services
from app.api.wire import Strict


class WebhookSet(Strict):
    """Where a project is told that its batches have ended."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/\S*)?$", max_length=2000)]
    """Any server that the cluster can reach: whoever sets it chooses what the cluster calls."""


class WebhookOut(BaseModel):
    """A project's webhook."""

    object: Literal["webhook"] = "webhook"
    url: str


class WebhookWithSecret(WebhookOut):
    """A webhook that was just set; its secret is shown this once."""

    secret: str


class WebhookRemoved(BaseModel):
    """What is left of a webhook."""

    object: Literal["webhook"] = "webhook"
    deleted: Literal[True] = True


def add_webhooks(router: APIRouter, services: Services) -> None:
    """Set, show and remove it."""
    administration, webhooks = services.administration, services.webhooks

    @router.put("/projects/{project_id}/webhook", summary="Set or replace a project's webhook")
    async def set_webhook(project_id: str, body: WebhookSet) -> WebhookWithSecret:
        """In the form of Standard Webhooks: `batch.completed`, `.failed`, `.expired`, `.cancelled`. What is not
        answered with a 2xx is told again for 72 hours."""
        project = (await administration.view(project_id)).project
        webhook = await webhooks.set(project.project_id, body.url)
        return WebhookWithSecret(url=webhook.url, secret=webhook.secret)

    @router.get("/projects/{project_id}/webhook", summary="A project's webhook")
    async def get_webhook(project_id: str) -> WebhookOut:
        """404 when it has none."""
        return WebhookOut(url=(await webhooks.get((await administration.view(project_id)).project.project_id)).url)

    @router.delete("/projects/{project_id}/webhook", summary="Remove a project's webhook")
    async def remove_webhook(project_id: str) -> WebhookRemoved:
        """What was not told yet is not told any more."""
        await webhooks.remove((await administration.view(project_id)).project.project_id)
        return WebhookRemoved()
