"""What gateways and replicas say to each other: MessagePack arrays, told apart by their first element.

A gateway says :class:`Hello` first and is answered :class:`Welcome`. It numbers its items on each
connection; every number is answered once, in :class:`Vectors` or :class:`Failed`, unless it was
cancelled.
"""

import msgspec

from app.core.load import ReplicaLoad


class Hello(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A gateway introduces itself with the secret that the replica's announcement carried."""

    token: str


class Group(msgspec.Struct, array_like=True, frozen=True):
    """Items that follow each other in a :class:`Submit` and are of one project, tier and traced request."""

    project_id: str
    tier: str
    weight: int
    count: int
    trace: str = ""


class Submit(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """Items to compute, numbered from ``first`` on; arrays as in ``app.core.packing``.

    ``timeouts_ms`` are little-endian int32, one for each item.
    """

    first: int
    groups: list[Group]
    timeouts_ms: bytes
    lengths: bytes
    ids: bytes


class Cancel(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """Items that nobody waits for any more: little-endian int64 numbers."""

    numbers: bytes


class Welcome(msgspec.Struct, array_like=True, frozen=True, tag=11):
    """The replica is ready."""

    load: ReplicaLoad


class Vectors(msgspec.Struct, array_like=True, frozen=True, tag=12):
    """Answers of one engine step: numbers, and as many float32 vectors."""

    numbers: bytes
    vectors: bytes
    load: ReplicaLoad


class Failed(msgspec.Struct, array_like=True, frozen=True, tag=13):
    """Items that have no vector: an ``EngineFault``, "capacity", "deadline" or "invalid", and one sentence."""

    numbers: bytes
    failure: str
    message: str
    retry_after_s: int


class Beat(msgspec.Struct, array_like=True, frozen=True, tag=14):
    """The replica lives; said twice a second."""

    load: ReplicaLoad


class Goodbye(msgspec.Struct, array_like=True, frozen=True, tag=15):
    """Send no more: the replica leaves once what it has is answered."""


FromGateway = Hello | Submit | Cancel
FromReplica = Welcome | Vectors | Failed | Beat | Goodbye
