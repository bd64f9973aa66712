"""The live view: lines of finished epochs; SLURM is queried less and less often."""

import io
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, repeat
from types import SimpleNamespace

import pytest
from rich.console import Console

from jobs import messages
from jobs.display import live, run_table
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.record import PlannedRun, SweepRecord
from jobs.sweep.run_status import RunStatus
from pipeline.runs.folder import EpochReport, Heartbeat
from tests.jobs.conftest import FakeClock
from tests.results.examples import RunScenario, make_rows


@pytest.mark.parametrize(
    ("min_interval_s", "expected"),
    [
        (30.0, [30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 180.0]),
        (70.0, [70.0, 140.0, 180.0, 180.0, 180.0, 180.0, 180.0]),
        (200.0, [200.0] * 7),
    ],
)
def test_the_time_between_queries_grows_and_is_never_shorter_than_in_the_profile(
    min_interval_s, expected
):
    intervals = accumulate(
        repeat(None, 6),
        lambda interval_s, _: live.next_poll_interval(interval_s, min_interval_s),
        initial=min_interval_s,
    )
    assert list(intervals) == expected


@dataclass
class FakeSweep:
    """A sweep with one run on a fake clock: when SLURM was queried, and with which answer."""

    clock: FakeClock
    states: dict[int, str]  # seconds after the start -> state of the run from then on
    queries: list[tuple[str, float]] = field(default_factory=list)
    queue: Queue | None = None  # the last answer
    reads: int = 0

    @property
    def now(self) -> float:
        return self.clock.now - FakeClock().now

    def get_queue(self, _: SweepFolder, unfinished: list[str], max_age_s: float) -> Queue:
        assert (unfinished, max_age_s) == ([], 30.0)
        return self.refresh_queue(_, unfinished, kind="cached")

    def refresh_queue(self, _: SweepFolder, __: list[str], kind: str = "new") -> Queue:
        self.queries.append((kind, self.now))
        self.queue = Queue(error_message=f"answer {len(self.queries)}")
        return self.queue

    def run_statuses(self, _: SweepRecord, __: SweepFolder, queue: Queue) -> list[RunStatus]:
        assert queue is self.queue
        self.reads += 1
        return [RunStatus("a", "0" * 12, self.states[max(s for s in self.states if self.now >= s)])]


@pytest.fixture
def sweep(monkeypatch) -> FakeSweep:
    made = FakeSweep(FakeClock(), {0: "queued", 400: "running", 1000: "finished"})
    monkeypatch.setattr(live.queue_cache, "get_queue", made.get_queue)
    monkeypatch.setattr(live.queue_cache, "refresh_queue", made.refresh_queue)
    monkeypatch.setattr(live.run_status, "run_statuses", made.run_statuses)
    monkeypatch.setattr(live, "time", made.clock)
    return made


@pytest.fixture
def screen(monkeypatch) -> io.StringIO:
    """What is written to a terminal."""
    text = io.StringIO()
    terminal = Console(force_terminal=True, file=text)
    for module in (run_table, live, messages):
        monkeypatch.setattr(module, "console", lambda: terminal)
    return text


EMPTY_RECORD = SweepRecord("a", "", "a.yaml", "", (), ())


def test_the_live_view_queries_less_often_until_a_state_changes(
    sweep, screen, tmp_path, monkeypatch
):
    monkeypatch.setattr(live, "in_terminal", lambda: True)
    live.watch(EMPTY_RECORD, SweepFolder(tmp_path, "a"), 30.0, lambda _: (), once=False)
    kinds, times = zip(*sweep.queries, strict=True)
    assert kinds == ("cached", *["new"] * 9)
    between = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == 0
    assert between[:4] == [32, 62, 92, 122]  # until 308 s; files are read every two seconds
    assert between[4:] == [94, 62, 92, 122, 152]  # after the change at 400 s it starts again at 30
    assert (sweep.now, sweep.reads) == (1000, 501)
    last = screen.getvalue().rpartition("1 run: ")[2]
    assert "1 finished" in last
    assert "answer 10" in last


@pytest.mark.parametrize("once", [True, False])
def test_without_a_live_view_the_state_is_printed_once_after_one_query(
    sweep, screen, tmp_path, monkeypatch, once
):
    monkeypatch.setattr(live, "in_terminal", lambda: once)
    live.watch(EMPTY_RECORD, SweepFolder(tmp_path, "a"), 30.0, lambda _: (), once=once)
    assert sweep.queries == [("cached", 0)]
    assert screen.getvalue().count("1 run: 1 queued") == 1


def test_a_line_has_the_values_of_the_epoch_that_it_names_and_of_the_last_one_too(tmp_path, capsys):
    folder, course = SweepFolder(tmp_path, "a"), RunScenario()
    run, *others = (folder.run(name * 12) for name in "12")
    record = SweepRecord("a", "", "a.yaml", "", (*_planned(run), *_planned(*others)), ())
    watcher = live.Watcher(record, folder, Queue(), runs=True)
    every = list(make_rows(run.run_id, course, 3))

    def printed_after(epoch: int, ended: int, dev_cer: float = 1.0) -> list[str]:
        run.restore_rows(every[: 2 * ended])
        run.write_heartbeat(
            Heartbeat(epoch=epoch, epochs=3, loss_per_character=9.99, dev_cer=dev_cer)
        )
        if ended == 3:
            run.finish([])
        watcher.refresh(now=True)
        return capsys.readouterr().out.splitlines()

    _, dev_1, _, _, train_3, dev_3 = every
    assert printed_after(1, 0) == []
    (first,) = printed_after(2, 1)
    assert first.startswith("11: epoch 1 of 3, train loss ")
    assert f", dev loss {dev_1['loss_per_character']:.2f} (reference loss 3.02), " in first
    assert printed_after(3, 2) == []  # too soon after the first line
    last, ended = printed_after(3, 3, dev_3["cer"])
    assert last.startswith(
        f"11: epoch 3 of 3, train loss {train_3['loss_per_character']:.2f} (reference loss 3.02), "
        f"dev loss {dev_3['loss_per_character']:.2f} (reference loss 3.02), dev CER 100.0 %, blank "
    )
    assert ended == "11: finished, dev CER 100.0 %"


