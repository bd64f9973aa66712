"""The page of questions and answers, against the sweep files and the kept reports."""

import re

from pipeline.results.page.views import parse_header
from tests.answers import PAGE, SECTIONS, SWEEPS, keep, opening_comment, page

TOOLS = {"equal-input", "scale"}  # they test the report and the loader, not a training


def test_page_is_written_anew() -> None:
    assert PAGE.read_text("utf-8") == page(), "run make format"


def test_page_has_every_sweep_but_demos() -> None:
    asked = {path.stem for path in SWEEPS.glob("*.yaml") if not path.stem.startswith("demo")}
    assert {name for names in SECTIONS.values() for name in names} == asked - TOOLS


def test_answers_name_only_numbers_of_their_reports() -> None:
    for folder in (SWEEPS / "answers").iterdir():
        header = parse_header(opening_comment(SWEEPS / f"{folder.name}.yaml"))
        report = (folder / "answer.md").read_text("utf-8")
        numbers = re.findall(r"\d+\.\d+", header["answer"])
        assert numbers, folder.name
        assert [number for number in numbers if number not in report] == []


def test_keep_copies_answer_table_and_figure(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tests.answers.SWEEPS", tmp_path / "sweeps")
    for name in ("answer.md", "arms.csv", "figures/forest.svg"):
        (tmp_path / "cell" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cell" / name).write_text(name)
    folder = keep(tmp_path / "cell")
    assert {file.name for file in folder.iterdir()} == {"answer.md", "arms.csv", "forest.svg"}
