"""A run folder reads back what was written, also after a kill or damage at any point."""

import io
import json
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.files import InputError
from pipeline.results.summary.row_table import read_row_table
from pipeline.runs.folder import (
    EpochReport,
    Failure,
    Heartbeat,
    Hypothesis,
    RunFolder,
    Stopped,
    Usage,
)
from pipeline.runs.records import read_environments
from pipeline.runs.rows import CLAMPED_LAYERS, ROW_COLUMNS, Row

DESIGNED = (  # in this order; readers of rows.jsonl and results.csv depend on it
    "run_id, epoch, split, updates, loss_per_utterance, loss_per_character, reference_loss, cer, "
    "cer_no_spaces, wer, ser, char_errors, chars, word_errors, words, utterances, infeasible, "
    "blank_argmax, blank_posterior, empty_hypotheses, input_dependence, clamp_saturation, "
    "grad_norm, learning_rate, frames, seconds, frames_per_second, loader_wait, peak_memory_bytes, "
    "emitted_chars, length_ratio, largest_z, update_size, learning_rate_sum, skipped_updates, "
    "nonfinite_utterances, nonfinite_ids, "
    + ", ".join(
        f"saturation_{layer}_{end}" for layer in CLAMPED_LAYERS for end in ("zero", "ceiling")
    )
    + ", suspicious_utterances, weights, length_correlation"
)


def row(**values: Any) -> Row:
    kinds = Row.__annotations__
    examples = {int: 7, float: 0.1, str: "x"}
    return {**{name: examples[kinds[name]] for name in ROW_COLUMNS}, **values}


def state(text: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr(zipfile.ZipInfo("archive/data.pkl"), text * 100)
    return archive.getvalue()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "0123456789ab")


def test_the_columns_and_their_order_are_fixed():
    assert ", ".join(ROW_COLUMNS) == DESIGNED


def test_an_empty_folder_has_nothing(run: RunFolder):
    assert run.run_id == "0123456789ab"
    assert run.rows() == []
    assert list(run.states()) == []
    assert run.heartbeat() is run.failure() is None
    assert run.hypotheses() == []
    assert run.environment() == {}
    assert not run.finished
    assert not run.path.exists()


def test_the_experiment_and_the_environment_read_back(run: RunFolder):
    experiment = Experiment(corpus=Corpus(name="demo", reader="demo", root="/x"))
    run.write_experiment(experiment)
    run.write_environment({"torch": "2.11.0", "threads": 2})
    assert run.experiment() == experiment
    assert run.environment() == {"torch": "2.11.0", "threads": 2}


DEEP = b"[" * 100_000


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"5", b"\xff{}", DEEP])
def test_a_damaged_environment_is_an_unknown_one(run: RunFolder, content: bytes):
    run.write_environment({"torch": "2.11.0"})
    run.environment_file.write_bytes(content)
    assert run.environment() == {}
    (run.path / "environments.jsonl").write_bytes(content)
    assert read_environments(run.path) == []


def test_a_fact_of_an_environment_is_a_number_or_a_text(run: RunFolder):
    """Tables have no other cells, and a person may edit the file."""
    run.write_environment({"torch": ["2.11", {"cuda": 13}], "cuda": None})
    facts = {"torch": '["2.11", {"cuda": 13}]', "cuda": None}
    assert run.environment() == facts
    (only,) = read_environments(run.path)
    assert facts.items() <= only.items()


def test_rows_that_are_nested_too_deeply_are_damaged_ones(run: RunFolder):
    run.path.mkdir()
    run.rows_file.write_bytes(DEEP)
    with pytest.raises(InputError, match="nested too deeply"):
        run.rows()


def test_rows_read_back_and_nan_and_infinity_are_json(run: RunFolder):
    rows = [row(epoch=1, split="train", cer=math.nan), row(epoch=1, wer=math.inf, ser=-math.inf)]
    run.commit(rows, state("1"))
    train, dev = run.rows()
    assert math.isnan(train["cer"])
    assert dev == rows[1]
    assert tuple(train) == ROW_COLUMNS

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    stored = run.rows_file.read_text().splitlines()
    assert json.loads(stored[0], parse_constant=refuse)["cer"] is None
    assert json.loads(stored[1], parse_constant=refuse)["wer"] == "inf"


