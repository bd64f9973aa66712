"""Absolute paths are hidden; everything else of a message stays."""

import pytest

from pipeline.results.summary.machine_paths import hide_folders


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/eva/an4/wav/x.wav: is cut short", "…/x.wav: is cut short"),
        ("cannot read '/scratch/eva/runs/1/rows.jsonl'", "cannot read '…/rows.jsonl'"),
        (r"C:\Users\eva\an4\x.wav: is empty", "…/x.wav: is empty"),
        ("a/b.wav, wav/c/d.wav and 3/4 of it", "a/b.wav, wav/c/d.wav and 3/4 of it"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("</script><b>/</b>", "</script><b>/</b>"),
        ("24 kHz / 16 bit", "24 kHz / 16 bit"),
        ("set train.clip, or lower it", "set train.clip, or lower it"),
    ],
)
def test_only_absolute_paths_lose_their_folders(text: str, expected: str):
    assert hide_folders(text) == expected


def test_a_home_folder_with_spaces_is_left_out_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/Users/Jane Doe")
    assert hide_folders("/Users/Jane Doe/an4/x.wav: cut short") == "…/x.wav: cut short"
    assert hide_folders("'/Users/Jane Doe/x.wav' is empty") == "'…/x.wav' is empty"
    monkeypatch.setenv("HOME", "/")
    assert hide_folders("rate and/or hop: /x/y.wav") == "rate and/or hop: …/y.wav"
