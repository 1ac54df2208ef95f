"""POST to somebody else's server, with a bound on the whole of it and no redirect."""

import asyncio
import logging
from collections.abc import Mapping

import httpx

logger = logging.getLogger("ray.serve.embedgate")

_TIMEOUT_S = 10.0


class HttpPost:
    """Callable: the status of the answer; None when none came."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False)

    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str]) -> int | None:
        """Send; what the answer says is not read."""
        try:
            async with (
                asyncio.timeout(_TIMEOUT_S),
                self._client.stream("POST", url, content=body, headers=dict(headers)) as response,
            ):
                return response.status_code
        except Exception as error:
            logger.info("a webhook does not answer: %s: %s", type(error).__name__, error)
            return None