def test_rows_of_an_earlier_program_lack_the_weights(run: RunFolder):
    run.commit([row(epoch=1)], state("1"))
    content = json.loads(run.rows_file.read_text())
    del content["weights"]
    run.rows_file.write_text(json.dumps(content) + "\n")
    assert run.rows() == [row(epoch=1, weights="")] == [dict(one) for one in read_row_table(run)]
    del content["suspicious_utterances"]
    run.rows_file.write_text(json.dumps(content) + "\n")
    assert run.rows() == [row(epoch=1, weights="", suspicious_utterances=0)]
    del content["cer"]
    run.rows_file.write_text(json.dumps(content) + "\n")
    with pytest.raises(InputError, match="its columns are not those of this version"):
        run.rows()


@given(st.floats(allow_nan=False))
def test_a_number_reads_back_to_the_last_bit(number: float):
    from pipeline.runs.rows import row_from_json, rows_to_jsonl

    assert row_from_json(json.loads(rows_to_jsonl([row(cer=number)])))["cer"] == number


def test_a_row_with_other_columns_is_refused_and_nothing_is_written(run: RunFolder):
    run.commit([row(epoch=1)], state("1"))
    with pytest.raises(ValueError, match=r"it differs in {'bleu'}"):
        run.commit([{**row(epoch=2), "bleu": 1.0}], state("2"))
    assert list(run.states()) == [state("1")]


def test_the_last_two_states_are_kept_newest_first(run: RunFolder):
    for epoch in "1", "2", "3":
        run.commit([row(epoch=int(epoch))], state(epoch))
    assert list(run.states()) == [state("3"), state("2")]
    assert [r["epoch"] for r in run.rows()] == [3]
    assert sorted(p.name for p in run.path.iterdir()) == [
        "rows.jsonl",
        "state.previous.pt",
        "state.pt",
    ]


KILLED = """
import pathlib, os, sys
from tests.runs import test_folder as this
from pipeline.runs import folder as module

steps, folder = int(sys.argv[1]), module.RunFolder(pathlib.Path(sys.argv[2]))
folder.commit([this.row(epoch=1)], this.state("1"))
folder.commit([this.row(epoch=2)], this.state("2"))

original = pathlib.Path.replace
def replace(self, target):
    global steps
    if steps == 0:
        os._exit(9)
    steps -= 1
    return original(self, target)
pathlib.Path.replace = replace
folder.commit([this.row(epoch=3)], this.state("3"))
"""


@pytest.mark.parametrize(
    ("moves", "states", "epoch"),
    [
        (0, ["2", "1"], 2),  # killed while it wrote the new state
        (1, ["3", "2", "1"], 2),  # the new state is complete
        (2, ["3", "2"], 2),  # the old state has moved
        (3, ["3", "2"], 2),  # between the state and the rows
        (4, ["3", "2"], 3),
    ],
)
def test_killed_in_a_commit_a_complete_state_comes_first_and_corrects_the_rows(
    run: RunFolder, moves: int, states: list[str], epoch: int
):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(moves), run.path],
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert killed.returncode == (9 if moves < 4 else 0)
    assert list(run.states()) == [state(text) for text in states]
    assert [r["epoch"] for r in run.rows()] == [epoch]
    run.restore_rows([row(epoch=int(states[0]))])
    run.commit([row(epoch=4)], state("4"))
    newest, older = run.states()
    assert newest == state("4")
    assert older in map(state, states)
    assert [r["epoch"] for r in run.rows()] == [4]


@pytest.mark.parametrize("damage", [lambda b: b[:-30], lambda b: b"", lambda b: bytes(len(b))])
def test_a_damaged_newest_state_falls_back(run: RunFolder, damage: Any):
    run.commit([row(epoch=1)], state("1"))
    run.commit([row(epoch=2)], state("2"))
    run.state_file.write_bytes(damage(run.state_file.read_bytes()))
    assert list(run.states()) == [state("1")]


def test_a_state_with_a_changed_bit_is_either_skipped_or_unchanged_in_content(run: RunFolder):
    run.commit([row(epoch=1)], state("1"))
    whole = state("1")
    for place in range(0, 8 * len(whole), 5):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        run.state_file.write_bytes(bytes(changed))
        for survivor in run.states():
            with zipfile.ZipFile(io.BytesIO(survivor)) as members:
                assert members.read(members.namelist()[0]) == b"1" * 100


