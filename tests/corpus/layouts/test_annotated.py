"""Long recordings with a TextGrid, an ELAN file or subtitles: the intervals are utterances."""

import pytest

from pipeline.corpus.recognition import recognise
from pipeline.files import InputError
from tests.corpus.annotations.test_elan import write_eaf
from tests.corpus.annotations.test_textgrid import write as write_text
from tests.corpus.layouts.conftest import (
    SAMPLE_RATE,
    manifest_rows,
    refusal_reasons,
    write_lines,
    write_noise,
)


def srt(*cues: tuple[str, str, str]) -> list[str]:
    lines = []
    for number, (begin, end, text) in enumerate(cues, start=1):
        lines += [str(number), f"00:00:0{begin} --> 00:00:0{end}", text, ""]
    return lines


def grid(tiers: dict[str, list[tuple[float, float, str]]], seconds: float = 10) -> str:
    """Return a TextGrid in the short form."""
    lines = ['"ooTextFile"', '"TextGrid"', "", f"0 {seconds} <exists> {len(tiers)}"]
    for name, intervals in tiers.items():
        lines += ['"IntervalTier"', f'"{name}"', f"0 {seconds} {len(intervals)}"]
        lines += [f'{begin} {end}\n"{text}"' for begin, end, text in intervals]
    return "\n".join([*lines, ""])


TALK = srt(("1,000", "2,500", "Hello there."), ("3,000", "4,000", "It is me."))


