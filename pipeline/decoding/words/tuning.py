"""Tuning: the weights of a decoding graph that make the fewest errors on the dev split.

In:   a function that counts the errors of weights on dev.
Out:  every trial in order, the best one marked by its errors.
Not here: decoding (text_decoder.py). The test split is never used.

A grid of n-gram weights and word rewards, then the penalty of unknown words. The error rate on dev
of the chosen weights is a little too low, because they were chosen there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from pipeline.config.decoding import ANY_WORD, DecodingSettings
from pipeline.decoding.words.decoding_graph import GraphWeights

MODEL_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
WORD_REWARDS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
UNKNOWN_PENALTIES = (50.0, 8.0, 4.0, 1.0)  # 50: never
START = GraphWeights(model=0.5, word=0.0, unknown=50.0)


@dataclass(frozen=True)
class Trial:
    weights: GraphWeights
    errors: int
    reference: int  # words or characters of the references

    def to_record(self) -> dict[str, float]:
        return {**asdict(self.weights), "errors": self.errors, "reference": self.reference}

    @classmethod
    def from_record(cls, record: Any) -> "Trial":
        """Return a trial that was kept; KeyError, TypeError or ValueError where it is damaged."""
        model, word, unknown = (float(record[name]) for name in ("model", "word", "unknown"))
        return cls(
            GraphWeights(model, word, unknown), int(record["errors"]), int(record["reference"])
        )


def tune(
    settings: DecodingSettings,
    count_errors: Callable[[GraphWeights], tuple[int, int]],
    kept: Sequence[Trial] = (),
    on_trial: Callable[[list[Trial]], None] = lambda trials: None,
) -> list[Trial]:
    """Return all trials. Weights that the settings state stay as stated.

    `count_errors` returns the errors and the length of the references. The choice is the trial
    with the fewest errors, the earliest of equals: see `best_trial`. A trial that was `kept` is not
    made again; `on_trial` gets all trials after each new one.
    """
    trials: list[Trial] = []
    known = {trial.weights: trial for trial in kept}
    best = _start(settings)
    for candidates in (_grammar_weights(settings, best), _unknown_penalties(settings)):
        for changes in candidates:
            weights = replace(best, **changes)
            if any(trial.weights == weights for trial in trials):
                continue
            if weights in known:
                trials.append(known[weights])
                continue
            trials.append(Trial(weights, *count_errors(weights)))
            on_trial(trials)
        best = best_trial(trials).weights
    return trials


def count_trials(settings: DecodingSettings) -> int:
    """Return how many trials `tune` makes: the errors decide which, not how many."""
    return len(tune(settings, lambda weights: (0, 1)))


def best_trial(trials: Sequence[Trial]) -> Trial:
    return min(trials, key=lambda trial: trial.errors)


def _start(settings: DecodingSettings) -> GraphWeights:
    stated = {
        "model": settings.ngram_weight if _has_ngram(settings) else 0.0,
        "word": settings.word_reward,
        "unknown": settings.unknown_penalty,
    }
    return replace(START, **{name: value for name, value in stated.items() if value is not None})


def _has_ngram(settings: DecodingSettings) -> bool:
    return bool(settings.ngram or settings.text)


def _grammar_weights(
    settings: DecodingSettings, start: GraphWeights
) -> Iterator[Mapping[str, float]]:
    """Yield each pair of n-gram weight and word reward; the two depend on each other."""
    models = MODEL_WEIGHTS if settings.ngram_weight is None and _has_ngram(settings) else None
    rewards = WORD_REWARDS if settings.word_reward is None else None
    for model, word in product(models or (start.model,), rewards or (start.word,)):
        yield {"model": model, "word": word}


def _unknown_penalties(settings: DecodingSettings) -> Iterator[Mapping[str, float]]:
    yield {}
    if settings.unknown_penalty is None and settings.words != ANY_WORD:
        yield from ({"unknown": value} for value in UNKNOWN_PENALTIES)
