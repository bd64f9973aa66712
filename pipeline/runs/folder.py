"""A run folder: one experiment on disk, and its resumption.

In:   rows, the trainer's state as opaque bytes (a zip archive, as torch.save writes), heartbeats.
Out:  the files of `work/runs/<run_id>/`, each whole or absent; what they say, read back.
Not here: what a state holds (state.py), why a run failed (jobs/failures.py). Free of torch, so
that a login node can read a run.

The state carries the rows: whoever resumes from a state calls `restore` with its rows.
"""

import csv
import hashlib
import io
import json
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config.experiment import Experiment, load_experiment
from pipeline.config.loader import dump_yaml
from pipeline.files import InputError, json_digest, read_json, write_bytes, write_json, write_text
from pipeline.runs.records import EpochReport, Failure, Heartbeat, Hypothesis, Usage
from pipeline.runs.rows import (
    ROW_COLUMNS,
    Row,
    decode_float,
    encode_nonfinite,
    row_from_json,
    rows_to_jsonl,
)

__all__ = ["EpochReport", "Failure", "Heartbeat", "Hypothesis", "RunFolder", "Stopped", "Usage"]

# What zipfile raises when bytes of an archive are missing or changed.
_ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError)

JsonRecord = TypeVar("JsonRecord", bound="Heartbeat | Failure")


