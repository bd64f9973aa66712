"""Layouts of long recordings with annotations: Praat's TextGrid, ELAN, subtitles.

In:   the folder of a corpus.   Out: an entry for each interval with a text; refusals.
Not here: the formats of the annotations (annotations/), one text for each recording (folders.py).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from posixpath import splitext

from pipeline.config.corpus import Corpus, base_language
from pipeline.corpus.annotations.elan import media_name, read_elan
from pipeline.corpus.annotations.subtitles import read_subtitles
from pipeline.corpus.annotations.textgrid import read_textgrid
from pipeline.corpus.annotations.tiers import Tier, choose_tiers
from pipeline.corpus.audio.audio_file import EXCLUDE_HINT
from pipeline.corpus.audio.integrity import conversion_command
from pipeline.corpus.file_search import AUDIO_SUFFIXES, UNLISTED_HINT
from pipeline.corpus.layouts.entries import CorpusEntry, missing_corpus_error
from pipeline.corpus.layouts.folders import find_recordings, split_from_folders
from pipeline.corpus.layouts.parsing import Refusals
from pipeline.corpus.layouts.tables import segment_id
from pipeline.corpus.manifest import Refusal
from pipeline.files import InputError

ReadTiers = Callable[[Path], list[Tier]]

# Reader -> endings of its files, and what reads one.
FORMATS: Mapping[str, tuple[tuple[str, ...], ReadTiers]] = {
    "elan": ((".eaf",), read_elan),
    "subtitles": ((".srt", ".vtt"), read_subtitles),
    "textgrid": ((".textgrid",), read_textgrid),
}
LANGUAGE_SUFFIX = re.compile(r"\.([A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)")
UNKNOWN_LANGUAGE = "und"


def read_annotated(corpus: Corpus, root: Path, refusals: Refusals) -> Iterator[CorpusEntry]:
    """Read the annotation of each recording: beside it, or of the same name in another folder.

    Refuses a recording without an annotation, an annotation without a recording, the second of two
    annotations of a recording, and each interval that cannot be used.
    """
    suffixes, _ = FORMATS[corpus.reader]
    recordings, annotations = find_recordings(root, suffixes, refusals)
    if not annotations or not recordings:
        example = f"a recording with its {' or '.join(suffixes)} beside it"
        raise missing_corpus_error(root, corpus.name, example)
    by_name: dict[str, list[str]] = {}
    for stem in recordings:
        by_name.setdefault(stem.rsplit("/", 1)[-1], []).append(stem)
    chosen: dict[str, list[tuple[bool, str]]] = {}  # whether it lies elsewhere, and its name
    for stem, names in sorted(annotations.items()):
        for name in names:
            recording = _find_recording(root, stem, name, by_name)
            if recording is None:
                problem = f"{root / name}: there is no recording of this name, or several"
                refusals.append(Refusal(name, f"{problem}; put it beside its recording"))
            else:
                chosen.setdefault(recording, []).append((recording != stem, name))
    for stem in sorted(recordings, key=lambda stem: stem.split("/")):
        audio = recordings[stem][0]
        for other in recordings[stem][1:]:
            problem = f"has the same name as {audio}; remove one of them"
            refusals.append(Refusal(stem, f"{root / other}: {problem}"))
        if stem in chosen:
            names = [name for _, name in sorted(chosen[stem])]
            annotation = _choose_annotation(corpus, root, names, refusals)
            if annotation is not None:
                yield from _read_segments(corpus, root, audio, annotation, refusals)
        elif corpus.unlisted == "refuse":
            problem = f"{root / audio}: has no {suffixes[0]} beside it; {UNLISTED_HINT}"
            refusals.append(Refusal(stem, problem))


def _find_recording(
    root: Path, stem: str, name: str, by_name: Mapping[str, Sequence[str]]
) -> str | None:
    """Return the recording of an annotation: the same path, else the only one of this name.

    `by_name`: recordings by the last part of their paths. An ELAN file may name its recording, and
    subtitles may have a language: talk.tr.srt.
    """
    candidates = [stem]
    if LANGUAGE_SUFFIX.fullmatch(splitext(stem)[1]):
        candidates.append(splitext(stem)[0])
    names = [candidate.rsplit("/", 1)[-1] for candidate in candidates]
    for candidate, wanted in zip(candidates, names, strict=True):
        if candidate in by_name.get(wanted, ()):
            return candidate
    if name.lower().endswith(".eaf"):
        try:
            names.append(media_name(root / name))
        except InputError:
            return None
    for wanted in names:
        if len(found := by_name.get(wanted, ())) == 1:
            return found[0]
    return None


def _choose_annotation(
    corpus: Corpus, root: Path, names: Sequence[str], refusals: Refusals
) -> str | None:
    """Return the annotation in the language of the corpus; refuse others of the same recording."""
    languages = {name: language_of(name) for name in names}
    mine = base_language(corpus.language)
    if mine != UNKNOWN_LANGUAGE:
        matching = [name for name in names if languages[name] == mine]
        matching = matching or [name for name in names if not languages[name]]
        if not matching:
            hint = "set it, or add subtitles in this language"
            problem = f"is in another language than {mine}, the language: of the corpus file"
            refusals.append(Refusal(names[0], f"{root / names[0]}: {problem}; {hint}"))
            return None
    else:
        matching = list(names)
    for other in matching[1:]:
        problem = f"belongs to the same recording as {matching[0]}, which is read"
        refusals.append(Refusal(other, f"{root / other}: {problem}; remove one of them"))
    return matching[0]


def language_of(name: str) -> str:
    """Return `tr` for talk.tr.srt, "" for talk.srt and for formats that are no subtitles."""
    stem, suffix = splitext(name)
    found = LANGUAGE_SUFFIX.fullmatch(splitext(stem)[1])
    return base_language(found[1]) if found and suffix.lower() in FORMATS["subtitles"][0] else ""


def _read_segments(
    corpus: Corpus, root: Path, audio: str, name: str, refusals: Refusals
) -> Iterator[CorpusEntry]:
    """Yield an entry for each interval with a text; its speaker is the tier's or the recording."""
    path, (stem, suffix) = root / name, splitext(audio)
    if suffix.lower() not in AUDIO_SUFFIXES:
        problem = (
            f"{root / audio}: this format is not read; {conversion_command(str(root / audio))}"
        )
        refusals.append(Refusal(stem, f"{problem}, {EXCLUDE_HINT}"))
        return
    try:
        tiers = choose_tiers(path, FORMATS[corpus.reader][1](path), corpus.tiers or ())
    except InputError as error:
        refusals.append(Refusal(name, str(error)))
        return
    for tier in tiers:
        refusals += tier.refusals
        label = f"-{tier.name}" if len(tiers) > 1 else ""
        for segment in tier.segments:
            if segment.text:
                yield CorpusEntry(
                    id=segment_id(f"{stem}{label}{suffix}", segment.begin),
                    audio=audio,
                    transcript=segment.text,
                    speaker=segment.speaker or (tier.name if label else stem),
                    split=split_from_folders(audio),
                    start=segment.begin,
                    duration=segment.end - segment.begin,
                    file=str(path),
                    line=segment.line,
                )
