"""The report of example runs; its figures take half a second to import, examples.py does not."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.features.rejected import CorpusRefusals
from pipeline.results.page.figure_files import DEFAULT_FORMATS, Formats
from pipeline.results.report import WrittenReport, write_report_folder
from pipeline.results.summary.run_summary import SweepRun
from tests.results.examples import NOW


def write_report(
    runs: Sequence[SweepRun],
    folder: Path,
    *,
    name: str = "s",
    question: str = "",
    remedies: dict[str, str] | None = None,
    refused: Sequence[CorpusRefusals] = (),
    now: float = NOW,
    formats: Formats = DEFAULT_FORMATS,
) -> WrittenReport:
    commands = [f"make report SWEEP=configs/sweeps/{name}.yaml"]
    return write_report_folder(
        name, question, runs, folder, remedies=remedies or {}, commands=commands,
        refused=refused, now=now, formats=formats,
    )  # fmt: skip
