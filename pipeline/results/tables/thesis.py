"""Tables for a thesis: those of a report as Markdown and as LaTeX, each with its caption.

In:   the frames of the CSV files, the comparison, the commands that made them.
Out:  the text of arms.md, arms.tex and so on.
Not here: the tables for programs (export.py), what is compared (comparison/).

Rates are in percent. LaTeX needs the package booktabs, graphicx for wide tables, longtable for
long ones, and a Unicode engine (XeLaTeX, LuaLaTeX) for letters beyond Latin.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.results.comparison.arms import SweepComparison
from pipeline.results.tables.captions import (
    LATEX_ESCAPES,
    MARKDOWN_ESCAPES,
    count_seeds,
    describe_commands,
    describe_origin,
    describe_seeds,
    describe_split,
    escape,
)
from pipeline.results.tables.dictionary import COLUMNS

# The columns that are shown, where the table has them. Besides: X_low and X_high as an interval
# behind X, X_deviation behind X_mean.
ARM_SHOWN = (
    *("label", "seeds", "dev_cer_mean", "test_cer_mean", "difference", "p_adjusted"),
    *("test_wer_mean", "wer_difference", "escaped", "escape_updates_median"),
)
RUN_SHOWN = ("label", "state", "dev_cer", "test_cer", "test_wer", "epoch", "escape_updates")
# Column -> what a caption says of its interval, besides what it is over.
ADJUSTED = {
    "effect": "Those of effects are adjusted for all effects and interactions together.",
    "cer_change": "Those of changes are adjusted for all changes together.",
}
MAX_NORMAL_COLUMNS = 6  # a LaTeX table with more is scaled to the width of the text
MAX_ONE_PAGE_ROWS = 40  # a longer LaTeX table is a longtable


@dataclass(frozen=True)
class ThesisTable:
    caption: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    is_text: tuple[bool, ...]  # per column: aligned to the left, as words are

    def markdown(self) -> str:
        """Return the table as GitHub's Markdown, its caption below it."""
        rule = ["---" if text else "---:" for text in self.is_text]
        lines = [self.header, *self.lines]
        escaped = [[escape(cell, MARKDOWN_ESCAPES) for cell in line] for line in lines]
        rows = (f"| {' | '.join(cells)} |" for cells in (escaped[0], rule, *escaped[1:]))
        return "\n".join([*rows, "", f"Table: {escape(self.caption, MARKDOWN_ESCAPES)}", ""])

    def latex(self, label: str) -> str:
        """Return the table for booktabs; `label` is the word for LaTeX's reference to it."""
        head, *body = (
            f"{' & '.join(escape(cell, LATEX_ESCAPES) for cell in line)} \\\\"
            for line in (self.header, *self.lines)
        )
        columns = "".join("l" if text else "r" for text in self.is_text)
        caption = f"\\caption{{{escape(self.caption, LATEX_ESCAPES)}}}\\label{{tab:{label}}}"
        wide = len(self.header) > MAX_NORMAL_COLUMNS
        begin, end = (r"\resizebox{\linewidth}{!}{%" + "\n", "}") if wide else ("", "")
        ruled = ["\\toprule", head, "\\midrule"]
        if len(body) > MAX_ONE_PAGE_ROWS:
            lines = [
                f"\\begin{{longtable}}{{{columns}}}",
                f"{caption} \\\\",
                *ruled,
                "\\endhead",
                "\\bottomrule",
                "\\endfoot",
                *body,
                "\\end{longtable}",
            ]
        else:
            lines = [
                "\\begin{table}",
                "\\centering",
                caption,
                f"{begin}\\begin{{tabular}}{{{columns}}}",
                *ruled,
                *body,
                "\\bottomrule",
                f"\\end{{tabular}}{end}",
                "\\end{table}",
            ]
        return "\n".join(
            ["% needs booktabs, graphicx for a wide table, longtable for a long one", *lines, ""]
        )


