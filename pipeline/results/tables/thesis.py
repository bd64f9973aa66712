"""Tables for a thesis: the arms and the runs as Markdown and as LaTeX, each with its caption.

In:   the frames of arms.csv and summary.csv, the comparison, the commands that made them.
Out:  the text of arms.md, arms.tex, summary.md, summary.tex.
Not here: the tables for programs (export.py), what is compared (comparison/).

Rates are in percent. LaTeX needs the package booktabs, longtable for long tables, and a Unicode
engine (XeLaTeX, LuaLaTeX) for letters beyond Latin.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.results.comparison.arms import SweepComparison
from pipeline.results.tables.dictionary import COLUMNS

# The columns that are shown, where the table has them. Besides: X_low and X_high as an interval
# behind X, X_deviation behind X_mean.
ARM_SHOWN = (
    *("label", "seeds", "dev_cer_mean", "test_cer_mean", "difference", "p_adjusted"),
    *("test_wer_mean", "wer_difference", "escaped", "escape_updates_median"),
)
RUN_SHOWN = ("label", "state", "dev_cer", "test_cer", "test_wer", "epoch", "escape_updates")
MAX_ONE_PAGE_ROWS = 40  # a longer LaTeX table is a longtable

LATEX_ESCAPES = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "±": r"$\pm$",
}
MARKDOWN_ESCAPES = {character: f"\\{character}" for character in "\\`*_[]<>|#"}


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
        escaped = [[_escape(cell, MARKDOWN_ESCAPES) for cell in line] for line in lines]
        rows = (f"| {' | '.join(cells)} |" for cells in (escaped[0], rule, *escaped[1:]))
        return "\n".join([*rows, "", f"Table: {_escape(self.caption, MARKDOWN_ESCAPES)}", ""])

    def latex(self, label: str) -> str:
        """Return the table for booktabs; `label` is the word for LaTeX's reference to it."""
        head, *body = (
            f"{' & '.join(_escape(cell, LATEX_ESCAPES) for cell in line)} \\\\"
            for line in (self.header, *self.lines)
        )
        columns = "".join("l" if text else "r" for text in self.is_text)
        caption = f"\\caption{{{_escape(self.caption, LATEX_ESCAPES)}}}\\label{{tab:{label}}}"
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
                f"\\begin{{tabular}}{{{columns}}}",
                *ruled,
                *body,
                "\\bottomrule",
                "\\end{tabular}",
                "\\end{table}",
            ]
        return "\n".join(["% needs booktabs, and longtable for a long table", *lines, ""])


def arms_for_thesis(
    arms: pd.DataFrame, comparison: SweepComparison, name: str, commands: Sequence[str]
) -> ThesisTable:
    """Return the arms; the caption says seeds, intervals, test set and the command."""
    seeds = sorted({len(arm.runs) for arm in comparison.arms})
    of_seeds = (
        f"mean ± standard deviation over {_range(seeds)} seeds per arm, in brackets the mean's "
        "95 % interval"
        if seeds and seeds[-1] > 1
        else "one seed per arm, which cannot tell whether a difference is chance"
    )
    chance = "seeds, test utterances and speakers"
    if comparison.folds:
        of_seeds = (
            f"by cross-validation, in brackets the 95 % interval over {comparison.folds} folds"
        )
        chance = "folds"
    caption = (
        f"Arms of the sweep {name}, rates in %: {of_seeds}. The difference is the test CER less "
        "that of the best arm on dev, with its simultaneous 95 % interval over "
        f"{chance}. {_describe_test_set(comparison)}{_describe_commands(commands)}"
    )
    return _format_table(arms, ARM_SHOWN, caption)


def runs_for_thesis(
    summary: pd.DataFrame, comparison: SweepComparison, name: str, commands: Sequence[str]
) -> ThesisTable:
    """Return the runs; the caption says intervals, test set and the command."""
    caption = (
        f"Runs of the sweep {name}, rates in %, in brackets 95 % bootstrap intervals over "
        "utterances, which speak of these trained networks only. The epoch is selected on dev. "
        f"{_describe_test_set(comparison)}{_describe_commands(commands)}"
    )
    return _format_table(summary, RUN_SHOWN, caption)


def _format_table(table: pd.DataFrame, shown: Sequence[str], caption: str) -> ThesisTable:
    names = [name for name in shown if name in table.columns]
    records = table.to_dict("records")
    columns = [[_format_cell(record, name) for record in records] for name in names]
    lines = tuple(zip(*columns, strict=True)) if columns else ()
    is_text = tuple(name in {"label", "state"} for name in names)
    return ThesisTable(caption, tuple(map(_header, names)), lines, is_text)


def _header(name: str) -> str:
    words = name.removesuffix("_mean").replace("_", " ")
    for rate in ("cer", "wer", "ser"):
        words = words.replace(rate, rate.upper())
    return words[:1].upper() + words[1:]


def _format_cell(record: Mapping[Any, Any], name: str) -> str:
    text = _format_value(name, record[name])
    deviation = record.get(name.removesuffix("_mean") + "_deviation")
    if deviation is not None and not pd.isna(deviation):
        text += f" ± {_format_value(name, deviation)}"
    low, high = record.get(f"{name}_low"), record.get(f"{name}_high")
    if low is not None and high is not None and not pd.isna(low) and not pd.isna(high):
        text += f" [{_format_value(name, low)}, {_format_value(name, high)}]"
    return text


def _format_value(name: str, value: Any) -> str:
    if value is None or pd.isna(value):
        return "unknown" if name in {"label", "state"} else "–"
    if isinstance(value, str):
        return value
    if name in COLUMNS and COLUMNS[name].unit == "fraction":
        return f"{100 * value:.1f}".replace("-", "−")
    if name.startswith("p_"):
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    return f"{value:.0f}" if math.isfinite(value) else str(value)


def _describe_test_set(comparison: SweepComparison) -> str:
    """Return the test sets of the runs: their utterances, speakers and characters."""
    found: dict[str, None] = {}
    for run in (run for arm in comparison.arms for run in arm.runs):
        row, hypotheses = run.test_row, run.hypotheses_for("test")
        if row is None:
            continue
        speakers = {each.speaker for each in hypotheses} - {""}
        of = f" of {len(speakers)} speakers" if speakers else ""
        name = run.experiment.corpus.name if run.experiment else "unknown corpus"
        found[f"{name}, {row['utterances']} utterances{of}, {row['chars']} characters"] = None
    if not found:
        return "No run has a test result yet. "
    return f"Test set: {'; '.join(found)}. "


def _describe_commands(commands: Sequence[str]) -> str:
    return f"Made with: {commands[0]}" if commands else ""


def _range(numbers: Sequence[int]) -> str:
    low, high = numbers[0], numbers[-1]
    return str(low) if low == high else f"{low} to {high}"


def _escape(text: str, escapes: Mapping[str, str]) -> str:
    return "".join(escapes.get(character, character) for character in " ".join(text.split()))
