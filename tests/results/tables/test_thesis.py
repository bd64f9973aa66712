"""Tables for a thesis: escaped, aligned, with a caption that says what they rest on."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.results.tables.thesis import MAX_ONE_PAGE_ROWS, ThesisTable
from tests.results.examples import RunScenario, make_run, write_report

HOSTILE = r"50 % & a_b #1 {x} \cmd ~^ <|> $m$ * [l](u) `c`"


def make_table(labels: list[str]) -> ThesisTable:
    lines = tuple((label, f"{n}.0") for n, label in enumerate(labels))
    return ThesisTable(f"Caption with {HOSTILE}", ("Label", "CER"), lines, (True, False))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    runs = [
        make_run(
            folder / f"{arm}{seed}",
            f"{arm}, seed {seed}",
            {"input.stack": stack, "train.seed": seed},
            RunScenario(escape_updates=60, epochs=4, utterances=30, final_dev_cer=cer, seed=seed),
        )
        for arm, stack, cer in (("good", 1, 0.05), ("bad", 2, 0.4))
        for seed in range(3)
    ]
    write_report(runs, folder / "report", name="stacks")
    return folder / "report"


def test_the_captions_say_seeds_intervals_test_set_and_the_command(folder: Path):
    for file in ("arms.md", "arms.tex", "summary.md", "summary.tex"):
        text = (folder / file).read_text("utf-8").replace("\\", "")
        assert "an4, 30 utterances of 10 speakers" in text, file
        assert "Made with: make report SWEEP=configs/sweeps/stacks.yaml" in text, file
        assert "95 % " in text, file
    arms = (folder / "arms.md").read_text("utf-8")
    assert "mean ± standard deviation over 3 seeds per arm" in arms
    assert "simultaneous 95 % interval over seeds, test utterances and speakers" in arms


def test_the_rates_are_percent_and_those_of_the_csv_file(folder: Path):
    lines = (folder / "arms.md").read_text("utf-8").splitlines()
    header = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert header[:4] == ["Label", "Seeds", "Dev CER", "Test CER"]
    for line, arm in zip(lines[2:4], pd.read_csv(folder / "arms.csv").itertuples(), strict=True):
        cells = dict(
            zip(header, (cell.strip() for cell in line.strip("|").split("|")), strict=True)
        )
        assert cells["Label"] == arm.label
        expected = f"{100 * arm.test_cer_mean:.1f} ± {100 * arm.test_cer_deviation:.1f}"
        assert cells["Test CER"].startswith(expected)


def test_every_special_character_is_escaped_for_latex():
    text = make_table([HOSTILE]).latex("t")
    for wanted in (r"50 \% \& a\_b \#1 \{x\} \textbackslash{}cmd", r"\$m\$", r"\textless{}"):
        assert text.count(wanted) == 2  # in the caption and in a cell
    assert text.count(r" \\") == 2  # the header and one line


def test_a_cell_of_markdown_stays_one_cell():
    _, _, line, *_ = make_table([HOSTILE, "two\nlines"]).markdown().splitlines()
    assert line.replace("\\|", "").count("|") == 3
    assert "\\<\\|\\>" in line
    assert "| two lines |" in make_table(["two\nlines"]).markdown()


def test_a_long_table_goes_over_pages():
    assert "longtable" not in make_table(["a"] * MAX_ONE_PAGE_ROWS).latex("t").split("\n", 1)[1]
    long = make_table(["a"] * (MAX_ONE_PAGE_ROWS + 1)).latex("t")
    assert r"\begin{longtable}{lr}" in long
    assert r"\endhead" in long
