"""Decode, transcribe and export, typed one after another on one finished run with real audio."""

import contextlib
import hashlib
import io
import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import jaxtyping
import numpy as np
import pytest
import soundfile
import torch

from jobs.commands import parser
from jobs.commands.trained import align, decode, outputs, transcribe
from jobs.commands.trained.export import make_card
from jobs.commands.trained.network import find_features
from jobs.commands.trained.scores import describe_scores, describe_search
from pipeline.config.corpus import Corpus
from pipeline.config.decoding import DecodingSettings
from pipeline.corpus.audio import resample
from pipeline.decoding.suspicion import Suspicion
from pipeline.decoding.words.ngram import estimate, format_arpa
from pipeline.features.feature_set import FeatureSet
from pipeline.features.hdf5 import check_datasets
from pipeline.files import InputError
from pipeline.runs.decodings import MODEL_FILE, DecodingFolder
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis
from pipeline.runs.trained.alignments import AlignedUtterance
from pipeline.training.trained import align_run, decoded_run, onnx_export, transcription
from pipeline.training.trained.recogniser import Recogniser
from pipeline.training.trained.trained_run import TrainedRun
from tests.jobs.conftest import TinyProject, create_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    made = create_project(tmp_path_factory.mktemp("trained"), "demo")
    file = made.configs / "experiments" / "tiny.yaml"
    assert parser.main(["train", str(file), "--work", str(made.work)]) == 0
    return made


@pytest.fixture(scope="module")
def run(project: TinyProject) -> RunFolder:
    (folder,) = (project.work / "runs").iterdir()
    return RunFolder(folder)


def blankslate(project: TinyProject, *words: object) -> int:
    return parser.main([*map(str, words), "--work", str(project.work)])


def some_wav(project: TinyProject) -> Path:
    return sorted((project.work / "corpora").rglob("*.wav"))[0]


def test_a_run_keeps_its_model_and_reads_new_sound_as_its_features_were_read(
    project: TinyProject, run: RunFolder
):
    recogniser = Recogniser.load(run.path / MODEL_FILE)
    (features,) = (FeatureSet.open(each) for each in (project.work / "features").iterdir())
    trained = TrainedRun.load(run, features, torch.device("cpu"))
    files = {path.stem: path for path in (project.work / "corpora").rglob("*.wav")}
    checked = 0
    for split in ("train", "dev", "test"):
        for utterance, logs_SC in trained.log_probabilities(trained.split(features, split)):
            rate = recogniser.experiment.features.sample_rate
            waveform = np.concatenate(list(resample.blocks(files[utterance.id], rate)))
            found = recogniser.log_probabilities(recogniser.frames(waveform))
            np.testing.assert_allclose(found, logs_SC, atol=1e-4)
            checked += 1
    assert checked > 4


def test_a_run_is_decoded_again(project: TinyProject, run: RunFolder, capsys):
    assert blankslate(project, "decode", run.run_id, "--set", "ngram=1") == 0
    said = capsys.readouterr().out
    assert "greedy, as trained: test WER" in said
    assert "lexicon and word 1-gram: test WER" in said
    assert "of this one network" in said
    (file,) = (run.path / "decodings").glob("*/result.json")
    assert json.loads(file.read_text())["trials"] > 1


def test_lattices_of_a_run_are_stored_and_their_oracle_is_said(
    project: TinyProject, run: RunFolder, capsys
):
    weights = ("ngram_weight=1", "word_reward=0", "unknown_penalty=50", "beam=1")  # takes seconds
    changes = [word for each in ("lattices=true", *weights) for word in ("--set", each)]
    assert blankslate(project, "decode", run.run_id, *changes) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"lattices: oracle WER [\d.]+ % on test .* \d+ bytes per utterance; .*gz", said
    )
    (file,) = (run.path / "decodings").glob("*/lat.1.gz")
    assert file.exists()


def test_all_runs_of_a_sweep_are_decoded_once(project: TinyProject, run: RunFolder, capsys):
    words = ["decode", "--sweep", "train-tiny", "--set", "ngram=0"]
    assert blankslate(project, *words) == 0
    said = capsys.readouterr().out
    assert "choosing the weights" in said
    assert "lexicon and no n-gram: test WER" in said
    assert "make report SWEEP=train-tiny" in said
    assert blankslate(project, *words) == 0
    again = capsys.readouterr().out
    assert "choosing the weights" not in again  # it is there, and read
    shown = [line for line in said.splitlines() if line.startswith("lexicon")]
    assert [line for line in again.splitlines() if line.startswith("lexicon")] == shown


