"""The verb logs: the run that failed last, output of jobs, and what is added while one waits."""

import os
import threading
import time
from pathlib import Path

import pytest

from jobs.commands import logs, parser
from jobs.exit_codes import BAD_INPUT
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import PlannedRun, SweepRecord
from pipeline.files import write_json
from pipeline.runs.folder import Failure, Heartbeat, RunFolder

LABELS = {"aaa": "lr 0.1", "bbb": "lr 0.2", "ccc": "lr 0.3"}


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    """A sweep of three runs, each with a log; ccc wrote last."""
    folder = SweepFolder(tmp_path, "rates")
    planned = tuple(PlannedRun(label, {}, run, "mel-1") for run, label in LABELS.items())
    record = SweepRecord("rates", "", "rates.yaml", "1", planned, ())
    write_json(folder.record_file, record.to_json())
    for age, run in enumerate(reversed(LABELS)):
        path = tmp_path / "runs" / run
        path.mkdir(parents=True)
        (path / "log").write_text(f"log of {run}\n")
        os.utime(path / "log", (1e9 - age, 1e9 - age))
    return folder


def entry(when: float, scheduler: str, job: str, kind: str) -> LedgerEntry:
    return LedgerEntry(
        time=when,
        scheduler=scheduler,  # type: ignore[arg-type]
        job=job,
        kind=kind,  # type: ignore[arg-type]
        items=("x",),
        task="task",
        code="code",
    )


def run_logs(folder: SweepFolder, *words: str) -> int:
    return parser.main(["logs", *words, "--work", str(folder.work)])


def test_the_run_that_failed_last_is_shown(folder: SweepFolder, capsys):
    assert run_logs(folder, "--sweep", "rates") == 0
    said = capsys.readouterr()
    assert said.out == "log of ccc\n"
    assert "no run has failed; this is lr 0.3, RUN=ccc" in said.err
    for run, when in (("aaa", 2e9), ("bbb", 1e9)):
        failed = RunFolder(folder.work / "runs" / run)
        failed.write_failure(Failure(cause="divergence", message=f"loss of {run}"))
        os.utime(failed.failure_file, (when, when))
    assert run_logs(folder, "--sweep", "rates") == 0
    said = capsys.readouterr()
    assert said.out.startswith("log of aaa\nfailed: divergence: loss of aaa\n")
    assert "2 of 3 runs failed; this is lr 0.1, RUN=aaa" in said.err


def test_the_command_that_shows_a_log_does_not_advise_itself(folder: SweepFolder, capsys):
    failed = RunFolder(folder.work / "runs/aaa")
    failed.write_failure(Failure(cause="code error", message="KeyError: 'x'"))
    assert run_logs(folder, "aaa") == 0
    assert capsys.readouterr().out.endswith("the log above shows the traceback\n")
    failed.log_file.unlink()
    assert run_logs(folder, "aaa") == 0
    assert "make logs" not in capsys.readouterr().out


def test_a_sweep_that_has_not_started_names_the_jobs_before_it(folder: SweepFolder, capsys):
    for run in LABELS:
        (folder.work / "runs" / run / "log").unlink()
    assert run_logs(folder, "--sweep", "rates") == BAD_INPUT
    assert "no run of rates has started yet; make logs SWEEP=" in capsys.readouterr().err


def test_the_last_job_of_features_that_wrote_is_shown(folder: SweepFolder, capsys):
    assert run_logs(folder, "--sweep", "rates", "--job", "features") == BAD_INPUT
    assert "no SLURM job of features: none was submitted" in capsys.readouterr().err
    jobs = [("7", "features"), ("8", "features"), ("9", "features"), ("10", "runs")]
    folder.ledger.append(entry(number, "slurm", *job) for number, job in enumerate(jobs))
    assert run_logs(folder, "--sweep", "rates", "--job", "features") == BAD_INPUT
    assert "no job of features has started yet" in capsys.readouterr().err
    folder.jobs.mkdir(parents=True)
    for job in ("7", "8"):
        folder.output(job).write_text(f"output of {job}\n")
    assert run_logs(folder, "--sweep", "rates", "--job", "features") == 0
    assert capsys.readouterr().out == "output of 8\n"
    assert run_logs(folder, "--sweep", "rates", "--job", "report") == BAD_INPUT
    assert run_logs(folder, "--job", "report") == BAD_INPUT
    assert "add the sweep: SWEEP=…" in capsys.readouterr().err


def test_a_local_sweep_has_no_job_of_features(folder: SweepFolder, capsys):
    folder.ledger.append([entry(1, "local", "77", "features")])
    assert run_logs(folder, "--sweep", "rates", "--job", "features") == BAD_INPUT
    assert "it ran in the terminal that started it" in capsys.readouterr().err


def test_following_prints_what_is_added_until_the_run_has_ended(
    folder: SweepFolder, capsys, monkeypatch
):
    monkeypatch.setattr(logs, "POLL_S", 0.01)
    run = RunFolder(folder.work / "runs" / "aaa")
    run.log_file.unlink()
    run.write_heartbeat(Heartbeat(status="running", host="n", pid=1, time=time.time()))

    def train() -> None:
        for text in ("one\n", "tw", "o\n", "three\n"):
            with run.log_file.open("a") as log:
                log.write(text)
            time.sleep(0.05)
        run.write_heartbeat(Heartbeat(status="finished", host="n", pid=1, time=time.time()))

    training = threading.Thread(target=train)
    training.start()
    assert run_logs(folder, "aaa", "--follow") == 0
    training.join()
    assert capsys.readouterr().out == "one\ntwo\nthree\n"
