"""Trainer: a feature set and an experiment -> a finished run folder.

In:   the experiment, its features, its run folder.
Out:  rows, state, hypotheses; `Stopped` when asked to stop, DivergedError when a loss is no number.
Not here: what a batch, a network, a loss, a row or a state is (their own modules).

Starting and resuming are the same call. All randomness derives from (seed, epoch, update), so that
a run that was stopped or killed goes on to bit-identical rows and weights, times aside.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch.amp.grad_scaler import GradScaler

from pipeline.config.experiment import Experiment
from pipeline.corpus.text import alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import Account, Heartbeat, Hypothesis, RunFolder, Stopped
from pipeline.runs.plateau import rank, sentence
from pipeline.runs.rows import Row
from pipeline.training.data import batches
from pipeline.training.data.batches import Split
from pipeline.training.data.frame_store import resident_bytes
from pipeline.training.data.loader import Feed
from pipeline.training.loop import devices, optimizer
from pipeline.training.loop.checkpoint import Best, State, packed, restored
from pipeline.training.loop.devices import Device, gpus
from pipeline.training.loop.evaluator import Recogniser, finite_part
from pipeline.training.loop.loggers import Tracking
from pipeline.training.loop.metrics import Evaluation, Tally
from pipeline.training.loop.splits import Splits
from pipeline.training.loop.train_step import DivergedError, Learner, derived
from pipeline.training.loss import reference_line
from pipeline.training.network.model import Network

__all__ = ["DivergedError", "fit", "gpus"]

SECONDS_BETWEEN_SAVES = 50.0
SECONDS_BETWEEN_BEATS = 1.0
SAMPLES = 3  # of dev, shown after each epoch
EVALUATION_BATCH = 32  # at least; no answer depends on it

log = logging.getLogger(__name__)

Status = Literal["running", "stopped"]
Reached = tuple[int, int, tuple[int, ...]]  # epoch, its batches, batches of its evaluations


def fit(
    experiment: Experiment,
    features: FeatureSet,
    run: RunFolder,
    *,
    device: Device = "auto",
    threads: int | None = None,
    workers: int = 0,
    resident_gb: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    observe: Callable[[Heartbeat], None] = lambda heartbeat: None,
) -> None:
    """Train, evaluate each epoch, and test once; go on where an earlier call was interrupted.

    Frames are resident up to `resident_gb` (None: as memory.py decides), else mapped and fed by
    `workers` processes (0: a thread). No row depends on either.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    chosen = devices.device(device)
    devices.be_deterministic(experiment.train.deterministic, chosen)
    run.write_environment(devices.describe(chosen))
    began = (run.heartbeat() or Heartbeat()).taken_over("running", "reading frames")
    observe(replace(began, epochs=experiment.train.epochs))
    trainer = Trainer.prepare(
        experiment, features, run, chosen, workers=workers, resident_gb=resident_gb
    )
    trainer.should_stop, trainer.observe = should_stop, observe
    with trainer.feed.watched():
        while trainer.state.epoch <= experiment.train.epochs:
            trainer.train_epoch()
            trainer.finish_epoch()
        trainer.conclude()


