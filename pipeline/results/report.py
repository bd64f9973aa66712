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
from pipeline.results.comparison import SeedGroup, dev_rank, findings, health
from pipeline.results.figures import figure_specs, learning_curves, svg_embed
from pipeline.results.figures.learning_curves import Curve
from pipeline.results.rejected import Refused
from pipeline.results.run_summary import Reading, SweepRun
from pipeline.results.transcripts import samples
from pipeline.runs import plateau

HERE = Path(__file__).parent

WIDE, SMALL = (1000, 400), (480, 330)  # pixels
LEADING = "loss"  # the figure that gets the width of the page

OPENING = re.compile(r"^(Question|Cost|Expect)(?:ed|ation)?:\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Written:
    page: Path
    best: Reading | None  # by dev; None before a run has finished


@dataclass(frozen=True)
class RunView:
    """A run as the page shows it."""

    number: int  # in the sweep, from 1
    colour: int | None  # place in the palette; None: in the background
    reading: Reading
    summary: Mapping[str, Any]  # its line of summary.csv
    health: str

    @property
    def label(self) -> str:
        return self.reading.run.label


def write(
    name: str,
    question: str,
    runs: Sequence[SweepRun],
    folder: Path,
    expected: str | None = None,
    *,
    now: float | None = None,
    remedies: Mapping[str, str] | None = None,
    commands: Sequence[str] = (),
    refused: Sequence[Refused] = (),
) -> Written:
    """Write the report of `runs` as they are at `now` (seconds since 1970).

    `remedies` maps a cause of failure to what a person can do; `commands` repeat the sweep.
    """
    now = time.time() if now is None else now
    readings = [run_summary.read(run, now) for run in runs]
    summary = table.summary_table(readings)
    table.write(table.rows_table(readings), folder / "results.csv")
    table.write(summary, folder / "summary.csv")
    views = _views(readings, summary)
    content = _content(views)
    if content["found"].seeds:
        table.write(_seeds(content["found"].seeds), folder / "seeds.csv")
    _list_refused(refused, folder / "refused.csv")
    context = {
        "name": name,
        "opening": _opening(question, expected),
        "generated": now,
        "drawings": _draw(views, folder / "figures"),
        "commands": commands or _commands(name),
        "remedies": remedies or {},
        "refused": refused,
        "escape": plateau,
        **content,
    }
    page = folder / "report.html"
    write_text(page, _page(context))
    return Written(page, content["found"].best)


def _views(readings: Sequence[Reading], summary: pd.DataFrame) -> list[RunView]:
    colours = _colours(readings)
    lines = [
        {str(key): math.nan if value is None or value is pd.NA else value for key, value in pairs}
        for pairs in (line.items() for line in summary.to_dict("records"))
    ]
    return [
        RunView(place + 1, colours.get(place), one, line, health(one))
        for place, (one, line) in enumerate(zip(readings, lines, strict=True))
    ]


def _colours(readings: Sequence[Reading]) -> dict[int, int]:
    """All runs where the palette reaches; else the best by dev CER, and one that stays blank."""
    places = list(range(len(readings)))
    most = len(learning_curves.PALETTE)
    if len(places) > most:
        begun = [place for place in places if readings[place].chosen]
        begun.sort(key=lambda place: dev_rank(readings[place]))
        blank = [place for place in begun[most - 1 :] if not readings[place].escape_updates]
        places = sorted([*begun[: most - 1], *(blank[:1] or begun[most - 1 : most])])
    return {place: colour for colour, place in enumerate(places)}


def _opening(question: str, expected: str | None) -> dict[str, str]:
    """The parts of a sweep file's opening comment: question, cost, expect."""
    parts: dict[str, list[str]] = {}
    part = "question"
    for line in question.splitlines():
        start = OPENING.match(line)
        part = start[1].lower() if start else part
        parts.setdefault(part, []).append(line[start.end() if start else 0 :].strip())
    parts |= {"expect": [expected]} if expected else {}
    texts = {part: " ".join(lines).strip() for part, lines in parts.items()}
    empty = dict.fromkeys(("question", "expect", "cost"), "")
    return empty | {part: text[:1].upper() + text[1:] for part, text in texts.items()}


def _draw(views: Sequence[RunView], folder: Path) -> list[dict[str, Any]]:
    """Each figure as a file of its own, with names, and once or twice for the page."""
    curves = [Curve(view.reading, view.number, view.colour) for view in views]
    drawings = []
    for panel in figure_specs.PANELS:
        alone = learning_curves.draw(panel, curves, 760, 420, named=True)
        small = learning_curves.draw(panel, curves, *SMALL, named=False)
        if alone is None or small is None:
            continue
        write_text(folder / f"{panel.name}.svg", alone)
        shown = {"small": small}
        if panel.name == LEADING:
            shown["wide"] = learning_curves.draw(panel, curves, *WIDE, named=True) or small
        description = f"{panel.title}, over updates. {panel.caption}"
        pictures = {
            size: Markup(svg_embed.for_page(svg, f"{panel.name}-{size}", description))  # noqa: S704
            for size, svg in shown.items()
        }
        drawings.append({"panel": panel, "pictures": pictures})
    return drawings


def _content(views: Sequence[RunView]) -> dict[str, Any]:
    found = findings([view.reading for view in views])
    of_run = {view.label: view for view in views}
    heard = [view for view in views if view.colour is not None and view.reading.heard("test")]
    best = of_run[found.best.run.label] if found.best else None
    return {
        "views": views,
        "of_run": of_run,
        "found": found,
        "best": best,
        "scale": _scale(views),
        "states": _states(views),
        "samples": samples([view.reading for view in heard], found.best),
        "ended": [view for view in views if view.reading.state in {"failed", "stopped"}],
        "environment": _environment([view.reading for view in views]),
        "swept": run_summary.swept_keys([view.reading.run for view in views]),
    }


def _seeds(groups: Sequence[SeedGroup]) -> pd.DataFrame:
    """One line per group of runs that differ in their seed only; an empty median is `never`."""
    return pd.DataFrame.from_records(
        [
            {
                "runs": group.name,
                "seeds": len(group.readings),
                "escaped": len(group.escapes),
                "escape_updates_median": group.median_escape,
                "escape_updates_lowest": min(group.escapes, default=None),
                "escape_updates_highest": max(group.escapes, default=None),
                "test_cer_mean": group.mean,
                "test_cer_deviation": group.deviation,
                "test_cer_lowest": min(group.rates),
                "test_cer_highest": max(group.rates),
            }
            for group in groups
        ]
    )


def _list_refused(refused: Sequence[Refused], path: Path) -> None:
    rows = [{"corpus": one.corpus, **asdict(each)} for one in refused for each in one.refusals]
    if rows:
        table.write(pd.DataFrame.from_records(rows), path)
    else:
        path.unlink(missing_ok=True)  # an earlier report's


def _scale(views: Sequence[RunView]) -> float:
    """The CER at the right end of the intervals' axis; what says nothing at all falls off it."""
    highs = [view.summary["test_cer_high"] for view in views]
    known = [high for high in highs if not math.isnan(high)]
    return 1.08 * max([high for high in known if high < 0.9] or known or [1.0]) or 1.0


def _states(views: Sequence[RunView]) -> dict[str, int]:
    order = ("finished", "running", "stopped", "failed", "waiting", "missing")
    found = [view.reading.state for view in views]
    return {state: found.count(state) for state in order if state in found}


def _environment(readings: Sequence[Reading]) -> dict[str, list[str]]:
    """Each fact with its values, in order of appearance: one, where all runs agree."""
    facts: dict[str, dict[str, None]] = {}
    for one in readings:
        for fact, value in one.environment.items():
            facts.setdefault(fact, {})[str(value)] = None
    return {fact: list(values) for fact, values in facts.items()}


def _commands(name: str) -> list[str]:
    return [f"make {verb} SWEEP=configs/sweeps/{name}.yaml" for verb in ("sweep", "report")]


def _page(context: Mapping[str, Any]) -> str:
    """Everything escaped; the only script that may run is the one whose digest the page names."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for present in (
        *(formatting.percent, formatting.interval, formatting.points, formatting.probability),
        *(formatting.decimal, formatting.whole, formatting.duration, formatting.moment),
    ):
        environment.filters[present.__name__] = present
    script = (HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        **context,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_digest=digest,
    )