def test_decodings_of_the_experiment_are_made_without_training(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys
):
    """Adding them to a finished run keeps its identity: train trains nothing, decode decodes."""
    state = run.state_file.stat().st_mtime_ns
    file = project.configs / "experiments" / "tiny.yaml"
    before = file.read_text(encoding="utf-8")
    own = "decode: {also: [{words: any, ngram: 3}]}\n"
    assert "decode:" not in before
    file.write_text(before + own, encoding="utf-8")
    try:
        assert blankslate(project, "train", file) == 0
        said = capsys.readouterr().out
        assert "nothing to do" in said
        assert "not decoded with character 3-gram, which decode.also asks for: 1 run; " in said
        assert f"make decode RUN={run.run_id} WORK=" in said
        assert run.experiment().decode.also[0].ngram == 3
        assert blankslate(project, "decode", run.run_id) == 0
        assert "character 3-gram: test WER" in capsys.readouterr().out
        assert run.state_file.stat().st_mtime_ns == state
        assert blankslate(project, "train", file) == 0
        assert "not decoded" not in capsys.readouterr().out
        words = tmp_path / "none.txt"
        file.write_text(before + own.replace("any", str(words)), encoding="utf-8")
        assert blankslate(project, "train", file) == 2
        assert "none.txt: no such file" in capsys.readouterr().err
    finally:
        file.write_text(before, encoding="utf-8")
        blankslate(project, "train", file)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["decode", "zzz"], "no run begins with it"),
        (["decode", "{run}", "--set", "ngramm=2"], "ngram"),
        (["decode", "{run}", "--set", "ngram=9"], "6"),
        (["decode", "{run}", "--set", "words=/no/such/list.txt"], "no such file"),
        (["transcribe", "{run}", "/no/such/file.wav"], "no such file or folder"),
        (["transcribe", "{run}", "{empty}"], "no file with the ending of a sound file"),
        (["decode", "--sweep", "nobody"], "nobody"),
        (["decode", "{run}", "--sweep", "train-tiny"], "not both"),
        (["decode"], "no run is named"),
        (["decode", "{wav}"], "is a file; this command needs the run itself: its folder, or its"),
        (["export", "zzz"], "no run begins with it"),
        (["outputs", "zzz"], "no run begins with it"),
        (["outputs", "{run}", "--corpus", "/no/such.yaml"], "no such file"),
        (["align", "zzz"], "no run begins with it"),
        (["align", "{run}", "--utterance", "nobody"], "UTTERANCE=nobody"),
        (["align", "{run}", "--hypotheses", "--split", "train"], "no hypotheses"),
        (["align", "{run}", "--utterance", "{utterance}", "-o", "x.txt"], "end in .png or .svg"),
        (["align", "{run}", "-o", "{wav}"], "must be a folder: the results"),
        (["align", "{run}", "--audio", "{wav}", "--text", "A", "--split", "dev"], "leave them out"),
        (["align", "{run}", "--audio", "{wav}", "--text", "A", "-o", "x.ctm"], "must be a folder"),
        (
            ["transcribe", "{run}", "{wav}", "-o", "x.txt"],
            "OUT=x.txt: must be a folder: the results",
        ),
        (["transcribe", "{run}", "{wav}", "-o", "{wav}"], "must be a folder: the results"),
        (["export", "{run}", "-o", "{empty}"], "is a folder; name a file"),
        (["outputs", "{run}", "-o", "{empty}"], "is a folder; name a file"),
        (["align", "{run}", "--audio", "x.wav"], "belong together"),
        (["align", "{run}", "--audio", "x.wav", "--text", "no/such.txt"], "such.txt: no such file"),
        (["align", "{run}", "--audio", "{wav}", "--text", "漢"], "lacks '漢'"),
        (["align", "{run}", "--audio", "/no/such.wav", "--text", "ONE"], "/no/such.wav"),
    ],
)
def test_a_mistake_is_one_line(project, run, capsys, words: list[str], said: str):
    empty = project.work / "empty"
    empty.mkdir(exist_ok=True)
    wav = some_wav(project)
    given = {"run": run.run_id, "empty": empty, "wav": wav, "utterance": wav.stem}
    assert blankslate(project, *(word.format(**given) for word in words)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("blankslate: ")
    assert said in error


def test_a_folder_is_transcribed_and_a_bad_file_stops_no_other(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys
):
    folder = tmp_path / "recordings"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(some_wav(project), folder / "a.wav")
    shutil.copy(some_wav(project), folder / "deep" / "b.wav")
    (folder / "broken.wav").write_bytes(b"RIFF")
    (folder / ".hidden").write_bytes(b"")
    (folder / ".trash").mkdir()
    shutil.copy(some_wav(project), folder / ".trash" / "c.wav")
    (folder / "a.txt").write_text("the transcript of a.wav")
    soundfile.write(folder / "silent.flac", np.zeros(16000), 16000)
    soundfile.write(folder / "telephone.wav", 0.1 * np.sin(np.arange(8000) / 5), 8000)
    assert blankslate(project, "transcribe", run.run_id, folder) == 1
    out, err = capsys.readouterr()
    texts = dict(line.split(": ", 1) for line in out.splitlines())
    assert {Path(name).name for name in texts} == {"a.wav", "b.wav", "silent.flac", "telephone.wav"}
    assert texts[str(folder / "a.wav")] == texts[str(folder / "deep" / "b.wav")]
    assert "broken.wav" in err
    assert "exclude:" not in err, "a recording that is in no corpus"
    assert "a.txt" not in err
    assert "silent.flac: the recording is silent" in err
    assert "telephone.wav: the recording has 8000 Hz" in err


def test_a_run_that_normalises_speakers_says_once_that_it_knows_little_of_a_new_one(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys
):
    known = Recogniser.load(run.path / MODEL_FILE)
    section = known.experiment.input.model_copy(update={"normalisation": "speaker"})
    changed = known.experiment.model_copy(update={"input": section})
    replace(known, experiment=changed).save(tmp_path / "speaker.pt")
    wav = some_wav(project)
    for model, count in ((tmp_path / "speaker.pt", 1), (run.path / MODEL_FILE, 0)):
        assert blankslate(project, "transcribe", model, wav, wav) == 0
        assert capsys.readouterr().err.count("the run normalises each speaker") == count


def test_a_damaged_model_of_a_run_is_to_be_deleted_and_the_state_is_read_then(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys
):
    copied = tmp_path / run.run_id
    shutil.copytree(run.path, copied)
    (copied / MODEL_FILE).write_bytes((copied / MODEL_FILE).read_bytes()[:5000])
    wav = some_wav(project)
    assert blankslate(project, "transcribe", copied, wav) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"blankslate: {copied / MODEL_FILE}: is not an exported model, or is damaged; delete "
        "it: then the network is read from the run's state"
    )
    (copied / MODEL_FILE).unlink()
    assert blankslate(project, "transcribe", copied, wav) == 0


