"""A letter without a font is drawn as its code; never as a box, which is the same for all."""

import io
from collections import Counter
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.image import imread

from pipeline.results.figures import style
from pipeline.results.figures.corpus_histograms import draw_corpus

KA, KHA = "\u0915", "\u0916"  # Devanagari, which matplotlib's own font lacks


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    style.find_fonts.cache_clear()


def drawn(*labels: str, image_format: str = "png") -> np.ndarray | str:
    figure = Figure(figsize=(3, 1))
    axes = figure.add_axes((0.1, 0.4, 0.8, 0.5))
    axes.set_xticks(range(len(labels)), labels)
    axes.set_title(labels[0])
    file = io.BytesIO()
    with mpl.rc_context(style.FIGURE_RC):
        style.save_figure(figure, file, image_format)
    assert axes.get_title() == labels[0]  # the figure is as before
    assert [each.get_text() for each in axes.get_xticklabels()] == list(labels)
    file.seek(0)
    return imread(file) if image_format == "png" else file.read().decode()


@pytest.mark.usefixtures("no_fonts")
@pytest.mark.filterwarnings("error")
def test_letters_that_no_font_has_look_different():
    assert not np.array_equal(drawn(KA), drawn(KHA))
    assert np.array_equal(drawn("a"), drawn("a"))


@pytest.mark.usefixtures("no_fonts")
@pytest.mark.filterwarnings("ignore:Glyph")
def test_an_svg_keeps_its_letters():
    svg = drawn(KA, "a", image_format="svg")
    assert KA in svg
    assert "U+" not in svg


@pytest.mark.usefixtures("no_fonts")
def test_codes_are_those_of_unicode():
    families, missing = style.find_fonts(frozenset(f"aé{KA}"))
    assert families == ()
    assert style.write_codes(f"a{KA}é", missing) == "aU+0915é"


def test_a_font_of_this_computer_is_taken_for_the_letters_that_it_has(monkeypatch):
    """FontTools is the judge. The Last Resort font has a box for every letter, and is not taken."""
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    fonts = [str(path) for path in sorted(folder.glob("*.ttf")) if path.name[0] in "LS"]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [*fonts, "/no/such/font.ttf"])
    style.find_fonts.cache_clear()
    own, other = (
        set(TTFont(folder / name).getBestCmap()) for name in ("DejaVuSans.ttf", "STIXGeneral.ttf")
    )
    letters = frozenset(map(chr, other - own))
    assert style.find_fonts(letters | {KA, "a"}) == (("STIXGeneral",), frozenset(KA))


@pytest.mark.usefixtures("no_fonts")
@pytest.mark.filterwarnings("error")
def test_the_picture_of_a_corpus_has_no_boxes(tmp_path):
    images = []
    for letter in (KA, KHA):
        path = tmp_path / f"{letter}.png"
        draw_corpus(
            "a", seconds=[1.0], characters_per_second=[1.0], peaks_db=[-1.0],
            characters=Counter({letter: 3, "a": 2}), path=path,
        )  # fmt: skip
        images.append(imread(path))
    assert not np.array_equal(*images)
