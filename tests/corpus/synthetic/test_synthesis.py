"""The same seed gives the same bytes; an incomplete corpus is made again; other files stay."""

import shutil
import subprocess
import sys
import wave
from collections import defaultdict
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest
import soundfile

from pipeline.config.corpus import Corpus
from pipeline.corpus.synthetic import synthesis
from pipeline.files import InputError, read_json, write_json

REPOSITORY = Path(__file__).resolve().parents[3]


def corpus(**changes) -> Corpus:
    return Corpus(name="demo", reader="demo", **{"minutes": 0.4, "voices": 4, **changes})


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def progress_calls() -> list[tuple[int, int]]:
    """The progress calls of `demo_folder`."""
    return []


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory, progress_calls) -> Path:
    """Half a minute, four voices."""
    folder = tmp_path_factory.mktemp("corpora") / "demo"
    synthesis.synthesise(corpus(), folder, lambda done, total: progress_calls.append((done, total)))
    return folder


@pytest.fixture(scope="module")
def other_seed_folder(tmp_path_factory) -> Path:
    """The same with another seed."""
    folder = tmp_path_factory.mktemp("corpora") / "demo"
    synthesis.synthesise(corpus(seed=1), folder)
    return folder


@pytest.fixture
def copy(demo_folder, tmp_path) -> Path:
    return shutil.copytree(demo_folder, tmp_path / "copy")


def test_each_synthesis_in_its_own_process_gives_the_same_bytes(demo_folder, tmp_path):
    synthesis.synthesise(corpus(), tmp_path / "again")
    assert content(tmp_path / "again") == content(demo_folder)


def test_another_seed_gives_other_sentences(demo_folder, other_seed_folder):
    transcripts = [
        [row["transcript"] for row in synthesis.read_utterance_table(folder)]
        for folder in (demo_folder, other_seed_folder)
    ]
    assert transcripts[0] != transcripts[1]


def test_the_files_are_short_utterances_of_16_khz_mono(demo_folder):
    for row in synthesis.read_utterance_table(demo_folder):
        with wave.open(str(demo_folder / row["audio"])) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
            assert 0.6 <= file.getnframes() / 16000 <= 5.0


def test_the_table_lists_the_files_that_are_there(demo_folder):
    listed = [row["audio"] for row in synthesis.read_utterance_table(demo_folder)]
    assert sorted(listed) == sorted(name for name in content(demo_folder) if name.endswith(".wav"))


def test_a_voice_is_in_one_split_and_the_length_is_as_requested(tmp_path):
    synthesis.synthesise(corpus(minutes=1, voices=8), tmp_path / "demo")
    splits, seconds = defaultdict(set), defaultdict(float)
    for row in synthesis.read_utterance_table(tmp_path / "demo"):
        splits[row["voice"]].add(row["split"])
        seconds[row["split"]] += soundfile.info(tmp_path / "demo" / row["audio"]).duration
    assert len(splits) == 8
    assert all(len(found) == 1 for found in splits.values())
    assert 60 <= sum(seconds.values()) <= 60 + 8 * 5
    assert seconds["train"] > seconds["test"] > 0
    assert seconds["dev"] > 0


def test_speech_has_one_level_and_is_not_clipped(demo_folder):
    for row in synthesis.read_utterance_table(demo_folder):
        samples, _ = soundfile.read(demo_folder / row["audio"])
        level = np.sqrt(np.mean(samples**2))
        assert 0.04 < level < 0.07  # 0.06 with silence around it
        assert np.abs(samples).max() < 1 - 1 / 32768


def test_a_complete_corpus_is_not_synthesised_again(copy, monkeypatch):
    before = content(copy)
    monkeypatch.setattr(subprocess, "Popen", None)  # starting a process would fail
    synthesis.synthesise(corpus(), copy)
    assert content(copy) == before


def test_an_interrupted_synthesis_starts_again(demo_folder, copy):
    state = read_json(copy / synthesis.STATE_FILE)
    write_json(copy / synthesis.STATE_FILE, state | {"complete": False})
    (copy / synthesis.UTTERANCES_FILE).unlink()
    next(copy.glob("wav/*/*.wav")).unlink()
    synthesis.synthesise(corpus(), copy)
    assert content(copy) == content(demo_folder)


