"""What cannot be trained on is found before training, counted, named with the way out."""

import logging
import math

import numpy as np
import pytest
import torch

from pipeline.config.experiment import Experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.training.data.frame_store import MappedFrames
from pipeline.training.loop.splits import InfeasibleError, Splits
from pipeline.training.loss import reference_line
from tests.training.letters import FeatureSetFactory, draw_utterances, make_experiment

DRAW = np.random.default_rng(3)
REST = [
    *draw_utterances(3, "train", DRAW),
    *draw_utterances(2, "dev", DRAW),
    *draw_utterances(2, "test", DRAW),
]
# AA needs a blank between its letters: 3 steps. Stacked by 2, 5 frames are 3 steps, 4 are 2.
TIGHT = [("tight", "train", "AA", 5), ("short", "train", "AA", 4)]


def gather(
    features: FeatureSet, settings: Experiment | None = None, stride: int = 1, **changes: object
) -> Splits:
    settings = settings or make_experiment(input=changes)
    return Splits.from_features(features, settings, lambda n: -(-n // stride), torch.device("cpu"))


def test_utterances_too_short_to_align_are_left_out_of_training_and_named(
    make_feature_set: FeatureSetFactory, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    splits = gather(make_feature_set([*REST, *TIGHT]), stack=2)
    names = [utterance.id for utterance in splits.train.utterances]
    assert "tight" in names
    assert "short" not in names
    assert splits.infeasible == {"train": 1, "dev": 0, "test": 0}
    (message,) = caplog.messages
    assert message == (
        "1 of 5 training utterances are too short to be aligned and are left out: "
        "short (2 steps, needs 3: fits at stride 1); input.stack: 1 would fit all"
    )


def test_a_stride_counts_like_stacking(make_feature_set: FeatureSetFactory):
    assert gather(make_feature_set([*REST, *TIGHT]), stride=2).infeasible["train"] == 1


def test_where_all_fits_nothing_is_said(
    make_feature_set: FeatureSetFactory, caplog: pytest.LogCaptureFixture
):
    assert gather(make_feature_set([*REST, *TIGHT])).infeasible["train"] == 0
    assert caplog.messages == []


def test_dev_and_test_are_scored_whole(
    make_feature_set: FeatureSetFactory, caplog: pytest.LogCaptureFixture
):
    splits = gather(make_feature_set([*REST, ("x", "test", "ABCABC", 5)]))
    assert splits.infeasible["test"] == 1
    assert len(splits.test) == 3
    (message,) = caplog.messages
    assert message.startswith(
        "1 of 3 test utterances are too short to be aligned and have no loss, but are scored: "
        "x (5 steps, needs 6: fits at no stride); "
    )


def test_when_nothing_can_be_aligned_it_says_what_would_help(make_feature_set: FeatureSetFactory):
    features = make_feature_set([*TIGHT, *draw_utterances(1, "dev", DRAW)])
    with pytest.raises(InfeasibleError, match=r"2 of 2 training .*input\.stack: 1 would fit all"):
        gather(features, stack=5)
    with pytest.raises(InfeasibleError, match=r"stride 1 does: lower model\.time_strides, or set"):
        gather(features, stride=3)


def test_where_no_stride_helps_it_says_so(make_feature_set: FeatureSetFactory):
    features = make_feature_set([("x", "train", "AAA", 4), *draw_utterances(1, "dev", DRAW)])
    message = r"x \(4 steps, needs 5: fits at no stride\); .*no stride does: lower features\.hop_ms"
    with pytest.raises(InfeasibleError, match=message):
        gather(features)


def test_characters_outside_the_alphabet_are_refused_with_their_utterances(
    make_feature_set: FeatureSetFactory,
):
    strange = [(f"odd-{n}", "dev", "AÉB!", 30) for n in range(4)]
    message = (
        "4 of 11 transcripts have characters that the alphabet english-38 lacks: "
        "'!', 'É' .first in odd-0.; none of"
    )
    with pytest.raises(InputError, match=message):
        gather(make_feature_set([*REST, *strange]))


@pytest.mark.parametrize("lacking", ["train", "dev"])
def test_a_corpus_without_a_split_to_learn_or_to_choose_is_refused(
    make_feature_set: FeatureSetFactory, lacking: str
):
    others = [utterance for utterance in REST if utterance[1] != lacking]
    with pytest.raises(InputError, match=f"the corpus has no {lacking} utterances"):
        gather(make_feature_set(others))


def test_a_corpus_without_a_test_split_is_fine(make_feature_set: FeatureSetFactory):
    splits = gather(make_feature_set([u for u in REST if u[1] != "test"]))
    assert len(splits.test) == 0
    assert np.isnan(splits.reference_loss("test"))


def test_the_reference_is_that_of_the_steps_the_network_makes(make_feature_set: FeatureSetFactory):
    splits = gather(make_feature_set(REST), stride=2, stack=2)
    frames = [math.ceil(utterance.frames / 4) for utterance in splits.dev.utterances]
    expected = reference_line.fit_constant_reference(frames, splits.dev.labels, 38)
    assert splits.reference_loss("dev") == expected.loss_per_character


def test_frames_that_would_be_too_few_after_a_change_of_tempo_are_known(
    make_feature_set: FeatureSetFactory,
):
    splits = gather(make_feature_set([*REST, *TIGHT]), stack=2)
    places = [u.id for u in splits.train.utterances]
    fewer = splits.train.frame_counts.copy()
    fewer[places.index("tight")] = 4
    changed = splits.is_feasible(fewer)
    assert not changed[places.index("tight")]
    assert changed.sum() == len(places) - 1


def test_an_utterance_that_no_batch_could_hold_is_named(make_feature_set: FeatureSetFactory):
    features = make_feature_set([*REST, ("long", "train", "AB", 90)])
    train = {"batch_frames": 90, "tempo": 0.1}
    with pytest.raises(InputError, match="batch_frames: 90 cannot hold 102 frames of long, the lo"):
        gather(features, make_experiment(train=train, input={"stack": 3}))
    gather(features, make_experiment(train={"batch_frames": 102, "tempo": 0.1}, input={"stack": 3}))


def test_frames_that_are_not_to_be_resident_stay_in_the_shards(make_feature_set: FeatureSetFactory):
    features = make_feature_set(REST)
    splits = Splits.from_features(features, make_experiment(), lambda n: n, None)
    assert all(
        isinstance(split.store, MappedFrames) for split in (splits.train, splits.dev, splits.test)
    )
