"""Page data: what the script of the page needs to compare two arms or runs, as compact JSON.

In:   the lines of the arms.   Out: JSON text that may stand inside a script element.
Not here: the script (compare.js), the tables that need no script (table.html).
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from markupsafe import Markup

from pipeline.config.loader import flatten
from pipeline.results.comparison.test_sets import fold_of
from pipeline.results.page.arm_lines import ArmLine
from pipeline.results.page.views import RunView
from pipeline.results.summary.hypothesis_table import UtteranceKey
from pipeline.results.summary.run_summary import RunSummary

MAX_POINTS = 5_000  # of the curves of all runs
MAX_TEXT = 50_000  # characters of hypotheses as JSON
MAX_UTTERANCES = 300
CURVES = {"loss": "loss_per_character", "cer": "cer"}


def page_data(lines: Sequence[ArmLine]) -> Markup:
    """Return JSON without `<`, so that no text of it can end its script element."""
    views = _best_of_each_arm_first(lines)
    most = min(max(8, MAX_POINTS // max(1, len(views))), 60)
    references = _references([view for line in lines for view in line.views])
    budget = MAX_TEXT
    updates: list[list[int]] = []  # most runs are evaluated at the same ones
    runs = []
    for view in views:
        texts = _hypotheses(view.run_summary, references)
        size = len(_to_json(texts))
        kept = texts if size <= budget else None
        budget -= size if kept else 0
        curves = _curves(view.run_summary, most, updates)
        found = {"arm": view.number, "name": view.label, "curves": curves, "hypotheses": kept}
        runs.append(found | _fold(view.run_summary))
    data = {
        "settings": _varied_settings([view.run_summary for view in views]),
        "utterances": references,
        "updates": updates,
        "runs": runs,
    }
    return Markup(_to_json(data).replace("<", "\\u003c"))  # noqa: S704


def _to_json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _best_of_each_arm_first(lines: Sequence[ArmLine]) -> list[RunView]:
    firsts = [line.views[0] for line in lines]
    return [*firsts, *(view for line in lines for view in line.views[1:])]


def _curves(run: RunSummary, most: int, updates: list[list[int]]) -> dict[str, Any] | None:
    """Return the curves of a run, and where in `updates`, which grows, the updates of it are."""
    rows = run.rows_for("dev")
    if not len(rows):
        return None
    step = math.ceil(len(rows) / most)
    picked = [*range(0, len(rows) - 1, step), len(rows) - 1]
    at = rows.column("updates")[picked].tolist()
    if at not in updates:
        updates.append(at)
    curves: dict[str, Any] = {"updates": updates.index(at)}
    for name, column in CURVES.items():
        curves[name] = [_short(value) for value in rows.column(column)[picked].tolist()]
    return curves


def _fold(run: RunSummary) -> dict[str, tuple[int, int | None]]:
    """Return the fold that tests the run, and how many there are; empty without folds."""
    fold = fold_of(run)
    folds = run.experiment.corpus.folds if run.experiment else None
    return {} if fold is None else {"fold": (fold, folds)}


def _short(value: float) -> float | None:
    return float(f"{value:.3g}") if math.isfinite(value) else None


def _references(views: Sequence[RunView]) -> list[UtteranceKey]:
    """Return id and reference of the test utterances of the first run that has any."""
    for view in views:
        if hypotheses := view.run_summary.hypotheses_for("test"):
            return list(islice(hypotheses.places(), MAX_UTTERANCES))
    return []


def _hypotheses(
    run: RunSummary, references: Sequence[UtteranceKey]
) -> list[tuple[str, int] | int] | None:
    """Return text and errors of each utterance, 0 where it is right; None: other utterances."""
    table = run.hypotheses_for("test")
    places = table.places()
    if not all(key in places for key in references):
        return None
    found = [places[key] for key in references]
    texts, errors = table.texts("hypothesis"), table.column("char_errors").tolist()
    return [(texts[each], errors[each]) if errors[each] else 0 for each in found] or None


def _varied_settings(runs: Sequence[RunSummary]) -> dict[str, list[Any]]:
    """Return dotted key -> the value of each run, for the settings in which runs differ."""
    flat = [_shown_settings(run) for run in runs]
    keys = dict.fromkeys(key for each in flat for key in each)
    varied = [key for key in keys if _differs([each.get(key) for each in flat])]
    columns = {key: [_text(each, key) for each in flat] for key in varied}
    return {key: values for key, values in columns.items() if len(set(values) - {""}) > 1}


def _differs(values: Sequence[Any]) -> bool:
    return any(type(each) is not type(values[0]) or each != values[0] for each in values)


def _shown_settings(run: RunSummary) -> dict[str, Any]:
    """Return dotted key -> value, without paths of the machine that trained the run."""
    content = run.experiment.model_dump(mode="json") if run.experiment else {}
    return {key: value for key, value in flatten(content) if not str(value).startswith(("/", "~"))}


def _text(values: Mapping[str, Any], key: str) -> str:
    """Return the value as YAML shows it; empty where the run has no such setting."""
    return json.dumps(values[key], ensure_ascii=False).strip('"') if key in values else ""
