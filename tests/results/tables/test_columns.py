"""The dictionary: each column of each table is in it, and no column twice."""

import re
from pathlib import Path

import pandas as pd
import pytest

from pipeline.corpus.manifest import Refusal
from pipeline.features.rejected import CorpusRefusals
from pipeline.results.summary.run_summary import SweepRun
from pipeline.results.tables.columns import TableColumns, columns_page, describe_column
from pipeline.results.tables.write import TABLE_LINES
from tests.results.example_report import write_report
from tests.results.examples import RunScenario, make_run


@pytest.fixture(scope="module")
def folder(sweep_runs: list[SweepRun], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every table; the settings of the runs include nested ones."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "seeds.csv").write_text("label\n")  # of an earlier version
    refused = [CorpusRefusals("tiny", 2, (Refusal("=u0", "is cut short"),))]
    write_report(sweep_runs, folder, name="spectrum", refused=refused)
    return folder


def test_every_column_of_every_table_is_in_the_dictionary(folder: Path):
    tables = sorted(folder.glob("*.csv"))
    assert {path.stem for path in tables} >= {"arms", "refused", "results", "summary"}
    unknown = {
        f"{path.stem}: {name}"
        for path in tables
        for name in pd.read_csv(path, nrows=1).columns
        if describe_column(name) is None
    }
    assert unknown == set(), "describe it in pipeline/results/tables/dictionary.py"


def test_every_column_of_the_tables_of_effects_is_in_the_dictionary(tmp_path: Path):
    runs = [
        make_run(
            tmp_path / f"{stack}{hidden}{seed}",
            f"stack {stack}, hidden {hidden}, seed {seed}",
            {"input.stack": stack, "model.hidden": hidden, "train.seed": seed},
            RunScenario(escape_updates=60, epochs=3, utterances=12, seed=seed, final_dev_cer=cer),
        )
        for stack in (1, 2)
        for hidden, cer in ((32, 0.1), (64, 0.2))
        for seed in range(2)
    ]
    write_report(runs, tmp_path / "report")
    for path in (tmp_path / "report").glob("*.csv"):
        columns = pd.read_csv(path, nrows=1).columns
        assert [name for name in columns if describe_column(name) is None] == [], path
    text = (tmp_path / "report" / "columns.md").read_text("utf-8")
    for path in (tmp_path / "report").glob("*.csv"):
        assert TABLE_LINES[path.stem] in text


def test_a_column_that_nobody_described_is_found():
    assert describe_column("sweep") is not None
    for name in ("invented", "model.invented", "invented.cer", "train.epochs.more", ""):
        assert describe_column(name) is None


def test_no_table_has_a_column_twice(folder: Path):
    for path in folder.glob("*.csv"):
        names = path.read_text("utf-8").splitlines()[0].split(",")
        assert len(names) == len(set(names)), path
        assert "corpus" in names, path


def test_the_page_of_columns_has_a_line_per_column_with_unit_and_source(folder: Path):
    text = (folder / "columns.md").read_text("utf-8")
    assert "| `test_cer_low` | lower end of the 95 % bootstrap interval" in text
    assert "| fraction | hypotheses.csv |" in text
    for name in ("results", "summary", "arms", "refused"):
        section = text.split(f"## {name}\n")[1].split("\n## ")[0]
        columns = pd.read_csv(folder / f"{name}.csv", nrows=1).columns
        assert section.count("\n| `") == len(columns), name
    assert "not described" not in text


def test_a_table_of_the_page_of_columns_is_markdown_and_names_what_nobody_described():
    names = ["sweep", "test_cer_low", "in|vented"]
    _, _, table = columns_page([TableColumns("t", "run", names)]).partition("One line per run.\n\n")
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.strip().splitlines()]
    assert [cell.strip() for cell in lines[0]] == ["column", "what it is", "unit", "source"]
    assert set(lines[1]) == {"---"}
    assert [len(line) for line in lines] == [4] * (2 + len(names))
    assert [line[0].strip() for line in lines[2:]] == ["`sweep`", "`test_cer_low`", "`in\\|vented`"]
    assert lines[-1][1].strip() == "not described"


def test_a_setting_is_described_as_the_settings_page_describes_it():
    column = describe_column("train.learning_rate")
    assert column is not None
    assert column.meaning.startswith("setting: ")
    text = columns_page([TableColumns("t", "run", ["features.hop_ms"])])
    assert "| ms | experiment.yaml |" in text


def test_a_stale_seeds_table_is_removed(folder: Path):
    assert not (folder / "seeds.csv").exists()
