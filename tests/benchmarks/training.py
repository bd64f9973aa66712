"""Training: an epoch with every metric on, against bare loops and SpeechBrain, same network.

In:   the corpora.   Out: the group training: its cases, and what they do.
Not here: reading from disk (reading.py).

Frames lie in memory, normalised and joined, whoever trains; one thread, so that the other core's
users disturb less.
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
from pipeline.training.data import batches
from pipeline.training.data.batches import Batch, Selection
from pipeline.training.data.loader import Feed
from pipeline.training.loop.trainer import EVALUATION_BATCH, Trainer
from pipeline.training.network.model import Network
from tests.benchmarks import speechbrain_cases
from tests.benchmarks.child import Job
from tests.benchmarks.corpora import Corpora
from tests.benchmarks.judge import Target
from tests.benchmarks.limits import TUNED_MALLOC
from tests.benchmarks.measure import Case, Group, absent
from tests.benchmarks.product import feature_set
from tests.benchmarks.turns import in_turn, turn

REPOSITORY = Path(__file__).resolve().parents[2]
BASELINE = REPOSITORY / "configs/experiments/baseline.yaml"
BARE, OURS, MAPPED = "bare padded loop", "blankslate", "blankslate, mapped"
IN_TURN = "in turn"  # a batch each, in one process
OVER_BARE, OVER_EVALUATED, OVER_BRAIN = "bare / ours", "with dev", "Brain / ours"
OVER_READY, OVER_PACKED = "Brain, frames ready / ours", "packed / ours"
# Of the jobs of one process. Else each has an arena of its own, and luck decides whose pages stay.
ONE_ARENA = {**TUNED_MALLOC, "MALLOC_ARENA_MAX": "1"}
PACKED, BRAIN, HALF = "bare packed loop", "SpeechBrain, Brain.fit", "blankslate, bfloat16"
WARMING = 3  # batches before the first round
EPOCHS_IN_TURN = 3

Changes = Mapping[str, Any]
UNSTACKED: Changes = {"input.stack": 1, "model.batch_norm": "none"}


def training(corpora: Corpora) -> Iterator[Group]:
    path = str(corpora.manifest(1)[0])
    yield from (_epoch(path, batch) for batch in (16, 32))
    yield from (_unstacked(path, batch) for batch in (16, 32))
    if torch.cuda.is_available():
        yield from (_on_gpu(path, cell) for cell in ("lstm", "tanh"))


def _epoch(path: str, batch: int) -> Group:
    settings = {"manifest_file": path, "changes": {"train.batch": batch}}
    half = {"manifest_file": path, "changes": {"train.batch": batch, "train.precision": "bfloat16"}}
    return Group(
        title=f"an epoch of the baseline, AN4, batches of {batch}, one thread",
        unit="utterance",
        cases=[
            Case(BARE, "training:bare", settings),
            Case(OURS, "training:ours", settings),
            Case(MAPPED, "training:ours", {**settings, "mapped": True}),
            Case(IN_TURN, "training:together", settings, environment=ONE_ARENA),
            *([Case(HALF, "training:ours", half)] if batch == 16 else []),
            Case(PACKED, "training:packed", {**settings, "most": 144 // batch}),
            Case(BRAIN, "speechbrain_cases:fit", settings, needs="speechbrain"),
        ],
        targets=[
            Target([IN_TURN], of=OVER_BARE, at_least=0.95),
            Target([IN_TURN], of=OVER_EVALUATED, at_least=0.95),
            Target([IN_TURN], of=OVER_BRAIN, at_least=1),
            Target([PACKED], [OURS], at_least=5),
            Target([OURS], of="waited, share", at_most=0.01),
            Target([MAPPED], of="waited, share", at_most=0.03),
        ],
        warm_up=False,  # the makers do it, on a few batches
    )


def _unstacked(path: str, batch: int) -> Group:
    """The report's network on the report's 100 frames a second: packing costs most there."""
    changes, most = {**UNSTACKED, "train.batch": batch}, 128 // batch
    settings = {"manifest_file": path, "changes": changes, "most": most}
    return Group(
        title=f"{most} batches of {batch}, 100 frames a second, no BatchNorm, one thread",
        unit="utterance",
        cases=[Case(IN_TURN, "training:with_packed", settings, environment=ONE_ARENA)],
        targets=[
            Target([IN_TURN], of=OVER_BARE, at_least=0.95),
            Target([IN_TURN], of=OVER_PACKED, at_least=5),
        ],
        warm_up=False,
    )


def _on_gpu(path: str, cell: str) -> Group:
    """No GPU was at hand: these have not run yet."""
    changes = {"model.cell": cell}
    settings = {"manifest_file": path, "changes": changes, "device": "cuda"}
    half = {**settings, "changes": {**changes, "train.precision": "bfloat16"}}
    return Group(
        title=f"an epoch of the baseline with {cell}, AN4, batches of 16, on a GPU",
        unit="utterance",
        cases=[
            Case(BARE, "training:bare", settings),
            Case(OURS, "training:ours", settings),
            Case(MAPPED, "training:ours", {**settings, "mapped": True}),
            Case(HALF, "training:ours", half),
        ],
        targets=[
            Target([BARE], [OURS], at_least=0.95),
            Target([OURS], of="waited, share", at_most=0.01),
            Target([MAPPED], of="waited, share", at_most=0.03),
        ],
        warm_up=False,
    )


def prepared(
    scratch: Path,
    manifest_file: str,
    changes: Changes,
    *,
    mapped: bool = False,
    device: str = "cpu",
) -> Trainer:
    torch.set_num_threads(1)
    corpus = Corpus(name="an4", reader="an4", root=str(scratch), split="espnet")
    experiment = load_experiment(
        BASELINE, {"corpus": corpus.model_dump(), "train.epochs": 1000, **changes}
    )
    features = feature_set(scratch, manifest_file, **experiment.features.model_dump())
    run = RunFolder(scratch / "run")
    most = 0.0 if mapped else None
    return Trainer.prepare(experiment, features, run, torch.device(device), resident_gb=most)


def ours(
    scratch: Path,
    *,
    manifest_file: str,
    changes: Changes,
    most: int | None = None,
    evaluate: bool = False,
    mapped: bool = False,
    device: str = "cpu",
) -> Job:
    """Order, masks, every metric of the training rows; with `evaluate` all that ends an epoch."""
    trainer = prepared(scratch, manifest_file, changes, mapped=mapped, device=device)

    def job(folder: Path, most: int | None = most) -> dict[str, float]:
        state, split = trainer.state, trainer.splits.train
        plan = batches.order(split.lengths, trainer.experiment.train, state.epoch)
        state.position = 0 if most is None else max(0, len(plan) - most)
        before = dataclasses.replace(state.tally)
        trained = sum(len(places) for places in plan[state.position :])
        trainer.train_epoch()
        after = state.tally
        waited = (after.waited - before.waited) / (after.seconds - before.seconds)
        if evaluate:
            trainer.finish_epoch()
        return {"amount": trained, "waited, share": waited}

    job(scratch, WARMING)
    return job


def bare(
    scratch: Path,
    *,
    manifest_file: str,
    changes: Changes,
    most: int | None = None,
    evaluate: bool = False,
    device: str = "cpu",
) -> Job:
    """Network, loss, step, over batches that lie ready; no masks, no metric, no text."""
    trainer = prepared(scratch, manifest_file, changes, device=device)
    return _job(trainer, uncounted(trainer), most, evaluate)


def together(scratch: Path, *, manifest_file: str, changes: Changes) -> Job:
    """Some epochs of each, a batch in turn; then each with dev, which is heard in turn too."""
    Feed.batches = _by_turns(Feed.batches)  # type: ignore[method-assign]
    settings: dict[str, Any] = {"manifest_file": manifest_file, "changes": changes}

    def made(maker: Callable[..., Job], name: str, **more: Any) -> Callable[[], Any]:
        (scratch / name).mkdir()
        job = maker(scratch / name, **settings, **more)
        return lambda: [job(scratch) for _ in range(EPOCHS_IN_TURN)]

    alone = {"bare": made(bare, "bare"), "ours": made(ours, "ours")}
    if "speechbrain" not in absent():
        alone["brain"] = made(speechbrain_cases.fit, "brain")
        alone["ready"] = made(speechbrain_cases.fit, "ready", ready=True)
    heard = {
        "bare": made(bare, "bare-heard", evaluate=True),
        "ours": made(ours, "ours-heard", evaluate=True),
    }

    def job(folder: Path) -> dict[str, float]:
        taken, evaluated = in_turn(alone), in_turn(heard)
        over = {OVER_BARE: "bare", OVER_BRAIN: "brain", OVER_READY: "ready"}
        return {
            **{said: taken[name] / taken["ours"] for said, name in over.items() if name in taken},
            OVER_EVALUATED: evaluated["bare"] / evaluated["ours"],
        }

    return job


def with_packed(scratch: Path, *, manifest_file: str, changes: Changes, most: int) -> Job:
    """The same batches with PackedSequence too."""
    Feed.batches = _by_turns(Feed.batches)  # type: ignore[method-assign]
    jobs = {}
    for maker in (bare, ours, packed):
        (scratch / maker.__name__).mkdir()
        settings = {"manifest_file": manifest_file, "changes": changes, "most": most}
        made = maker(scratch / maker.__name__, **settings)
        jobs[maker.__name__] = lambda made=made: made(scratch)

    def job(folder: Path) -> dict[str, float]:
        taken = in_turn(jobs)
        over = {OVER_BARE: "bare", OVER_PACKED: "packed"}
        return {said: taken[name] / taken["ours"] for said, name in over.items()}

    return job


def packed(scratch: Path, *, manifest_file: str, changes: Changes, most: int | None = None) -> Job:
    """The same with PackedSequence, on some of the batches."""
    trainer = prepared(scratch, manifest_file, changes)
    network = uncounted(trainer)
    for number, layer in enumerate(network.recurrent):
        network.recurrent[number] = Packed(layer, trainer.experiment.model.batch_norm != "none")
    return _job(trainer, network, most)


def uncounted(trainer: Trainer) -> Network:
    """Its network, without the count of what stands at an end of the clamp."""
    network = trainer.recogniser.network
    nothing = torch.zeros(3, dtype=torch.float64, device=trainer.recogniser.device)
    network.clamp.ends = lambda y, mask_BT: nothing  # type: ignore[method-assign]
    return network


def _by_turns(batches_of: Callable[..., Iterator[Batch]]) -> Callable[..., Iterator[Batch]]:
    """A batch is asked for in turn: what is made ahead is made while its own run computes."""

    def batches_in_turn(feed: Feed, plan: Sequence[Selection]) -> Iterator[Batch]:
        with closing(batches_of(feed, plan)) as coming:
            for batch in coming:
                yield batch
                turn()

    return batches_in_turn


def _job(trainer: Trainer, network: Network, most: int | None, evaluate: bool = False) -> Job:
    split, dev = trainer.splits.train, trainer.splits.dev
    plan = batches.order(split.lengths, trainer.experiment.train, epoch=1)
    made = [split.batch(places) for places in (plan if most is None else plan[-most:])]
    ascending = dev.lengths.argsort()
    heard = [
        dev.batch(ascending[n : n + EVALUATION_BATCH]) for n in range(0, len(dev), EVALUATION_BATCH)
    ]

    def job(folder: Path) -> dict[str, float]:
        _loop(trainer, network, made)
        if evaluate:
            _listen(network, heard)
        if made[0].frames.is_cuda:
            torch.cuda.synchronize()
        return {"amount": sum(len(batch.lengths) for batch in made)}

    _loop(trainer, network, made[:WARMING])
    return job


@torch.no_grad()
def _listen(network: Network, heard: Sequence[Batch]) -> None:
    network.eval()
    for batch in heard:
        turn()
        loss(network, batch.frames, batch.lengths, batch.targets, batch.target_lengths).item()


def _loop(trainer: Trainer, network: Network, made: Sequence[Batch]) -> None:
    network.train()
    for batch in made:
        turn()
        trainer.learner.optimiser.zero_grad()
        loss(network, batch.frames, batch.lengths, batch.targets, batch.target_lengths).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        trainer.learner.optimiser.step()


def loss(
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


class Packed(nn.Module):
    """A recurrent layer as people pack it; BatchNorm, if any, is then on its input."""

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
