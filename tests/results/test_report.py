"""The report: complete at any time, one page without a network, and the same for the same runs."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.corpus.manifest import Refusal
from pipeline.results import report
from pipeline.results.figures import learning_curves
from pipeline.results.figures.figure_specs import FIGURE_SPECS
from pipeline.results.rejected import MAX_SHOWN_REFUSALS, CorpusRefusals
from pipeline.results.run_summary import SweepRun
from pipeline.runs.folder import RunFolder
from tests.results.examples import NEVER_ESCAPES, NOW, RunScenario, make_run

QUESTION = """Question: amplitude, power or mel?
Cost: 3 runs x about 6 minutes on two cores.
Expect: power is twice amplitude under the logarithm,
so that these two differ by chance only."""
SHORT = RunScenario(escape_updates=60, epochs=3, utterances=6)


class Page(HTMLParser):
    """Its words, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        loading = {"img": "src", "script": "src", "link": "href", "iframe": "src", "image": "href"}
        self.loads += [value or "" for name, value in attrs if name == loading.get(tag)]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def folder(sweep_runs: list[SweepRun], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    report.write_report_folder("spectrum", QUESTION, sweep_runs, folder, now=NOW)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_a_report_is_a_page_two_tables_and_the_figures(folder: Path):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    drawn = {f"figures/{panel.name}.svg" for panel in FIGURE_SPECS}
    assert names == {"report.html", "results.csv", "summary.csv", *drawn}


def test_the_page_opens_with_the_question_and_the_expectation(page: Page):
    assert "Amplitude, power or mel?" in page.text
    assert "Power is twice amplitude under the logarithm, so that these two" in page.text
    assert "3 runs x about 6 minutes" in page.text


def test_the_page_answers_with_the_best_run_its_interval_and_the_differences(page: Page):
    answer = page.text.split("Answer")[1].split("Runs")[0]
    assert re.search(
        r"mel does best on the dev split\. Of the test split it gets [\d.]+\s%", answer
    )
    assert re.search(r"95\s% interval [\d.]+–[\d.]+", answer)
    assert "Beyond chance worse than it" in answer
    assert "Still on it at the end: 1 first training" in answer
    assert "Each run has one seed" in answer


def test_every_run_is_on_the_page_with_its_state(page: Page, sweep_runs: list[SweepRun]):
    for run in sweep_runs:
        assert run.label in page.text
    for state in ("finished", "running", "failed", "waiting"):
        assert state in page.text
    assert "epoch 10 of 20" in page.text


def test_a_failure_stands_with_its_cause_and_remedy(sweep_runs: list[SweepRun], tmp_path: Path):
    remedies = {"divergence": "sleep on it"}
    text = Page(
        report.write_report_folder(
            "s", "", sweep_runs, tmp_path, now=NOW, remedies=remedies
        ).page.read_text("utf-8")
    ).text
    assert "Failed: divergence. epoch 15: the loss is nan" in text
    assert "Remedy: sleep on it." in text


def test_a_remedy_that_the_message_says_already_is_not_said_twice(
    sweep_runs: list[SweepRun], tmp_path: Path
):
    remedies = {"divergence": "lower train.learning_rate, or set train.clip"}
    text = report.write_report_folder(
        "s", "", sweep_runs, tmp_path, now=NOW, remedies=remedies
    ).page.read_text("utf-8")
    assert text.count(remedies["divergence"]) == 1


def test_the_page_loads_nothing_and_runs_one_script(folder: Path, page: Page):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert page.loads == ["data:,"]
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


def test_the_same_runs_give_the_same_bytes(
    folder: Path, sweep_runs: list[SweepRun], tmp_path: Path
):
    report.write_report_folder("spectrum", QUESTION, sweep_runs, tmp_path, now=NOW)
    for path in folder.rglob("*.*"):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes(), path


def test_only_the_time_differs_a_minute_later(
    folder: Path, sweep_runs: list[SweepRun], tmp_path: Path
):
    later = report.write_report_folder(
        "spectrum", QUESTION, sweep_runs, tmp_path, now=NOW + 60
    ).page.read_text("utf-8")
    before = (folder / "report.html").read_text(encoding="utf-8")
    assert later != before
    times = r"<time>[^<]*</time>"
    assert re.sub(times, "", later) == re.sub(times, "", before)


def test_a_hostile_label_is_text(tmp_path: Path):
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"
    run = make_run(tmp_path / "r", hostile, {"input.stack": 2}, SHORT)
    path = report.write_report_folder(hostile, hostile, [run], tmp_path / "report", now=NOW).page
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert "<script>alert(1)</script>" in page.text


@pytest.mark.parametrize("states", [[], ["missing"], ["waiting"], ["failed"], ["stopped"]])
def test_there_is_a_page_before_anything_has_finished(tmp_path: Path, states: list[str]):
    runs = [
        make_run(tmp_path / state, state, {"train.seed": 1}, SHORT, state=state) for state in states
    ]
    text = Page(
        report.write_report_folder("s", "", runs, tmp_path / "r", now=NOW).page.read_text("utf-8")
    ).text
    assert "no answer yet" in text
    assert all(state in text for state in states)


def test_a_single_silent_run_has_a_page(tmp_path: Path):
    course = RunScenario(escape_updates=NEVER_ESCAPES.escape_updates, epochs=2, utterances=3)
    run = make_run(tmp_path / "r", "student", scenario=course)
    text = Page(
        report.write_report_folder("s", "Why?", [run], tmp_path / "report", now=NOW).page.read_text(
            "utf-8"
        )
    )
    assert "student does best." in text.text
    assert "100.0" in text.text


def test_a_damaged_run_does_not_take_the_others_with_it(tmp_path: Path):
    good = make_run(tmp_path / "good", "good", scenario=SHORT)
    bad = make_run(tmp_path / "bad", "bad", scenario=SHORT)
    (tmp_path / "bad/rows.jsonl").write_text('{"run_id": "ba', encoding="utf-8")
    text = Page(
        report.write_report_folder("s", "", [good, bad], tmp_path / "r", now=NOW).page.read_text(
            "utf-8"
        )
    ).text
    assert "good does best" in text
    assert "damaged file" in text
    assert "rows.jsonl cannot be read" in text


def test_with_more_runs_than_colours_the_best_and_a_silent_one_are_coloured(tmp_path: Path):
    runs = [
        make_run(
            tmp_path / f"{seed}",
            f"seed {seed}",
            {"train.seed": seed},
            RunScenario(
                escape_updates=50, epochs=4, utterances=5, final_dev_cer=0.02 * seed, seed=seed
            ),
        )
        for seed in range(11)
    ]
    silent = RunScenario(escape_updates=NEVER_ESCAPES.escape_updates, epochs=4, utterances=5)
    runs.append(make_run(tmp_path / "silent", "silent", {"train.seed": 99}, silent))
    path = report.write_report_folder("s", "", runs, tmp_path / "report", now=NOW).page
    text = path.read_text(encoding="utf-8")
    legend = text.split('class="legend"')[1].split("</ul>")[0]
    assert legend.count("data-run") == len(learning_curves.PALETTE)
    assert "silent" in legend
    assert "the other runs" in legend
    assert "Over seeds" in text
    lines = (path.parent / "seeds.csv").read_text(encoding="utf-8").splitlines()
    assert lines[1].startswith("all,12,11,")  # eleven and the silent one
    assert len(lines) == 2


def test_runs_of_equal_settings_may_share_a_folder(tmp_path: Path):
    run = make_run(tmp_path / "r", "one", {"train.seed": 1}, SHORT)
    twin = SweepRun("two", {"train.seed": 2}, RunFolder(tmp_path / "r"))
    text = Page(
        report.write_report_folder("s", "", [run, twin], tmp_path / "x", now=NOW).page.read_text(
            "utf-8"
        )
    ).text
    assert "Not told apart from it by these 6 test utterances: 2 two" in text


def test_the_best_run_that_is_handed_back_is_the_one_on_the_page(
    sweep_runs: list[SweepRun], tmp_path: Path
):
    written = report.write_report_folder("s", "", sweep_runs, tmp_path, now=NOW)
    assert written.best is not None
    assert f"{written.best.run.label} does best" in Page(written.page.read_text("utf-8")).text
    assert report.write_report_folder("s", "", sweep_runs[-1:], tmp_path, now=NOW).best is None


def test_commands_are_those_given_or_those_of_the_sweep(folder: Path, tmp_path: Path):
    assert "make sweep SWEEP=configs/sweeps/spectrum.yaml" in (folder / "report.html").read_text(
        encoding="utf-8"
    )
    path = report.write_report_folder("s", "", [], tmp_path, now=NOW, commands=["make demo"]).page
    assert "<pre>make demo" in path.read_text(encoding="utf-8")


def test_what_was_refused_is_counted_and_the_first_of_it_listed(tmp_path: Path):
    hostile = Refusal("<b>u0", "<script>alert(1)</script>.wav: is cut short; restore it")
    many = CorpusRefusals(
        "tiny", 1030, (hostile, *(Refusal(f"u{n}", "is empty") for n in range(1, 30)))
    )
    gone = CorpusRefusals("gone-1a2b", None, (Refusal("v", "no such file"),))
    path = report.write_report_folder("s", "", [], tmp_path, now=NOW, refused=[many, gone]).page
    page = Page(path.read_text("utf-8"))
    assert "Refused 31 utterances; which, and why" in page.text
    said = page.text.split("What was refused")[1].split("How to repeat")[0]
    assert "Of the 1 030 utterances that tiny lists, 30 were refused; the first:" in said
    assert "<b>u0 <script>alert(1)</script>.wav: is cut short; restore it" in said
    assert "Of gone-1a2b, 1 was refused: v no such file" in said
    assert f"u{MAX_SHOWN_REFUSALS - 1} is empty" in said
    assert f"u{MAX_SHOWN_REFUSALS} " not in said
    assert "All are in refused.csv ." in said
    assert page.tags.count("script") == 1
    lines = (tmp_path / "refused.csv").read_text("utf-8").splitlines()
    assert lines[0] == "corpus,utterance,reason"
    assert lines[-2:] == ["tiny,u29,is empty", "gone-1a2b,v,no such file"]
    assert len(lines) == 32


def test_where_nothing_was_refused_nothing_is_said_of_it(tmp_path: Path):
    (tmp_path / "refused.csv").write_text("of an earlier report")
    path = report.write_report_folder("s", "", [], tmp_path, now=NOW).page
    assert "refused" not in path.read_text("utf-8").lower()
    assert not (tmp_path / "refused.csv").exists()
