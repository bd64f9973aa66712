"""Run folders that look like real ones: a blank plateau, then an escape in most of them."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.config.loader import set_key
from pipeline.decoding.scoring import ErrorCount, Score
from pipeline.results.summary.run_summary import SweepRun
from pipeline.runs.folder import Failure, Heartbeat, Hypothesis, RunFolder
from pipeline.runs.rows import CLAMPED_LAYERS, Row

NOW = 1_790_000_000.0  # seconds since 1970: 2026-09-21
REFERENCE_LOSS = 3.02
LATIN_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
VOCABULARY = "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE ZERO ENTER RUBOUT ERASE GO YES STOP"


@dataclass(frozen=True)
class RunScenario:
    """The course of a run; `escape_updates` is infinite for a run that never escapes."""

    escape_updates: float = 500
    final_dev_cer: float = 0.06
    epochs: int = 20
    updates_per_epoch: int = 90
    first_loss: float = 27.0
    learning_rate: float = 2e-3
    utterances: int = 30
    seed: int = 0

    def progress(self, updates: float) -> float:
        """Return 0 on the plateau, rising to 1 at the end."""
        if math.isinf(self.escape_updates):
            return 0.0
        return 1 / (1 + math.exp(-6 * (updates - 1.6 * self.escape_updates) / self.escape_updates))


NEVER_ESCAPES = RunScenario(escape_updates=math.inf, learning_rate=1e-6, seed=3)


def make_references(split: str, count: int) -> list[tuple[str, str]]:
    """Return (utterance id, text) pairs, the same in every call."""
    rng = random.Random(f"{split} of the corpus")
    texts = []
    for number in range(count):
        parts = rng.choices(VOCABULARY.split(), k=rng.randint(1, 4)) + rng.choices(
            LATIN_LETTERS, k=rng.randint(0, 3)
        )
        texts.append((f"{split}-speaker{number % 10:02}-{number:03}", " ".join(parts)))
    return texts


def corrupt_transcript(text: str, rate: float, rng: random.Random) -> str:
    """Return the text with about `rate` errors per character; empty at a rate of 1."""
    if rate >= 1:
        return ""
    hypothesis = []
    for character in text:
        event = rng.random()
        if event < rate * 0.3:
            continue
        hypothesis.append(rng.choice(LATIN_LETTERS) if event < rate * 0.8 else character)
        if event > 1 - rate * 0.2:
            hypothesis.append(rng.choice(LATIN_LETTERS))
    return " ".join("".join(hypothesis).split())


@cache
def make_hypotheses(split: str, scenario: RunScenario, rate: float) -> list[Hypothesis]:
    rng = random.Random(f"{split} {scenario}")
    return [
        Hypothesis.of(name, split, text, corrupt_transcript(text, rate, rng), name.split("-")[1])
        for name, text in make_references(split, scenario.utterances)
    ]


def sum_counts(hypotheses: list[Hypothesis]) -> Score:
    """Return the sums of the hypotheses' counts, without aligning the texts again."""

    def count(errors: str, length: str) -> ErrorCount:
        sums = [sum(getattr(each, name) for each in hypotheses) for name in (errors, length)]
        return ErrorCount(substitutions=sums[0], reference=sums[1])

    return Score(
        characters=count("char_errors", "chars"),
        characters_no_spaces=count("char_errors_no_spaces", "chars_no_spaces"),
        words=count("word_errors", "words"),
        sentences=ErrorCount(
            sum(each.word_errors > 0 for each in hypotheses), reference=len(hypotheses)
        ),
    )


def make_row(run_id: str, split: str, epoch: int, scenario: RunScenario, score: Score) -> Row:
    updates = epoch * scenario.updates_per_epoch
    rng = random.Random(f"{split} {epoch} {scenario}")
    progress = scenario.progress(updates)
    plateau = REFERENCE_LOSS + 0.03 + scenario.first_loss * math.exp(-updates / 25)
    floor = 0.05 if split == "train" else 0.08 + 4 * scenario.final_dev_cer
    loss = plateau + (floor - plateau) * progress + rng.gauss(0, 0.012)
    return Row(
        run_id=run_id,
        epoch=epoch,
        split=split,
        updates=updates,
        loss_per_utterance=loss * 19,
        loss_per_character=loss,
        reference_loss=REFERENCE_LOSS,
        cer=score.cer,
        cer_no_spaces=score.cer_no_spaces,
        wer=score.wer,
        ser=score.ser,
        char_errors=score.characters.errors,
        chars=score.characters.reference,
        word_errors=score.words.errors,
        words=score.words.reference,
        utterances=scenario.utterances,
        infeasible=0,
        blank_argmax=1 - 0.14 * progress,
        blank_posterior=0.86 - 0.01 * progress,
        empty_hypotheses=0 if progress > 0.2 else scenario.utterances,
        input_dependence=0.0005 + 0.9 * progress,
        clamp_saturation=0.12 if math.isinf(scenario.escape_updates) else 0.004,
        grad_norm=1.5 + rng.random() if split == "train" else math.nan,
        learning_rate=scenario.learning_rate,
        frames=scenario.utterances * 260,
        seconds=2.5 + rng.random() if split == "train" else 0.4,
        frames_per_second=48_000 * (1 + 0.02 * rng.random()),
        loader_wait=0.013,
        peak_memory_bytes=611_000_000,
        emitted_chars=score.characters.reference,
        length_ratio=1.0,
        largest_z=6.0,
        update_size=3e-3,
        learning_rate_sum=scenario.learning_rate * scenario.updates_per_epoch,
        skipped_updates=0,
        nonfinite_utterances=0,
        nonfinite_ids="",
        suspicious_utterances=0,
        weights="each update" if split == "train" else "epoch",
        length_correlation=0.57,
        **saturation_columns(0.12 if math.isinf(scenario.escape_updates) else 0.004),
    )


