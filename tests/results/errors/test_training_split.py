"""The training utterances of an arm, ranked by their loss; wrong transcripts come first."""

import math
import random
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from pipeline.results.errors.training_split import SHOWN, rank_training_split
from pipeline.runs.hypotheses import TRAIN_FILE, Hypothesis, write_train_hypotheses
from tests.results.errors.tested import make_arm
from tests.results.example_report import write_report
from tests.results.examples import RunScenario, make_run

ARM = make_arm(["GO"], ["GO"], ["GO"], name="mel")


def write_losses(folder: Path, losses: Sequence[float], texts: Sequence[str]) -> None:
    folder.mkdir(exist_ok=True)
    write_train_hypotheses(
        folder,
        [
            Hypothesis.of(f"u{n}", "train", "ABCD", text, f"s{n}", loss=loss)
            for n, (loss, text) in enumerate(zip(losses, texts, strict=True))
        ],
    )


def test_the_file_of_a_run_has_the_worst_first_and_unknown_losses_last(tmp_path: Path):
    write_losses(tmp_path, [4.0, math.inf, math.nan, 8.0, 4.0], ["ABCD", "", "X", "ABXD", "A"])
    table = pd.read_csv(tmp_path / TRAIN_FILE)
    assert table.utterance_id.tolist() == ["u1", "u3", "u4", "u0", "u2"]


def test_losses_and_errors_are_means_over_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_losses(Path("mel0"), [2.0, 4.0, 8.0], ["ABCD", "ABC", "X"])
    write_losses(Path("mel1"), [4.0, 16.0, math.inf], ["ABCD", "ABCD", "ABCD"])
    found = rank_training_split(ARM)
    assert found is not None
    table = found.table.set_index("utterance_id")
    assert table.index.tolist() == ["u2", "u1", "u0"]
    assert table.loss_per_character.tolist() == [math.inf, 2.5, 0.75]
    assert table.cer.tolist() == [4 / 4 / 2, 1 / 4 / 2, 0]
    assert table.hypothesis.tolist() == ["X", "ABC", "ABCD"], "of the best run on dev"
    assert [one.utterance_id for one in found.shown] == ["u2", "u1", "u0"]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"utterance_id,loss\nu0,many\n"])
def test_without_a_readable_file_there_is_no_ranking(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("mel0").mkdir()
        Path("mel0", TRAIN_FILE).write_bytes(content)
    assert rank_training_split(ARM) is None


def test_the_report_ranks_them_and_names_a_speaker_that_stands_apart(tmp_path: Path):
    run = make_run(tmp_path / "a", "mel", {}, RunScenario(epochs=3, escape_updates=60))
    draw = random.Random(0)
    hypotheses = []
    for n in range(200):
        speaker = f"s{n % 20:02}"
        text = "XXXX" if speaker == "s07" else draw.choice(["GO ON NOW", "GO ON NO"])
        loss = draw.uniform(20, 30) if speaker == "s07" else draw.uniform(1, 9)
        hypotheses.append(Hypothesis.of(f"t{n:03}", "train", "GO ON NOW", text, speaker, loss=loss))
    write_train_hypotheses(run.folder.path, hypotheses)
    written = write_report([run], tmp_path / "report")
    table = pd.read_csv(tmp_path / "report" / "errors_training.csv")
    assert set(table.speaker[:10]) == {"s07"}
    assert len(table) == 200
    assert "in mel: s07, training CER 100.0 %" in " ".join(written.notes)
    page = written.page.read_text("utf-8")
    shown = page.split('<h4 id="training-losses">')[1].split("</table>")[0]
    assert shown.count("<tr>") == SHOWN + 1
    assert "| `loss_per_character` |" in (tmp_path / "report" / "columns.md").read_text("utf-8")
