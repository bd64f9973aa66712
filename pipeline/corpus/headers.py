"""Headers of the audio files of a corpus, each read once.

In:   entries of lists.   Out: headers or errors, checksums, names that the disk spells otherwise.
Not here: parsing a header (audio/), utterances (readers.py).
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pipeline.corpus.audio import decode
from pipeline.corpus.audio.audio_file import Header
from pipeline.corpus.file_search import SpelledNames, find_other_spelling
from pipeline.corpus.layouts.entries import CorpusEntry
from pipeline.files import InputError

# Called with (done, total, unit): seconds of speech synthesised, or files whose header was read.
ManifestProgress = Callable[[int, int, Literal["seconds", "files"]], None]
FILES_PER_PROGRESS_UPDATE = 1000


def read_headers(
    root: Path, entries: Sequence[CorpusEntry], progress: ManifestProgress
) -> tuple[dict[str, Header | InputError], dict[str, int], dict[str, str]]:
    """Read each file's header once.

    Return file -> header or error, file -> checksum of its first bytes, and file -> its name on
    disk where that is spelt otherwise.
    """
    files = dict.fromkeys(entry.audio for entry in entries)
    headers: dict[str, Header | InputError] = {}
    checksums: dict[str, int] = {}
    other_names: dict[str, str] = {}
    names_in_folders: dict[str, SpelledNames] = {}
    folder = str(root)
    for name in files:
        try:
            # Making a Path takes as long as reading the header.
            headers[name], checksums[name] = decode.read_header(os.path.join(folder, name))  # noqa: PTH118
        except InputError as error:
            headers[name] = error
            other = find_other_spelling(folder, name, names_in_folders)
            if other:
                other_names[name] = other
                with suppress(InputError):
                    headers[name], checksums[other] = decode.read_header(
                        os.path.join(folder, other)  # noqa: PTH118
                    )
        if len(headers) % FILES_PER_PROGRESS_UPDATE == 0:
            progress(len(headers), len(files), "files")
    return headers, checksums, other_names
