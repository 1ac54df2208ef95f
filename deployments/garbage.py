"""How often Python's collector of cycles runs in a process that serves.

A request makes hundreds of objects that its end frees, and next to no cycle. With Python's own
thresholds the collector looks at those of all requests under way several times a request: a twelfth of
a gateway's time. (What was there when a replica was ready it never looks at: Serve freezes that.)
"""

import gc

_THRESHOLDS = (20_000, 10, 10)
"""Python's own are 700, 10 and 10."""


def collect_seldom() -> None:
    """For the process that calls it."""
    gc.set_threshold(*_THRESHOLDS)
