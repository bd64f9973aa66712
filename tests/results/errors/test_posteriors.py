"""Tests of the utterances that are drawn, with real files of posteriors and frames."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.results.errors.arms import TestedArm
from pipeline.results.errors.posteriors import ArmFiles, choose_outputs
from pipeline.results.summary.run_summary import SweepRun
from pipeline.runs.folder import RunFolder
from pipeline.runs.posteriors import Posterior, choose_utterances, write_posteriors
from tests.results.errors.tested import make_arm
from tests.training.letters import write_feature_set

TEXTS = ["ABC", "AB", "CAB", "BB", "A", "CC", "ACB", "BA"]
ONE = ["ABC", "AX", "XXX", "BB", "A", "CC", "ACB", "BA"]
OTHER = ["ABC", "AB", "CAB", "BB", "A", "XX", "ACB", "BA"]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features") / "mel-x"
    train = ("t", "train", "AB AB C", 70)
    write_feature_set(
        [train, *((f"u{n}", "test", text, 9 * len(text)) for n, text in enumerate(TEXTS))], folder
    )
    return folder


def arm_with_files(
    name: str, texts: list[str], folder: Path, features: Path | None, *, written: bool = True
) -> TestedArm:
    arm = make_arm(TEXTS, texts, name=name)
    run = RunFolder(folder / name)
    run.path.mkdir()
    if written:
        logs = np.log(np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]]))
        write_posteriors(
            run.posteriors_file,
            [
                Posterior.of(each.utterance_id, 9 * each.chars, logs, ["", "A"])
                for each in (arm.shown[n] for n in choose_utterances(arm.shown))
            ],
        )
    summary = replace(arm.runs[0], run=SweepRun(name, {}, run, features))
    return replace(arm, runs=(summary,), guide_run=summary)


def test_the_worst_the_median_and_one_of_both_arms_are_drawn(tmp_path: Path, features: Path):
    arms = [arm_with_files("a", ONE, tmp_path, features)]
    arms.append(arm_with_files("b", OTHER, tmp_path, None))
    outputs = choose_outputs([ArmFiles(arm) for arm in arms])
    assert [(one.arm, one.kind) for one in outputs] == [
        *(("a", "worst"), ("a", "typical")),
        *(("a", "shared"), ("b", "shared")),
    ]
    assert outputs[0].hypothesis.utterance_id == "u2"
    assert outputs[2].hypothesis.utterance_id == outputs[3].hypothesis.utterance_id
    for one in outputs[:3]:
        assert one.frames is not None
        assert one.frames.shape == (one.posterior.frames, 6)
    assert outputs[3].frames is outputs[3].settings is None  # its feature set is not known


def test_a_run_without_posteriors_has_no_picture(tmp_path: Path, features: Path):
    arm = arm_with_files("a", ONE, tmp_path, features, written=False)
    assert choose_outputs([ArmFiles(arm)]) == []


def test_a_feature_set_that_is_gone_or_damaged_leaves_the_posteriors(
    tmp_path: Path, features: Path
):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "feature_set.yaml").write_text("version: 1\n")
    for number, folder in enumerate((tmp_path / "gone", damaged)):
        arm = arm_with_files(f"a{number}", ONE, tmp_path, folder)
        outputs = choose_outputs([ArmFiles(arm)])
        assert len(outputs) == 2
        assert all(one.frames is None for one in outputs)