def test_subtitles_are_utterances_of_their_recording(tmp_path, read_corpus):
    for name in ("train/a", "dev/b", "test/c"):
        write_noise(tmp_path / f"{name}.flac", 5)
        write_lines(tmp_path / f"{name}.srt", *TALK)
    manifest = read_corpus("subtitles", punctuation="drop")
    assert manifest_rows(manifest) == [
        ("dev/b-0001000", "dev", "dev/b", "HELLO THERE"),
        ("dev/b-0003000", "dev", "dev/b", "IT IS ME"),
        ("test/c-0001000", "test", "test/c", "HELLO THERE"),
        ("test/c-0003000", "test", "test/c", "IT IS ME"),
        ("train/a-0001000", "train", "train/a", "HELLO THERE"),
        ("train/a-0003000", "train", "train/a", "IT IS ME"),
    ]
    first = manifest.utterances[0]
    assert (first.audio, first.rate) == ("dev/b.flac", SAMPLE_RATE)
    assert (first.start, first.samples) == (SAMPLE_RATE, 3 * SAMPLE_RATE // 2)


def test_subtitles_in_several_languages_are_told_apart(tmp_path, read_corpus):
    for name in ("a", "b", "c"):
        write_noise(tmp_path / f"{name}.wav", 5)
    write_lines(tmp_path / "a.tr.srt", *srt(("1,000", "2,000", "iyi")))
    write_lines(tmp_path / "a.en.srt", *srt(("1,000", "2,000", "good")))
    write_lines(tmp_path / "b.vtt", "WEBVTT", "", *srt(("1.000", "2.000", "tamam")))
    write_lines(tmp_path / "c.en-GB.srt", *srt(("1,000", "2,000", "fine")))
    manifest = read_corpus("subtitles", language="tr")
    assert [u.transcript for u in manifest.utterances] == ["iyi", "tamam"]
    assert refusal_reasons(manifest) == {
        "c.en-GB.srt": f"{tmp_path / 'c.en-GB.srt'}: is in another language than tr, the language: "
        "of the corpus file; set it, or add subtitles in this language"
    }
    assert [u.transcript for u in read_corpus("subtitles").utterances] == ["GOOD", "TAMAM", "FINE"]


def test_what_is_alone_or_there_twice_is_refused_and_the_rest_kept(tmp_path, read_corpus):
    for name in ("a.wav", "b.wav", "c.wav", "c.flac"):
        write_noise(tmp_path / name, 5)
    (tmp_path / "video.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    for name in ("a.srt", "a.vtt", "c.srt", "lost.srt", "video.srt"):
        write_lines(tmp_path / name, *TALK)
    manifest = read_corpus("subtitles")
    assert {u.audio for u in manifest.utterances} == {"a.wav", "c.flac"}
    assert {each: reason.split("; ")[0] for each, reason in refusal_reasons(manifest).items()} == {
        "a.vtt": f"{tmp_path / 'a.vtt'}: belongs to the same recording as a.srt, which is read",
        "b": f"{tmp_path / 'b.wav'}: has no .srt beside it",
        "c": f"{tmp_path / 'c.wav'}: has the same name as c.flac",
        "lost.srt": f"{tmp_path / 'lost.srt'}: there is no recording of this name, or several",
        "video": f"{tmp_path / 'video.mp4'}: this format is not read",
    }
    assert "convert it: ffmpeg -i" in refusal_reasons(manifest)["video"]
    ignoring = read_corpus("subtitles", unlisted="ignore")
    assert "b" not in refusal_reasons(ignoring)


def test_a_subtitle_behind_the_end_of_its_recording_is_refused_with_its_line(tmp_path, read_corpus):
    write_noise(tmp_path / "a.wav", 2.2)
    write_lines(tmp_path / "a.srt", *TALK)
    manifest = read_corpus("subtitles")
    assert [u.id for u in manifest.utterances] == ["a-0001000"]  # it ends 0.3 s behind, as in Kaldi
    (reason,) = refusal_reasons(manifest).values()
    assert "lasts 2.2 s, but the utterance is from 3 s to 4 s; correct" in reason
    assert f"{tmp_path / 'a.srt'}:6" in reason


def test_one_tier_with_text_is_read_and_another_one_only_by_name(tmp_path, read_corpus):
    write_noise(tmp_path / "wav" / "a.wav", 10)
    write_noise(tmp_path / "wav" / "b.wav", 10)
    intervals = [(0.0, 1.0, ""), (1.0, 2.0, "hello there"), (2.0, 10.0, "")]
    folder = tmp_path / "TextGrid"
    folder.mkdir()
    write_text(folder / "a.TextGrid", grid({"text": intervals, "notes": []}), "utf-16")
    phones = [(1.0, 1.5, "h"), (1.7, 1.6, "e")]
    write_text(folder / "b.TextGrid", grid({"text": intervals, "phones": phones}))
    manifest = read_corpus("textgrid")
    assert manifest_rows(manifest) == [("wav/a-0001000", "train", "wav/a", "HELLO THERE")]
    assert refusal_reasons(manifest) == {
        "TextGrid/b.TextGrid": f"{folder / 'b.TextGrid'}: has 2 tiers with text: 'text', 'phones'; "
        "say which under tiers: in the corpus file"
    }
    manifest = read_corpus("textgrid", tiers=("text",))
    assert [u.id for u in manifest.utterances] == ["wav/a-0001000", "wav/b-0001000"]
    assert manifest.refusals == ()  # a bad interval of a tier that is not read costs nothing
    with pytest.raises(
        InputError, match=r"has none of the tiers 'txt'; its tiers: 'text', 'notes'"
    ):
        read_corpus("textgrid", tiers=("txt",))


def test_the_annotation_beside_a_recording_comes_before_one_elsewhere(tmp_path, read_corpus):
    for folder in ("b", "c"):
        write_noise(tmp_path / folder / "x.wav", 10)
        write_noise(tmp_path / folder / f"only-{folder}.wav", 10)
    for path, text in {"a/only-b": "old", "b/only-b": "new", "a/x": "both"}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        write_text(tmp_path / f"{path}.TextGrid", grid({"t": [(0.0, 1.0, text)]}))
    manifest = read_corpus("textgrid", unlisted="ignore")
    assert [(u.audio, u.transcript) for u in manifest.utterances] == [("b/only-b.wav", "NEW")]
    old, both = (str(tmp_path / "a" / f"{name}.TextGrid") for name in ("only-b", "x"))
    reasons = [reason.split("; ")[0] for reason in refusal_reasons(manifest).values()]
    assert sorted(reasons) == [
        f"{old}: belongs to the same recording as b/only-b.TextGrid, which is read",
        f"{both}: there is no recording of this name, or several",
    ]


def test_several_tiers_are_several_speakers(tmp_path, read_corpus):
    write_noise(tmp_path / "a.wav", 10)
    tiers = {
        "Ann - words": [(0.0, 1.0, "yes")],
        "Ben - words": [(0.0, 2.0, "no"), (2.0, 2.0, "bad")],
        "Ann - phones": [(0.0, 1.0, "y")],
    }
    write_text(tmp_path / "a.TextGrid", grid(tiers))
    manifest = read_corpus("textgrid", tiers=("* - words",))
    assert manifest_rows(manifest) == [
        ("a-Ann - words-0000000", "train", "Ann - words", "YES"),
        ("a-Ben - words-0000000", "train", "Ben - words", "NO"),
    ]
    (reason,) = refusal_reasons(manifest).values()
    assert reason.startswith(f"{tmp_path / 'a.TextGrid'}:15: is from '2.0' to '2.0', which is no")


def test_an_elan_file_finds_its_recording_by_name_and_names_speakers(tmp_path, read_corpus):
    write_noise(tmp_path / "sound" / "interview.wav", 10)
    write_eaf(tmp_path / "done.eaf", "interview.wav")
    with pytest.raises(InputError, match=r"has 2 tiers with text: 'orth@A', 'orth@B'; say which"):
        read_corpus("elan")
    manifest = read_corpus("elan", tiers=("orth@A",), language="tr")
    assert manifest_rows(manifest) == [
        ("sound/interview-0000500", "train", "Ann", 'he said "hi" & <left>'),
        ("sound/interview-0002000", "train", "Ann", "çok iyi"),
    ]
    (translation,) = read_corpus("elan", tiers=("translation",)).utterances
    assert (translation.transcript, translation.start) == ("DIJO HOLA", SAMPLE_RATE // 2)


@pytest.mark.parametrize(
    ("reader", "name"), [("subtitles", "x.srt"), ("textgrid", "x.TextGrid"), ("elan", "x.eaf")]
)
def test_a_damaged_annotation_costs_its_recording_alone(tmp_path, read_corpus, reader, name):
    for stem in ("a", "x"):
        write_noise(tmp_path / f"{stem}.wav", 10)
    write_lines(tmp_path / "a.srt", *TALK)
    write_text(tmp_path / "a.TextGrid", grid({"t": [(1.0, 2.0, "yes")]}))
    write_eaf(tmp_path / "a.eaf")
    (tmp_path / name).write_bytes(b"\xff\xff\xff")
    settings = {"tiers": ("t", "orth@A")} if reader != "subtitles" else {}
    manifest = read_corpus(reader, **settings)
    assert {u.audio for u in manifest.utterances} == {"a.wav"}
    (reason,) = refusal_reasons(manifest).values()
    assert reason.startswith(f"{tmp_path / name}")


@pytest.mark.parametrize("reader", ["subtitles", "textgrid", "elan"])
def test_a_folder_without_annotations_is_refused(tmp_path, read_corpus, reader):
    write_noise(tmp_path / "a.wav")
    with pytest.raises(
        InputError, match=r"a recording with its \.\S+( or \.vtt)? beside it is mis"
    ):
        read_corpus(reader)


def test_tiers_need_a_reader_that_has_them(read_corpus):
    with pytest.raises(ValueError, match="tiers has no effect with the reader csv, only with elan"):
        read_corpus("csv", tiers=("a",))


SENTENCES = [(0.0, 1.0, "good morning to you"), (1.0, 2.0, "and to you")]
WORDS = [(0.0, 0.5, "good"), (0.5, 1.0, "morning")]


@pytest.mark.parametrize(
    ("tiers", "settings"),
    [
        ({"a": WORDS, "empty": []}, {}),
        ({"phones": [(0.0, 0.1, "g")], "words": WORDS}, {"tiers": ["words"]}),
        ({"words": WORDS, "Ann": SENTENCES, "Ben": SENTENCES}, {"tiers": ["Ann", "Ben"]}),
    ],
)
def test_tiers_with_sentences_are_recognised(tmp_path, tiers, settings):
    write_noise(tmp_path / "a.wav")
    write_text(tmp_path / "a.TextGrid", grid(tiers))
    assert recognise(tmp_path) == {"reader": "textgrid", **settings}


def test_the_language_of_subtitles_is_recognised(tmp_path):
    write_noise(tmp_path / "a.wav")
    write_lines(tmp_path / "a.tr.srt", *TALK)
    assert recognise(tmp_path) == {"reader": "subtitles", "language": "tr"}
    write_lines(tmp_path / "a.en.srt", *TALK)
    assert recognise(tmp_path) == {"reader": "subtitles"}
