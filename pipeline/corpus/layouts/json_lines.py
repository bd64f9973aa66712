"""Layouts of JSON lines: NeMo's and ESPnet's manifests; Lhotse's recordings and supervisions.

In:   the folder of a corpus.   Out: entries and refusals.
Not here: commands and URLs, which Lhotse allows as sources. Only files are read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.entries import CorpusEntry, collect_unique, find_parts, path_below_root
from pipeline.corpus.layouts.parsing import LineRecord, read_json_lines
from pipeline.corpus.layouts.tables import segment_id
from pipeline.corpus.manifest import Refusal
from pipeline.files import InputError

AUDIO_KEYS = ("audio_filepath", "wav", "speech")  # the first is NeMo's, the others ESPnet's
JSON_LINES_SUFFIXES = (".jsonl", ".jsonl.gz")


def read_nemo(corpus: Corpus, root: Path) -> Iterator[CorpusEntry]:
    """Read lines with audio_filepath (relative to the list, or absolute) and text.

    Optional keys: offset and duration in seconds, utt_id, speaker.
    """
    found = sorted(path for end in ("json", "jsonl", "jsonl.gz") for path in root.glob(f"*.{end}"))
    for path, split in find_parts(corpus, root, found, "a manifest *.json or *.jsonl"):
        for row in read_json_lines(path):
            audio = path_below_root(root, path.parent, row.required_text(*AUDIO_KEYS))
            offset = row.seconds("offset")
            yield CorpusEntry(
                id=row.text("utt_id") or segment_id(audio, offset),
                audio=audio,
                transcript=row.text(corpus.text_column or "text"),
                speaker=row.text("speaker"),
                split=split,
                start=offset or 0.0,
                duration=row.seconds("duration"),
                location=row.location,
            )


def read_lhotse(corpus: Corpus, root: Path) -> Iterator[CorpusEntry | Refusal]:
    """Read *supervisions*.jsonl(.gz) and, beside each, the *recordings* of the same name."""
    found = sorted(p for p in root.glob("*supervisions*") if p.name.endswith(JSON_LINES_SUFFIXES))
    for path, split in find_parts(corpus, root, found, "*supervisions*.jsonl or .jsonl.gz"):
        conflicts: list[Refusal] = []
        rows = read_json_lines(_recordings_path(path))
        recordings = collect_unique(
            ((row.location, row.required_text("id"), row) for row in rows), conflicts
        )
        yield from conflicts
        for row in read_json_lines(path):
            recording = recordings.get(row.required_text("recording_id"))
            if recording is None:
                name = row.text("recording_id")
                problem = f"the recording {name!r} is not in {_recordings_path(path).name}"
                yield Refusal(row.required_text("id"), f"{row.location}: {problem}; add it there")
                continue
            audio, channel = _audio_source(recording, row)
            yield CorpusEntry(
                id=row.required_text("id"),
                audio=path_below_root(root, root, audio),
                transcript=row.text("text"),
                speaker=row.text("speaker"),
                split=split,
                start=row.seconds("start") or 0.0,
                duration=row.seconds("duration"),
                channel=channel,
                location=row.location,
            )


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
    sources = recording.values.get("sources") or []
    if not isinstance(sources, list) or not all(isinstance(each, dict) for each in sources):
        raise recording.error("sources must be a list of objects, as in Lhotse's AudioSource")
    for source in sources:
        channels = _channel_numbers(recording, source.get("channels"))
        if not set(wanted) <= set(channels):
            continue
        if source.get("type") != "file":
            raise recording.error(
                f"its source is of type {source.get('type')!r}, but only files are read; save the "
                "audio as a file"
            )
        path = LineRecord(recording.path, recording.line, source).required_text("source")
        has_all = len(wanted) == len(channels)
        if not has_all and len(wanted) > 1:
            raise supervision.error(
                f"channel is {wanted} of {channels}; choose one of them, or all"
            )
        return path, None if has_all else channels.index(wanted[0])
    raise supervision.error(
        f"channel is {supervision.values.get('channel')!r}, which no source of its recording has; "
        "correct the channel"
    )


def _channel_numbers(record: LineRecord, value: Any) -> list[int]:
    channels = [value] if isinstance(value, int) else value
    if not isinstance(channels, list) or not all(isinstance(c, int) for c in channels):
        raise record.error(f"channel is {value!r}; it must be a number or a list of numbers")
    return channels