def test_a_run_that_is_resumed_prints_its_epoch_and_repeats_no_line(tmp_path, capsys):
    folder, course = SweepFolder(tmp_path, "a"), RunScenario()
    run = folder.run("1" * 12)
    run.restore_rows(list(make_rows(run.run_id, course, 5)))
    beat = Heartbeat(epoch=5, epochs=20, dev_cer=1.0, status="stopped")
    run.write_heartbeat(beat)
    watcher = live.Watcher(
        SweepRecord("a", "", "", "", _planned(run), ()), folder, Queue(), runs=True
    )

    def printed_after(beat: Heartbeat) -> list[str]:
        run.write_heartbeat(beat)
        watcher.refresh(now=True)
        return capsys.readouterr().out.splitlines()

    assert printed_after(beat) == []
    reading = beat.with_this_process("running", "reading frames")
    assert printed_after(reading) == ["11: running: reading frames"]
    assert printed_after(beat.with_this_process("running")) == ["11: continues from epoch 6"]
    assert printed_after(beat.with_this_process("running")) == []


def test_lines_are_refreshed_at_most_twice_a_second(tmp_path, capsys, monkeypatch):
    clock, folder = FakeClock(), SweepFolder(tmp_path, "a")
    monkeypatch.setattr(live, "time", clock)
    run = folder.run("1" * 12)
    record = SweepRecord("a", "", "", "", _planned(run), ())
    watcher = live.Watcher(record, folder, Queue(), runs=True)
    watcher.refresh()
    run.finish([])
    watcher.refresh()
    clock.sleep(0.4)
    watcher.refresh()
    assert capsys.readouterr().out == ""
    clock.sleep(0.1)
    watcher.refresh()
    assert capsys.readouterr().out.startswith("11: finished")


def _planned(*runs) -> tuple[PlannedRun, ...]:
    return tuple(PlannedRun(run.run_id[:2], {}, run.run_id, "") for run in runs)


def test_a_run_whose_first_evaluation_has_not_ended_has_no_line(tmp_path, capsys):
    folder = SweepFolder(tmp_path, "a")
    run, *others = (folder.run(name * 12) for name in "12")
    record = SweepRecord("a", "", "", "", (*_planned(run), *_planned(*others)), ())
    watcher = live.Watcher(record, folder, Queue(), runs=True)
    run.write_heartbeat(Heartbeat(epoch=1, epochs=3))
    watcher.refresh(now=True)
    run.restore_rows(list(make_rows(run.run_id, RunScenario(), 1))[:1])  # of train, not of dev
    watcher.refresh(now=True)
    assert capsys.readouterr().out == ""


def test_a_single_run_prints_the_report_of_each_new_epoch_once(tmp_path, capsys):
    folder = SweepFolder(tmp_path, "a")
    run = folder.run("1" * 12)
    record = SweepRecord("a", "", "", "", _planned(run), ())
    run.write_epoch_report(EpochReport(1, "escaped", ()))
    watcher = live.Watcher(record, folder, Queue(), runs=True)
    watcher.refresh(now=True)  # an earlier process printed this one
    run.write_epoch_report(EpochReport(2, "overfits", (("u1", "YES", "YE"),)))
    watcher.refresh(now=True)
    watcher.refresh(now=True)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 2, dev: overfits",
        "    reference   YES",
        "    hypothesis  YE",
    ]


def test_in_a_terminal_the_table_is_shown_from_the_beginning_to_the_end(tmp_path, monkeypatch):
    calls: list[str] = []
    screen = SimpleNamespace(
        start=lambda: calls.append("start"),
        stop=lambda: calls.append("stop"),
        update=lambda shown, refresh: calls.append("update"),
    )
    monkeypatch.setattr(live, "in_terminal", lambda: True)
    monkeypatch.setattr(run_table, "live_display", lambda: screen)
    folder = SweepFolder(tmp_path, "a")
    record = SweepRecord("a", "", "", "", _planned(folder.run("1" * 12)), ())
    with live.Watcher(record, folder, Queue(), runs=True) as watcher:
        watcher.refresh(now=True)
    assert calls == ["start", "update", "update", "stop"]


def test_progress_is_a_line_at_times_if_the_output_is_piped(monkeypatch, capsys):
    clock = FakeClock()
    monkeypatch.setattr(messages, "time", clock)
    with messages.show_status_line("an4: reading its files") as update:
        for files in (1, 2, 3):
            update(f"{files} of 9 files")
            clock.sleep(messages.LINE_INTERVAL_S)
        clock.sleep(0.1)
        for files in (4, 5):
            update(f"{files} of 9 files")
    assert capsys.readouterr().out == "3 of 9 files\n4 of 9 files\n"


def test_progress_stays_in_its_place_in_a_terminal(monkeypatch, screen, capsys):
    monkeypatch.setattr(messages, "in_terminal", lambda: True)
    with messages.show_status_line("an4: reading its files"):
        pass
    assert "an4: reading its files" in screen.getvalue()
    assert capsys.readouterr().out == ""
