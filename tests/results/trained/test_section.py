"""Decodings and suspicious transcripts in a report: what is compared, said and written."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config.decoding import DecodingSettings
from pipeline.decoding.suspicion import find_suspicions
from pipeline.results.summary.run_summary import SweepRun
from pipeline.results.tables.columns import describe_column
from pipeline.results.tables.write import TABLE_LINES
from pipeline.runs.decodings import DecodingFolder
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis
from pipeline.runs.trained.alignments import AlignedUtterance, AlignmentFolder
from tests.results.example_report import write_report
from tests.results.examples import RunScenario, make_run

SETTINGS = DecodingSettings(ngram=2)
WEIGHTS = {"model": 0.5, "word": 1.0, "unknown": 50.0}


def decode(run: RunFolder, settings: DecodingSettings, *, of_other_network: bool = False) -> None:
    """Write a decoding in which every second hypothesis is right."""
    hypotheses = [
        Hypothesis.of(each.utterance_id, each.split, each.reference, text, each.speaker)
        for n, each in enumerate(run.hypotheses())
        for text in [each.reference if n % 2 else each.hypothesis]
    ]
    heartbeat = run.heartbeat()
    assert heartbeat is not None
    DecodingFolder.of(run, settings, "").write(
        settings=settings,
        hypotheses=hypotheses,
        tuning=[
            {"model": model, "word": word, "unknown": 50.0, "errors": 9 - model, "reference": 100}
            for model in (0.0, 0.5, 1.0)
            for word in (0.0, 1.0)
        ],
        n_best=[],
        language={},
        result={
            "weights": WEIGHTS,
            "trials": 6,
            "unknown_words": 0.1,
            "left_out": [],
            "seconds_per_utterance": 0.004,
            "test_wer": 0.1,
            "test_cer": 0.05,
            "run": "another" if of_other_network else heartbeat.digest,
        },
    )


def align(run: RunFolder) -> None:
    """Write alignments of 40 transcripts; one, with a hostile text, does not fit its sound."""
    names = [f"u{n}" for n in range(40)]
    scores = [-4.0 - n % 3 for n in range(39)] + [-90.0]
    one = AlignedUtterance("", "train", "s", "A B", "A <b>", 1.0, -4.0, 2.0, (), ())
    utterances = [
        replace(one, utterance_id=name, score=score, text="<i>" if score < -50 else "A B")
        for name, score in zip(names, scores, strict=True)
    ]
    AlignmentFolder.of(run, "transcripts").write_table(
        utterances, find_suspicions(scores, [10] * 40, [2.0] * 40)
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[SweepRun]:
    folder = tmp_path_factory.mktemp("runs")
    made = [
        make_run(
            folder / str(seed),
            f"seed {seed}",
            {"train.seed": seed},
            RunScenario(escape_updates=60, epochs=3, seed=seed, final_dev_cer=0.2),
        )
        for seed in range(3)
    ]
    for run in made:
        decode(run.folder, SETTINGS)
    decode(made[0].folder, DecodingSettings(words="any", ngram=6))
    decode(made[1].folder, DecodingSettings(ngram=5), of_other_network=True)
    align(made[0].folder)
    return made


@pytest.fixture(scope="module")
def report(runs: list[SweepRun], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(runs, folder)
    return folder


def test_each_decoding_stands_beside_the_search_of_the_training(report: Path, runs: list[SweepRun]):
    table = pd.read_csv(report / "decodings.csv").set_index(["decoding", "seeds"])
    trained, words = table.loc["as trained", 3], table.loc["lexicon and word 2-gram", 3]
    test = [[h for h in run.folder.hypotheses() if h.split == "test"] for run in runs]
    errors, total = (
        sum(getattr(h, c) for each in test for h in each) for c in ("word_errors", "words")
    )
    assert trained.test_wer_mean == pytest.approx(errors / total)
    assert words.test_wer_mean < trained.test_wer_mean
    assert words.wer_change == pytest.approx(words.test_wer_mean - trained.test_wer_mean)
    assert words.wer_change_low < words.wer_change < words.wer_change_high < 0
    assert words.test_wer_mean_low < words.test_wer_mean < words.test_wer_mean_high
    # A decoding of one run stands beside the greedy search of this run.
    one = table.loc["character 6-gram", 1]
    assert one.wer_change == pytest.approx(
        one.test_wer_mean - table.loc["as trained", 1].test_wer_mean
    )
    # That of a network that was trained again since does not count.
    assert not [name for name, _ in table.index if "5-gram" in name]


def test_each_run_has_its_weights(report: Path):
    table = pd.read_csv(report / "decoded_runs.csv")
    assert len(table) == 4
    assert set(table.ngram_weight) == {0.5}
    assert set(table.trials) == {6}


def test_the_page_shows_both_and_escapes_what_people_wrote(report: Path):
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "lexicon and word 2-gram" in page
    assert 'id="figure-tuning"' in page
    assert (report / "figures" / "tuning.svg").exists()
    section = page.split('<section aria-labelledby="suspicious">')[1].split("</section>")[0]
    assert "1 of 40 transcripts fit their sound far worse" in section
    assert "u39" in section
    assert "&lt;i&gt;" in section
    assert "<i>" not in section
    table = pd.read_csv(report / "suspicious_transcripts.csv")
    assert table.utterance_id.tolist() == ["u39"]


def test_the_terminal_says_what_the_decodings_bring(runs: list[SweepRun], tmp_path: Path):
    written = write_report(runs, tmp_path)
    (said,) = [each for each in written.notes if "lexicon and word 2-gram" in each]
    assert "over 3 seeds" in said
    assert "; change −" in said
    assert any("1 of 40 transcripts" in each for each in written.notes)
    assert written.answer[0].startswith("The only arm has mean test CER ")
    assert said.startswith("all runs, ")
    assert re.fullmatch(
        r"Next, with the best run on dev, .*: make transcribe RUN=\w+ AUDIO=recording.wav turns "
        r"a recording into text.",
        written.answer[-1],
    ), "it is decoded already"


def test_every_column_is_described(report: Path):
    for name in ("decodings", "decoded_runs", "suspicious_transcripts"):
        columns = pd.read_csv(report / f"{name}.csv", nrows=1).columns
        assert [each for each in columns if describe_column(each) is None] == []
        assert name in TABLE_LINES


def test_a_damaged_decoding_costs_no_report(runs: list[SweepRun], tmp_path: Path):
    folder = DecodingFolder.of(runs[0].folder, SETTINGS, "")
    kept = folder.result_file.read_bytes()
    try:
        folder.result_file.write_bytes(b"{")
        write_report(runs, tmp_path)
        table = pd.read_csv(tmp_path / "decodings.csv")
        assert table.seeds[table.decoding == "lexicon and word 2-gram"].tolist() == [2]
    finally:
        folder.result_file.write_bytes(kept)


def test_the_decodings_of_all_folds_are_one_test_set(tmp_path: Path):
    """Each run tests the speakers of its fold; folds are the units of chance."""
    made = []
    for fold in range(4):
        scenario = RunScenario(escape_updates=60, epochs=3, seed=fold, final_dev_cer=0.2)
        run = make_run(tmp_path / str(fold), f"seed {fold}", {"train.seed": fold}, scenario)
        own = [
            each._replace(utterance_id=f"{fold}-{each.utterance_id}")
            for each in run.folder.hypotheses()
        ]
        run.folder.finish(own)
        experiment = run.folder.experiment()
        corpus = experiment.corpus.model_copy(update={"folds": 4, "fold": fold})
        run.folder.write_experiment(experiment.model_copy(update={"corpus": corpus}))
        decode(run.folder, SETTINGS)
        made.append(run)
    written = write_report(made, tmp_path / "report")
    table = pd.read_csv(tmp_path / "report" / "decodings.csv").set_index("decoding")
    words = table.loc["lexicon and word 2-gram"]
    assert table.seeds.tolist() == [4, 4]
    hypotheses = [each for run in made for each in run.folder.hypotheses() if each.split == "test"]
    wrong = sum(each.word_errors for each in hypotheses)
    assert table.loc["as trained"].test_wer_mean == pytest.approx(
        wrong / sum(each.words for each in hypotheses)
    )
    assert words.wer_change_low < words.wer_change < words.wer_change_high < 0
    assert words.test_wer_mean_low < words.test_wer_mean < words.test_wer_mean_high
    assert any("over 4 folds" in each for each in written.notes)
    for name in ("decodings", "decoded_runs"):
        assert (tmp_path / "report" / f"{name}.tex").exists()
