"""Files that appear whole or not at all, and digests.

In:   bytes, text, JSON-able values.   Out: files; hexadecimal digests.
Every writer of the work folder goes through `replacing`.
"""

import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Something that a person must mend, in one line: where, the value, the limit, the way out."""


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a path beside `path`; move it over `path` when the block ends well.

    A `durable` file is flushed to the disk before the move, so that a power cut leaves the old file
    or the new one. Shards are not: that costs more than writing them, and half a shard is found (if
    cut short at opening, else by `verify`) and made again. The temporary name is unique,
    because array tasks race for the same target.
    """
    writer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    partial = path.with_name(f".{path.name}.{writer}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if durable:
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
        _replace_with_retry(partial, path)
    except OSError as error:
        error.add_note(
            f"while writing {path}; choose another work folder with WORK=…, or free some space"
        )
        raise
    finally:
        if partial.parent.is_dir():
            partial.unlink(missing_ok=True)


def _replace_with_retry(partial: Path, path: Path) -> None:
    """Windows refuses while another process has `path` open, as status does for a moment."""
    for _ in range(20):
        try:
            partial.replace(path)
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(0.05)
        else:
            return
    partial.replace(path)


def write_bytes(path: Path, content: bytes) -> None:
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def json_digest(value: Any) -> str:
    """SHA-256, in hexadecimal, of the canonical JSON of `value`: keys sorted, no white space."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
