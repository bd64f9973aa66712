"""Common Voice, LJSpeech, Hugging Face's audiofolder and a plain CSV."""

import json

import pytest

from pipeline.files import InputError
from tests.corpus.layouts.conftest import (
    SAMPLE_RATE,
    manifest_rows,
    refusal_reasons,
    write_lines,
    write_noise,
)

OLD = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent"
NEW = (
    "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender\t"
    "accents\tvariant\tlocale\tsegment"
)


def new_row(client: str, clip: str, sentence: str) -> str:
    return f"{client}\t{clip}\tf00d\t{sentence}\t\t2\t0\ttwenties\tfemale_feminine\t\t\ten\t"


@pytest.fixture
def common_voice(tmp_path):
    for number in range(1, 5):
        write_noise(tmp_path / "clips" / f"common_voice_en_{number}.mp3", 0.7, 32_000)
    clip = "common_voice_en_{}.mp3".format
    quoted = '"Who said that?" he asked — loudly.'
    write_lines(tmp_path / "train.tsv", NEW, new_row("ann", clip(1), quoted))
    write_lines(tmp_path / "dev.tsv", NEW, new_row("bob", clip(2), '"Yes", and no'))
    write_lines(tmp_path / "test.tsv", NEW, new_row("cid", clip(3), "It’s the dogs' home."))
    write_lines(
        tmp_path / "validated.tsv", NEW, *(new_row(s, clip(4), "a") for s in ("ann", "bob"))
    )
    return tmp_path


def test_common_voice_has_the_splits_of_its_tables(common_voice, read_corpus):
    """Quotation marks are part of a sentence: these tables do not use quoting."""
    manifest = read_corpus("common-voice")
    assert manifest_rows(manifest) == [
        ("common_voice_en_1", "train", "ann", '"WHO SAID THAT?" HE ASKED — LOUDLY.'),
        ("common_voice_en_2", "dev", "bob", '"YES", AND NO'),
        ("common_voice_en_3", "test", "cid", "IT'S THE DOGS' HOME."),
    ]
    assert manifest.utterances[0].audio == "clips/common_voice_en_1.mp3"
    assert (manifest.utterances[0].rate, manifest.utterances[0].samples) == (32_000, 22_400)


def test_punctuation_may_be_dropped(common_voice, read_corpus):
    transcripts = [u.transcript for u in read_corpus("common-voice", punctuation="drop").utterances]
    assert transcripts == ["WHO SAID THAT HE ASKED LOUDLY", "YES AND NO", "IT'S THE DOGS HOME"]


def test_with_validated_clips_alone_the_splits_are_drawn(tmp_path, read_corpus):
    """The columns, and paths without a suffix, are as in the first releases."""
    lines = [f"client{n % 10}\tclip{n}\tyes {n}\t2\t0\t\t\t" for n in range(40)]
    for n in range(40):
        write_noise(tmp_path / "clips" / f"clip{n}.mp3")
    write_lines(tmp_path / "validated.tsv", OLD, *lines)
    manifest = read_corpus("common-voice")
    speakers = {
        split: {u.speaker for u in manifest.utterances if u.split == split}
        for split in ("train", "dev", "test")
    }
    assert [len(each) for each in speakers.values()] == [8, 1, 1]
    assert manifest.split_note == "dev and test drawn from train: whole speakers, seed 0"


def test_a_row_of_another_length_is_refused_with_its_line(common_voice, read_corpus):
    path = common_voice / "train.tsv"
    path.write_text(path.read_text(encoding="utf-8") + "ann\tclip\n", encoding="utf-8")
    manifest = read_corpus("common-voice")
    assert len(manifest.utterances) == 3
    (reason,) = refusal_reasons(manifest).values()
    assert reason.startswith(f"{path}:3: has 2 columns, but the first line names 13; correct the")


def test_a_missing_column_is_named(common_voice, read_corpus):
    write_lines(common_voice / "dev.tsv", OLD.replace("sentence", "text"))
    with pytest.raises(InputError, match=r"dev\.tsv:1: has no column 'sentence' among client_id"):
        read_corpus("common-voice")