def test_an_export_gives_the_same_text_without_the_work_folder(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys
):
    wav = some_wav(project)
    assert blankslate(project, "transcribe", run.run_id, wav, "--format", "json") == 0
    expected = json.loads(capsys.readouterr().out)
    file = tmp_path / "model.pt"
    assert blankslate(project, "export", run.run_id, "-o", file, "--licence", "CC0") == 0
    card = file.with_name(f"{file.name}.md").read_text(encoding="utf-8")
    assert "CC0" in card
    assert "Seed 0: one network" in card
    capsys.readouterr()
    words = [
        "transcribe",
        str(file),
        str(wav),
        "--format",
        "json",
        "--work",
        str(tmp_path / "none"),
    ]
    assert parser.main(words) == 0
    assert json.loads(capsys.readouterr().out) == expected
    assert not (tmp_path / "none").exists()


def test_the_card_of_a_run_that_normalises_speakers_says_what_its_scores_know(
    project: TinyProject, run: RunFolder, tmp_path: Path
):
    features = FeatureSet.open(find_features(run, project.work))
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    experiment = run.experiment()
    changed = experiment.input.model_copy(update={"normalisation": "speaker"})
    copy.write_experiment(experiment.model_copy(update={"input": changed}))
    for folder, count in ((run, 0), (copy, 1)):
        scores = make_card(folder, features, "")["scores"]
        assert sum("know all recordings of a speaker" in each for each in scores) == count


def test_the_card_has_the_hours_of_each_split(project: TinyProject, run: RunFolder):
    features = FeatureSet.open(find_features(run, project.work))
    splits = [(each.split, each.frames) for each in features.utterances]
    expected = {
        split: round(sum(frames for name, frames in splits if name == split) * 0.01 / 3600, 3)
        for split in ("train", "dev", "test")
    }
    assert expected["train"] > expected["test"]
    assert make_card(run, features, "")["hours"] == expected


