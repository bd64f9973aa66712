"""Utterances that cannot be aligned are found before training, counted and named."""

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.config.experiment import Experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.training.data.frame_store import MappedFrames
from pipeline.training.loop.splits import InfeasibleError, Splits
from pipeline.training.loss import reference_loss
from tests.training.letters import FeatureSetFactory, draw_utterances, make_experiment

DRAW = np.random.default_rng(3)
REST = [
    *draw_utterances(3, "train", DRAW),
    *draw_utterances(2, "dev", DRAW),
    *draw_utterances(2, "test", DRAW),
]
# AA needs 3 steps, because of the blank between its letters. In stacks of 2, 5 frames make 3 steps
# and 4 frames make 2.
TIGHT = [("tight", "train", "AA", 5), ("short", "train", "AA", 4)]


def make_splits(
    features: FeatureSet, settings: Experiment | None = None, stride: int = 1, **changes: object
) -> Splits:
    settings = settings or make_experiment(input=changes, train={"max_infeasible": 1})
    return Splits.from_features(features, settings, lambda n: -(-n // stride), torch.device("cpu"))


def test_utterances_too_short_to_align_are_left_out_of_training_and_named(
    make_feature_set: FeatureSetFactory, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    splits = make_splits(make_feature_set([*REST, *TIGHT]), stack=2)
    names = [utterance.id for utterance in splits.train.utterances]
    assert "tight" in names
    assert "short" not in names
    assert splits.infeasible == {"train": 1, "dev": 0, "test": 0}
    (message,) = caplog.messages
    assert message == (
        "1 of 5 training utterances is too short to be aligned and is left out: "
        "short (2 steps, needs 3: fits at stride 1); all fit with input.stack: 1"
    )


def test_the_recordings_of_train_have_no_copies_at_other_speeds_and_those_that_are_too_short(
    make_feature_set: FeatureSetFactory,
):
    copies = [("sp0.9-short", "train", "AA", 5), ("sp0.9-tight", "train", "AA", 6)]
    features = make_feature_set([*TIGHT, *copies, *REST[3:]])
    with_speeds = features.settings.model_copy(update={"speeds": (0.9,)})
    splits = make_splits(replace(features, settings=with_speeds), stack=2)
    assert [one.id for one in splits.train.utterances] == ["tight", "sp0.9-short", "sp0.9-tight"]
    assert [one.id for one in splits.recordings.utterances] == ["tight", "short"]


@pytest.mark.parametrize(("share", "refused"), [(0.1, True), (0.19, True), (0.2, False)])
def test_more_than_a_share_of_such_utterances_is_refused(
    make_feature_set: FeatureSetFactory, share: float, refused: bool
):
    features = make_feature_set([*REST, *TIGHT])
    settings = make_experiment(input={"stack": 2}, train={"max_infeasible": share})
    assert make_experiment().train.max_infeasible == 0.1
    if not refused:
        assert len(make_splits(features, settings).train) == 4
        return
    with pytest.raises(InfeasibleError) as caught:
        make_splits(features, settings)
    assert str(caught.value) == (
        f"1 of 5 training utterances is too short to be aligned, more than the {share:g} that "
        "train.max_infeasible allows: short (2 steps, needs 3: fits at stride 1); all fit with "
        "input.stack: 1"
    )


def test_a_stride_has_the_same_effect_as_stacking(make_feature_set: FeatureSetFactory):
    assert make_splits(make_feature_set([*REST, *TIGHT]), stride=2).infeasible["train"] == 1


def test_if_all_can_be_aligned_nothing_is_logged(
    make_feature_set: FeatureSetFactory, caplog: pytest.LogCaptureFixture
):
    assert make_splits(make_feature_set([*REST, *TIGHT])).infeasible["train"] == 0
    assert caplog.messages == []


def test_all_of_dev_and_test_is_scored(
    make_feature_set: FeatureSetFactory, caplog: pytest.LogCaptureFixture
):
    splits = make_splits(make_feature_set([*REST, ("x", "test", "ABCABC", 5)]))
    assert splits.infeasible["test"] == 1
    assert len(splits.test) == 3
    (message,) = caplog.messages
    assert message.startswith(
        "1 of 3 test utterances is too short to be aligned and has no loss, but is scored: "
        "x (5 steps, needs 6: fits at no stride); "
    )


def test_if_no_utterance_can_be_aligned_the_message_names_the_setting(
    make_feature_set: FeatureSetFactory,
):
    features = make_feature_set([*TIGHT, *draw_utterances(1, "dev", DRAW)])
    with pytest.raises(InfeasibleError, match=r"2 of 2 training .*all fit with input\.stack: 1"):
        make_splits(features, stack=5)
    with pytest.raises(
        InfeasibleError, match=r"but stride 1 does: lower model\.time_strides, or set"
    ):
        make_splits(features, stride=3)


def test_if_no_stride_helps_the_message_says_so(make_feature_set: FeatureSetFactory):
    features = make_feature_set([("x", "train", "AAA", 4), *draw_utterances(1, "dev", DRAW)])
    message = r"x \(4 steps, needs 5: fits at no stride\); not all fit at any stride: check the tr"
    with pytest.raises(InfeasibleError, match=message):
        make_splits(features)


def test_characters_outside_the_alphabet_are_refused_with_their_utterances(
    make_feature_set: FeatureSetFactory,
):
    unknown = [(f"odd-{n}", "dev", "AÉB!", 30) for n in range(4)]
    message = (
        "4 of 11 transcripts have characters that the alphabet english-38 lacks: "
        r"'!', 'É' \(first in odd-0\); set alphabet: corpus "
    )
    with pytest.raises(InputError, match=message):
        make_splits(make_feature_set([*REST, *unknown]))


@pytest.mark.parametrize("missing", ["train", "dev"])
def test_a_corpus_without_train_or_dev_is_refused(
    make_feature_set: FeatureSetFactory, missing: str
):
    others = [utterance for utterance in REST if utterance[1] != missing]
    with pytest.raises(InputError, match=f"the corpus has no {missing} utterances"):
        make_splits(make_feature_set(others))


def test_a_corpus_without_test_is_allowed(make_feature_set: FeatureSetFactory):
    splits = make_splits(make_feature_set([u for u in REST if u[1] != "test"]))
    assert len(splits.test) == 0
    assert np.isnan(splits.reference_loss("test"))


def test_the_reference_loss_uses_the_output_steps_of_the_network(
    make_feature_set: FeatureSetFactory,
):
    splits = make_splits(make_feature_set(REST), stride=2, stack=2)
    frames = [math.ceil(utterance.frames / 4) for utterance in splits.dev.utterances]
    expected = reference_loss.fit_constant_reference(frames, splits.dev.labels, 38)
    assert splits.reference_loss("dev") == expected.loss_per_character


def test_runs_of_a_process_share_a_reference_where_all_that_it_depends_on_is_equal(
    make_feature_set: FeatureSetFactory,
):
    features = make_feature_set(REST)
    one, same, other = (make_splits(features, stride=stride) for stride in (1, 1, 2))
    assert one.constant_references["dev"] is same.constant_references["dev"]
    losses = {one.reference_loss("dev"), one.reference_loss("test"), other.reference_loss("dev")}
    assert len(losses) == 3


def test_feasibility_after_a_change_of_tempo(
    make_feature_set: FeatureSetFactory,
):
    splits = make_splits(make_feature_set([*REST, *TIGHT]), stack=2)
    ids = [u.id for u in splits.train.utterances]
    fewer = splits.train.frame_counts.copy()
    fewer[ids.index("tight")] = 4
    changed = splits.is_feasible(fewer)
    assert not changed[ids.index("tight")]
    assert changed.sum() == len(ids) - 1


def test_an_utterance_that_is_longer_than_a_batch_is_named(make_feature_set: FeatureSetFactory):
    features = make_feature_set([*REST, ("long", "train", "AB", 90)])
    train = {"batch_frames": 90, "tempo": 0.1}
    with pytest.raises(
        InputError, match="batch_frames: 90 is less than the 102 frames of long, the lo"
    ):
        make_splits(features, make_experiment(train=train, input={"stack": 3}))
    make_splits(
        features, make_experiment(train={"batch_frames": 102, "tempo": 0.1}, input={"stack": 3})
    )


def test_without_a_device_the_frames_stay_in_the_shards(make_feature_set: FeatureSetFactory):
    features = make_feature_set(REST)
    splits = Splits.from_features(features, make_experiment(), lambda n: n, None)
    assert all(
        isinstance(split.store, MappedFrames) for split in (splits.train, splits.dev, splits.test)
    )


def test_lengths_are_correlated_by_split_and_only_where_there_are_enough(
    make_feature_set: FeatureSetFactory,
):
    texts = [f"{'ABC'[n % 3]}B" * (1 + n % 7) for n in range(120)]
    spoken = [(f"train-{n}", "train", text, 9 * len(text)) for n, text in enumerate(texts)]
    found = make_splits(make_feature_set([*REST, *spoken])).length_correlations
    assert found["train"] > 0.9
    assert math.isnan(found["dev"])
