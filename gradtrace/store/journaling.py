"""How SQLite may journal at a place: write-ahead log where it works, rollback journal elsewhere."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path

from gradtrace.store.schema import SIDE_FILES, side_file

_NETWORK = frozenset(
    ("nfs", "nfs4", "lustre", "gpfs", "cifs", "smb3", "beegfs", "ceph", "fuse.sshfs", "9p", "afs", "glusterfs")
)
"""Where the shared memory of a write-ahead log does not reach other machines, though it may seem to."""

_MOUNTS = Path("/proc/self/mounts")
_ESCAPED = re.compile(r"\\([0-7]{3})")
"""White space and backslashes of a mount point's name, in octal."""


def choose(path: Path) -> str:
    """The journal mode for a trace at `path`: "WAL" or "TRUNCATE"."""
    return "WAL" if _file_system(path.parent) not in _NETWORK and _wal_works(path) else "TRUNCATE"


def _wal_works(path: Path) -> bool:
    """Write through a log beside `path` and read it back: some file systems fail only at the first write."""
    probe = path.with_name(f"{path.name}-probe{os.getpid()}")
    try:
        with contextlib.closing(sqlite3.connect(probe, timeout=1, isolation_level=None)) as writer:
            mode = writer.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            writer.execute("PRAGMA synchronous=OFF")
            writer.execute("CREATE TABLE probe (value)")
            writer.execute("INSERT INTO probe VALUES (1)")
            with contextlib.closing(sqlite3.connect(probe, timeout=1)) as reader:
                return bool(mode == "wal" and reader.execute("SELECT value FROM probe").fetchone() == (1,))
    except sqlite3.Error:
        return False
    finally:
        for suffix in ("", *SIDE_FILES):
            side_file(probe, suffix).unlink(missing_ok=True)


def _file_system(folder: Path) -> str | None:
    """The type of the file system that holds `folder`; None where the system does not say."""
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    target = str(folder.resolve())
    best, kind = "", None
    for fields in (line.split() for line in mounts):
        point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[1])
        if len(point) >= len(best) and (target + "/").startswith(point.rstrip("/") + "/"):
            best, kind = point, fields[2]
    return kind