class Stopped(Exception):  # noqa: N818  (no error: the run was asked to stop, and saved)
    """The trainer saved its state and stopped because it was asked to; `fit` again continues."""


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def experiment_file(self) -> Path:
        return self.path / "experiment.yaml"

    @property
    def environment_file(self) -> Path:
        return self.path / "environment.json"

    @property
    def rows_file(self) -> Path:
        return self.path / "rows.jsonl"

    @property
    def state_file(self) -> Path:
        return self.path / "state.pt"

    @property
    def hypotheses_file(self) -> Path:
        return self.path / "hypotheses.csv"

    @property
    def heartbeat_file(self) -> Path:
        return self.path / "heartbeat.json"

    @property
    def events_file(self) -> Path:  # TensorBoard finds it by the middle of its name
        return self.path / "events.out.tfevents.blankslate"

    @property
    def epoch_report_file(self) -> Path:
        return self.path / "account.json"

    @property
    def usage_file(self) -> Path:
        return self.path / "usage.json"

    @property
    def failure_file(self) -> Path:
        return self.path / "failure.json"

    @property
    def log_file(self) -> Path:
        return self.path / "log"

    def write_experiment(self, experiment: Experiment) -> None:
        write_text(self.experiment_file, dump_yaml(experiment))

    def experiment(self) -> Experiment:
        return load_experiment(self.experiment_file)

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        write_json(self.environment_file, dict(environment))

    def environment(self) -> dict[str, Any]:
        return dict(read_json(self.environment_file)) if self.environment_file.exists() else {}

    def commit(self, rows: Sequence[Row], state: bytes) -> None:
        """Keep `state`, which carries `rows`, and the state before it; then rewrite the rows.

        Killed anywhere between, the folder holds a whole state, and resuming rewrites the rows.
        """
        lines = rows_to_jsonl(rows)  # a wrong row is refused before anything is written
        newest, newer, older = self._state_files()
        write_bytes(newest, state)
        if newer.exists():
            newer.replace(older)
        newest.replace(newer)
        write_text(self.rows_file, lines)

    def restore_rows(self, rows: Sequence[Row]) -> None:
        """Make the rows those of the state that the run resumes from."""
        write_text(self.rows_file, rows_to_jsonl(rows))

    def states(self) -> Iterator[bytes]:
        """The states whose checksums hold, newest first; the newest is read before the next."""
        for file in self._state_files():
            content = file.read_bytes() if file.exists() else b""
            if _is_intact(content):
                yield content

    @property
    def state_version(self) -> str:
        """Another one for each state that was kept; nothing where there is none."""
        newest = next((file for file in self._state_files() if file.exists()), None)
        return str(newest.stat().st_mtime_ns) if newest else ""

    def rows(self) -> list[Row]:
        if not self.rows_file.exists():
            return []
        lines = self.rows_file.read_text(encoding="utf-8").splitlines()
        try:
            found = [json.loads(line) for line in lines]
        except ValueError as error:
            raise InputError(f"{self.rows_file}: {error}; make sweep again mends it") from None
        if not all(
            isinstance(values, dict) and values.keys() == set(ROW_COLUMNS) for values in found
        ):
            raise InputError(
                f"{self.rows_file}: has other columns than this program writes; it is of another "
                f"version, or damaged: delete {self.path} to train the run anew"
            )
        return [row_from_json(values) for values in found]

    def write_heartbeat(self, heartbeat: Heartbeat) -> None:
        write_json(self.heartbeat_file, encode_nonfinite(asdict(heartbeat)))

    def heartbeat(self) -> Heartbeat | None:
        """One that cannot be read says that its process is gone: the next beat replaces it."""
        try:
            return _read_record(Heartbeat, self.heartbeat_file)
        except InputError:
            then = self.heartbeat_file.stat().st_mtime
            return Heartbeat(status="stopped", host="", pid=0, time=then)

    def write_epoch_report(self, account: EpochReport) -> None:
        write_json(self.epoch_report_file, asdict(account))

    def epoch_report(self) -> EpochReport | None:
        """None also where it cannot be read: the next epoch writes another."""
        try:
            said = read_json(self.epoch_report_file)
            return EpochReport(said["epoch"], said["sentence"], tuple(map(tuple, said["samples"])))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def write_usages(self, usages: Sequence[Usage]) -> None:
        write_json(self.usage_file, [encode_nonfinite(asdict(usage)) for usage in usages])

    def usages(self) -> list[Usage]:
        """One for each process that has had the run; nothing where the file cannot be read."""
        try:
            said = read_json(self.usage_file)
            return [
                Usage(
                    **{
                        **one,
                        "gpu_busy": decode_float(one["gpu_busy"]),
                        "waited": decode_float(one["waited"]),
                    }
                )
                for one in said
            ]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []

    def write_failure(self, failure: Failure) -> None:
        write_json(self.failure_file, asdict(failure))

    def failure(self) -> Failure | None:
        try:
            return _read_record(Failure, self.failure_file)
        except InputError as error:
            return Failure(cause="damaged file", message=str(error))

    def clear_failure(self) -> None:
        self.failure_file.unlink(missing_ok=True)

    def finish(self, hypotheses: Sequence[Hypothesis]) -> None:
        """Write the hypotheses and then, last of all, the heartbeat that says so."""
        columns = [column.name for column in fields(Hypothesis)]
        table = io.StringIO(newline="")
        writer = csv.writer(table, lineterminator="\n")
        writer.writerows([columns, *map(astuple, hypotheses)])
        write_text(self.hypotheses_file, table.getvalue())
        last = self.heartbeat() or Heartbeat()
        done = replace(last, status="finished", seconds_left=0.0, doing="", digest=self._digest())
        self.write_heartbeat(replace(done, time=time.time()))

    def hypotheses(self) -> list[Hypothesis]:
        if not self.hypotheses_file.exists():
            return []
        text = self.hypotheses_file.read_text(encoding="utf-8")
        _, *lines = csv.reader(io.StringIO(text, newline=""))
        return [_parse_hypothesis(*line) for line in lines]

    @property
    def finished(self) -> bool:
        """Says so, and holds what it wrote then."""
        heartbeat = self.heartbeat()
        return bool(
            heartbeat and heartbeat.status == "finished" and not self.integrity_error(heartbeat)
        )

    def integrity_error(self, heartbeat: Heartbeat | None) -> str:
        """Why a run that says it is finished does not count as such; nothing where it does."""
        if heartbeat is None or heartbeat.status != "finished":
            return ""
        if heartbeat.digest == self._digest():
            return ""
        files = f"{self.rows_file.name} or {self.hypotheses_file.name}"
        return f"{self.path}: {files} is not what the run wrote; make sweep again mends it"

    def _digest(self) -> str:
        return json_digest(
            [_file_checksum(file) for file in (self.rows_file, self.hypotheses_file)]
        )[:12]

    def _state_files(self) -> tuple[Path, Path, Path]:
        """Newest first. The first exists only while, or after being killed while, committing."""
        return self.path / "state.next.pt", self.state_file, self.path / "state.previous.pt"


def _file_checksum(file: Path) -> str:
    """Looked at again and again by status, and read when it has changed."""
    try:
        facts = file.stat()
        return _sha256(file, facts.st_mtime_ns, facts.st_size)
    except FileNotFoundError:
        return ""


@lru_cache(maxsize=4096)
def _sha256(file: Path, mtime_ns: int, size: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _parse_hypothesis(
    utterance_id: str, split: str, reference: str, hypothesis: str, *counts: str
) -> Hypothesis:
    return Hypothesis(utterance_id, split, reference, hypothesis, *map(int, counts))


def _read_record(kind: type[JsonRecord], path: Path) -> JsonRecord | None:
    try:
        floats = {column.name for column in fields(kind) if column.type is float}
        values: dict[str, Any] = {
            name: decode_float(value) if name in floats else value
            for name, value in read_json(path).items()
        }
        return kind(**values)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no {kind.__name__}: {error}; delete it") from None


def _is_intact(state: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(state)) as archive:
            return archive.testzip() is None
    except _ARCHIVE_ERRORS:
        return False
