"""Effects section: effects of settings and escapes, as files of the report and for its page.

In:   a comparison, run summaries, the files of the figures.
Out:  the frames of effects.csv, variance.csv, escape.csv and phases.csv; figures; what
      effects.html shows.
Not here: the arithmetic (results/effects/), the drawings (figures/sweep/).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pandas as pd
from markupsafe import Markup

from pipeline.results.comparison.arms import Arm, SweepComparison
from pipeline.results.effects.escape import Escapes, measure_escapes
from pipeline.results.effects.phases import phases_table
from pipeline.results.effects.settings import Factor, SweepEffects, find_effects, level_text
from pipeline.results.effects.tables import effects_table, escape_table, variance_table
from pipeline.results.figures.sweep.effects import describe_effects, draw_effects
from pipeline.results.figures.sweep.escape import describe_escapes, draw_escapes
from pipeline.results.figures.sweep.panels import ArmMarks
from pipeline.results.figures.sweep.search import (
    count_best,
    describe_search,
    draw_parallel_coordinates,
    draw_rate_against_settings,
)
from pipeline.results.page.arm_lines import ArmLine
from pipeline.results.page.figure_files import Drawing, FigureFiles
from pipeline.results.summary.run_summary import RunSummary

SIZE_PX = (760, 330)
MIN_PARALLEL_ARMS = 6
MAX_INTERACTIONS = 12  # on the page, the surest first; effects.csv has all


@dataclass(frozen=True)
class SectionFigure:
    name: str  # of its file
    picture: Markup
    caption: str


@dataclass(frozen=True)
class EffectsSection:
    comparison: SweepComparison
    effects: SweepEffects | None
    escapes: Escapes | None
    phases: pd.DataFrame

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables that the sweep's shape supports, by file name."""
        found: dict[str, pd.DataFrame] = {}
        if self.effects and self.effects.levels:
            found["effects.csv"] = effects_table(self.effects)
        if self.effects and self.effects.parts:
            found["variance.csv"] = variance_table(self.effects)
        if self.escapes:
            found["escape.csv"] = escape_table(self.escapes)
        if len(self.phases):
            found["phases.csv"] = self.phases
        return found

    def draw(self, files: FigureFiles, lines: Sequence[ArmLine]) -> dict[str, Any]:
        """Write the figures; return what the page shows. `lines`: colours and numbers of arms."""
        shown = []
        named = Counter(line.name for line in lines)
        marks = {
            line.name: (line.number, line.palette_index) for line in lines if named[line.name] == 1
        }
        for figure in _figures(self.comparison, self.effects, self.escapes, marks):
            name, _, _, caption, _ = figure
            if picture := files.draw(*figure):
                shown.append(SectionFigure(name, picture, caption))
        interactions = self.effects.interactions if self.effects else ()
        surest = sorted(interactions, key=lambda each: each.estimate.p)
        return {
            "settings": self.effects,
            "escapes": self.escapes,
            "figures": shown,
            "interactions": surest[:MAX_INTERACTIONS],
            "tables": list(self.tables),
            "level_text": level_text,
        }


def measure_effects(
    comparison: SweepComparison, run_summaries: Sequence[RunSummary]
) -> EffectsSection:
    """Return the effects of the settings and the escapes of all runs."""
    return EffectsSection(
        comparison,
        find_effects(comparison),
        measure_escapes(run_summaries),
        phases_table(run_summaries),
    )


def _figures(
    comparison: SweepComparison,
    effects: SweepEffects | None,
    escapes: Escapes | None,
    marks: ArmMarks,
) -> Iterator[tuple[str, Drawing, str, str, str]]:
    """Yield name, drawing, description, caption and split of each figure."""
    rate = comparison.rate_name
    if effects and effects.levels:
        caption = (
            f"Mean test {rate} at each value, the other settings in equal shares, with 95 % "
            f"intervals over {comparison.chance}. The interval of a difference is in the table: it "
            "is usually narrower, because all values are tested on the same utterances."
        )
        drawing: Drawing = partial(draw_effects, effects, *SIZE_PX)
        yield "effects", drawing, describe_effects(effects, rate), caption, "test"
    if effects and _have_all(comparison.arms, effects.factors):
        yield from _search_figures(effects, comparison.arms, marks, rate)
    if escapes and any(arm.escaped for arm in escapes.arms):
        caption = (
            "Kaplan-Meier estimate: the share of each arm's runs that has not escaped yet. A run "
            "that never escaped counts until its last evaluation, where the line has a tick."
        )
        drawing = partial(draw_escapes, escapes, marks, *SIZE_PX)
        yield "escape", drawing, describe_escapes(escapes), caption, "dev"


def _have_all(arms: Sequence[Arm], factors: Sequence[Factor]) -> bool:
    return all(factor.key in arm.settings for arm in arms for factor in factors)


def _search_figures(
    effects: SweepEffects, arms: Sequence[Arm], marks: ArmMarks, rate: str
) -> Iterator[tuple[str, Drawing, str, str, str]]:
    is_search, factors = effects.is_search, effects.factors
    description = describe_search(arms, factors, rate)
    if is_search or (len(arms) >= MIN_PARALLEL_ARMS and len(factors) > 1):
        best = count_best(arms)
        who = f"The {best} with the lowest test {rate} are" if best > 1 else "The best one is"
        caption = f"Each line is an arm. {who} coloured."
        drawing = partial(draw_parallel_coordinates, arms, factors, marks, *SIZE_PX, rate=rate)
        yield "parallel", drawing, f"Parallel coordinates. {description}", caption, "test"
    if is_search:
        caption = f"Each point is an arm: its test {rate} against one setting."
        drawing = partial(draw_rate_against_settings, arms, factors, *SIZE_PX)
        yield (
            "settings",
            drawing,
            f"Test {rate} against each setting. {description}",
            caption,
            "test",
        )
