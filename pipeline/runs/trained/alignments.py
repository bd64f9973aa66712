"""Alignments: what `make align` leaves in a run's folder; one file for each split.

In:   aligned utterances, batch by batch.
Out:  files that a killed command continues; the table of all utterances, the worst one first.
Not here: aligning (pipeline/training/trained/align_run.py), other formats (decoding/
decoding/time_formats.py).
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.decoding.suspicion import Suspicion
from pipeline.decoding.time_formats import TimedText
from pipeline.files import InputError, parse_json, write_text
from pipeline.runs.folder import RunFolder

ALIGNMENTS = "alignments"  # folder of a run
Kind = Literal["transcripts", "hypotheses"]  # which texts are aligned
TABLE_COLUMNS = (
    *("utterance_id", "split", "speaker", "seconds", "letters", "score", "excess"),
    *("limit", "suspicious", "text", "greedy"),
)


@dataclass(frozen=True, slots=True)
class AlignedUtterance:
    """A text with its place in time. `words` is empty where the text cannot be aligned."""

    utterance_id: str
    split: str
    speaker: str
    text: str
    greedy: str  # what greedy search reads
    seconds: float
    score: float  # nats; log-probability of the best alignment; -inf: too few output steps
    excess: float  # nats per letter that the best path of any text is above it
    words: tuple[TimedText, ...]
    letters: tuple[TimedText, ...]

    def to_json(self) -> str:
        values = asdict(self)
        for unit in ("words", "letters"):
            values[unit] = [
                [each.text, round(each.begin, 4), round(each.end, 4), round(each.score, 4)]
                for each in getattr(self, unit)
            ]
        if not math.isfinite(self.score):
            values |= {"score": None, "excess": None}
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "AlignedUtterance":
        values: dict[str, Any] = parse_json(line)
        if values["score"] is None:
            values |= {"score": -math.inf, "excess": math.inf}
        for unit in ("words", "letters"):
            values[unit] = tuple(TimedText(*piece) for piece in values[unit])
        return cls(**values)


@dataclass(frozen=True)
class AlignmentFolder:
    """`runs/<run_id>/alignments/<kind>/`: one file per split, utterances.csv."""

    path: Path
    digest: str  # of the run's results: a run that was trained again is aligned again

    @classmethod
    def of(cls, run: RunFolder, kind: Kind) -> "AlignmentFolder":
        heartbeat = run.heartbeat()
        return cls(run.path / ALIGNMENTS / kind, heartbeat.digest if heartbeat else "")

    @property
    def table_file(self) -> Path:
        """All utterances, the worst one first."""
        return self.path / "utterances.csv"

    def read(self, split: str) -> list[AlignedUtterance]:
        """Return what is aligned of a split; a line that was not written whole is left out."""
        file = self._file(split)
        if not file.exists():
            return []
        head, *lines = file.read_text(encoding="utf-8").splitlines() or [""]
        found: list[AlignedUtterance] = []
        if head == self._head():
            for line in lines:
                try:
                    found.append(AlignedUtterance.from_json(line))
                except (ValueError, KeyError, TypeError):
                    continue
        return found

    def begin(self, split: str) -> list[AlignedUtterance]:
        """Return what an earlier command has aligned, in a file that can be continued."""
        found = self.read(split)
        lines = [self._head(), *(each.to_json() for each in found)]
        write_text(self._file(split), "".join(f"{line}\n" for line in lines))
        return found

    def append(self, split: str, utterances: Iterable[AlignedUtterance]) -> None:
        with self._file(split).open("a", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{each.to_json()}\n" for each in utterances)

    def write_table(
        self, utterances: Sequence[AlignedUtterance], suspicions: Sequence[Suspicion]
    ) -> None:
        """Write utterances.csv, the worst utterance first; `suspicions`: of each utterance."""
        pairs = sorted(zip(suspicions, utterances, strict=True), key=lambda pair: -pair[0].ratio)
        table = io.StringIO(newline="")
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(TABLE_COLUMNS)
        for suspicion, each in pairs:
            writer.writerow(
                [
                    *(each.utterance_id, each.split, each.speaker, f"{each.seconds:.2f}"),
                    *(len(each.letters), f"{suspicion.score:.4f}", f"{each.excess:.4f}"),
                    *(f"{suspicion.limit:.4f}", suspicion.is_far, each.text, each.greedy),
                ]
            )
        write_text(self.table_file, table.getvalue())

    def _file(self, split: str) -> Path:
        return self.path / f"{split}.jsonl"

    def _head(self) -> str:
        return json.dumps({"version": 1, "run": self.digest})


@dataclass(frozen=True, slots=True)
class RankedTranscript:
    """A line of utterances.csv, as reports read it."""

    utterance_id: str
    split: str
    speaker: str
    score: float  # nats per letter; see decoding/suspicion.py
    limit: float
    suspicious: bool
    text: str
    greedy: str


def read_ranked(run: RunFolder) -> list[RankedTranscript]:
    """Return the transcripts of utterances.csv, the worst one first; none where it is missing.

    InputError where the file is damaged.
    """
    file = AlignmentFolder.of(run, "transcripts").table_file
    if not file.exists():
        return []
    try:
        with file.open(encoding="utf-8", newline="") as text:
            return [_parse_ranked(line) for line in csv.DictReader(text)]
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{file}: damaged; run make align RUN={run.run_id} again") from None


def _parse_ranked(line: dict[str, str]) -> RankedTranscript:
    return RankedTranscript(
        line["utterance_id"],
        line["split"],
        line["speaker"],
        float(line["score"]),
        float(line["limit"]),
        line["suspicious"] == "True",
        line["text"],
        line["greedy"],
    )
