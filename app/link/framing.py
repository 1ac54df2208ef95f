"""Messages over a stream: four bytes of little-endian length, then MessagePack."""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar, cast

import msgspec

logger = logging.getLogger("ray.serve.embedgate")

MAX_FRAME_BYTES = 64 * 1024 * 1024
_HEAD_BYTES = 4

M = TypeVar("M")


class Frames(asyncio.Protocol, Generic[M]):
    """One end of a connection. Whatever cannot be read as an expected message ends it.

    Args:
        decode: reads the other end's messages.
        max_bytes: longest frame that is accepted.
    """

    def __init__(self, decode: Callable[[bytes], M], *, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self.max_bytes = max_bytes
        self._decode = decode
        self._encoder = msgspec.msgpack.Encoder()
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def on_message(self, message: M) -> None:
        """Called for each message, in order."""
        raise NotImplementedError

    def on_lost(self) -> None:
        """Called once when the connection ended."""
        raise NotImplementedError

    def send(self, message: msgspec.Struct) -> None:
        """Write a message; one to a connection that has ended is dropped."""
        if not self.is_open:
            return
        frame = bytearray(_HEAD_BYTES)
        self._encoder.encode_into(message, frame, _HEAD_BYTES)
        frame[:_HEAD_BYTES] = (len(frame) - _HEAD_BYTES).to_bytes(_HEAD_BYTES, "little")
        assert self._transport is not None
        self._transport.write(frame)

    def close(self) -> None:
        """End the connection once what was sent is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See :class:`asyncio.Protocol`."""
        self.on_lost()

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self._buffer += data
        while self.is_open and len(self._buffer) >= _HEAD_BYTES:
            end = _HEAD_BYTES + int.from_bytes(self._buffer[:_HEAD_BYTES], "little")
            if end > self.max_bytes + _HEAD_BYTES:
                logger.warning("a message of %d bytes is over the bound; the connection is closed", end)
                self.close()
                return
            if len(self._buffer) < end:
                return
            frame = bytes(memoryview(self._buffer)[_HEAD_BYTES:end])
            del self._buffer[:end]
            try:
                message = self._decode(frame)
            except msgspec.DecodeError as error:
                logger.warning("a message cannot be read; the connection is closed: %s", error)
                self.close()
                return
            self.on_message(message)
