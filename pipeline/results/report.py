"""The report of a sweep: results.csv, summary.csv, arms.csv, figures and one self-contained page.

In:   the runs of a sweep, in any state; its question; the refused utterances of its corpora.
Out:  a folder; the path of the page, the answer in sentences, the comparison of the runs.
Not here: the look of the page (page/), the words of the answer (comparison/answer.py).
"""

import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config.sweep_sections.expectation import Expectation
from pipeline.corpus.manifest import Refusal
from pipeline.features.rejected import CorpusRefusals
from pipeline.files import write_text
from pipeline.results.comparison import answer
from pipeline.results.comparison.arms import (
    SweepComparison,
    compare_runs,
)
from pipeline.results.comparison.other_sweeps import read_seed_spread
from pipeline.results.comparison.progress import (
    describe_progress,
    find_place,
    find_remedy,
    next_step,
)
from pipeline.results.errors.section import ErrorSection, analyse_errors
from pipeline.results.page.arm_lines import (
    MAX_DRAWN_LINES,
    ArmLine,
    axis_end,
    forest_lines,
    list_arm_lines,
    setting_columns,
)
from pipeline.results.page.effects_section import EffectsSection, measure_effects
from pipeline.results.page.figure_files import DEFAULT_FORMATS, FigureFiles, Formats
from pipeline.results.page.page_data import page_data
from pipeline.results.page.render import render_page
from pipeline.results.page.trained_section import TrainedSection, analyse_trained
from pipeline.results.page.views import RunView, count_states, list_views, parse_header
from pipeline.results.summary import provenance, run_summary
from pipeline.results.summary.machine_paths import hide_folders
from pipeline.results.summary.provenance import CodeVersion
from pipeline.results.summary.run_summary import (
    RunSummary,
    SweepRun,
    join_rate_names,
    join_units,
)
from pipeline.results.summary.scoring_notes import has_words, scoring_notes
from pipeline.results.summary.table import summary_table
from pipeline.results.tables.answer_text import answer_markdown
from pipeline.results.tables.export import Excel
from pipeline.results.tables.write import Origin, write_results, write_tables
from pipeline.runs import plateau


@dataclass(frozen=True)
class WrittenReport:
    page: Path
    asked: tuple[str, ...]  # the question and what was expected, as the page shows them
    answer: tuple[str, ...]  # as the page shows it
    comparison: SweepComparison
    summary: tuple[dict[str, Any], ...]  # the lines of summary.csv
    notes: tuple[str, ...]  # about decodings, test data, code and processors, as on the page


def write_report_folder(
    name: str,
    question: str,
    runs: Sequence[SweepRun],
    folder: Path,
    *,
    remedies: Mapping[str, str],
    commands: Sequence[str],
    refused: Sequence[CorpusRefusals],
    expect: Sequence[Expectation] = (),
    formats: Formats = DEFAULT_FORMATS,
    now: float | None = None,
) -> WrittenReport:
    """Write the report of `runs` as they are at `now` (seconds since 1970) into `folder`.

    `remedies` maps a cause of failure to what a person can do; `commands` reproduce the sweep.
    """
    now = time.time() if now is None else now
    refused = [_without_folders(one) for one in refused]
    with ThreadPoolExecutor(1) as pool:  # Arrow and NumPy work while Python compares the runs
        run_summaries, columns, summary = _begin_tables(pool, folder, runs, now, formats.excel)
        comparison, errors, trained, effects = _analyse(run_summaries)
    more = {**(errors.tables if errors else {}), **effects.tables, **trained.tables}
    origin = Origin(name, commands, refused, columns.result(), more, formats.excel)
    write_tables(folder, run_summaries, summary.result(), comparison, origin)
    sentences = _answer(comparison, run_summaries, folder, commands, remedies, expect=expect)
    views, header = list_views(run_summaries, summary.result()), parse_header(question)
    lines, figures = list_arm_lines(views, comparison), FigureFiles(folder / "figures", formats)
    context = {
        "name": name,
        "header": header,
        "answer": sentences,
        "generated": now,
        "errors": errors,
        **_draw_figures(figures, lines, errors),
        "remedy_of": partial(find_remedy, remedies=remedies, place=_find_place(commands)),
        "refused": refused,
        "effects": effects.draw(figures, lines),
        "trained": trained.draw(figures),
        **_page_context(views, lines, comparison, commands),
    }
    figures.write_captions(comparison, name, commands)
    write_text(page := folder / "report.html", render_page(context))
    rows = tuple(dict(view.summary_row) for view in views)
    notes = _notes(trained, context["provenance_notes"], errors)
    report = WrittenReport(page, _asked(header), tuple(sentences), comparison, rows, notes)
    _write_answer(report, commands, context["code_versions"], now)
    return report


