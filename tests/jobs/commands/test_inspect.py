"""verify names what is damaged; inspect says and draws what is there."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.commands.parser import main
from tests.jobs.conftest import Bench, bench_in

Verb = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """With its features; no test changes it."""
    made = bench_in(tmp_path_factory.mktemp("whole"), "an4")
    assert features(made) == 0
    return made


@pytest.fixture
def bench(whole: Bench, tmp_path: Path) -> Bench:
    """The same corpus, and a work folder to spoil."""
    work = Path(shutil.copytree(whole.work, tmp_path / "work"))
    return replace(whole, work=work)


def features(bench: Bench) -> int:
    corpus = str(bench.configs / "corpora" / "tiny.yaml")
    words = ["features", "--corpus", corpus, "--work", str(bench.work)]
    return main([*words, "--set", "features.mel_bins=20"])


@pytest.fixture
def verb(bench: Bench, capsys: pytest.CaptureFixture[str]) -> Verb:
    def act(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main([*map(str, words), "--work", str(bench.work)])
        told = capsys.readouterr()
        return code, told.out + told.err

    return act


def shard_of(bench: Bench, spectrum: str) -> Path:
    (path,) = bench.work.glob(f"features/{spectrum}-*/shard-*.h5")
    return path


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("named", ["configs/corpora/tiny.yaml", "tiny", "features-tiny"])
def test_verify_reads_every_set_of_a_corpus_and_says_how_much(bench, verb, named):
    path = bench.configs.parent / named
    code, told = verb("verify", path if path.exists() else named)
    assert code == 0
    assert told.count("1 of 1 shard read") == 3
    assert told.count("GB/s: all whole") == 3


def test_a_corpus_may_have_another_name_than_its_file(bench, verb, tmp_path):
    file = tmp_path / "other.yaml"
    content = (bench.configs / "corpora" / "tiny.yaml").read_text()
    file.write_text(f"name: tiny\n{content}")
    code, told = verb("verify", file)
    assert (code, told.count("all whole")) == (0, 3)


def test_verify_names_a_flipped_byte_and_a_shard_that_is_not_there(bench, verb):
    mel, power = shard_of(bench, "mel"), shard_of(bench, "power")
    flip(mel, mel.stat().st_size // 2)
    power.unlink()
    code, told = verb("verify", mel.parent, power.parent.name)
    assert code == 1
    assert f"damaged: {mel}: the bytes of" in told
    assert f"damaged: {power}: no such shard" in told
    code, told = verb("verify", shard_of(bench, "amplitude").parent)
    assert code == 0


def test_a_damaged_shard_is_set_aside_and_made_again_byte_for_byte(bench, verb):
    mel = shard_of(bench, "mel")
    whole = mel.read_bytes()
    flip(mel, len(whole) // 2)
    assert verb("verify", mel.parent)[0] == 1
    assert [path.name for path in mel.parent.glob("*.damaged")] == [f"{mel.name}.damaged"]
    assert features(bench) == 0
    assert mel.read_bytes() == whole
    assert not list(mel.parent.glob("*.damaged"))
    mel.write_bytes(whole[:-100])
    assert features(bench) == 0
    assert mel.read_bytes() == whole


def test_verify_finds_the_sets_of_a_corpus_that_only_a_run_has_wanted(bench, verb):
    (bench.work / "sweeps" / "features-tiny").rename(bench.work / "sweeps" / "another")
    shard_of(bench, "mel").unlink()
    code, told = verb("verify", bench.configs / "corpora" / "tiny.yaml")
    assert code == 1
    assert told.count("1 of 1 shard read") == 2
    assert "1 damaged or missing" in told


def test_what_has_no_features_is_refused(bench, verb, tmp_path):
    sets = ", ".join(sorted(path.name for path in bench.work.glob("features/*")))
    there = f"there are the feature sets {sets}: name one with FEATURES=…, or their corpus"
    page = tmp_path / "page.md"
    page.touch()
    for named, said in (
        ("elsewhere", "elsewhere: no sweep or corpus whose features were made in"),
        ("configs/sweeps/none.yaml", "no sweep or corpus whose features were made in"),
        (page, f"{page}: is no shard, no sweep and no corpus; "),
        (bench.configs, f"{bench.configs}: is a folder without feature_set.yaml"),
    ):
        code, told = verb("verify", named)
        assert code == 2
        assert said in told
        assert there in told
    code, told = verb("inspect", bench.work / "features")
    assert f"is a folder of feature sets; name one in it: {sets}" in told


def test_a_work_folder_without_features_is_told_how_to_get_them(bench, verb):
    shutil.rmtree(bench.work)
    code, told = verb("verify", "tiny")
    assert code == 2
    assert "make features makes them, WORK=… or CLUSTER=… names another work folder" in told


def test_inspect_says_what_a_feature_set_holds(bench, verb):
    code, told = verb("inspect", shard_of(bench, "mel").parent)
    assert code == 0
    for said in (
        "1 shard of 1", "mel_bins 20", "frames (1212, 20) float16", "offsets (13,) int64",
        "12 utterances (test 6, train 6), 1212 frames, 0.003 h", "maaa-an0-b: 101 frames: YES",
        "statistics of 606 training frames", "0 refusals",
    ):  # fmt: skip
        assert said in told


def test_inspect_draws_one_utterance(bench, verb, tmp_path):
    mel = shard_of(bench, "mel")
    for name, magic in (("x.png", b"\x89PNG"), ("x.svg", b"<?xml")):
        words = ("inspect", mel, "--utterance", "maaa-an2-b", "-o", tmp_path / name)
        code, told = verb(*words)
        assert code == 0
        assert "maaa-an2-b: GO SIX" in told
        assert (tmp_path / name).read_bytes().startswith(magic)
    assert "maaa-an2-b: GO SIX" in (tmp_path / "x.svg").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--utterance", "nobody"], "; its ids are faaa-an0-b, faaa-an1-b, "),
        (["--utterance", "fbbb-an2-c"], "; did you mean fbbb-an2-b?"),
        (["-o", "x.bmp"], "a drawing ends in .png or .svg"),
    ],
)
def test_inspect_refuses_what_it_cannot_show(bench, verb, words, complaint):
    code, told = verb("inspect", shard_of(bench, "mel"), *words)
    assert code == 2
    assert complaint in told
    assert "bins" not in told  # nothing is shown before it


def test_inspect_wants_one_feature_set(verb):
    code, told = verb("inspect", "tiny")
    assert code == 2
    assert "has 3 feature sets: " in told
