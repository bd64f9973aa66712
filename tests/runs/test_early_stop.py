"""Early stop: the plateau, successive halving against a simulation, the rows of other runs."""

import math
from collections import defaultdict
from pathlib import Path

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.experiment import TrainSettings
from pipeline.config.sweep_sections.early_stop import Halving, StopRules
from pipeline.files import InputError
from pipeline.runs import early_stop
from pipeline.runs.early_stop import SweepStopRules, better_runs, continuing_runs
from pipeline.runs.folder import RunFolder
from pipeline.runs.rows import Row
from pipeline.runs.state import clear_early_stop, read_early_stop, write_early_stop
from tests.runs.test_plateau import ESCAPED, PLATEAU, REFERENCE, history, row

FACTOR = 3
LEAVING = (2.9, 0.01)  # below the reference loss, but not yet escaped


def continues(own: float, seen: list[float], factor: int = FACTOR) -> bool:
    better = better_runs((own, 0.0), [(value, 0.0) for value in seen])
    return better < continuing_runs(len(seen) + 1, factor)


@pytest.mark.parametrize(("epoch", "is_rung"), [(1, False), (4, True), (8, False), (12, True)])
def test_rungs_are_factor_times_as_far_each_time(epoch, is_rung):
    assert Halving(first_epoch=4, factor=3).is_rung(epoch) is is_rung


@given(
    values=st.lists(st.integers(0, 20), min_size=1, max_size=30),
    factor=st.integers(2, 5),
)
def test_decisions_are_those_of_a_simulation_of_asha_in_its_stopping_form(values, factor):
    """Runs arrive one after another; scipy ranks each among those that have arrived."""
    arrived: list[float] = []
    for value in values:
        seen = list(arrived)
        arrived.append(float(value))
        rank = scipy.stats.rankdata(arrived, method="min")[-1]  # 1 is the best
        expected = len(arrived) < factor or rank <= math.floor(len(arrived) / factor)
        assert continues(float(value), seen, factor) == expected


@given(
    values=st.lists(st.integers(0, 20).map(float), min_size=1, max_size=20),
    factor=st.integers(2, 5),
    data=st.data(),
)
def test_the_best_run_of_a_rung_continues_whichever_rows_it_sees(values, factor, data):
    """Rows that other processes are writing may not be seen."""
    best = min(values)
    others = list(values)
    others.remove(best)
    visible = data.draw(st.lists(st.booleans(), min_size=len(others), max_size=len(others)))
    seen = [value for value, is_seen in zip(others, visible, strict=True) if is_seen]
    assert continues(best, seen, factor)


@given(
    losses=st.lists(st.integers(0, 50), min_size=2, max_size=12),
    order=st.randoms(use_true_random=False),
)
def test_in_any_order_of_epochs_one_run_reaches_the_end(losses, order):
    """Runs in any interleaving, with one rung every epoch: the last rung is never empty."""
    rungs: dict[int, list[float]] = defaultdict(list)
    alive = dict.fromkeys(range(len(losses)), 0)
    finished = []
    while alive:
        run = order.choice(sorted(alive))
        epoch = alive[run] + 1
        value = float(losses[run])
        goes_on = continues(value, rungs[epoch])
        rungs[epoch].append(value)
        if goes_on and epoch < 4:
            alive[run] = epoch
        else:
            del alive[run]
            if goes_on:
                finished.append(run)
    assert finished
    assert min(losses) in {losses[run] for run in finished}


def test_decisions_depend_on_values_alone():
    assert continues(2.0, [3.0, 1.0, 4.0, 5.0, 6.0]) == continues(2.0, [6.0, 5.0, 4.0, 3.0, 1.0])


def write_runs(folder: Path, losses: dict[str, float], metric_row: dict | None = None) -> None:
    for run_id, loss in losses.items():
        rows = [{**each, "epoch": 4, **(metric_row or {})} for each in history((loss, 1.0))]
        run = RunFolder(folder / run_id)
        run.path.mkdir()
        run.restore_rows([Row(**each) for each in rows])


def halving(*run_ids: str, metric: str = "dev_loss") -> SweepStopRules:
    rule = Halving(first_epoch=4, factor=3, metric=metric)
    return SweepStopRules("s", StopRules(halving=rule), run_ids)


def test_a_run_is_compared_with_the_rows_that_others_have_written(tmp_path):
    write_runs(tmp_path, {"a": 1.0, "b": 2.0, "c": 3.0, "elsewhere": 0.1})
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "rows.jsonl").write_text('{"epoch": 4')  # cut off
    rules = halving("a", "b", "c", "damaged", "missing")
    stops = {
        name: rules.decide(RunFolder(tmp_path / name), RunFolder(tmp_path / name).rows())
        for name in "abc"
    }
    assert stops["a"] is None
    assert stops["b"].message == (
        "dev loss 2.00 in epoch 4: 1 of the 3 runs that have reached it are better, and one in 3 "
        "continues (stop: halving)"
    )
    assert (stops["c"].sweep, stops["c"].epoch, stops["c"].updates) == ("s", 4, 53)
    assert stops["c"].rule == {"halving": rules.rules.halving.model_dump()}


def test_dev_cer_puts_runs_above_the_reference_loss_last(tmp_path):
    write_runs(tmp_path, {"blank": REFERENCE + 0.1}, {"cer": 0.2})  # right by chance
    write_runs(tmp_path, {"a": 1.0, "b": 1.0}, {"cer": 0.5})
    rules = halving("a", "b", "blank", metric="dev_cer")
    stopped = [
        name
        for name in ("a", "b", "blank")
        if rules.decide(RunFolder(tmp_path / name), RunFolder(tmp_path / name).rows())
    ]
    assert stopped == ["blank"]  # a and b are equal, so both continue


