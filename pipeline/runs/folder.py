"""The run folder: one experiment on disk, written so that a killed run can resume.

In:   rows, the trainer's state as bytes (a zip archive, as torch.save writes), heartbeats.
Out:  the files of `work/runs/<run_id>/`, each complete or absent; their contents, read back.
Not here: what a state holds (training/loop/checkpoint.py), why a run failed
(jobs/node/failures.py). Free of torch, so that a login node can read a run.

A state contains the rows. A process that resumes from a state calls `restore_rows` with them.
"""

import hashlib
import io
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pipeline.config.experiment import Experiment, load_experiment
from pipeline.config.loader import dump_yaml
from pipeline.files import (
    InputError,
    json_digest,
    parse_json,
    read_json,
    write_bytes,
    write_json,
    write_text,
)
from pipeline.runs import records
from pipeline.runs.hypotheses import Hypothesis, hypotheses_from_csv, hypotheses_to_csv
from pipeline.runs.records import EpochReport, Failure, Heartbeat, Usage, record_from_json
from pipeline.runs.rows import (
    Row,
    encode_nonfinite,
    has_row_columns,
    row_from_json,
    rows_to_jsonl,
)

__all__ = ["EpochReport", "Failure", "Heartbeat", "Hypothesis", "RunFolder", "Stopped", "Usage"]

# The exceptions of zipfile for an archive with missing or changed bytes.
_ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError)

JsonRecord = TypeVar("JsonRecord", Heartbeat, Failure)


class Stopped(Exception):  # noqa: N818  (not an error: the state is saved)
    """The trainer saved its state and stopped on request; calling `fit` again continues."""