def test_a_folder_without_tables_is_not_common_voice(tmp_path, read_corpus):
    with pytest.raises(InputError, match=r"train\.tsv or validated\.tsv is missing"):
        read_corpus("common-voice")


@pytest.fixture
def ljspeech(tmp_path):
    home = tmp_path / "LJSpeech-1.1"
    lines = []
    for number in range(1, 31):
        write_noise(home / "wavs" / f"LJ001-{number:04d}.wav", rate=22_050)
        lines.append(f'LJ001-{number:04d}|in 14{number} he said "so|in fourteen {number} he "said')
    write_lines(home / "metadata.csv", *lines)
    return tmp_path


def test_ljspeech_has_spoken_texts_and_draws_utterances(ljspeech, read_corpus):
    """Single quotation marks are kept; with one speaker utterances are drawn."""
    manifest = read_corpus("ljspeech")
    assert manifest.utterances[2].transcript == 'IN FOURTEEN 3 HE "SAID'
    assert manifest.utterances[2].audio == "LJSpeech-1.1/wavs/LJ001-0003.wav"
    assert {u.speaker for u in manifest.utterances} == {"LJ"}
    splits = [u.split for u in manifest.utterances]
    assert [splits.count(s) for s in ("train", "dev", "test")] == [24, 3, 3]
    assert manifest.split_note.endswith("utterances, by their ids (too few speakers), seed 0")
    assert manifest_rows(read_corpus("ljspeech", ljspeech / "LJSpeech-1.1")) == manifest_rows(
        manifest
    )


@pytest.mark.parametrize("line", ["LJ001-0001", "LJ001-0001|a|b|c", "|a|b"])
def test_a_line_of_another_form_is_refused(ljspeech, read_corpus, line):
    path = ljspeech / "LJSpeech-1.1/metadata.csv"
    path.write_text(path.read_text() + line + "\n")
    manifest = read_corpus("ljspeech")
    assert len(manifest.utterances) == 30
    reason = refusal_reasons(manifest)["metadata.csv:31"]
    assert reason == f"{path}:31: {line!r} is not of the form ID|TEXT|SPOKEN; correct the line"


def test_a_folder_without_metadata_is_not_ljspeech(tmp_path, read_corpus):
    with pytest.raises(InputError, match=r"no corpus tiny is here: metadata\.csv is missing"):
        read_corpus("ljspeech")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_audiofolder_has_metadata_in_each_split_s_folder(tmp_path, read_corpus, kind):
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        write_noise(tmp_path / "data" / split / "audio" / "1.wav")
        row = {"file_name": "audio/1.wav", "transcription": f'{name}, "so"', "speaker_id": 7}
        lines = ["file_name,transcription,speaker_id", f'audio/1.wav,"{name}, ""so""",7']
        lines = lines if kind == "csv" else [json.dumps(row)]
        write_lines(tmp_path / "data" / split / f"metadata.{kind}", *lines)
    assert sorted(manifest_rows(read_corpus("audiofolder"))) == [
        ("data/test/audio/1", "test", "7", 'TEST, "SO"'),
        ("data/train/audio/1", "train", "7", 'TRAIN, "SO"'),
        ("data/validation/audio/1", "dev", "7", 'DEV, "SO"'),
    ]


def test_an_audiofolder_may_have_one_metadata_for_all(tmp_path, read_corpus):
    for name in ("train/a.wav", "test/b.flac"):
        write_noise(tmp_path / name)
    write_lines(tmp_path / "metadata.csv", "file_name,words", "train/a.wav,yes", "test/b.flac,no")
    manifest = read_corpus("audiofolder", text_column="words")
    assert [(u.id, u.split, u.transcript) for u in manifest.utterances] == [
        ("train/a", "train", "YES"),
        ("test/b", "test", "NO"),
    ]


def test_an_audiofolder_without_a_known_text_names_what_it_has(tmp_path, read_corpus):
    write_noise(tmp_path / "a.wav")
    write_lines(tmp_path / "metadata.csv", "file_name,words", "a.wav,yes")
    with pytest.raises(InputError, match=r":2: has none of transcription, .*only file_name, words"):
        read_corpus("audiofolder")


