"""Whether a replica begins a request while the ledger is still being asked.

On an idle service the ledger's round trip is all that a request waits for before its work, so that
work begins at once: for a caller that the ledger let in the last time, while no replica is known to have
anything else to do (other gateways' work is heard of within half a second). A refusal withdraws it, and
what was computed by then is forgotten. That wastes one request of one caller, at most, for each refusal.
"""

from cachetools import LRUCache

from app.core.ports import AdmissionRequest, EmbedderPool

_CALLERS = 10_000


class HeadStart:
    """Remembers which callers (a project's key each) were let in the last time."""

    def __init__(self) -> None:
        self._welcome: LRUCache[tuple[str, str], None] = LRUCache(_CALLERS)

    def is_due(self, asked: AdmissionRequest, pool: EmbedderPool) -> bool:
        """Whether to begin now."""
        return asked.charged_tokens > 0 and _caller(asked) in self._welcome and pool.is_idle

    def admitted(self, asked: AdmissionRequest) -> None:
        """The ledger let a request in; one for which nothing is computed says nothing of its caller's credit."""
        if asked.charged_tokens:
            self._welcome[_caller(asked)] = None

    def refused(self, asked: AdmissionRequest) -> None:
        """The ledger let it in not, or did not say."""
        self._welcome.pop(_caller(asked), None)


def _caller(asked: AdmissionRequest) -> tuple[str, str]:
    return asked.project_id, asked.key_id
