"""Shared experiments: the settings of the runs of a sweep, parsed once for the runs of an arm.

In:   run folders.   Out: experiments; the errors of `RunFolder.experiment`.
Not here: the schema (config/experiment.py), the other files of a run (run_summary.py).

Parsing and validating take a millisecond, a fifth of the time in which a run is read. The files of
an arm differ in their seed only, and no settings are refused because of a seed.
"""

import re

from pipeline.config.experiment import Experiment
from pipeline.runs.folder import RunFolder

# `train.seed` as a run's folder has it. Other spellings, such as an octal number, are parsed.
_SEED = re.compile(r"^train:\n(?:  .*\n)*?  seed: (0|[1-9][0-9]{0,8})$", re.MULTILINE)


class SharedExperiments:
    def __init__(self) -> None:
        self._known: dict[str, Experiment] = {}  # text without the seed -> the settings

    def read(self, folder: RunFolder) -> Experiment:
        """Return the experiment of a run."""
        try:
            text = folder.experiment_file.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return folder.experiment()
        found = _SEED.search(text)
        if found is None:
            return folder.experiment()
        seed, rest = int(found[1]), text[: found.start(1)] + text[found.end(1) :]
        if known := self._known.get(rest):
            train = known.train.model_copy(update={"seed": seed})
            return known.model_copy(update={"train": train})
        experiment = folder.experiment()
        # With folds, the seed may choose the fold.
        if experiment.train.seed == seed and experiment.corpus.folds is None:
            self._known[rest] = experiment
        return experiment
