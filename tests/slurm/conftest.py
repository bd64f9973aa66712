"""A project on a real SLURM: two tiny corpora and sweeps on them.

At its end a test cancels its own jobs by their ids, because others may use the same SLURM.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.queue_cache import invalidate_cache
from jobs.sweep.record import PlannedRun, load_record
from pipeline.config.loader import read_yaml
from pipeline.runs.folder import RunFolder
from pipeline.runs.rows import Row

SLURM_TESTS = Path(__file__).resolve().parent
REPOSITORY = SLURM_TESTS.parents[1]
DEV_PROFILE = REPOSITORY / "cluster" / "dev" / "slurm.yaml"
WAIT_TIMEOUT_S = 300.0  # most waits take a few seconds, but the machine may be busy
POLL_INTERVAL_S = 0.1

# Columns in which two computations of the same run may differ.
TIMING_COLUMNS = {"seconds", "frames_per_second", "loader_wait", "peak_memory_bytes"}

EPOCHS = 40  # of about 30 ms
CORPUS_TEMPLATE = "reader: demo\nroot: {corpora}/%s\nminutes: 0.5\nvoices: 6\nseed: %d\n"
SLURM_CONFIG_FILES = {
    "corpora/one.yaml": CORPUS_TEMPLATE % ("one", 1),
    "corpora/two.yaml": CORPUS_TEMPLATE % ("two", 2),
    "experiments/tiny.yaml": "corpus: ../corpora/one.yaml\n"
    "input: {{stack: 4}}\n"
    "model: {{fc1: 8, fc2: 8, hidden: 8}}\n"
    f"train: {{{{epochs: {EPOCHS}, batch: 4, learning_rate: 1.0e-2}}}}\n",
    # Two corpora have two slices, so the array of features has two tasks.
    "sweeps/three.yaml": "# Question: which spectrum, which voices?\n"
    "base: ../experiments/tiny.yaml\n"
    "list:\n"
    "  - {{label: mel, features.spectrum: mel}}\n"
    "  - {{label: power, features.spectrum: power}}\n"
    "  - {{label: others, corpus: ../corpora/two.yaml}}\n",
    "sweeps/two.yaml": "base: ../experiments/tiny.yaml\n"
    "axes: {{features.spectrum: [mel, power]}}\n",
    "sweeps/seventeen.yaml": "base: ../experiments/tiny.yaml\n"
    f"axes: {{{{train.seed: {list(range(17))}, train.epochs: [1]}}}}\n",
    "sweeps/twelve.yaml": "base: ../experiments/tiny.yaml\n"
    "axes: {{train.seed: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}}\n",
    "sweeps/thousand.yaml": "base: ../experiments/tiny.yaml\n"
    f"axes: {{{{train.seed: {list(range(1000))}}}}}\n",
    "sweeps/six.yaml": "base: ../experiments/tiny.yaml\n"
    "axes: {{train.seed: [0, 1, 2, 3, 4, 5], train.epochs: [1]}}\n",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLURM_TESTS in item.path.parents:
            item.add_marker("slurm")


@dataclass(frozen=True)
class CommandResult:
    """The result of a command."""

    code: int
    out: str
    errors: str


def run_command(*words: str | Path, **options: Any) -> CommandResult:
    answer = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **options
    )
    return CommandResult(answer.returncode, answer.stdout, answer.stderr)


@dataclass
class SlurmProject:
    """Configurations, a work folder, the program, and queries of both and of SLURM."""

    DEV_PROFILE: ClassVar = DEV_PROFILE
    REPOSITORY: ClassVar = REPOSITORY
    EPOCHS: ClassVar = EPOCHS

    folder: Path
    corpora: Path
    submitted: list[str] = field(default_factory=list)  # jobs of the test itself

    def __post_init__(self) -> None:
        for name, text in SLURM_CONFIG_FILES.items():
            path = self.folder / "configs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(corpora=self.corpora))

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def gate_file(self) -> Path:
        return self.folder / "open"

    def write_profile(self, *, gated: bool = False, **changes: Any) -> Path:
        """The development SLURM's profile with `changes`; a gated job waits for `gate_file`."""
        if gated:
            changes["setup"] = [f"while [ ! -e '{self.gate_file}' ]; do sleep 0.1; done"]
        path = self.folder / ("site.yaml" if changes else "development.yaml")
        settings = {**read_yaml(DEV_PROFILE), "report": False, **changes}  # importing takes seconds
        path.write_text(json.dumps(settings))  # JSON is YAML
        return path

    def write_local_profile(self) -> Path:
        """A profile of this machine itself, whose runs have the same bits."""
        path = self.folder / "local.yaml"
        path.write_text("scheduler: local\ndevice: cpu\nslots: 2\nthreads: 1\n")
        return path

    def run_verb(
        self,
        verb: str,
        *words: str | Path,
        profile: Path | None = None,
        environment: dict[str, str] | None = None,
        source: Path = REPOSITORY,
    ) -> CommandResult:
        """Run the program as make does; `source` is the working copy of the code."""
        place = [] if verb == "cluster-check" else ["--cluster", profile or self.write_profile()]
        return run_command(
            *(sys.executable, "-m", "jobs", verb, *words, *place, "--work", self.work),
            cwd=source,
            env={**os.environ, **(environment or {})},
        )

    def run_sweep(self, name: str, **options: Any) -> CommandResult:
        return self.run_verb("sweep", self.folder / f"configs/sweeps/{name}.yaml", **options)

    def submit_sweep(self, name: str, **options: Any) -> str:
        """Run the sweep command, require exit code 0 and no errors, return what was printed."""
        answer = self.run_sweep(name, **options)
        assert (answer.code, answer.errors) == (0, ""), answer
        return answer.out

    def sweep_folder(self, name: str) -> SweepFolder:
        return SweepFolder(self.work, name)

    def ledger_entries(self, name: str) -> list[LedgerEntry]:
        return self.sweep_folder(name).ledger.entries()

    def array_job_ids(self, name: str) -> list[str]:
        """Its arrays, in the order of their submission."""
        return list(dict.fromkeys(entry.job.split("_")[0] for entry in self.ledger_entries(name)))

    def planned_runs(self, name: str) -> dict[str, PlannedRun]:
        """Label -> planned run."""
        return {run.label: run for run in load_record(self.sweep_folder(name)).runs}

    def run_folders(self, name: str) -> dict[str, RunFolder]:
        """Label -> run folder."""
        folder = self.sweep_folder(name)
        return {label: folder.run(run.run_id) for label, run in self.planned_runs(name).items()}

    def run_states(self, name: str) -> dict[str, dict[str, Any]]:
        """Label -> the record of the run in `status --json`."""
        invalidate_cache(self.sweep_folder(name))  # so that SLURM is queried now
        answer = self.run_verb("status", name, "--json")
        assert (answer.code, answer.errors) == (0, ""), answer
        return {run["label"]: run for run in json.loads(answer.out)}

    def wait_until(self, condition: Callable[[], Any], seconds: float = WAIT_TIMEOUT_S) -> Any:
        """Poll `condition` until it is true, and return its value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, self.queued_jobs()
            time.sleep(POLL_INTERVAL_S)
        return value

    def sbatch(self, *words: str) -> str:
        """Submit a job of the test's own, and return its id."""
        answer = run_command("sbatch", "--parsable", "--output=/dev/null", *words)
        assert answer.code == 0, answer
        self.submitted.append(answer.out.strip())
        return self.submitted[-1]

    def queued_jobs(self) -> dict[str, str]:
        """Job -> state and reason, of the queued jobs that this project submitted."""
        own = self.job_ids()
        return {
            job: state for job, state in self.all_queued_jobs().items() if job.split("_")[0] in own
        }

    def all_queued_jobs(self) -> dict[str, str]:
        answer = run_command("squeue", "--me", "--noheader", "--array", "--format=%i|%T %r")
        assert answer.code == 0, answer
        return dict(line.split("|") for line in answer.out.splitlines())

    def job_ids(self) -> set[str]:
        """Return all submitted jobs, also those in no ledger: submitit names scripts by the job."""
        scripts = self.work.glob("sweeps/*/jobs/*_submission.sh")
        found = (re.fullmatch(r"(\d+)_submission.sh", script.name) for script in scripts)
        return {*self.submitted, *(match[1] for match in found if match)}

    def await_jobs(self, seconds: float = WAIT_TIMEOUT_S) -> None:
        self.wait_until(lambda: not self.queued_jobs(), seconds)

    def stop_in_training(self, run: RunFolder) -> list[Row]:
        """Stop the run's process in the middle of its training; return its rows so far.

        SLURM sends SIGCONT to a stopped process before it ends the job.
        """
        self.wait_until(run.rows)
        heartbeat = run.heartbeat()
        assert heartbeat is not None
        assert heartbeat.host == socket.gethostname()
        os.kill(heartbeat.pid, signal.SIGSTOP)
        assert not run.finished, "the run finished before it could be stopped"
        return run.rows()


