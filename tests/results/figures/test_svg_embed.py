"""Tests of embedded figures: ids are unique on a page, and text is not changed."""

import re
from dataclasses import replace

import pytest

from pipeline.results.figures.figure_specs import FIGURE_SPECS, FigureSpec
from pipeline.results.figures.learning_curves import Curve, draw_figure
from pipeline.results.figures.svg_embed import embed_svg, shorten_polyline
from pipeline.results.summary.run_summary import SweepRun, read_run
from tests.results.examples import NOW


@pytest.fixture(scope="module")
def curves(sweep_runs: list[SweepRun]) -> list[Curve]:
    return [
        Curve([read_run(run, NOW)], run.label, index + 1, index)
        for index, run in enumerate(sweep_runs)
    ]


def drawn(spec: FigureSpec, curves: list[Curve]) -> str:
    svg = draw_figure(spec, curves, 480, 330, with_labels=True)
    assert svg is not None
    return svg


def relabelled(curve: Curve, label: str) -> Curve:
    return replace(curve, label=label)


def test_in_a_page_ids_differ_between_figures_and_colours_are_the_pages(curves: list[Curve]):
    pages = [embed_svg(drawn(spec, curves), spec.name, spec.title) for spec in FIGURE_SPECS]
    ids = [name for page in pages for name in re.findall(r'\bid="([^"]*)"', page)]
    assert len(ids) == len(set(ids))
    for page in pages:
        assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)
        assert not re.findall(r"#[0-9a-f]{6}\b", page)
        assert "font-family" not in page
        assert "http://www.w3.org/1999/xlink" not in page.split(">", 1)[0]


def test_in_a_page_text_stays_as_it_is(curves: list[Curve]):
    label = "lr 0.0025, #0072b2"
    page = embed_svg(drawn(FIGURE_SPECS[0], [relabelled(curves[1], label)]), "loss", "a loss")
    assert f">2 {label}</text>" in page


def test_a_hostile_label_is_no_tag_and_a_hostile_description_no_attribute(curves: list[Curve]):
    svg = drawn(FIGURE_SPECS[0], [relabelled(curves[1], "--><script>alert(1)</script>")])
    page = embed_svg(svg, "loss", '" onload="alert(2)')
    assert "<script" not in page
    assert 'onload="' not in page


def test_in_a_page_a_path_has_the_same_points_in_fewer_bytes(curves: list[Curve]):
    svg = drawn(FIGURE_SPECS[0], curves)
    page = embed_svg(svg, "loss", "a loss")
    paths = [
        [p for p in re.findall(r' d="([^"]*)"', text) if not {*"QC"} & {*p}] for text in (svg, page)
    ]
    before, after = ([points_of(path) for path in each] for each in paths)
    assert len(before) == len(after) > 10
    for one, other in zip(before, after, strict=True):
        assert other == pytest.approx(one, abs=0.051)
    assert sum(map(len, paths[1])) < 0.7 * sum(map(len, paths[0]))


def points_of(path: str) -> list[float]:
    """Return x and y of each point of a path of M, L, l, h, v and z that differs from the last."""
    found: list[float] = []
    for letter, numbers in re.findall(r"([MLlhv])([^MLlhvz]*)", path):
        steps = [float(each) for each in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", numbers)]
        x, y = {"h": [*steps, 0.0], "v": [0.0, *steps]}.get(letter, steps)
        start = found[-2:] if letter.islower() else (0.0, 0.0)
        point = [round(start[0] + x, 1), round(start[1] + y, 1)]
        found += point if point != found[-2:] else []
    return found


def test_a_path_keeps_its_level_steps_and_its_only_point():
    steps = "M 10 20 L 30 20 L 30 20 L 30 5.5 L 30.04 5.5 z"
    assert shorten_polyline(steps) == "M10 20h20v-14.5z"
    assert shorten_polyline("M 10 20 L 10 20 L 10 20") == "M10 20h0"  # a dot with round ends
    assert shorten_polyline("M 1 2 L 0.5 -3") == "M1 2l-.5-5"
