"""The report of a sweep: results.csv, summary.csv, figures and one self-contained page.

In:   the runs of a sweep, in any state; its question; what of its corpora was refused.
Out:  a folder; page and best run.
Not here: what the page looks like (page.html, page.css, page.js), what it finds (findings.py).
"""

import base64
import hashlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from pipeline.files import write_text
from pipeline.results import formatting, run_summary, table
from pipeline.results.comparison import Arm, compare_runs, describe_run, dev_selection_key
from pipeline.results.figures import figure_specs, learning_curves, svg_embed
from pipeline.results.figures.learning_curves import Curve
from pipeline.results.rejected import CorpusRefusals
from pipeline.results.run_summary import RunSummary, SweepRun
from pipeline.results.transcripts import compare_utterances
from pipeline.runs import plateau

TEMPLATE_DIR = Path(__file__).parent

WIDE_SIZE_PX, SMALL_SIZE_PX = (1000, 400), (480, 330)  # pixels
FULL_WIDTH_FIGURE = "loss"  # the figure that gets the width of the page

HEADER_KEY_PATTERN = re.compile(r"^(Question|Cost|Expect)(?:ed|ation)?:\s*", re.IGNORECASE)


@dataclass(frozen=True)
class WrittenReport:
    page: Path
    best: RunSummary | None  # by dev; None before a run has finished


@dataclass(frozen=True)
class RunView:
    """A run as the page shows it."""

    number: int  # in the sweep, from 1
    colour: int | None  # place in the palette; None: in the background
    run_summary: RunSummary
    summary_row: Mapping[str, Any]  # its line of summary.csv
    description: str

    @property
    def label(self) -> str:
        return self.run_summary.run.label


def write_report_folder(
    name: str,
    question: str,
    runs: Sequence[SweepRun],
    folder: Path,
    expected: str | None = None,
    *,
    now: float | None = None,
    remedies: Mapping[str, str] | None = None,
    commands: Sequence[str] = (),
    refused: Sequence[CorpusRefusals] = (),
) -> WrittenReport:
    """Write the report of `runs` as they are at `now` (seconds since 1970).

    `remedies` maps a cause of failure to what a person can do; `commands` repeat the sweep.
    """
    now = time.time() if now is None else now
    readings = [run_summary.read_run(run, now) for run in runs]
    summary = table.summary_table(readings)
    table.write_csv(table.rows_table(readings), folder / "results.csv")
    table.write_csv(summary, folder / "summary.csv")
    views = _run_views(readings, summary)
    content = _page_content(views)
    if content["found"].arms:
        table.write_csv(_arms_table(content["found"].arms), folder / "seeds.csv")
    _write_refusals(refused, folder / "refused.csv")
    context = {
        "name": name,
        "opening": _parse_header(question, expected),
        "generated": now,
        "drawings": _draw_figures(views, folder / "figures"),
        "commands": commands or _default_commands(name),
        "remedies": remedies or {},
        "refused": refused,
        "plateau": plateau,
        **content,
    }
    page = folder / "report.html"
    write_text(page, _render_page(context))
    return WrittenReport(page, content["found"].best)


def _run_views(run_summaries: Sequence[RunSummary], summary: pd.DataFrame) -> list[RunView]:
    colours = _assign_colours(run_summaries)
    lines = [
        {str(key): math.nan if value is None or value is pd.NA else value for key, value in pairs}
        for pairs in (line.items() for line in summary.to_dict("records"))
    ]
    return [
        RunView(place + 1, colours.get(place), one, line, describe_run(one))
        for place, (one, line) in enumerate(zip(run_summaries, lines, strict=True))
    ]


def _assign_colours(run_summaries: Sequence[RunSummary]) -> dict[int, int]:
    """All runs where the palette reaches; else the best by dev CER, and one that stays blank."""
    places = list(range(len(run_summaries)))
    most = len(learning_curves.PALETTE)
    if len(places) > most:
        begun = [place for place in places if run_summaries[place].selected_dev_row]
        begun.sort(key=lambda place: dev_selection_key(run_summaries[place]))
        blank = [place for place in begun[most - 1 :] if not run_summaries[place].escape_updates]
        places = sorted([*begun[: most - 1], *(blank[:1] or begun[most - 1 : most])])
    return {place: colour for colour, place in enumerate(places)}


def _parse_header(question: str, expected: str | None) -> dict[str, str]:
    """The parts of a sweep file's opening comment: question, cost, expect."""
    parts: dict[str, list[str]] = {}
    part = "question"
    for line in question.splitlines():
        start = HEADER_KEY_PATTERN.match(line)
        part = start[1].lower() if start else part
        parts.setdefault(part, []).append(line[start.end() if start else 0 :].strip())
    parts |= {"expect": [expected]} if expected else {}
    texts = {part: " ".join(lines).strip() for part, lines in parts.items()}
    empty = dict.fromkeys(("question", "expect", "cost"), "")
    return empty | {part: text[:1].upper() + text[1:] for part, text in texts.items()}


