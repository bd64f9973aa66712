"""Identical duplicates are skipped and conflicting ones refused, in every layout."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.corpus.layouts.entries import collect_unique
from pipeline.corpus.layouts.parsing import read_keyed_lines
from pipeline.corpus.manifest import Refusal
from tests.corpus.layouts.conftest import refusal_reasons, write_lines, write_noise

TSV = "client_id\tpath\tsentence"
SOURCE = '"sources": [{"type": "file", "channels": [0], "source": "%s.wav"}]'


def recording(name: str, file: str) -> str:
    return f'{{"id": "{name}", {SOURCE % file}}}'


def supervision(name: str, of: str, words: str = "YES") -> str:
    return json.dumps({"id": name, "recording_id": of, "text": words})


# Reader and its lists; an identical and a conflicting line, appended to the last list; the refused
# utterance and the message for the conflicting line.
LAYOUTS = {
    "kaldi, text": (
        ("kaldi", {"wav.scp": ["a a.wav", "b b.wav"], "text": ["a YES", "b NO"]}),
        ("a YES", "a STOP"),
        ("a", "text:3: duplicate id 'a': 'STOP' here, 'YES' in {}/text:1"),
    ),
    "kaldi, utt2spk": (
        ("kaldi", {"wav.scp": ["a a.wav"], "text": ["a YES"], "utt2spk": ["a s"]}),
        ("a s", "a t"),
        ("a", "utt2spk:2: duplicate id 'a': 't' here, 's' in {}/utt2spk:1"),
    ),
    "kaldi, segments": (
        ("kaldi", {"wav.scp": ["r a.wav"], "text": ["a YES"], "segments": ["a r 0 0.3"]}),
        ("a r 0.0 0.3", "a r 0.1 0.3"),
        ("a", "segments:2: duplicate id 'a': start '0.1' here, '0.0' in {}/segments:1"),
    ),
    "librispeech": (
        ("librispeech", {"train-x/1/2/1-2.trans.txt": ["1-2-0 YES"]}),
        ("1-2-0 YES", "1-2-0 NO"),
        ("1-2-0", "trans.txt:2: duplicate id '1-2-0': transcript 'NO' here, 'YES' in"),
    ),
    "common voice": (
        ("common-voice", {"train.tsv": [TSV, "s\ta.mp3\tyes"]}),
        ("s\ta.mp3\tyes", "t\ta.mp3\tyes"),
        ("a", "train.tsv:3: duplicate id 'a': speaker 't' here, 's' in {}/train.tsv:2"),
    ),
    "ljspeech": (
        ("ljspeech", {"metadata.csv": ["a|1|one"]}),
        ("a|1|one", "a|2|two"),
        ("a", "metadata.csv:2: duplicate id 'a': transcript 'two' here, 'one' in"),
    ),
    "audiofolder": (
        ("audiofolder", {"metadata.csv": ["file_name,text", "a.wav,yes"]}),
        ("a.wav,yes", "a.wav,no"),
        ("a", "metadata.csv:3: duplicate id 'a': transcript 'no' here, 'yes' in"),
    ),
    "csv": (
        ("csv", {"train.csv": ["audio,text,split", "a.wav,yes,"]}),
        ("a.wav,yes,", "a.wav,yes,dev"),
        ("a", "train.csv:3: duplicate id 'a': split 'dev' here, 'train' in {}/train.csv:2"),
    ),
    "nemo": (
        ("nemo", {"train.json": ['{"audio_filepath": "a.wav", "text": "yes"}']}),
        (
            '{"text": "yes", "audio_filepath": "a.wav"}',
            '{"text": "yes", "audio_filepath": "a.wav", "duration": 0.3}',
        ),
        ("a", "train.json:2: duplicate id 'a': duration '0.3' here, '' in {}/train.json:1"),
    ),
    "lhotse, recordings": (
        (
            "lhotse",
            {
                "supervisions.jsonl": [supervision("a", "r")],
                "recordings.jsonl": [recording("r", "a")],
            },
        ),
        (recording("r", "a"), recording("r", "b")),
        ("r", "recordings.jsonl:2: duplicate id 'r': sources \"…source': 'b.wav'"),
    ),
    "lhotse, supervisions": (
        (
            "lhotse",
            {
                "recordings.jsonl": [recording("r", "a")],
                "supervisions.jsonl": [supervision("a", "r")],
            },
        ),
        (supervision("a", "r"), supervision("a", "r", "NO")),
        ("a", "supervisions.jsonl:2: duplicate id 'a': transcript 'NO' here, 'YES' in"),
    ),
}


@pytest.mark.parametrize(
    ("corpus", "lines", "refused"),
    LAYOUTS.values(),
    ids=[name.replace(" ", "-") for name in LAYOUTS],
)
def test_an_identical_line_is_skipped_and_a_conflicting_one_is_refused(
    corpus: tuple[str, dict[str, list[str]]],
    lines: tuple[str, str],
    refused: tuple[str, str],
    tmp_path: Path,
    read_corpus: Callable,
):
    reader, lists = corpus
    for name in ("a.wav", "b.wav", "wavs/a.wav", "clips/a.mp3", "train-x/1/2/1-2-0.flac"):
        write_noise(tmp_path / name)
    for name, content in lists.items():
        write_lines(tmp_path / name, *content)
    once = read_corpus(reader, unlisted="ignore")
    assert once.refusals == ()

    name, content = list(lists.items())[-1]
    write_lines(tmp_path / name, *content, lines[0])
    assert read_corpus(reader, unlisted="ignore") == once

    write_lines(tmp_path / name, *content, lines[1])
    twice = read_corpus(reader, unlisted="ignore")
    assert twice.utterances == once.utterances
    utterance, reason = refused
    ((refused_id, found),) = refusal_reasons(twice).items()
    assert refused_id == utterance
    assert found.startswith(f"{tmp_path / name}:")
    assert reason.format(tmp_path) in found
    assert found.endswith(" (kept); remove one of the two lines")


def test_long_values_are_shown_from_where_they_differ(tmp_path: Path):
    path = write_lines(
        tmp_path / "text", f"a {'LA ' * 30}END", f"a {'LA ' * 30}STOP, AND {'SO ' * 30}ON"
    )
    refusals: list[Refusal] = []
    assert collect_unique(read_keyed_lines(path, refusals), refusals) == {"a": f"{'LA ' * 30}END"}
    shown = f"STOP, AND {'SO ' * 30}"[:30]
    assert f"'… LA LA LA {shown}' here, '… LA LA LA END' in" in refusals[0].reason


def test_a_longer_value_is_shown_from_where_the_other_ends(tmp_path: Path):
    path = write_lines(tmp_path / "text", f"a {'LA ' * 30}END", f"a {'LA ' * 30}")
    refusals: list[Refusal] = []
    collect_unique(read_keyed_lines(path, refusals), refusals)
    assert "'…A LA LA LA' here, '…A LA LA LA END' in" in refusals[0].reason
