"""Layouts of JSON lines: NeMo's and ESPnet's manifests; Lhotse's recordings and supervisions.

In:   the folder of a corpus.   Out: entries and refusals.
Not here: commands and URLs, which Lhotse allows as sources. Only files are read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.delimited import read_json_lines
from pipeline.corpus.layouts.entries import CorpusEntry, collect_unique, find_parts, path_below_root
from pipeline.corpus.layouts.parsing import (
    LineError,
    LineRecord,
    Place,
    Refusals,
    RefuseBadLines,
    format_place,
    shorten,
)
from pipeline.corpus.layouts.tables import segment_id
from pipeline.corpus.manifest import Refusal
from pipeline.files import InputError

AUDIO_KEYS = ("audio_filepath", "wav", "speech")  # the first is NeMo's, the others ESPnet's


def nemo_manifests(root: Path) -> list[Path]:
    """Return the files of the folder that may be manifests, by their names."""
    return sorted(path for end in ("json", "jsonl", "jsonl.gz") for path in root.glob(f"*.{end}"))


def lhotse_supervisions(root: Path) -> list[Path]:
    """Return the lists of supervisions in the folder."""
    found = root.glob("*supervisions*")
    return sorted(path for path in found if path.name.endswith((".jsonl", ".jsonl.gz")))


def read_nemo(corpus: Corpus, root: Path, refusals: Refusals) -> Iterator[CorpusEntry]:
    """Read lines with audio_filepath (relative to the list, or absolute) and text.

    Optional keys: offset and duration in seconds, utt_id, speaker.
    """
    found = nemo_manifests(root)
    for path, split in find_parts(corpus, root, found, "a manifest *.json or *.jsonl"):
        refuse_bad_lines = RefuseBadLines(refusals)
        for row in read_json_lines(path, refusals):
            with refuse_bad_lines:
                audio = path_below_root(root, path.parent, row.file_name(*AUDIO_KEYS))
                offset = row.seconds("offset")
                yield CorpusEntry(
                    id=row.text("utt_id") or segment_id(audio, offset),
                    audio=audio,
                    transcript=row.text(corpus.text_column or "text"),
                    speaker=row.text("speaker"),
                    split=split,
                    start=offset or 0.0,
                    duration=row.seconds("duration"),
                    file=str(row.path),
                    line=row.line,
                )


def read_lhotse(corpus: Corpus, root: Path, refusals: Refusals) -> Iterator[CorpusEntry]:
    """Read *supervisions*.jsonl(.gz) and, beside each, the *recordings* of the same name."""
    found = lhotse_supervisions(root)
    for path, split in find_parts(corpus, root, found, "*supervisions*.jsonl or .jsonl.gz"):
        recordings_path = _recordings_path(path)
        recordings = collect_unique(_read_recordings(recordings_path, refusals), refusals)
        unused = dict(recordings)
        refuse_bad_lines = RefuseBadLines(refusals)
        for row in read_json_lines(path, refusals):
            with refuse_bad_lines:
                name = row.required_text("recording_id")
                utterance = row.required_text("id")
                unused.pop(name, None)
                if name not in recordings:
                    problem = f"the recording {name!r} is not in {recordings_path.name}"
                    refusals.append(
                        Refusal(utterance, f"{format_place(row.place)}: {problem}; add it there")
                    )
                    continue
                try:
                    audio, channel = _audio_source(recordings[name], row)
                except LineError as error:
                    refusals.append(Refusal(utterance, str(error)))
                    continue
                yield CorpusEntry(
                    id=utterance,
                    audio=path_below_root(root, root, audio),
                    transcript=row.text("text"),
                    speaker=row.text("speaker"),
                    split=split,
                    start=row.seconds("start") or 0.0,
                    duration=row.seconds("duration"),
                    channel=channel,
                    file=str(row.path),
                    line=row.line,
                )
        for name, row in unused.items():
            problem = f"no line of {path.name} uses the recording {name!r}; add its supervisions"
            refusals.append(Refusal(name, f"{format_place(row.place)}: {problem}, or remove it"))


def _read_recordings(path: Path, refusals: Refusals) -> Iterator[tuple[Place, str, LineRecord]]:
    refuse_bad_lines = RefuseBadLines(refusals)
    for row in read_json_lines(path, refusals):
        with refuse_bad_lines:
            yield row.place, row.required_text("id"), row


def _recordings_path(supervisions: Path) -> Path:
    path = supervisions.with_name(supervisions.name.replace("supervisions", "recordings"))
    if not path.is_file():
        raise InputError(f"{path}: no such file; add the recordings of {supervisions.name}")
    return path


def _audio_source(recording: LineRecord, supervision: LineRecord) -> tuple[str, int | None]:
    """Return the file with the supervision's channels, and the channel in it (None: all of it)."""
    if recording.values.get("transforms"):
        raise recording.error("has transforms, which are not applied; save the transformed audio")
    wanted = _channel_numbers(supervision, supervision.values.get("channel", 0))
    sources = recording.values.get("sources", [])
    if not isinstance(sources, list) or not all(isinstance(each, dict) for each in sources):
        raise recording.error("sources must be a list of objects, as in Lhotse's AudioSource")
    for source in sources:
        channels = _channel_numbers(recording, source.get("channels"))
        if not set(wanted) <= set(channels):
            continue
        if source.get("type") != "file":
            raise recording.error(
                f"its source is of type {shorten(source.get('type'))}, but only files are read; "
                "save the audio as a file"
            )
        path = LineRecord(recording.path, recording.line, source).required_text("source")
        has_all = len(wanted) == len(channels)
        if not has_all and len(wanted) > 1:
            raise supervision.error(
                f"channel is {shorten(wanted)} of {shorten(channels)}; choose one of them, or all"
            )
        return path, None if has_all else channels.index(wanted[0])
    shown = shorten(supervision.values.get("channel"))
    raise supervision.error(
        f"channel is {shown}, which no source of its recording has; correct the channel"
    )


def _channel_numbers(record: LineRecord, value: Any) -> list[int]:
    channels = [value] if isinstance(value, int) else value
    if not isinstance(channels, list) or not all(isinstance(c, int) for c in channels):
        raise record.error(f"channel is {shorten(value)}; it must be a number or a list of numbers")
    return channels
