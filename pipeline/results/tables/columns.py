"""Columns: what the columns of a table are, in words.

In:   the names of columns.   Out: a description of each; the text of columns.md.
Not here: the dictionary (dictionary.py), writing the tables (export.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pipeline.config.experiment import Experiment
from pipeline.results.tables.dictionary import COLUMNS, Column

INTRODUCTION = """\
# Columns

What each column of the tables in this folder is. Each table is a CSV file and, with the same name,
a Parquet file, which keeps the types. Rates are fractions, not percent. An empty cell is a value
that is not known; `none` is a setting that is null. In a CSV file an apostrophe stands before a
text that a spreadsheet would take for a formula; Parquet has the text as it is. A source without
a further word is a file of the run's folder. Tables of several sweeps can be joined: the columns
`sweep` and `corpus` tell them apart.
"""


@dataclass(frozen=True)
class TableColumns:
    """The columns of one table."""

    file: str  # without its suffix
    line: str  # what one line of it is
    columns: Sequence[str]


def describe_column(name: str) -> Column | None:
    """Return what a column is; None if it is neither in the dictionary nor a setting."""
    return COLUMNS.get(name) or _describe_setting(name)


def columns_page(tables: Sequence[TableColumns]) -> str:
    """Return the text of columns.md."""
    parts = [INTRODUCTION]
    for each in tables:
        lines = [f"## {each.file}\n", f"One line per {each.line}.\n"]
        lines += ["| column | what it is | unit | source |", "|---|---|---|---|"]
        for name in each.columns:
            meaning, unit, source = describe_column(name) or Column("not described", "", "")
            cells = (text.replace("|", "\\|") for text in (f"`{name}`", meaning, unit, source))
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _describe_setting(dotted: str) -> Column | None:
    """Return the description of a setting of experiments, which ends with its unit in brackets."""
    model: Any = Experiment
    field = None
    for name in dotted.split("."):
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return None
        field = model.model_fields.get(name)
        if field is None:
            return None
        model = field.annotation
    text = field.description if field and field.description else dotted
    meaning, _, unit = text.partition(" [")
    return Column(f"setting: {' '.join(meaning.split())}", unit.rstrip("]"), "experiment.yaml")
