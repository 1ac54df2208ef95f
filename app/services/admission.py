"""Admission before limits and credit exist: every request is let in and nothing is charged."""

from app.core.ports import AdmissionRequest, Hold


class OpenHold:
    """The hold of a request that costs nothing."""

    async def capture(self) -> None:
        """Nothing to settle."""

    async def release(self) -> None:
        """Nothing to give back."""


class OpenAdmission:
    """Lets every request in. The README lists it among the limits that exist today."""

    async def admit(self, request: AdmissionRequest) -> Hold:  # noqa: ARG002
        """Let the request in."""
        return OpenHold()
