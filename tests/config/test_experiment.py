"""A wrong setting is refused in one line; an identity depends on what changes the result."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import identity
from pipeline.config.corpus import Corpus, load_corpus
from pipeline.config.experiment import Experiment, load_experiment
from pipeline.config.features import FeatureSettings
from pipeline.config.identity import feature_id, run_id
from pipeline.config.loader import dump_yaml, parse_changes
from pipeline.files import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
CORPUS = "reader: demo\n"


@pytest.fixture
def experiment_file(tmp_path: Path) -> Path:
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "tones.yaml").write_text(CORPUS)
    path = tmp_path / "base.yaml"
    path.write_text("corpus: corpora/tones.yaml\nfeatures: {spectrum: power}\n")
    return path


def refusal(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_experiment(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(f"{path}: ")


def test_an_experiment_takes_its_corpus_from_the_named_file(experiment_file: Path):
    experiment = load_experiment(experiment_file)
    assert experiment.corpus.name == "tones"
    assert experiment.features.spectrum == "power"
    assert experiment.features.bins == 257


def test_a_resolved_experiment_reads_back_equal(experiment_file: Path, tmp_path: Path):
    experiment = load_experiment(experiment_file, {"train.seed": 7})
    (tmp_path / "experiment.yaml").write_text(dump_yaml(experiment))
    assert load_experiment(tmp_path / "experiment.yaml") == experiment


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "corpus: corpora/tones.yaml\nfeatures: {hop_mss: 5}\n",
            "features.hop_mss: unknown key; did you mean 'hop_ms'?",
        ),
        ("corpus: corpora/tones.yaml\ntrian: {}\n", "trian: unknown key; did you mean 'train'?"),
        (
            "corpus: corpora/tones.yaml\ntrain: {epochs: 0}\n",
            "train.epochs: 0 — input should be greater than or equal to 1",
        ),
        (
            "corpus: corpora/tones.yaml\ntrain: {init: baseline}\n",
            "train.init: 'baseline' — string should match pattern '^run:[0-9a-f]{12}$'",
        ),
        (
            "corpus: corpora/tones.yaml\ntrain: {average: {last: 5}, ema: 0.9}\n",
            "train: average and ema both average weights; choose one",
        ),
        (
            "corpus: corpora/tones.yaml\ntrain: {average: {last: 5, best: 5}}\n",
            "train.average: set either last or best, to a number of epochs",
        ),
        (
            "corpus: corpora/tones.yaml\nfeatures: {spectrum: melody}\n",
            "features.spectrum: 'melody' — input should be 'amplitude', 'power' or 'mel'",
        ),
        (
            "corpus: corpora/tones.yaml\nfeatures: {n_fft: 256}\n",
            "features: window_ms 25 is 400 samples at 16000 Hz, more than n_fft 256; raise n_fft",
        ),
        (
            "corpus: corpora/tones.yaml\nfeatures: {speeds: [0.4]}\n",
            "features.speeds.0: 0.4 — input should be greater than or equal to 0.5",
        ),
        (
            "corpus: corpora/tones.yaml\nfeatures: {speeds: [0.9, 1]}\n",
            "features.speeds: [0.9, 1] — list each speed once, without 1, which is always stored",
        ),
        (
            "corpus: corpora/tones.yaml\nfeatures: {speeds: [2, 2]}\n",
            "features.speeds: [2, 2] — list each speed once, without 1, which is always stored",
        ),
        ("features: {}\n", "corpus: is missing"),
        (
            "base: x.yaml\naxes: {}\n",
            "is a sweep, not an experiment; use it with make sweep SWEEP=…",
        ),
        (
            "corpus: corpora/tones.yaml\nbase: x\n",
            (
                "base: unknown key; "
                "known: corpus, alphabet, features, input, model, ctc, train, decode"
            ),
        ),
        ("# nothing yet\n", "the file is empty; it must be a mapping of keys to values"),
        ("- a\n- b\n", "must be a mapping of keys to values, not a list"),
        ("corpus: [\n", "line 2 is not YAML: did not find expected node content"),
        (
            "corpus: corpora/tones.yaml\ncorpus: corpora/other.yaml\n",
            "line 2 is not YAML: the key 'corpus' is here a second time",
        ),
        (
            "corpus: corpora/tones.yaml\nfeatures: {window_ms: 0.01}\n",
            "features: window_ms 0.01 is less than one sample; raise it",
        ),
        (
            "corpus: corpora/tones.yaml\ntrain: {learning_rate: .nan}\n",
            "train.learning_rate: nan — input should be a finite number",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_key_value_and_limit(
    experiment_file: Path, text: str, message: str
):
    assert refusal(experiment_file, text) == message


def test_a_misspelt_file_name_gets_a_suggestion(experiment_file: Path):
    with pytest.raises(InputError, match=r"bse.yaml: no such file; did you mean .*base.yaml\?"):
        load_experiment(experiment_file.with_name("bse.yaml"))


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["train.epochs", "=", "2"], "'train.epochs' is not of .*, with no spaces around =$"),
        (["train.epochs=", "2"], "'2' is not of .*, with no spaces around =$"),
        (
            ["train.epochs=2,model.clamp=null"],
            "more than one change; separate changes by spaces: SET=",
        ),
        (
            ["train.epochs=2;train.seed=1"],
            "more than one change; separate changes by spaces: SET=",
        ),
    ],
)
def test_a_change_in_another_form_is_refused_with_the_right_form(
    assignments: list[str], message: str
):
    with pytest.raises(InputError, match=message):
        parse_changes(assignments)


def test_a_list_in_a_change_is_one_change():
    assert parse_changes(["model.time_strides=[2,1]"]) == {"model.time_strides": [2, 1]}


def test_a_folder_is_not_a_settings_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"^\S+: is a folder; give the path of a file in it$"):
        load_experiment(tmp_path)


def test_code_in_yaml_is_refused(experiment_file: Path):
    message = refusal(experiment_file, "corpus: !!python/object/apply:os.getcwd []\n")
    assert "could not determine a constructor" in message


def test_the_root_of_a_corpus_comes_from_the_environment(tmp_path: Path, monkeypatch):
    path = tmp_path / "mine.yaml"
    path.write_text("reader: an4\nroot: $MINE/audio\n")
    monkeypatch.setenv("MINE", "/data")
    assert load_corpus(path).root == "/data/audio"
    path.write_text("reader: an4\nroot: ~/${MINE}/x\n")
    monkeypatch.setenv("MINE", "deep")
    assert load_corpus(path).root == str(Path.home() / "deep/x")
    monkeypatch.delenv("MINE")
    with pytest.raises(InputError, match=r"variable MINE is not set; .* with export MINE="):
        load_corpus(path)


def test_changes_are_typed_as_yaml_and_as_numbers():
    changes = parse_changes(["train.learning_rate=1e-3", "model.clamp=null", "train.epochs=3"])
    assert changes == {"train.learning_rate": 1e-3, "model.clamp": None, "train.epochs": 3}
    with pytest.raises(InputError, match="'epochs' is not of the form key=value"):
        parse_changes(["epochs"])
    with pytest.raises(InputError, match=r"SET: '\[x' is not a YAML value"):
        parse_changes(["a=[x"])


@pytest.mark.parametrize("value", ["\udcff", "2026-13-40", "[1"])
def test_a_change_that_is_not_a_yaml_value_is_refused(value: str):
    with pytest.raises(InputError, match="is not a YAML value"):
        parse_changes([f"train.epochs={value}"])


def test_a_change_of_a_whole_section_is_refused_with_a_change_that_is_possible():
    message = (
        r"^SET: 'train=\{epochs: 1\}' would replace all settings below train; change single ones, "
        r"such as train\.epochs=…$"
    )
    with pytest.raises(InputError, match=message):
        parse_changes(["train={epochs: 1}"])
    with pytest.raises(InputError, match=r"such as train\.name=…$"):
        parse_changes(["train={}"])


@pytest.mark.parametrize(
    ("change", "suffix"),
    [
        ({"train.epochs": "many"}, ", changed by SET train.epochs=many: train.epochs: 'many' — "),
        ({"train.epoch": 3}, ", changed by SET train.epoch=3: train.epoch: unknown key; did you "),
        ({"train": 3}, ", changed by SET train=3: train: 3 — "),
        ({"features.mel_low_hz": 9e3}, ", changed by SET features.mel_low_hz=9000.0: features"),
    ],
)
def test_the_error_of_a_change_names_set(
    experiment_file: Path, change: dict[str, Any], suffix: str
):
    with pytest.raises(InputError) as refused:
        load_experiment(experiment_file, {"decode.beam": 4, **change})
    assert str(refused.value).startswith(f"{experiment_file}{suffix}")


def test_the_error_of_the_file_does_not_name_set(experiment_file: Path):
    experiment_file.write_text(experiment_file.read_text() + "modl: {}\n")
    with pytest.raises(InputError) as refused:
        load_experiment(experiment_file, {"decode.beam": 4})
    assert str(refused.value).startswith(f"{experiment_file}: modl: unknown key")


def test_a_change_below_a_value_is_refused(experiment_file: Path):
    with pytest.raises(InputError, match=r"features\.spectrum\.x"):
        load_experiment(experiment_file, {"features.spectrum.x": 1})


def test_the_folder_of_the_corpus_does_not_change_the_identity(experiment_file: Path):
    experiment = load_experiment(experiment_file)
    moved = experiment.model_copy(
        update={"corpus": experiment.corpus.model_copy(update={"root": "/elsewhere"})}
    )
    assert run_id(experiment, "mel-1") == run_id(moved, "mel-1")


def test_every_other_setting_changes_the_identity(experiment_file: Path):
    changes = {
        "train.seed": 1,
        "train.learning_rate": 0.5,
        "features.hop_ms": 5,
        "input.stack": 2,
        "model.clamp": None,
        "alphabet": "english-28",
        "decode.beam": 4,
        "train.average.last": 3,
        "train.average.best": 3,
        "train.ema": 0.99,
        "train.accumulate": 2,
        "train.max_infeasible": 0.2,
        "train.init": "run:0123456789ab",
        "train.patience": 4,
    }
    ids = {run_id(load_experiment(experiment_file, {k: v}), "mel-1") for k, v in changes.items()}
    ids.add(run_id(load_experiment(experiment_file), "mel-1"))
    ids.add(run_id(load_experiment(experiment_file), "mel-2"))
    assert len(ids) == len(changes) + 2


def test_two_views_that_are_the_same_are_refused(experiment_file: Path):
    same = {"ctc.consistency": 0.2, "model.dropout": 0.0}
    with pytest.raises(InputError, match="without masks and dropout they are the same"):
        load_experiment(experiment_file, same)
    for apart in (
        {"model.dropout": 0.1},
        {"train.frequency_masks": 1},
        {"train.frequency_warp": 0.1},
    ):
        two = load_experiment(experiment_file, {**same, **apart})
        assert two.ctc.views == 2
        assert run_id(two, "mel-1") != run_id(load_experiment(experiment_file, apart), "mel-1")


@pytest.mark.parametrize("mixing", ["pca", "zca"])
def test_bins_that_were_mixed_cannot_be_moved(experiment_file: Path, mixing: str):
    moved = {"train.frequency_warp": 0.1, "input.normalisation": "speaker"}
    assert load_experiment(experiment_file, moved).train.frequency_warp == 0.1
    with pytest.raises(InputError, match=f"input.normalisation: {mixing} has mixed them"):
        load_experiment(experiment_file, {**moved, "input.normalisation": mixing})


def test_further_decodings_change_no_identity_and_name_files_beside_the_experiment(
    experiment_file: Path,
):
    (experiment_file.parent / "words.txt").write_text("ONE\n")
    plain = load_experiment(experiment_file)
    also = [{"words": "words.txt"}, {"words": "any", "ngram": 6}]
    more = load_experiment(experiment_file, {"decode.also": also})
    assert run_id(plain, "mel-1") == run_id(more, "mel-1")
    assert plain.without_seed == more.without_seed
    assert Path(more.decode.also[0].words) == (experiment_file.parent / "words.txt").resolve()
    assert more.decode.also[1].words == "any"
    with pytest.raises(InputError, match=r"decode\.also\.words: none\.txt: no such file"):
        load_experiment(experiment_file, {"decode.also": [{"words": "none.txt"}]})
    with pytest.raises(InputError, match=r"decode\.also"):
        load_experiment(experiment_file, {"decode.also": [{"ngramm": 2}]})


def test_the_identity_of_a_feature_set_covers_settings_and_manifest():
    mel = FeatureSettings()
    assert feature_id(mel, "a") == feature_id(FeatureSettings(), "a")
    assert feature_id(mel, "a") != feature_id(mel, "b")
    assert feature_id(mel, "a") != feature_id(FeatureSettings(hop_ms=5), "a")


def test_an_empty_list_of_speeds_changes_no_identity(monkeypatch: pytest.MonkeyPatch):
    """The digests are those from before the setting existed; the order of speeds is irrelevant."""
    monkeypatch.setattr(identity, "RUN_VERSION", 4)
    plain = Experiment(corpus=Corpus(name="x", reader="demo"))
    assert feature_id(plain.features, "0" * 64) == "mel-00f447637cf9"
    assert run_id(plain, "mel-1") == "97466575985e"
    assert "speeds" not in dump_yaml(plain)
    faster, same = (FeatureSettings(speeds=speeds) for speeds in ((0.9, 1.1), (1.1, 0.9)))
    ids = {feature_id(each, "0" * 64) for each in (plain.features, faster, same)}
    assert len(ids) == 2
    assert len({run_id(plain, "mel-1"), run_id(changed(plain, faster), "mel-1")}) == 2
    assert FeatureSettings.model_validate_json(faster.model_dump_json()) == faster


def test_only_the_identity_of_log_amplitudes_changed_with_their_floor():
    amplitude = FeatureSettings(spectrum="amplitude", scale="none")
    assert feature_id(amplitude, "0" * 64) == "amplitude-2e039c32562e"
    named = FeatureSettings(spectrum="amplitude")
    assert feature_id(named, "0" * 64) == "amplitude-10f51808f7a9"


def changed(experiment: Experiment, features: FeatureSettings) -> Experiment:
    return experiment.model_copy(update={"features": features})


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("configs/experiments/*.yaml")), ids=str)
def test_each_experiment_in_the_repository_is_valid(path: Path, monkeypatch):
    monkeypatch.setenv("AN4", "/an4")
    assert isinstance(load_experiment(path), Experiment)
