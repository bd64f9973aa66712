"""Training: an epoch with all metrics, against bare loops and SpeechBrain with the same network.

In:   the corpora.   Out: the group training: its cases and their jobs.
Not here: reading from disk (reading.py).

In all cases the frames are in memory, normalised and stacked. One thread is used, so that other
processes disturb less.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import load_experiment
from pipeline.runs.folder import RunFolder
from pipeline.training.data import epoch_plan
from pipeline.training.data.batches import Batch, Selection
from pipeline.training.data.loader import BatchLoader
from pipeline.training.loop.trainer import MIN_EVALUATION_BATCH, Trainer
from pipeline.training.network.model import Network
from tests.benchmarks import speechbrain_cases
from tests.benchmarks.child import BenchmarkJob
from tests.benchmarks.corpora import BenchmarkCorpora
from tests.benchmarks.judge import BenchmarkTarget
from tests.benchmarks.limits import TUNED_MALLOC
from tests.benchmarks.measure import Case, CaseGroup, missing_peers
from tests.benchmarks.product import compute_feature_set
from tests.benchmarks.turns import run_interleaved, yield_turn

REPOSITORY = Path(__file__).resolve().parents[2]
BASELINE_EXPERIMENT = REPOSITORY / "configs/experiments/baseline.yaml"
BARE, OURS, MAPPED = "bare padded loop", "blankslate", "blankslate, mapped"
INTERLEAVED = "in turn"  # one batch each, in one process
OVER_BARE, OVER_EVALUATED, OVER_BRAIN = "bare / ours", "with dev", "Brain / ours"
OVER_READY, OVER_PACKED = "Brain, frames ready / ours", "packed / ours"
# For jobs in one process: otherwise each has its own arena, and chance decides whose pages stay.
ONE_ARENA = {**TUNED_MALLOC, "MALLOC_ARENA_MAX": "1"}
PACKED, BRAIN, BFLOAT16 = "bare packed loop", "SpeechBrain, Brain.fit", "blankslate, bfloat16"
WARM_UP_BATCHES = 3  # batches before the first round
INTERLEAVED_EPOCHS = 3

SettingChanges = Mapping[str, Any]
UNSTACKED: SettingChanges = {"input.stack": 1, "model.batch_norm": "none"}


def training_groups(corpora: BenchmarkCorpora) -> Iterator[CaseGroup]:
    path = str(corpora.manifest(1)[0])
    yield from (_epoch_group(path, batch) for batch in (16, 32))
    yield from (_unstacked_group(path, batch) for batch in (16, 32))
    if torch.cuda.is_available():
        yield from (_gpu_group(path, cell) for cell in ("lstm", "tanh"))


def _epoch_group(path: str, batch: int) -> CaseGroup:
    settings = {"manifest_file": path, "changes": {"train.batch": batch}}
    half = {"manifest_file": path, "changes": {"train.batch": batch, "train.precision": "bfloat16"}}
    return CaseGroup(
        title=f"an epoch of the baseline, AN4, batches of {batch}, one thread",
        unit="utterance",
        cases=[
            Case(BARE, "training:bare_loop", settings),
            Case(OURS, "training:blankslate_epoch", settings),
            Case(MAPPED, "training:blankslate_epoch", {**settings, "mapped": True}),
            Case(INTERLEAVED, "training:interleave_loops", settings, environment=ONE_ARENA),
            *([Case(BFLOAT16, "training:blankslate_epoch", half)] if batch == 16 else []),
            Case(PACKED, "training:packed_loop", {**settings, "most": 144 // batch}),
            Case(BRAIN, "speechbrain_cases:speechbrain_fit", settings, needs="speechbrain"),
        ],
        targets=[
            BenchmarkTarget([INTERLEAVED], quantity=OVER_BARE, at_least=0.95),
            BenchmarkTarget([INTERLEAVED], quantity=OVER_EVALUATED, at_least=0.95),
            BenchmarkTarget([INTERLEAVED], quantity=OVER_BRAIN, at_least=1),
            BenchmarkTarget([PACKED], [OURS], at_least=5),
            BenchmarkTarget([OURS], quantity="waited, share", at_most=0.01),
            BenchmarkTarget([MAPPED], quantity="waited, share", at_most=0.03),
        ],
        warm_up=False,  # the makers warm up on a few batches
    )


def _unstacked_group(path: str, batch: int) -> CaseGroup:
    """Return cases with 100 frames a second and no BatchNorm, where packing costs most."""
    changes, most = {**UNSTACKED, "train.batch": batch}, 128 // batch
    settings = {"manifest_file": path, "changes": changes, "most": most}
    return CaseGroup(
        title=f"{most} batches of {batch}, 100 frames a second, no BatchNorm, one thread",
        unit="utterance",
        cases=[
            Case(INTERLEAVED, "training:interleave_with_packed", settings, environment=ONE_ARENA)
        ],
        targets=[
            BenchmarkTarget([INTERLEAVED], quantity=OVER_BARE, at_least=0.95),
            BenchmarkTarget([INTERLEAVED], quantity=OVER_PACKED, at_least=5),
        ],
        warm_up=False,
    )


def _gpu_group(path: str, cell: str) -> CaseGroup:
    """Return cases on a GPU; none was available yet, so they have not been run."""
    changes = {"model.cell": cell}
    settings = {"manifest_file": path, "changes": changes, "device": "cuda"}
    half = {**settings, "changes": {**changes, "train.precision": "bfloat16"}}
    return CaseGroup(
        title=f"an epoch of the baseline with {cell}, AN4, batches of 16, on a GPU",
        unit="utterance",
        cases=[
            Case(BARE, "training:bare_loop", settings),
            Case(OURS, "training:blankslate_epoch", settings),
            Case(MAPPED, "training:blankslate_epoch", {**settings, "mapped": True}),
            Case(BFLOAT16, "training:blankslate_epoch", half),
        ],
        targets=[
            BenchmarkTarget([BARE], [OURS], at_least=0.95),
            BenchmarkTarget([OURS], quantity="waited, share", at_most=0.01),
            BenchmarkTarget([MAPPED], quantity="waited, share", at_most=0.03),
        ],
        warm_up=False,
    )


def prepare_trainer(
    scratch: Path,
    manifest_file: str,
    changes: SettingChanges,
    *,
    mapped: bool = False,
    device: str = "cpu",
) -> Trainer:
    torch.set_num_threads(1)
    corpus = Corpus(name="an4", reader="an4", root=str(scratch), split="espnet")
    experiment = load_experiment(
        BASELINE_EXPERIMENT, {"corpus": corpus.model_dump(), "train.epochs": 1000, **changes}
    )
    features = compute_feature_set(scratch, manifest_file, **experiment.features.model_dump())
    run = RunFolder(scratch / "run")
    most = 0.0 if mapped else None
    return Trainer.prepare(experiment, features, run, torch.device(device), resident_gb=most)


def blankslate_epoch(
    scratch: Path,
    *,
    manifest_file: str,
    changes: SettingChanges,
    most: int | None = None,
    evaluate: bool = False,
    mapped: bool = False,
    device: str = "cpu",
) -> BenchmarkJob:
    """Train with masks and all metrics; with `evaluate` also do all that ends an epoch."""
    trainer = prepare_trainer(scratch, manifest_file, changes, mapped=mapped, device=device)

    def job(folder: Path, most: int | None = most) -> dict[str, float]:
        state, split = trainer.state, trainer.splits.train
        plan = epoch_plan.order_batches(split.lengths, trainer.experiment.train, state.epoch)
        state.position = 0 if most is None else max(0, len(plan) - most)
        before = dataclasses.replace(state.train_metrics)
        trained = sum(len(places) for places in plan[state.position :])
        trainer.train_epoch()
        after = state.train_metrics
        waited = (after.waited - before.waited) / (after.seconds - before.seconds)
        if evaluate:
            trainer.finish_epoch()
        return {"amount": trained, "waited, share": waited}

    job(scratch, WARM_UP_BATCHES)
    return job


def bare_loop(
    scratch: Path,
    *,
    manifest_file: str,
    changes: SettingChanges,
    most: int | None = None,
    evaluate: bool = False,
    device: str = "cpu",
) -> BenchmarkJob:
    """Train on batches that are ready in memory, without masks, metrics or text."""
    trainer = prepare_trainer(scratch, manifest_file, changes, device=device)
    return _loop_job(trainer, without_saturation_counts(trainer), most, evaluate)


def interleave_loops(scratch: Path, *, manifest_file: str, changes: SettingChanges) -> BenchmarkJob:
    """Train some epochs of each loop, a batch in turn; then the same with an evaluation of dev."""
    BatchLoader.batches = _yield_turns_between(BatchLoader.batches)  # type: ignore[method-assign]
    settings: dict[str, Any] = {"manifest_file": manifest_file, "changes": changes}

    def made(maker: Callable[..., BenchmarkJob], name: str, **more: Any) -> Callable[[], Any]:
        (scratch / name).mkdir()
        job = maker(scratch / name, **settings, **more)
        return lambda: [job(scratch) for _ in range(INTERLEAVED_EPOCHS)]

    alone = {"bare": made(bare_loop, "bare"), "ours": made(blankslate_epoch, "ours")}
    if "speechbrain" not in missing_peers():
        alone["brain"] = made(speechbrain_cases.speechbrain_fit, "brain")
        alone["ready"] = made(speechbrain_cases.speechbrain_fit, "ready", ready=True)
    with_dev = {
        "bare": made(bare_loop, "bare-dev", evaluate=True),
        "ours": made(blankslate_epoch, "ours-dev", evaluate=True),
    }

    def job(folder: Path) -> dict[str, float]:
        taken, evaluated = run_interleaved(alone), run_interleaved(with_dev)
        over = {OVER_BARE: "bare", OVER_BRAIN: "brain", OVER_READY: "ready"}
        return {
            **{ratio: taken[name] / taken["ours"] for ratio, name in over.items() if name in taken},
            OVER_EVALUATED: evaluated["bare"] / evaluated["ours"],
        }

    return job


def interleave_with_packed(
    scratch: Path, *, manifest_file: str, changes: SettingChanges, most: int
) -> BenchmarkJob:
    """Train the bare loop, ours and one with PackedSequence, a batch in turn."""
    BatchLoader.batches = _yield_turns_between(BatchLoader.batches)  # type: ignore[method-assign]
    settings: dict[str, Any] = {"manifest_file": manifest_file, "changes": changes, "most": most}
    makers = {"bare": bare_loop, "ours": blankslate_epoch, "packed": packed_loop}
    jobs = {}
    for name, maker in makers.items():
        (scratch / name).mkdir()
        made = maker(scratch / name, **settings)
        jobs[name] = lambda made=made: made(scratch)

    def job(folder: Path) -> dict[str, float]:
        taken = run_interleaved(jobs)
        over = {OVER_BARE: "bare", OVER_PACKED: "packed"}
        return {ratio: taken[name] / taken["ours"] for ratio, name in over.items()}

    return job


def packed_loop(
    scratch: Path, *, manifest_file: str, changes: SettingChanges, most: int | None = None
) -> BenchmarkJob:
    """Train the bare loop with PackedSequence, on the last `most` batches."""
    trainer = prepare_trainer(scratch, manifest_file, changes)
    network = without_saturation_counts(trainer)
    for number, layer in enumerate(network.recurrent):
        network.recurrent[number] = PackedRecurrent(
            layer, trainer.experiment.model.batch_norm != "none"
        )
    return _loop_job(trainer, network, most)


def without_saturation_counts(trainer: Trainer) -> Network:
    """Return the trainer's network, without its counts of saturated values at the clamp."""
    network = trainer.evaluator.network
    nothing = torch.zeros(3, dtype=torch.float64, device=trainer.evaluator.device)
    network.clamp.count_saturated = lambda y, mask_BT: nothing  # type: ignore[method-assign]
    return network


