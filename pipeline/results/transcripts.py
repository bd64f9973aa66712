"""Samples: some test utterances, what was said and what each run heard.

In:   readings.   Out: some utterances, each run's hypothesis in marked parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.decoding.scoring import alignment
from pipeline.results.run_summary import Reading
from pipeline.runs.folder import Hypothesis

MOST = 6
SPACE = "␣"  # a space that is wrong has to be seen


@dataclass(frozen=True)
class Heard:
    label: str
    hypothesis: Hypothesis
    parts: tuple[tuple[str, str, str], ...]  # equal | replace | delete | insert, said, heard

    @property
    def rate(self) -> float:
        return self.hypothesis.char_errors / max(self.hypothesis.chars, 1)


@dataclass(frozen=True)
class Sample:
    utterance_id: str
    reference: str
    heard: tuple[Heard, ...]


def samples(readings: Sequence[Reading], best: Reading | None) -> list[Sample]:
    """From the utterances that the best run hears best to those that it hears worst."""
    if not readings:
        return []
    guide = next((one for one in readings if one is best), readings[0])
    ranked = sorted(guide.heard("test"), key=lambda one: (_rate(one), one.utterance_id))
    heard = [{one.utterance_id: one for one in reading.heard("test")} for reading in readings]
    last = len(ranked) - 1
    places = dict.fromkeys(round(step * last / (MOST - 1)) for step in range(MOST))
    return [
        Sample(
            one.utterance_id,
            one.reference,
            tuple(
                _heard(reading.run.label, theirs[one.utterance_id])
                for reading, theirs in zip(readings, heard, strict=True)
                if one.utterance_id in theirs
            ),
        )
        for one in (ranked[place] for place in places)
    ]


def _heard(label: str, hypothesis: Hypothesis) -> Heard:
    parts = [
        (tag, said, heard) if tag == "equal" else (tag, _visible(said), _visible(heard))
        for tag, said, heard in alignment(hypothesis.reference, hypothesis.hypothesis)
    ]
    return Heard(label, hypothesis, tuple(parts))


def _visible(text: str) -> str:
    return text.replace(" ", SPACE)


def _rate(one: Hypothesis) -> float:
    return one.char_errors / max(one.chars, 1)
