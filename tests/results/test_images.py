"""Figures as PNG and PDF, on request: the same drawing, and none of an earlier report."""

from pathlib import Path

import matplotlib.image

from pipeline.results.report import Formats
from tests.results.examples import RunScenario, make_run, write_report


def test_each_figure_is_a_png_and_a_pdf_on_request_and_no_stale_one_stays(tmp_path: Path):
    scenario = RunScenario(escape_updates=60, epochs=3, utterances=6)
    run = make_run(tmp_path / "r", "mel", {"input.stack": 1}, scenario)
    folder = tmp_path / "report" / "figures"

    def names(suffix: str) -> set[str]:
        return {path.stem for path in folder.glob(f"*.{suffix}")}

    write_report([run], tmp_path / "report", formats=Formats(images=True))
    assert "loss" in names("svg")
    assert names("png") == names("pdf") >= {"loss", "dev-cer"} & names("svg")
    height, width, _ = matplotlib.image.imread(folder / "loss.png").shape
    assert (width, height) == (3 * 900, 3 * 400)
    assert (folder / "loss.pdf").read_bytes().startswith(b"%PDF-")
    first = {path: path.read_bytes() for path in folder.glob("*.p*")}
    write_report([run], tmp_path / "report", formats=Formats(images=True))
    assert {path: path.read_bytes() for path in folder.glob("*.p*")} == first
    write_report([run], tmp_path / "report")
    assert not names("png")
    assert not names("pdf")
