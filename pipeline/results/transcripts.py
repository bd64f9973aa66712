"""Samples: some test utterances, what was said and what each run heard.

In:   readings.   Out: some utterances, each run's hypothesis in marked parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.decoding.scoring import align_texts
from pipeline.results.run_summary import RunSummary
from pipeline.runs.folder import Hypothesis

MAX_UTTERANCES = 6
VISIBLE_SPACE = "␣"  # a space that is wrong has to be seen


@dataclass(frozen=True)
class HypothesisDiff:
    label: str
    hypothesis: Hypothesis
    parts: tuple[tuple[str, str, str], ...]  # equal | replace | delete | insert, said, heard

    @property
    def cer(self) -> float:
        return self.hypothesis.char_errors / max(self.hypothesis.chars, 1)


@dataclass(frozen=True)
class UtteranceComparison:
    utterance_id: str
    reference: str
    hypothesis_diffs: tuple[HypothesisDiff, ...]


def compare_utterances(
    run_summaries: Sequence[RunSummary], best: RunSummary | None
) -> list[UtteranceComparison]:
    """From the utterances that the best run hears best to those that it hears worst."""
    if not run_summaries:
        return []
    guide = next((one for one in run_summaries if one is best), run_summaries[0])
    ranked = sorted(
        guide.hypotheses_for("test"), key=lambda one: (_utterance_cer(one), one.utterance_id)
    )
    heard = [
        {one.utterance_id: one for one in reading.hypotheses_for("test")}
        for reading in run_summaries
    ]
    last = len(ranked) - 1
    places = dict.fromkeys(
        round(step * last / (MAX_UTTERANCES - 1)) for step in range(MAX_UTTERANCES)
    )
    return [
        UtteranceComparison(
            one.utterance_id,
            one.reference,
            tuple(
                _diff_hypothesis(reading.run.label, theirs[one.utterance_id])
                for reading, theirs in zip(run_summaries, heard, strict=True)
                if one.utterance_id in theirs
            ),
        )
        for one in (ranked[place] for place in places)
    ]


def _diff_hypothesis(label: str, hypothesis: Hypothesis) -> HypothesisDiff:
    parts = [
        (tag, said, heard) if tag == "equal" else (tag, _mark_spaces(said), _mark_spaces(heard))
        for tag, said, heard in align_texts(hypothesis.reference, hypothesis.hypothesis)
    ]
    return HypothesisDiff(label, hypothesis, tuple(parts))


def _mark_spaces(text: str) -> str:
    return text.replace(" ", VISIBLE_SPACE)


def _utterance_cer(one: Hypothesis) -> float:
    return one.char_errors / max(one.chars, 1)
