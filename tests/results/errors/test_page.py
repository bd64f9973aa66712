"""Tests of the section on the page: complete, escaped, in any script, and bounded in size."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.results.summary.run_summary import SweepRun
from pipeline.runs.hypotheses import Hypothesis
from pipeline.runs.posteriors import Posterior, choose_utterances, write_posteriors
from tests.results.example_report import write_report
from tests.results.examples import RunScenario, make_run
from tests.training.letters import write_feature_set

SHORT = RunScenario(escape_updates=60, epochs=3, utterances=6)
HOSTILE = "<script>alert(1)</script> & <b>bold</b>"
TEXTS = ["السلام عليكم", HOSTILE, "STOP", "GO ON NOW", "今天天气很好我们去公园玩吧好"]
WRONG = ["السلم عليكم", "<script>", "STOP", "GO NOW", "今天气很好我们去公园玩吧好"]


def run_with_texts(folder: Path, label: str, texts: list[str], features: Path | None) -> SweepRun:
    """A finished run with these hypotheses, with losses and posteriors."""
    run = make_run(folder, label, {"model.hidden": len(label)}, SHORT)
    hypotheses = [
        Hypothesis.of(f"u{n}", "test", reference, text, f"speaker {n}", loss=n + 0.5)
        for n, (reference, text) in enumerate(zip(TEXTS, texts, strict=True))
    ]
    run.folder.finish(hypotheses)
    logs = np.log(np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]]))
    posteriors = [
        Posterior.of(f"u{n}", 30, logs, ["", "<i>"]) for n in choose_utterances(hypotheses)
    ]
    write_posteriors(run.folder.posteriors_file, posteriors)
    return SweepRun(run.label, run.settings, run.folder, features)


def section_of(page: Path) -> str:
    source = page.read_text("utf-8")
    return source.split('<section aria-labelledby="errors">')[1].split("</section>")[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    test = [(f"u{n}", "test", "AB", 30) for n in range(len(TEXTS))]
    write_feature_set([("t", "train", "AB C", 30), *test], folder / "mel-x")
    runs = [
        run_with_texts(folder / "a", "first", WRONG, folder / "mel-x"),
        run_with_texts(folder / "b", "second", [*WRONG[:2], "STOP GO", *TEXTS[3:]], None),
    ]
    write_report(runs, folder / "report")
    return folder / "report"


@pytest.fixture(scope="module")
def section(folder: Path) -> str:
    return section_of(folder / "report.html")


def test_transcripts_stay_text(section: str):
    assert "<script" not in section
    assert "<b>bold" not in section
    assert "<i>" not in section
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in section


def test_a_text_from_right_to_left_keeps_its_direction(section: str):
    aligned = section.split('<ol class="aligned" dir="auto">')[1:]
    missing = "السل<del>ا</del>م"  # a letter of the first word
    assert any(missing in each.partition("</ol>")[0] for each in aligned)
    assert '<abbr title="substituted">S</abbr>' in section
    assert '<abbr title="deleted">D</abbr>' in section
    assert '<abbr title="inserted">I</abbr>' in section


def test_utterances_are_drawn_with_words_for_those_who_do_not_see_them(section: str, folder: Path):
    drawn = section.split("Output of the network over time")[1]
    files = sorted(path.name for path in (folder / "figures").glob("utterance-*.svg"))
    assert drawn.count("<figure>") == drawn.count('aria-label="Spectrogram') == len(files) > 2
    assert "Emitted: &lt;i&gt;" in drawn


def test_the_tables_are_linked_and_written(section: str, folder: Path):
    names = {path.name for path in folder.glob("errors_*.csv")}
    assert "errors_words.csv" in names
    for name in names:
        assert f'<a href="{name}">' in section
        assert len(pd.read_csv(folder / name)) > 0
    table = pd.read_csv(folder / "errors_utterances.csv", keep_default_na=False)
    assert set(table.reference) == set(TEXTS)
    assert table.loss_per_character.min() > 0


def test_high_losses_are_listed(section: str):
    losses = section.split("Highest loss per character, dev and test splits</caption>")[1]
    assert losses.index(">u2<") < losses.index(">u0<")  # 2.5 nats / 4, 0.5 / 12


def test_many_arms_do_not_make_the_section_longer(tmp_path: Path):
    runs = [
        make_run(tmp_path / f"r{n}", f"arm {n}", {"model.hidden": n + 1}, SHORT) for n in range(14)
    ]
    few = section_of(write_report(runs[:7], tmp_path / "few").page)
    many = section_of(write_report(runs, tmp_path / "many").page)
    assert abs(len(many) - len(few)) < 500
    assert "Shown are the 6 best arms on dev." in many
    operations = pd.read_csv(tmp_path / "many" / "errors_operations.csv")
    assert len(operations) == 14  # the file has every run


def test_a_speaker_who_stands_apart_is_named_on_the_page_and_to_the_terminal(tmp_path: Path):
    run = make_run(tmp_path / "a", "a", {}, SHORT)
    run.folder.finish(
        [
            Hypothesis.of(f"u{n}", "test", "GO ON NOW", text, f"s{n % 10}")
            for n in range(100)
            for text in ["XXXX" if n % 10 == 3 else "GO ON NOW"[n % 3 :]]
        ]
    )
    written = write_report([run], tmp_path / "report")
    sentence = (
        "Speakers that stand apart in a: s3, test CER 100.0 %, the others 14.8 %. Listen to a "
        "recording of each: the audio or the transcripts may be damaged."
    )
    assert written.notes == (sentence,)  # the others: 0, 1 or 3 of 9 characters
    section = section_of(written.page).replace("\u202f", " ")
    assert sentence in section
    table = pd.read_csv(tmp_path / "report" / "errors_speakers.csv")
    assert table[table.stands_apart].speaker.tolist() == ["s3"]


def test_an_older_report_leaves_no_table_behind(tmp_path: Path):
    run = make_run(tmp_path / "a", "a", {}, SHORT)
    write_report([run], tmp_path / "report")
    assert list((tmp_path / "report").glob("errors_*.csv"))
    (tmp_path / "report/figures/utterance-1.svg").write_text("old")
    waiting = make_run(tmp_path / "b", "b", {}, state="waiting")
    page = write_report([waiting], tmp_path / "report").page
    assert list((tmp_path / "report").glob("errors_*.csv")) == []
    assert list((tmp_path / "report/figures").glob("utterance-*")) == []
    assert "Errors on the test split" not in page.read_text("utf-8")
