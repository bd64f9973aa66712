"""verify names what is damaged; inspect prints and draws what a feature set holds."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from jobs.commands.parser import main
from pipeline.corpus import manifest
from tests.jobs.conftest import TinyProject, create_project

Verb = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """With its features; no test changes it."""
    made = create_project(tmp_path_factory.mktemp("whole"), "an4")
    assert features(made) == 0
    return made


@pytest.fixture
def project(finished_project: TinyProject, tmp_path: Path) -> TinyProject:
    """The same corpus, and a work folder that a test may damage."""
    work = Path(shutil.copytree(finished_project.work, tmp_path / "work"))
    return replace(finished_project, work=work)


def features(bench: TinyProject) -> int:
    corpus = str(bench.configs / "corpora" / "tiny.yaml")
    words = ["features", "--corpus", corpus, "--work", str(bench.work)]
    return main([*words, "--set", "features.mel_bins=20"])


@pytest.fixture
def run_verb(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> Verb:
    def act(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main([*map(str, words), "--work", str(project.work)])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return act


def shard_of(bench: TinyProject, spectrum: str) -> Path:
    (path,) = bench.work.glob(f"features/{spectrum}-*/shard-*.h5")
    return path


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("named", ["configs/corpora/tiny.yaml", "tiny", "features-tiny"])
def test_verify_reads_every_set_of_a_corpus_and_says_how_much(project, run_verb, named):
    path = project.configs.parent / named
    code, printed = run_verb("verify", path if path.exists() else named)
    assert code == 0
    assert printed.count("1 of 1 shard read") == 3
    assert printed.count("GB/s: all whole") == 3


def test_a_corpus_may_have_another_name_than_its_file(project, run_verb, tmp_path):
    file = tmp_path / "other.yaml"
    content = (project.configs / "corpora" / "tiny.yaml").read_text()
    file.write_text(f"name: tiny\n{content}")
    code, printed = run_verb("verify", file)
    assert (code, printed.count("all whole")) == (0, 3)


def test_verify_names_a_flipped_byte_and_a_shard_that_is_not_there(project, run_verb):
    mel, power = shard_of(project, "mel"), shard_of(project, "power")
    flip(mel, mel.stat().st_size // 2)
    power.unlink()
    code, printed = run_verb("verify", mel.parent, power.parent.name)
    assert code == 1
    assert f"damaged: {mel}: the bytes of" in printed
    assert f"damaged: {power}: no such shard" in printed
    code, printed = run_verb("verify", shard_of(project, "amplitude").parent)
    assert code == 0


def test_a_damaged_shard_is_set_aside_and_made_again_byte_for_byte(project, run_verb):
    mel = shard_of(project, "mel")
    whole = mel.read_bytes()
    flip(mel, len(whole) // 2)
    assert run_verb("verify", mel.parent)[0] == 1
    assert [path.name for path in mel.parent.glob("*.damaged")] == [f"{mel.name}.damaged"]
    assert features(project) == 0
    assert mel.read_bytes() == whole
    assert not list(mel.parent.glob("*.damaged"))
    mel.write_bytes(whole[:-100])
    assert features(project) == 0
    assert mel.read_bytes() == whole


def test_a_shard_of_another_engine_is_named_and_computed_again(tmp_path, monkeypatch, capsys):
    """As when a shard is copied from a machine without the C library."""
    monkeypatch.setattr(manifest, "SLICE_SECONDS", 5.0)
    project = create_project(tmp_path, "an4")
    assert features(project) == 0
    shards = sorted(project.work.glob("features/mel-*/shard-*.h5"))
    content = [shard.read_bytes() for shard in shards]
    assert len(shards) > 1
    with h5py.File(shards[-1], "r+") as file:
        engine = file.attrs["engine"].decode()
        file.attrs["engine"] = np.bytes_("numpy" if engine == "native" else "native")
    verify = ["verify", str(shards[0].parent), "--work", str(project.work)]
    capsys.readouterr()
    assert main(verify) == 1
    assert f"damaged: {shards[-1]}: " in (printed := capsys.readouterr().out)
    assert "1 damaged or missing" in printed
    assert features(project) == 0
    assert [shard.read_bytes() for shard in shards] == content
    assert main(verify) == 0


def test_verify_finds_the_sets_of_a_corpus_that_were_computed_for_runs(project, run_verb):
    (sweep,) = project.work.glob("sweeps/features-tiny_mel_bins-20_*")
    sweep.rename(sweep.with_name("another"))
    shard_of(project, "mel").unlink()
    code, printed = run_verb("verify", project.configs / "corpora" / "tiny.yaml")
    assert code == 1
    assert printed.count("1 of 1 shard read") == 2
    assert "1 damaged or missing" in printed


def test_what_has_no_features_is_refused(project, run_verb, tmp_path):
    sets = ", ".join(sorted(path.name for path in project.work.glob("features/*")))
    there = f"the feature sets are {sets}: name one with FEATURES=…, or their corpus"
    page = tmp_path / "page.md"
    page.touch()
    for named, text in (
        ("elsewhere", "elsewhere: is neither a feature set nor a sweep or corpus with features in"),
        (
            "configs/sweeps/none.yaml",
            "nor a sweep or corpus with features in",
        ),
        (page, f"{page}: is neither a shard nor a sweep nor a corpus; "),
        (project.configs, f"{project.configs}: is a folder without feature_set.yaml"),
    ):
        code, printed = run_verb("verify", named)
        assert code == 2
        assert text in printed
        assert there in printed
    code, printed = run_verb("inspect", project.work / "features")
    assert f"is a folder of feature sets; name one in it: {sets}" in printed


def test_a_work_folder_without_features_is_told_how_to_get_them(project, run_verb):
    shutil.rmtree(project.work)
    code, printed = run_verb("verify", "tiny")
    assert code == 2
    assert "run make features, or name another work folder with WORK=… or CLUSTER=…" in printed


def test_inspect_says_what_a_feature_set_holds(project, run_verb):
    code, printed = run_verb("inspect", shard_of(project, "mel").parent)
    assert code == 0
    for text in (
        "1 shard of 1", "computed by: n", "mel_bins 20",
        "frames (1212, 20) float16", "offsets (13,) int64",
        "12 utterances (test 6, train 6), 1212 frames, 0.003 h", "maaa-an0-b: 101 frames: YES",
        "statistics of 606 training frames", "0 refusals",
    ):  # fmt: skip
        assert text in printed


def test_inspect_draws_one_utterance(project, run_verb, tmp_path):
    mel = shard_of(project, "mel")
    for name, magic in (("x.png", b"\x89PNG"), ("x.svg", b"<?xml")):
        words = ("inspect", mel, "--utterance", "maaa-an2-b", "-o", tmp_path / name)
        code, printed = run_verb(*words)
        assert code == 0
        assert "maaa-an2-b: GO SIX" in printed
        assert (tmp_path / name).read_bytes().startswith(magic)
    assert "maaa-an2-b: GO SIX" in (tmp_path / "x.svg").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--utterance", "nobody"], "; its ids are faaa-an0-b, faaa-an1-b, "),
        (["--utterance", "fbbb-an2-c"], "; did you mean fbbb-an2-b?"),
        (["-o", "x.bmp"], "must end in .png or .svg"),
    ],
)
def test_inspect_refuses_what_it_cannot_show(project, run_verb, words, complaint):
    code, printed = run_verb("inspect", shard_of(project, "mel"), *words)
    assert code == 2
    assert complaint in printed
    assert "bins" not in printed  # nothing is shown before it


def test_inspect_of_several_feature_sets_says_what_each_is_and_what_to_type(run_verb, project):
    picture = project.work / "x.png"
    code, printed = run_verb("inspect", "tiny", "--output", picture)
    assert code == 2
    assert "has 3 feature sets; type one of the above" in printed
    folders = sorted(project.work.glob("features/*"))
    for folder in folders:
        assert f"make inspect FEATURES={folder} OUT={picture}" in printed
    assert "mel: " in printed
    assert "mel_bins 20" in printed
    assert run_verb("inspect", folders[0], "--output", picture)[0] == 0
    assert picture.exists()