def comparable_rows(run: RunFolder) -> list[dict[str, Any]]:
    """Return the rows without columns that depend on time or machine."""
    kept = [{k: v for k, v in row.items() if k not in TIMING_COLUMNS} for row in run.rows()]
    assert len(kept) == 2 * EPOCHS + 1, "the run is not complete"
    return kept


@dataclass(frozen=True)
class ReferenceRuns:
    """The same sweep, run on this machine without SLURM and without interruption."""

    bench: SlurmProject

    def assert_same_results(self, runs: dict[str, RunFolder]) -> None:
        assert runs
        for label, run in runs.items():
            assert run.finished, label
            other = RunFolder(self.bench.work / "runs" / run.run_id)
            assert repr(comparable_rows(run)) == repr(comparable_rows(other)), (
                label
            )  # repr: nan is not nan
            assert run.hypotheses() == other.hypotheses(), label
            assert run.hypotheses(), label


@pytest.fixture(scope="session")
def require_slurm() -> None:
    if not shutil.which("sinfo"):
        pytest.skip("sinfo is not on PATH: make slurm-up starts a SLURM")
    try:
        subprocess.run(["sinfo"], capture_output=True, check=True, timeout=60)
    except subprocess.SubprocessError as error:
        pytest.skip(f"sinfo does not answer ({error}): make slurm-up starts a SLURM")


