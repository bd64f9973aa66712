"""What a person sees of one run: each epoch in words, and three utterances as they are heard."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.status import Queue
from jobs.wanted import SweepFolder, Wanted, WantedRun
from jobs.watching import Watcher
from pipeline.training.run import Account, Heartbeat

FIRST = Account(1, "on the blank plateau", (("a-1", "ENTER SIX", " "), ("b-2", "YES", "YE")))
SECOND = Account(2, "escaped at update 9", (("a-1", "ENTER SIX", "ENTR"), ("b-2", "YES", "YES")))


def wanted(*labels: str) -> Wanted:
    runs = tuple(WantedRun(label, {}, f"{label:0<12}", "mel-x") for label in labels)
    return Wanted("s", "", "s.yaml", "", runs, ())


def look(watcher: Watcher) -> None:
    watcher._next = 0.0
    watcher.look()


def test_each_epoch_of_a_run_alone_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    folder = SweepFolder(tmp_path, "s")
    run = folder.run("mel000000000")
    run.beat(Heartbeat(doing="starting torch"))
    with Watcher(wanted("mel"), folder, Queue(), runs=True) as watcher:
        look(watcher)
        run.beat(Heartbeat(doing="reading frames"))
        look(watcher)
        for account in (FIRST, FIRST, SECOND):
            run.tell(account)
            look(watcher)
    said = capfd.readouterr().out
    assert "mel: running: reading frames" in said
    assert said.count("epoch 1: on the blank plateau") == 1
    assert "    said   ENTER SIX\n    heard  (nothing)\n" in said
    assert "epoch 2: escaped at update 9\n    said   ENTER SIX\n    heard  ENTR\n" in said


def test_what_was_told_before_is_not_told_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    folder = SweepFolder(tmp_path, "s")
    folder.run("mel000000000").tell(FIRST)
    with Watcher(wanted("mel"), folder, Queue(), runs=True) as watcher:
        look(watcher)
    assert "epoch 1" not in capfd.readouterr().out


def test_of_many_runs_no_epoch_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    folder = SweepFolder(tmp_path, "s")
    with Watcher(wanted("mel", "power"), folder, Queue(), runs=True) as watcher:
        folder.run("mel000000000").tell(FIRST)
        look(watcher)
    assert "epoch 1" not in capfd.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to a console")
def test_interrupted_in_the_foreground_it_is_saved_and_says_how_to_go_on(make_bench):
    bench = make_bench(epochs=400)
    experiment = bench.configs / "experiments" / "tiny.yaml"
    words = [sys.executable, "-m", "jobs", "train", str(experiment), "--work", str(bench.work)]
    program = subprocess.Popen(
        [*words, "--set", "train.batch=8"], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(bench.work.glob("runs/*/account.json")):
        assert time.monotonic() < deadline
        assert program.poll() is None
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    said, _ = program.communicate(timeout=30)
    assert program.returncode == 130
    assert (
        f'saved at the last step boundary: make train EXPERIMENT={experiment} SET="train.batch=8" '
        f"WORK={bench.work} continues" in said
    )
    assert len(list(bench.work.glob("runs/*/state.pt"))) == 1
