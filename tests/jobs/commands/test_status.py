"""status and cancel: what SET was, what has changed, and jobs that no ledger knows."""

import argparse
import json
import re

import pytest

from jobs.commands import parser, status
from jobs.node.failures import REMEDIES
from jobs.slurm.client import sweep_tag
from jobs.sweep.folder import SweepFolder
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import make_record, manifest_path
from pipeline.config.sweep import Sweep, load_sweep
from pipeline.corpus import readers
from pipeline.corpus.manifest import write_manifest
from pipeline.files import write_json
from pipeline.runs.folder import Failure, RunFolder
from tests.jobs.conftest import TinyProject


def test_cancel_finds_a_job_that_an_interrupted_submission_left(tmp_path, fake_slurm, capsys):
    folder = SweepFolder(tmp_path.resolve(), "spectrum")
    folder.jobs.mkdir(parents=True)
    cancelled = fake_slurm("scancel")
    others = sweep_tag(folder.work / "another" / "jobs")
    line = "{}|PENDING|Priority|main|lab|normal|N/A|{}1\n"
    fake_slurm("squeue", line.format("20_0", sweep_tag(folder.jobs)) + line.format("21", others))
    options = argparse.Namespace(
        sweep="spectrum", cluster=None, work=folder.work, set=[], removed=False
    )
    assert status.cancel(options) == 0
    assert cancelled.read_text().split() == ["20"]
    assert "cancelled 1 job: 20" in capsys.readouterr().out
    entry = LedgerEntry(
        time=1.0, scheduler="slurm", job="21", kind="runs", items=(), task="t", code="c"
    )
    folder.ledger.append([entry])
    assert status.cancel(options) == 0
    assert cancelled.read_text().split() == ["20", "20", "21"]
    assert folder.cancelled_jobs() == {"20", "21"}


@pytest.fixture
def bench(make_project) -> TinyProject:
    return make_project("csv")


def _words(bench: TinyProject, option: str = "--once") -> list[str]:
    return ["status", str(bench.sweep_file), "--work", str(bench.work), option]


def test_status_shows_the_sweep_of_its_set_and_says_what_has_changed(bench, capsys):
    _write_record(bench, load_sweep(bench.sweep_file, {"train.epochs": 3, "model.clamp": None}))
    changes = ["--set", "model.clamp=null", "--set", "train.epochs=3"]
    words = _words(bench)
    assert parser.main([*words, *changes]) == 0
    assert "last make sweep" not in capsys.readouterr().out
    assert parser.main(words) == 2
    (name,) = (path.name for path in bench.work.glob("sweeps/*"))
    assert f"there are {name}; " in capsys.readouterr().err
    assert parser.main(["status", name, *words[2:]]) == 0
    bench.sweep_file.write_text(bench.sweep_file.read_text().replace("power, mel", "power"))
    assert parser.main([*words, *changes]) == 0
    changed = f"{bench.sweep_file} has changed since the last make sweep, which is shown here"
    assert f"{changed}; removed: mel\n" in capsys.readouterr().out
    bench.sweep_file.write_text(
        bench.sweep_file.read_text().replace("[power]", "[power, amplitude]")
    )
    assert parser.main([*words, *changes]) == 0
    printed = capsys.readouterr().out
    assert f"{changed}; removed: mel; added: amplitude, which make sweep SWEEP=" in printed


def test_status_without_seeds_says_what_seeds_there_were_and_not_that_the_file_has_changed(
    bench, capsys
):
    _write_record(bench, load_sweep(bench.sweep_file, None, 2))
    words = _words(bench)
    assert parser.main(words) == 0
    printed = capsys.readouterr().out
    assert "this shows the last make sweep, which had SEEDS=2\n" in printed
    assert "power, seed 1" in printed
    assert "has changed" not in printed
    bench.sweep_file.write_text(f"{bench.sweep_file.read_text()}# other bytes, same runs\n")
    assert parser.main([*words, "--seeds", "2"]) == 0
    assert "last make sweep" not in capsys.readouterr().out
    _write_record(bench, load_sweep(bench.sweep_file))
    assert parser.main([*words, "--seeds", "2"]) == 0
    assert "this shows the last make sweep, which had no SEEDS\n" in capsys.readouterr().out


def _write_record(bench: TinyProject, sweep: Sweep) -> None:
    corpus = sweep.experiments[0].experiment.corpus
    manifest = readers.build_manifest(corpus, bench.work)
    write_manifest(manifest, manifest_path(manifest, bench.work))
    made = make_record(sweep, {corpus: manifest}, bench.work)
    write_json(SweepFolder(bench.work, sweep.name).record_file, made.to_json())


def test_status_as_json_has_one_record_per_run(bench, capsys):
    _write_record(bench, load_sweep(bench.sweep_file))
    assert parser.main(_words(bench, "--json")) == 0
    records = json.loads(capsys.readouterr().out)
    assert [(each["label"], each["state"]) for each in records] == [
        ("power", "waiting"),
        ("mel", "waiting"),
    ]