@dataclass
class Trainer:
    experiment: Experiment
    run: RunFolder
    splits: Splits
    feed: Feed  # of the training split
    updates: int  # of the whole training
    learner: Learner
    state: State
    tracking: Tracking
    should_stop: Callable[[], bool] = lambda: False
    observe: Callable[[Heartbeat], None] = lambda heartbeat: None
    saved: float = field(default_factory=time.monotonic)
    beaten: float = -math.inf
    began: tuple[float, int] = (0.0, 0)  # when this process began, and after which update
    kept: Reached = (1, 0, ())  # by what stands on the disk, or began anew

    @classmethod
    def prepare(
        cls,
        experiment: Experiment,
        features: FeatureSet,
        run: RunFolder,
        device: torch.device,
        *,
        workers: int = 0,
        resident_gb: float | None = None,
    ) -> "Trainer":
        """The network at its beginning, or as the run's state left it."""
        settings, letters = experiment.train, alphabet(experiment.alphabet)
        torch.manual_seed(derived(settings.seed, 0))
        network = Network(experiment.model, features.bins, experiment.input.stack, letters.size).to(
            device
        )
        residence = devices.residence(device, resident_bytes(features), resident_gb)
        splits = Splits.gather(features, experiment, network.steps, residence)
        reference = splits.references["train"]
        if experiment.model.bias == "optimum" and reference is not None:
            network.fc3.bias.data.copy_(reference_line.optimum_bias(reference))
        optimiser = optimizer.optimiser(settings, network.parameters())
        precision = devices.precision(settings.precision, device)
        scaler = GradScaler(device.type, enabled=precision == torch.float16)
        recogniser = Recogniser(network, letters, device, precision)
        state = restored(run, network, optimiser, scaler, device) or State.start(letters.size)
        run.restore(state.rows)
        began = (time.monotonic(), state.update)
        learner = Learner(experiment, recogniser, optimiser, scaler)
        feed = Feed(splits.train, device, workers)
        updates = batches.updates(splits.train, settings, splits.fits)
        tracking = Tracking(run, experiment, len(state.rows))
        words = (experiment, run, splits, feed, updates, learner, state, tracking)
        return cls(*words, began=began, kept=_reached(state))

    @property
    def recogniser(self) -> Recogniser:
        return self.learner.recogniser

    def train_epoch(self) -> None:
        """The epoch's updates, from where the state stands in it."""
        state, split, settings = self.state, self.splits.train, self.experiment.train
        plan = batches.selections(split, settings, state.epoch, self.splits.fits)
        with closing(self.feed.batches(plan[state.position :])) as coming:
            asked = time.perf_counter()
            for batch in coming:
                waited = time.perf_counter() - asked
                self._pause()
                started = time.perf_counter()
                if (whole := finite_part(state.tally, batch)) is not None:
                    self.learner.learn(whole, state, self.updates)
                state.position += 1
                state.tally.waited += waited
                state.tally.seconds += waited + time.perf_counter() - started
                self._beat()
                asked = time.perf_counter()
        _check_learnt(state.tally)

    def finish_epoch(self) -> None:
        """Evaluate, keep the best weights, and commit: the epoch is done when its rows stand."""
        state, epoch = self.state, self.state.epoch
        train = self._row("train", state.tally, epoch, state.update)
        heard = self._evaluate(self.splits.dev)
        dev = self._row("dev", heard.tally, epoch, state.update)
        state.rows = [*state.rows, train, dev]
        if state.best is None or rank(dev) < state.best.rank:
            weights = self.recogniser.network.state_dict()
            copies = {name: tensor.detach().clone() for name, tensor in weights.items()}
            state.best = Best(epoch, state.update, rank(dev), copies)
        self.tracking.follow(state.rows)  # first: what a state holds is never told again
        self.state = state.next_epoch(self.recogniser.letters.size)
        self._save()
        self._tell(epoch, heard.texts)
        self._beat(always=True)

    def conclude(self) -> None:
        """Test once, with the weights that dev chose."""
        state, best = self.state, self.state.best
        if best is None:
            raise RuntimeError("no epoch has been evaluated")
        self.recogniser.network.load_state_dict(dict(best.weights))
        hypotheses = _hypotheses(self.splits.dev, self._evaluate(self.splits.dev).texts)
        state.rows = [row for row in state.rows if row["split"] != "test"]
        if len(self.splits.test):
            heard = self._evaluate(self.splits.test, self.experiment.decode.beam)
            hypotheses += _hypotheses(self.splits.test, heard.texts)
            state.rows.append(self._row("test", heard.tally, best.epoch, best.updates))
            log.info("epoch %d chosen; test CER %.1f %%", best.epoch, 100 * heard.tally.score.cer)
        self.tracking.follow(state.rows)
        state.heard = {}
        self._save()
        self._beat(always=True)
        self.run.finish(hypotheses)

    def _tell(self, epoch: int, texts: list[str]) -> None:
        """A sentence, and how three utterances of dev are heard by now, the same each time."""
        ended = epoch == self.experiment.train.epochs
        said, utterances = sentence(self.state.rows, self.experiment, ended=ended), []
        for place in self.splits.dev.typical(SAMPLES):
            utterance = self.splits.dev.utterances[place]
            utterances.append((utterance.id, utterance.transcript, texts[place]))
        self.run.tell(Account(epoch, said, tuple(utterances)))
        log.info("epoch %d: %s", epoch, said)

    def _evaluate(self, split: Split, beam: int | None = None) -> Evaluation:
        size = max(self.experiment.train.batch, EVALUATION_BATCH)
        start = Evaluation.start(len(split), self.recogniser.letters.size)
        heard = self.state.heard.setdefault(split.name, start)
        self.recogniser.evaluate(split, heard, size, beam, self._between)
        return heard

    def _between(self) -> None:
        self._pause()
        self._beat()

    def _row(self, split: str, tally: Tally, epoch: int, updates: int) -> Row:
        return tally.row(
            run_id=self.run.run_id,
            epoch=epoch,
            split=split,
            updates=updates,
            reference_loss=self.splits.reference_loss(split),
            infeasible=self.splits.infeasible[split],
            learning_rate=self.learner.learning_rate,
            peak_memory_bytes=devices.peak_memory_bytes(self.recogniser.device),
        )

    def _pause(self) -> None:
        """Between two batches: save if it is time to, and stop if asked to."""
        stop = self.should_stop()
        late = time.monotonic() - self.saved > SECONDS_BETWEEN_SAVES
        # A newer file says that the run got further: jobs that never do are given up.
        if (late or stop) and self.kept != _reached(self.state):
            self._save()
        if stop:
            self._beat(always=True, status="stopped")
            raise Stopped

    def _save(self) -> None:
        learner = self.learner
        content = packed(self.state, self.recogniser.network, learner.optimiser, learner.scaler)
        self.run.commit(self.state.rows, content)
        self.saved = time.monotonic()
        self.kept = _reached(self.state)

    def _beat(self, *, always: bool = False, status: Status = "running") -> None:
        now = time.monotonic()
        if always or now - self.beaten >= SECONDS_BETWEEN_BEATS:
            self.beaten = now
            self.observe(self._heartbeat(status))

    def _heartbeat(self, status: Status) -> Heartbeat:
        state, epochs = self.state, self.experiment.train.epochs
        if state.tally.updates:
            row: Row | None = self._row("train", state.tally, state.epoch, state.update)
        else:
            row = _last(state.rows, "train")
        dev, nan = _last(state.rows, "dev"), math.nan
        return Heartbeat(
            status=status,
            epoch=row["epoch"] if row else state.epoch,  # that the loss is of
            epochs=epochs,
            update=state.update,
            loss_per_character=row["loss_per_character"] if row else nan,
            reference_loss=self.splits.reference_loss("train"),
            dev_cer=dev["cer"] if dev else nan,
            blank_argmax=row["blank_argmax"] if row else nan,
            frames_per_second=row["frames_per_second"] if row else nan,
            seconds_left=self._seconds_left(),
        )

    def _seconds_left(self) -> float:
        began, before = self.began
        done = self.state.update - before
        each = (time.monotonic() - began) / done if done else math.nan
        return each * (self.updates - self.state.update)


def _reached(state: State) -> Reached:
    return state.epoch, state.position, tuple(each.batches for each in state.heard.values())


def _check_learnt(tally: Tally) -> None:
    if not tally.updates:
        raise InputError(
            f"the input of all {len(tally.nonfinite)} training utterances, the first of them "
            f"{', '.join(tally.nonfinite[:3])}, holds values that are no finite numbers; set "
            "features.storage: float32, or leave them out with exclude: in the corpus file"
        )


def _hypotheses(split: Split, found: list[str]) -> list[Hypothesis]:
    pairs = zip(split.utterances, found, strict=True)
    return [Hypothesis.of(u.id, split.name, u.transcript, text) for u, text in pairs]


def _last(rows: list[Row], split: str) -> Row | None:
    return next((row for row in reversed(rows) if row["split"] == split), None)
