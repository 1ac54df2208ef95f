"""Admission without a ledger, for measuring what the ledger costs. Never part of a default."""

from app.core.ports import Admission, AdmissionRequest, Hold
from app.core.rates import Rates
from app.services.admission import FreeHold


class OpenAdmissionForTests:
    """Lets one ``user`` in without a ledger; everybody else goes to the real admission.

    Args:
        admission: the real one.
        user: whose requests are neither limited nor charged.
    """

    def __init__(self, admission: Admission, user: str) -> None:
        self._admission = admission
        self._user = user

    async def admit(self, request: AdmissionRequest) -> Hold:
        """Let the request in, or ask the real admission."""
        if request.user == self._user:
            return FreeHold(Rates(None, None))
        return await self._admission.admit(request)
