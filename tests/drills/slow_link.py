"""A way to a server that can be made slow: what goes through it is held back, in both directions.

It is a process of its own, ahead of all others where that is allowed: callers and polls beside it would make it slow
when nobody asked for that.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

_AHEAD = -10


class SlowLink:
    """A proxy of TCP on loopback."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.drills.slow_link"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def open(self, port: int) -> int:
        """The port that leads to ``port``."""
        return int(self._ask(f"open {port}"))

    def delay(self, delay_s: float) -> None:
        """Hold everything back for so long, from now on."""
        self._ask(f"delay {delay_s}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _ask(self, question: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


class _Way:
    """All that a link's process knows."""

    def __init__(self) -> None:
        self.delay_s = 0.0

    async def listen(self, port: int) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there, back = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                writer.close()
                return
            await asyncio.gather(self._carry(reader, back), self._carry(there, writer))

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()


async def _obey(questions: IO[str]) -> None:
    way = _Way()
    while question := await asyncio.to_thread(questions.readline):
        verb, _, value = question.strip().partition(" ")
        if verb == "open":
            print(await way.listen(int(value)), flush=True)
        else:
            way.delay_s = float(value)
            print("so be it", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        os.nice(_AHEAD)
        Path("/proc/self/autogroup").write_text(str(_AHEAD))  # a session's niceness, which goes before a process's
    asyncio.run(_obey(sys.stdin))
