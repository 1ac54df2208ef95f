"""One of several processes that spend a project's money: ``python -m tests.e2e.spend``.

Sixteen clients send requests of four new tokens each until one is refused, or until told to stop,
and write a JSON line for each answer.
"""

import json
import os
import sys
import threading
import time

import httpx

TOKENS = 4
_FIRST_ID, _LAST_ID = 2000, 29_000


def new_item(seed: int, count: int) -> list[int]:
    """Four tokens that were never sent before by this or another client."""
    span = _LAST_ID - _FIRST_ID
    number = seed * 1_000_003 + count
    return [101, _FIRST_ID + number % span, _FIRST_ID + number // span % span, 102]


def code_of(response: httpx.Response) -> str:
    """The envelope's code, or the beginning of what is no envelope."""
    try:
        return str(response.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return f"no envelope: {response.status_code} {response.headers.get('content-type')} {response.text[:80]!r}"


def client(url: str, key: str, seed: int, seconds: float, stop_at_refusal: bool, lock: threading.Lock) -> None:
    deadline_s = time.monotonic() + seconds
    count = 0
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=20) as http:
        while time.monotonic() < deadline_s:
            count += 1
            began_s = time.time()
            line: dict[str, object] = {"at_s": began_s}
            try:
                body = {"model": "m", "input": [new_item(seed, count)]}
                response = http.post(f"{url}/embeddings", json=body)
                line |= {
                    "status": response.status_code,
                    "request_id": response.headers.get("x-request-id"),
                    "cost": response.headers.get("x-cost-nano-usd"),
                    "retry_after": response.headers.get("retry-after"),
                }
                if response.status_code != 200:
                    line["code"] = code_of(response)
            except httpx.HTTPError as error:
                line["status"] = type(error).__name__
            line["took_s"] = time.time() - began_s
            with lock:
                print(json.dumps(line), flush=True)
            if stop_at_refusal and line["status"] in (402, 429):
                return
            if line["status"] != 200:
                time.sleep(0.05)


def main() -> None:
    url, key, number, seconds, stop = sys.argv[1:]
    lock = threading.Lock()
    threads = [
        threading.Thread(
            target=client,
            args=(url, key, os.getpid() * 100 + int(number) * 16 + n, float(seconds), stop == "1", lock),
        )
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