def _begin_tables(
    pool: ThreadPoolExecutor,
    folder: Path,
    runs: Sequence[SweepRun],
    now: float,
    excel: Excel | None,
) -> tuple[list[RunSummary], "Future[list[str]]", "Future[pd.DataFrame]"]:
    """Read the runs; begin results.csv and the lines of summary.csv.

    Return the runs, the columns of results.csv, the lines of summary.csv. results.csv needs no
    hypotheses and no comparison: it is begun before they are read, and written also if the
    comparison fails.
    """
    read = run_summary.read_runs(runs, now, defer_hypotheses=True)
    columns = pool.submit(write_results, folder, read, excel)
    run_summaries = run_summary.read_deferred_hypotheses(read)
    return run_summaries, columns, pool.submit(summary_table, run_summaries)


def _analyse(
    run_summaries: Sequence[RunSummary],
) -> tuple[SweepComparison, ErrorSection | None, TrainedSection, EffectsSection]:
    """Compare the arms; analyse their errors, their trained networks and the settings."""
    comparison = compare_runs(run_summaries)
    return (
        comparison,
        analyse_errors(comparison),
        analyse_trained(comparison),
        measure_effects(comparison, run_summaries),
    )


def _notes(
    trained: TrainedSection, provenance_notes: Sequence[str], errors: ErrorSection | None
) -> tuple[str, ...]:
    apart = errors.apart_sentences if errors else ()
    return (*trained.sentences, *provenance_notes, *apart)


def _write_answer(
    report: WrittenReport, commands: Sequence[str], versions: Sequence[CodeVersion], now: float
) -> None:
    text = answer_markdown(
        report.asked, report.answer, report.notes, commands=commands, versions=versions, now=now
    )
    write_text(report.page.with_name("answer.md"), text)


def _draw_figures(
    figures: FigureFiles, lines: Sequence[ArmLine], errors: ErrorSection | None
) -> dict[str, Any]:
    """Write the figures of arms and utterances; return those of the page."""
    figures.draw_forest(forest_lines(lines, MAX_DRAWN_LINES), axis_end(lines))
    return {
        "figures": figures.draw_curves(lines),
        "pictures": figures.draw_outputs(errors.outputs if errors else ()),
    }


def _without_folders(refused: CorpusRefusals) -> CorpusRefusals:
    """Return the refusals without the folders of this machine."""
    hidden = [Refusal(*map(hide_folders, astuple(one))) for one in refused.refusals]
    return replace(refused, refusals=tuple(hidden))


def _find_place(commands: Sequence[str]) -> str:
    return find_place(next(iter(commands), ""))


def _work_folder(commands: Sequence[str]) -> str:
    named = re.search(r" WORK=('[^']*'|\S+)", " ".join(commands))
    return named[1] if named else "work"


def _asked(header: Mapping[str, str]) -> tuple[str, ...]:
    names = {"question": "Question", "expect": "Expected"}
    return tuple(f"{name}: {header[key]}" for key, name in names.items() if header[key])


def _answer(
    comparison: SweepComparison,
    run_summaries: Sequence[RunSummary],
    folder: Path,
    commands: Sequence[str],
    remedies: Mapping[str, str],
    *,
    expect: Sequence[Expectation],
) -> list[str]:
    """Return the answer and the next step; other sweeps say how far seeds move the CER.

    `commands`: that of each sweep, then that of the report.
    """
    corpora = {run.corpus for run in run_summaries if run.corpus}
    spread = read_seed_spread(folder.parent, folder.name, corpora)
    command = next(iter(commands), "make sweep")
    found = answer.sentences(comparison, command, spread, expect)
    place = 2 if comparison.is_provisional else len(found)  # of the progress
    progress = describe_progress(run_summaries, command, remedies, commands[1:-1])
    return [*found[:place], *progress, *found[place:], *next_step(comparison, command)]


def _page_context(
    views: Sequence[RunView],
    lines: Sequence[ArmLine],
    comparison: SweepComparison,
    commands: Sequence[str],
) -> dict[str, Any]:
    """Return what the sections of the page show: a line per template of page/."""
    view_of = {view.label: view for view in views}
    runs = [view.run_summary for view in views]
    best = comparison.best
    return {
        "plateau": plateau,
        "views": views,
        "view_of": view_of,
        "comparison": comparison,
        "commands": commands,
        "work": _work_folder(commands),
        "scoring_notes": scoring_notes(runs),
        "has_words": has_words(runs),
        "rate": join_rate_names(runs),
        "unit": join_units(runs),
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
