"""Names and questions in a script that is written from right to left, inside English sentences."""

import re
from pathlib import Path

from tests.results.example_report import write_report
from tests.results.examples import RunScenario, make_run, make_seeds

SPECTRA = {"power": "طيف القدرة (1)", "mel": "طيف"}  # the second is the beginning of the first


def write_page(folder: Path) -> str:
    runs = make_seeds(folder, {"power": 0.05, "mel": 0.3}, SPECTRA)
    expected = "Question: أي طيف؟\nExpect: الأول."
    return write_report(runs, folder / "report", question=expected).page.read_text("utf-8")


def test_every_name_has_its_own_direction(tmp_path: Path):
    """Otherwise brackets and numbers beside a name would be shown on its other side."""
    page = write_page(tmp_path)
    body = re.sub(r"<(svg|script|style|caption|title)\b.*?</\1>", "", page, flags=re.DOTALL)
    outside = re.sub(r"<bdi[^>]*>[^<]*</bdi>", "", body.split("<main>")[1])
    assert not re.findall(r">[^<]*[\u0600-\u06ff][^<]*<", outside)
    assert "Best on dev: <bdi>طيف القدرة (1)</bdi>, mean test CER" in body
    assert "<b>Expected:</b> <bdi>الأول.</bdi>" in body
    assert '<p class="question" dir="auto">أي طيف؟</p>' in body


def test_names_from_left_to_right_are_not_marked_in_sentences(tmp_path: Path):
    run = make_run(tmp_path / "a", "student", scenario=RunScenario(epochs=2, utterances=3))
    page = write_report([run], tmp_path / "report").page.read_text("utf-8")
    answer = page.split('<p dir="auto" class=answer>')[1].split("</p>")[0]
    assert "student" in answer
    assert "<bdi>" not in answer