def test_status_of_a_sweep_whose_file_is_broken_shows_the_last_one(bench, capsys):
    _write_record(bench, load_sweep(bench.sweep_file))
    bench.sweep_file.write_text("base: [\n")
    assert parser.main(_words(bench)) == 0
    printed = capsys.readouterr().out
    assert "is not YAML" in printed
    assert "; this shows the last make sweep\n" in printed
    assert "2 runs: 2 waiting" in printed


def test_logs_end_with_the_cause_of_the_failure_and_what_to_do(tmp_path, capsys):
    run = RunFolder(tmp_path / "runs" / "0123456789ab")
    words = ["logs", "0123", "--work", str(tmp_path)]
    run.path.mkdir(parents=True)
    assert parser.main(words) == 2
    assert "has no log yet: the run has not started" in capsys.readouterr().err
    run.write_failure(Failure(cause="disk full", message="no space left on device"))
    failure = f"failed: disk full: no space left on device\n{REMEDIES['disk full']}\n"
    assert parser.main(words) == 0
    assert capsys.readouterr().out == failure
    run.log_file.write_text("epoch 1\n")
    assert parser.main(words) == 0
    assert capsys.readouterr().out == f"epoch 1\n{failure}"


def test_cancel_leaves_a_job_of_the_same_number_on_this_cluster_alone(tmp_path, fake_slurm, capsys):
    folder = SweepFolder(tmp_path.resolve(), "spectrum")
    facts = {"time": 1.0, "scheduler": "slurm", "kind": "runs", "items": (), "task": "t"}
    folder.ledger.append([LedgerEntry(**facts, job="21", code="c", cluster="other")])
    cancelled = fake_slurm("scancel")
    fake_slurm("squeue", "21|PENDING|Priority|main|lab|normal|N/A|(null)\n")
    fake_slurm("scontrol", "ClusterName             = here\n")
    options = argparse.Namespace(
        sweep="spectrum", cluster=None, work=folder.work, set=[], removed=False
    )
    assert status.cancel(options) == 0
    assert not cancelled.exists()
    assert "jobs on cluster other are not seen here" in capsys.readouterr().out


def submitted_project(make_project, fake_slurm, tmp_path, monkeypatch):
    """A sweep of two runs, both queued as jobs; the words that name it and its profile."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    project, site = make_project("csv"), tmp_path / "site.yaml"
    site.write_text(
        "scheduler: slurm\nmax_submit: 10\nmax_running: 5\nmax_array_size: 9\n"
        "max_minutes: 240\nreport: false\n"
    )
    for command in ("squeue", "srun", "sacct", "scontrol"):
        fake_slurm(command)
    fake_slurm("sbatch", "Submitted batch job 42\n")
    words = [str(w) for w in (project.sweep_file, "--work", project.work, "--cluster", site)]
    assert parser.main(["sweep", *words]) == 1  # one recording is refused
    queued = "{}|PENDING|Priority|main|lab|normal|N/A|x\n"
    jobs = {e.items[0]: e.job for e in project.sweep_folder.ledger.entries()}
    fake_slurm("squeue", "".join(queued.format(job) for job in jobs.values()))
    return project, words


def test_runs_that_left_the_sweep_are_named_and_cancelled_on_request(
    make_project, fake_slurm, tmp_path, monkeypatch, capsys
):
    project, words = submitted_project(make_project, fake_slurm, tmp_path, monkeypatch)
    text = project.sweep_file.read_text()
    project.sweep_file.write_text(text.replace("[power, mel]", "[mel]"))
    cancelled = fake_slurm("scancel")
    capsys.readouterr()
    assert parser.main(["sweep", *words]) == 1
    printed = capsys.readouterr().out
    gone = next(e for e in project.sweep_folder.ledger.entries() if e.job == "42_0")
    assert "power (job 42_0) is not in the sweep any more, and its job goes on; " in printed
    assert re.search(r"make cancel SWEEP=\S+ REMOVED=1 CLUSTER=\S+ WORK=\S+ cancels what", printed)
    assert parser.main(["status", *words, "--once"]) == 0
    printed = capsys.readouterr().out
    assert f"{gone.items[0][:8]} (job 42_0) is not in the sweep any more, and its job" in printed
    assert not cancelled.exists()
    assert parser.main(["cancel", *words, "--removed"]) == 0
    assert cancelled.read_text().split() == [gone.job]


def test_runs_that_left_the_file_are_named_before_make_sweep_is_typed_again(
    make_project, fake_slurm, tmp_path, monkeypatch, capsys
):
    project, words = submitted_project(make_project, fake_slurm, tmp_path, monkeypatch)
    text = project.sweep_file.read_text()
    project.sweep_file.write_text(text.replace("[power, mel]", "[mel, amplitude]"))
    cancelled = fake_slurm("scancel")
    capsys.readouterr()
    assert parser.main(["status", *words, "--once"]) == 0
    printed = capsys.readouterr().out
    assert "; removed: power; added: amplitude, which make sweep SWEEP=" in printed
    assert "power (job 42_0) is not in the sweep any more, and its job goes on; " in printed
    assert parser.main(["cancel", *words, "--removed"]) == 0
    assert cancelled.read_text().split() == ["42_0"]
