"""Readers: a corpus on disk -> a manifest.

In:   a corpus file, the work folder.   Out: a `Manifest`; refused utterances with the reason.
Not here: the layouts of corpora (layouts/), audio files (audio/), drawing splits (splits.py),
checks of the result (checks.py).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import cast

from pipeline.config.corpus import Corpus
from pipeline.corpus.audio.audio_file import EXCLUDE_HINT, Header
from pipeline.corpus.file_search import find_unlisted_audio
from pipeline.corpus.headers import ManifestProgress, read_headers
from pipeline.corpus.layouts.entries import CorpusEntry, collect_unique_entries
from pipeline.corpus.manifest import Manifest, Refusal, Split, Utterance, require_no_refusals
from pipeline.corpus.splits import deal_folds, draw_splits
from pipeline.corpus.text.alphabet import (
    find_rare_letters,
    quote_characters,
    split_units,
)
from pipeline.corpus.text.normalise import TextNormaliser
from pipeline.files import InputError, make_printable

LayoutReader = Callable[[Corpus, Path, list[Refusal]], Iterator[CorpusEntry]]

# Reader -> the module with its function `read_…`, imported only for a corpus of this layout.
LAYOUT_READERS = {
    "audiofolder": "pipeline.corpus.layouts.tables",
    "common-voice": "pipeline.corpus.layouts.tables",
    "csv": "pipeline.corpus.layouts.tables",
    "kaldi": "pipeline.corpus.layouts.kaldi",
    "lhotse": "pipeline.corpus.layouts.json_lines",
    "librispeech": "pipeline.corpus.layouts.folders",
    "ljspeech": "pipeline.corpus.layouts.tables",
    "nemo": "pipeline.corpus.layouts.json_lines",
    "pairs": "pipeline.corpus.layouts.folders",
    "voxforge": "pipeline.corpus.layouts.folders",
}
# A file lists the utterances; audio that it does not name is refused. Others look for audio files.
LIST_READERS = {
    *("an4", "audiofolder", "common-voice", "csv"),
    *("kaldi", "lhotse", "ljspeech", "nemo"),
}
# An utterance that ends at most this much after its file ends with it, as in Kaldi.
END_TOLERANCE_S = 0.5
FULL_LENGTH_TOLERANCE_S = 0.01  # rounding error of the length of a whole file in a list
MIN_UTTERANCE_S = 0.001  # less may be not even one sample after resampling


def build_manifest(
    corpus: Corpus, work: Path, progress: ManifestProgress = lambda done, total, unit: None
) -> Manifest:
    """Read the corpus as it is on disk now; a missing demo corpus is synthesised first.

    Raises InputError if the corpus or a list cannot be read, or if no utterance can be used.
    """
    refusals: list[Refusal] = []
    root, listed = _read_layout(corpus, work, refusals, progress)
    if corpus.unlisted == "refuse" and corpus.reader in LIST_READERS:
        clips = _unlisted_clips(corpus, root)
        find_unlisted_audio(str(root), {each.audio for each in listed}, clips, refusals)
    if corpus.exclude:
        ids = {*(each.id for each in listed), *(each.utterance for each in refusals)}
        _require_known_exclusions(corpus, ids)
    listed_count = len(listed) + len(refusals)
    entries = collect_unique_entries(listed, refusals)
    del listed  # hundreds of thousands of entries need much memory
    if corpus.reader == "an4":  # before exclusions, so that they do not change its dev split
        from pipeline.corpus.layouts.an4 import split_an4  # noqa: PLC0415

        entries = split_an4(entries, corpus)
    entries = [each for each in entries if each.id not in corpus.exclude]
    refusals = [each for each in refusals if each.utterance not in corpus.exclude]
    entries, split_note = _make_splits(corpus, entries)
    headers, checksums, other_names = read_headers(root, entries, progress)
    normalise, results = TextNormaliser(corpus), []
    entries.reverse()
    while entries:
        entry = entries.pop()  # its memory is used again
        header = headers[entry.audio]
        if entry.audio in other_names:
            entry = replace(entry, audio=other_names[entry.audio])
        results.append(_make_utterance(normalise, root, entry, header))
    utterances = [each for each in results if isinstance(each, Utterance)]
    refusals += [each for each in results if isinstance(each, Refusal)]
    utterances, rare = _refuse_rare_letters(corpus, utterances)
    refusals += rare
    refusals = [Refusal(make_printable(r.utterance), make_printable(r.reason)) for r in refusals]
    _require_usable_utterances(corpus, root, utterances, refusals, listed_count=listed_count)
    return Manifest(
        corpus=corpus.name,
        root=root.resolve(),
        utterances=tuple(utterances),
        refusals=tuple(refusals),
        split_note=split_note,
        text_notes=tuple(normalise.notes()),
        strict=corpus.strict,
        prefix_checksums=checksums,
    )


def _make_splits(corpus: Corpus, entries: list[CorpusEntry]) -> tuple[list[CorpusEntry], str]:
    """Return the entries with their splits, and a note of what was drawn."""
    if corpus.folds:
        return deal_folds(entries, corpus.folds, corpus.fold or 0, corpus.seed)
    if corpus.reader in ("an4", "demo"):
        return entries, ""
    return draw_splits(entries, corpus.seed)


def _read_layout(
    corpus: Corpus, work: Path, refusals: list[Refusal], progress: ManifestProgress
) -> tuple[Path, list[CorpusEntry]]:
    """Return the folder of the corpus and the usable lines of its lists; refuse the others."""
    root = Path(corpus.root) if corpus.root else work / "corpora" / corpus.name
    if make_printable(str(root)) != str(root):
        raise InputError(f"{make_printable(str(root))}: not a usable path (root:); rename it")
    match corpus.reader:
        case "an4":
            from pipeline.corpus.layouts import an4  # noqa: PLC0415

            root = an4.find_an4_root(root, corpus.name)
            return root, list(an4.read_an4(root, refusals))
        case "demo":
            # Imported here, because only this reader needs espeak-ng.
            from pipeline.corpus.synthetic import synthesis  # noqa: PLC0415

            synthesis.synthesise(corpus, root, lambda done, total: progress(done, total, "seconds"))
            return root, [_demo_entry(row) for row in synthesis.read_utterance_table(root)]
        case "parquet" | "webdataset" as reader if root.is_dir():
            # Imported here, because only these readers need pyarrow.
            from pipeline.corpus.layouts import embedded  # noqa: PLC0415

            target = work / "corpora" / corpus.name
            read = embedded.read_parquet if reader == "parquet" else embedded.read_webdataset
            return target, list(read(corpus, root, target, refusals))
        case "elan" | "subtitles" | "textgrid" if root.is_dir():
            # Imported here, because only these readers need parsers of XML and HTML.
            from pipeline.corpus.layouts.annotated import read_annotated  # noqa: PLC0415

            return root, list(read_annotated(corpus, root, refusals))
        case other:
            if not root.is_dir():
                raise InputError(
                    f"{root}: no such folder; set root: in the corpus file of {corpus.name} to "
                    "the corpus's folder"
                )
            return root, list(_layout_reader(other)(corpus, root, refusals))


def _layout_reader(name: str) -> LayoutReader:
    function = f"read_{name.replace('-', '_')}"
    return cast("LayoutReader", getattr(import_module(LAYOUT_READERS[name]), function))


def _unlisted_clips(corpus: Corpus, root: Path) -> Collection[str]:
    """Return clips of Common Voice that its lists leave out on purpose."""
    if corpus.reader != "common-voice":
        return ()
    from pipeline.corpus.layouts.tables import common_voice_clips  # noqa: PLC0415

    return common_voice_clips(root)


def _require_usable_utterances(
    corpus: Corpus,
    root: Path,
    utterances: Sequence[Utterance],
    refusals: Sequence[Refusal],
    *,
    listed_count: int,
) -> None:
    if not listed_count:
        raise InputError(f"{root}: the lists of {corpus.name} name no utterance; check root:")
    if not utterances:
        reason = f"the first: {refusals[0].reason}" if refusals else "all are under exclude:"
        raise InputError(f"{root}: no utterance of {corpus.name} can be used; {reason}")
    if corpus.strict:
        require_no_refusals(corpus.name, refusals)


def _make_utterance(
    normalise: TextNormaliser, root: Path, entry: CorpusEntry, header: Header | InputError
) -> Utterance | Refusal:
    try:
        transcript = normalise(entry.transcript)
    except InputError as error:
        return Refusal(entry.id, f"{entry.location or root / entry.audio}: {error}")
    if not transcript:
        hint = f"write the transcript, {EXCLUDE_HINT}"
        return Refusal(entry.id, f"{root / entry.audio}: its transcript is empty; {hint}")
    if problem := _unstorable_text(entry):
        return Refusal(entry.id, f"{entry.location or root / entry.audio}: {problem}")
    try:
        if isinstance(header, InputError):
            raise header
        start, stop = _sample_range(entry, header)
    except InputError as error:
        return Refusal(entry.id, str(error))
    except ValueError as error:
        hint = f"correct {entry.location or 'the list'}, {EXCLUDE_HINT}"
        return Refusal(entry.id, f"{root / entry.audio}: {error}; {hint}")
    return Utterance(
        id=entry.id,
        audio=entry.audio,
        samples=stop - start,
        rate=header.rate,
        transcript=transcript,
        speaker=entry.speaker or entry.id,  # as in Kaldi, without a known speaker
        split=entry.split or "train",
        start=start,
        channel=None if header.channels == 1 else entry.channel,
    )


def _refuse_rare_letters(
    corpus: Corpus, utterances: list[Utterance]
) -> tuple[list[Utterance], list[Refusal]]:
    """Refuse training utterances with a letter that fewer than `rare_letters` of them have."""
    training = (split_units(u.transcript, corpus.units) for u in utterances if u.split == "train")
    rare = find_rare_letters(training, corpus.rare_letters)
    kept, refusals = [], []
    for utterance in utterances:
        found = rare.intersection(split_units(utterance.transcript, corpus.units)) if rare else ()
        if found and utterance.split == "train":
            reason = (
                f"{utterance.audio}: fewer than {corpus.rare_letters} training utterances have "
                f"{quote_characters(found)}; lower rare_letters:, or give the letter another form "
                "under replace: in the corpus file"
            )
            refusals.append(Refusal(utterance.id, reason))
        else:
            kept.append(utterance)
    return kept, refusals


def _sample_range(entry: CorpusEntry, header: Header) -> tuple[int, int]:
    """Return the first sample of the utterance and the one after its last.

    Raises ValueError if the file has no such range or channel.
    """
    rate, samples = header.rate, header.samples
    start, stop = round(entry.start * rate), samples
    if entry.duration is not None:
        stop = round((entry.start + entry.duration) * rate)
        near = END_TOLERANCE_S if stop > samples else FULL_LENGTH_TOLERANCE_S if start == 0 else 0.0
        stop = samples if abs(stop - samples) <= near * rate else stop
    span = f"{entry.start:g} s to {stop / rate:g} s"
    if not 0 <= start < samples or stop > samples:
        raise ValueError(f"lasts {samples / rate:g} s, but the utterance is from {span}")
    if stop <= start:
        raise ValueError(f"the utterance is empty, from {span}")
    if stop - start < MIN_UTTERANCE_S * rate:
        microseconds = 1e6 * (stop - start) / rate
        raise ValueError(f"the utterance lasts {microseconds:.0f} µs, which is too short")
    if entry.channel is not None and not 0 <= entry.channel < max(header.channels, 1):
        raise ValueError(f"has {header.channels} channels, so no channel {entry.channel} (from 0)")
    return start, stop


def _unstorable_text(entry: CorpusEntry) -> str:
    """Return why the texts of an entry cannot be stored as UTF-8, or ""."""
    texts = f"{entry.id}{entry.audio}{entry.speaker}{entry.transcript}"
    if "\0" in texts:
        return "holds a NUL character; remove it"
    try:
        texts.encode()
    except UnicodeEncodeError:
        shown = make_printable(entry.audio)
        return f"{shown} or its text is not UTF-8 (or holds half a surrogate pair); rename it"
    return ""


def _require_known_exclusions(corpus: Corpus, ids: Collection[str]) -> None:
    """Raise InputError for an unknown id under exclude:, because it may be a typo."""
    for excluded in corpus.exclude:
        if excluded not in ids:
            close = get_close_matches(excluded, ids, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "remove it"
            raise InputError(f"exclude: {corpus.name} has no utterance {excluded!r}; {hint}")


def _demo_entry(row: dict[str, str]) -> CorpusEntry:
    split = cast("Split", row["split"])
    return CorpusEntry(row["id"], row["audio"], row["transcript"], row["voice"], split)
