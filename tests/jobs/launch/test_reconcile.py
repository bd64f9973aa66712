"""A sweep, the whole way on this machine: it continues, refuses, and does nothing twice."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jobs.commands import parser
from jobs.exit_codes import BAD_INPUT, INTERRUPTED
from jobs.sweep import run_status
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.ledger import LedgerEntry
from jobs.sweep.record import load_record
from jobs.sweep.run_status import RunStatus
from pipeline.config.sweep import changed_name
from pipeline.runs.folder import Failure, Heartbeat

REPOSITORY = Path(__file__).resolve().parents[3]
LOCAL = REPOSITORY / "cluster" / "local.yaml"
SECONDS = 60.0  # limit of each wait, which usually takes a few

Typed = Callable[..., tuple[int, str, str]]


def program(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "jobs", *map(str, words)]


def typed(*words: str | Path) -> tuple[int, str, str]:
    """Exit code, output and errors of the program."""
    answer = subprocess.run(
        program(*words), capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    return answer.returncode, answer.stdout, answer.stderr


@pytest.fixture
def run_in_process(run_tasks_in_process: None, capsys: pytest.CaptureFixture[str]) -> Typed:
    """The same, without a process of its own for the program or for any of its tasks."""

    def act(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = parser.main([*map(str, words)])
        return code, *capsys.readouterr()

    return act


def states(bench) -> list[RunStatus]:
    return run_status.run_statuses(load_record(bench.sweep_folder), bench.sweep_folder, Queue())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_epochs(bench, number: int) -> bool:
    """Each run that is not finished has committed so many epochs."""
    if not bench.sweep_folder.record_file.exists():
        return False
    runs = [bench.sweep_folder.run(run.run_id) for run in load_record(bench.sweep_folder).runs]
    return all(max((row["epoch"] for row in run.rows()), default=0) >= number for run in runs)


def sweep(bench, *words: str) -> list[str]:
    return [
        "sweep",
        str(bench.sweep_file),
        "--work",
        str(bench.work),
        "--cluster",
        str(LOCAL),
        *words,
    ]


def start(bench) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        program(*sweep(bench)), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_sweep_interrupted_and_killed_continues_until_there_is_nothing_to_do(make_project):
    bench = make_project(epochs=40)
    parent = start(bench)
    until(lambda: has_epochs(bench, 2))
    parent.send_signal(signal.SIGINT)
    _, errors = parent.communicate(timeout=SECONDS)
    assert parent.returncode == INTERRUPTED
    assert b"run the same command again to continue" in errors
    assert {run.state for run in states(bench)} == {"stopped"}
    before = {run.run_id: bench.sweep_folder.run(run.run_id).rows() for run in states(bench)}

    parent = start(bench)
    most = max(row["epoch"] for rows in before.values() for row in rows)
    until(lambda: has_epochs(bench, most + 1))
    victim = states(bench)[0]
    os.kill(victim.heartbeat.pid, signal.SIGKILL)
    parent.communicate(timeout=SECONDS)
    assert parent.returncode == 1
    killed, other = states(bench)
    assert (killed.state, killed.cause, other.state) == ("failed", "killed", "finished")

    code, printed, errors = typed(*sweep(bench))
    assert (code, errors) == (0, "")
    assert "2 runs: 2 finished" in printed
    assert re.search(r"(Best on dev: |No usable arm: )", printed)
    assert "\x1b[" not in printed  # no colour in a pipe
    for run in states(bench):
        rows = bench.sweep_folder.run(run.run_id).rows()
        assert run.state == "finished"
        assert rows[: len(before[run.run_id])] == before[run.run_id]
        assert [row["epoch"] for row in rows if row["split"] == "train"] == list(range(1, 41))

    entries, report = bench.sweep_folder.ledger.entries(), bench.sweep_folder.report_file.stat()
    code, printed, errors = typed(*sweep(bench))
    assert (code, errors) == (0, "")
    assert "nothing to do: 2 of 2 runs are finished" in printed
    assert bench.sweep_folder.ledger.entries() == entries
    assert bench.sweep_folder.report_file.stat().st_mtime == report.st_mtime


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_after_cancel_all_runs_are_saved_and_the_sweep_may_start_again(
    make_project, run_in_process: Typed
):
    bench = make_project(epochs=1000)
    parent = start(bench)
    until(lambda: has_epochs(bench, 1))
    _, printed, _ = run_in_process("cancel", bench.sweep_file, "--work", bench.work)
    assert {run.state for run in states(bench)} == {"stopped"}
    assert not bench.sweep_folder.owner_file.exists()  # another process would be refused
    pid = parent.pid
    assert printed == f"stopping process {pid}; it saves first\nprocess {pid} has stopped\n"
    parent.communicate(timeout=SECONDS)
    assert parent.returncode == INTERRUPTED
    _, printed, _ = run_in_process("cancel", bench.sweep_file, "--work", bench.work)
    assert printed == "nothing to cancel: no job of tiny is queued or running\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_an_experiment_trains_in_the_foreground_and_says_when_interrupted_how_it_continues(
    make_project, run_in_process: Typed
):
    bench = make_project()
    experiment = bench.configs / "experiments" / "tiny.yaml"
    words = ["train", experiment, "--work", bench.work, "--cluster", LOCAL]
    words += ["--set", "train.epochs=40"]
    parent = subprocess.Popen(program(*words), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    until(lambda: any(file.read_text() for file in bench.work.glob("runs/*/rows.jsonl")))
    parent.send_signal(signal.SIGINT)
    printed, _ = parent.communicate(timeout=SECONDS)
    assert parent.returncode == INTERRUPTED
    assert "features: 1 set" in printed
    assert "times real time" in printed
    assert re.search(r"epoch \d+, dev: .*loss", printed)
    again = f'make train EXPERIMENT={experiment} SET="train.epochs=40"'
    assert f"stopped; the state is saved: {again}" in printed
    assert printed.rstrip().endswith(" continues")

    code, printed, errors = run_in_process(*words)
    assert (code, errors) == (0, "")
    assert re.search(r"epoch 40, dev: .*loss", printed)
    assert "test CER" in printed
    assert "highest losses per character in train: " in printed
    assert printed.count("    reference   ") == printed.count("    hypothesis  ") == 2  # all of dev

    (ranking,) = bench.work.glob("runs/*/train_hypotheses.csv")
    ranking.write_bytes(b"utterance_id,loss\nu0\n")
    code, printed, errors = run_in_process(*words)
    assert (code, errors) == (0, "")
    assert "test CER" in printed
    assert "highest losses" not in printed


def test_the_same_refusal_by_two_processes_is_printed_once_and_without_a_run(
    make_project, tmp_path
):
    bench, profile = make_project("csv"), tmp_path / "two.yaml"
    profile.write_text("scheduler: local\nslots: 2\n")
    quiet = np.random.default_rng(0).normal(scale=1e-6, size=50 * 16_000)  # two shards
    for wav in bench.corpus.glob("u*.wav"):
        soundfile.write(wav, quiet, 16_000, subtype="FLOAT")
    experiment = bench.configs / "experiments" / "tiny.yaml"
    words = ["--work", bench.work, "--cluster", profile, "--set", "features.spectrum=power"]
    code, printed, errors = typed("train", experiment, *words, "--set", "features.scale=none")
    assert (code, errors) == (1, "")
    assert len(list(bench.work.glob("sweeps/*/tasks/features-*.failure"))) == 2
    assert printed.count("would become 0") == 1
    assert str(bench.work / "runs") not in printed


def test_features_that_are_there_are_not_computed_again_and_a_damaged_shard_is(
    make_project, run_in_process: Typed
):
    bench = make_project("an4")
    words = ["--work", bench.work, "--cluster", LOCAL]
    assert run_in_process("features", "--sweep", bench.sweep_file, *words)[0] == 0
    shards = sorted(bench.work.glob("features/*/shard-*.h5"))
    content = [shard.read_bytes() for shard in shards]
    shards[0].write_bytes(content[0][:-1])
    code, printed, _ = run_in_process("features", "--sweep", bench.sweep_file, *words)
    assert code == 0
    assert "features: 1 set " in printed
    assert [shard.read_bytes() for shard in shards] == content
    assert (
        "nothing to do: 2 feature sets"
        in run_in_process("features", "--sweep", bench.sweep_file, *words)[1]
    )


def test_copies_at_other_speeds_are_trained_on_and_counted(make_project, run_in_process: Typed):
    bench = make_project("csv", epochs=1)
    words = ["--work", bench.work, "--cluster", LOCAL]
    seen = {}
    for speeds in ("[]", "[0.9,1.1]"):
        code, printed, _ = run_in_process(*sweep(bench, f"--set=features.speeds={speeds}"))
        assert code == 1  # one recording is refused
        assert printed.count("refused: broken: ") == 1
        assert "features: 2 sets of 12 utterances" in printed
        folder = SweepFolder(
            bench.work, changed_name("tiny", {"features.speeds": json.loads(speeds)})
        )
        run = load_record(folder).runs[0]
        rows = folder.run(run.run_id).rows()
        seen[speeds] = [(row["split"], row["utterances"], row["frames"]) for row in rows]
    (train, *rest), (copied, *others) = seen.values()
    assert others == rest
    assert copied[1] == 3 * train[1]
    assert copied[2] == pytest.approx((1 + 1 / 0.9 + 1 / 1.1) * train[2], rel=0.01)
    held = 12 + 2 * train[1]
    printed = run_in_process("inspect", run.feature_id, *words)[1]
    assert "speeds (0.9, 1.1)" in printed
    assert (
        f"{held} utterances (dev {rest[0][1]}, test {rest[1][1]}, train {3 * train[1]})" in printed
    )
    assert ": all whole" in run_in_process("verify", run.feature_id, *words)[1]


def test_a_plan_is_printed_and_nothing_is_submitted(make_project, capsys):
    bench = make_project("an4")
    written = bench.sweep_file.read_text("utf-8")
    bench.sweep_file.write_text(
        f"# Cost: 2 runs of\n#   a second.\n# Expect: no.\n{written}", "utf-8"
    )
    assert parser.main(sweep(bench, "--dry-run")) == 0
    printed = capsys.readouterr().out
    assert "tiny: 2 arms x 1 seed = 2 runs\n" in printed
    assert "cost of all its runs, as the sweep file says: 2 runs of a second.\n" in printed
    assert "features: 1 slice in 1 task of at most 1" in printed
    assert "runs: 2 runs in 2 tasks of at most 1" in printed
    assert not list(bench.work.glob("*/*"))


def test_more_seeds_add_what_is_missing_and_repeat_nothing(make_project, run_in_process: Typed):
    bench = make_project("csv", epochs=1)
    bench.sweep_file.write_text("# Cost: 2 runs of a second.\n" + bench.sweep_file.read_text())
    assert "tiny: 2 arms x 1 seed = 2 runs\n" in run_in_process(*sweep(bench))[1]
    first = {run.run_id: run.heartbeat for run in states(bench)}

    printed = run_in_process(*sweep(bench, "--seeds", "2", "--dry-run"))[1]
    assert "tiny: 2 arms x 2 seeds = 4 runs\n" in printed
    assert "cost without SEEDS=2, as the sweep file says: 2 runs of a second.\n" in printed
    assert "runs: 2 runs in 2 tasks" in printed
    assert {run.run_id for run in states(bench)} == set(first)  # a plan alone changes nothing

    assert "tiny: 2 arms x 2 seeds = 4 runs\n" in run_in_process(*sweep(bench, "--seeds", "2"))[1]
    assert [(run.label, run.state) for run in states(bench)] == [
        ("power, seed 0", "finished"),
        ("power, seed 1", "finished"),
        ("mel, seed 0", "finished"),
        ("mel, seed 1", "finished"),
    ]
    seen = {run.run_id: run.heartbeat for run in states(bench)}
    assert first.items() <= seen.items()
    assert len(seen) == 4
    trained = [item for entry in bench.sweep_folder.ledger.entries() for item in entry.items]
    assert sorted(item for item in trained if item in seen) == sorted(seen)
    assert f"SWEEP={bench.sweep_file} SEEDS=2 " in bench.sweep_folder.report_file.read_text()
    printed = run_in_process(*sweep(bench, "--seeds", "2"))[1]
    assert "nothing to do: 4 of 4 runs are finished" in printed


def test_seeds_are_refused_for_the_features_of_a_corpus(make_project, capsys):
    bench = make_project("csv")
    corpus = bench.configs / "corpora" / "tiny.yaml"
    words = ["features", "--corpus", corpus, "--work", bench.work, "--seeds", "2"]
    assert "SEEDS does not apply to CORPUS=…; leave it out" in refused(capsys, *words)


def test_the_features_of_a_sweep_are_the_same_for_any_number_of_seeds(make_project, run_in_process):
    bench = make_project("csv")
    words = ["features", "--sweep", bench.sweep_file, "--work", bench.work, "--seeds"]
    printed = run_in_process(*words, "2")[1]
    assert "features: 2 sets of 12 utterances" in printed
    assert "seeds" not in printed  # no run was asked for
    assert len(load_record(bench.sweep_folder).runs) == 4
    assert "nothing to do: 2 feature sets" in run_in_process(*words, "3")[1]


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """What a refused command printed: one line, and exit code 2."""
    assert parser.main([str(word) for word in words]) == BAD_INPUT
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith("blankslate: ")
    return printed


@pytest.mark.parametrize("scheduler", ["local", "slurm"])
def test_a_runaway_grid_is_refused_before_anything_is_made(make_project, capsys, scheduler: str):
    bench = make_project("an4")
    profile = bench.configs / "site.yaml"
    profile.write_text(f"scheduler: {scheduler}\nmax_runs: 1\n")
    line = refused(
        capsys,
        "sweep",
        bench.sweep_file,
        "--work",
        bench.work,
        "--cluster",
        profile,
        "--dry-run",
    )
    assert f"{bench.sweep_file}: plans 2 runs, and {profile} allows 1; narrow the sweep" in line
    line = refused(capsys, "sweep", bench.sweep_file, "--work", bench.work, "--cluster", profile)
    assert "plans 2 runs" in line
    assert not list(bench.work.glob("*/*"))


def test_a_missing_corpus_is_refused_in_one_line(make_project, capsys):
    bench = make_project("an4")
    bench.corpus.rename(bench.corpus.with_name("elsewhere"))
    assert str(bench.corpus) in refused(capsys, *sweep(bench))
    assert not bench.sweep_folder.path.exists()


def test_an_unset_variable_of_a_corpus_is_refused_in_one_line(make_project, capsys, monkeypatch):
    bench = make_project("an4")
    monkeypatch.delenv("AN4", raising=False)
    corpus = bench.configs / "corpora" / "tiny.yaml"
    corpus.write_text("reader: an4\nroot: $AN4\n")
    assert "environment variable AN4 is not set" in refused(capsys, *sweep(bench))


def test_a_character_outside_the_alphabet_is_refused_before_anything_is_submitted(
    make_project, capsys
):
    bench = make_project("an4")
    bench.replace_transcript("faaa-an1-b", "NÉE")
    line = refused(capsys, *sweep(bench))
    assert "corpus tiny: 1 of 12 transcripts have characters that the alphabet english-38" in line
    assert "lacks: 'É' (first in faaa-an1-b)" in line
    assert not bench.sweep_folder.path.exists()


def test_a_work_folder_that_cannot_be_written_is_refused_in_one_line(make_project, capsys):
    bench = make_project("an4")
    bench.work.write_text("in the way")
    assert "the work folder cannot be written" in refused(capsys, *sweep(bench))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that even root cannot write")
def test_a_read_only_work_folder_is_refused_in_one_line(make_project, capsys):
    words = ["sweep", make_project("an4").sweep_file, "--work", "/proc/blankslate"]
    assert "the work folder cannot be written" in refused(capsys, *words)


def test_an_unreachable_scheduler_is_refused_in_one_line(make_project, capsys, fake_slurm):
    bench = make_project("an4")
    words = [*sweep(bench)[:-1], str(REPOSITORY / "cluster" / "slurm.yaml")]
    assert "squeue is not on PATH" in refused(capsys, *words)
    fake_slurm("squeue", complains="Unable to contact slurm controller", code=1)
    assert "Unable to contact slurm controller" in refused(capsys, *words)
    assert not bench.sweep_folder.path.exists()


def test_what_sbatch_refuses_is_quoted_and_what_it_accepted_is_in_the_ledger(
    make_project, capsys, fake_slurm
):
    bench = make_project("an4")
    site = bench.configs / "site.yaml"
    site.write_text(
        "scheduler: slurm\nmax_submit: 10\nmax_running: 5\nmax_array_size: 9\nreport: false\n"
    )
    fake_slurm("squeue")
    fake_slurm("srun")
    fake_slurm("sbatch", "Submitted batch job 42\n")
    words = ["--work", str(bench.work), "--cluster", str(site)]
    assert parser.main(["features", "--sweep", str(bench.sweep_file), *words]) == 0
    assert [entry.job for entry in bench.sweep_folder.ledger.entries()] == ["42"]
    capsys.readouterr()

    fake_slurm("squeue", "42|PENDING|Priority|main|lab|normal|N/A|(null)\n")
    fake_slurm("sbatch", complains="sbatch: error: Invalid account or partition", code=1)
    line = refused(capsys, "sweep", str(bench.sweep_file), *words)
    assert "site.yaml: sbatch: error: Invalid account or partition" in line
    assert [entry.job for entry in bench.sweep_folder.ledger.entries()] == ["42"]

    sbatch = fake_slurm("sbatch", "Submitted batch job 43\n")
    sbatch.unlink()
    assert parser.main(["sweep", str(bench.sweep_file), *words]) == 0
    (script,) = (bench.sweep_folder.jobs).glob("43_submission.sh")
    assert "#SBATCH --dependency=afterany:42" in script.read_text()
    assert sbatch.read_text().count("\n") == 1  # the features are on their way already

    rest = "|main|lab|normal|N/A|(null)\n"
    jobs = ("42|PENDING|Priority", "43_0|PENDING|Dependency", "43_1|PENDING|Dependency")
    fake_slurm("squeue", "".join(job + rest for job in jobs))
    sbatch.unlink()
    assert parser.main(["sweep", str(bench.sweep_file), *words]) == 0
    assert not sbatch.exists()


def test_a_cut_file_and_an_empty_transcript_are_refused_and_the_good_ones_kept(
    make_project, run_in_process: Typed
):
    bench = make_project("an4")
    cut = bench.wav_path("faaa-an0-b")
    cut.write_bytes(cut.read_bytes()[:-4000])
    bench.replace_transcript("maaa-an2-b", "")
    words = ["--work", bench.work, "--cluster", LOCAL]
    code, printed, errors = run_in_process("features", "--sweep", bench.sweep_file, *words)
    assert (code, errors) == (1, "")
    refusals = [line for line in printed.splitlines() if line.startswith("refused: ")]
    assert sorted(line.split(": ")[1] for line in refusals) == ["faaa-an0-b", "maaa-an2-b"]
    assert "10 utterances" in printed
    assert len(list(bench.work.glob("features/*/shard-*.h5"))) == 2


def test_a_sweep_begun_on_a_cluster_continues_on_a_machine_without_slurm(
    make_project, run_in_process: Typed, monkeypatch
):
    bench = make_project(epochs=1)
    monkeypatch.setenv("PATH", str(bench.work / "empty"))  # no squeue
    assert run_in_process(*sweep(bench, "--dry-run"))[0] == 0
    assert run_in_process("features", *sweep(bench)[2:], "--sweep", bench.sweep_file)[0] == 0
    assert load_record(bench.sweep_folder).runs
    submitted = LedgerEntry(
        time=time.time() - 60,
        scheduler="slurm",
        job="12_0",
        kind="runs",
        items=tuple(run.run_id for run in load_record(bench.sweep_folder).runs),
        task="t.json",
        code="c",
    )
    bench.sweep_folder.ledger.append([submitted])
    code, printed, errors = run_in_process(*sweep(bench))
    assert (code, errors) == (0, "")
    assert printed.count("squeue is not on PATH") == 1
    assert "2 runs: 2 finished" in printed


def test_a_run_that_another_terminal_trains_is_left_to_it_and_has_not_failed(
    make_project, run_in_process: Typed
):
    bench = make_project(epochs=1)
    assert run_in_process("features", *sweep(bench)[2:], "--sweep", bench.sweep_file)[0] == 0
    first, _ = load_record(bench.sweep_folder).runs
    bench.sweep_folder.run(first.run_id).write_heartbeat(Heartbeat(pid=os.getpid()))
    code, printed, errors = run_in_process(*sweep(bench))
    assert (code, errors) == (1, "")  # not all is done
    assert f"left to process {os.getpid()} on " in printed
    assert "2 runs: 1 finished, 1 running" in printed
    assert not bench.sweep_folder.run(first.run_id).rows()


def test_two_sweeps_typed_at_once_train_a_run_that_they_share_once(
    make_project, run_in_process: Typed
):
    bench = make_project(epochs=30)
    assert run_in_process("features", *sweep(bench)[2:], "--sweep", bench.sweep_file)[0] == 0
    twin = bench.sweep_file.with_name("twin.yaml")
    twin.write_text(bench.sweep_file.read_text())
    first = start(bench)
    until(lambda: has_epochs(bench, 1))
    code, printed, errors = typed("sweep", twin, *sweep(bench)[2:])
    run_in_process, complaints = first.communicate(timeout=SECONDS)
    assert (first.returncode, complaints, errors) == (0, b"", "")
    assert "failed" not in printed
    assert b"failed" not in run_in_process
    assert (code, "which trains it already" in printed) in {(1, True), (0, False)}
    for run in states(bench):
        assert run.state == "finished"
        log = bench.sweep_folder.run(run.run_id).log_file.read_text()
        assert log.count("; test error rate ") == 1


def test_a_run_that_failed_in_the_code_is_left_out_until_the_code_has_changed(
    make_project, run_in_process: Typed
):
    bench = make_project()
    code, printed, errors = run_in_process(*sweep(bench))
    assert (code, errors) == (0, "")
    power = next(run for run in states(bench) if run.label == "power")
    run = bench.sweep_folder.run(power.run_id)
    run.heartbeat_file.unlink()
    run.write_failure(
        Failure(cause="code error", message="division by zero", traceback="Traceback")
    )
    code, printed, _ = run_in_process(*sweep(bench))
    assert code == 1
    assert "power: left out: code error, and the code has not changed" in printed
    assert "make logs RUN=" in printed
    assert run.failure() is not None

    last = bench.sweep_folder.latest()[power.run_id]
    bench.sweep_folder.ledger.append([last._replace(code="another")])
    code, printed, errors = run_in_process(*sweep(bench))
    assert (code, errors) == (0, "")
    assert {run.state for run in states(bench)} == {"finished"}
    assert bench.sweep_folder.ledger.entries()[-1].causes == ("code error",)
