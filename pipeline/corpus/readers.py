"""Readers: a corpus as it lies on the disk -> a manifest.

In:   a corpus file, the work folder.   Out: a `Manifest`; what it refuses, and why.
Not here: the layouts that corpora have (layouts/), the inside of an audio file (audio.py),
drawing splits (drawing.py), what one wants to know of the result (survey.py).
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, cast

from pipeline.config.corpus import Corpus
from pipeline.corpus.audio import decode
from pipeline.corpus.audio.audio_file import Header
from pipeline.corpus.layouts.an4 import find_an4_root, read_an4, split_an4
from pipeline.corpus.layouts.folders import read_librispeech, read_pairs
from pipeline.corpus.layouts.json_lines import read_lhotse, read_nemo
from pipeline.corpus.layouts.kaldi import read_kaldi
from pipeline.corpus.layouts.parsing import CorpusEntry, collect_unique
from pipeline.corpus.layouts.tables import (
    read_audiofolder,
    read_common_voice,
    read_csv,
    read_ljspeech,
)
from pipeline.corpus.manifest import Manifest, Refusal, Split, Utterance, require_no_refusals
from pipeline.corpus.splits import draw_splits
from pipeline.corpus.text import normalise_transcript, strip_punctuation
from pipeline.files import InputError

ManifestProgress = Callable[
    [int, int, Literal["seconds", "files"]], None
]  # done, of: spoken; looked at
LayoutReader = Callable[[Corpus, Path], Iterator[CorpusEntry | Refusal]]

LAYOUT_READERS: Mapping[str, LayoutReader] = {
    "audiofolder": read_audiofolder,
    "common-voice": read_common_voice,
    "csv": read_csv,
    "kaldi": read_kaldi,
    "lhotse": read_lhotse,
    "librispeech": read_librispeech,
    "ljspeech": read_ljspeech,
    "nemo": read_nemo,
    "pairs": read_pairs,
}
END_TOLERANCE_S = (
    0.5  # seconds that a stretch may end beyond its file, as Kaldi has it; it is cut there
)
FULL_LENGTH_TOLERANCE_S = 0.01  # seconds by which a list may round the length of a whole file
MIN_UTTERANCE_S = 0.001  # seconds: of less, a low rate leaves not one sample
FILES_PER_PROGRESS_UPDATE = 1000  # files from one word of progress to the next
FIX_LIST_HINT = "mend the list, or name the utterance under exclude: in the corpus file"


def build_manifest(
    corpus: Corpus, work: Path, progress: ManifestProgress = lambda done, total, unit: None
) -> Manifest:
    """The corpus as it lies there now; the demo corpus is synthesised if it does not."""
    root = Path(corpus.root) if corpus.root else work / "corpora" / corpus.name
    drawn = ""
    match corpus.reader:
        case "an4":
            root = find_an4_root(root, corpus.name)
            found: list[CorpusEntry | Refusal] = list(read_an4(root))
        case "demo":
            from pipeline.corpus.synthetic import synthesis  # noqa: PLC0415 (espeak-ng, for it alone)

            synthesis.synthesise(corpus, root, lambda done, total: progress(done, total, "seconds"))
            found = [_demo_entry(row) for row in synthesis.read_utterance_table(root)]
        case other:
            if not root.is_dir():
                raise InputError(
                    f"{root}: no such folder; say under root: in the corpus file of {corpus.name} "
                    "where it lies"
                )
            found = list(LAYOUT_READERS[other](corpus, root))
    _require_known_exclusions(corpus, {_utterance_id(each) for each in found})
    refusals = [each for each in found if isinstance(each, Refusal)]
    listed = [(each.location, each.id, each) for each in found if isinstance(each, CorpusEntry)]
    entries = list(collect_unique(listed, refusals).values())
    if corpus.reader == "an4":  # its dev split does not depend on what is left out
        entries = split_an4(entries, corpus)
    entries = [each for each in entries if each.id not in corpus.exclude]
    refusals = [each for each in refusals if each.utterance not in corpus.exclude]
    if corpus.reader not in ("an4", "demo"):
        entries, drawn = draw_splits(entries, corpus.seed)
    headers, beginnings = _read_headers(root, entries, progress)
    examined = [_make_utterance(corpus, root, entry, headers[entry.audio]) for entry in entries]
    utterances = [each for each in examined if isinstance(each, Utterance)]
    refusals += [each for each in examined if isinstance(each, Refusal)]
    _require_usable_utterances(corpus, root, utterances, refusals, listed_count=len(found))
    return Manifest(
        corpus=corpus.name,
        root=root.resolve(),
        utterances=tuple(utterances),
        refusals=tuple(refusals),
        split_note=drawn,
        strict=corpus.strict,
        prefix_checksums=beginnings,
    )


def _require_usable_utterances(
    corpus: Corpus,
    root: Path,
    utterances: Sequence[Utterance],
    refusals: Sequence[Refusal],
    *,
    listed_count: int,
) -> None:
    if not listed_count:
        raise InputError(f"{root}: the lists of {corpus.name} are empty: no utterance is in them")
    if not utterances:
        reason = f"the first: {refusals[0].reason}" if refusals else "all are under exclude:"
        raise InputError(f"{root}: no utterance of {corpus.name} is left to use; {reason}")
    if corpus.strict:
        require_no_refusals(corpus.name, refusals)


def _read_headers(
    root: Path, entries: Sequence[CorpusEntry], progress: ManifestProgress
) -> tuple[dict[str, Header | InputError], dict[str, int]]:
    """Of each file once, however many utterances it holds; and how it begins."""
    files = dict.fromkeys(entry.audio for entry in entries)
    headers: dict[str, Header | InputError] = {}
    beginnings: dict[str, int] = {}
    above = str(root)
    for name in files:
        try:
            # A Path takes as long as the look.
            headers[name], beginnings[name] = decode.read_header(os.path.join(above, name))  # noqa: PTH118
        except InputError as error:
            headers[name] = error
        if len(headers) % FILES_PER_PROGRESS_UPDATE == 0:
            progress(len(headers), len(files), "files")
    return headers, beginnings


def _make_utterance(
    corpus: Corpus, root: Path, entry: CorpusEntry, header: Header | InputError
) -> Utterance | Refusal:
    keep = corpus.punctuation == "keep"
    transcript = normalise_transcript(
        entry.transcript if keep else strip_punctuation(entry.transcript)
    )
    if not transcript:
        way_out = "write what is said, or list the utterance under exclude: in the corpus file"
        return Refusal(entry.id, f"{root / entry.audio}: its transcript is empty; {way_out}")
    try:
        if isinstance(header, InputError):
            raise header
        start, stop = _sample_range(entry, header)
    except InputError as error:
        return Refusal(entry.id, str(error))
    except ValueError as error:
        return Refusal(entry.id, f"{root / entry.audio}: {error}; {FIX_LIST_HINT}")
    return Utterance(
        id=entry.id,
        audio=entry.audio,
        samples=stop - start,
        rate=header.rate,
        transcript=transcript,
        speaker=entry.speaker or entry.id,  # nobody's: a speaker of its own, as Kaldi has it
        split=entry.split or "train",
        start=start,
        channel=None if header.channels == 1 else entry.channel,
    )


def _sample_range(entry: CorpusEntry, header: Header) -> tuple[int, int]:
    """First sample and the one after the last; a ValueError where the file has no such stretch."""
    rate, samples = header.rate, header.samples
    start, stop = round(entry.start * rate), samples
    if entry.duration is not None:
        stop = round((entry.start + entry.duration) * rate)
        near = END_TOLERANCE_S if stop > samples else FULL_LENGTH_TOLERANCE_S if start == 0 else 0.0
        stop = samples if abs(stop - samples) <= near * rate else stop
    asked = f"{entry.start:g} s to {stop / rate:g} s"
    if not 0 <= start < samples or stop > samples:
        raise ValueError(f"lasts {samples / rate:g} s, and its utterance is from {asked}")
    if stop <= start:
        raise ValueError(f"its utterance lasts no time, from {asked}")
    if stop - start < MIN_UTTERANCE_S * rate:
        raise ValueError(f"its utterance lasts {1e6 * (stop - start) / rate:.0f} µs: no speech")
    if entry.channel is not None and not 0 <= entry.channel < max(header.channels, 1):
        raise ValueError(f"has {header.channels} channels, and number {entry.channel} is asked for")
    return start, stop


def _utterance_id(entry: CorpusEntry | Refusal) -> str:
    return entry.id if isinstance(entry, CorpusEntry) else entry.utterance


def _require_known_exclusions(corpus: Corpus, ids: Collection[str]) -> None:
    """An id under exclude: that the corpus lacks is misspelt, and its utterance would stay."""
    for excluded in corpus.exclude:
        if excluded not in ids:
            close = get_close_matches(excluded, ids, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "take it out"
            raise InputError(f"exclude: {corpus.name} has no utterance {excluded!r}; {hint}")


def _demo_entry(row: dict[str, str]) -> CorpusEntry:
    split = cast("Split", row["split"])
    return CorpusEntry(row["id"], row["audio"], row["transcript"], row["voice"], split)
