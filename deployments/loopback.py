"""Keeps Serve's replica-to-replica port on the loopback address of a single machine.

Ray 2.60 opens that port on all addresses, whatever address the node has, and unpickles what
arrives there: on a laptop, that would let anyone on the network run code. On a real cluster the
port must be reachable, and a NetworkPolicy fences it.
"""

import logging
from typing import Any

import ray

logger = logging.getLogger("ray.serve.embedgate")

_LOOPBACK = "127.0.0.1"


def keep_internal_port_local() -> None:
    """Call in a replica's constructor: Serve opens the port after it."""
    if ray.util.get_node_ip_address() != _LOOPBACK:
        return
    from ray.serve._private import replica

    original = getattr(replica, "add_port_to_grpc_server", None)
    if original is None:
        logger.warning("this Ray opens its internal port in another way; check what listens beyond loopback")
        return

    def on_loopback(server: Any, address: str) -> Any:
        port = address.rpartition(":")[2]
        return original(server, f"{_LOOPBACK}:{port}")

    replica.add_port_to_grpc_server = on_loopback
