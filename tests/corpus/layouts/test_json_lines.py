"""NeMo manifests, and Lhotse recordings with supervisions, as those libraries write them."""

import gzip
import json
from pathlib import Path

import pytest

from pipeline.files import InputError
from tests.corpus.layouts.conftest import manifest_rows, refusal_reasons, write_lines, write_noise


def lines(path: Path, *records: dict) -> Path:
    write_lines(path, *map(json.dumps, records))
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def test_nemo_cuts_by_offset_and_duration(tmp_path, read_corpus):
    a = write_noise(tmp_path / "wav" / "a.wav", 4.0)
    write_noise(tmp_path / "wav" / "b.flac", 3.1415)
    lines(
        tmp_path / "train_manifest.json",
        {"audio_filepath": str(a), "duration": 1.5, "offset": 0.25, "text": "one", "speaker": 12},
        {"audio_filepath": "wav/a.wav", "duration": 1.0, "offset": 2.0, "text": "two"},
    )
    lines(
        tmp_path / "validation_manifest.json",
        {"audio_filepath": "wav/b.flac", "duration": 3.142, "text": "tre", "lang": "it"},
    )
    c = write_noise(tmp_path.parent / f"{tmp_path.name}-beside" / "c.wav", 3.1415)
    lines(tmp_path / "test.jsonl.gz", {"audio_filepath": str(c), "text": "quattro"})
    manifest = read_corpus("nemo")
    assert {u.audio for u in manifest.utterances} == {"wav/a.wav", "wav/b.flac", c.as_posix()}
    found = {(u.transcript, u.split, u.start, u.samples, u.speaker) for u in manifest.utterances}
    assert found == {
        ("ONE", "train", 4000, 24_000, "12"),
        ("TWO", "train", 32_000, 16_000, "wav/a-0002000"),
        ("TRE", "dev", 0, 50_264, "wav/b"),
        ("QUATTRO", "test", 0, 50_264, c.with_suffix("").as_posix()),
    }


def test_the_key_names_of_espnet_are_read(tmp_path, read_corpus):
    write_noise(tmp_path / "wav" / "a.wav", 4.0)
    write_noise(tmp_path / "wav" / "b.wav", 3.0)
    lines(
        tmp_path / "train.jsonl",
        {"utt_id": "spk1-utt1", "wav": "wav/a.wav", "text": "one", "speaker": "spk1"},
        {"utt_id": "spk2-utt1", "speech": "wav/b.wav", "text": "two", "speaker": "spk2"},
    )
    assert {row[::2] for row in manifest_rows(read_corpus("nemo"))} == {
        ("spk1-utt1", "spk1"),
        ("spk2-utt1", "spk2"),
    }


def test_utterances_that_start_in_the_same_millisecond_have_different_ids(tmp_path, read_corpus):
    write_noise(tmp_path / "a.wav", 4.0)
    offsets = (0.1, 0.1004, 0.30000000000000004)
    lines(
        tmp_path / "train.json",
        *({"audio_filepath": "a.wav", "offset": o, "duration": 1, "text": "x"} for o in offsets),
    )
    manifest = read_corpus("nemo")
    assert {u.id for u in manifest.utterances} == {"a-0000100", "a-0000100.400", "a-0000300"}
    assert manifest.refusals == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{'audio_filepath': 'a.wav'}", "m.json:1: \"{'audio_filepath': 'a.wav'}\" is not JSON"),
        ("[1]", "m.json:1: '[1]' is not a JSON object"),
        ('{"text": "yes"}', "m.json:1: audio_filepath is missing or empty"),
        (
            '{"audio_filepath": "a.wav", "text": ["yes"]}',
            "m.json:1: text is ['yes']; it must be a text",
        ),
        (
            '{"audio_filepath": "a.wav", "offset": "x"}',
            "m.json:1: offset is 'x'; it must be a number of seconds",
        ),
    ],
)
def test_a_malformed_line_is_refused(tmp_path, read_corpus, line, reason):
    write_lines(tmp_path / "m.json", line)
    with pytest.raises(InputError, match=r"m\.json:1") as error:
        read_corpus("nemo")
    assert reason in str(error.value)


def test_a_folder_without_a_manifest_is_refused(tmp_path, read_corpus):
    with pytest.raises(InputError, match=r"a manifest \*\.json or \*\.jsonl is missing"):
        read_corpus("nemo")


def recording(name: str, path: Path | str, channels: tuple[int, ...] = (0,), **changes) -> dict:
    return {
        "id": name,
        "sources": [{"type": "file", "channels": list(channels), "source": str(path)}],
        "sampling_rate": 16_000,
        "num_samples": 64_000,
        "duration": 4.0,
        "channel_ids": list(channels),
        **changes,
    }


def supervision(name: str, of: str, start=0.0, duration=4.0, channel=0, **changes) -> dict:
    return {
        "id": name,
        "recording_id": of,
        "start": start,
        "duration": duration,
        "channel": channel,
        "text": f"words of {name}",
        "language": "English",
        "speaker": "1089",
        **changes,
    }