def test_other_settings_replace_the_corpus_completely(copy, other_seed_folder):
    synthesis.synthesise(corpus(seed=1), copy)
    assert content(copy) == content(other_seed_folder)


def test_the_child_process_imports_the_same_code(tmp_path, monkeypatch):
    """It starts in the folder that holds `pipeline`, which may be a code snapshot."""
    folders: list[Path] = []

    def start(command: list[str], *, cwd: Path, **settings: object) -> None:
        folders.append(cwd)
        raise OSError("not started")

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(OSError, match="not started"):
        synthesis.synthesise(corpus(), tmp_path / "demo")
    assert folders == [REPOSITORY]


def test_a_folder_with_other_files_is_not_changed(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"is not empty and holds no synthesised corpus; choose"):
        synthesis.synthesise(corpus(), tmp_path)
    assert content(tmp_path) == {"thesis.tex": b"years of work"}


def test_progress_counts_seconds_of_speech(demo_folder, progress_calls):
    assert progress_calls == sorted(progress_calls)
    assert {total for _, total in progress_calls} == {24}
    assert progress_calls[-1] == (24, 24)


def test_a_failed_synthesis_is_explained_in_one_line(tmp_path):
    (tmp_path / "demo").mkdir()
    write_json(tmp_path / "demo" / synthesis.STATE_FILE, {"settings": {}, "complete": False})
    (tmp_path / "demo" / "wav").write_text("in the way")
    with pytest.raises(InputError, match=r"could not be synthesised: .*wav.*; free some") as error:
        synthesis.synthesise(corpus(), tmp_path / "demo")
    assert "\n" not in str(error.value)
    assert not read_json(tmp_path / "demo" / synthesis.STATE_FILE)["complete"]


def test_a_missing_table_is_refused_in_one_line(copy):
    (copy / synthesis.UTTERANCES_FILE).unlink()
    with pytest.raises(InputError, match=r"utterances\.tsv: cannot be read .*; delete "):
        synthesis.read_utterance_table(copy)


def test_espeak_works_in_a_virtual_environment_with_a_long_path(tmp_path):
    """Without our workaround espeak-ng silently cuts the path of its data at 160 characters."""
    data, deep = Path(espeakng_loader.get_data_path()), tmp_path / ("x" * 100) / ("y" * 100)
    for name in ("phontab", "phonindex", "phondata", "intonations", "en_dict", "voices", "lang"):
        here, there = data / name, deep / "espeak-ng-data" / name
        there.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if here.is_dir() else shutil.copy)(here, there)
    script = (
        "import sys, espeakng_loader, random\n"
        "from pipeline.corpus.synthetic import prompts, synthesis\n"
        "espeakng_loader.get_data_path = lambda: sys.argv[1]\n"
        "voice = prompts.make_voices(3, random.Random(0))[0]\n"
        "assert synthesis._Espeak(0).say('yes', voice).any()\n"
    )
    command = [sys.executable, "-c", script, str(deep / "espeak-ng-data")]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("language", ["fr", "he", "ko"])
def test_a_language_without_sentences_speaks_numbers(tmp_path, language):
    synthesis.synthesise(corpus(minutes=0.2, language=language), tmp_path / "demo")
    rows = synthesis.read_utterance_table(tmp_path / "demo")
    texts = {row["transcript"] for row in rows}
    assert len(texts) > len(rows) / 2
    assert not any(map(str.isdigit, "".join(texts)))
    assert {"fr": "cent", "he": "מאות", "ko": "십"}[language] in " ".join(texts)


@pytest.mark.parametrize("language", ["xx", "ja", "tet"])
def test_a_language_that_espeak_or_num2words_lack_is_refused(tmp_path, language):
    with pytest.raises(InputError, match=f"language: {language}: .* such as ar, fr or ru"):
        synthesis.synthesise(corpus(language=language), tmp_path / "demo")
