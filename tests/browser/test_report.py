"""Tests of the report in a real browser: no console messages, a phone's width, its script."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path

import pytest

from pipeline.corpus.manifest import Refusal
from pipeline.features.rejected import CorpusRefusals
from pipeline.results.figures.figure_specs import FIGURE_SPECS
from tests.results.example_report import write_report
from tests.results.examples import RunScenario, make_run, make_sweep

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
PHONE = 400  # pixels

# This script runs in a copy of the page without the security policy, which would forbid it.
PROBE = """
<script>
const rows = () => [...document.querySelectorAll(".runs tbody tr.arm")];
const lines = () => rows().map((row) => row.dataset.run);
const names = () => rows().map((row) => row.querySelector(".label").textContent);
const shown = () => rows().filter((row) => row.offsetParent).map((row) => row.dataset.run);
const root = document.documentElement;
const beyond = (one) => one.getBoundingClientRect().right > innerWidth;
const over = [...document.querySelectorAll("body *")].filter(
  (one) => beyond(one) && !one.closest(".scroll, pre, svg, .hidden"));
const found = {over: over.map((one) => one.tagName + "." + one.className), before: lines()};
found.width = innerWidth;
found.overflow = root.scrollWidth - root.clientWidth;
const heading = [...document.querySelectorAll(".runs thead th")].find(
  (one) => one.textContent === "Test CER");
heading.querySelector("button").click();
found.ascending = lines();
heading.querySelector("button").click();
found.descending = lines();
document.querySelector('.runs tr[data-run="1"]').dispatchEvent(
  new MouseEvent("mouseover", {bubbles: true}));
found.highlighted = document.querySelectorAll(".figures .highlighted").length;
found.wide = document.querySelector(".leading .wide").getBoundingClientRect().width;
found.small = document.querySelector(".leading .small").getBoundingClientRect().width;
const filter = document.querySelector(".filter");
filter.value = "POWER";
filter.dispatchEvent(new Event("input"));
found.filtered = shown();
filter.value = "test_cer<50";
filter.dispatchEvent(new Event("input"));
found.below = shown();
const faded = [...document.querySelectorAll("figure g.faded")].map(
  (one) => one.id.match(/\\d+$/)[0]);
found.faded = [...new Set(faded)].sort();
filter.value = "";
filter.dispatchEvent(new Event("input"));
found.unfaded = document.querySelectorAll("figure g.faded").length;
const visible = (heading) => getComputedStyle(heading).display !== "none";
const columns = () => [...document.querySelectorAll(".runs thead th")].filter(visible).map(
  (one) => one.textContent);
found.columns = columns();
[...document.querySelectorAll(".choices label")].find(
  (one) => one.textContent.trim() === "SER").querySelector("input").click();
