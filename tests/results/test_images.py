"""Figures as PNG and PDF on request: the same drawing, embedded fonts, no older figure."""

import re
import zlib
from pathlib import Path

import matplotlib.image
import pytest

from pipeline.results.page.figure_files import Formats
from pipeline.results.summary.run_summary import SweepRun
from tests.results.example_report import write_report
from tests.results.examples import RunScenario, make_run

SEARCH = {"effects", "escape", "forest", "parallel", "settings"}


def names(folder: Path, suffix: str) -> set[str]:
    return {path.stem for path in folder.glob(f"*.{suffix}")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[SweepRun]:
    """A search of eight arms with two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(
            folder / f"{arm}-{seed}",
            f"arm {arm}, seed {seed}",
            {"train.learning_rate": 10.0**-arm, "model.hidden": 16 + arm, "train.seed": seed},
            RunScenario(escape_updates=60, epochs=3, utterances=6, seed=seed, final_dev_cer=0.3),
        )
        for arm in range(1, 9)
        for seed in range(2)
    ]


def test_each_figure_is_a_png_and_a_pdf_on_request_and_no_stale_one_stays(
    runs: list[SweepRun], tmp_path: Path
):
    folder = tmp_path / "report" / "figures"
    written = write_report(runs, tmp_path / "report", formats=Formats(images=True))
    drawn = names(folder, "svg")
    assert drawn >= {"loss", "cer", "wer", "blank", "dependence", "forest", "escape"}
    assert drawn & SEARCH >= {"parallel", "settings"}
    assert names(folder, "png") == names(folder, "pdf") == drawn
    height, width, _ = matplotlib.image.imread(folder / "loss.png").shape
    assert (width, height) == (900 * 300 // 72, 400 * 300 // 72), "300 dots per inch"
    for file in folder.glob("*.pdf"):
        kinds = font_kinds(file.read_bytes())
        assert kinds, file
        assert kinds <= {b"CIDFontType2", b"TrueType"}, "type 42, not outlines of type 3"
    first = {path: path.read_bytes() for path in folder.glob("*.p*")}
    write_report(runs, tmp_path / "report", formats=Formats(images=True))
    assert {path: path.read_bytes() for path in folder.glob("*.p*")} == first
    write_report(runs[:1], tmp_path / "report")
    assert not names(folder, "png") | names(folder, "pdf")
    assert not names(folder, "svg") & {"parallel", "settings"}, "one run is no search"
    assert written.page.exists()


def font_kinds(pdf: bytes) -> set[bytes]:
    """Return the subtypes of the fonts whose glyphs are drawn, compressed streams included."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    text = pdf
    for stream in streams:
        try:
            text += zlib.decompress(stream)
        except zlib.error:
            continue
    return set(re.findall(rb"/Subtype\s*/(CIDFontType\d|TrueType|Type1|Type3)\b", text))


def test_each_figure_has_a_caption_with_seeds_the_set_and_the_command(
    runs: list[SweepRun], tmp_path: Path
):
    write_report(runs, tmp_path / "report", name="search")
    folder = tmp_path / "report" / "figures"
    text = (folder / "captions.md").read_text("utf-8")
    paragraphs = text.split("\n\n")[1:]
    assert {each.split("**")[1] for each in paragraphs if each.strip()} == names(folder, "svg")
    for paragraph in filter(str.strip, paragraphs):
        assert "2 seeds per arm" in paragraph
        assert "Made with: make report SWEEP=configs/sweeps/search.yaml" in paragraph
    by_name = {each.split("**")[1]: each for each in paragraphs if each.strip()}
    assert "Test set: an4, 6 utterances of 6 speakers" in by_name["forest"]
    assert "Dev set: an4, 6 utterances" in by_name["loss"]
    latex = (folder / "captions.tex").read_text("utf-8")
    for name in names(folder, "svg"):
        assert f"\\includegraphics[width=\\linewidth]{{{name}.pdf}}" in latex
    assert latex.count(r"\begin{figure}") == latex.count(r"\end{figure}") == len(by_name)
    assert not re.search(r"(?<!\\)[%&#_](?!pdf)", latex.split("\n", 1)[1].replace("search-", ""))
