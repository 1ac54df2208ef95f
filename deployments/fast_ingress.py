"""Ray Serve's fast path, which must be chosen before Ray starts."""

from collections.abc import Mapping

FAST_INGRESS = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
}
"""Environment of every Ray process, head and workers alike."""

HAPROXY_PROGRAM_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"

_LOST = {
    "RAY_SERVE_ENABLE_HA_PROXY": "requests pass Ray's Python proxy: about a tenth of the requests/s, 6 ms more each",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "calls between replicas take the slower path: about half of the requests/s",
}


def lost_without(environment: Mapping[str, str]) -> list[str]:
    """What is lost for each variable that is not set; empty when all are."""
    lost = [
        f"{name}=1 was not set before Ray started: {_LOST[name]}. Set it for every Ray process and restart Ray."
        for name, value in FAST_INGRESS.items()
        if environment.get(name) != value
    ]
    if not environment.get(HAPROXY_PROGRAM_VARIABLE):
        lost.append(
            f"{HAPROXY_PROGRAM_VARIABLE} was not set before Ray started: HAProxy answers in plain text when no gateway "
            "can, and shows its statistics on all addresses. Set it to the path of 'embedgate-haproxy'."
        )
    return lost
