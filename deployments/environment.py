"""What the service reads of its environment, and where its store is."""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.core.settings import Settings

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

ADMIN_TOKEN_VARIABLE = "EMBEDGATE_ADMIN_TOKEN"  # noqa: S105
REDIS_URL_VARIABLE = "REDIS_URL"
JOURNAL_URL_VARIABLE = "EMBEDGATE_JOURNAL_URL"
FILES_URL_VARIABLE = "EMBEDGATE_FILES_URL"
CACHE_URL_VARIABLE = "EMBEDGATE_CACHE_URL"

logger = logging.getLogger("ray.serve.embedgate")


def from_environment() -> dict[str, str]:
    """What the replicas need of the environment in which the application is deployed.

    It travels with the application, because their processes inherit the cluster's environment,
    not that of the shell in which ``serve run`` was typed.
    """
    names = (
        REDIS_URL_VARIABLE,
        JOURNAL_URL_VARIABLE,
        FILES_URL_VARIABLE,
        CACHE_URL_VARIABLE,
        ADMIN_TOKEN_VARIABLE,
    )
    return {name: os.environ[name] for name in names if os.environ.get(name)}


async def redis_url(
    settings: Settings, environment: Mapping[str, str], embedded_redis: "DeploymentHandle | None"
) -> str:
    """Where the store is: the environment goes before the configuration, and both before the embedded one."""
    named = environment.get(REDIS_URL_VARIABLE) or settings.redis.url
    if named:
        return named
    assert embedded_redis is not None, "the builder adds the embedded Redis where no URL is set"
    logger.warning("no %s: everything is kept by the embedded Redis of this machine", REDIS_URL_VARIABLE)
    return str(await embedded_redis.url.remote())


def files_url(settings: Settings, environment: Mapping[str, str]) -> str:
    """Where files lie."""
    return environment.get(FILES_URL_VARIABLE) or settings.files.url