@pytest.fixture
def run_program() -> Callable[..., CommandResult]:
    """`run_program("sacct", "-X")`: its result."""
    return run_command


@pytest.fixture
def unreachable_slurm_env(tmp_path: Path) -> dict[str, str]:
    """An environment in which no controller of SLURM answers: nothing listens on port 1."""
    path = tmp_path / "slurm.conf"
    path.write_text(
        "ClusterName=silent\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\n"
        "SlurmctldTimeout=1\nMessageTimeout=2\nGresTypes=gpu\nNodeName=node1 CPUs=1 Gres=gpu:1\n"
        "PartitionName=main Nodes=ALL\n"
    )
    return {"SLURM_CONF": str(path)}


@contextmanager
def hold_slurm(*, alone: bool) -> Iterator[None]:
    """Use the SLURM of this machine together with others, or alone."""
    import fcntl  # not on Windows, which has no SLURM either

    queue, lock = (
        Path(tempfile.gettempdir()) / f"blankslate-tests-{n}.lock" for n in ("queue", "slurm")
    )
    with queue.open("w") as turn, lock.open("w") as slurm:
        # Whoever waits keeps the turn, so that a test that needs SLURM alone is not passed over.
        fcntl.flock(turn, fcntl.LOCK_EX)
        fcntl.flock(slurm, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(turn, fcntl.LOCK_UN)
        yield


@pytest.fixture
def slurm_lock(require_slurm: None, request: pytest.FixtureRequest) -> Iterator[None]:
    """Use SLURM together with other tests on this machine; a test in alone/ uses it alone."""
    with hold_slurm(alone=SLURM_TESTS / "alone" in request.path.parents):
        yield


@pytest.fixture(scope="session")
def corpora_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the corpora: the first sweep synthesises them, the others find them."""
    return tmp_path_factory.mktemp("corpora")


@pytest.fixture
def slurm_project(tmp_path: Path, corpora_folder: Path, slurm_lock: None) -> Iterator[SlurmProject]:
    made = SlurmProject(tmp_path, corpora_folder)
    yield made
    if ids := made.job_ids():
        run_command("scancel", *ids)
        made.await_jobs()


@pytest.fixture
def accounts(slurm_project, run_program) -> Iterator[Callable[..., str]]:
    """`accounts("MaxWall=30", above="root")`: an account of this test, with that limit."""
    user, made = run_program("id", "-un").out.strip(), []

    def make(limit: str = "", *, above: str = "root") -> str:
        made.append(f"test-{secrets.token_hex(4)}")
        for words in (
            f"add account {made[-1]} parent={above} {limit}",
            f"add user {user} account={made[-1]}",
        ):
            assert run_program("sacctmgr", "-i", *words.split()).code == 0, words
        return made[-1]

    try:
        yield make
    finally:
        for name in made:
            run_program("scancel", f"--account={name}")
        slurm_project.await_jobs()
        deleted = [run_program("sacctmgr", "-i", "delete", "account", name) for name in made[::-1]]
    assert [answer for answer in deleted if answer.code] == []


@pytest.fixture
def account(accounts) -> Callable[[int], str]:
    """`account(3)`: an account of this test, in which root may submit 3 jobs."""
    return lambda limit: accounts(f"MaxSubmitJobs={limit}")


@pytest.fixture(scope="session")
def reference_runs(require_slurm: None, tmp_path_factory: pytest.TempPathFactory) -> ReferenceRuns:
    """Made once, although several processes of a test run want them."""
    import fcntl  # not on Windows, which has no SLURM either

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "reference.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may read the files that are written here
        bench = SlurmProject(folder / "reference", folder / "reference" / "corpora")
        local = bench.write_local_profile()
        bench.submit_sweep("three", profile=local)  # there is nothing to do after the first time
    return ReferenceRuns(bench)
