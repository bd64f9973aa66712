"""The report on paper: on a page of A4 no table leaves it, no name breaks, colours stay."""

from html import escape

import pytest

from tests.browser.test_report import visit
from tests.results.example_report import write_report
from tests.results.examples import RunScenario, make_run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

WIDTH = 703  # CSS pixels of A4 without its margins of 12 mm
PROBE = """
<script>
const found = {width: innerWidth};
const right = (one) => Math.round(one.getBoundingClientRect().right);
found.over = [...document.querySelectorAll("body *")].filter((one) => right(one) > innerWidth
  && !one.closest(".hidden, svg")).map((one) => one.tagName + "." + one.className);
found.cut = [...document.querySelectorAll("td, th")].filter(
  (one) => one.scrollWidth > one.clientWidth + 1 && !one.querySelector(".hidden")).length;
const broken = (node) => { // whether a word of a text is on two lines
  const range = document.createRange();
  return [...node.textContent.matchAll(/[\\w.]+/g)].filter((word) => {
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    return new Set([...range.getClientRects()].map((one) => Math.round(one.top))).size > 1;
  }).map((word) => word[0]);
};
found.broken = [...document.querySelectorAll(".runs .label, .forest bdi")].flatMap(
  (one) => broken(one.firstChild));
const style = (one) => getComputedStyle(one);
found.badges = [...document.querySelectorAll(".runs .badge[class*=run-]")].map(
  (one) => style(one).backgroundColor);
found.adjust = style(document.documentElement).printColorAdjust;
found.paper = style(document.body).backgroundColor;
found.tools = [...document.querySelectorAll(".tools, .fold, .mark, .more")].filter(
  (one) => one.offsetParent).length;
found.states = [...document.querySelectorAll(".arm .state.mixed")].map(
  (one) => [one.textContent, style(one).whiteSpace]);
found.heads = [...document.querySelectorAll("thead button")].map((one) => style(one).display);
parent.document.body.setAttribute("data-found", JSON.stringify(found));
</script>
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A grid of thirty runs with long names, and an arm in three states, in dark mode, on paper."""
    folder = tmp_path_factory.mktemp("print")
    runs = [
        make_run(
            folder / f"{rate}-{hidden}-{seed}",
            f"learning rate {rate:g}, hidden {hidden}, seed {seed}",
            {"train.learning_rate": rate, "model.hidden": hidden, "train.seed": seed},
            RunScenario(epochs=3, escape_updates=60, utterances=20, seed=seed, final_dev_cer=0.2),
        )
        for rate in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
        for hidden in (64, 128, 256)
        for seed in range(2)
    ]
    runs += [
        make_run(
            folder / state,
            f"learning rate 1, hidden 64, seed {seed}",
            {"train.learning_rate": 1.0, "model.hidden": 64, "train.seed": seed},
            RunScenario(epochs=3, escape_updates=60, utterances=20, seed=seed, final_dev_cer=0.2),
            state=state,
        )
        for seed, state in enumerate(("running", "waiting", "failed"))
    ]
    page = write_report(runs, folder / "report", question="Question: which rate?").page
    text = page.read_text(encoding="utf-8").replace('http-equiv="Content-Security-Policy"', "")
    for kind in ("print", "(prefers-color-scheme: dark)"):
        text = text.replace(f"@media {kind}", "@media screen")
    probed = escape(text.replace("</body>", f"{PROBE}</body>"))
    frame = f'<iframe style="border: 0; width: {WIDTH}px; height: 990px" srcdoc="{probed}">'
    outer = folder / "print.html"
    outer.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body>{frame}</iframe>', "utf-8")
    return visit(outer, 1000, folder / "profile").found


def test_nothing_leaves_the_paper(printed: dict):
    assert printed["width"] == WIDTH
    assert printed["over"] == []
    assert printed["cut"] == 0


def test_names_are_broken_between_words_only(printed: dict):
    assert printed["broken"] == []


def test_colours_stay_on_white_paper_and_controls_are_left_out(printed: dict):
    assert len(set(printed["badges"])) == 8, "one for each colour of the palette"
    assert printed["adjust"] == "exact"
    assert printed["paper"] == "rgb(255, 255, 255)"
    assert printed["tools"] == 0


def test_an_arm_in_several_states_may_have_a_line_for_each(printed: dict):
    """On one line, they are wider than the table has room for; a number stays with its word."""
    assert printed["states"] == [["1\u00a0running, 1\u00a0waiting, 1\u00a0failed", "normal"]]


def test_the_head_of_the_table_is_text_so_that_the_next_page_has_it_too(printed: dict):
    """Chromium repeats the head of a table on each page, but leaves out the boxes of buttons."""
    assert set(printed["heads"]) == {"contents"}
