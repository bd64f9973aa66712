"""Tests that the benchmark runs and judges correctly, without whole corpora and other tools."""

import importlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as bench
from tests.benchmarks import storage
from tests.benchmarks.child import descendant_cpu_seconds
from tests.benchmarks.corpora import BenchmarkCorpora
from tests.benchmarks.judge import (
    BenchmarkTarget,
    Round,
    judge_target,
    median_of_rounds,
    target_value,
    undisturbed_rounds,
)
from tests.benchmarks.measure import PEER_MODULES, Case, CaseError, CaseGroup, measure_group
from tests.benchmarks.show import group_record, group_table
from tests.benchmarks.turns import run_interleaved, yield_turn

pytestmark = pytest.mark.an4

THIN = 8  # every eighth utterance of AN4: 119 and 17, so that the training split is not empty
FEW = 10  # of the runs or files that a case makes
IN_PROCESSES_OF_THEIR_OWN = ("limits:limit_min", "limits:decode_only", "product:extract_features")


def test_the_page_of_measurements_names_every_group():
    page = Path(__file__).with_name("README.md").read_text("utf-8")
    for name in (*bench.GROUP_MAKERS, *bench.SIMULATIONS):
        assert f"`{name}`" in page or f"ONLY={name}`" in page, name


@pytest.fixture(scope="module")
def groups(an4: Path, tmp_path_factory: pytest.TempPathFactory) -> list[CaseGroup]:
    corpora = BenchmarkCorpora(an4, tmp_path_factory.mktemp("corpora"), THIN)
    return [group for made in bench.GROUP_MAKERS.values() for group in made(corpora, False)]


def cases(groups: list[CaseGroup]) -> Iterator[Case]:
    """Yield the first case of each maker and each combination of its switches, without peers."""
    first: dict[tuple[str, ...], Case] = {}
    for case in (case for group in groups for case in group.cases if case.needs is None):
        switches = [name for name, value in case.settings.items() if value is True]
        first.setdefault((case.maker, *switches), case)
    yield from first.values()


def test_each_target_names_cases_of_its_table(groups: list[CaseGroup]):
    for group in groups:
        names = [case.name for case in group.cases]
        assert len(set(names)) == len(names)
        assert {name for t in group.targets for name in (*t.case_names, *t.baseline_names)} <= set(
            names
        )


def test_each_case_of_a_peer_says_which_module_it_needs(groups: list[CaseGroup]):
    for case in (case for group in groups for case in group.cases):
        peer = case.maker.split("_cases:")[0] if "_cases:" in case.maker else case.needs
        assert case.needs == peer
        assert case.needs in (None, *PEER_MODULES)


def test_cases_run_in_processes_of_their_own_and_are_timed(groups: list[CaseGroup]):
    chosen = [case for case in cases(groups) if case.maker in IN_PROCESSES_OF_THEIR_OWN]
    group = CaseGroup(
        "some", "hour of audio", chosen, [BenchmarkTarget([chosen[0].name], at_least=0)]
    )
    found, failed = measure_group(group, rounds=1)
    assert failed == []
    assert {case.maker for case in chosen} == set(IN_PROCESSES_OF_THEIR_OWN)
    assert all(len(found[case.name]) == 1 for case in chosen)
    assert all(found[case.name][0]["seconds"] > 0 for case in chosen)
    assert all(found[case.name][0]["amount"] == case.amount for case in chosen)
    assert group_table(group, found).row_count == len(chosen)
    assert json.loads(json.dumps(group_record(group, found)))["targets"][0]["verdict"] == "met"


def test_every_other_case_without_a_peer_runs(groups: list[CaseGroup], tmp_path: Path):
    for number, case in enumerate(cases(groups)):
        if case.maker in IN_PROCESSES_OF_THEIR_OWN or case.maker.startswith("loops:"):
            continue  # loops fork, and this process has threads
        module, maker = case.maker.split(":")
        scratch, folder = tmp_path / f"{number}-scratch", tmp_path / f"{number}"
        scratch.mkdir()
        folder.mkdir()
        make = getattr(importlib.import_module(f"tests.benchmarks.{module}"), maker)
        few = {name: FEW for name in ("runs", "files") if name in case.settings}
        numbers = make(scratch, **{**case.settings, **few})(folder) or {}
        assert all(map(math.isfinite, numbers.values())), (case.maker, numbers)


