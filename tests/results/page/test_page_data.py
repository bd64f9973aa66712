"""Tests of what the page's script compares: settings, curves and hypotheses of each run."""

import json
from dataclasses import replace

import pytest

from pipeline.results.comparison.arms import compare_runs
from pipeline.results.page import page_data
from pipeline.results.page.arm_lines import ArmLine, list_arm_lines
from pipeline.results.page.views import list_views
from pipeline.results.summary.run_summary import SweepRun, read_run
from pipeline.results.summary.table import summary_table
from tests.results.examples import NOW


@pytest.fixture(scope="module")
def lines(sweep_runs: list[SweepRun]) -> list[ArmLine]:
    runs = [read_run(run, NOW) for run in sweep_runs]
    return list_arm_lines(list_views(runs, summary_table(runs)), compare_runs(runs))


def test_the_best_arm_on_dev_is_the_first_line_and_what_has_no_result_the_last(
    lines: list[ArmLine],
):
    names = [line.name for line in lines]
    assert names[:4] == ["mel", "amplitude", "power", "first training"]
    assert [line.number for line in lines] == list(range(1, 8))
    assert [line.is_best for line in lines] == [True] + [False] * 6
    assert names[-1] == "without stacking"


def test_settings_that_differ_are_there_with_the_value_of_each_run(lines: list[ArmLine]):
    settings = json.loads(page_data.page_data(lines))["settings"]
    assert settings["features.spectrum"][:3] == ["mel", "amplitude", "power"]
    assert settings["features.scale"][3] == "none"
    assert "train.epochs" not in settings, "all runs have the same"


def test_a_right_hypothesis_is_a_zero_and_a_wrong_one_has_its_errors(lines: list[ArmLine]):
    data = json.loads(page_data.page_data(lines))
    test = lines[0].views[0].run_summary.hypotheses_for("test")
    assert data["utterances"] == [[each.utterance_id, each.reference] for each in test]
    assert data["runs"][0]["hypotheses"] == [
        [each.hypothesis, each.char_errors] if each.char_errors else 0 for each in test
    ]


def test_hypotheses_beyond_the_budget_are_left_out(
    lines: list[ArmLine], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(page_data, "MAX_TEXT", 100)
    runs = json.loads(page_data.page_data(lines))["runs"]
    assert any(run["hypotheses"] is None for run in runs[:4])
    assert sum(len(text) for run in runs for text, _ in filter(None, run["hypotheses"] or ())) < 101


def test_no_text_can_end_the_script_element(lines: list[ArmLine]):
    hostile = replace(lines[0].views[0].run_summary.run, label="</script><script>alert(1)")
    run = replace(lines[0].views[0].run_summary, run=hostile)
    line = replace(lines[0], views=(replace(lines[0].views[0], run_summary=run),))
    text = page_data.page_data([line])
    assert "<" not in text
    assert json.loads(text)["runs"][0]["name"] == "</script><script>alert(1)"
