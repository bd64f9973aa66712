"""corpus-new writes a file that works for each layout; corpus-check says what a corpus holds."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jobs.commands.parser import main
from pipeline.config.corpus import load_corpus
from pipeline.corpus.readers import build_manifest
from tests.corpus.layouts.conftest import write_lines, write_noise

TSV = "client_id\tpath\tsentence\tlocale"
RECORDING = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "wav/0.wav"}]}
SUPERVISION = {"id": "u", "recording_id": "r", "text": "yes", "channel": 0}
TEXTGRID = """"ooTextFile" "TextGrid"
0 1 <exists> 1
"IntervalTier" "t" 0 1 2
0 0.4 "yes"
0.4 1 ""
"""
EAF = """<ANNOTATION_DOCUMENT>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="1" TIME_VALUE="100"/>
<TIME_SLOT TIME_SLOT_ID="2" TIME_VALUE="400"/></TIME_ORDER>
<TIER TIER_ID="t">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a" TIME_SLOT_REF1="1" TIME_SLOT_REF2="2">
<ANNOTATION_VALUE>yes</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER></ANNOTATION_DOCUMENT>"""
LAYOUTS = {  # reader -> its lists, its audio
    "an4": (
        {
            "etc/an4_train.fileids": ["a/spk/an1-spk-b", "a/spk/an2-spk-b"],
            "etc/an4_train.transcription": ["YES (an1-spk-b)", "NO (an2-spk-b)"],
            "etc/an4_test.fileids": [],
            "etc/an4_test.transcription": [],
        },
        ["wav/a/spk/an1-spk-b.wav", "wav/a/spk/an2-spk-b.wav"],
    ),
    "audiofolder": ({"train/metadata.csv": ["file_name,text", "0.wav,yes"]}, ["train/0.wav"]),
    "common-voice": ({"cv/train.tsv": [TSV, "s\t0.mp3\tyes\ttr"]}, ["cv/clips/0.mp3"]),
    "csv": ({"a.tsv": ["file;what was said", "wav/0.wav;yes we can"]}, ["wav/0.wav"]),
    "elan": ({"a/0.eaf": [EAF]}, ["a/0.wav"]),
    "kaldi": (
        {
            f"data/{name}/{file}": [line]
            for name in ("one", "two")
            for file, line in (("wav.scp", f"{name} ../wav/{name}.wav"), ("text", f"{name} YES"))
        },
        ["wav/one.wav", "wav/two.wav"],
    ),
    "lhotse": (
        {
            "x_supervisions_all.jsonl": [json.dumps(SUPERVISION)],
            "x_recordings_all.jsonl": [json.dumps(RECORDING)],
        },
        ["wav/0.wav"],
    ),
    "librispeech": (
        {"LibriSpeech/train-clean-5/1/2/1-2.trans.txt": ["1-2-0 YES"]},
        ["LibriSpeech/train-clean-5/1/2/1-2-0.flac"],
    ),
    "ljspeech": ({"metadata.csv": ["0|yes|yes"]}, ["wavs/0.wav"]),
    "nemo": ({"all.json": ['{"audio_filepath": "0.wav", "text": "yes"}']}, ["0.wav"]),
    "pairs": ({"a/0.txt": ["yes"]}, ["a/0.wav"]),
    "subtitles": ({"0.srt": ["1", "00:00:00,100 --> 00:00:00,400", "yes"]}, ["0.wav"]),
    "textgrid": ({"0.TextGrid": [TEXTGRID]}, ["0.wav"]),
    "voxforge": (
        {"ann-20080318-kdl/etc/PROMPTS": ["ann-20080318-kdl/mfc/0 YES"]},
        ["ann-20080318-kdl/wav/0.wav"],
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "repository" / "configs" / "corpora").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path


def run(*words: str) -> int:
    return main([*words, "--work", "work"])


@pytest.mark.parametrize("reader", LAYOUTS)
def test_a_folder_of_each_layout_is_recognised_and_its_file_works(here, capsys, reader):
    lists, audio = LAYOUTS[reader]
    folder = here / "My Speech"
    for name, lines in lists.items():
        write_lines(folder / name, *lines)
    for name in audio:
        write_noise(folder / name)
    assert run("corpus-new", str(folder)) == 0
    path = Path("configs/corpora/my-speech.yaml")
    corpus = load_corpus(path)
    assert corpus.reader == reader
    assert len(build_manifest(corpus, here / "work").utterances) == len(audio)
    heading = path.read_text(encoding="utf-8")
    assert all(word in heading for word in ("Licence:", "Get it:", "Size:"))
    out = capsys.readouterr().out
    assert f"layout {reader}, {len(audio)} utterance" in out
    assert f"make corpus-check CORPUS={path}" in out
    assert (
        "make train EXPERIMENT=configs/experiments/baseline.yaml SET=corpus=../corpora/my-" in out
    )
    if reader == "common-voice":
        assert corpus.language == "tr"
    assert run("corpus-new", str(folder)) == 2
    assert "is there already" in capsys.readouterr().err


OTHER_FORMS = {
    "capitals": ("csv", {"all.csv": ["Audio,Text", "0.wav,yes"]}, "0.wav"),
    "Excel": ("csv", {"all.csv": ["sep=;", "file;sentence", "0.wav;yes"]}, "0.wav"),
    "array": ("nemo", {"a.json": ["[{", '"audio_filepath": "0.wav", "text": "yes"}]']}, "0.wav"),
    "VCTK": ("pairs", {"txt/p1/0.txt": ["yes"]}, "wav48/p1/0.wav"),
    "two endings": ("pairs", {"0.wav.txt": ["yes"]}, "0.wav"),
    "archive": (
        "common-voice",
        {"cv-17/tr/train.tsv": ["client_id\tpath\tsentence", "s\t0.mp3\tyes"]},
        "cv-17/tr/clips/0.mp3",
    ),
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_other_forms_of_the_layouts_are_recognised_as_they_are_read(here, form):
    reader, lists, audio = OTHER_FORMS[form]
    for name, lines in lists.items():
        write_lines(here / "x" / name, *lines)
    write_noise(here / "x" / audio)
    assert run("corpus-new", str(here / "x")) == 0
    corpus = load_corpus(Path("configs/corpora/x.yaml"))
    assert corpus.reader == reader
    assert len(build_manifest(corpus, here / "work").utterances) == 1


@pytest.mark.parametrize(
    ("text", "language"),
    [("kapıyı aç", "tr"), ("die Straße", "de"), ("你好", "zh"), ("नमस्ते", "hi"), ("yes", "en")],
)
def test_letters_that_one_language_has_tell_it(here, text, language):
    write_noise(here / "x" / "a.wav")
    write_lines(here / "x" / "a.txt", text)
    assert run("corpus-new", str(here / "x")) == 0
    assert load_corpus(Path("configs/corpora/x.yaml")).language == language


def test_folders_that_may_be_speakers_are_named(here, capsys):
    for folder in ("ali", "veli"):
        for name in ("a", "b"):
            write_noise(here / "x" / folder / f"{name}.wav")
            write_lines(here / "x" / folder / f"{name}.txt", "evet.")
    assert run("corpus-new", str(here / "x")) == 0
    assert "remove the # before speakers: in that file" in capsys.readouterr().out
    path = Path("configs/corpora/x.yaml")
    path.write_text(path.read_text("utf-8").replace("# speakers:", "speakers:"), "utf-8")
    found = build_manifest(load_corpus(path), here / "work").utterances
    assert [each.speaker for each in found] == ["ali", "ali", "veli", "veli"]
    run("corpus-check", str(path))
    assert "learn the punctuation .: punctuation: drop" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.m4a", "b.m4a"], "(2 .m4a); convert the recordings to wav or flac with ffmpeg"),
        (["a.wav"], "(1 .wav); write the text of each recording x.wav into x.txt beside it"),
        (["notes.pdf"], "(1 .pdf); it has no audio"),
        ([], "holds no files"),
    ],
)
def test_a_folder_that_is_no_corpus_is_described(here, capsys, names, message):
    (here / "x").mkdir()
    for name in names:
        (here / "x" / name).touch()
    assert run("corpus-new", str(here / "x")) == 2
    assert message in capsys.readouterr().err
    assert not list(Path("configs/corpora").iterdir())


def test_corpus_check_says_what_a_corpus_holds(here, capsys):
    rng = np.random.default_rng(0)
    folder = here / "sound"
    folder.mkdir()
    sounds = {f"{n}": rng.uniform(-0.3, 0.3, 16_000) for n in range(6)}
    sounds["clipped"] = np.clip(5 * sounds["1"], -1, 1)
    sounds["offset"] = sounds["2"] + 0.1
    sounds["quiet"] = sounds["3"] / 1000
    sounds["zero"] = sounds["4"] * 0
    for name, samples in sounds.items():
        soundfile.write(folder / f"{name}.flac", samples, 16_000, subtype="PCM_24")
        (folder / f"{name}.txt").write_text("yes")
    same = soundfile.read(folder / "5.flac")[0]
    soundfile.write(folder / "again.wav", same, 16_000, subtype="PCM_24")
    (folder / "again.txt").write_text("no")
    soundfile.write(folder / "slow.wav", rng.uniform(-0.3, 0.3, 4000), 8000)
    Path("configs/corpora/x.yaml").write_text(f"reader: pairs\nroot: {folder}\n")
    assert run("corpus-check", "configs/corpora/x.yaml") == 1
    out = capsys.readouterr().out
    for expected in (
        "x: 11 utterances, 11 s",
        "sampling rates: 16000 Hz in 11 utterances",
        "durations: 1.00 s",
        "levels: clipped: 1 utterance: clipped",
        "levels: a DC offset above 1 % of full scale: 1 utterance: offset",
        "levels: quiet, no sample is above -40 dB: 1 utterance: quiet",
        "levels: silent, all samples are zero: 1 utterance: zero",
        "the same sound: 1 pair: 5 = again",
        "language: en, as the corpus file says; scripts: Latin 100.0 %",
        "characters: 5: 'E' 10, 'S' 10, 'Y' 10, 'N' 1, 'O' 1",
        "refused: slow: ",
        "drawn: ",
    ):
        assert expected in out, out
    picture = Path("work/reports/corpus-x/corpus.png").resolve()
    assert picture.read_bytes().startswith(b"\x89PNG")