def test_a_heartbeat_reads_back_with_its_nan_values(run: RunFolder):
    heartbeat = Heartbeat(epoch=3, epochs=40, update=159, loss_per_character=2.5)
    run.write_heartbeat(heartbeat)
    read = run.heartbeat()
    assert read is not None
    assert (read.epoch, read.update, read.loss_per_character) == (3, 159, 2.5)
    assert math.isnan(read.dev_cer)
    assert (read.host, read.pid, read.time) == (heartbeat.host, heartbeat.pid, heartbeat.time)
    assert not run.finished


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "[1]", '{"status": "running", "mood": 1}'),
        *('{"time": "late"}', '{"epoch": "3"}', '{"host": 7}'),
    ],
)
def test_an_unreadable_heartbeat_counts_as_that_of_a_dead_process(run: RunFolder, content: str):
    run.path.mkdir()
    run.heartbeat_file.write_text(content)
    found = run.heartbeat()
    assert found is not None
    assert (found.status, found.host, found.pid) == ("stopped", "", 0)
    assert found.time == run.heartbeat_file.stat().st_mtime
    assert not run.finished
    assert not run.integrity_error(run.heartbeat())


@pytest.mark.parametrize("content", ["", "{", '{"cause": "x"}'])
def test_an_unreadable_failure_is_a_failure(run: RunFolder, content: str):
    run.path.mkdir()
    run.failure_file.write_text(content)
    found = run.failure()
    assert found is not None
    assert found.cause == "damaged file"
    assert str(run.failure_file) in found.message


@pytest.mark.parametrize("name", ["rows.jsonl", "hypotheses.csv"])
@pytest.mark.parametrize(
    "damage", [lambda text: text[: text.find("\n") + 1], None], ids=["cut", "gone"]
)
def test_a_finished_run_whose_files_have_changed_is_not_finished(
    run: RunFolder, name: str, damage: Any
):
    run.restore_rows([row(epoch=1), row(epoch=2)])
    run.finish([Hypothesis.of("a-1", "dev", "ENTER SIX", "ENTERSIX")])
    assert run.finished
    assert not run.integrity_error(run.heartbeat())
    file = run.path / name
    if damage:
        file.write_text(damage(file.read_text()))
    else:
        file.unlink()
    assert not run.finished
    assert "run make sweep again to repair it" in run.integrity_error(run.heartbeat())


def test_a_change_of_the_same_length_is_noticed(run: RunFolder):
    run.restore_rows([row(epoch=1)])
    run.finish([])
    assert run.finished
    text = run.rows_file.read_text()
    run.rows_file.write_text(text.replace('"epoch": 1', '"epoch": 2'))
    os.utime(run.rows_file, ns=(1, 1))
    assert not run.finished


def test_the_state_version_is_that_of_the_newest_file(run: RunFolder):
    assert run.state_version == ""
    run.commit([row(epoch=1)], state("1"))
    os.utime(run.state_file, ns=(5, 5))
    first = run.state_version
    os.utime(run.state_file, ns=(6, 6))
    second = run.state_version
    (run.path / "state.next.pt").write_bytes(state("2"))  # killed in the middle of a commit
    assert "" != first != second != run.state_version


def test_usages_read_back_with_their_nan_values(run: RunFolder):
    assert run.usages() == []
    known = Usage(began=1.0, seconds=2.0, cpu_seconds=3.0, gpu_busy=0.5, waited=7.0, memory_gb=4.0)
    unknown = Usage(began=1.0, seconds=2.0, cpu_seconds=3.0)
    run.write_usages([known, unknown])
    first, second = run.usages()
    assert first == known
    assert math.isnan(second.gpu_busy)
    assert math.isnan(second.waited)
    assert second.memory_gb is None
    assert known.cpus_used == 1.5


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "[1]", '[{"mood": 1}]'])
def test_an_unreadable_usage_file_has_no_usages(run: RunFolder, content: str):
    run.path.mkdir()
    run.usage_file.write_text(content)
    assert run.usages() == []


def test_an_epoch_report_reads_back(run: RunFolder):
    assert run.epoch_report() is None
    report = EpochReport(
        3, "on the blank plateau", (("a-1", "ENTER SIX", "ENTR"), ("b-2", "YES", ""))
    )
    run.write_epoch_report(report)
    assert run.epoch_report() == report
    run.epoch_report_file.write_text("{")
    assert run.epoch_report() is None


