"""Tests that shared experiments are what each file says, and that an arm is parsed once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.experiment import Experiment, load_experiment
from pipeline.config.loader import set_key
from pipeline.files import InputError
from pipeline.results.summary.shared_experiments import SharedExperiments
from pipeline.runs.folder import RunFolder
from tests.results.examples import make_run


def make_folder(folder: Path, settings: dict[str, object]) -> RunFolder:
    content = {"corpus": {"name": "an4", "reader": "an4", "root": "an4"}}
    for key, value in settings.items():
        set_key(content, key, value)
    RunFolder(folder).write_experiment(Experiment.model_validate(content))
    return RunFolder(folder)


def outcome(read: Callable[[], Experiment]) -> Experiment | str:
    """Return the experiment, or the message of the error."""
    try:
        return read()
    except InputError as error:
        return str(error)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders whose file is parsed."""
    names: list[str] = []
    whole = RunFolder.experiment

    def parse(folder: RunFolder) -> Experiment:
        names.append(folder.path.name)
        return whole(folder)

    monkeypatch.setattr(RunFolder, "experiment", parse)
    return names


def test_the_runs_of_an_arm_are_parsed_once_and_each_has_its_seed(
    tmp_path: Path, parsed: list[str]
):
    average = {"train.average.last": 3}  # a mapping inside `train`
    arms = [{}, {"train.learning_rate": 0.01}, average, {"corpus.seed": 1}]
    folders = [
        make_folder(tmp_path / f"{arm}-{seed}", {**settings, "train.seed": seed})
        for arm, settings in enumerate(arms)
        for seed in (0, 7, 123_456_789)
    ]
    shared = SharedExperiments()
    assert [shared.read(each) for each in folders] == [
        load_experiment(each.experiment_file) for each in folders
    ]
    assert parsed == ["0-0", "1-0", "2-0", "3-0"]


@pytest.mark.parametrize("written", ["010", "0x10", "1_000", "4 # a comment", "'4'", "2147483648"])
def test_a_seed_in_another_spelling_is_parsed_as_without_sharing(tmp_path: Path, written: str):
    shared, first = SharedExperiments(), make_folder(tmp_path / "a", {"train.seed": 3})
    shared.read(first)
    other = make_folder(tmp_path / "b", {"train.seed": 3})
    text = other.experiment_file.read_text("utf-8")
    changed = text.replace("seed: 3\n", f"seed: {written}\n")
    assert changed != text
    other.experiment_file.write_text(changed, "utf-8")
    assert outcome(lambda: shared.read(other)) == outcome(other.experiment)


def test_with_folds_each_seed_has_its_own_fold(tmp_path: Path):
    shared, folders = SharedExperiments(), []
    for seed in range(4):
        folder = make_folder(tmp_path / f"{seed}", {"corpus.folds": 3, "train.seed": seed})
        assert "  fold: null\n" in folder.experiment_file.read_text("utf-8")
        folders.append(folder)
    assert [shared.read(each).corpus.fold for each in folders] == [0, 1, 2, 0]


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"train:\n  seed: 1\n"])
def test_a_missing_or_damaged_file_is_reported_as_without_sharing(
    tmp_path: Path, content: bytes | None
):
    run = make_run(tmp_path / "r", "mel", state="waiting").folder
    run.experiment_file.unlink()
    if content is not None:
        run.experiment_file.write_bytes(content)
    found = outcome(lambda: SharedExperiments().read(run))
    assert isinstance(found, str)
    assert found == outcome(run.experiment)