found.more = columns();
for (const run of ["1", "2"]) document.querySelector(`.arm[data-run="${run}"] .mark`).click();
found.compared = document.querySelector(".compare").textContent;
found.curves = document.querySelectorAll(".compare polyline").length;
found.head = getComputedStyle(document.querySelector(".runs thead th")).position;
parent.document.body.setAttribute("data-found", JSON.stringify(found));
</script>
"""

# Reads and sorts the table of a copy of the page that shows four lines at a time.
LONG_TABLE_PROBE = """
<script>
{
const arms = () => [...document.querySelectorAll(".runs tbody tr.arm")];
const lines = () => arms().map((row) => row.dataset.run);
const table = {before: lines()};
document.querySelector(".runs thead th:nth-child(2) button").click();
table.sorted = lines();
document.querySelector(".runs thead th:nth-child(1) button").click();
document.querySelector(".more").click();
table.all = lines();
table.marks = document.querySelectorAll(".runs .arm .mark").length;
document.body.setAttribute("data-found", JSON.stringify(table));
}
</script>
"""


# Compares the first two runs of the first arm.
FOLDS_PROBE = """
<script>
{
for (const index of ["0", "1"]) document.querySelector(`.mark[data-index="${index}"]`).click();
const compared = document.querySelector(".compare");
const found = {compared: compared.textContent};
found.curves = compared.querySelectorAll("polyline").length;
document.body.setAttribute("data-found", JSON.stringify(found));
}
</script>
"""
SHORT = RunScenario(epochs=4, utterances=5)


@dataclass(frozen=True)
class Visit:
    dom: str
    console: list[str]

    @property
    def found(self) -> dict:
        text = self.dom.split('data-found="')[1].split('"')[0]
        return json.loads(unescape(text))


def visit(page: Path, width: int, profile: Path, *options: str) -> Visit:
    """Load a page without a network; return its DOM after its scripts ran, and the console."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    done = subprocess.run(
        [
            chromium,
            *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"),
            *(f"--window-size={width},900", *options, "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        check=True,
        timeout=240,
    )
    lines = done.stderr.decode(errors="replace").splitlines()
    return Visit(done.stdout.decode(), [line for line in lines if "CONSOLE" in line])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    hostile = make_run(folder / "h8", HOSTILE, {"train.seed": 7}, RunScenario(epochs=2))
    runs = [*make_sweep(folder), hostile]
    refused = CorpusRefusals(
        HOSTILE, 1078, (Refusal(HOSTILE, f"{60 * 'long/'}x.wav: is {HOSTILE}"),)
    )
    question = f"Question: {HOSTILE}"
    write_report(runs, folder / "report", name=HOSTILE, question=question, refused=[refused])
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Visit:
    return visit(folder / "report/report.html", 1400, folder / "profile")


@pytest.fixture(scope="module")
def phone(folder: Path) -> dict:
    text = (folder / "report/report.html").read_text(encoding="utf-8")
    open_to_probe = text.replace('http-equiv="Content-Security-Policy"', "")
    probed = escape(open_to_probe.replace("</body>", PROBE + "</body>"))
    # In a frame, because windows of this browser are at least 500 pixels wide.
    frame = f'<iframe style="border: 0; width: {PHONE}px; height: 900px" srcdoc="{probed}">'
    phone = folder / "phone.html"
    phone.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body>{frame}</iframe>', "utf-8")
    return visit(phone, 1400, folder / "phone").found


def test_the_page_loads_without_console_messages(page: Visit):
    assert page.console == []


def test_the_pages_own_script_is_the_one_that_its_policy_allows(page: Visit):
    assert '<button type="button">Test CER</button>' in page.dom


def test_a_hostile_label_stays_text(page: Visit):
    assert "<title>&lt;script&gt;" in page.dom
    assert page.dom.count("<script") == 2, "the data and the script"
    assert "<img" not in page.dom
    assert "&lt;script&gt;document.title = 'owned'&lt;/script&gt;" in page.dom


def test_every_figure_is_there_with_its_description(page: Visit):
    for spec in FIGURE_SPECS:
        assert f'id="figure-{spec.name}"' in page.dom
        assert f'aria-label="{spec.title}, over updates.' in page.dom
    curves = page.dom.split('<section aria-labelledby="curves">')[1].split("</section>")[0]
    assert curves.count("<svg") == len(FIGURE_SPECS) + 1  # the first one twice: wide and small


def test_every_run_is_in_the_table(phone: dict):
    assert phone["before"] == ["1", "2", "3", "4", "5", "6", "7", "8"]


def test_nothing_runs_over_the_edge_of_a_phone(phone: dict):
    assert phone["width"] == PHONE
    assert phone["over"] == []
    assert phone["overflow"] == 0
    assert 300 < phone["small"] <= PHONE
    assert phone["wide"] == 0, "the wide figure is for wide screens"


def test_a_long_table_holds_the_lines_that_it_shows_in_any_order(folder: Path, phone: dict):
    """Layout takes time for each line: 500 of them would make a sort slow."""
    text = (folder / "report/report.html").read_text(encoding="utf-8")
    cut = text.replace("SHOWN_LINES = 50", "SHOWN_LINES = 4")
    assert cut != text
    copy = folder / "long.html"
    copy.write_text(
        cut.replace('http-equiv="Content-Security-Policy"', "").replace(
            "</body>", LONG_TABLE_PROBE + "</body>"
        ),
        "utf-8",
    )
    found = visit(copy, 1400, folder / "long").found
    assert found["before"] == phone["before"][:4]
    assert len(found["sorted"]) == 4
    assert found["all"] == phone["before"]
    assert found["marks"] == len(phone["before"])


def test_a_heading_sorts_its_column_and_unknown_values_stay_last(phone: dict):
    known = ["1", "2", "3"]  # the arms are numbered by result
    assert phone["ascending"][:3] == known
    assert phone["descending"][2:5] == known[::-1]
    assert sorted(phone["ascending"][5:]) == sorted(phone["descending"][5:]) == ["6", "7", "8"]


def test_a_filter_shows_the_lines_that_have_its_words(phone: dict):
    assert phone["filtered"] == ["3"]


def test_a_condition_on_a_number_filters_the_lines_and_fades_the_others_in_the_figures(
    phone: dict,
):
    assert sorted(phone["below"]) == ["1", "2", "3"]
    assert phone["faded"], "lines of the figures"
    assert not set(phone["faded"]) & {"1", "2", "3"}
    assert phone["unfaded"] == 0


def test_columns_can_be_chosen_and_the_head_stays(phone: dict):
    assert "SER" not in phone["columns"]
    assert phone["more"] == [*phone["columns"], "SER"]
    assert phone["head"] == "sticky"


def test_two_marked_lines_are_compared(phone: dict):
    text = phone["compared"]
    assert "features.spectrummelamplitude" in text
    assert "train.learning_rate" not in text, "both have the same"
    assert re.search(r"\d+ of 30 test utterances changed", text)
    assert phone["curves"] == 4, "loss and CER of two runs"


def test_runs_of_two_folds_are_said_to_have_no_test_utterance_in_common(tmp_path: Path):
    runs = []
    for fold in range(3):
        run = make_run(tmp_path / f"{fold}", f"seed {fold}", {"train.seed": fold}, SHORT)
        experiment = run.folder.experiment()
        corpus = experiment.corpus.model_copy(update={"folds": 3, "fold": fold})
        run.folder.write_experiment(experiment.model_copy(update={"corpus": corpus}))
        names = [
            each._replace(utterance_id=f"{fold}-{each.utterance_id}")
            for each in run.folder.hypotheses()
        ]
        run.folder.finish(names)
        runs.append(run)
    page = write_report(runs, tmp_path / "report").page
    text = page.read_text("utf-8").replace('http-equiv="Content-Security-Policy"', "")
    page.write_text(text.replace("</body>", FOLDS_PROBE + "</body>"), "utf-8")
    found = visit(page, 1400, tmp_path / "profile").found
    assert (
        "These two runs have no test utterance in common: cross-validation tests each run on the "
        "speakers of one fold, here fold 0 and fold 1 of 3 (counted from 0)."
    ) in found["compared"]
    assert "corpus.fold01" in found["compared"], "what differs is still shown"
    assert "test utterances changed" not in found["compared"]
    assert found["curves"] == 4


def test_a_run_under_the_pointer_is_highlighted_in_every_figure(phone: dict):
    lines = len(FIGURE_SPECS) + 1 + 2  # dev; the first figure twice, with train
    ends = len(FIGURE_SPECS) + 1
    rings = 2
    assert phone["highlighted"] == lines + ends + rings
