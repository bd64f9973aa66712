"""A sweep file becomes the experiments it describes, in the written order."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.config.loader import read_yaml
from pipeline.config.sweep import (
    SweepFile,
    _combinations,
    changed_name,
    load_sweep,
    single_run_sweep,
)
from pipeline.config.sweep_sections.early_stop import Halving
from pipeline.config.sweep_sections.expectation import Expectation
from pipeline.config.sweep_sections.random_search import SamplingRange
from pipeline.files import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
LANGUAGE_DEMOS = {*REPOSITORY.glob("configs/sweeps/demo-*.yaml")}  # one arm: nothing is compared


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "demo.yaml").write_text("reader: demo\n")
    (tmp_path / "base.yaml").write_text("corpus: demo.yaml\ntrain: {epochs: 5}\n")
    (tmp_path / "other.yaml").write_text("corpus: demo.yaml\ntrain: {epochs: 9}\n")
    return tmp_path


def sweep(folder: Path, text: str):
    (folder / "sweep.yaml").write_text(text)
    return load_sweep(folder / "sweep.yaml")


def test_a_grid_keeps_the_written_order(folder: Path):
    loaded = sweep(
        folder,
        "# Question: which?\n# Cost: little.\n\nbase: base.yaml\n"
        "axes: {features.spectrum: [power, mel], train.seed: [1, 0]}\n",
    )
    assert loaded.question == "Question: which?\nCost: little."
    assert loaded.cost == "little."
    assert [swept.label for swept in loaded.experiments] == [
        "power, seed 1",
        "power, seed 0",
        "mel, seed 1",
        "mel, seed 0",
    ]
    assert loaded.experiments[1].experiment.train.seed == 0
    assert loaded.experiments[1].experiment.train.epochs == 5


def test_the_error_of_a_sweep_names_set_only_if_set_is_the_reason(folder: Path):
    path = folder / "sweep.yaml"
    path.write_text("base: base.yaml\naxes: {train.epochs: [many]}\n")
    with pytest.raises(InputError) as refused:
        load_sweep(path, {"decode.beam": 4})
    assert "SET" not in str(refused.value)
    path.write_text("base: base.yaml\naxes: {train.epochs: [3]}\n")
    with pytest.raises(
        InputError, match=r"base\.yaml, changed by SET decode\.beam=1: decode\.beam: "
    ):
        load_sweep(path, {"decode.beam": 1})


def test_a_list_may_name_its_entries_and_their_bases(folder: Path):
    loaded = sweep(
        folder,
        "base: base.yaml\nlist:\n- {label: first, base: other.yaml}\n"
        "- {label: second, train.seed: 3}\n",
    )
    assert [(s.label, s.experiment.train.epochs) for s in loaded.experiments] == [
        ("first", 9),
        ("second", 5),
    ]
    assert loaded.experiments[1].settings == {"train.seed": 3}


def test_a_label_is_joined_by_what_the_axes_add(folder: Path):
    loaded = sweep(
        folder,
        "base: base.yaml\naxes: {train.seed: [0, 1]}\nlist: [{label: as is}, {input.stack: 2}]\n",
    )
    labels = [swept.label for swept in loaded.experiments]
    assert labels == ["as is, seed 0", "seed 0, stack 2", "as is, seed 1", "seed 1, stack 2"]


def test_a_base_is_read_once_and_no_experiment_changes_that_of_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    read: list[str] = []

    def count(path: Path) -> dict[str, Any]:
        read.append(path.name)
        return read_yaml(path)

    monkeypatch.setattr("pipeline.config.sweep.read_yaml", count)
    loaded = sweep(
        folder, "base: base.yaml\nlist: [{train.seed: 3}, {input.stack: 2}, {train.epochs: 7}]\n"
    )
    assert read.count("base.yaml") == 1
    seen = [(s.experiment.train.seed, s.experiment.input.stack) for s in loaded.experiments]
    assert seen == [(3, 1), (0, 2), (0, 1)]


def test_fixed_settings_apply_to_all_and_are_not_swept(folder: Path):
    loaded = sweep(
        folder, "base: base.yaml\nfixed: {train.epochs: 2}\naxes: {train.seed: [0, 1]}\n"
    )
    assert [s.experiment.train.epochs for s in loaded.experiments] == [2, 2]
    assert loaded.experiments[0].settings == {"train.seed": 0}
    assert loaded.fixed == {"train.epochs": 2}


def test_random_draws_repeat_with_their_seed_and_stay_in_range(folder: Path):
    text = (
        "base: base.yaml\nrandom:\n  draws: 20\n  seed: 1\n  settings:\n"
        "    train.learning_rate: {low: 1e-6, high: 1e-2, log: true}\n    model.layers: [1, 2]\n"
    )
    rates = [swept.experiment.train.learning_rate for swept in sweep(folder, text).experiments]
    assert rates == [s.experiment.train.learning_rate for s in sweep(folder, text).experiments]
    assert all(1e-6 <= rate <= 1e-2 for rate in rates)
    # Uniform in the logarithm: half of the draws lie below the geometric mean.
    assert 5 <= sum(rate < 1e-4 for rate in rates) <= 15


def test_a_draw_that_repeats_another_is_left_out(folder: Path):
    loaded = sweep(
        folder, "base: base.yaml\nrandom: {draws: 9, settings: {model.hidden: [64, 128]}}\n"
    )
    assert sorted(s.label for s in loaded.experiments) == ["hidden 128", "hidden 64"]


def test_experiments_that_exclude_matches_are_left_out(folder: Path):
    loaded = sweep(
        folder,
        "base: base.yaml\naxes: {features.spectrum: [power, mel], train.seed: [0, 1]}\n"
        "exclude: [{features.spectrum: power, train.seed: 1}]\n",
    )
    assert [s.label for s in loaded.experiments] == ["power, seed 0", "mel, seed 0", "mel, seed 1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: base.yaml\n", "no experiment is left"),
        ("base: base.yaml\naxis: {}\n", "axis: unknown key; did you mean 'axes'"),
        ("base: bse.yaml\naxes: {train.seed: [0]}\n", "no such file; did you mean .*base.yaml"),
        (
            "base: base.yaml\naxes: {train.sed: [0]}\n",
            "train.sed: unknown key; did you mean 'seed'",
        ),
        (
            "base: base.yaml\naxes: {train.seed: [0, 0]}\n",
            "two experiments have the label 'seed 0'",
        ),
        (
            "base: base.yaml\nrandom: {draws: 2, settings: {train.seed: {low: 1, high: 0}}}\n",
            "low 1 must be below high 0, and above 0 if log is true",
        ),
        (
            "base: base.yaml\nrandom: {drows: 2}\n",
            "random.drows: unknown key; did you mean 'draws'",
        ),
        (
            "base: base.yaml\nrandom: {draws: 2, settings: {train.seed: {lo: 1, high: 2}}}\n",
            "random.settings.train.seed.lo: unknown key; did you mean 'low'",
        ),
        ("base: base.yaml\nrandom: {draws: 2, settings: {train.seed: []}}\n", "at least 1 item"),
        ("base: base.yaml\nlist: [{label: x, base: 3}]\n", "3: no such file"),
        ('base: "a\\0b.yaml"\naxes: {train.seed: [0]}\n', "cannot be read: embedded null byte"),
    ],
)
def test_a_wrong_sweep_is_refused_in_one_line(folder: Path, text: str, message: str):
    with pytest.raises(InputError, match=message) as caught:
        sweep(folder, text)
    assert "\n" not in str(caught.value)
    assert "sweep.yaml" in str(caught.value)


SEEDED = {
    "axes": "axes: {{features.spectrum: [power, mel]{}}}\n",
    "label": "axes: {{input.stack: [1, 2]{}}}\nlist: [{{label: as is}}, {{train.batch: 8}}]\n",
    "random": "axes: {{input.stack: [1, 2]{}}}\n"
    "random: {{draws: 3, settings: {{model.hidden: [8, 16]}}}}\n",
}


@pytest.mark.parametrize("text", SEEDED.values(), ids=list(SEEDED))
def test_seeds_are_the_same_as_a_last_axis_of_seeds(folder: Path, text: str):
    by_axis = sweep(folder, "base: base.yaml\n" + text.format(", train.seed: [0, 1, 2]"))
    by_seeds = sweep(folder, "base: base.yaml\nseeds: 3\n" + text.format(""))
    assert by_seeds.experiments == by_axis.experiments
    assert {s.experiment.train.seed for s in by_seeds.experiments} == {0, 1, 2}


def test_seeds_alone_are_an_axis_of_their_own(folder: Path):
    loaded = sweep(folder, "base: base.yaml\nseeds: 2\n")
    assert [(s.label, s.experiment.train.seed) for s in loaded.experiments] == [
        ("seed 0", 0),
        ("seed 1", 1),
    ]


def test_an_entry_that_replaces_a_whole_section_keeps_the_seeds(folder: Path):
    loaded = sweep(
        folder, "base: base.yaml\nseeds: 2\nlist: [{label: a, train: {epochs: 3}}, {label: b}]\n"
    )
    trained = [(s.experiment.train.epochs, s.experiment.train.seed) for s in loaded.experiments]
    assert trained == [(3, 0), (5, 0), (3, 1), (5, 1)]


@pytest.mark.parametrize(
    ("text", "seeds", "expected"),
    [
        ("axes: {input.stack: [2]}\n", 100, list(range(100))),
        ("axes: {input.stack: [2]}\n", 3, [0, 1, 2]),
        ("axes: {input.stack: [2]}\nseeds: 2\n", 4, [0, 1, 2, 3]),
        ("axes: {input.stack: [2]}\nseeds: 4\n", 2, [0, 1, 2, 3]),
        ("axes: {train.seed: [7, 3]}\n", 4, [7, 3, 8, 9]),
        ("axes: {train.seed: [7, 3]}\n", 1, [7, 3]),
        ("axes: {train.seed: [7, 3]}\n", None, [7, 3]),
    ],
)
def test_seeds_of_the_command_line_add_what_is_missing(
    folder: Path, text: str, seeds: int | None, expected: list[int]
):
    (folder / "sweep.yaml").write_text(f"base: base.yaml\n{text}")
    loaded = load_sweep(folder / "sweep.yaml", None, seeds)
    assert [s.experiment.train.seed for s in loaded.experiments] == expected
    assert loaded.seeds == seeds


def test_an_extended_axis_of_seeds_keeps_its_place(folder: Path):
    text = "base: base.yaml\naxes: {train.seed: [0], features.spectrum: [power, mel]}\n"
    before = [s.label for s in sweep(folder, text).experiments]
    after = [s.label for s in load_sweep(folder / "sweep.yaml", None, 2).experiments]
    assert after == [*before, "seed 1, power", "seed 1, mel"]


@pytest.mark.parametrize(
    ("text", "changes", "seeds", "message"),
    [
        ("seeds: 2\naxes: {train.seed: [0]}\n", {}, None, "seeds: 2 and axes: train.seed both"),
        ("seeds: 2\nfixed: {train.seed: 1}\n", {}, None, "seeds: 2 and fixed: train.seed both"),
        ("list: [{input.stack: 2}, {train.seed: 1}]\n", {}, 3, "SEEDS=3 and list: train.seed both"),
        (
            "random: {draws: 2, settings: {train.seed: [1, 2]}}\n",
            {},
            3,
            "SEEDS=3 and random: train.seed both",
        ),
        ("seeds: 2\n", {"train.seed": 1}, None, "seeds: 2 and SET train.seed both set the seed"),
        ("list: [{input.stack: 2}]\n", {"train.seed": 1}, 3, "SEEDS=3 and SET train.seed both"),
        ("axes: {train.seed: [0]}\n", {"train.seed": 1}, 3, "SEEDS=3 and SET train.seed both"),
        ("seeds: 0\n", {}, None, "sweep.yaml: seeds: 0 .*greater than or equal to 1"),
        ("seeds: 101\n", {}, None, "sweep.yaml: seeds: 101 .*less than or equal to 100"),
        ("seeds: 2\n", {}, 0, "SEEDS=0: must be a whole number from 1 to 100"),
        ("seeds: 2\n", {}, 101, "SEEDS=101: must be a whole number from 1 to 100"),
    ],
)
def test_seeds_set_twice_or_out_of_range_are_refused_in_one_line(
    folder: Path, text: str, changes: dict[str, Any], seeds: int | None, message: str
):
    (folder / "sweep.yaml").write_text(f"base: base.yaml\n{text}")
    with pytest.raises(InputError, match=message) as caught:
        load_sweep(folder / "sweep.yaml", changes, seeds)
    assert "\n" not in str(caught.value)


def test_an_arm_is_the_experiments_that_differ_in_their_seed_only(folder: Path):
    loaded = sweep(
        folder,
        "base: base.yaml\naxes: {train.seed: [0, 1], features.spectrum: [power, mel]}\n"
        "exclude: [{features.spectrum: mel, train.seed: 1}]\n",
    )
    assert [[s.label for s in arm] for arm in loaded.arms] == [
        ["seed 0, power", "seed 1, power"],
        ["seed 0, mel"],
    ]


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abc"), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)
    ).filter(bool)
)
def test_a_grid_holds_each_combination_once(axes: dict[str, list[int]]):
    combinations = list(_combinations(SweepFile(base="b", axes=axes)))
    expected = 1
    for values in axes.values():
        expected *= len(values)
    assert len(combinations) == len({tuple(c.items()) for c in combinations}) == expected


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("configs/sweeps/*.yaml")), ids=str)
def test_each_sweep_in_the_repository_is_valid_and_states_question_and_cost(
    path: Path, monkeypatch
):
    monkeypatch.setenv("AN4", "/an4")
    loaded = load_sweep(path)
    assert loaded.question.startswith("Question:")
    assert loaded.cost.startswith(f"{len(loaded.experiments)} run")


@pytest.mark.parametrize(
    "path", sorted({*REPOSITORY.glob("configs/sweeps/*.yaml")} - LANGUAGE_DEMOS), ids=str
)
def test_each_arm_of_each_sweep_in_the_repository_has_at_least_three_seeds(path: Path, monkeypatch):
    monkeypatch.setenv("AN4", "/an4")
    loaded = load_sweep(path)
    for arm in loaded.arms:
        seeds = {swept.experiment.train.seed for swept in arm}
        assert len(seeds) == len(arm) >= 3


def test_a_change_to_what_the_sweep_varies_is_refused(folder: Path):
    (folder / "sweep.yaml").write_text("base: base.yaml\naxes: {train.seed: [0, 1]}\n")
    with pytest.raises(InputError, match=r"SET train\.seed: .*sweep.yaml varies this"):
        load_sweep(folder / "sweep.yaml", {"train.seed": 7})


def test_changes_override_fixed_settings_and_are_kept(folder: Path):
    (folder / "sweep.yaml").write_text(
        "base: base.yaml\nfixed: {train.epochs: 2}\naxes: {train.seed: [0, 1]}\n"
    )
    loaded = load_sweep(folder / "sweep.yaml", {"train.epochs": 7})
    assert [s.experiment.train.epochs for s in loaded.experiments] == [7, 7]
    assert loaded.changes == {"train.epochs": 7}
    assert set(loaded.sources) == {
        folder / name for name in ("sweep.yaml", "base.yaml", "demo.yaml")
    }


def test_an_entry_of_the_list_overrides_the_axes(folder: Path):
    loaded = sweep(
        folder,
        "base: base.yaml\naxes: {train.batch: [4]}\n"
        "list: [{label: a}, {label: b, train.batch: 8}]\n",
    )
    assert [s.experiment.train.batch for s in loaded.experiments] == [4, 8]


@pytest.mark.parametrize(
    ("low", "high", "log"), [(1.0, 1.0, False), (2.0, 1.0, False), (0.0, 1.0, True)]
)
def test_an_empty_or_non_positive_range_is_refused(low: float, high: float, log: bool):
    with pytest.raises(ValueError, match="must be below high"):
        SamplingRange(low=low, high=high, log=log)


def test_a_uniform_range_may_start_at_zero_and_draws_have_six_digits(folder: Path):
    assert SamplingRange(low=0.0, high=1.0).low == 0
    loaded = sweep(
        folder,
        "base: base.yaml\nrandom:\n  draws: 9\n  settings: {model.dropout: {low: 0, high: 0.5}}\n",
    )
    draws = [s.experiment.model.dropout for s in loaded.experiments]
    assert len(set(draws)) == 9
    assert all(draw == float(f"{draw:.6g}") for draw in draws)
    assert any(draw != float(f"{draw:.3g}") for draw in draws)


def test_another_set_is_another_sweep_with_a_name_of_its_own():
    names = [
        changed_name("spectrum", changes)
        for changes in (
            {},
            {"train.epochs": 3},
            {"train.epochs": 4},
            {"input.epochs": 3},
            {"train.epochs": "3"},
            {"corpus": "../my corpora/a.yaml", "train.epochs": 3},
        )
    ]
    assert len(set(names)) == len(names)
    assert names[0] == "spectrum"
    assert names[1].startswith("spectrum_epochs-3_")
    for name in names:
        assert re.fullmatch(r"[\w.+-]+", name), name


def test_the_order_of_set_does_not_change_the_name_of_a_sweep():
    changes = {"train.epochs": 3, "model.clamp": None, "input.stack": [2]}
    backwards = dict(reversed(changes.items()))
    assert changed_name("a", changes) == changed_name("a", backwards)


def test_a_long_set_has_a_short_name():
    changes = {f"list.key{n}": "value" * 20 for n in range(50)}
    assert len(changed_name("a", changes)) < 60


def test_the_resolved_experiment_of_a_run_is_named_by_its_run(tmp_path: Path):
    experiment = Experiment(corpus=Corpus(name="an4", reader="an4", root="an4"))
    sweeps = [
        single_run_sweep(tmp_path / run / "experiment.yaml", experiment, "train")
        for run in ("0a1b", "2c3d")
    ]
    assert [sweep.name for sweep in sweeps] == ["train-0a1b", "train-2c3d"]


def test_stop_rules_are_read_and_change_no_experiment(folder: Path):
    text = "base: base.yaml\naxes: {train.seed: [0, 1]}\n"
    plain = sweep(folder, text)
    ruled = sweep(folder, text + "stop: {plateau_updates: 1500, halving: {first_epoch: 4}}\n")
    assert ruled.experiments == plain.experiments
    assert plain.stop is None
    assert ruled.stop
    assert ruled.stop.plateau_updates == 1500
    assert ruled.stop.halving == Halving(first_epoch=4, factor=3, metric="dev_cer")


def test_stop_without_a_rule_is_refused(folder: Path):
    with pytest.raises(InputError, match="set plateau_updates or halving, or remove stop"):
        sweep(folder, "base: base.yaml\naxes: {train.seed: [0, 1]}\nstop: {}\n")


def test_with_folds_the_seed_chooses_the_fold_and_an_arm_has_all_folds(folder: Path):
    (folder / "demo.yaml").write_text("reader: demo\nfolds: 3\n")
    text = "base: base.yaml\naxes: {model.hidden: [8, 16]}\nseeds: 4\n"
    found = sweep(folder, text)
    corpora = [each.experiment.corpus for each in found.experiments]
    assert [each.fold for each in corpora] == [0, 1, 2, 0] * 2
    assert [len(arm) for arm in found.arms] == [4, 4]
    with pytest.raises(InputError, match=r"fold: 3 must be below folds, 3"):
        (folder / "demo.yaml").write_text("reader: demo\nfolds: 3\nfold: 3\n")
        sweep(folder, text)
    with pytest.raises(InputError, match=r"fold: 3 needs folds"):
        (folder / "demo.yaml").write_text("reader: demo\nfold: 3\n")
        sweep(folder, text)


EXPECTING = "base: base.yaml\naxes: {features.spectrum: [mel, power]}\nseeds: 2\n"


def test_an_expectation_names_two_arms_and_changes_no_experiment(folder: Path):
    found = sweep(folder, f"{EXPECTING}expect: [mel < power]\n")
    assert found.expect == (Expectation("mel", "<", "power"),)
    assert found.experiments == sweep(folder, EXPECTING).experiments


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mel", "expect: 'mel' must be two arms, as in 'mel < power' or"),
        ("mel < powre", "'mel < powre': no arm is called 'powre'; did you mean 'power'?"),
        ("mel = mel", "'mel = mel' names one arm twice; name two arms"),
        ("x < power", "no arm is called 'x'; there are mel, power"),
    ],
)
def test_an_expectation_of_no_arm_is_refused(folder: Path, line: str, message: str):
    with pytest.raises(InputError, match=re.escape(message)):
        sweep(folder, f"{EXPECTING}expect: ['{line}']\n")