@pytest.fixture
def lhotse(tmp_path):
    def write(recordings: list[dict], supervisions: list[dict], ending: str = "jsonl") -> Path:
        stem = "librispeech_{}_train-clean-5." + ending
        lines(tmp_path / stem.format("recordings"), *recordings)
        lines(tmp_path / stem.format("supervisions"), *supervisions)
        return tmp_path

    return write


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_supervisions_are_parts_of_recordings(tmp_path, lhotse, read_corpus, ending):
    path = write_noise(tmp_path / "a.flac", 4.0)
    lhotse(
        [recording("a", path)], [supervision("a-1", "a"), supervision("a-2", "a", 1, 2.5)], ending
    )
    manifest = read_corpus(
        "lhotse", parts={"train": [f"librispeech_supervisions_train-clean-5.{ending}"]}
    )
    assert [(u.id, u.start, u.samples, u.channel) for u in manifest.utterances] == [
        ("a-1", 0, 64_000, None),
        ("a-2", 16_000, 40_000, None),
    ]
    assert manifest_rows(manifest)[1][2:] == ("1089", "WORDS OF A-2")


def test_each_channel_of_a_recording_has_its_own_supervisions(tmp_path, lhotse, read_corpus):
    """In one file with two channels, and in two files with one channel each."""
    stereo = write_noise(tmp_path / "stereo.wav", 4.0, channels=2)
    sources = [
        {"type": "file", "channels": [c], "source": str(write_noise(tmp_path / f"c{c}.wav", 4.0))}
        for c in (0, 1)
    ]
    lhotse(
        [recording("s", stereo, (0, 1)), recording("m", "", sources=sources)],
        [
            supervision("s-0", "s", channel=0),
            supervision("s-1", "s", channel=1),
            supervision("s-both", "s", channel=[0, 1]),
            supervision("m-1", "m", channel=1),
        ],
    )
    found = {u.id: (Path(u.audio).name, u.channel) for u in read_corpus("lhotse").utterances}
    assert found == {
        "s-0": ("stereo.wav", 0),
        "s-1": ("stereo.wav", 1),
        "s-both": ("stereo.wav", None),
        "m-1": ("c1.wav", None),
    }


@pytest.mark.parametrize("kind", ["command", "url", "memory", "shar"])
def test_only_files_are_sources(tmp_path, lhotse, read_corpus, kind):
    source = {"type": kind, "channels": [0], "source": "touch /tmp/owned"}
    lhotse([recording("a", "", sources=[source])], [supervision("a-1", "a")])
    with pytest.raises(InputError, match=rf"jsonl:1: its source is of type '{kind}', but only fil"):
        read_corpus("lhotse")


@pytest.mark.parametrize(
    ("recorded", "supervised", "reason"),
    [
        ({"transforms": [{"name": "Speed"}]}, {}, "recordings_train-clean-5.jsonl:1: has transf"),
        ({}, {"channel": 1}, "supervisions_train-clean-5.jsonl:1: channel is 1, which no source"),
        ({}, {"channel": "left"}, "channel is 'left'; it must be a number or a list of numbers"),
        ({}, {"recording_id": ""}, "recording_id is missing or empty"),
        ({"sources": "a.wav"}, {}, "recordings_train-clean-5.jsonl:1: sources must be a list of"),
        ({"sources": ["a.wav"]}, {}, "recordings_train-clean-5.jsonl:1: sources must be a list of"),
        (
            {"sources": [{"type": "file", "channels": [0]}]},
            {},
            "recordings_train-clean-5.jsonl:1: source is missing or empty",
        ),
    ],
)
def test_an_inconsistent_recording_or_supervision_is_refused(
    lhotse, read_corpus, recorded, supervised, reason
):
    lhotse([recording("a", "a.wav", **recorded)], [supervision("a-1", "a", **supervised)])
    with pytest.raises(InputError, match=r"jsonl:1") as error:
        read_corpus("lhotse")
    assert reason in str(error.value)


def test_a_supervision_without_its_recording_is_refused_and_the_rest_kept(
    tmp_path, lhotse, read_corpus
):
    path = write_noise(tmp_path / "a.wav", 4.0)
    lhotse([recording("a", path)], [supervision("a-1", "a"), supervision("b-1", "b")])
    assert (
        "the recording 'b' is not in librispeech_rec"
        in refusal_reasons(read_corpus("lhotse"))["b-1"]
    )


def test_supervisions_without_recordings_are_refused(tmp_path, lhotse, read_corpus):
    lhotse([], [])
    (tmp_path / "librispeech_recordings_train-clean-5.jsonl").unlink()
    with pytest.raises(
        InputError,
        match=r"recordings_train-clean-5\.jsonl: no such file; add the recordings of libri",
    ):
        read_corpus("lhotse")
