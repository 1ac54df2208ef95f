"""Where objects lie: a folder of this machine, or a bucket.

The store's blocking calls are made from threads: its own event loop has been seen to abort a process
that ends.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import obstore
from obstore.store import LocalStore, from_url


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """A store of ``obstore``; ``folder`` is set when it is one of this machine."""

    store: Any
    folder: Path | None

    @classmethod
    def of(cls, url: str) -> "ObjectPlace":
        """A place by its URL.

        Args:
            url: a folder, ``file://…``, ``s3://…`` or ``gs://…``; credentials come from the
                environment, as the clouds' own tools read them.
        """
        if "://" in url and not url.startswith("file://"):
            return cls(from_url(url), None)
        folder = Path(urlparse(url).path if "://" in url else url).absolute()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(LocalStore(str(folder)), folder)


def paths_under(store: Any, prefix: str) -> list[str]:
    """Paths of all objects below a prefix; blocks."""
    return [str(item["path"]) for page in obstore.list(store, prefix=prefix) for item in page]