def _yield_turns_between(
    batches_of: Callable[..., Iterator[Batch]],
) -> Callable[..., Iterator[Batch]]:
    """Yield the turn after each batch, so that prefetching happens in the loop's own time."""

    def batches_in_turn(feed: BatchLoader, plan: Sequence[Selection]) -> Iterator[Batch]:
        with closing(batches_of(feed, plan)) as coming:
            for batch in coming:
                yield batch
                yield_turn()

    return batches_in_turn


def _loop_job(
    trainer: Trainer, network: Network, most: int | None, evaluate: bool = False
) -> BenchmarkJob:
    split, dev = trainer.splits.train, trainer.splits.dev
    plan = epoch_plan.order_batches(split.lengths, trainer.experiment.train, epoch=1)
    made = [split.make_batch(places) for places in (plan if most is None else plan[-most:])]
    ascending = dev.lengths.argsort()
    dev_batches = [
        dev.make_batch(ascending[n : n + MIN_EVALUATION_BATCH])
        for n in range(0, len(dev), MIN_EVALUATION_BATCH)
    ]

    def job(folder: Path) -> dict[str, float]:
        _train_epoch(trainer, network, made)
        if evaluate:
            _evaluate(network, dev_batches)
        if made[0].frames.is_cuda:
            torch.cuda.synchronize()
        return {"amount": sum(len(batch.lengths) for batch in made)}

    _train_epoch(trainer, network, made[:WARM_UP_BATCHES])
    return job


