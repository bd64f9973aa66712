"""A corpus of phonemes, typed from features to transcripts; its errors are called PER."""

import csv
import html
import json
import math
import re
from pathlib import Path

import jiwer
import pytest

from jobs.commands import parser
from pipeline.config.corpus import load_corpus
from pipeline.config.experiment import load_experiment
from pipeline.corpus.manifest import Manifest
from pipeline.corpus.readers import build_manifest
from pipeline.corpus.text.alphabet import resolve_alphabet
from pipeline.decoding.scoring import Scoring
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from tests.jobs.conftest import TinyProject, create_project

LEXICON = "YES  Y EH S\nNO  N OW\nNO(2)  N AO\nGO  G OW\n"  # and no SIX


def phoneme_project(folder: Path, lexicon: str = LEXICON, more: str = "") -> TinyProject:
    folder.mkdir(exist_ok=True)
    made = create_project(folder, "csv")
    file = made.configs / "corpora" / "tiny.yaml"
    settings = f"units: phonemes\nlexicon: ../words.dic\n{more}"
    file.write_text(file.read_text("utf-8") + settings, "utf-8")
    (made.configs / "words.dic").write_text(lexicon, "utf-8")
    return made


def manifest_of(project: TinyProject) -> Manifest:
    corpus = load_corpus(project.configs / "corpora" / "tiny.yaml")
    return build_manifest(corpus, project.work)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    made = phoneme_project(tmp_path_factory.mktemp("phonemes"))
    assert parser.main(["train", str(experiment_file(made)), "--work", str(made.work)]) == 1
    return made


@pytest.fixture(scope="module")
def run(project: TinyProject) -> RunFolder:
    (folder,) = (project.work / "runs").iterdir()
    return RunFolder(folder)


def experiment_file(project: TinyProject) -> Path:
    return project.configs / "experiments" / "tiny.yaml"


def typed(project: TinyProject, *words: object) -> int:
    return parser.main([*map(str, words), "--work", str(project.work)])


def test_an_utterance_with_an_unknown_word_is_refused_by_name_and_the_rest_is_used(tmp_path):
    manifest = manifest_of(phoneme_project(tmp_path))
    reasons = {each.utterance: each.reason for each in manifest.refusals}
    refused = [name for name, reason in reasons.items() if "lacks SIX; add it there" in reason]
    assert refused == ["u2", "u5", "u8", "u11"]
    assert [each.transcript for each in manifest.utterances] == ["Y EH S", "N OW"] * 4


def test_the_pronunciations_of_the_corpus_enter_the_identity(tmp_path):
    digests = {
        name: manifest_of(phoneme_project(tmp_path / name, lexicon)).digest
        for name, lexicon in {
            "as it is": LEXICON,
            "another word": LEXICON + "OTHER  AH DH ER\n",
            "another phoneme": LEXICON.replace("Y EH S", "Y AE S"),
        }.items()
    }
    assert digests["as it is"] == digests["another word"] != digests["another phoneme"]


def test_rare_phonemes_are_refused_as_rare_letters_are(tmp_path):
    lexicon = LEXICON + "SIX  S IH K S\n"
    manifest = manifest_of(phoneme_project(tmp_path, lexicon, "rare_letters: 4\n"))
    rare = [each for each in manifest.refusals if "training utterances have" in each.reason]
    named = {name for each in rare for name in re.findall(r"'(\w+)'", each.reason)}
    assert {"G", "IH", "K"} <= named <= {"EH", "G", "IH", "K", "N", "OW", "S", "Y"}


def test_the_alphabet_is_the_set_of_phonemes(project: TinyProject, run: RunFolder):
    experiment = load_experiment(experiment_file(project))
    assert experiment.alphabet == "phonemes"
    alphabet = resolve_alphabet(experiment.alphabet, manifest_of(project).utterances)
    assert alphabet.units == ("EH", "N", "OW", "S", "Y")
    assert alphabet.decode(alphabet.encode("Y EH S")) == "Y EH S"
    assert (run.path / "alphabet.txt").read_text().split() == list(alphabet.units)


