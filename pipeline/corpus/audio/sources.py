"""What of a file is given to libsndfile: the whole file, or the parts that are found to be audio.

In:   an open file.   Out: sources that are decoded one after the other; an InputError for damage.
Not here: decoding them (libsndfile.py).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from typing import BinaryIO

from pipeline.corpus.audio import wav_header
from pipeline.corpus.audio.audio_file import unusable_audio_error
from pipeline.corpus.audio.byte_ranges import ByteRanges
from pipeline.corpus.audio.mp3_frames import (
    DamagedMP3Error,
    MP3Frames,
    find_frames,
    make_xing_frame,
)
from pipeline.corpus.audio.ogg_pages import DamagedOggError, find_links
from pipeline.corpus.audio.wav_header import WavHeader

Source = str | ByteRanges

MAX_BYTES_AT_ONCE = 2**22  # an mp3 of several minutes


def find_sources(
    path: str, file: BinaryIO, wav: WavHeader | None, head: bytes
) -> tuple[Sequence[Source], bool]:
    """Return the sources, and whether libsndfile knows their length exactly if they are mp3.

    Raises InputError if a page of an Ogg file or the frames of an mp3 file are damaged.
    """
    if wav and (plain_header := wav.plain_header):
        samples = range(wav.offset, wav.offset + wav.samples * wav.frame_bytes)
        return [ByteRanges(file, [plain_header, samples])], True
    try:
        with _content(file) as content:
            if head.startswith(b"OggS"):
                links = find_links(content)
                whole = len(links) == 1
                return [path] if whole else [ByteRanges(file, [link]) for link in links], True
            if wav is None:
                frames = find_frames(content)
                return _mp3_sources(path, file, frames)
            if wav.tag == wav_header.MP3:
                frames = find_frames(content, wav.offset, wav.offset + wav.size)
                return _mp3_sources(path, file, frames, inside_wav=True)
    except (DamagedOggError, DamagedMP3Error) as error:
        raise unusable_audio_error(path, str(error)) from None
    return [path], True


@contextmanager
def _content(file: BinaryIO) -> Iterator[bytes | mmap]:
    """Give the bytes of a file: a short one at once, which is faster, a long one as a mapping."""
    if os.fstat(file.fileno()).st_size <= MAX_BYTES_AT_ONCE:
        file.seek(0)
        yield file.read()
    else:
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            yield content


def _mp3_sources(
    path: str, file: BinaryIO, frames: MP3Frames | None, *, inside_wav: bool = False
) -> tuple[Sequence[Source], bool]:
    if frames is None:
        return [path], False
    if frames.is_stated_right and not inside_wav:
        return [path], True
    xing_frame = make_xing_frame(frames.header, frames.samples)
    return [ByteRanges(file, [xing_frame, *frames.ranges])], True
