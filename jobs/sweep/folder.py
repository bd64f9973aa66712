"""The folder of a sweep: `work/sweeps/<sweep>/`, and the paths around it.

In:   a work folder, a name.   Out: paths; the ledgers of all sweeps; cancelled jobs.
Not here: what the sweep plans (record.py).
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jobs.node.task_file import report_item
from jobs.sweep.ledger import Ledger, LedgerEntry
from pipeline.config.sweep import changed_name
from pipeline.files import InputError, read_json, write_json
from pipeline.runs.folder import RunFolder


def sweep_name(text: str | Path, changes: Mapping[str, Any] | None = None) -> str:
    """Return the name of a sweep or corpus under SET, given its file or the name itself."""
    path = Path(text)
    name = path.stem if path.suffix in {".yaml", ".yml"} else path.name
    return changed_name(name, changes or {})


class SweepFolder(NamedTuple):
    """The folder of a sweep, and the sweep's paths elsewhere in the work folder."""

    work: Path
    name: str

    @property
    def path(self) -> Path:
        return self.work / "sweeps" / self.name

    @property
    def record_file(self) -> Path:
        return self.path / "sweep.json"

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.path / "ledger.jsonl")

    def entries_by_item(self) -> dict[str, list[LedgerEntry]]:
        """Return run id or shard -> its tasks in order of time.

        The ledgers of all sweeps are read, because sweeps share runs and shards.
        """
        ledgers = sorted(self.path.parent.glob("*/ledger.jsonl"))
        entries = (entry for path in ledgers for entry in Ledger(path).entries())
        found: dict[str, list[LedgerEntry]] = {}
        for entry in sorted(entries, key=lambda entry: entry.time):
            for item in entry.items:
                found.setdefault(item, []).append(entry)
        return found

    def latest(self) -> dict[str, LedgerEntry]:
        """Return run id or shard -> its last task."""
        return {item: entries[-1] for item, entries in self.entries_by_item().items()}

    @property
    def tasks(self) -> Path:
        return self.path / "tasks"

    @property
    def jobs(self) -> Path:  # scripts and output of SLURM jobs
        return self.path / "jobs"

    def output(self, job: str) -> Path:
        """Return the file with the output of a SLURM job, of whichever sweep submitted it."""
        name = f"{job}_0_log.out"
        own = self.jobs / name
        return own if own.exists() else next(self.path.parent.glob(f"*/jobs/{name}"), own)

    @property
    def cancellations_file(self) -> Path:
        return self.path / "cancelled.json"

    def cancelled_jobs(self) -> set[str]:
        """Return the jobs, of all sweeps, that a person has cancelled; an array is one id."""
        files = self.path.parent.glob(f"*/{self.cancellations_file.name}")
        return {job for file in files for job in _read_cancelled(file)}

    def add_cancelled(self, jobs: Collection[str]) -> None:
        before = (
            _read_cancelled(self.cancellations_file) if self.cancellations_file.exists() else []
        )
        write_json(self.cancellations_file, sorted({*before, *jobs}))

    @property
    def code(self) -> Path:
        return self.path / "code"

    @property
    def owner_file(self) -> Path:  # names the process on this machine that runs its tasks
        return self.path / "owner.json"

    @property
    def early_stop_file(self) -> Path:  # read by tasks; missing if the sweep has no `stop`
        return self.path / "stop.json"

    @property
    def reports(self) -> Path:
        return self.work / "reports" / self.name

    @property
    def report_file(self) -> Path:
        return self.reports / "report.html"

    def unwritten_report(self) -> list[str]:
        """Return the ledger's name of the report, if its job was submitted after the last page."""
        submitted = [entry.time for entry in self.ledger.entries() if entry.kind == "report"]
        written = self.report_file.stat().st_mtime if self.report_file.exists() else 0.0
        return [report_item(self.name)] if max(submitted, default=0.0) > written else []

    def run(self, run_id: str) -> RunFolder:
        return RunFolder(self.work / "runs" / run_id)

    def features(self, feature_id: str) -> Path:
        return self.work / "features" / feature_id


def _read_cancelled(file: Path) -> list[str]:
    try:
        return [str(job) for job in read_json(file)]
    except (ValueError, TypeError):
        raise InputError(
            f"{file}: is damaged; delete it: cancelled jobs then count as queued until they leave "
            "SLURM's queue"
        ) from None