@torch.no_grad()
def _evaluate(network: Network, dev_batches: Sequence[Batch]) -> None:
    network.eval()
    for batch in dev_batches:
        yield_turn()
        bare_loss(network, batch.frames, batch.lengths, batch.targets, batch.target_lengths).item()


def _train_epoch(trainer: Trainer, network: Network, made: Sequence[Batch]) -> None:
    network.train()
    for batch in made:
        yield_turn()
        trainer.train_step.optimizer.zero_grad()
        bare_loss(
            network, batch.frames, batch.lengths, batch.targets, batch.target_lengths
        ).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        trainer.train_step.optimizer.step()


def bare_loss(
    network: Network, frames: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
) -> Tensor:
    output = network(frames, lengths)
    summed = nn.functional.ctc_loss(
        output.logits.log_softmax(-1).transpose(0, 1),
        targets,
        output.lengths,
        target_lengths,
        reduction="sum",
    )
    return summed / target_lengths.sum()


class PackedRecurrent(nn.Module):
    """A recurrent layer on packed sequences; BatchNorm, if any, is on its input."""

    def __init__(self, layer: nn.Module, normed: bool) -> None:
        super().__init__()
        cell = layer.directions[0].cell
        both = len(layer.directions) == 2
        self.norm = nn.BatchNorm1d(cell.input_size) if normed else nn.Identity()
        self.cell = type(cell)(
            cell.input_size, cell.hidden_size, batch_first=True, bidirectional=both
        )

    def forward(self, x_BTF: Tensor, mask_BT: Tensor, _: Tensor) -> Tensor:
        x_BTF = x_BTF.masked_scatter(mask_BT[..., None], self.norm(x_BTF[mask_BT]))
        lengths = mask_BT.sum(1)
        rows = nn.utils.rnn.pack_padded_sequence(
            x_BTF, lengths, batch_first=True, enforce_sorted=False
        )
        return nn.utils.rnn.pad_packed_sequence(self.cell(rows)[0], batch_first=True)[0]
