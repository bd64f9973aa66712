"""JSON lines: NeMo's manifests and ESPnet's, and Lhotse's recordings with their supervisions.

In:   the folder of a corpus.   Out: entries.
Not here: commands and addresses, which Lhotse allows as sources: only files are read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config.corpus import Corpus
from pipeline.corpus.layouts.parsing import (
    CorpusEntry,
    LineRecord,
    collect_unique,
    find_parts,
    path_below_root,
    read_json_lines,
)
from pipeline.corpus.layouts.tables import segment_id
from pipeline.corpus.manifest import Refusal
from pipeline.files import InputError

AUDIO_KEYS = ("audio_filepath", "wav", "speech")  # NeMo's name, and ESPnet's
JSON_LINES_SUFFIXES = (".jsonl", ".jsonl.gz")


def read_nemo(corpus: Corpus, root: Path) -> Iterator[CorpusEntry]:
    """A line has audio_filepath, relative to its list or absolute, and text.

    Where a file holds several utterances offset and duration too; utt_id and speaker if they are
    there.
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
    """…supervisions….jsonl(.gz), and beside each its recordings: the same name but for the word."""
    found = sorted(p for p in root.glob("*supervisions*") if p.name.endswith(JSON_LINES_SUFFIXES))
    for path, split in find_parts(corpus, root, found, "…supervisions….jsonl or .jsonl.gz"):
        again: list[Refusal] = []
        rows = read_json_lines(_recordings_path(path))
        recordings = collect_unique(
            ((row.location, row.required_text("id"), row) for row in rows), again
        )
        yield from again
        for row in read_json_lines(path):
            recording = recordings.get(row.required_text("recording_id"))
            if recording is None:
                name = row.text("recording_id")
                finding = f"the recording {name!r} is not in {_recordings_path(path).name}"
                yield Refusal(row.required_text("id"), f"{row.location}: {finding}; add it there")
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
        raise InputError(f"{path}: no such file; {supervisions.name} has its recordings there")
    return path


def _audio_source(recording: LineRecord, supervision: LineRecord) -> tuple[str, int | None]:
    """The file that holds the supervision's channel, and the channel's place in it."""
    if recording.values.get("transforms"):
        raise recording.error("has transforms, which are not applied; save the recording with them")
    wanted = _channel_numbers(supervision, supervision.values.get("channel", 0))
    sources = recording.values.get("sources") or []
    if not isinstance(sources, list) or not all(isinstance(each, dict) for each in sources):
        raise recording.error("its sources are no list of objects; see Lhotse's AudioSource")
    for source in sources:
        channels = _channel_numbers(recording, source.get("channels"))
        if not set(wanted) <= set(channels):
            continue
        if source.get("type") != "file":
            raise recording.error(
                f"its source is of type {source.get('type')!r}, and only files are read; save it "
                "as a file"
            )
        path = LineRecord(recording.path, recording.line, source).required_text("source")
        every = len(wanted) == len(channels)
        if not every and len(wanted) > 1:
            raise supervision.error(f"channel is {wanted} of {channels}; one, or all, is needed")
        return path, None if every else channels.index(wanted[0])
    raise supervision.error(
        f"channel is {supervision.values.get('channel')!r}, which no source of its recording has"
    )


def _channel_numbers(record: LineRecord, value: Any) -> list[int]:
    channels = [value] if isinstance(value, int) else value
    if not isinstance(channels, list) or not all(isinstance(c, int) for c in channels):
        raise record.error(f"channel is {value!r}; a number or a list of numbers is needed")
    return channels