@pytest.mark.parametrize(
    ("points", "limit", "stops"),
    [
        ([PLATEAU, PLATEAU], 106, True),
        ([PLATEAU], 106, False),  # too early
        ([(4.0, 0.0), (3.5, 0.0)], 106, True),  # above the line
        ([PLATEAU, LEAVING], 106, False),
        ([PLATEAU, ESCAPED], 106, False),  # one more evaluation may show an escape
        ([ESCAPED, ESCAPED, PLATEAU], 106, False),  # it has escaped before
        ([PLATEAU, PLATEAU], None, False),
        ([(math.inf, 0.0), (math.nan, 0.0)], 106, True),
    ],
)
def test_a_run_is_stopped_on_the_plateau_only(points, limit, stops):
    rule, message = early_stop.plateau_rule(limit, history(*points))
    assert bool(message) == stops
    assert rule == ({"plateau_updates": 106} if stops else {})


def test_without_a_reference_loss_no_run_is_stopped():
    rows = [Row(**{**each, "reference_loss": math.nan}) for each in history(PLATEAU, PLATEAU)]
    assert early_stop.plateau_rule(1, rows) == ({}, "")


@pytest.mark.parametrize(
    ("rules", "applies"),
    [
        (None, False),
        (StopRules(plateau_updates=100), True),
        (StopRules(plateau_updates=150), True),
        (StopRules(plateau_updates=160), False),
        (StopRules(halving=Halving(first_epoch=1)), False),
    ],
)
def test_a_relaxed_rule_continues_the_runs_that_it_stopped(tmp_path, rules, applies):
    run = RunFolder(tmp_path)
    rows = [Row(**{**each, "epoch": 2}) for each in history(PLATEAU, (3.0, 0.0), per_epoch=75)]
    stop = SweepStopRules("s", StopRules(plateau_updates=100), ()).decide(run, rows)
    write_early_stop(run, stop)
    assert read_early_stop(run) == stop
    assert early_stop.is_stopped_early(run, rules) is applies
    clear_early_stop(run)
    assert read_early_stop(run) is None
    assert not early_stop.is_stopped_early(run, rules)


def test_rules_are_read_as_written_and_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "stop.json"
    assert SweepStopRules.read(path) is None
    written = halving("a", "b")
    written.write(path)
    assert SweepStopRules.read(path) == written
    path.write_text('{"rules": {}}')
    with pytest.raises(InputError, match=r"stop\.json: is damaged"):
        SweepStopRules.read(path)


def test_a_damaged_record_lets_the_run_continue(tmp_path):
    (tmp_path / "early_stop.json").write_text("{")
    assert read_early_stop(RunFolder(tmp_path)) is None


def test_before_the_first_epoch_nothing_is_decided(tmp_path):
    rules = SweepStopRules("s", StopRules(plateau_updates=1), ("a",))
    assert rules.decide(RunFolder(tmp_path / "a"), []) is None
    assert rules.decide(RunFolder(tmp_path / "a"), [row("train", 53, 3.0, 0.0)]) is None


def epochs_with_cer(*rates: float) -> list[Row]:
    """Make the rows of epochs that have escaped, except those of rate 1."""
    rows = []
    for epoch, cer in enumerate(rates, 1):
        loss, dependence = PLATEAU if cer == 1 else ESCAPED
        for split in ("train", "dev"):
            weights = "each update" if split == "train" else "epoch"
            values = {"epoch": epoch, "cer": cer, "weights": weights}
            rows.append(row(split, 10 * epoch, loss, dependence, **values))
    return rows


PATIENT = TrainSettings(patience=2)


@pytest.mark.parametrize(
    ("rates", "stops"),
    [
        ([0.5, 0.4, 0.41, 0.4], True),  # equal is not lower
        ([0.5, 0.4, 0.41], False),
        ([0.5, 0.4, 0.41, 0.39], False),
        ([1, 1, 1, 1, 1, 1], False),  # on the blank plateau
        ([1, 1, 1, 1, 0.9, 0.91], False),  # counted from the escape
        ([1, 1, 1, 1, 0.9, 0.91, 0.92], True),
    ],
)
def test_patience_counts_epochs_without_a_lower_rate_after_the_escape(rates, stops):
    stop = early_stop.stop_by_patience(PATIENT, epochs_with_cer(*rates))
    assert (stop is not None) is stops
    assert early_stop.stop_by_patience(TrainSettings(), epochs_with_cer(*rates)) is None
    last = PATIENT.model_copy(update={"epochs": len(rates)})  # there is nothing left to stop
    assert early_stop.stop_by_patience(last, epochs_with_cer(*rates)) is None
    if stop:
        assert stop.epoch == len(rates)
        assert stop.message.startswith(f"stopped early after epoch {len(rates)}: the dev CER has")
        assert stop.message.endswith("(train.patience: 2)")
        assert "\n" not in stop.message


def test_the_row_of_a_mean_of_epochs_does_not_count_for_patience():
    mean = row("dev", 40, *ESCAPED, epoch=4, cer=0.1, weights="mean of epochs 3 4")
    assert early_stop.stop_by_patience(PATIENT, [*epochs_with_cer(0.5, 0.4, 0.41, 0.42), mean])
