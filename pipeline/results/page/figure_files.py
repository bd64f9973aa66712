"""Figure files: each figure of a report as SVG, on request as PNG and PDF, with its caption.

In:   the lines of the arms, chosen utterances, a folder.
Out:  the files of figures/, with captions.md and captions.tex; figures for the page.
Not here: the drawings (results/figures/), effects and escapes (effects_section.py).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.files import write_text
from pipeline.results.comparison.arms import SweepComparison
from pipeline.results.errors.posteriors import UtteranceOutput
from pipeline.results.figures.figure_specs import FigureSpec, specs_of_units
from pipeline.results.figures.learning_curves import Curve, choose_curves, draw_figure
from pipeline.results.figures.posteriors import describe_output, draw_output
from pipeline.results.figures.svg_embed import embed_svg
from pipeline.results.figures.sweep.forest import describe_forest, draw_forest
from pipeline.results.page.arm_lines import ArmLine
from pipeline.results.summary.formatting import format_decimal, format_percent
from pipeline.results.summary.run_summary import RunSummary, join_rate_names, join_units
from pipeline.results.summary.scoring_notes import has_words
from pipeline.results.tables.captions import captions_latex, captions_markdown, describe_origin
from pipeline.results.tables.export import Excel

FILE_SIZE_PX, SMALL_SIZE_PX = (900, 400), (480, 330)
FULL_WIDTH_FIGURE = "loss"  # the figure that is as wide as the page
FOREST_CAPTION = "Test {rate} of each arm with its 95 % interval, the best arm on dev first."
SUFFIXES = (".svg", ".png", ".pdf")

Drawing = Callable[..., str | None]  # copies: where to copy it as PNG and PDF -> SVG


@dataclass(frozen=True)
class Formats:
    """The files of a report that are written on request."""

    excel: Excel | None = None  # the CSV files are for Excel
    images: bool = False  # each figure also as PNG and PDF, which takes seconds


DEFAULT_FORMATS = Formats()


@dataclass(frozen=True)
class FigureFiles:
    folder: Path
    formats: Formats
    # Of the figures written so far: name -> caption, and the split that it rests on.
    captions: dict[str, tuple[str, str]] = field(default_factory=dict)

    def write(self, name: str, drawing: Drawing, caption: str, split: str = "test") -> str | None:
        """Write a figure; return its SVG, None where there is nothing to draw.

        `split`: which the figure rests on.
        """
        path = self.folder / name
        svg = drawing(copies=path if self.formats.images else None)
        if svg is not None:
            write_text(self.folder / f"{name}.svg", svg)
            self.captions[name] = caption, split
        return svg

    def draw(
        self, name: str, drawing: Drawing, description: str, caption: str, split: str = "test"
    ) -> Markup | None:
        """Write a figure as `write` does; return it for the page."""
        svg = self.write(name, drawing, caption, split)
        return Markup(embed_svg(svg, name, description)) if svg else None  # noqa: S704

    def write_captions(
        self, comparison: SweepComparison, name: str, commands: Sequence[str]
    ) -> None:
        """Write the captions of all figures, and remove the figures of an earlier report."""
        origins = {
            split: describe_origin(comparison, name, commands, split) for split in ("dev", "test")
        }
        texts = {
            figure: f"{text} {origins[split]}" for figure, (text, split) in self.captions.items()
        }
        write_text(self.folder / "captions.md", captions_markdown(texts))
        write_text(self.folder / "captions.tex", captions_latex(texts, name))
        for file in self.folder.iterdir():
            is_copy = file.suffix != ".svg"
            current = file.stem in texts and (self.formats.images or not is_copy)
            if file.suffix in SUFFIXES and not current:
                file.unlink()

    def draw_forest(self, lines: Sequence[ArmLine], end: float) -> None:
        """Write the picture of the arms' intervals; the page has it as a table."""
        rows = [(line.name, line.test_cer, line.low, line.high, line.is_best) for line in lines]
        rate = join_rate_names([view.run_summary for line in lines for view in line.views])
        caption = f"{FOREST_CAPTION.format(rate=rate)} {describe_forest(rows, rate)}"
        if rows:
            self.write("forest", partial(draw_forest, rows, end, rate=rate), caption)

    def draw_curves(self, lines: Sequence[ArmLine]) -> list[dict[str, Any]]:
        """Write the learning curves, and return them in one or two sizes for the page."""
        curves = choose_curves(
            [
                Curve(
                    _drawn_runs(line),
                    line.name if len(line.views) > 1 else line.views[0].label,
                    line.number,
                    line.palette_index,
                )
                for line in lines
            ]
        )
        figures = []
        runs = [view.run_summary for line in lines for view in line.views]
        words, specs = has_words(runs), specs_of_units(join_units(runs), join_rate_names(runs))
        for spec in (spec for spec in specs if words or spec.name != "wer"):
            draw = partial(draw_figure, spec, curves, *FILE_SIZE_PX, with_labels=True)
            whole = self.write(spec.name, draw, f"{spec.title}. {spec.caption}", "dev")
            if whole is None:
                continue
            small = draw_figure(spec, curves, *SMALL_SIZE_PX, with_labels=False)
            sizes = (
                {"small": small, "wide": whole}
                if spec.name == FULL_WIDTH_FIGURE
                else {"small": small}
            )
            description = (
                f"{spec.title}, over updates. {spec.caption}{_describe_ends(spec, curves)}"
            )
            pictures = {
                size: Markup(embed_svg(svg or "", f"{spec.name}-{size}", description))  # noqa: S704
                for size, svg in sizes.items()
            }
            figures.append({"spec": spec, "pictures": pictures})
        return figures

    def draw_outputs(self, outputs: Sequence[UtteranceOutput]) -> list[dict[str, Any]]:
        """Write the picture of each chosen utterance, and return it for the page."""
        pictures = []
        for number, output in enumerate(outputs, start=1):
            text = describe_output(output)
            svg = self.draw(f"utterance-{number}", partial(draw_output, output), text, text)
            pictures.append({"output": output, "svg": svg})
        return pictures


def _drawn_runs(line: ArmLine) -> list[RunSummary]:
    """Return the finished runs of an arm, or else all: one that failed early ends no line."""
    runs = [view.run_summary for view in line.views]
    return [run for run in runs if run.state == "finished"] or runs


def _describe_ends(spec: FigureSpec, curves: Sequence[Curve]) -> str:
    """Return the last value of each coloured line, for readers who do not see the figure."""
    ends = []
    for curve in curves:
        x, y = curve.points(spec, "dev")
        if curve.palette_index is not None and y and math.isfinite(y[-1]):
            value = format_percent(y[-1]) if spec.percent else format_decimal(y[-1])
            ends.append(f"{curve.label} {value} after {x[-1]} updates")
    return f" Last values on dev: {'; '.join(ends)}." if ends else ""
