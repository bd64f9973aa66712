"""Readers: known corpus layouts -> a manifest.

In:   a corpus file, the work folder.   Out: a `Manifest`; what it refuses, and why.
Not here: the inside of an audio file (audio.py), synthesising one (demo.py).
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from random import Random
from typing import cast

from pipeline.config import Corpus
from pipeline.corpus import audio, demo
from pipeline.corpus.manifest import Manifest, Refusal, Split, Utterance
from pipeline.corpus.text import normalise
from pipeline.files import InputError

ESPNET_DEV = 100  # utterances
Progress = Callable[[int, int], None]  # done, of


@dataclass(frozen=True, slots=True)
class Entry:
    """What a corpus says of an utterance, before its audio has been looked at."""

    id: str
    audio: str  # posix path below the root
    transcript: str
    speaker: str
    split: Split


def build(corpus: Corpus, work: Path, progress: Progress = lambda done, total: None) -> Manifest:
    """The corpus as it lies there now; the demo corpus is synthesised if it does not."""
    root = Path(corpus.root) if corpus.root else work / "corpora" / corpus.name
    match corpus.reader:
        case "an4":
            root = _an4_root(root, corpus.name)
            entries = _split_an4(list(_an4(root)), corpus)
        case "demo":
            demo.synthesise(corpus, root, progress)
            entries = [_demo_entry(row) for row in demo.table(root)]
    _require_unique(entries, root)
    _require_known(corpus, {entry.id for entry in entries})
    return _examined(corpus, root, [e for e in entries if e.id not in corpus.exclude])


def _examined(corpus: Corpus, root: Path, entries: Sequence[Entry]) -> Manifest:
    utterances, refusals = [], []
    for entry in entries:
        found = _examine(root, entry)
        if isinstance(found, Utterance):
            utterances.append(found)
        else:
            refusals.append(found)
    if not utterances:
        reason = f"; the first: {refusals[0].reason}" if refusals else ""
        raise InputError(f"{root}: no utterance of {corpus.name} is left to use{reason}")
    return Manifest(corpus.name, root.resolve(), tuple(utterances), tuple(refusals))


def _examine(root: Path, entry: Entry) -> Utterance | Refusal:
    transcript = normalise(entry.transcript)
    path = root / entry.audio
    if not transcript:
        way_out = "write what is said, or list the utterance under exclude: in the corpus file"
        return Refusal(entry.id, f"{path}: its transcript is empty; {way_out}")
    try:
        rate, samples, _ = audio.probe(path)
    except InputError as error:
        return Refusal(entry.id, str(error))
    return Utterance(
        id=entry.id,
        audio=entry.audio,
        samples=samples,
        rate=rate,
        transcript=transcript,
        speaker=entry.speaker,
        split=entry.split,
    )


def _require_unique(entries: Iterable[Entry], root: Path) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise InputError(f"{root}: two utterances have the id {entry.id}; rename one of them")
        seen.add(entry.id)


def _require_known(corpus: Corpus, ids: Collection[str]) -> None:
    """An id under exclude: that the corpus lacks is misspelt, and its utterance would stay."""
    for excluded in corpus.exclude:
        if excluded not in ids:
            close = get_close_matches(excluded, ids, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "take it out"
            raise InputError(f"exclude: {corpus.name} has no utterance {excluded!r}; {hint}")


def _demo_entry(row: dict[str, str]) -> Entry:
    split = cast("Split", row["split"])
    return Entry(row["id"], row["audio"], row["transcript"], row["voice"], split)


# AN4: etc/an4_{train,test}.{fileids,transcription}; wav/<fileid>.wav, or .sph in the original.

FILEID = re.compile(r"(?P<folder>.+)/(?P<speaker>[^/]+)/(?P<name>([^/-]+)-[^/-]+-([^/-]+))")
TRANSCRIPTION = re.compile(r"(?:<s>\s*)?(.*?)(?:\s*</s>)?\s*\(([^()\s]+)\)\s*")


def _an4_root(root: Path, name: str) -> Path:
    """The folder with etc/, which is `root` or a folder in it: the archive has it in an4/."""
    below = sorted(root.iterdir()) if root.is_dir() else []
    for folder in (root, *below):
        if (folder / "etc" / "an4_train.fileids").is_file():
            return folder
    raise InputError(
        f"{root}: no corpus {name} is here (etc/an4_train.fileids is missing); say where AN4 lies, "
        "for example AN4=/path/to/an4"
    )


def _an4(root: Path) -> Iterator[Entry]:
    parts: tuple[Split, Split] = ("train", "test")
    for part in parts:
        said = dict(_an4_transcripts(root / "etc" / f"an4_{part}.transcription"))
        for found in _lines(root / "etc" / f"an4_{part}.fileids", FILEID, "FOLDER/SPEAKER/A-B-C"):
            speaker = found["speaker"]
            yield Entry(
                id=f"{speaker}-{found[4]}-{found[5]}",  # as in ESPnet: speakers sort together
                audio=_an4_audio(root, f"wav/{found[0]}"),
                transcript=said.get(found["name"], ""),
                speaker=speaker,
                split=part,
            )


def _an4_audio(root: Path, stem: str) -> str:
    return f"{stem}.sph" if (root / f"{stem}.sph").is_file() else f"{stem}.wav"


def _an4_transcripts(path: Path) -> Iterator[tuple[str, str]]:
    """(name of the file, what is said)."""
    for found in _lines(path, TRANSCRIPTION, "<s> WORDS </s> (utterance)"):
        yield found[2], found[1]


def _lines(path: Path, form: re.Pattern[str], example: str) -> Iterator[re.Match[str]]:
    """Each line that is not blank, as the match of `form`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore it from the corpus") from None
    for number, line in enumerate(lines, start=1):
        found = form.fullmatch(line.strip())
        if found:
            yield found
        elif line.strip():
            raise InputError(f"{path}:{number}: {line!r} is not of the form {example}")


def _split_an4(entries: list[Entry], corpus: Corpus) -> list[Entry]:
    """The test split is the corpus's own; dev is taken from its training speakers."""
    training = sorted((e for e in entries if e.split == "train"), key=lambda e: e.id)
    test = sorted((e for e in entries if e.split == "test"), key=lambda e: e.id)
    match corpus.split:
        case "espnet":
            dev = {entry.id for entry in training[:ESPNET_DEV]}
        case "balanced":
            dev = _of_both_sexes(training, corpus.seed)
        case "given":
            dev = set()
    return [replace(e, split="dev") if e.id in dev else e for e in training] + test


def _of_both_sexes(training: Sequence[Entry], seed: int) -> set[str]:
    """Whole speakers, half women and half men by the first letter, about ESPNET_DEV utterances."""
    by_speaker: dict[str, list[str]] = defaultdict(list)
    for entry in training:
        by_speaker[entry.speaker].append(entry.id)
    rng = Random(seed)
    speakers = sorted(sorted(by_speaker), key=lambda _: rng.random())
    dev: set[str] = set()
    for sex in ("f", "m"):
        chosen: set[str] = set()
        for speaker in (s for s in speakers if s.startswith(sex)):
            if len(chosen) < ESPNET_DEV // 2:
                chosen.update(by_speaker[speaker])
        dev |= chosen
    return dev