def saturation_columns(ceiling: float) -> dict[str, float]:
    """Return the shares of FC1 and FC2; the other layers have no clamp."""
    layers = dict.fromkeys(CLAMPED_LAYERS, (math.nan, math.nan)) | dict.fromkeys(
        ("fc1", "fc2"), (0.5, ceiling)
    )
    return {
        f"saturation_{layer}_{end}": share
        for layer, shares in layers.items()
        for end, share in zip(("zero", "ceiling"), shares, strict=True)
    }


def error_rate(scenario: RunScenario, split: str, epoch: int) -> float:
    progress = scenario.progress(epoch * scenario.updates_per_epoch)
    floor = scenario.final_dev_cer * {"train": 0.4, "dev": 1.0, "test": 1.1}[split]
    return 1 - (1 - floor) * progress if progress > 0.03 else 1.0


def make_rows(run_id: str, scenario: RunScenario, until: int | None = None) -> Iterator[Row]:
    for epoch in range(1, (until or scenario.epochs) + 1):
        for split in ("train", "dev"):
            hypotheses = make_hypotheses(split, scenario, error_rate(scenario, split, epoch))
            yield make_row(run_id, split, epoch, scenario, sum_counts(hypotheses))


def make_seeds(
    folder: Path,
    rates: dict[str, float],
    names: dict[str, str] | None = None,
    seeds: int = 2,
) -> list[SweepRun]:
    """Write finished runs, seed by seed, of arms that differ in their spectrum.

    `rates`: the last dev CER of each spectrum. `names`: of the arms, if not the spectra.
    """
    return [
        make_run(
            folder / f"{spectrum}-{seed}",
            f"{(names or {}).get(spectrum, spectrum)}, seed {seed}",
            {"features.spectrum": spectrum, "train.seed": seed},
            RunScenario(epochs=4, utterances=5, escape_updates=60, final_dev_cer=rate),
        )
        for seed in range(seeds)
        for spectrum, rate in rates.items()
    ]


def make_run(
    folder: Path,
    label: str,
    settings: dict[str, Any] | None = None,
    scenario: RunScenario | None = None,
    *,
    state: str = "finished",
    now: float = NOW,
    device: str = "NVIDIA A100",
) -> SweepRun:
    """Write a run folder in one of the states that `summary.csv` has."""
    scenario = scenario or RunScenario()
    run = RunFolder(folder)
    swept = SweepRun(label=label, settings=settings or {}, folder=run)
    if state == "missing":
        return swept
    experiment = Experiment(corpus=Corpus(name="an4", reader="an4", root="an4"))
    content = experiment.model_dump()
    for key, value in {**swept.settings, "train.learning_rate": scenario.learning_rate}.items():
        set_key(content, key, value)
    run.write_experiment(Experiment.model_validate(content))
    if state == "waiting":
        return swept
    run.write_environment({"python": "3.11.2", "torch": "2.11.0+cpu", "device": device})
    until = scenario.epochs if state == "finished" else scenario.epochs // 2
    rows = list(make_rows(run.run_id, scenario, until))
    heartbeat = Heartbeat(
        status="running" if state == "failed" else state,  # type: ignore[arg-type]
        epoch=until,
        epochs=scenario.epochs,
        update=until * scenario.updates_per_epoch,
        host="node-7",
        pid=7,
        time=now - 5,
    )
    if state == "finished":
        selected = min(
            (row for row in rows if row["split"] == "dev"),
            key=lambda row: (row["cer"], row["epoch"]),
        )
        dev, test = (
            make_hypotheses(split, scenario, error_rate(scenario, split, selected["epoch"]))
            for split in ("dev", "test")
        )
        rows.append(make_row(run.run_id, "test", selected["epoch"], scenario, sum_counts(test)))
        run.restore_rows(rows)
        run.finish([*dev, *test])
        digest = (run.heartbeat() or heartbeat).digest
        heartbeat = replace(heartbeat, digest=digest, time=now - 100)
    run.restore_rows(rows)
    run.write_heartbeat(heartbeat)
    if state == "failed":
        run.write_failure(
            Failure(
                cause="divergence",
                message="epoch 15: the loss is nan; lower train.learning_rate, or set train.clip",
                traceback="Traceback …\nDivergedError: the loss is nan",
                host="node-7",
                time=now - 5,
            )
        )
    return swept


def make_sweep(folder: Path) -> list[SweepRun]:
    """Write four finished runs, of which the first stays blank, and three other states."""
    return [
        make_run(folder / "a1", "first training", {"features.scale": "none"}, NEVER_ESCAPES),
        make_run(
            folder / "b2", "mel", {"features.spectrum": "mel"}, RunScenario(escape_updates=400)
        ),
        make_run(
            folder / "c3",
            "power",
            {"features.spectrum": "power"},
            RunScenario(escape_updates=620, final_dev_cer=0.12, seed=1),
        ),
        make_run(
            folder / "d4",
            "amplitude",
            {"features.spectrum": "amplitude"},
            RunScenario(escape_updates=560, final_dev_cer=0.09, seed=2),
        ),
        make_run(folder / "e5", "bias at the optimum", {"model.bias": "optimum"}, state="running"),
        make_run(folder / "f6", "learning rate 1", {"train.learning_rate": 1.0}, state="failed"),
        make_run(folder / "g7", "without stacking", {"input.stack": 1}, state="waiting"),
    ]
