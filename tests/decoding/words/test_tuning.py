"""The weights with the fewest errors on dev are found; stated weights stay."""

import json
from typing import Any

import pytest

from pipeline.config.decoding import DecodingSettings
from pipeline.decoding.words.decoding_graph import GraphWeights
from pipeline.decoding.words.tuning import Trial, best_trial, count_trials, tune


def count(weights: GraphWeights) -> tuple[int, int]:
    """Fewest errors at model 1, word 2, unknown 4; the first two depend on each other."""
    return round(10 * abs(weights.model * 2 - weights.word) + 5 * abs(weights.model - 1)) + (
        weights.unknown != 4
    ), 100


def test_the_best_of_all_is_chosen():
    trials = tune(DecodingSettings(), count)
    assert best_trial(trials).weights == GraphWeights(1.0, 2.0, 4.0)
    assert len({trial.weights for trial in trials}) == len(trials)
    assert {trial.reference for trial in trials} == {100}


@pytest.mark.parametrize("kept", [0, 1, 20, 43, 45])
def test_trials_that_were_kept_are_not_made_again_and_change_nothing(kept: int):
    whole = tune(DecodingSettings(), count)
    records = json.loads(json.dumps([trial.to_record() for trial in whole[:kept]]))
    made, told = [], []
    found = tune(
        DecodingSettings(),
        lambda weights: made.append(weights) or count(weights),
        [Trial.from_record(each) for each in records],
        lambda trials: told.append(list(trials)),
    )
    assert found == whole
    assert made == [trial.weights for trial in whole[kept:]]
    assert told == [whole[: number + 1] for number in range(kept, len(whole))]


@pytest.mark.parametrize(
    "stated", [{}, {"ngram": 0}, {"words": "any"}, {"ngram_weight": 1}, {"unknown_penalty": 8}]
)
def test_the_number_of_trials_is_known_before_them(stated: dict[str, Any]):
    settings = DecodingSettings(**stated)
    assert count_trials(settings) == len(tune(settings, count))


def test_stated_weights_are_not_tried():
    stated = DecodingSettings(ngram_weight=0.5, word_reward=1.0, unknown_penalty=8.0)
    assert [trial.weights for trial in tune(stated, count)] == [GraphWeights(0.5, 1.0, 8.0)]
    partly = tune(DecodingSettings(ngram_weight=0.5), count)
    assert {trial.weights.model for trial in partly} == {0.5}
    assert best_trial(partly).weights == GraphWeights(0.5, 1.0, 4.0)


def test_without_an_ngram_its_weight_is_zero():
    trials = tune(DecodingSettings(ngram=0), count)
    assert {trial.weights.model for trial in trials} == {0.0}


def test_without_a_lexicon_no_word_is_unknown():
    assert len({t.weights.unknown for t in tune(DecodingSettings(words="any"), count)}) == 1