@pytest.mark.parametrize(
    ("corpus", "experiment", "message"),
    [
        ("units: phonemes", "alphabet: corpus", "set alphabet: phonemes"),
        ("", "alphabet: phonemes", "has units: characters; remove alphabet: phonemes"),
        ("units: phonemes", "decode: {scoring: no-punctuation}", "remove decode.scoring"),
        ("lexicon: words.dic", "", "lexicon has no effect without units: phonemes"),
        ("units: phones", "", "units"),
        ("units: phonemes\nlexicon: $NO_SUCH_NAME/x", "", "lexicon is .*NO_SUCH_NAME is not set"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(tmp_path, corpus, experiment, message):
    (tmp_path / "c.yaml").write_text(f"reader: pairs\nroot: {tmp_path}\n{corpus}\n")
    (tmp_path / "e.yaml").write_text(f"corpus: c.yaml\n{experiment}\n")
    with pytest.raises(InputError, match=message) as error:
        load_experiment(tmp_path / "e.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [("HH AH L OW", "HH AH L OW"), ("HH AH L OW", "HH AA OW"), ("N OW", ""), ("B", "N OW B")],
)
def test_a_wrong_phoneme_is_one_error(reference, hypothesis):
    """Jiwer's word error rate of the phonemes is the judge."""
    score = Scoring(has_phonemes=True, has_words=False).score(reference, hypothesis)
    assert score.cer == score.cer_no_spaces == jiwer.wer(reference, hypothesis)
    assert score.words.reference == 0


def test_the_rates_of_a_run_are_those_of_its_phonemes(run: RunFolder):
    with (run.path / "hypotheses.csv").open(encoding="utf-8", newline="") as file:
        test = [row for row in csv.DictReader(file) if row["split"] == "test"]
    (row,) = (row for row in run.rows() if row["split"] == "test")
    references, hypotheses = ([each[name] for each in test] for name in ("reference", "hypothesis"))
    assert row["cer"] == jiwer.wer(references, hypotheses)
    assert row["chars"] == sum(len(each.split()) for each in references)
    assert row["words"] == 0
    heartbeat = run.heartbeat()
    assert heartbeat
    assert heartbeat.rate_name == "PER"


def test_the_report_says_phonemes(project: TinyProject, capsys):
    assert typed(project, "sweep", project.sweep_file) == 1
    printed = capsys.readouterr().out
    assert "test PER" in printed
    assert "CER" not in printed
    folder = project.work / "reports" / "tiny"
    source = (folder / "report.html").read_text("utf-8")
    shown = html.unescape(
        re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", source, flags=re.DOTALL)
    )
    assert "Test PER" in shown
    assert "errors are counted in phonemes" in shown
    shown = re.sub(r"CER, PER, WER, SER.*?word;", "", shown)  # the glossary
    assert re.findall(r".{30}\bCER\b.{30}|.{30}[Cc]haracters? .{30}", shown) == []
    assert " WER" not in shown.replace("There is no WER", "")
    with (folder / "summary.csv").open(encoding="utf-8") as file:
        assert {line["units"] for line in csv.DictReader(file)} == {"phonemes"}
    with (folder / "errors_confusions.csv").open(encoding="utf-8") as file:
        confusions = list(csv.DictReader(file))
    assert {line["unit"] for line in confusions} == {"phoneme"}
    assert {line["reference"] for line in confusions} <= {"", "EH", "N", "OW", "S", "Y"}


def test_other_verbs_work_with_phonemes_or_say_what_to_type(
    project: TinyProject, run: RunFolder, capsys
):
    assert typed(project, "decode", run.run_id) == 2
    assert "type SET=words=any" in capsys.readouterr().err
    assert typed(project, "decode", run.run_id, "--set", "words=any") == 0
    decoded = capsys.readouterr().out
    assert "greedy, as trained: test PER" in decoded
    assert "phoneme 2-gram: test PER" in decoded
    (result,) = (run.path / "decodings").glob("*/result.json")
    assert math.isnan(json.loads(result.read_text())["test_wer"])
    export = project.work / "phonemes.pt"
    assert typed(project, "export", run.run_id, "--output", export) == 0
    assert "with n-gram: test PER" in capsys.readouterr().out
    wav = next(project.corpus.glob("u*.wav"))
    assert typed(project, "transcribe", export, wav, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["text"] == " ".join(word["text"] for word in found["words"])
    assert set(found["text"].split()) <= {"EH", "N", "OW", "S", "Y"}
    typed(project, "doctor", experiment_file(project))
    assert "5 of 5 phonemes occur in train" in capsys.readouterr().out
