"""Making what was written durable, for engines whose stores are files and folders.

Owns: one call. Never opens a store.
"""

import os
from pathlib import Path


def sync_path(path: Path) -> None:
    """fsync of a file's content, or of a folder's entries: what was made or renamed in it stays. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
