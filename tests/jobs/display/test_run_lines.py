"""The table of runs keeps its columns, and explains each cause once below them."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from jobs import messages
from jobs.display import plan_lines, run_lines, run_table
from jobs.sweep.feature_status import FeatureStatus
from jobs.sweep.run_status import RunStatus
from pipeline.config.experiment import load_experiment
from pipeline.config.sweep import load_sweep, single_run_sweep
from pipeline.runs.folder import Heartbeat, Usage
from tests.results.examples import RunScenario, make_rows

LONG = "sbatch: error: " + "a very long story " * 30


def table_lines(*statuses: RunStatus, width: int = 100) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(run_table.overview(statuses, ()))
    return text.getvalue().splitlines()


def running(**facts) -> RunStatus:
    beat = Heartbeat(epoch=3, epochs=40, loss_per_character=1.5, dev_cer=0.25, seconds_left=60.0)
    return RunStatus("seed=0", "0123456789ab", "running", heartbeat=beat, **facts)


@pytest.mark.parametrize(
    ("exclude", "line"),
    [
        ("{train.seed: 9}", "s: 2 arms x 3 seeds = 6 runs"),
        ("{features.spectrum: mel}", "s: 1 arm x 3 seeds = 3 runs"),
        ("{features.spectrum: mel, train.seed: 1}", "s: 2 arms of 2 to 3 seeds = 5 runs"),
    ],
)
def test_a_sweep_opens_with_its_arms_seeds_and_runs(tmp_path: Path, exclude: str, line: str):
    (tmp_path / "demo.yaml").write_text("reader: demo\n")
    (tmp_path / "base.yaml").write_text("corpus: demo.yaml\n")
    (tmp_path / "s.yaml").write_text(
        "base: base.yaml\naxes: {features.spectrum: [power, mel]}\nseeds: 3\n"
        f"exclude: [{exclude}]\n"
    )
    assert plan_lines.opening_lines(load_sweep(tmp_path / "s.yaml")) == [line]


def test_two_labels_of_one_experiment_are_one_run(tmp_path: Path):
    (tmp_path / "demo.yaml").write_text("reader: demo\n")
    (tmp_path / "base.yaml").write_text("corpus: demo.yaml\n")
    entries = "{label: a}, {label: b}, {label: c, input.stack: 2}"
    (tmp_path / "s.yaml").write_text(f"base: base.yaml\nlist: [{entries}]\n")
    (line,) = plan_lines.opening_lines(load_sweep(tmp_path / "s.yaml"))
    assert line == "s: 2 arms x 1 seed = 2 runs"


def test_a_single_run_opens_without_arms(tmp_path: Path):
    (tmp_path / "demo.yaml").write_text("reader: demo\n")
    (tmp_path / "base.yaml").write_text("corpus: demo.yaml\n")
    path = tmp_path / "base.yaml"
    single = single_run_sweep(path, load_experiment(path), "train")
    assert plan_lines.opening_lines(single) == []


def test_a_long_cause_does_not_squeeze_the_table():
    failed = RunStatus("seed=1", "ba9876543210", "failed", "code error", LONG)
    waits = RunStatus(
        "seed=2", "ba9876543211", "queued", "", "other jobs come first (Priority) " * 5
    )
    header, first, second, *_ = table_lines(running(), failed, waits, width=120)
    assert first.split()[:5] == ["seed=0", "01234567", "running", "3/40", "1.50"]
    assert second.split() == ["seed=1", "ba987654", "failed", "code", "error"]
    assert "dev CER" in header
    assert "left" in header


def measured_run(label: str) -> RunStatus:
    beat = replace(running().heartbeat, reference_loss=3.03, blank_argmax=0.875)
    beat = replace(beat, frames_per_second=51_000.0)
    used = Usage(began=0.0, seconds=10.0, cpu_seconds=13.0, gpu_busy=0.22)
    return RunStatus(label, "0123456789ab", "running", heartbeat=beat, usage=used)


def test_a_narrow_terminal_leaves_out_what_matters_less():
    label = "repaired, amplitude, standardise, seed 0"
    failed = RunStatus("seed 1", "ba9876543210", "failed", "code error", LONG)
    wide, narrow = (table_lines(measured_run(label), failed, width=width) for width in (160, 80))
    header = ["run", "id", "state", "epoch", "loss", "ref", "loss", "dev", "CER", "blank"]
    assert wide[0].split() == [*header, "frames/s", "CPUs", "GPU", "left"]
    assert narrow[0].split() == ["run", "state", "epoch", "loss", "dev", "CER", "left"]
    words = ["running", "3/40", "1.50", "25.0", "%", "1", "min", "00", "s"]
    assert narrow[1].split()[-len(words) :] == words
    shown = " ".join(line[: narrow[0].index("state")].strip() for line in narrow[1:4])
    assert shown.startswith(label)


@pytest.mark.parametrize("label", ["baseline", "first-training"])
def test_a_single_run_keeps_its_speed_and_time_left_in_eighty_columns(label: str):
    header, *_ = table_lines(measured_run(label), width=80)
    for name in ("epoch", "loss", "ref loss", "dev CER", "blank", "frames/s", "left"):
        assert name in header


def live_lines(*statuses: RunStatus, width: int = 80, height: int = 24) -> list[str]:
    text = io.StringIO()
    console = Console(file=text, width=width, height=height)
    console.print(run_table.LiveOverview(statuses, (), "squeue does not answer"))
    return text.getvalue().splitlines()


def test_the_live_view_of_thirty_runs_shows_summary_running_runs_and_time_left_on_one_screen():
    waiting = [RunStatus(f"mel, seed {n}", f"{n:012}", "waiting") for n in range(26)]
    label = "repaired, amplitude, standardise"
    trained = [measured_run(f"{label}, seed {n}")._replace(run_id=f"{n:012}") for n in range(4)]
    lines = live_lines(*waiting, *trained)
    assert len(lines) < 24
    assert lines[0] == "30 runs: 4 running, 26 waiting; the running ones end within 1 min 00 s"
    text = "\n".join(lines)
    assert text.count("running ") >= 4
    assert text.count("1 min 00 s") == 5  # of the summary and of each running run
    hidden = 30 - text.count("waiting") + 1 - 4
    assert f"… and {hidden} more runs; WATCH=0 shows all" in lines
    assert lines[-2].startswith("squeue") or lines[-1].startswith("… and")


@pytest.mark.parametrize("count", [1, 5, 200])
@pytest.mark.parametrize("height", [8, 24, 60])
def test_the_live_view_is_never_higher_than_the_screen(count: int, height: int):
    statuses = [measured_run(f"seed {n}") for n in range(count)]
    lines = live_lines(*statuses, height=height)
    assert len(lines) < height
    shown = sum("seed " in line for line in lines)
    assert shown == count or f"{count - shown} more run" in lines[-1]


def test_many_runs_leave_out_the_same_columns(monkeypatch):
    runs = measured_run("seed 0"), measured_run("seed 1")
    few = table_lines(*runs, width=70)
    monkeypatch.setattr(run_table, "MAX_RICH_ROWS", 1)
    many = table_lines(*runs, width=70)
    assert many[0].split() == few[0].split()
    assert max(map(len, many)) <= 70


def test_a_column_without_any_value_is_left_out():
    header, first, *_ = table_lines(RunStatus("mel", "0123456789ab", "waiting"))
    assert header.split() == ["run", "id", "state"]
    assert first.split() == ["mel", "01234567", "waiting"]  # enough of the id for logs


def test_a_sentence_is_one_line_if_the_output_is_piped():
    """So that grep finds all of it; the standard output of the process is not a terminal."""
    program = (
        "from jobs.display import run_table\n"
        "from jobs.messages import console\n"
        "from jobs.sweep.run_status import RunStatus\n"
        "failed = RunStatus('seed=1', 'ba98', 'failed', 'disk full', 'no space left ' * 40)\n"
        "console().print(run_table.overview([failed], []))"
    )
    lines = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [len(line) > 500 for line in lines] == [False, False, False, True]
    assert max(map(len, lines[:3])) < 120


def test_a_line_above_the_live_view_is_not_broken(monkeypatch):
    """So that a command in it can be copied."""
    text, line = io.StringIO(), "to continue: " + "make sweep " * 20
    monkeypatch.setattr(messages, "in_terminal", lambda: True)
    terminal = Console(file=text, force_terminal=True, width=40, highlight=False)
    monkeypatch.setattr(messages, "console", lambda: terminal)
    monkeypatch.setattr(run_table, "console", lambda: terminal)
    with run_table.live_display("below"):
        messages.print_line(f"{line}[bold]")
    assert f"{line}[bold]\n" in text.getvalue()


def test_the_line_of_an_epoch_has_losses_rates_speed_and_time_left():
    train, dev = make_rows("0123456789ab", RunScenario(), 1)
    train |= {"loss_per_character": 1.4, "frames_per_second": 51_000.0}
    dev |= {"loss_per_character": 1.5, "cer": 0.25, "blank_argmax": 0.87}
    assert run_lines.epoch_line(running(), train, dev) == (
        "seed=0: epoch 1 of 40, train loss 1.40 (reference loss 3.02), "
        "dev loss 1.50 (reference loss 3.02), "
        "dev CER 25.0 %, blank 87.0 %, 51,000 frames/s, 1 min 00 s left"
    )


def test_a_cause_of_many_runs_is_explained_once_below_the_table():
    failed = [RunStatus(f"seed={n}", f"{n}", "failed", "disk full", "no space") for n in range(3)]
    lost = RunStatus("seed=3", "3", "lost", "", "job 12_3 left the queue")
    assert run_lines.explanation_lines([*failed, lost, running()]) == [
        "seed=0 and 2 more: disk full: no space",
        "seed=3: lost: job 12_3 left the queue",
    ]


def test_a_running_run_shows_its_cpus_and_gpu():
    used = Usage(began=0.0, seconds=10.0, cpu_seconds=13.0, gpu_busy=0.22)
    assert table_lines(running(usage=used))[1].split()[7:10] == ["1.3", "22.0", "%"]


def test_a_table_of_many_runs_has_the_same_cells_as_one_of_few(monkeypatch):
    waits = RunStatus("seed=2", "ba9876543211", "queued", "", "other jobs come first (Priority)")
    few = table_lines(running(), waits, width=200)
    monkeypatch.setattr(run_table, "MAX_RICH_ROWS", 1)
    many = table_lines(running(), waits, width=200)
    assert [line.split() for line in many] == [line.split() for line in few]
    assert len({line.index("state") - line.index("id") for line in (few[0], many[0])}) == 1


def test_only_a_running_run_shows_its_speed_time_left_and_age():
    facts = {
        "epoch": 3,
        "epochs": 3,
        "frames_per_second": 1234.0,
        "seconds_left": 60.0,
        "time": 0.0,
    }
    shown = {}
    for state, status in (("running", "running"), ("finished", "finished")):
        heartbeat = Heartbeat(status=status, **facts)
        run = RunStatus("seed=0", "0123456789ab", state, heartbeat=heartbeat)
        shown[state] = table_lines(run, width=200)[1]
    for text in ("1,234", "1 min 00 s", " ago"):
        assert text in shown["running"]
        assert text not in shown["finished"]


@pytest.mark.parametrize("limit", [0, 100])
def test_numbers_are_aligned_at_the_right_and_words_at_the_left(monkeypatch, limit):
    monkeypatch.setattr(run_table, "MAX_RICH_ROWS", limit)
    runs = [
        RunStatus(label, "0123456789ab", "running", heartbeat=Heartbeat(epoch=epoch, epochs=90))
        for label, epoch in (("mel", 3), ("amplitude", 42))
    ]
    header, first, second = (line.rstrip() for line in table_lines(*runs)[:3])
    assert first.index("3/90") + len("3/90") == second.index("42/90") + len("42/90")
    assert header.index("state") == first.index("running") == second.index("running")


def test_features_are_shown_while_shards_are_missing():
    text = io.StringIO()
    for shards in ({0, 1, 2}, {0, 1, 2, 3}):
        features = [FeatureStatus("mel", 4, frozenset(shards))]
        Console(file=text, width=100).print(run_table.overview((), features))
    assert text.getvalue().split("\n", 1)[0] == "features: 3 of 4 shards of 1 set"
    assert text.getvalue().count("features:") == 1
