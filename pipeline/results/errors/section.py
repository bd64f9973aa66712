"""The section on errors: all that the page shows of them, and its tables.

In:   the comparison of a sweep.
Out:  an `ErrorSection`, which page/errors.html shows; the frames of errors_*.csv.
Not here: the numbers (the other modules of this room).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.features.feature_set import FeatureSet
from pipeline.results.comparison.arms import SweepComparison
from pipeline.results.errors import breakdown, utterances
from pipeline.results.errors.arms import TestedArm, gather_arms
from pipeline.results.errors.breakdown import Group
from pipeline.results.errors.confusions import (
    Confusion,
    ConfusionCounts,
    ConfusionMatrix,
    Unit,
    confusion_matrix,
    confusions_table,
    count_confusions,
    count_references,
    rank_confusions,
)
from pipeline.results.errors.posteriors import ArmFiles, UtteranceOutput, choose_outputs
from pipeline.results.errors.speakers import (
    ApartSpeaker,
    describe_apart,
    describe_apart_losses,
    find_apart_speakers,
)
from pipeline.results.errors.training_split import TrainingRanking, rank_training_split
from pipeline.results.errors.utterances import HighLoss, ShownUtterance

MAX_CONFUSIONS = 12  # of characters and of words on the page
MAX_SPEAKERS = 12  # on the page


@dataclass(frozen=True, eq=False)
class ErrorSection:
    arms: tuple[TestedArm, ...]  # the best one first
    operations: tuple[Mapping[str, int], ...]  # by arm: sums over its runs
    matrix: ConfusionMatrix  # of characters or phonemes, of the best arm
    characters: tuple[Confusion, ...]  # the most frequent of the best arm
    words: tuple[Confusion, ...]
    speakers: tuple[Group, ...]  # highest CER of the best arm first
    speaker_count: int
    apart: tuple[ApartSpeaker, ...]  # in the best arm
    apart_sentences: tuple[str, ...]  # of test and train, where a speaker stands apart
    lengths: tuple[Group, ...]
    frequencies: tuple[Group, ...]  # none where the feature set of the best arm cannot be read
    examples: tuple[ShownUtterance, ...]
    high_losses: tuple[HighLoss, ...]  # of dev and test
    training: TrainingRanking | None  # None: runs of an earlier version
    changed: tuple[ShownUtterance, ...]  # between the best arm and the next one
    outputs: tuple[UtteranceOutput, ...]  # utterances to draw
    tables: Mapping[str, pd.DataFrame]  # file name -> frame


def analyse_errors(comparison: SweepComparison) -> ErrorSection | None:
    """Return the errors of the best arms; None if no finished run has a test utterance."""
    arms = gather_arms(comparison)
    if not arms:
        return None
    best, files = arms[0], [ArmFiles(arm) for arm in arms]
    characters = [count_confusions(arm, arm.unit) for arm in arms]
    words = [count_confusions(arm, "word") for arm in arms]
    ranked_characters = _rank(arms, characters)
    ranked_words = _rank(arms, words, "word")
    frequencies = _frequency_table(arms, words, files[0].features)
    apart = find_apart_speakers(
        best.mean_counts("char_errors"),
        best.counts("chars")[0].astype(float),
        [each.speaker for each in best.shown],
    )
    speakers, lengths = breakdown.speaker_table(arms), breakdown.length_table(arms)
    speakers["stands_apart"] = speakers.speaker.isin([each.speaker for each in apart]) & (
        speakers.arm == best.name
    )
    training = rank_training_split(best)
    groups = breakdown.list_groups(speakers, "speaker", "utterances", "cer")
    tables = {
        "errors_operations.csv": breakdown.operations_table(comparison.arms),
        "errors_confusions.csv": confusions_table(arms, ranked_characters, ranked_words),
        "errors_speakers.csv": speakers,
        "errors_lengths.csv": lengths,
        "errors_words.csv": frequencies,
        "errors_utterances.csv": utterances.utterances_table(arms),
        "errors_training.csv": training.table if training else pd.DataFrame(),
    }
    return ErrorSection(
        arms=tuple(arms),
        operations=tuple(breakdown.sum_operations(arm) for arm in arms),
        matrix=confusion_matrix(characters[0]),
        characters=tuple(ranked_characters[0][:MAX_CONFUSIONS]),
        words=tuple(ranked_words[0][:MAX_CONFUSIONS]),
        speakers=tuple(groups[:MAX_SPEAKERS]),
        speaker_count=len(groups),
        apart=tuple(apart),
        apart_sentences=tuple(filter(None, _describe_apart_speakers(apart, best, training))),
        lengths=breakdown.list_groups(lengths, "characters", "utterances", "cer"),
        frequencies=breakdown.list_groups(frequencies, "training_count", "words", "error_rate"),
        examples=tuple(utterances.worst_and_typical(arms)),
        high_losses=tuple(utterances.highest_losses(best)),
        training=training,
        changed=tuple(utterances.changed_most(*arms[:2])) if len(arms) > 1 else (),
        outputs=tuple(choose_outputs(files)),
        tables={name: table for name, table in tables.items() if len(table)},
    )


def _describe_apart_speakers(
    apart: Sequence[ApartSpeaker], best: TestedArm, training: TrainingRanking | None
) -> list[str]:
    """Return a sentence each on test and train: by errors, or else by the losses of a run."""
    tested = [each for each in best.guide_run.hypotheses if each.split == "test"]
    return [
        describe_apart(apart, best.name, rate=best.guide_run.rate_name)
        or describe_apart_losses(
            np.array([each.loss for each in tested], float),
            np.array([each.chars for each in tested], float),
            [each.speaker for each in tested],
            best.name,
            "test",
        ),
        training.apart_sentence if training else "",
    ]


def _rank(
    arms: Sequence[TestedArm], counts: Sequence[ConfusionCounts], unit: Unit | None = None
) -> list[list[Confusion]]:
    """Return the most frequent confusions of each arm; without `unit` of what it outputs."""
    return [
        rank_confusions(each, count_references(arm, unit or arm.unit))
        for arm, each in zip(arms, counts, strict=True)
    ]


def _frequency_table(
    arms: Sequence[TestedArm], words: Sequence[ConfusionCounts], features: FeatureSet | None
) -> pd.DataFrame:
    """Return the frame of errors_words.csv, without a line if the training text is not known."""
    training = training_words(features)
    references = count_references(arms[0], "word")
    once = {word: count // len(arms[0].hypotheses) for word, count in references.items()}
    known = training and all(arm.has_words for arm in arms)
    pairs = list(zip(arms, words, strict=True)) if known else []
    return breakdown.frequency_table(pairs, once, training)


def training_words(features: FeatureSet | None) -> Mapping[str, int]:
    """Return how often each word is in the training text; empty if it is not known.

    Copies of an utterance at another speed are not counted.
    """
    if features is None:
        return {}
    counts: Counter[str] = Counter()
    for each in features.utterances:
        if each.split == "train":
            counts.update(each.transcript.split())
    copies = 1 + len(features.settings.speeds)
    return {word: count // copies for word, count in counts.items()}
