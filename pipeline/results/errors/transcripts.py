"""Transcripts: a few test utterances with the hypothesis of each run.

In:   run summaries.   Out: utterances; each hypothesis in parts that are right or wrong.
Not here: the alignment (decoding/scoring.py), the page (report.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.decoding.scoring import align_texts
from pipeline.results.summary.run_summary import RunSummary
from pipeline.runs.folder import Hypothesis

MAX_UTTERANCES = 6
VISIBLE_SPACE = "␣"  # for wrong spaces, which nobody could see otherwise


@dataclass(frozen=True)
class HypothesisDiff:
    label: str
    hypothesis: Hypothesis
    # (equal | replace | delete | insert, reference text, hypothesis text)
    parts: tuple[tuple[str, str, str], ...]

    @property
    def cer(self) -> float:
        return _utterance_cer(self.hypothesis)


@dataclass(frozen=True)
class UtteranceComparison:
    utterance_id: str
    reference: str
    hypothesis_diffs: tuple[HypothesisDiff, ...]


def compare_utterances(
    run_summaries: Sequence[RunSummary], best: RunSummary | None
) -> list[UtteranceComparison]:
    """Return utterances from the one with the lowest CER in the best run to the highest.

    The first run decides if `best` is not among `run_summaries`.
    """
    if not run_summaries:
        return []
    guide = next((run for run in run_summaries if run is best), run_summaries[0])
    ranked = sorted(
        guide.hypotheses_for("test"), key=lambda each: (_utterance_cer(each), each.utterance_id)
    )
    by_run = [
        (run.run.label, {each.utterance_id: each for each in run.hypotheses_for("test")})
        for run in run_summaries
    ]
    last = len(ranked) - 1
    steps = range(MAX_UTTERANCES)
    indices = dict.fromkeys(round(step * last / (MAX_UTTERANCES - 1)) for step in steps)
    return [
        UtteranceComparison(
            each.utterance_id,
            each.reference,
            tuple(
                _diff_hypothesis(label, hypotheses[each.utterance_id])
                for label, hypotheses in by_run
                if each.utterance_id in hypotheses
            ),
        )
        for each in (ranked[index] for index in indices)
    ]


def _diff_hypothesis(label: str, hypothesis: Hypothesis) -> HypothesisDiff:
    parts = [
        (tag, expected, found)
        if tag == "equal"
        else (tag, _mark_spaces(expected), _mark_spaces(found))
        for tag, expected, found in align_texts(hypothesis.reference, hypothesis.hypothesis)
    ]
    return HypothesisDiff(label, hypothesis, tuple(parts))


def _mark_spaces(text: str) -> str:
    return text.replace(" ", VISIBLE_SPACE)


def _utterance_cer(hypothesis: Hypothesis) -> float:
    return hypothesis.char_errors / max(hypothesis.chars, 1)
