"""The report of a sweep: results.csv, summary.csv, arms.csv, figures and one self-contained page.

In:   the runs of a sweep, in any state; its question; the refused utterances of its corpora.
Out:  a folder; the path of the page, the answer in sentences, the comparison of the runs.
Not here: the look of the page (page/), the words of the answer (comparison/answer.py).
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.features.rejected import CorpusRefusals
from pipeline.files import write_text
from pipeline.results.comparison import answer
from pipeline.results.comparison.arms import (
    SweepComparison,
    compare_runs,
)
from pipeline.results.comparison.other_sweeps import read_seed_spread
from pipeline.results.errors.section import ErrorSection, analyse_errors
from pipeline.results.figures.figure_specs import FIGURE_SPECS, FigureSpec
from pipeline.results.figures.learning_curves import Curve, choose_curves, draw_figure
from pipeline.results.figures.posteriors import describe_output, draw_output
from pipeline.results.figures.svg_embed import embed_svg
from pipeline.results.page.arm_lines import (
    ArmLine,
    axis_end,
    forest_lines,
    list_arm_lines,
    setting_columns,
)
from pipeline.results.page.effects_section import measure_effects
from pipeline.results.page.page_data import page_data
from pipeline.results.page.render import render_page
from pipeline.results.page.views import RunView, count_states, list_views, parse_header
from pipeline.results.summary import provenance, run_summary
from pipeline.results.summary.formatting import format_decimal, format_percent
from pipeline.results.summary.run_summary import RunSummary, SweepRun
from pipeline.results.summary.scoring_notes import has_words, scoring_notes
from pipeline.results.tables.export import Excel
from pipeline.results.tables.write import Origin, write_tables
from pipeline.runs import plateau

FILE_SIZE_PX, SMALL_SIZE_PX = (900, 400), (480, 330)
FULL_WIDTH_FIGURE = "loss"  # the figure that is as wide as the page


@dataclass(frozen=True)
class Formats:
    """The files of a report that are written on request."""

    excel: Excel | None = None  # the CSV files are for Excel
    images: bool = False  # each figure also as PNG and PDF, which takes seconds

    def copies(self, figure: Path) -> Path | None:
        """Return where a figure is copied to; the copies of an earlier report are removed."""
        for suffix in ("png", "pdf"):
            figure.with_name(f"{figure.name}.{suffix}").unlink(missing_ok=True)
        return figure if self.images else None


DEFAULT_FORMATS = Formats()


@dataclass(frozen=True)
class WrittenReport:
    page: Path
    asked: tuple[str, ...]  # the question and what was expected, as the page shows them
    answer: tuple[str, ...]  # as the page shows it
    comparison: SweepComparison
    summary: tuple[dict[str, Any], ...]  # the lines of summary.csv
    warnings: tuple[str, ...]  # about test data, code and processors, as the page shows them


def write_report_folder(
    name: str,
    question: str,
    runs: Sequence[SweepRun],
    folder: Path,
    *,
    remedies: Mapping[str, str],
    commands: Sequence[str],
    refused: Sequence[CorpusRefusals],
    formats: Formats = DEFAULT_FORMATS,
    now: float | None = None,
) -> WrittenReport:
    """Write the report of `runs` as they are at `now` (seconds since 1970) into `folder`.

    `remedies` maps a cause of failure to what a person can do; `commands` reproduce the sweep;
    `formats`: of the CSV files and the figures.
    """
    now = time.time() if now is None else now
    run_summaries = [run_summary.read_run(run, now) for run in runs]
    comparison = compare_runs(run_summaries)
    errors = analyse_errors(comparison)
    effects = measure_effects(comparison, run_summaries)
    more = {**(errors.tables if errors else {}), **effects.tables}
    origin = Origin(name, commands, refused, more, formats.excel)
    summary = write_tables(folder, run_summaries, comparison, origin)
    sentences = _answer(comparison, run_summaries, folder, commands)
    views = list_views(run_summaries, summary)
    header = parse_header(question)
    lines = list_arm_lines(views, comparison)
    context = {
        "name": name,
        "header": header,
        "answer": sentences,
        "generated": now,
        "figures": _draw_figures(lines, folder / "figures", formats),
        "errors": errors,
        "pictures": _draw_outputs(errors, folder / "figures", formats),
        "commands": commands,
        "remedies": remedies,
        "refused": refused,
        "plateau": plateau,
        "effects": effects.draw(folder / "figures"),
        **_page_context(views, lines, comparison),
    }
    page = folder / "report.html"
    write_text(page, render_page(context))
    rows = tuple(dict(view.summary_row) for view in views)
    apart = (errors.apart_sentence,) if errors and errors.apart else ()
    warnings = (*context["provenance_notes"], *apart)
    return WrittenReport(page, _asked(header), tuple(sentences), comparison, rows, warnings)


def _asked(header: Mapping[str, str]) -> tuple[str, ...]:
    names = {"question": "Question", "expect": "Expected"}
    return tuple(f"{name}: {header[key]}" for key, name in names.items() if header[key])


def _answer(
    comparison: SweepComparison,
    run_summaries: Sequence[RunSummary],
    folder: Path,
    commands: Sequence[str],
) -> list[str]:
    """Return the answer and the next step; other sweeps tell how far seeds move the CER."""
    corpora = {run.corpus for run in run_summaries if run.corpus}
    spread = read_seed_spread(folder.parent, folder.name, corpora)
    command = next(iter(commands), "make sweep")
    return [*answer.sentences(comparison, command, spread), *answer.next_step(comparison)]


def _draw_figures(lines: Sequence[ArmLine], folder: Path, formats: Formats) -> list[dict[str, Any]]:
    """Write each figure as a file, and return it in one or two sizes for the page."""
    curves = choose_curves(
        [
            Curve(
                [view.run_summary for view in line.views],
                line.name if len(line.views) > 1 else line.views[0].label,
                line.number,
                line.palette_index,
            )
            for line in lines
        ]
    )
    figures = []
    specs: Sequence[FigureSpec] = FIGURE_SPECS
    if not has_words([view.run_summary for line in lines for view in line.views]):
        specs = tuple(spec for spec in FIGURE_SPECS if spec.name != "wer")
    for spec in specs:
        whole = draw_figure(
            spec, curves, *FILE_SIZE_PX, with_labels=True, copies=formats.copies(folder / spec.name)
        )
        if whole is None:
            continue
        write_text(folder / f"{spec.name}.svg", whole)
        small = draw_figure(spec, curves, *SMALL_SIZE_PX, with_labels=False)
        sizes = (
            {"small": small, "wide": whole} if spec.name == FULL_WIDTH_FIGURE else {"small": small}
        )
        description = f"{spec.title}, over updates. {spec.caption}{_describe_ends(spec, curves)}"
        pictures = {
            size: Markup(embed_svg(svg or "", f"{spec.name}-{size}", description))  # noqa: S704
            for size, svg in sizes.items()
        }
        figures.append({"spec": spec, "pictures": pictures})
    return figures


def _describe_ends(spec: FigureSpec, curves: Sequence[Curve]) -> str:
    """Return the last value of each coloured line, for readers who do not see the figure."""
    ends = []
    for curve in curves:
        x, y = curve.points(spec, "dev")
        if curve.palette_index is not None and y and math.isfinite(y[-1]):
            value = format_percent(y[-1]) if spec.percent else format_decimal(y[-1])
            ends.append(f"{curve.label} {value} after {x[-1]} updates")
    return f" Last values on dev: {'; '.join(ends)}." if ends else ""


def _page_context(
    views: Sequence[RunView], lines: Sequence[ArmLine], comparison: SweepComparison
) -> dict[str, Any]:
    """Return what the sections of the page show: a line per template of page/."""
    view_of = {view.label: view for view in views}
    runs = [view.run_summary for view in views]
    best = comparison.best
    return {
        "views": views,
        "view_of": view_of,
        "comparison": comparison,
        "scoring_notes": scoring_notes(runs),
        "has_words": has_words(runs),
        "best": view_of[best.run.label] if best else None,
        "lines": lines,
        "setting_keys": setting_columns(lines),
        "axis_end": axis_end(lines),
        "forest": forest_lines(lines),
        "data": page_data(lines),
        "states": count_states(views),
        "ended": [
            view
            for view in views
            if view.run_summary.state in {"failed", "stopped", "stopped early"}
        ],
        "environment": provenance.environment_facts(runs),
        "code_versions": provenance.code_versions(runs),
        "provenance_notes": provenance.difference_notes(
            [run for arm in comparison.arms for run in arm.runs]
        ),
    }


def _draw_outputs(
    errors: ErrorSection | None, folder: Path, formats: Formats
) -> list[dict[str, Any]]:
    """Write the picture of each chosen utterance as a file, and return it for the page."""
    for old in folder.glob("utterance-*.*"):
        old.unlink()  # an earlier report may have drawn more of them
    pictures = []
    for number, output in enumerate(errors.outputs if errors else (), start=1):
        svg = draw_output(output, formats.copies(folder / f"utterance-{number}"))
        write_text(folder / f"utterance-{number}.svg", svg)
        element = embed_svg(svg, f"utterance-{number}", describe_output(output))
        pictures.append({"output": output, "svg": Markup(element)})  # noqa: S704
    return pictures
