"""Run folders that look like real ones: a blank plateau, then, mostly, an escape."""

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
from pipeline.results.run_summary import SweepRun
from pipeline.runs.folder import Failure, Heartbeat, Hypothesis, RunFolder
from pipeline.runs.rows import CLAMPED, Row

NOW = 1_790_000_000.0  # seconds since 1970: 2026-09-21
REFERENCE_LOSS = 3.02
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
WORDS = "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE ZERO ENTER RUBOUT ERASE GO YES STOP"


@dataclass(frozen=True)
class Course:
    """How a run goes: `escape` in updates (infinite: never), `floor` its last dev CER."""

    escape: float = 500
    floor: float = 0.06
    epochs: int = 20
    updates_per_epoch: int = 90
    first_loss: float = 27.0
    learning_rate: float = 2e-3
    utterances: int = 30
    seed: int = 0

    def progress(self, updates: float) -> float:
        """0 on the plateau, 1 at the end."""
        if math.isinf(self.escape):
            return 0.0
        return 1 / (1 + math.exp(-6 * (updates - 1.6 * self.escape) / self.escape))


STUDENT = Course(escape=math.inf, learning_rate=1e-6, seed=3)


def references(split: str, count: int) -> list[tuple[str, str]]:
    """(utterance id, text), always the same."""
    draw = random.Random(f"{split} of the corpus")
    texts = []
    for number in range(count):
        parts = draw.choices(WORDS.split(), k=draw.randint(1, 4)) + draw.choices(
            LETTERS, k=draw.randint(0, 3)
        )
        texts.append((f"{split}-speaker{number % 10:02}-{number:03}", " ".join(parts)))
    return texts


def misheard(text: str, rate: float, draw: random.Random) -> str:
    """About `rate` errors per character; everything lost at 1."""
    if rate >= 1:
        return ""
    heard = []
    for character in text:
        event = draw.random()
        if event < rate * 0.3:
            continue
        heard.append(draw.choice(LETTERS) if event < rate * 0.8 else character)
        if event > 1 - rate * 0.2:
            heard.append(draw.choice(LETTERS))
    return " ".join("".join(heard).split())


@cache
def hypotheses(split: str, course: Course, rate: float) -> list[Hypothesis]:
    draw = random.Random(f"{split} {course}")
    return [
        Hypothesis.of(name, split, text, misheard(text, rate, draw))
        for name, text in references(split, course.utterances)
    ]


def added(heard: list[Hypothesis]) -> Score:
    """The counts that the hypotheses carry, without aligning them again."""

    def count(errors: str, length: str) -> ErrorCount:
        both = [[getattr(one, name) for one in heard] for name in (errors, length)]
        return ErrorCount(substitutions=sum(both[0]), reference=sum(both[1]))

    return Score(
        characters=count("char_errors", "chars"),
        characters_no_spaces=count("char_errors_no_spaces", "chars_no_spaces"),
        words=count("word_errors", "words"),
        sentences=ErrorCount(sum(one.word_errors > 0 for one in heard), reference=len(heard)),
    )


def row(run_id: str, split: str, epoch: int, course: Course, score: Score) -> Row:
    updates = epoch * course.updates_per_epoch
    draw = random.Random(f"{split} {epoch} {course}")
    progress = course.progress(updates)
    plateau = REFERENCE_LOSS + 0.03 + course.first_loss * math.exp(-updates / 25)
    floor = 0.05 if split == "train" else 0.08 + 4 * course.floor
    loss = plateau + (floor - plateau) * progress + draw.gauss(0, 0.012)
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
        utterances=course.utterances,
        infeasible=0,
        blank_argmax=1 - 0.14 * progress,
        blank_posterior=0.86 - 0.01 * progress,
        empty_hypotheses=0 if progress > 0.2 else course.utterances,
        input_dependence=0.0005 + 0.9 * progress,
        clamp_saturation=0.12 if math.isinf(course.escape) else 0.004,
        grad_norm=1.5 + draw.random() if split == "train" else math.nan,
        learning_rate=course.learning_rate,
        frames=course.utterances * 260,
        seconds=2.5 + draw.random() if split == "train" else 0.4,
        frames_per_second=48_000 * (1 + 0.02 * draw.random()),
        loader_wait=0.013,
        peak_memory_bytes=611_000_000,
        emitted_chars=score.characters.reference,
        length_ratio=1.0,
        largest_z=6.0,
        update_size=3e-3,
        learning_rate_sum=course.learning_rate * course.updates_per_epoch,
        skipped_updates=0,
        nonfinite_utterances=0,
        nonfinite_ids="",
        **saturation(0.12 if math.isinf(course.escape) else 0.004),
    )


