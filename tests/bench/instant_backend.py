"""A backend for gateways under test that answers one and the same embedding at once. Port as argument."""

import asyncio
import json
import sys

_BODY = json.dumps(
    {
        "object": "list",
        "model": "instant",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.05] * 384}],
        "usage": {"prompt_tokens": 24, "total_tokens": 24},
    }
).encode()
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY) + _BODY


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._seen = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while True:
            head, separator, rest = self._seen.partition(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")), 0)
            if not separator or len(rest) < length:
                return
            self._seen = rest[length:]
            self._transport.write(_ANSWER)


async def _main() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