def arms_for_thesis(
    arms: pd.DataFrame, comparison: SweepComparison, name: str, commands: Sequence[str]
) -> ThesisTable:
    """Return the arms; the caption says seeds, intervals, test set and the command."""
    caption = (
        f"Arms of the sweep {name}, rates in %: {describe_seeds(comparison)}. The difference is "
        f"the test {comparison.rate_name} less that of the best arm on dev, with its simultaneous "
        f"95 % interval over {comparison.chance}. {describe_split(comparison)}"
        f"{describe_commands(commands)}"
    )
    return _format_table(arms, ARM_SHOWN, caption, comparison.rate_name)


def runs_for_thesis(
    summary: pd.DataFrame, comparison: SweepComparison, name: str, commands: Sequence[str]
) -> ThesisTable:
    """Return the runs; the caption says seeds, intervals, test set and the command."""
    caption = (
        f"Runs of the sweep {name}, {count_seeds(comparison) or 'none finished'}, rates in %, in "
        "brackets 95 % bootstrap intervals over utterances, which speak of these trained networks "
        "only. The epoch is selected on dev. "
        f"{describe_split(comparison)}{describe_commands(commands)}"
    )
    return _format_table(summary, RUN_SHOWN, caption, comparison.rate_name)


def table_for_thesis(
    table: pd.DataFrame, what: str, comparison: SweepComparison, name: str, commands: Sequence[str]
) -> ThesisTable:
    """Return a table with all its columns; `what`: what a line is."""
    intervals = f", in brackets 95 % intervals over {comparison.chance}"
    known = f"rates in %{intervals if any(map(_is_bound, table.columns)) else ''}"
    adjusted = [text for column, text in ADJUSTED.items() if f"{column}_low" in table.columns]
    origin = describe_origin(comparison, name, commands)
    caption = " ".join([f"A line per {what}; {known}.", *adjusted, origin])
    unshown = {"sweep", "corpus", "units", "run_id", "decoding_id"}
    shown = [str(name) for name in table.columns if name not in unshown and not _is_bound(name)]
    return _format_table(table, shown, caption, comparison.rate_name)


def _is_bound(name: str) -> bool:
    return name.endswith(("_low", "_high"))


def _format_table(
    table: pd.DataFrame, shown: Sequence[str], caption: str, rate: str
) -> ThesisTable:
    names = [name for name in shown if name in table.columns]
    records = table.to_dict("records")
    columns = []
    for name in names:
        in_updates = name in COLUMNS and COLUMNS[name].unit == "updates"
        digits = 0 if in_updates or all(map(_is_whole, table[name])) else 1
        columns.append([_format_cell(record, name, digits) for record in records])
    lines = tuple(zip(*columns, strict=True)) if columns else ()
    is_text = tuple(_is_text(table[name]) for name in names)
    header = tuple(_header(name).replace("CER", rate) for name in names)
    return ThesisTable(caption, header, lines, is_text)


def _is_whole(value: Any) -> bool:
    return isinstance(value, str) or pd.isna(value) or float(value).is_integer()


def _is_text(column: "pd.Series[Any]") -> bool:
    return any(isinstance(value, str) for value in column)


def _header(name: str) -> str:
    words = name.removesuffix("_mean").split("_")
    text = " ".join(word.upper() if word in {"cer", "wer", "ser"} else word for word in words)
    return text[:1].upper() + text[1:]


def _format_cell(record: Mapping[Any, Any], name: str, digits: int) -> str:
    text = _format_value(name, record[name], digits)
    deviation = record.get(name.replace("_mean", "_deviation")) if name.endswith("_mean") else None
    if deviation is not None and not pd.isna(deviation):
        text += f" ± {_format_value(name, deviation, digits)}"
    low, high = record.get(f"{name}_low"), record.get(f"{name}_high")
    if low is not None and high is not None and not pd.isna(low) and not pd.isna(high):
        text += f" [{_format_value(name, low, digits)}, {_format_value(name, high, digits)}]"
    return text


def _format_value(name: str, value: Any, digits: int) -> str:
    """Return a fraction in percent; `digits`: of other numbers, behind the point."""
    if value is None or pd.isna(value):
        return "unknown" if name in {"label", "state"} else "–"
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if name in COLUMNS and COLUMNS[name].unit == "fraction":
        return f"{100 * value:.1f}".replace("-", "−")
    if name.startswith("p_") or name.endswith("_p"):
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else str(value)
