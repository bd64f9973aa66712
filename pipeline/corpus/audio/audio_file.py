"""An open audio file: its header, the interface of its readers, its errors.

In:   nothing.   Out: `Header`, `AudioFile`, the error for a file that cannot be used.
Not here: the readers themselves (decode.py, libsndfile.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from pipeline.files import InputError
from pipeline.shapes import Float32

BLOCK_SAMPLES = 2**19  # samples per channel: 33 s at 16 kHz

EXCLUDE_HINT = "or list the utterance under exclude: in the corpus file"
REPAIR_HINT = f"repair the file, {EXCLUDE_HINT}"


class Header(NamedTuple):
    """Rate in Hz, samples per channel, number of channels."""

    rate: int
    samples: int
    channels: int


@runtime_checkable
class AudioFile(Protocol):
    """An open audio file."""

    rate: int  # Hz

    def blocks(
        self, start: int, samples: int | None
    ) -> Iterator[Float32[np.ndarray, "N channels"]]:
        """Yield `samples` samples from `start` on, or all to the end, full scale 1.

        A block has at most BLOCK_SAMPLES samples. Raises InputError if the file does not hold them.
        """
        ...

    def close(self) -> None: ...


@contextmanager
def without_exclude_hint() -> Iterator[None]:
    """Leave EXCLUDE_HINT out of errors: of a recording that is in no corpus."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).removesuffix(f", {EXCLUDE_HINT}")) from None


def unusable_audio_error(path: object, problem: str, hint: str = REPAIR_HINT) -> InputError:
    return InputError(f"{path}: {problem}; {hint}")


def stop_sample(path: str, start: int, samples: int | None, available: int | None) -> int | None:
    """Return the index after the last requested sample; None if only decoding finds the end.

    Raises InputError if the range is not within the `available` samples.
    """
    if available is None:
        return None if samples is None else start + samples
    stop = available if samples is None else start + samples
    if not 0 <= start < stop <= available:
        requested = f"{start} to {'its end' if samples is None else stop}"
        raise unusable_audio_error(path, f"has {available} samples, not the range {requested}")
    return stop