class RunFolder(NamedTuple):
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
    def posteriors_file(self) -> Path:
        return self.path / "posteriors.h5"

    @property
    def heartbeat_file(self) -> Path:
        return self.path / "heartbeat.json"

    @property
    def epoch_report_file(self) -> Path:
        return self.path / "epoch_report.json"

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
        """Write the environment of this attempt, and add it to those of all attempts."""
        write_json(self.environment_file, dict(environment))
        records.append_environment(self.path, environment)

    def environment(self) -> dict[str, Any]:
        """Return the environment of the last attempt; empty if it is missing or damaged."""
        return records.read_environment(self.environment_file)

    def write_alphabet(self, text: str) -> None:
        """Write the letters of the output classes; InputError if the run began with others."""
        file = self.path / "alphabet.txt"
        if file.exists() and file.read_text(encoding="utf-8") != text:
            raise InputError(f"{file}: the alphabet has other letters now; delete the run's folder")
        write_text(file, text)

    def commit(self, rows: Sequence[Row], state: bytes) -> None:
        """Write `state`, which contains `rows`, keep the state before it, then write the rows.

        The folder holds a complete state at any moment, also if the process is killed here.
        ValueError where a row has wrong columns.
        """
        lines = rows_to_jsonl(rows)  # first, so that a wrong row leaves the folder unchanged
        newest, newer, older = self._state_files()
        write_bytes(newest, state)
        if newer.exists():
            newer.replace(older)
        newest.replace(newer)
        write_text(self.rows_file, lines)

    def restore_rows(self, rows: Sequence[Row]) -> None:
        """Replace the rows by those of the state that the run resumes from."""
        write_text(self.rows_file, rows_to_jsonl(rows))

    def states(self) -> Iterator[bytes]:
        """Yield the undamaged states, newest first; each file is read only when it is needed."""
        for file in self._state_files():
            content = file.read_bytes() if file.exists() else b""
            if _is_intact(content):
                yield content

    @property
    def state_version(self) -> str:
        """A text that changes with each saved state; empty where there is none."""
        newest = next((file for file in self._state_files() if file.exists()), None)
        return str(newest.stat().st_mtime_ns) if newest else ""

    def rows(self) -> list[Row]:
        """Return the rows; InputError where the file is damaged or has other columns."""
        if not self.rows_file.exists():
            return []
        lines = self.rows_file.read_text(encoding="utf-8").splitlines()
        try:
            found = [parse_json(line) for line in lines]
        except ValueError as error:
            raise InputError(
                f"{self.rows_file}: {error}; run make sweep again to repair it"
            ) from None
        if not all(map(has_row_columns, found)):
            raise InputError(
                f"{self.rows_file}: its columns are not those of this version; it is damaged or "
                f"comes from another version: delete {self.path} to train the run again"
            )
        return [row_from_json(values) for values in found]

    def write_heartbeat(self, heartbeat: Heartbeat) -> None:
        write_json(self.heartbeat_file, encode_nonfinite(asdict(heartbeat)))

    def heartbeat(self) -> Heartbeat | None:
        """Return the last heartbeat; an unreadable one counts as that of a dead process."""
        try:
            return _read_record(Heartbeat, self.heartbeat_file)
        except InputError:
            written = self.heartbeat_file.stat().st_mtime
            return Heartbeat(status="stopped", host="", pid=0, time=written)

    def write_epoch_report(self, report: EpochReport) -> None:
        write_json(self.epoch_report_file, asdict(report))

    def epoch_report(self) -> EpochReport | None:
        """Return None also where the file is unreadable: the next epoch replaces it."""
        try:
            values = read_json(self.epoch_report_file)
            samples = tuple(map(tuple, values["samples"]))
            return EpochReport(values["epoch"], values["sentence"], samples)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def write_usages(self, usages: Sequence[Usage]) -> None:
        write_json(self.usage_file, [encode_nonfinite(asdict(usage)) for usage in usages])

    def usages(self) -> list[Usage]:
        """Return one usage per process that trained the run; none if the file is unreadable."""
        try:
            return [record_from_json(Usage, one) for one in read_json(self.usage_file)]
        except (FileNotFoundError, ValueError, TypeError):
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
        """Write the hypotheses, and last the heartbeat that marks the run as finished."""
        write_text(self.hypotheses_file, hypotheses_to_csv(hypotheses))
        last = self.heartbeat() or Heartbeat()
        done = replace(last, status="finished", seconds_left=0.0, doing="", digest=self._digest())
        self.write_heartbeat(replace(done, time=time.time()))

    def hypotheses(self) -> list[Hypothesis]:
        if not self.hypotheses_file.exists():
            return []
        return hypotheses_from_csv(self.hypotheses_file.read_text(encoding="utf-8"))

    @property
    def finished(self) -> bool:
        """Whether the run has finished and its rows and hypotheses are unchanged since then."""
        heartbeat = self.heartbeat()
        return bool(
            heartbeat and heartbeat.status == "finished" and not self.integrity_error(heartbeat)
        )

    def integrity_error(self, heartbeat: Heartbeat | None) -> str:
        """Return why a finished run does not count as finished; empty where it does."""
        if heartbeat is None or heartbeat.status != "finished":
            return ""
        if heartbeat.digest == self._digest():
            return ""
        files = (self.rows_file, self.hypotheses_file)
        missing = [file.name for file in files if not file.exists()]
        what = " and ".join(missing) or " or ".join(file.name for file in files)
        problem = "is missing" if missing else "has changed since the run wrote it"
        return f"{self.path}: {what} {problem}; run make sweep again to repair it"

    @property
    def rows_checksum(self) -> str:
        """The SHA-256 of the file of rows; empty if it is missing."""
        return _file_checksum(self.rows_file)

    def _digest(self) -> str:
        return json_digest(
            [_file_checksum(file) for file in (self.rows_file, self.hypotheses_file)]
        )[:12]

    def _state_files(self) -> tuple[Path, Path, Path]:
        """Return the newest first. It exists only during a commit, or after a kill in one."""
        return self.path / "state.next.pt", self.state_file, self.path / "state.previous.pt"


def _file_checksum(file: Path) -> str:
    """Return the SHA-256; status polls it, so a file is read again only when it has changed."""
    try:
        stat = file.stat()
        return _sha256(file, stat.st_mtime_ns, stat.st_size)
    except FileNotFoundError:
        return ""


@lru_cache(maxsize=4096)
def _sha256(file: Path, mtime_ns: int, size: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _read_record(kind: type[JsonRecord], path: Path) -> JsonRecord | None:
    try:
        return record_from_json(kind, read_json(path))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not a valid {kind.__name__.lower()} file: {error}; delete it"
        ) from None


def _is_intact(state: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(state)) as archive:
            return archive.testzip() is None
    except _ARCHIVE_ERRORS:
        return False
