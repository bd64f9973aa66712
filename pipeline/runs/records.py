"""Records: what a run says of itself, one file each.

In, out: plain values.   Not here: the files (run.py), rows (row.py). Free of torch.
"""

import math
import os
import socket
import time
from dataclasses import dataclass, field, replace
from typing import Literal

HEARTBEAT_TIMEOUT_S = 600  # a heartbeat comes each second, but a first batch may take long


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """Where a run stands, as its own process last said."""

    status: Literal["running", "finished", "stopped"] = "running"
    epoch: int = 0
    epochs: int = 0
    update: int = 0
    loss_per_character: float = math.nan
    reference_loss: float = math.nan
    dev_cer: float = math.nan
    blank_argmax: float = math.nan
    frames_per_second: float = math.nan
    seconds_left: float = math.nan
    doing: str = ""  # before the first update: what takes the time
    digest: str = ""  # of what a finished run has written
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    job: str = ""  # as whoever started the process calls it
    time: float = field(default_factory=time.time)  # seconds since 1970

    def with_this_process(
        self, status: Literal["running", "stopped"], doing: str = ""
    ) -> "Heartbeat":
        """This process has the run, or lets it go; how far it is stays as it was."""
        own = Heartbeat()
        return replace(self, status=status, doing=doing, host=own.host, pid=own.pid, time=own.time)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a run ended early; jobs/failures.py finds the cause and the words."""

    cause: str  # a short phrase: "out of memory"
    message: str  # one line, with the way out
    traceback: str = ""
    node: str = ""  # of a cluster, as its scheduler names it
    job: str = ""  # whose end the scheduler told; nothing where the run said it itself
    host: str = field(default_factory=socket.gethostname)
    time: float = field(default_factory=time.time)  # seconds since 1970


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one process used while it had the run, and what its job had asked for."""

    began: float  # seconds since 1970
    seconds: float
    cpu_seconds: float  # with the processes that it started
    peak_bytes: int = 0  # of memory; 0: the system does not say
    gpu_busy: float = math.nan  # share of samples
    cpus: int = 1
    memory_gb: float | None = None  # None: not asked for
    gpus: int = 0
    waited: float = math.nan  # seconds until its job started

    @property
    def cpus_used(self) -> float:
        return self.cpu_seconds / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class EpochReport:
    """What a person is told about the latest epoch."""

    epoch: int
    sentence: str
    samples: tuple[tuple[str, str, str], ...]  # utterance id, reference, hypothesis


@dataclass(frozen=True)
class Hypothesis:
    """What was heard in one utterance, and its errors: one line of hypotheses.csv."""

    utterance_id: str
    split: str
    reference: str
    hypothesis: str
    char_errors: int
    chars: int
    char_errors_no_spaces: int
    chars_no_spaces: int
    word_errors: int
    words: int
    char_substitutions: int
    char_deletions: int
    char_insertions: int
    word_substitutions: int
    word_deletions: int
    word_insertions: int

    @classmethod
    def of(cls, utterance_id: str, split: str, reference: str, hypothesis: str) -> "Hypothesis":
        # Its library takes a while to import, and who reads heartbeats needs none of it.
        from pipeline.decoding.scoring import Score  # noqa: PLC0415

        score = Score.of(reference, hypothesis)
        counts = (score.characters, score.characters_no_spaces, score.words)
        numbers = [number for count in counts for number in (count.errors, count.reference)]
        kinds = [*score.characters.operations, *score.words.operations]
        return cls(utterance_id, split, reference, hypothesis, *numbers, *kinds)
