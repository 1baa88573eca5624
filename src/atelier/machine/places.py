"""Files as the addresses by which SQLAlchemy, MLflow and Prefect are told of them, and back."""

from __future__ import annotations

import urllib.parse
import urllib.request
from pathlib import Path


def database_url(file: Path, driver: str = "") -> str:
    """The address of an SQLite file; with `?` in its path too.

    Args:
        file: absolute.
        driver: of SQLAlchemy, such as aiosqlite; by default Python's own.
    """
    if "?" not in str(file):
        return f"sqlite{'+' * bool(driver)}{driver}:///{file}"
    # SQLAlchemy would end the path at the `?`. The driver is named, since MLflow makes a folder
    # `file:` of what stands after `sqlite:///`.
    return f"sqlite+{driver or 'pysqlite'}:///file:{urllib.parse.quote(str(file))}?uri=true"


def is_database_file(url: str) -> bool:
    """Whether an address is that of an SQLite file, not of a server."""
    return url.startswith(("sqlite:", "sqlite+"))


def local_path(location: str) -> Path | None:
    """The file or folder of an address as MLflow keeps it; None if it is not on this machine."""
    if location.startswith("/"):
        return Path(location)
    try:
        parts = urllib.parse.urlsplit(location)
    except ValueError:
        return None
    if parts.scheme != "file" or parts.netloc:
        return None
    return Path(urllib.request.url2pathname(parts.path))
