"""Files that appear whole or not at all, and digests.

In:   bytes, text, JSON-able values.   Out: files; hexadecimal digests.
Not here: the names of the files in the work folder (pipeline/runs/folder.py).

Everything in the work folder is written with `atomic_write`.
"""

import hashlib
import json
import os
import re
import secrets
import socket
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

# The end of the note of a write that failed.
WRITE_ADVICE = "choose another work folder with WORK=… (or another OUT=…), or free some space"
# A partial file of this age is left over. A younger one of another host may still be written:
# its process cannot be checked from here.
PARTIAL_FILE_TIMEOUT_S = 24 * 3600.0
JOINERS = "\u200c\u200d"  # invisible, and part of words in Persian and Hindi


class InputError(ValueError):
    """A mistake that the user must correct; one line: where, the value, the limit, what to do."""


def error_reason(error: Exception) -> str:
    """Return why a file cannot be used: the system's words, or else those of the exception."""
    return getattr(error, "strerror", None) or str(error)


def expand_home(path: Path) -> Path:
    """Expand `~` and `~name`; a name that no user of this machine has stays as it is."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def make_printable(text: str) -> str:
    r"""Return `text` in one line that any terminal and UTF-8 file can hold.

    Control characters and bytes that are not UTF-8 become escapes such as \n and \udce7.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in JOINERS or unicodedata.category(c) == "Zs" else ascii(c)[1:-1]
        for c in text
    )


Item = TypeVar("Item")
Written = TypeVar("Written")
MANY_FILES, WRITING_THREADS = 16, 8


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends without error.

    A `durable` file is flushed to the disk first: after a power cut the old or the new file is
    there. Shards are not durable, because flushing costs more than writing them. A damaged shard is
    found when it is opened or by `verify`, and is computed again.
    The temporary name is unique, because array tasks may write the same file at the same time.
    What killed writers left in the folder is deleted when a process first writes there.
    An OSError gets a note with the path and what to do.
    """
    writer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    partial = path.with_name(f".{path.name}.{writer}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clean_once(path.parent)
        yield partial
        if durable:
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
        _replace_with_retry(partial, path)
    except OSError as error:
        error.add_note(f"while writing {path}; {WRITE_ADVICE}")
        raise
    finally:
        if partial.parent.is_dir():
            partial.unlink(missing_ok=True)


@lru_cache(maxsize=4096)
def _clean_once(folder: Path) -> None:
    remove_abandoned(folder)


def remove_abandoned(folder: Path) -> None:
    """Delete the temporary files of `atomic_write` whose writers were killed."""
    for partial in folder.glob(".*.partial"):
        with suppress(OSError):  # the folder may be read-only
            old = time.time() - partial.stat().st_mtime > PARTIAL_FILE_TIMEOUT_S
            if old or is_abandoned(partial):
                partial.unlink()


def is_abandoned(partial: Path) -> bool:
    """Return whether a process of this host began this file with `atomic_write` and has ended."""
    from pipeline.host import is_alive  # noqa: PLC0415 (such a file is rare)

    # The point keeps the files of login-n1 from n1.
    host = re.escape(f".{socket.gethostname()}")
    found = re.search(rf"{host}-(?P<pid>\d+)-[0-9a-f]{{8}}\.partial$", partial.name)
    return found is not None and not is_alive(int(found["pid"]))


def _replace_with_retry(partial: Path, path: Path) -> None:
    """Rename; try again on Windows, which refuses while another process has `path` open."""
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
    """Write the whole file or nothing; so do `write_text` (UTF-8) and `write_json`."""
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode())


def write_many(write: Callable[[Item], Written], items: Sequence[Item]) -> list[Written]:
    """Return `write` of each item, in order.

    A disk or a file server flushes several files at once, so many are written by several threads.
    """
    if len(items) < MANY_FILES:
        return list(map(write, items))
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 (few commands need it)

    with ThreadPoolExecutor(WRITING_THREADS) as pool:
        return list(pool.map(write, items))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str) -> Any:
    """Return the value; ValueError where the text is no JSON, or is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def json_digest(value: Any) -> str:
    """Return SHA-256 in hexadecimal of the JSON of `value` with sorted keys and no white space."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
