"""Damage that libsndfile does not report: sphere and Ogg files cut short, compressed sphere.

In:   a file, what libsndfile found in it.   Out: an InputError, or nothing.
Not here: wav (wav_header.py); flac and mp3, where decoding finds the missing end.
"""

import os
import re
from typing import BinaryIO

from pipeline.corpus.audio.audio_file import unusable_audio_error

SPHERE_HEADER_BYTES = 1024
COMPRESSED_SPHERE_CODINGS = (b"shorten", b"wavpack", b"shortpack")
MAX_OGG_PAGE_BYTES = 65_307
OGG_PAGE_HEADER_BYTES = 27  # the last of them is the number of segment sizes that follow
OGG_FLAGS_BYTE = 5
OGG_END_OF_STREAM = 4  # flag of an Ogg page


def require_uncompressed_sphere(path: str, head: bytes) -> None:
    """Raise InputError if `head`, the start of the file, is that of a compressed sphere file."""
    coding = re.search(rb"^NIST_1A.*^sample_coding -s\d+ (\S+)", head, re.MULTILINE | re.DOTALL)
    if coding and any(name in coding[1] for name in COMPRESSED_SPHERE_CODINGS):
        name = coding[1].decode("ascii", "replace")
        raise unusable_audio_error(
            path,
            f"is a compressed sphere file ({name}), which cannot be read",
            "sph2pipe -f wav IN.sph OUT.wav writes a wav file",
        )


def require_complete(path: str, file: BinaryIO, head: bytes, kind: str, frames: int) -> None:
    """Raise InputError if a file that libsndfile opened is no audio, empty or cut short.

    `kind` and `frames` are the format and the samples per channel that libsndfile found.
    """
    if kind == "RAW":  # libsndfile accepts any file named .au as raw samples
        raise unusable_audio_error(path, "is not an audio file (it has no header)")
    if frames == 0:
        raise unusable_audio_error(path, "holds no samples")
    if kind == "NIST":
        _require_complete_sphere(path, head, frames)
    if kind == "OGG":
        _require_last_ogg_page(path, file)


def _require_complete_sphere(path: str, head: bytes, available: int) -> None:
    """Compare the header's number of samples with the number that is there."""
    count = re.search(rb"^sample_count -i (\d+)", head, re.MULTILINE)
    if count and int(count[1]) > available:
        raise unusable_audio_error(
            path, f"is cut short: its header declares {int(count[1])} samples, it has {available}"
        )


def _require_last_ogg_page(path: str, file: BinaryIO) -> None:
    """Check that the last page is complete and marked as the end of the stream (RFC 3533)."""
    file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_OGG_PAGE_BYTES))
    end = file.read()
    page = end[max(end.rfind(b"OggS"), 0) :]
    if not _is_complete_last_page(page):
        raise unusable_audio_error(path, "is cut short: its last Ogg page does not end the stream")


def _is_complete_last_page(page: bytes) -> bool:
    if len(page) < OGG_PAGE_HEADER_BYTES:
        return False
    segments = page[OGG_PAGE_HEADER_BYTES - 1]
    sizes = page[OGG_PAGE_HEADER_BYTES : OGG_PAGE_HEADER_BYTES + segments]
    is_last = bool(sizes) and bool(page[OGG_FLAGS_BYTE] & OGG_END_OF_STREAM)
    return is_last and len(page) >= OGG_PAGE_HEADER_BYTES + len(sizes) + sum(sizes)
