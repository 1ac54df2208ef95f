"""How often Python's collector of cycles runs in a process that serves.

A request makes hundreds of objects that its end frees, and next to no cycle. With Python's own
thresholds the collector looks at them all several times a request, and at everything that was
imported again and again: a twelfth of a gateway's time.
"""

import gc

_THRESHOLDS = (20_000, 10, 10)
"""Python's own are 700, 10 and 10."""


def collect_seldom() -> None:
    """Call it once all is set up: what exists then is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