def test_a_failure_reads_back_and_is_cleared(run: RunFolder):
    failure = Failure(cause="out of memory", message="needs 90 GiB, has 80; lower train.batch")
    run.write_failure(failure)
    assert run.failure() == failure
    run.clear_failure()
    run.clear_failure()
    assert run.failure() is None


def test_finishing_writes_the_hypotheses_and_keeps_the_last_numbers(run: RunFolder):
    run.write_heartbeat(
        Heartbeat(epoch=40, epochs=40, dev_cer=0.08, seconds_left=3.0, doing="reading", time=1.0)
    )
    hypotheses = [
        Hypothesis.of("a-1", "dev", "ENTER SIX", " ENTERSIX ", "a, the first", loss=0.1),
        Hypothesis.of("b-1", "test", 'SAY "ON, OFF"', "", loss=math.inf),
        Hypothesis.of("b-2", "test", "GO", "GO"),
    ]
    run.finish(hypotheses)
    assert run.hypotheses() == hypotheses
    assert run.finished
    last = run.heartbeat()
    assert last is not None
    assert (last.epoch, last.dev_cer, last.seconds_left, last.doing) == (40, 0.08, 0.0, "")
    assert last.time > 1.7e9
    assert b"\r" not in run.hypotheses_file.read_bytes()
    header, first, second, third = run.hypotheses_file.read_text().splitlines()
    assert header == (
        "utterance_id,split,reference,hypothesis,char_errors,chars,char_errors_no_spaces,"
        "chars_no_spaces,word_errors,words,char_substitutions,char_deletions,char_insertions,"
        "word_substitutions,word_deletions,word_insertions,speaker,loss"
    )
    assert first == 'a-1,dev,ENTER SIX,ENTERSIX,1,9,0,8,2,2,0,1,0,1,1,0,"a, the first",0.1'
    assert second.endswith(",inf")
    assert third.endswith(",")  # nan: not measured


@pytest.mark.parametrize("columns", [1, 2])
def test_hypotheses_of_earlier_versions_have_no_loss_and_no_speaker(run: RunFolder, columns: int):
    run.finish([Hypothesis.of("a-1", "dev", "ENTER SIX", "ENTERSIX", "a", loss=2.5)])
    lines = run.hypotheses_file.read_text().splitlines()
    older = [line.rsplit(",", columns)[0] for line in lines]
    assert older[0].endswith(("word_insertions", "speaker"))
    run.hypotheses_file.write_text("\n".join(older) + "\n")
    speaker = "a" if columns == 1 else ""
    assert run.hypotheses() == [Hypothesis.of("a-1", "dev", "ENTER SIX", "ENTERSIX", speaker)]


def test_a_run_is_not_finished_before_its_hypotheses_are_written(run: RunFolder, monkeypatch: Any):
    def full(path: Path, content: str) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("pipeline.runs.folder.write_text", full)
    with pytest.raises(OSError, match="No space"):
        run.finish([])
    assert not run.finished


def test_stopping_is_not_an_input_error():
    assert not issubclass(Stopped, ValueError | OSError)


def test_a_login_node_reads_a_run_without_torch():
    script = "import sys, pipeline.runs.folder as r; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_half_a_line_of_rows_is_refused_and_the_message_says_what_to_do(run: RunFolder):
    run.commit([row(epoch=1)], state("1"))
    run.rows_file.write_text(run.rows_file.read_text()[:50])
    with pytest.raises(InputError, match=r"rows.jsonl: .*; run make sweep again to repair it"):
        run.rows()


@pytest.mark.parametrize("line", ["[1]", '{"epoch": "x"}', "null"])
def test_json_without_the_columns_of_a_row_is_refused_with_the_file_name(run: RunFolder, line: str):
    run.rows_file.parent.mkdir(parents=True, exist_ok=True)
    run.rows_file.write_text(line + "\n")
    with pytest.raises(
        InputError, match=r"rows.jsonl: its columns are not those .* to train the run again"
    ):
        run.rows()


def test_a_run_keeps_the_alphabet_that_it_began_with(tmp_path):
    run = RunFolder(tmp_path / "r1")
    run.write_alphabet("<space>\na\nı\n")
    run.write_alphabet("<space>\na\nı\n")
    assert (run.path / "alphabet.txt").read_text(encoding="utf-8") == "<space>\na\nı\n"
    with pytest.raises(InputError, match="has other letters now; delete the run's folder"):
        run.write_alphabet("<space>\na\n")