def test_every_storage_has_an_error_and_without_a_logarithm_a_relative_one(
    groups: list[CaseGroup], tmp_path: Path
):
    (group,) = (each for each in groups if each.title.startswith("other spectra"))
    said = {}
    for case in group.cases:
        scratch = tmp_path / case.name
        scratch.mkdir()
        said[case.name] = storage.read_all_frames(scratch, **case.settings)(tmp_path) or {}
    assert len(said) == 8
    for name, found in said.items():
        assert all(0 < number < 100 for number in found.values())
        assert ("half, %" in found) == ("log" not in name)
    half = [found for name, found in said.items() if "float16" in name]
    assert max(found["largest error"] for found in half[:2]) <= 2**-7  # of 16 to 32
    assert half[2]["95 %, %"] <= 100 * 2**-11  # of a normal number
    assert half[3]["half, %"] < half[3]["95 %, %"]


@pytest.mark.parametrize("needs", [None, "lhotse"])
def test_a_failing_case_stops_the_benchmark_unless_another_tool_failed(needs: str | None):
    broken = Case("broken", "limits:decode_only", {"manifest_file": "nowhere"}, needs=needs)
    group = CaseGroup("one", "hour", [broken], [])
    if needs is None:
        with pytest.raises(CaseError, match="nowhere: no such manifest"):
            measure_group(group, rounds=1)
    else:
        found, failed = measure_group(group, rounds=1)
        assert found == {}
        assert "broken failed" in failed[0]


def test_a_peer_that_is_not_installed_is_left_out(groups: list[CaseGroup]):
    absent = [replace(case, needs="lhotse") for case in groups[0].cases]
    assert measure_group(CaseGroup("none", "hour", absent), 1, skip=["lhotse"]) == ({}, [])


def test_the_work_of_a_running_worker_is_not_foreign():
    working = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        while not descendant_cpu_seconds(os.getpid()):
            assert working.poll() is None
    finally:
        working.kill()
        working.wait()


def taken(*seconds: float, amount: float = 1, foreign: float = 0) -> list[Round]:
    return [{"seconds": each, "amount": amount, "foreign": foreign} for each in seconds]


ROUNDS = {
    "ours": taken(4, 2, 3),
    "slow": taken(30, 45, 36, amount=2),
    "fast": taken(6, 12, 9),
}


@pytest.mark.parametrize(
    ("target", "found", "said"),
    [
        (BenchmarkTarget(["slow"], ["ours"], at_least=5), 6, "met"),  # 36 seconds for 2, over 3
        (BenchmarkTarget(["slow"], ["ours"], at_least=7), 6, "not met"),
        (BenchmarkTarget(["slow", "fast"], ["ours"], at_least=3), 3, "met"),
        (BenchmarkTarget(["slow"], ["ours", "fast"], at_most=1.4), 1.5, "not met"),
        (
            BenchmarkTarget(["slow"], ["ours", "fast"], at_most=2, baseline_total="greatest"),
            2,
            "met",
        ),
        (BenchmarkTarget(["ours"], at_most=3), 3, "met"),
        (BenchmarkTarget(["ours"], at_most=1, quantity="amount"), 1, "met"),
        (BenchmarkTarget(["slow", "absent"], ["ours"], at_least=1), None, "not measured"),
        (
            BenchmarkTarget(["ours"], quantity="what it does not say", at_least=1),
            None,
            "not measured",
        ),
    ],
)
def test_a_target_is_judged_by_the_medians(target: BenchmarkTarget, found: float | None, said: str):
    assert target_value(target, ROUNDS) == found
    assert judge_target(target, target_value(target, ROUNDS)) == said


def test_rounds_that_others_disturbed_do_not_count_unless_all_were():
    disturbed, alone = taken(9, 9, foreign=0.5), taken(2, 4)
    assert undisturbed_rounds([*disturbed, *alone]) == alone
    assert median_of_rounds([*disturbed, *alone]) == 3
    assert median_of_rounds(disturbed) == 9
    assert median_of_rounds(taken(1, 2, 3, foreign=math.nan)) == 2


def test_jobs_in_turn_go_on_part_by_part_and_have_clocks_of_their_own():
    went = []

    def job(name: str, parts: int, seconds: float) -> Callable[[], None]:
        def work() -> None:
            for part in range(parts):
                yield_turn()
                went.append((name, part))
                time.sleep(seconds)

        return work

    taken = run_interleaved(
        {"a": job("a", 3, 0.05), "b": job("b", 1, 0.01), "c": job("c", 2, 0.01)}
    )
    assert went == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1), ("a", 2)]
    assert min(taken["a"] - 0.15, taken["b"] - 0.01, taken["c"] - 0.02) > 0
    yield_turn()  # without other jobs it does nothing


def test_an_error_of_a_job_in_turn_is_raised_when_the_others_are_done():
    done = []

    def fail() -> None:
        yield_turn()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_interleaved({"fails": fail, "works": lambda: done.append(yield_turn())})
    assert done == [None]
