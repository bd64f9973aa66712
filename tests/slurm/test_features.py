"""Features through SLURM: the same bytes as on this machine; a strict corpus is refused."""

from pathlib import Path

import numpy as np
import soundfile

from tests.slurm.conftest import SlurmProject


def shards(bench: SlurmProject) -> dict[str, bytes]:
    paths = bench.work.glob("features/*/shard-*.h5")
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in paths}


def features(bench: SlurmProject, *words: str | Path, profile: Path) -> tuple[int, str]:
    answer = bench.run_verb("features", *words, profile=profile)
    return answer.code, answer.out + answer.errors


def test_features_computed_in_slurm_have_the_same_bytes_as_on_this_machine(
    slurm_project, corpora_folder
):
    words = ("--sweep", slurm_project.folder / "configs" / "sweeps" / "three.yaml")
    site = slurm_project.write_profile(features={"cpus": 2, "memory_gb": 1, "minutes": 10})
    code, printed = features(slurm_project, *words, profile=site)
    assert code == 0
    assert "submitted features" in printed
    assert "submitted runs" not in printed
    slurm_project.await_jobs()
    assert len(list(slurm_project.work.glob("features/*/statistics.h5"))) == 3
    assert "nothing to do: 3 feature sets" in features(slurm_project, *words, profile=site)[1]

    here = SlurmProject(slurm_project.folder / "here", corpora_folder)
    local = slurm_project.folder / "local.yaml"
    local.write_text("scheduler: local\n")
    assert features(here, *words, profile=local)[0] == 0
    assert shards(here) == shards(slurm_project) != {}


def test_a_strict_corpus_with_a_corrupt_file_is_refused_by_the_job_and_then_by_the_command(
    slurm_project,
):
    root, config = (
        slurm_project.folder / "noise",
        slurm_project.folder / "configs" / "corpora" / "noise.yaml",
    )
    root.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, (6, 16_000)).astype(np.float32)
    noise[3, 5000] = np.inf
    for number, samples in enumerate(noise):
        soundfile.write(root / f"{number}.wav", samples, 16_000, subtype="FLOAT")
    rows = [f"{number}.wav,YES,s{number}" for number in range(len(noise))]
    (root / "all.csv").write_text("\n".join(["audio,text,speaker", *rows]))
    config.write_text(f"reader: csv\nroot: {root}\nstrict: true\n")
    words = ("--corpus", config, "--set", "features.spectrum=mel")
    assert (
        features(slurm_project, *words, profile=slurm_project.write_profile())[0] == 0
    )  # the headers are correct
    slurm_project.await_jobs()
    refusal = "noise is strict, and 1 of its utterances cannot be used; the first: 3: 3.wav: holds"
    assert refusal in next(slurm_project.work.glob("sweeps/*/tasks/*.failure")).read_text()
    code, printed = features(slurm_project, *words, profile=slurm_project.write_profile())
    assert code == 2
    assert refusal in printed
