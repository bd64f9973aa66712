"""Effects section: effects of settings and escapes, as files of the report and for its page.

In:   a comparison, run summaries, the folder of the figures.
Out:  the frames of effects.csv, variance.csv, escape.csv; figures; what effects.html shows.
Not here: the arithmetic (results/effects/), the drawings (figures/sweep/).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from pipeline.files import write_text
from pipeline.results.comparison.arms import SweepComparison
from pipeline.results.effects.escape import Escapes, measure_escapes
from pipeline.results.effects.settings import SweepEffects, find_effects, level_text
from pipeline.results.effects.tables import effects_table, escape_table, variance_table
from pipeline.results.figures.svg_embed import embed_svg
from pipeline.results.figures.sweep.effects import describe_effects, draw_effects
from pipeline.results.figures.sweep.escape import describe_escapes, draw_escapes
from pipeline.results.figures.sweep.search import (
    describe_search,
    draw_parallel_coordinates,
    draw_rate_against_settings,
)
from pipeline.results.summary.run_summary import RunSummary

SIZE_PX = (760, 330)
FIGURE_NAMES = ("effects", "parallel", "settings", "escape")
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
        return found

    def draw(self, folder: Path) -> dict[str, Any]:
        """Write the figures into `folder`; return what the page shows."""
        for name in FIGURE_NAMES:  # an earlier report may have written more
            (folder / f"{name}.svg").unlink(missing_ok=True)
        shown = []
        for name, svg, description, caption in _draw(self.comparison, self.effects, self.escapes):
            write_text(folder / f"{name}.svg", svg)
            picture = Markup(embed_svg(svg, name, description))  # noqa: S704
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
    return EffectsSection(comparison, find_effects(comparison), measure_escapes(run_summaries))


def _draw(
    comparison: SweepComparison, effects: SweepEffects | None, escapes: Escapes | None
) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, SVG, description and caption of each figure."""
    if effects and (svg := draw_effects(effects, *SIZE_PX)):
        caption = (
            "Mean test CER at each value, the other settings in equal shares, with 95 % intervals "
            "over seeds and speakers. The interval of a difference is in the table: it is usually "
            "narrower, because all values are tested on the same utterances."
        )
        yield "effects", svg, describe_effects(effects), caption
    if effects and effects.is_search:
        arms, factors = comparison.arms, effects.factors
        description = describe_search(arms, factors)
        caption = "Each line is an arm. The quarter with the lowest test CER is coloured."
        svg = draw_parallel_coordinates(arms, factors, *SIZE_PX)
        yield "parallel", svg, f"Parallel coordinates. {description}", caption
        caption = "Each point is an arm: its test CER against one setting."
        svg = draw_rate_against_settings(arms, factors, *SIZE_PX)
        yield "settings", svg, f"Test CER against each setting. {description}", caption
    if escapes and any(arm.escaped for arm in escapes.arms):
        caption = (
            "Kaplan-Meier estimate: the share of each arm's runs that has not escaped yet. A run "
            "that never escaped counts until its last evaluation, where the line has a tick."
        )
        yield "escape", draw_escapes(escapes, *SIZE_PX), describe_escapes(escapes), caption
