"""Mutations of bytes, drawn by a seed, and the check that a message is one line."""

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.files import InputError

TIMES = int(os.environ.get("BLANKSLATE_FUZZ", "1"))  # as many mutations as usual
MAX_CPU_SECONDS = 5.0
TOKENS = (
    b"\t", b",", b";", b'"', b"\0", b"\r", b"\n", b"|", b" ", b"nan", b"inf", b"-1", b"1e308",
    b"9" * 400, b"\\ud800", b"[" * 50, b"{", b"}", b"]", b"../", b"~", b"~root/", b"\xff",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xa8", b"null", b"true", b"[]", b"{}",
    b"''", b"&a", b"*a", b"!!python/object:os.system", b": ", b"- ", b"/dev/zero", b"cat x |",
    b"x.ark:17", b"0", b"\xcc\x88",
)  # fmt: skip


def mutate(content: bytes, rng: random.Random, tokens: tuple[bytes, ...] = TOKENS) -> bytes:
    """Return the content after one to three changes."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        length = rng.choice((1, 1, 2, 4, 8, 30))
        match rng.randrange(7):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[min(at, len(data) - 1)] = rng.randrange(256)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = rng.choice(tokens)
            case 4:
                data[at : at + length] = rng.choice(tokens)
            case 5:
                start = rng.randrange(len(data) + 1)
                data[at:at] = data[start : start + length]
            case _ if rng.random() < 0.3:
                del data[at:]
    return bytes(data)


@contextmanager
def one_line_or_fine(what: object) -> Iterator[None]:
    """Fail for any exception but an InputError of one line, and for more than 5 s of CPU time."""
    began = time.process_time()
    try:
        yield
    except InputError as error:
        if "\n" in str(error) or not str(error):
            raise AssertionError(f"not one line: {error}: {what!r}") from error
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}: {what!r}") from error
    assert time.process_time() - began < MAX_CPU_SECONDS, what
