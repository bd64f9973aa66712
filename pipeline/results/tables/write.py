"""The tables of a report: every file of its folder but the page and the figures.

In:   run summaries, their comparison, the refused utterances of their corpora.
Out:  all tables as CSV and Parquet, those for a text as Markdown and LaTeX too; columns.md.
Not here: the columns of a table (summary/table.py, comparison/arms_table.py).
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from pipeline.features.rejected import CorpusRefusals
from pipeline.files import write_text
from pipeline.results.comparison.arms import SweepComparison
from pipeline.results.comparison.arms_table import arms_table
from pipeline.results.summary.run_summary import RunSummary
from pipeline.results.summary.table import rows_table
from pipeline.results.tables.columns import TableColumns, columns_page
from pipeline.results.tables.export import Excel, write_table
from pipeline.results.tables.thesis import (
    ThesisTable,
    arms_for_thesis,
    runs_for_thesis,
    table_for_thesis,
)

TABLE_LINES = {
    "results": "epoch and split of a run",
    "summary": "run",
    "arms": "arm, that is, the runs that differ in their seed only",
    "refused": "utterance that was refused",
    "errors_operations": "run: its substitutions, deletions and insertions",
    "errors_confusions": "arm and pair of characters or words that were confused",
    "errors_speakers": "arm and speaker of the test set",
    "errors_lengths": "arm and length of test utterances",
    "errors_words": "arm and how often a word is in the training text",
    "errors_utterances": "arm and test utterance",
    "errors_training": "training utterance, in the best arm",
    "effects": "value of a swept setting, then values of two settings",
    "variance": "source of variance of the test CER",
    "decodings": "arm and way of decoding",
    "decoded_runs": "run and way of decoding",
    "suspicious_transcripts": "transcript that fits its sound far worse than the rest",
    "phases": "run and landmark of its training",
    "escape": "arm and number of updates at which a run escapes or ends",
}
# A line per epoch, utterance or pair of words is too much for a text.
TOO_LONG_FOR_A_TEXT = {
    *("results", "refused", "errors_confusions", "errors_utterances", "errors_training"),
    "suspicious_transcripts",
}
# Besides arms and summary, which have captions of their own.
THESIS_TABLES = tuple(
    name for name in TABLE_LINES if name not in {*TOO_LONG_FOR_A_TEXT, "arms", "summary"}
)
MAX_TEXT_LINES = 500  # a longer table is for programs only
FORMER_FILES = ("seeds",)  # that earlier versions wrote


@dataclass(frozen=True)
class Origin:
    """What the tables rest on besides the runs."""

    name: str  # of the report
    commands: Sequence[str]  # that made it
    refused: Sequence[CorpusRefusals]
    result_columns: Sequence[str]  # of results.csv, which is written already
    more: Mapping[str, pd.DataFrame]  # file name, as errors_words.csv -> frame
    excel: Excel | None = None  # the CSV files are for Excel


def write_results(
    folder: Path, run_summaries: Sequence[RunSummary], excel: Excel | None
) -> list[str]:
    """Write results.csv, which needs no comparison; return the names of its columns."""
    results = rows_table(run_summaries)
    write_table(results, folder / "results.csv", excel)
    return list(results.column_names)


def write_tables(
    folder: Path,
    run_summaries: Sequence[RunSummary],
    summary: pd.DataFrame,
    comparison: SweepComparison,
    origin: Origin,
) -> None:
    """Write all tables of a report but results.csv; `summary`: what `summary_table` returns."""
    name = origin.name
    refusals = _refusals_table(origin.refused)
    tables: dict[str, pd.DataFrame] = {"summary": summary, "arms": arms_table(comparison)}
    if len(refusals):
        tables["refused"] = refusals
    corpora = " ".join(dict.fromkeys(run.corpus for run in run_summaries if run.corpus))
    for file, frame in origin.more.items():
        identity = pd.DataFrame({"sweep": name, "corpus": corpora}, index=frame.index)
        tables[file.removesuffix(".csv")] = identity.join(frame)
    for file, table in tables.items():
        write_table(table, folder / f"{file}.csv", origin.excel)
    texts = _tables_for_thesis(tables, comparison, name, origin.commands)
    for file, thesis in texts.items():
        write_text(folder / f"{file}.md", thesis.markdown())
        write_text(folder / f"{file}.tex", thesis.latex(f"{name}-{file}"))
    columns: dict[str, Sequence[str]] = {"results": origin.result_columns}
    columns |= {file: list(table.columns) for file, table in tables.items()}
    described = [
        TableColumns(file, TABLE_LINES.get(file, "line"), names) for file, names in columns.items()
    ]
    write_text(folder / "columns.md", columns_page(described))
    _remove_others(folder, columns, ("csv", "parquet"))
    _remove_others(folder, texts, ("md", "tex"))


def _tables_for_thesis(
    tables: Mapping[str, pd.DataFrame],
    comparison: SweepComparison,
    name: str,
    commands: Sequence[str],
) -> dict[str, ThesisTable]:
    made_by = (comparison, name, commands)
    return {
        "arms": arms_for_thesis(tables["arms"], *made_by),
        "summary": runs_for_thesis(tables["summary"], *made_by),
        **{
            file: table_for_thesis(tables[file], TABLE_LINES[file], *made_by)
            for file in THESIS_TABLES
            if file in tables and len(tables[file]) <= MAX_TEXT_LINES
        },
    }


def _remove_others(folder: Path, files: Container[str], suffixes: Sequence[str]) -> None:
    """Remove what an earlier report has left and this one does not have."""
    for file in (*TABLE_LINES, *FORMER_FILES):
        if file not in files:
            for suffix in suffixes:
                (folder / f"{file}.{suffix}").unlink(missing_ok=True)


def _refusals_table(refused: Sequence[CorpusRefusals]) -> pd.DataFrame:
    return pd.DataFrame.from_records(
        [
            {"corpus": corpus.corpus, **asdict(refusal)}
            for corpus in refused
            for refusal in corpus.refusals
        ]
    )
