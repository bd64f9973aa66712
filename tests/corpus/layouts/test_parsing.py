"""What a list says twice: the same is passed over, another thing is refused; in every layout."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.corpus.layouts.parsing import collect_unique, read_keyed_lines
from pipeline.corpus.manifest import Refusal
from pipeline.files import InputError
from tests.corpus.layouts.conftest import refusal_reasons, write_lines, write_noise

TSV = "client_id\tpath\tsentence"
SOURCE = '"sources": [{"type": "file", "channels": [0], "source": "%s.wav"}]'


def recording(name: str, file: str) -> str:
    return f'{{"id": "{name}", {SOURCE % file}}}'


def supervision(name: str, of: str, words: str = "YES") -> str:
    return json.dumps({"id": name, "recording_id": of, "text": words})


# Reader, its lists, the last of which is extended by a line as there is one, or by another one;
# the utterance that is refused, and how that other line differs.
LAYOUTS = {
    "kaldi, text": (
        ("kaldi", {"wav.scp": ["a a.wav", "b b.wav"], "text": ["a YES", "b NO"]}),
        ("a YES", "a STOP"),
        ("a", "text:3: has 'a' again, with 'STOP', and with 'YES' in {}/text:1"),
    ),
    "kaldi, utt2spk": (
        ("kaldi", {"wav.scp": ["a a.wav"], "text": ["a YES"], "utt2spk": ["a s"]}),
        ("a s", "a t"),
        ("a", "utt2spk:2: has 'a' again, with 't', and with 's' in {}/utt2spk:1"),
    ),
    "kaldi, segments": (
        ("kaldi", {"wav.scp": ["r a.wav"], "text": ["a YES"], "segments": ["a r 0 0.3"]}),
        ("a r 0.0 0.3", "a r 0.1 0.3"),
        ("a", "segments:2: has 'a' again, with start '0.1', and with '0.0' in {}/segments:1"),
    ),
    "librispeech": (
        ("librispeech", {"train-x/1/2/1-2.trans.txt": ["1-2-0 YES"]}),
        ("1-2-0 YES", "1-2-0 NO"),
        ("1-2-0", "trans.txt:2: has '1-2-0' again, with transcript 'NO', and with 'YES' in"),
    ),
    "common voice": (
        ("common-voice", {"train.tsv": [TSV, "s\ta.mp3\tyes"]}),
        ("s\ta.mp3\tyes", "t\ta.mp3\tyes"),
        ("a", "train.tsv:3: has 'a' again, with speaker 't', and with 's' in {}/train.tsv:2"),
    ),
    "ljspeech": (
        ("ljspeech", {"metadata.csv": ["a|1|one"]}),
        ("a|1|one", "a|2|two"),
        ("a", "metadata.csv:2: has 'a' again, with transcript 'two', and with 'one' in"),
    ),
    "audiofolder": (
        ("audiofolder", {"metadata.csv": ["file_name,text", "a.wav,yes"]}),
        ("a.wav,yes", "a.wav,no"),
        ("a", "metadata.csv:3: has 'a' again, with transcript 'no', and with 'yes' in"),
    ),
    "csv": (
        ("csv", {"train.csv": ["audio,text,split", "a.wav,yes,"]}),
        ("a.wav,yes,", "a.wav,yes,dev"),
        ("a", "train.csv:3: has 'a' again, with split 'dev', and with 'train' in {}/train.csv:2"),
    ),
    "nemo": (
        ("nemo", {"train.json": ['{"audio_filepath": "a.wav", "text": "yes"}']}),
        (
            '{"text": "yes", "audio_filepath": "a.wav"}',
            '{"text": "yes", "audio_filepath": "a.wav", "duration": 0.3}',
        ),
        ("a", "train.json:2: has 'a' again, with duration '0.3', and with '' in {}/train.json:1"),
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
        ("r", "recordings.jsonl:2: has 'r' again, with sources \"…source': 'b.wav'"),
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
        ("a", "supervisions.jsonl:2: has 'a' again, with transcript 'NO', and with 'YES' in"),
    ),
}


@pytest.mark.parametrize(
    ("corpus", "lines", "refused"),
    LAYOUTS.values(),
    ids=[name.replace(" ", "-") for name in LAYOUTS],
)
def test_of_what_is_listed_twice_the_first_holds_and_another_thing_is_refused(
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
    once = read_corpus(reader)
    assert once.refusals == ()

    name, content = list(lists.items())[-1]
    write_lines(tmp_path / name, *content, lines[0])
    assert read_corpus(reader) == once

    write_lines(tmp_path / name, *content, lines[1])
    twice = read_corpus(reader)
    assert twice.utterances == once.utterances
    utterance, reason = refused
    (said,) = refusal_reasons(twice).items()
    assert said[0] == utterance
    assert said[1].startswith(f"{tmp_path / name}:")
    assert reason.format(tmp_path) in said[1]
    assert said[1].endswith(", which holds; take one of them out")


def test_of_long_values_the_place_is_shown_where_they_differ(tmp_path: Path):
    path = write_lines(
        tmp_path / "text", f"a {'LA ' * 30}END", f"a {'LA ' * 30}STOP, AND {'SO ' * 30}ON"
    )
    refusals: list[Refusal] = []
    assert collect_unique(read_keyed_lines(path), refusals) == {"a": f"{'LA ' * 30}END"}
    shown = f"STOP, AND {'SO ' * 30}"[:30]
    assert f"with '… LA LA LA {shown}', and with '… LA LA LA END' in" in refusals[0].reason


def test_a_value_that_goes_on_is_shown_where_the_other_ends(tmp_path: Path):
    path = write_lines(tmp_path / "text", f"a {'LA ' * 30}END", f"a {'LA ' * 30}")
    refusals: list[Refusal] = []
    collect_unique(read_keyed_lines(path), refusals)
    assert "with '…A LA LA LA', and with '…A LA LA LA END' in" in refusals[0].reason


def test_a_json_object_that_has_a_key_twice_is_refused(tmp_path: Path, read_corpus: Callable):
    write_lines(tmp_path / "train.json", '{"audio_filepath": "a.wav", "text": "yes", "text": "no"}')
    with pytest.raises(InputError, match=r"train\.json:1: .*'text' is there twice; take one of"):
        read_corpus("nemo")


def test_a_table_that_names_a_column_twice_is_refused(tmp_path: Path, read_corpus: Callable):
    write_noise(tmp_path / "a.wav")
    write_lines(tmp_path / "train.csv", "audio,text,,", "a.wav,yes,,")
    assert read_corpus("csv").utterances[0].transcript == "YES"
    write_lines(tmp_path / "train.csv", "audio,text,text", "a.wav,yes,no")
    with pytest.raises(InputError, match=r"train\.csv:1: names two columns 'text'; rename one"):
        read_corpus("csv")
