"""Pages of sweeps that are not finished: what is missing, in the same words everywhere."""

import re
from pathlib import Path

from tests.results.example_report import write_report
from tests.results.examples import RunScenario, make_run, make_seeds

SHORT = RunScenario(epochs=4, utterances=5, escape_updates=60)
REMEDIES = {"divergence": "make logs RUN=… shows it"}


def write_page(folder: Path, states: list[str]) -> str:
    """Return the page of an arm with a run in each state."""
    runs = [
        make_run(
            folder / f"{number}-{state}",
            f"mel, seed {number}",
            {"features.spectrum": "mel", "train.seed": number},
            SHORT,
            state=state,
        )
        for number, state in enumerate(states)
    ]
    return write_report(runs, folder / "report", remedies=REMEDIES).page.read_text("utf-8")


def table_of(page: str) -> str:
    return page.split('<table class="runs')[1].partition("</table>")[0]


def test_seeds_are_counted_of_those_that_are_planned_and_sorted_as_numbers(tmp_path: Path):
    page = write_page(tmp_path, ["finished", "running", "missing"])
    assert "<td class=n data-v=1>1 of 3" in table_of(page)
    nothing = write_page(tmp_path / "none", ["running", "waiting", "missing"])
    assert "<td class=n data-v=0>0 of 3" in table_of(nothing)
    assert "No run has a test result yet." in nothing
    assert "The bar shows it on an axis" in page
    assert "The bar shows it on an axis" not in nothing, "there is no bar"


def test_a_run_that_has_not_started_is_called_so_everywhere(tmp_path: Path):
    page = write_page(tmp_path, ["running", "missing"])
    assert "Not finished: 1 running, 1 not started." in page
    assert "1 running, 1 not started</small>" in page, "the facts below the answer"
    table = table_of(page)
    assert "1\u00a0running, 1\u00a0not started" in table, "both are of one arm"
    assert '<span class="state missing">not started</span>' in table
    assert "<dd>It has not started.</dd>" in page


def test_a_failure_leads_to_its_reason_and_to_the_log_of_the_run(tmp_path: Path):
    page = write_page(tmp_path, ["finished", "failed"])
    assert '1 finished, 1 failed; <a href="#ended">why</a>' in page
    ended = page.split('<h2 id="ended">')[1].split("</section>")[0]
    assert "<b>Failed, divergence:</b> epoch 15: the loss is nan" in ended
    assert "<i>Remedy:</i> <code>make logs RUN=1-failed</code> shows it." in ended
    assert 'href="#ended"' not in write_page(tmp_path / "good", ["finished"])


def test_the_runs_of_an_arm_are_beside_each_other_in_the_order_of_the_arms(tmp_path: Path):
    runs = make_seeds(tmp_path, {"power": 0.3, "mel": 0.05})
    page = write_report(runs, tmp_path / "report").page.read_text("utf-8")
    states = page.split("<h3>State of each run</h3>")[1].split("</section>")[0]
    assert re.findall(r"<bdi>([^<]*)</bdi>", states) == [
        *("mel, seed 0", "mel, seed 1", "power, seed 0", "power, seed 1"),
    ]


def test_a_failed_run_does_not_end_the_line_of_the_finished_ones_of_its_arm(tmp_path: Path):
    """The failed run came to half of the epochs."""
    path = r'id="loss-wide-dev-of-run-1"><path d="([^"]*)"'
    (whole,) = re.findall(path, write_page(tmp_path / "a", ["finished", "finished"]))
    (line,) = re.findall(path, write_page(tmp_path / "b", ["finished", "failed"]))
    assert line == whole
    (half,) = re.findall(path, write_page(tmp_path / "c", ["failed", "failed"]))
    assert half != whole, "without a finished run all are drawn"
