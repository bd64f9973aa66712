"""A file object made of parts: ranges of a file, and bytes of our own between them.

In:   an open file, parts.   Out: a file object that soundfile reads.
Not here: which parts of a file are audio (mp3_frames.py, ogg_pages.py).
"""

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, BinaryIO


class ByteRanges(io.RawIOBase):
    """The bytes of `parts`, one after the other; a range means these bytes of `file`."""

    def __init__(self, file: BinaryIO, parts: Sequence[bytes | range]) -> None:
        super().__init__()
        self._file, self._parts, self._position = file, parts, 0
        self._starts = [0, *accumulate(map(len, parts))]
        #: soundfile would print an error of reading, so it is kept here.
        self.error: OSError | None = None

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        end = self._starts[-1]
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: end}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and self._position < self._starts[-1]:
            index = bisect_right(self._starts, self._position) - 1
            part, first = self._parts[index], self._position - self._starts[index]
            size = min(len(view) - done, len(part) - first)
            try:
                content = self._read_part(part, first, size)
            except OSError as error:
                self.error = error
                break
            if not content:
                break
            view[done : done + len(content)] = content
            done += len(content)
            self._position += len(content)
        return done

    def _read_part(self, part: bytes | range, first: int, size: int) -> bytes:
        if isinstance(part, bytes):
            return part[first : first + size]
        self._file.seek(part.start + first)
        return self._file.read(size)