def test_an_audiofolder_without_metadata_is_refused(tmp_path, read_corpus):
    with pytest.raises(InputError, match=r"metadata\.csv or metadata\.jsonl is missing"):
        read_corpus("audiofolder")


def test_a_csv_may_give_ranges_and_splits(tmp_path, read_corpus):
    write_noise(tmp_path / "long.wav", 10.0)
    write_noise(tmp_path / "short.wav", 1.0)
    write_lines(
        tmp_path / "corpus.csv",
        "\ufeffaudio,text,speaker,split,start,duration",  # as a spreadsheet saves it
        "long.wav,one,ann,train,0.5,1.25",
        'long.wav,"two, three",ann,train,2,',
        "short.wav,four,bob,dev,,",
        f"{(tmp_path / 'short.wav').as_posix()},five,cid,test,0,0.5",
    )
    manifest = read_corpus("csv")
    assert [(u.id, u.split, u.start / SAMPLE_RATE, u.seconds) for u in manifest.utterances] == [
        ("long-0000500", "train", 0.5, 1.25),
        ("long-0002000", "train", 2.0, 8.0),
        ("short", "dev", 0.0, 1.0),
        ("short-0000000", "test", 0.0, 0.5),
    ]
    assert manifest.utterances[1].transcript == "TWO, THREE"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            "a.wav,yes,2.5,1",
            "a.wav: lasts 2 s, but the utterance is from 2.5 s to 3.5 s; correct ",
        ),
        ("a.wav,yes,1,1.6", "a.wav: lasts 2 s, but the utterance is from 1 s to 2.6 s"),
        ("a.wav,yes,-1,1", "the utterance is from -1 s to 0 s"),
        ("a.wav,yes,1,0", "the utterance is empty, from 1 s to 1 s"),
        ("a.wav, ,1,1", "its transcript is empty"),
        ("b.wav,yes,,", "b.wav: no such file"),
    ],
)
def test_a_range_outside_its_file_is_refused(tmp_path, read_corpus, row, reason):
    write_noise(tmp_path / "a.wav", 2.0)
    write_lines(tmp_path / "c.csv", "audio,text,start,duration", "a.wav,yes,,", row)
    (found,) = refusal_reasons(read_corpus("csv")).values()
    assert reason in found
    with pytest.raises(InputError, match="tiny is strict, and 1 of its utterances cannot be used"):
        read_corpus("csv", strict=True)


def test_an_utterance_may_end_slightly_after_its_file(tmp_path, read_corpus):
    """By half a second, as in Kaldi; it then ends with the file."""
    write_noise(tmp_path / "a.wav", 2.0)
    write_lines(
        tmp_path / "c.csv", "audio,text,start,duration", "a.wav,yes,1,1.5", "a.wav,no,0,1.995"
    )
    assert [(u.start, u.samples) for u in read_corpus("csv").utterances] == [
        (16_000, 16_000),
        (0, 32_000),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.wav,yes,x,1,", "c.csv:2: start is 'x'; it must be a number of seconds"),
        ("a.wav,yes,0,inf,", "c.csv:2: duration is 'inf'"),
        ("a.wav,yes,,,holdout", "c.csv:2: split is 'holdout'; it must be train, dev, test or"),
        (",yes,,,", "c.csv:2: audio is missing or empty"),
        ('"a.wav,yes', "c.csv:2: cannot be read"),
    ],
)
def test_a_malformed_row_is_refused_with_its_line(tmp_path, read_corpus, row, reason):
    write_lines(tmp_path / "c.csv", "audio,text,start,duration,split", row)
    with pytest.raises(InputError, match=r"c\.csv:2: ") as error:
        read_corpus("csv")
    assert reason in str(error.value)


def test_several_tables_need_names_with_a_split(tmp_path, read_corpus):
    for name in ("a", "b"):
        write_noise(tmp_path / f"{name}.wav")
        write_lines(tmp_path / f"{name}.csv", "audio,text", f"{name}.wav,yes")
    with pytest.raises(
        InputError, match=r"a\.csv: its name contains no split, or several; list train"
    ):
        read_corpus("csv")
    manifest = read_corpus("csv", parts={"train": ["a.csv"], "test": ["b.csv"]})
    assert [(u.id, u.split) for u in manifest.utterances] == [("a", "train"), ("b", "test")]


