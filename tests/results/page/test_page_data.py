"""Tests of what the page's script compares: settings, curves and hypotheses of each run."""

import json
import math
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


def test_the_curves_of_a_run_name_the_updates_that_they_are_at(lines: list[ArmLine]):
    data = json.loads(page_data.page_data(lines))
    runs = [run for run in data["runs"] if run["curves"]]
    views = [view for line in lines for view in line.views if view.run_summary.rows]
    assert len(data["updates"]) < len(runs) == len(views)
    for run, view in zip(runs, views, strict=True):
        dev = view.run_summary.rows_for("dev")
        updates = data["updates"][run["curves"]["updates"]]
        assert updates == [row["updates"] for row in dev]
        assert run["curves"]["cer"] == pytest.approx([row["cer"] for row in dev], rel=5e-3)


def test_a_right_hypothesis_is_a_zero_and_a_wrong_one_has_its_errors(lines: list[ArmLine]):
    data = json.loads(page_data.page_data(lines))
    test = lines[0].views[0].run_summary.hypotheses_for("test")
    assert data["utterances"] == [[each.utterance_id, each.reference] for each in test]
    assert data["runs"][0]["hypotheses"] == [
        [each.hypothesis, each.char_errors] if each.char_errors else 0 for each in test
    ]


@pytest.mark.parametrize(("points", "most"), [(8_000, 60), (30, 8)])
def test_curves_are_thinned_dev_rows_with_both_ends_and_three_digits(
    lines: list[ArmLine], monkeypatch: pytest.MonkeyPatch, points: int, most: int
):
    monkeypatch.setattr(page_data, "MAX_POINTS", points)
    summaries = {view.label: view.run_summary for line in lines for view in line.views}
    data = json.loads(page_data.page_data(lines))
    runs = data["runs"]
    assert {run["name"] for run in runs} == summaries.keys()
    for run in runs:
        rows = {row["updates"]: row for row in summaries[run["name"]].rows_for("dev")}
        if not rows:
            assert run["curves"] is None
            continue
        updates = data["updates"][run["curves"]["updates"]]
        assert updates == sorted(set(updates))
        assert (updates[0], updates[-1]) == (min(rows), max(rows))
        assert min(len(rows), most // 2) <= len(updates) <= most + 1
        for name, column in (("loss", "loss_per_character"), ("cer", "cer")):
            exact = [rows[update][column] for update in updates]
            assert run["curves"][name] == pytest.approx(exact, rel=0.005)


def test_a_value_that_is_no_number_is_null_in_a_curve(lines: list[ArmLine]):
    view = lines[0].views[0]
    rows = [{**row, "cer": math.nan} for row in view.run_summary.rows]
    run = replace(view.run_summary, rows=rows)  # type: ignore[arg-type]
    line = replace(lines[0], views=(replace(view, run_summary=run),))
    (found,) = json.loads(page_data.page_data([line]))["runs"]
    assert set(found["curves"]["cer"]) == {None}
    assert None not in found["curves"]["loss"]


def test_a_run_with_another_reference_shows_no_hypotheses(lines: list[ArmLine]):
    view = lines[0].views[0]
    other = [each._replace(reference="X") for each in view.run_summary.hypotheses]
    second = replace(view, run_summary=replace(view.run_summary, hypotheses=other))
    line = replace(lines[0], views=(view, second))
    first, changed = json.loads(page_data.page_data([line]))["runs"]
    assert first["hypotheses"]
    assert changed["hypotheses"] is None


def test_only_with_cross_validation_a_run_has_the_fold_that_tests_it(lines: list[ArmLine]):
    view = lines[0].views[0]
    experiment = view.run_summary.experiment
    assert experiment is not None
    corpus = experiment.corpus.model_copy(update={"folds": 5, "fold": 3})
    folded = experiment.model_copy(update={"corpus": corpus})
    second = replace(view, run_summary=replace(view.run_summary, experiment=folded))
    whole, of_fold = json.loads(page_data.page_data([replace(lines[0], views=(view, second))]))[
        "runs"
    ]
    assert "fold" not in whole
    assert of_fold["fold"] == [3, 5]


def test_no_folder_of_the_machine_is_among_the_settings(lines: list[ArmLine]):
    view = lines[0].views[0]
    experiment = view.run_summary.experiment
    assert experiment is not None
    views = []
    for root in ("/data/an4", "~/an4"):
        corpus = experiment.corpus.model_copy(update={"root": root})
        moved = experiment.model_copy(update={"corpus": corpus})
        views.append(replace(view, run_summary=replace(view.run_summary, experiment=moved)))
    line = replace(lines[0], views=tuple(views))
    assert json.loads(page_data.page_data([line]))["settings"] == {}


def test_the_hypotheses_of_all_runs_together_stay_within_the_budget(
    lines: list[ArmLine], monkeypatch: pytest.MonkeyPatch
):
    def sizes() -> list[int]:
        runs = json.loads(page_data.page_data(lines))["runs"]
        kept = [run["hypotheses"] for run in runs if run["hypotheses"]]
        return [len(json.dumps(each, ensure_ascii=False, separators=(",", ":"))) for each in kept]

    every = sizes()
    assert len(every) > 2
    for budget in (every[0] - 1, every[0], sum(every[:2]), sum(every) - 1, sum(every)):
        monkeypatch.setattr(page_data, "MAX_TEXT", budget)
        assert sum(sizes()) <= budget
    assert sizes() == every
    monkeypatch.setattr(page_data, "MAX_TEXT", every[0])
    assert sizes()[0] == every[0]


def test_no_text_can_end_the_script_element(lines: list[ArmLine]):
    hostile = replace(lines[0].views[0].run_summary.run, label="</script><script>alert(1)")
    run = replace(lines[0].views[0].run_summary, run=hostile)
    line = replace(lines[0], views=(replace(lines[0].views[0], run_summary=run),))
    text = page_data.page_data([line])
    assert "<" not in text
    assert json.loads(text)["runs"][0]["name"] == "</script><script>alert(1)"