def _draw_figures(views: Sequence[RunView], folder: Path) -> list[dict[str, Any]]:
    """Each figure as a file of its own, with names, and once or twice for the page."""
    curves = [Curve(view.run_summary, view.number, view.colour) for view in views]
    drawings = []
    for panel in figure_specs.FIGURE_SPECS:
        alone = learning_curves.draw_figure(panel, curves, 760, 420, with_labels=True)
        small = learning_curves.draw_figure(panel, curves, *SMALL_SIZE_PX, with_labels=False)
        if alone is None or small is None:
            continue
        write_text(folder / f"{panel.name}.svg", alone)
        shown = {"small": small}
        if panel.name == FULL_WIDTH_FIGURE:
            shown["wide"] = (
                learning_curves.draw_figure(panel, curves, *WIDE_SIZE_PX, with_labels=True) or small
            )
        description = f"{panel.title}, over updates. {panel.caption}"
        pictures = {
            size: Markup(svg_embed.embed_svg(svg, f"{panel.name}-{size}", description))  # noqa: S704
            for size, svg in shown.items()
        }
        drawings.append({"panel": panel, "pictures": pictures})
    return drawings


def _page_content(views: Sequence[RunView]) -> dict[str, Any]:
    found = compare_runs([view.run_summary for view in views])
    of_run = {view.label: view for view in views}
    heard = [
        view
        for view in views
        if view.colour is not None and view.run_summary.hypotheses_for("test")
    ]
    best = of_run[found.best.run.label] if found.best else None
    return {
        "views": views,
        "of_run": of_run,
        "found": found,
        "best": best,
        "scale": _cer_axis_max(views),
        "states": _count_states(views),
        "samples": compare_utterances([view.run_summary for view in heard], found.best),
        "ended": [view for view in views if view.run_summary.state in {"failed", "stopped"}],
        "environment": _environment_facts([view.run_summary for view in views]),
        "swept": run_summary.swept_keys([view.run_summary.run for view in views]),
    }


def _arms_table(groups: Sequence[Arm]) -> pd.DataFrame:
    """One line per group of runs that differ in their seed only; an empty median is `never`."""
    return pd.DataFrame.from_records(
        [
            {
                "runs": group.name,
                "seeds": len(group.readings),
                "escaped": len(group.escapes),
                "escape_updates_median": group.median_escape_updates,
                "escape_updates_lowest": min(group.escapes, default=None),
                "escape_updates_highest": max(group.escapes, default=None),
                "test_cer_mean": group.mean_test_cer,
                "test_cer_deviation": group.standard_deviation,
                "test_cer_lowest": min(group.test_cers),
                "test_cer_highest": max(group.test_cers),
            }
            for group in groups
        ]
    )


def _write_refusals(refused: Sequence[CorpusRefusals], path: Path) -> None:
    rows = [{"corpus": one.corpus, **asdict(each)} for one in refused for each in one.refusals]
    if rows:
        table.write_csv(pd.DataFrame.from_records(rows), path)
    else:
        path.unlink(missing_ok=True)  # an earlier report's


def _cer_axis_max(views: Sequence[RunView]) -> float:
    """The CER at the right end of the intervals' axis; what says nothing at all falls off it."""
    highs = [view.summary_row["test_cer_high"] for view in views]
    known = [high for high in highs if not math.isnan(high)]
    return 1.08 * max([high for high in known if high < 0.9] or known or [1.0]) or 1.0


def _count_states(views: Sequence[RunView]) -> dict[str, int]:
    order = ("finished", "running", "stopped", "failed", "waiting", "missing")
    found = [view.run_summary.state for view in views]
    return {state: found.count(state) for state in order if state in found}


def _environment_facts(run_summaries: Sequence[RunSummary]) -> dict[str, list[str]]:
    """Each fact with its values, in order of appearance: one, where all runs agree."""
    facts: dict[str, dict[str, None]] = {}
    for one in run_summaries:
        for fact, value in one.environment.items():
            facts.setdefault(fact, {})[str(value)] = None
    return {fact: list(values) for fact, values in facts.items()}


def _default_commands(name: str) -> list[str]:
    return [f"make {verb} SWEEP=configs/sweeps/{name}.yaml" for verb in ("sweep", "report")]


def _render_page(context: Mapping[str, Any]) -> str:
    """Everything escaped; the only script that may run is the one whose digest the page names."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE_DIR),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for present in (
        *(
            formatting.format_percent,
            formatting.format_interval,
            formatting.format_points,
            formatting.format_probability,
        ),
        *(
            formatting.format_decimal,
            formatting.format_integer,
            formatting.format_duration,
            formatting.format_time,
        ),
    ):
        environment.filters[present.__name__] = present
    script = (TEMPLATE_DIR / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        **context,
        style=Markup((TEMPLATE_DIR / "page.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_digest=digest,
    )