def test_a_line_that_is_not_utf_8_is_refused_and_the_rest_kept(tmp_path, read_corpus):
    write_noise(tmp_path / "a.wav")
    turkish = "audio,text\na.wav,yes\nb.wav,ılık bir gün\n"
    (tmp_path / "all.csv").write_bytes(turkish.encode("iso8859-9"))
    manifest = read_corpus("csv")
    assert [u.id for u in manifest.utterances] == ["a"]
    reason = refusal_reasons(manifest)["all.csv:3"]
    assert reason == (
        f"{tmp_path / 'all.csv'}:3: is not UTF-8: 'b.wav,ýlýk bir gün'; save the file as UTF-8"
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_table_as_a_spreadsheet_saves_it_is_read(tmp_path, read_corpus, encoding):
    write_noise(tmp_path / "a.wav")
    (tmp_path / "all.tsv").write_text("audio\ttext\r\na.wav\tılık\r\n", encoding=encoding)
    assert [u.transcript for u in read_corpus("csv").utterances] == ["ILIK"]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
def test_a_table_may_have_any_delimiter(tmp_path, read_corpus, delimiter):
    write_noise(tmp_path / "a.wav")
    rows = (["path", "sentence", "client_id"], ["a.wav", '"yes, no"', "ann"])
    write_lines(tmp_path / "all.csv", *(delimiter.join(row) for row in rows))
    assert manifest_rows(read_corpus("csv")) == [("a", "train", "ann", "YES, NO")]


def test_a_tab_in_a_sentence_of_common_voice_costs_that_line_alone(common_voice, read_corpus):
    path = common_voice / "train.tsv"
    rows = [new_row("ann", "x.mp3", "a\tb"), new_row("ann", "common_voice_en_4.mp3", "so")]
    path.write_text(path.read_text(encoding="utf-8") + "\n".join(rows), encoding="utf-8")
    manifest = read_corpus("common-voice")
    assert [u.id for u in manifest.utterances if u.split == "train"] == [
        "common_voice_en_1",
        "common_voice_en_4",
    ]
    ((name, reason),) = refusal_reasons(manifest).items()
    assert name == "train.tsv:3"
    assert (
        f"{path}:3: has 14 columns, but the first line names 13; correct the line: 'ann" in reason
    )


@pytest.mark.parametrize(
    ("rows", "kept", "refused"),
    [
        (["a.wav,one", "b.wav,yes, no", "c.wav,two"], ["a", "c"], ["all.csv:3"]),
        (["a.wav,one", '"b.wav,yes', "c.wav,two"], ["a", "c"], ["all.csv:3"]),
        (["a.wav,one", 'b.wav,"x"y', "c.wav,two"], ["a", "c"], ["all.csv:3"]),
        (['a.wav,"one', 'line"', "b.wav", "c.wav,two"], ["a", "c"], ["all.csv:4"]),
        (['a.wav,"open', *["b.wav,x"] * 60, "c.wav,two"], ["b", "c"], ["all.csv:2"]),
        (["a.wav,one", "", "b.wav,two", "c.wav"], ["a", "b"], ["all.csv:5"]),
    ],
)
def test_a_bad_row_of_a_csv_costs_that_row_alone(tmp_path, read_corpus, rows, kept, refused):
    for name in "abc":
        write_noise(tmp_path / f"{name}.wav")
    write_lines(tmp_path / "all.csv", "audio,text", *rows)
    manifest = read_corpus("csv", unlisted="ignore")
    assert [u.id for u in manifest.utterances] == kept
    assert list(refusal_reasons(manifest)) == refused


def test_ljspeech_may_have_two_columns(tmp_path, read_corpus):
    write_noise(tmp_path / "wavs" / "a.wav")
    write_lines(tmp_path / "metadata.csv", "a|It is one.")
    assert manifest_rows(read_corpus("ljspeech"))[0] == ("a", "train", "LJ", "IT IS ONE.")
