"""Arms made of a few texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.results.errors.arms import TestedArm
from pipeline.results.summary.run_summary import RunSummary, SweepRun
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis


def make_arm(
    references: Sequence[str],
    *runs: Sequence[str],
    name: str = "a",
    speakers: Sequence[str] = (),
    losses: Mapping[int, float] | None = None,
) -> TestedArm:
    """Return an arm whose runs have these hypotheses; `losses` by the place of the utterance."""
    speakers = speakers or [""] * len(references)
    known = losses or {}
    hypotheses = tuple(
        tuple(
            Hypothesis.of(
                f"u{n}", "test", reference, text, speaker, loss=known.get(n, float("nan"))
            )
            for n, (reference, text, speaker) in enumerate(
                zip(references, run, speakers, strict=True)
            )
        )
        for run in runs
    )
    summaries = tuple(
        RunSummary(run=SweepRun(f"{name} {n}", {}, RunFolder(Path(f"{name}{n}"))), hypotheses=run)
        for n, run in enumerate(hypotheses)
    )
    return TestedArm(name, summaries, hypotheses, guide_run=summaries[0], shown_run=0)
