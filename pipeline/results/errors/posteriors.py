"""Posteriors: the utterances whose spectrogram and CTC output the page draws.

In:   arms, their run folders and feature sets.   Out: a handful of utterances with both.
Not here: drawing (figures/posteriors.py), what a run writes (pipeline/runs/posteriors.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.files import InputError
from pipeline.results.errors.arms import TestedArm
from pipeline.runs.folder import Hypothesis
from pipeline.runs.posteriors import Posterior, read_posteriors
from pipeline.shapes import Float

WORST = 1  # utterances of the best arm


@dataclass(frozen=True, eq=False)
class UtteranceOutput:
    """What the network of one run says of one utterance."""

    arm: str
    kind: str  # worst | typical | shared
    hypothesis: Hypothesis
    posterior: Posterior
    settings: FeatureSettings | None  # None: the feature set cannot be read
    frames: Float[np.ndarray, "T F"] | None


@dataclass(frozen=True, eq=False)
class ArmFiles:
    """The files of an arm's run that is best on dev."""

    arm: TestedArm

    @cached_property
    def features(self) -> FeatureSet | None:
        """None where the feature set is not known, incomplete or damaged."""
        folder = self.arm.guide_run.run.features
        try:
            return FeatureSet.open(folder) if folder else None
        except (InputError, OSError):
            return None

    @cached_property
    def utterances(self) -> dict[str, StoredUtterance]:
        stored = self.features.utterances if self.features else ()
        return {each.id: each for each in stored if each.split == "test"}

    @cached_property
    def posteriors(self) -> dict[str, Posterior]:
        found = read_posteriors(self.arm.guide_run.run.folder.posteriors_file)
        return {each.utterance_id: each for each in found}

    @cached_property
    def hypotheses(self) -> dict[str, Hypothesis]:
        """The test hypotheses that have a posterior, the worst one first."""
        shown = [each for each in self.arm.shown if each.utterance_id in self.posteriors]
        shown.sort(key=lambda each: (-error_rate(each), each.utterance_id))
        return {each.utterance_id: each for each in shown}

    def output(self, utterance_id: str, kind: str) -> UtteranceOutput:
        stored = self.utterances.get(utterance_id)
        readable = self.features if stored else None
        return UtteranceOutput(
            self.arm.name,
            kind,
            self.hypotheses[utterance_id],
            self.posteriors[utterance_id],
            readable.settings if readable else None,
            readable.frames(stored) if readable and stored else None,
        )


def choose_outputs(arms: Sequence[ArmFiles]) -> list[UtteranceOutput]:
    """Return the worst utterance and the median one of the best arm, and one of two arms.

    That one is, of those that both arms have, the one whose errors differ most. None where the run
    has no posteriors, because an earlier version trained it.
    """
    best = arms[0]
    ranked = list(best.hypotheses)
    chosen = [best.output(name, "worst") for name in ranked[:WORST]]
    if typical := ranked[WORST:]:
        chosen.append(best.output(typical[(len(typical) - 1) // 2], "typical"))
    for other in arms[1:2]:
        shown = {each.hypothesis.utterance_id for each in chosen}
        both = [name for name in ranked if name in other.hypotheses and name not in shown]
        if both:
            name = max(both, key=lambda name: _difference(best, other, name))
            chosen += [arm.output(name, "shared") for arm in (best, other)]
    return chosen


def error_rate(hypothesis: Hypothesis) -> float:
    return hypothesis.char_errors / max(hypothesis.chars, 1)


def _difference(one: ArmFiles, other: ArmFiles, utterance_id: str) -> int:
    errors = [arm.hypotheses[utterance_id].char_errors for arm in (one, other)]
    return abs(errors[0] - errors[1])