def test_an_onnx_file_that_differs_from_torch_is_not_written(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.setattr(onnx_export, "network_onnx", lambda *given: b"")
    monkeypatch.setattr(onnx_export, "compare_with_torch", lambda *given: 2e-4)
    words = ["export", run.run_id, "--format", "onnx", "-o", tmp_path / "x"]
    assert blankslate(project, *words) == 2
    assert "x.onnx: not written: its log-probabilities differ" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_interval_of_a_score_is_over_speakers(run: RunFolder):
    """All errors are those of one speaker: then the rate may be anything between both speakers'."""
    good = [Hypothesis.of(f"a{n}", "test", "A B", "A B", "x") for n in range(5)]
    bad = [Hypothesis.of(f"b{n}", "test", "A B", "C D", "y") for n in range(5)]
    dev = [Hypothesis.of("c", "dev", "A B", "", "y")]
    said = describe_scores("greedy", [*good, *bad, *dev], run.experiment().corpus)
    assert "greedy: test WER 50.0 %" in said
    assert "0.0 to 100.0 %), CER 33.3 %" in said
    alone = describe_scores(
        "greedy", [good[0], bad[0]._replace(word_errors=1)], Corpus(name="x", reader="demo")
    )
    assert "WER 25.0 %" in alone


def test_the_worst_transcripts_come_first_and_the_others_are_counted(monkeypatch):
    monkeypatch.setattr(align, "MAX_LISTED", 2)
    scores = [0.1, 5.0, 9.0, 0.2, 7.0]
    utterances = [
        AlignedUtterance(f"u{n}", "test", "x", "A", "B", 1.0, -score, score, (), ())
        for n, score in enumerate(scores)
    ]
    judged = [Suspicion(score, 1.0, score > 1) for score in scores]
    first, *lines = align.describe_split("test", utterances, judged)
    assert first.startswith("test: 3 of 5 transcripts fit")
    listed = [line.split(":")[0].strip() for line in lines if line.startswith("    ")]
    assert listed == ["u2", "u4", "and 1 more"]


def test_a_run_that_cannot_be_decoded_stops_no_other_of_a_sweep(
    project: TinyProject, run: RunFolder, capsys, monkeypatch
):
    runs = [SimpleNamespace(label=f"run {n}", run_id=run.run_id) for n in range(3)]
    unfinished = SimpleNamespace(label="unfinished", run_id="0" * 12)
    record = SimpleNamespace(name="x", runs=[*runs, unfinished])
    monkeypatch.setattr(decode, "load_record", lambda folder: record)
    outcomes = iter((None, InputError("x: damaged"), None))

    def decode_next(*given: object) -> None:
        if outcome := next(outcomes):
            raise outcome

    monkeypatch.setattr(decode, "_decode_run", decode_next)
    assert blankslate(project, "decode", "--sweep", "x") == 1
    said = capsys.readouterr().out.splitlines()
    assert said[:5] == [
        "run 0 (1 of 3)",
        "run 1 (2 of 3)",
        "left out: x: damaged",
        "run 2 (3 of 3)",
        "not decoded: 1 run that is not finished",
    ]
    assert next(outcomes, "none is left") == "none is left"
    outcomes = iter((InputError("a mistake in the settings"),))
    assert blankslate(project, "decode", "--sweep", "x") == 2
    assert capsys.readouterr().err.strip() == "blankslate: a mistake in the settings"


def test_of_two_feature_sets_of_a_corpus_the_identity_names_the_runs(
    project: TinyProject, run: RunFolder, tmp_path: Path
):
    own = find_features(run, project.work)
    other = own.with_name(f"{own.name.split('-')[0]}-000000000000")
    shutil.copytree(own, other)
    description = other / "feature_set.yaml"
    description.write_text(description.read_text().replace(own.name, other.name))
    try:
        assert find_features(run, project.work) == own
        copy = RunFolder(tmp_path / "another-id")  # as of another version of this program
        shutil.copytree(run.path, copy.path)
        with pytest.raises(InputError, match=r"2 feature sets in .* have its corpus and settings"):
            find_features(copy, project.work)
    finally:
        shutil.rmtree(other)
    assert find_features(copy, project.work) == own


def test_the_files_of_onnx_give_the_same_text_without_this_program_and_torch(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    wav, file = some_wav(project), tmp_path / "model"
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside of the tests
    assert blankslate(project, "transcribe", run.run_id, wav) == 0
    expected = capsys.readouterr().out.strip()
    assert blankslate(project, "decode", run.run_id, "--set", "ngram=1") == 0
    assert blankslate(project, "export", run.run_id, "--format", "onnx", "-o", file) == 0
    said = capsys.readouterr().out
    assert "log-probabilities of onnxruntime and torch differ by" in said
    program = (
        "import runpy, sys\n"
        # Then they cannot be imported.
        "for name in ('pipeline', 'jobs', 'torch'): sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, tmp_path / "model.py", wav.resolve()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == expected
    assert expected
    card = (tmp_path / "model.onnx.md").read_text(encoding="utf-8")
    written = {"model.onnx", "model.features.onnx", "model.tokens.txt", "model.py"}
    assert {path.name for path in tmp_path.iterdir()} == {*written, "model.onnx.md"}
    for name in written:
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert f"SHA-256 of {name}: {digest}." in card
    assert "- greedy: test WER" in card
    assert "lexicon" not in card  # of the decoding, which these files do not do


def test_the_program_beside_onnx_files_says_in_one_line_what_cannot_be_used(tmp_path: Path):
    program = tmp_path / "model.py"
    program.write_bytes(Path(onnx_export.__file__).with_name("onnx_transcribe.py").read_bytes())
    for name in ("model.onnx", "model.features.onnx"):
        (tmp_path / name).write_bytes(b"graph")
    digest = hashlib.sha256(b"graph").hexdigest()
    card = f"- SHA-256 of model.onnx: {digest}.\n- SHA-256 of model.features.onnx: {digest}.\n"
    (tmp_path / "model.onnx.md").write_text(card, encoding="utf-8")
    content = runpy.run_path(str(program))
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "slow.wav", np.zeros(80), 8000)
    (tmp_path / "text.wav").write_text("text")
    files = (tmp_path / "model.features.onnx", tmp_path / "model.onnx")

    def refusal(name: str, *arguments: object) -> str:
        said = io.StringIO()
        with pytest.raises(SystemExit) as stopped, contextlib.redirect_stderr(said):
            content[name](*arguments)
        assert stopped.value.code == 2
        return said.getvalue()

    for name, said in (
        ("empty.wav", "holds no samples"),
        ("slow.wav", "has 8000 Hz; convert it to 16000 Hz"),
        ("text.wav", "cannot be read as a sound file"),
        ("none.wav", "cannot be read as a sound file"),
    ):
        line = refusal("read_recording", str(tmp_path / name), 16000)
        assert said in line
        assert line.count("\n") == 1
    content["check_files"](files, tmp_path / "model.onnx.md")
    files[1].write_bytes(b"grapi")
    changed = refusal("check_files", files, tmp_path / "model.onnx.md")
    assert "model.onnx: has changed since it was exported (model.onnx.md)" in changed
    files[0].unlink()
    assert "model.features.onnx: missing" in refusal("transcribe", "x.wav", files[1])
    with pytest.raises(InputError, match=r"model\.onnx: is for onnxruntime; type python"):
        Recogniser.load(files[1])


def test_outputs_are_those_of_the_network_and_give_the_hypotheses(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys
):
    file = tmp_path / "all.h5"
    assert blankslate(project, "outputs", run.run_id, "-o", file) == 0
    said = capsys.readouterr().out
    (features,) = (FeatureSet.open(each) for each in (project.work / "features").iterdir())
    assert f"{len(features.utterances)} of {len(features.utterances)} utterances" in said
    trained = TrainedRun.load(run, features, torch.device("cpu"))
    expected = {
        utterance.id: logs_SC
        for split in ("train", "dev", "test")
        for utterance, logs_SC in trained.log_probabilities(trained.split(features, split))
    }
    layer = trained.network.fc3
    with h5py.File(file) as stored, torch.no_grad():
        ids = [value.decode() for value in stored["utterance_ids"]]
        assert ids == [utterance.id for utterance in features.utterances]
        assert [text.decode() for text in stored["classes"]] == ["", *trained.alphabet.units]
        edges = stored["offsets"][()]
        for place, name in enumerate(ids):
            rows = slice(edges[place], edges[place + 1])
            logs = stored["log_probabilities"][rows]
            np.testing.assert_allclose(logs, expected[name], atol=1e-5)
            hidden = torch.from_numpy(stored["hidden"][rows])
            again = layer(hidden).log_softmax(-1).numpy()
            np.testing.assert_allclose(again, logs, atol=1e-4)
        assert stored.attrs["complete"]
        assert stored.attrs["run_id"].decode() == run.run_id
        assert stored.attrs["step_seconds"] == pytest.approx(0.01 * trained.experiment.input.stack)
    assert all(each.intact for each in check_datasets(file))


def test_outputs_of_one_split_and_of_another_corpus(
    project: TinyProject, run: RunFolder, tmp_path: Path, monkeypatch
):
    file, corpus = tmp_path / "test.h5", next((project.configs / "corpora").glob("*.yaml"))
    assert blankslate(project, "outputs", run.run_id, "--split", "test", "-o", file) == 0
    with h5py.File(file) as stored:
        logs, ids = stored["log_probabilities"][()], stored["utterance_ids"][()].tolist()
        assert set(stored["splits"][()].tolist()) == {b"test"}
    # A corpus of other utterances: its own statistics must not normalise the input.
    other = corpus.with_name("other.yaml")
    other.write_text(corpus.read_text() + f"exclude: [{next(iter_ids(project, 'train'))}]\n")
    again = tmp_path / "other.h5"
    words = ["outputs", run.run_id, "--corpus", other, "--split", "test", "-o", again]
    prepare = outputs.ensure_features  # as if it refused an utterance: exit code 1
    monkeypatch.setattr(outputs, "ensure_features", lambda *all: prepare(*all)._replace(code=1))
    assert blankslate(project, *words) == 1
    with h5py.File(again) as stored:
        assert stored["utterance_ids"][()].tolist() == ids
        np.testing.assert_allclose(stored["log_probabilities"][()], logs, atol=1e-5)


def iter_ids(project: TinyProject, split: str) -> Iterator[str]:
    features = FeatureSet.open(next((project.work / "features").iterdir()))
    return (utterance.id for utterance in features.utterances if utterance.split == split)


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "older"])
def test_an_export_that_was_changed_is_refused(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys, damage: str
):
    content = (run.path / MODEL_FILE).read_bytes()
    file = tmp_path / "model.pt"
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        held = torch.load((run.path / MODEL_FILE), weights_only=True)
        held["weights"]["fc3.bias"][1] += 1
        torch.save(held, file)
    elif damage == "older":
        torch.save({**torch.load((run.path / MODEL_FILE), weights_only=True), "version": 0}, file)
    else:
        torch.save([1, 2], file)
    assert blankslate(project, "transcribe", file, some_wav(project)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(file) in error
    assert "make export" in error or "export the run again" in error


def test_files_of_one_name_in_two_folders_keep_their_own_results(
    project: TinyProject, run: RunFolder, tmp_path: Path
):
    for name in ("one", "two"):
        (tmp_path / "audio" / name).mkdir(parents=True)
        shutil.copy(some_wav(project), tmp_path / "audio" / name / "a.wav")
    out = tmp_path / "out"
    assert blankslate(project, "transcribe", run.run_id, tmp_path / "audio", "-o", out) == 0
    assert sorted(each.relative_to(out).as_posix() for each in out.rglob("*.txt")) == [
        "one/a.txt",
        "two/a.txt",
    ]


def test_results_of_two_files_of_one_name_are_both_kept_or_refused(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys
):
    audio, out = tmp_path / "audio", tmp_path / "out"
    for folder in (audio, tmp_path / "other"):
        folder.mkdir()
        shutil.copy(some_wav(project), folder / "a.wav")
    samples, rate = soundfile.read(audio / "a.wav")
    soundfile.write(audio / "a.flac", samples, rate)
    again = audio / "a.wav"  # named twice, transcribed once
    assert blankslate(project, "transcribe", run.run_id, audio, again, "-o", out) == 0
    assert sorted(each.name for each in out.iterdir()) == ["a.flac.txt", "a.wav.txt"]
    capsys.readouterr()
    both = [tmp_path / "other" / "a.wav", audio / "a.wav"]
    assert blankslate(project, "transcribe", run.run_id, *both, "-o", tmp_path / "none") == 2
    assert "results would have one name, a.wav;" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_printed_results_name_their_recordings_apart(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys
):
    files = [tmp_path / name / "a.wav" for name in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        shutil.copy(some_wav(project), file)

    def first_column(*words: object, separator: str = ",") -> list[str]:
        assert blankslate(project, "transcribe", run.run_id, *words) == 0
        lines = capsys.readouterr().out.splitlines()
        return list(dict.fromkeys(line.split(separator)[0] for line in lines))

    assert first_column(tmp_path, "--format", "csv") == ["recording", "one/a", "two/a"]
    assert first_column(tmp_path, "--format", "ctm", separator=" ") == ["one/a", "two/a"]
    assert first_column(*files, "--format", "ctm", separator=" ") == [str(each) for each in files]
    assert first_column(files[1], "--format", "csv") == ["recording", "a"]
    for form in ("srt", "vtt", "textgrid"):
        assert blankslate(project, "transcribe", run.run_id, tmp_path, "--format", form) == 2
        error = capsys.readouterr().err
        assert f"FORMAT={form}: a file holds one recording, and these are 2; add OUT=" in error


def test_csv_on_standard_output_has_one_header(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys
):
    for name in ("a.wav", "b.wav"):
        shutil.copy(some_wav(project), tmp_path / name)
    assert blankslate(project, "transcribe", run.run_id, tmp_path, "--format", "csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("recording,begin,end,text,score") == 1
    assert lines[0].startswith("recording")


@pytest.mark.parametrize(
    ("greedy", "decoded", "said"),
    [
        (0.25, 0.5, "this decoding makes more errors; make decode RUN=copy SET="),
        (0.25, 0.25, ""),
        (0.25, None, "make decode RUN=copy adds a lexicon and an n-gram model"),
        (1.0, 1.0, "this run has hardly learned to recognise: name a better one"),
        (1.0, None, "this run has hardly learned to recognise: name a better one"),
    ],
)
def test_the_error_rate_on_test_of_how_new_sound_is_decoded_is_told(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys, *, greedy, decoded, said
):
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(run.path, copy.path, ignore=shutil.ignore_patterns("decodings"))
    text = "A B C D" if greedy == 1 else "A B C X"
    copy.finish([Hypothesis.of("a", "test", "A B C D", "" if greedy == 1 else text)])
    folder = None
    if decoded is not None:
        settings = DecodingSettings(words="any", ngram=3)
        folder = DecodingFolder.of(copy, settings, "")
        folder.write(
            settings=settings,
            hypotheses=copy.hypotheses(),
            tuning=[],
            n_best=[],
            language={
                "words": None,
                "arpa": format_arpa(estimate([["A", "B"]], 1)),
                "weights": {},
            },
            result={"test_wer": decoded, "test_cer": 0.0},
        )
    line = describe_search(copy, folder, run.experiment().corpus)
    begin = f"greedy search: test WER {100 * greedy:.1f} %"
    if folder:
        begin = (
            f"with character 3-gram, {folder.path}: test WER {100 * decoded:.1f} %; greedy search"
        )
    assert line.startswith(begin)
    assert line.endswith(f"{100 * greedy:.1f} %") if not said else said in line
    assert blankslate(project, "transcribe", copy.path, some_wav(project)) == 0
    assert line in capsys.readouterr().err.splitlines()


def test_mistakes_in_files_are_told_and_finished_decodings_are_read_without_torch(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys, monkeypatch
):
    weights = ("ngram=1", "ngram_weight=1", "word_reward=0", "unknown_penalty=50", "beam=1")
    done = [word for each in weights for word in ("--set", each)]
    read, digest = [], decoded_run._digest_files
    monkeypatch.setattr(decoded_run, "_digest_files", lambda of: read.append(of) or digest(of))
    assert blankslate(project, "decode", run.run_id, *done) == 0
    assert len(read) == 1  # the files of the settings, to look for a finished decoding
    assert "as stated: ngram_weight=1 word_reward=0 unknown_penalty=50" in capsys.readouterr().out
    # The module that imports torch cannot be imported.
    monkeypatch.setitem(sys.modules, "pipeline.training.trained.decode_run", None)
    assert blankslate(project, "decode", run.run_id, *done) == 0
    assert "decoded before; to decode it again, delete " in capsys.readouterr().out
    (tmp_path / "pairs.txt").write_text("one two\n")
    for changed, said in (
        ("words=/no/such.txt", "such.txt: no such file"),
        ("text=/no/such.txt", "such.txt: no such file"),
        ("text=/no/such.arpa", "such.arpa: no such file"),
        (f"words={tmp_path / 'pairs.txt'}", "line 1: 'one two' is more than one word"),
    ):
        assert blankslate(project, "decode", run.run_id, "--set", changed) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(ImportError):
        blankslate(project, "decode", run.run_id, "--set", "beam=2")


def test_new_sound_is_decoded_with_the_settings_of_the_last_decoding(
    project: TinyProject, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ["--set", "beam=7", "--set", "blank_skip=0.99", "--set", "n_best=3"]
    assert blankslate(project, "decode", run.run_id, *words) == 0
    assert blankslate(project, "export", run.run_id, "-o", tmp_path / "model.pt") == 0
    made: list[tuple[float, float | None, int]] = []

    def note(sources, weights, beam, blank_skip):
        return SimpleNamespace(decode_fully=lambda _, count: made.append((beam, blank_skip, count)))

    monkeypatch.setattr(transcription, "TextDecoder", note)
    recogniser = Recogniser.load(tmp_path / "model.pt")
    transcription.make_decoder(recogniser)(np.zeros((1, 1), np.float32))
    older = {**recogniser.language}  # of a version that did not store them
    del older["search"]
    recogniser = recogniser.with_language(older, {})
    transcription.make_decoder(recogniser)(np.zeros((1, 1), np.float32))
    assert made == [(7.0, 0.99, 3), (12.0, None, 10)]


def test_a_long_recording_is_reported(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.setattr(transcribe, "REPORT_SECONDS", 60.0)  # instead of ten minutes
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "long.wav", 0.01 * rng.normal(size=16_000 * 65), 16_000)
    assert blankslate(project, "transcribe", run.run_id, tmp_path / "long.wav") == 0
    assert capsys.readouterr().err.count("1 min 0") == 1


@pytest.mark.parametrize(
    "content", ["{", "[1]", "{}", '{"words": null, "arpa": "", "weights": {}}']
)
def test_a_damaged_decoding_is_named(project: TinyProject, run: RunFolder, capsys, content: str):
    folder = run.path / "decodings" / "zzzz"
    folder.mkdir(parents=True)
    try:
        (folder / "language.json").write_text(content)
        (folder / "result.json").write_text("{}")  # a decoding without it is not finished
        DecodingFolder(folder).mark_newest()
        assert blankslate(project, "transcribe", run.run_id, some_wav(project)) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith("blankslate: ")
        assert "make decode again" in said or "n-gram model" in said
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("form", ["ctm", "csv", "srt", "vtt", "textgrid"])
def test_each_format_is_a_file(project: TinyProject, run: RunFolder, tmp_path: Path, form: str):
    words = ["transcribe", run.run_id, some_wav(project), "--format", form, "-o", tmp_path]
    assert blankslate(project, *words) == 0
    (file,) = tmp_path.iterdir()
    assert file.suffix.lower() == f".{form}"


@pytest.mark.parametrize(
    "damage",
    [
        *("unfinished", "changed", "of another version", "not YAML", "no run"),
        *("without heartbeat", "broken heartbeat", "without hypotheses"),
    ],
)
def test_a_run_that_cannot_be_used_is_one_line(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys, damage: str
):
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    if damage == "unfinished":
        text = (copy / "heartbeat.json").read_text().replace('"finished"', '"stopped"')
        (copy / "heartbeat.json").write_text(text)
    elif damage == "changed":
        (copy / "hypotheses.csv").write_text("x")
    elif damage == "broken heartbeat":
        (copy / "heartbeat.json").write_text("{")
    elif gone := {
        "without heartbeat": "heartbeat.json",
        "without hypotheses": "hypotheses.csv",
        "no run": "experiment.yaml",
    }.get(damage):
        (copy / gone).unlink()
    else:
        added = "of_the_future: 1\n" if "version" in damage else "{"
        (copy / "experiment.yaml").write_text((copy / "experiment.yaml").read_text() + added)
    expected = {
        "unfinished": f"{copy}: the run is not finished; run make sweep or make train until it is",
        "changed": "rows.jsonl or hypotheses.csv has changed since the run wrote it; run make",
        "without heartbeat": f"{copy / 'heartbeat.json'}: missing, so that",
        "broken heartbeat": f"{copy / 'heartbeat.json'}: damaged, so that",
        "without hypotheses": "hypotheses.csv is missing; run make sweep again to repair it",
        "no run": f"RUN={copy}: the folder has no experiment.yaml, so it is no run; name",
    }
    for verb in ("decode", "align", "export", "outputs"):
        assert blankslate(project, verb, copy) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert str(copy) in said[0]
        assert expected.get(damage, "another version of this program made the run") in said[0]


def test_texts_are_aligned_in_each_format_and_one_is_drawn(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys
):
    features = FeatureSet.open(find_features(run, project.work))
    test = [each for each in features.utterances if each.split == "test"]
    for form in ("csv", "ctm", "textgrid", "srt", "vtt"):
        words = ["align", run.run_id, "--split", "test", "--format", form, "-o", tmp_path / form]
        assert blankslate(project, *words) == 0
    lines = (tmp_path / "csv" / "test.csv").read_text(encoding="utf-8").splitlines()[1:]
    spoken = [word for each in test for word in each.transcript.split()]
    assert [line.split(",")[4] for line in lines if ",word," in line] == spoken
    ctm = (tmp_path / "ctm" / "test.ctm").read_text(encoding="utf-8").splitlines()
    assert [line.split()[4] for line in ctm] == spoken
    for form in ("textgrid", "srt", "vtt"):
        assert len(list((tmp_path / form / "test").iterdir())) == len(test)
    table = (run.path / "alignments" / "transcripts" / "utterances.csv").read_text(encoding="utf-8")
    assert len(table.splitlines()) == len(test) + 1
    assert "fit their sound far worse than the rest" in capsys.readouterr().out
    picture = tmp_path / "one.svg"
    assert blankslate(project, "align", run.run_id, "--utterance", test[0].id, "-o", picture) == 0
    assert ">letters</text>" in picture.read_text(encoding="utf-8")


def test_a_recording_of_ones_own_is_aligned_with_its_text(
    project: TinyProject, run: RunFolder, tmp_path: Path, capsys, monkeypatch
):
    wav = some_wav(project)
    (tmp_path / "said.txt").write_text("one two\n", encoding="utf-8")
    words = ["align", run.run_id, "--audio", wav, "--text", tmp_path / "said.txt"]
    assert blankslate(project, *words, "--format", "ctm") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if " 1 " in line]
    assert [line[4].upper() for line in lines] == ["ONE", "TWO"]
    assert float(lines[0][2]) < float(lines[1][2])
    (tmp_path / "said.lab").write_text("one two\n", encoding="utf-8")
    other = [*words[:-1], tmp_path / "said.lab", "--format", "ctm"]  # a file of any name
    assert blankslate(project, *other) == 0
    again = [line.split() for line in capsys.readouterr().out.splitlines() if " 1 " in line]
    assert again == lines
    assert blankslate(project, *words[:-1], "one " * 2000) == 2  # too long for the name of a file
    assert "are too short for a text of" in capsys.readouterr().err
    assert blankslate(project, *words, "-o", tmp_path) == 0
    assert (tmp_path / f"{wav.stem}.csv").exists()
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    monkeypatch.setattr(align_run, "MAX_CELLS", 10)
    assert blankslate(project, *words) == 2
    assert "its first 0 minutes with 7 letters need" in capsys.readouterr().err
    words = ["align", run.run_id, "--audio", tmp_path / "empty.wav", "--text", "ONE"]
    assert blankslate(project, *words) == 2
    assert capsys.readouterr().err.endswith("empty.wav: holds no samples; repair the file\n")
