"""The page of questions and answers, against the sweep files and the kept reports."""

import csv
import re

from pipeline.results.page.views import parse_header
from tests.answers import KEPT, PAGE, SECTIONS, SWEEPS, keep, opening_comment, page

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
        with (folder / "arms.csv").open(encoding="utf-8", newline="") as file:
            arms = list(csv.DictReader(file))
        columns = [each for each in arms[0] if each.startswith(("test_cer", "difference"))]
        cells = [arm[each] for arm in arms for each in columns if arm[each]]
        rates = {f"{100 * abs(float(cell)):.1f}" for cell in cells}
        rates |= {number for arm in arms for number in re.findall(r"\d+\.\d+", arm["label"])}
        numbers = re.findall(r"\d+\.\d+", header["answer"])
        assert numbers, folder.name
        assert [number for number in numbers if number not in report and number not in rates] == []


def test_keep_copies_answer_tables_and_figures(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tests.answers.SWEEPS", tmp_path / "sweeps")
    for name in KEPT:
        (tmp_path / "cell" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cell" / name).write_text(name)
    answer = (
        "Best: lstm. Next, with the best run on dev, lstm, seed 0: make decode\n\n    make sweep\n"
    )
    (tmp_path / "cell" / "answer.md").write_text(answer)
    (tmp_path / "cell" / "results.csv").write_text(
        "label,split,epoch,run_id,updates,cer,loss_per_character\n"
        '"lstm, seed 0",dev,1,a,40,0.5,2\n"lstm, seed 1",dev,1,b,42,0.7,3\n'
        '"lstm, seed 0",test,1,a,40,0.1,1\n"gru, seed 0",dev,1,c,41,0.9,4\n'
    )
    folder = keep(tmp_path / "cell")
    assert {file.name for file in folder.iterdir()} == {
        *("answer.md", "arms.csv", "phases.csv", "curves.csv"),
        *("forest.svg", "cer.svg", "loss.svg"),
    }
    assert (folder / "answer.md").read_text() == "Best: lstm.\n\n    make sweep\n"
    assert (folder / "curves.csv").read_text().splitlines() == [
        "arm,split,epoch,runs,updates,cer_mean,cer_min,cer_max,loss_mean,loss_min,loss_max",
        "lstm,dev,1,2,41.0,0.6,0.5,0.7,2.5,2,3",
        "gru,dev,1,1,41.0,0.9,0.9,0.9,4.0,4,4",
    ]
