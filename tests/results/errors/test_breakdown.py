"""Tests of the breakdown of errors: groups add up to the whole, whatever the grouping."""

from collections import Counter
from pathlib import Path

import jiwer
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.results.comparison.arms import compare_runs
from pipeline.results.errors import breakdown
from pipeline.results.errors.confusions import count_confusions
from pipeline.results.summary.run_summary import SweepRun, read_run
from tests.results.errors.tested import make_arm
from tests.results.examples import NOW

REFERENCES = ["ENTER SIX", "YES", "GO ON NOW", "STOP", "ERASE T W O"]
ONE = ["ENTER SIKS", "YES", "GO NOW", "", "ERASE T W O"]
OTHER = ["ENTER", "YET", "GO ON NOW", "STOP", "ERASE W"]
SPEAKERS = ["s", "s", "t", "t", "u"]


def test_operations_are_sums_of_each_run(sweep_runs: list[SweepRun]):
    comparison = compare_runs([read_run(run, NOW) for run in sweep_runs])
    table = breakdown.operations_table(comparison.arms).set_index("label")
    for arm in comparison.arms:
        for run in arm.runs:
            line = table.loc[run.run.label]
            texts = [(each.reference, each.hypothesis) for each in run.hypotheses_for("test")]
            theirs = jiwer.process_characters(*map(list, zip(*texts, strict=True)))
            kinds = ("substitutions", "deletions", "insertions")
            assert [line[f"char_{kind}"] for kind in kinds] == [
                getattr(theirs, kind) for kind in kinds
            ]
            assert line.word_errors == run.test_row["word_errors"]  # type: ignore[index]
            assert line.run_id == run.run_id


def test_speakers_come_from_the_highest_cer_of_the_best_arm():
    arms = [make_arm(REFERENCES, ONE, OTHER, speakers=SPEAKERS)]
    arms.append(make_arm(REFERENCES, OTHER, speakers=SPEAKERS, name="b"))
    table = breakdown.speaker_table(arms)
    assert table.arm.tolist() == ["a"] * 3 + ["b"] * 3
    first = table[table.arm == "a"]
    assert first.cer.is_monotonic_decreasing
    assert first.speaker.tolist() == table[table.arm == "b"].speaker.tolist()
    t = first.set_index("speaker").loc["t"]
    # ON and a space are missing in one run, and STOP: 3 and 4 errors, halved
    assert (t.utterances, t.chars, t.char_errors) == (2, 13, 3.5)
    assert t.cer == pytest.approx(3.5 / 13)
    groups = breakdown.list_groups(table, "speaker", "utterances", "cer")
    assert [group.name for group in groups] == first.speaker.tolist()
    assert groups[0].rates == (first.cer.iloc[0], table[table.arm == "b"].cer.iloc[0])


def test_without_known_speakers_there_is_no_line():
    table = breakdown.speaker_table([make_arm(REFERENCES, ONE)])
    assert table.empty
    assert breakdown.list_groups(table, "speaker", "utterances", "cer") == ()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_every_utterance_is_in_one_range_of_lengths(lengths: list[int]):
    references = ["A" * length for length in lengths]
    table = breakdown.length_table([make_arm(references, ["A"] * len(lengths))])
    assert 1 <= len(table) <= breakdown.LENGTH_GROUPS
    assert table.utterances.sum() == len(lengths)
    assert table.chars.sum() == sum(lengths)
    assert table.char_errors.sum() == sum(lengths) - len(lengths)
    for line in table.itertuples():
        low, _, high = line.characters.partition(" to ")
        inside = [length for length in lengths if int(low) <= length <= int(high or low)]
        assert (len(inside), sum(inside)) == (line.utterances, line.chars)


def test_ranges_of_lengths_have_about_as_many_utterances():
    references = ["A" * length for length in range(1, 41)]
    table = breakdown.length_table([make_arm(references, references)])
    assert len(table) == breakdown.LENGTH_GROUPS == 4
    assert table.utterances.between(9, 11).all()
    assert table.characters.iloc[0].startswith("1 to ")
    assert table.characters.iloc[-1].endswith(" to 40")


def test_wrong_words_are_counted_by_their_frequency_in_training():
    arm = make_arm(["GO ON GO", "NEW"], ["GO IN GO", "NEW X"], ["ON GO", ""])
    training = {"GO": 12, "ON": 1}
    references = {"GO": 2, "ON": 1, "NEW": 1}
    table = breakdown.frequency_table(
        [(arm, count_confusions(arm, "word"))], references, training
    ).set_index("training_count")
    assert table.index.tolist() == ["0", "1", "10 to 99"]
    # per run: NEW is missing in one; ON is IN in one; one GO is missing in one; X belongs to none
    assert table.word_errors.tolist() == [0.5, 0.5, 0.5]
    assert table.error_rate.tolist() == [0.5, 0.5, 0.25]
    assert breakdown.frequency_table([], references, training).empty


@pytest.mark.parametrize(
    ("count", "name"),
    [(0, "0"), (1, "1"), (2, "2 to 9"), (9, "2 to 9"), (99, "10 to 99"), (5000, "1000 or more")],
)
def test_bands_of_frequency(count: int, name: str):
    arm = make_arm(["A"], ["A"])
    table = breakdown.frequency_table([(arm, Counter())], {"A": 1}, {"A": count})
    assert table.training_count.tolist() == [name]


def test_tables_are_plain_numbers(tmp_path: Path):
    table = breakdown.length_table([make_arm(REFERENCES, ONE)])
    table.to_csv(tmp_path / "x.csv", index=False)
    again = pd.read_csv(tmp_path / "x.csv")
    assert again.cer.tolist() == table.cer.tolist()
