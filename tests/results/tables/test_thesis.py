"""Tables for a thesis: escaped, aligned, with a caption that says what they rest on."""

import math
from pathlib import Path

import pandas as pd
import pytest

from pipeline.results.comparison.arms import compare_runs
from pipeline.results.comparison.arms_table import arms_table
from pipeline.results.tables import write
from pipeline.results.tables.captions import describe_commands
from pipeline.results.tables.thesis import (
    MAX_ONE_PAGE_ROWS,
    ThesisTable,
    arms_for_thesis,
    runs_for_thesis,
    table_for_thesis,
)
from pipeline.results.tables.write import THESIS_TABLES
from tests.results.comparison.test_answer import make_arm
from tests.results.example_report import write_report
from tests.results.examples import RunScenario, make_run, make_seeds

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


def test_each_cell_has_its_value_with_deviation_and_interval_where_they_are_known():
    nan = math.nan
    interval = ("test_cer_mean_low", "test_cer_mean_high")
    difference = ("difference", "difference_low", "difference_high")
    frame = pd.DataFrame(
        [
            ("a", 3, 0.1234, 0.01, 0.1, 0.2, -0.05, -0.07, -0.03, 0.0004, 159.4),
            (None, 1, 0.5, nan, nan, nan, nan, nan, nan, 0.0312, math.inf),
            ("c", 1, 0.5, nan, 0.4, nan, 0.01, nan, 0.02, 0.001, nan),
        ],
        columns=[
            *("label", "seeds", "test_cer_mean", "test_cer_deviation", *interval, *difference),
            *("p_adjusted", "escape_updates_median"),
        ],
    )
    table = arms_for_thesis(frame, compare_runs(make_arm("a", [0.1])), "sweep", [])
    assert table.header[2:] == ("Test CER", "Difference", "P adjusted", "Escape updates median")
    assert table.lines == (
        ("a", "3", "12.3 ± 1.0 [10.0, 20.0]", "−5.0 [−7.0, −3.0]", "<0.001", "159"),
        ("unknown", "1", "50.0", "–", "0.031", "inf"),
        ("c", "1", "50.0", "1.0", "0.001", "–"),
    )
    assert table.is_text == (True, *[False] * 5)
    (only_low,) = arms_for_thesis(
        frame[:1].drop(columns="difference_high"), compare_runs([]), "sweep", []
    ).lines
    assert only_low[3] == "−5.0"


@pytest.mark.parametrize(
    ("seeds", "text"), [((8, 1), "over 1 to 8 seeds"), ((2, 2), "over 2 seeds"), ((1, 1), "one s")]
)
def test_the_caption_gives_the_least_and_the_largest_number_of_seeds(seeds, text: str):
    runs = [run for arm, n in zip("ab", seeds, strict=True) for run in make_arm(arm, [0.1] * n)]
    comparison = compare_runs(runs)
    assert text in arms_for_thesis(arms_table(comparison), comparison, "sweep", []).caption


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


def test_no_control_character_reaches_a_text_and_persian_joiners_stay():
    table = make_table(["a\x1b[31mred\x07\u202edesrever\u2066", "می\u200cخواهم"])
    for text in (table.markdown(), table.latex("t")):
        assert not set(text) & set("\x1b\x07\u202e\u2066")
        assert "desrever" in text
        assert "می\u200cخواهم" in text


def test_each_table_for_a_text_has_its_caption_and_one_width_of_numbers_per_column(folder: Path):
    for name in (*THESIS_TABLES, "arms", "summary"):
        if not (folder / f"{name}.csv").exists():
            assert not (folder / f"{name}.md").exists()
            continue
        markdown, latex = ((folder / f"{name}.{kind}").read_text("utf-8") for kind in ("md", "tex"))
        assert "Made with: make report" in markdown
        assert "10 speakers" in latex
    speakers = pd.read_csv(folder / "errors_speakers.csv")
    lines = (folder / "errors_speakers.md").read_text("utf-8").splitlines()
    header = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert header[4:7] == ["Char errors", "CER", "Words"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:-2]]
    for line, row in zip(cells, speakers.itertuples(), strict=True):
        assert line[header.index("Char errors")] == f"{row.char_errors:.1f}"
        assert line[header.index("CER")] == f"{100 * row.cer:.1f}"
    assert "Char insertions" in (folder / "errors_operations.md").read_text("utf-8")


def test_only_a_mean_has_its_deviation_behind_it():
    table = pd.DataFrame({"source": ["seed"], "source_deviation": [0.01], "source_share": [0.5]})
    found = table_for_thesis(table, "source of variance", compare_runs([]), "s", [])
    assert found.header == ("Source", "Source deviation", "Source share")
    assert found.lines == (("seed", "1.0", "50.0"),)


def test_a_wide_table_is_scaled_to_the_text(folder: Path):
    assert r"\resizebox{\linewidth}" in (folder / "arms.tex").read_text("utf-8")
    assert "resizebox" not in make_table(["a"]).latex("t")


def test_a_long_table_goes_over_pages():
    assert "longtable" not in make_table(["a"] * MAX_ONE_PAGE_ROWS).latex("t").split("\n", 1)[1]
    long = make_table(["a"] * (MAX_ONE_PAGE_ROWS + 1)).latex("t")
    assert r"\begin{longtable}{lr}" in long
    assert r"\endhead" in long


def test_a_caption_says_what_the_brackets_of_its_table_are():
    comparison = compare_runs(make_arm("a", [0.1, 0.2]))
    frame = {"arm": ["a"], "effect": [0.1], "effect_low": [0.0], "effect_high": [0.2]}
    found = table_for_thesis(pd.DataFrame(frame), "value", comparison, "s", [])
    assert found.lines == (("a", "10.0 [0.0, 20.0]"),)
    assert found.caption.startswith(
        "A line per value; rates in %, in brackets 95 % intervals over seeds, test utterances and "
        "speakers. Those of effects are adjusted for all effects and interactions together. "
        "Sweep s, 2 seeds per arm. "
    )
    plain = table_for_thesis(pd.DataFrame({"arm": ["a"]}), "value", comparison, "s", [])
    assert "interval" not in plain.caption
    assert "2 seeds per arm" in runs_for_thesis(pd.DataFrame(frame), comparison, "s", []).caption


def test_a_table_that_is_too_long_is_no_text(folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert (folder / "phases.tex").exists()
    monkeypatch.setattr(write, "MAX_TEXT_LINES", 3)
    runs = make_seeds(folder / "again", {"mel": 0.05})
    write_report(runs, folder / "again" / "report")
    names = {path.name for path in (folder / "again" / "report").iterdir()}
    assert {"phases.csv", "arms.tex", "summary.md"} <= names
    assert "phases.tex" not in names


def test_the_caption_of_several_sweeps_has_all_their_commands():
    sweeps = [f"make sweep SWEEP={name}.yaml WORK=/x/y" for name in "ab"]
    assert describe_commands([*sweeps, "make report SWEEP='a b' WORK=/x/y"]) == (
        "Made with: make sweep SWEEP=a.yaml; make sweep SWEEP=b.yaml; make report SWEEP='a b'"
    )
    assert describe_commands([sweeps[0], "make report"]) == "Made with: make sweep SWEEP=a.yaml"
    assert describe_commands([]) == ""