def saturation(ceiling: float) -> dict[str, float]:
    """Of FC1 and FC2; the other layers have no clamp."""
    layers = dict.fromkeys(CLAMPED, (math.nan, math.nan)) | dict.fromkeys(
        ("fc1", "fc2"), (0.5, ceiling)
    )
    return {
        f"saturation_{layer}_{end}": share
        for layer, shares in layers.items()
        for end, share in zip(("zero", "ceiling"), shares, strict=True)
    }


def error_rate(course: Course, split: str, epoch: int) -> float:
    progress = course.progress(epoch * course.updates_per_epoch)
    floor = course.floor * {"train": 0.4, "dev": 1.0, "test": 1.1}[split]
    return 1 - (1 - floor) * progress if progress > 0.03 else 1.0


def rows(run_id: str, course: Course, until: int | None = None) -> Iterator[Row]:
    for epoch in range(1, (until or course.epochs) + 1):
        for split in ("train", "dev"):
            heard = hypotheses(split, course, error_rate(course, split, epoch))
            yield row(run_id, split, epoch, course, added(heard))


def make_run(
    folder: Path,
    label: str,
    settings: dict[str, Any] | None = None,
    course: Course | None = None,
    *,
    state: str = "finished",
    now: float = NOW,
    device: str = "NVIDIA A100",
) -> SweepRun:
    """Write a run folder in one of the states that `summary.csv` knows."""
    course = course or Course()
    run = RunFolder(folder)
    swept = SweepRun(label=label, settings=settings or {}, folder=run)
    if state == "missing":
        return swept
    experiment = Experiment(corpus=Corpus(name="an4", reader="an4", root="an4"))
    content = experiment.model_dump()
    for key, value in {**swept.settings, "train.learning_rate": course.learning_rate}.items():
        set_key(content, key, value)
    run.write_experiment(Experiment.model_validate(content))
    if state == "waiting":
        return swept
    run.write_environment({"python": "3.11.2", "torch": "2.11.0+cpu", "device": device})
    until = course.epochs if state == "finished" else course.epochs // 2
    table = list(rows(run.run_id, course, until))
    beat = Heartbeat(
        status="running" if state == "failed" else state,  # type: ignore[arg-type]
        epoch=until,
        epochs=course.epochs,
        update=until * course.updates_per_epoch,
        host="node-7",
        pid=7,
        time=now - 5,
    )
    if state == "finished":
        chosen = min(
            (one for one in table if one["split"] == "dev"),
            key=lambda one: (one["cer"], one["epoch"]),
        )
        dev, test = (
            hypotheses(split, course, error_rate(course, split, chosen["epoch"]))
            for split in ("dev", "test")
        )
        table.append(row(run.run_id, "test", chosen["epoch"], course, added(test)))
        run.restore(table)
        run.finish([*dev, *test])
        beat = replace(beat, digest=(run.heartbeat() or beat).digest, time=now - 100)
    run.restore(table)
    run.beat(beat)
    if state == "failed":
        run.fail(
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
    """First training and three repairs, one still running, one failed, one not begun."""
    return [
        make_run(folder / "a1", "first training", {"features.scale": "none"}, STUDENT),
        make_run(folder / "b2", "mel", {"features.spectrum": "mel"}, Course(escape=400)),
        make_run(
            folder / "c3",
            "power",
            {"features.spectrum": "power"},
            Course(escape=620, floor=0.12, seed=1),
        ),
        make_run(
            folder / "d4",
            "amplitude",
            {"features.spectrum": "amplitude"},
            Course(escape=560, floor=0.09, seed=2),
        ),
        make_run(folder / "e5", "bias at the optimum", {"model.bias": "optimum"}, state="running"),
        make_run(folder / "f6", "learning rate 1", {"train.learning_rate": 1.0}, state="failed"),
        make_run(folder / "g7", "without stacking", {"input.stack": 1}, state="waiting"),
    ]
