"""Decodings: what `make decode` leaves in a run's folder; one folder for each way of decoding.

In:   settings, hypotheses, trials on dev.   Out: files that appear whole, and their contents.
Not here: decoding (pipeline/training/trained/decode_run.py), the run itself (folder.py).
"""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config.decoding import DecodingSettings
from pipeline.config.loader import dump_yaml, read_yaml, validate_settings
from pipeline.decoding.words.lattices import LatticeArchive
from pipeline.files import (
    InputError,
    atomic_write,
    json_digest,
    parse_json,
    read_json,
    write_bytes,
    write_json,
    write_text,
)
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import (
    Hypothesis,
    hypotheses_from_csv,
    hypotheses_to_csv,
)

DECODINGS = "decodings"  # folder of a run
SEARCH_SETTINGS = {"beam", "n_best", "blank_skip"}  # that new sound is decoded with too
NEWEST = "newest.txt"  # in it: the name of the decoding that is used for new sound
MODEL_FILE = "model.pt"  # of a run: its network with all that it needs to read new sound


class DecodingFolder(NamedTuple):
    """`runs/<run_id>/decodings/<id>/`: settings.yaml, tuning.csv, hypotheses.csv, n_best.jsonl.

    With lattices also lat.1.gz, an archive that Kaldi reads, and its symbol table, words.txt.
    """

    path: Path

    @classmethod
    def of(cls, run: RunFolder, settings: DecodingSettings, sources: str) -> "DecodingFolder":
        """Return the folder of these settings; `sources` is a digest of the files they name."""
        key = json_digest({"settings": settings.identity, "sources": sources})[:8]
        return cls(run.path / DECODINGS / key)

    @property
    def result_file(self) -> Path:
        """Written last: a decoding is finished if it exists."""
        return self.path / "result.json"

    @property
    def language_file(self) -> Path:
        """Lexicon, n-gram model and weights, with which new sound is decoded."""
        return self.path / "language.json"

    @property
    def lattice_file(self) -> Path:
        return self.path / "lat.1.gz"

    @property
    def trials_file(self) -> Path:
        """The trials on dev of a decoding that is not finished."""
        return self.path / "trials.json"

    @classmethod
    def newest(cls, run: RunFolder) -> "DecodingFolder | None":
        """Return the last finished decoding of the run's present network.

        The file newest.txt names it, because a copy of the run may lose the times of files.
        """
        try:
            name = (run.path / DECODINGS / NEWEST).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            name = ""

        def rank(folder: DecodingFolder) -> tuple[bool, int]:
            return folder.path.name == name, folder.result_file.stat().st_mtime_ns

        return max(cls.list_finished(run), key=rank, default=None)

    def mark_newest(self) -> None:
        write_text(self.path.parent / NEWEST, f"{self.path.name}\n")

    @classmethod
    def list_finished(cls, run: RunFolder) -> list["DecodingFolder"]:
        """Return all finished decodings of the run that its present network made."""
        files = sorted((run.path / DECODINGS).glob("*/result.json"))
        return [folder for file in files if (folder := cls(file.parent)).is_of(run)]

    def is_of(self, run: RunFolder) -> bool:
        """Whether it is finished, and the run was not trained again since."""
        try:
            made_of = self.result().get("run")
        except InputError:
            return False
        heartbeat = run.heartbeat()
        return made_of is None or bool(heartbeat and heartbeat.digest == made_of)

    def settings(self) -> DecodingSettings:
        file = self.path / "settings.yaml"
        return validate_settings(DecodingSettings, read_yaml(file), file)

    def result(self) -> dict[str, Any]:
        """Return weights, scores and times; InputError where the file is missing or damaged."""
        try:
            return dict(read_json(self.result_file))
        except (OSError, ValueError, TypeError):
            raise self._damage(self.result_file) from None

    def keep_trials(self, run: str, trials: Sequence[Mapping[str, float]]) -> None:
        """Keep the trials on dev so far; `run`: the digest of the network that made them."""
        content = json.dumps({"run": run, "trials": [dict(each) for each in trials]})
        with atomic_write(self.trials_file, durable=False) as partial:
            partial.write_text(content, encoding="utf-8")

    def kept_trials(self, run: str) -> list[Any]:
        """Return the trials of an interrupted decoding, unchecked; none of another network."""
        try:
            content = read_json(self.trials_file)
            return list(content["trials"]) if content["run"] == run else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def tuning(self) -> list[dict[str, float]]:
        """Return the trials on dev, in order; none where the file is damaged."""
        try:
            with (self.path / "tuning.csv").open(encoding="utf-8", newline="") as file:
                return [
                    {name: float(value) for name, value in row.items()}
                    for row in csv.DictReader(file)
                ]
        except (OSError, ValueError, TypeError):
            return []

    def hypotheses(self) -> list[Hypothesis]:
        """Return the hypotheses of dev and test; InputError where the file is damaged."""
        file = self.path / "hypotheses.csv"
        content = self._read_whole(file)
        try:
            if found := hypotheses_from_csv(content):
                return found
        except (ValueError, TypeError):
            pass
        raise self._damage(file)

    def language(self) -> dict[str, Any]:
        """Return the content of language.json, and as `search` the settings of the search.

        InputError where it is damaged.
        """
        try:
            content = dict(parse_json(self._read_whole(self.language_file)))
        except (ValueError, TypeError):
            raise self._damage(self.language_file) from None
        try:
            search = self.settings().model_dump(include=SEARCH_SETTINGS)
        except InputError as error:
            raise InputError(f"{error}; delete {self.path} and run make decode again") from None
        return {**content, "search": search}

    def _read_whole(self, file: Path) -> str:
        """Return the text of a file; InputError where it is missing or not what was written."""
        try:
            content = file.read_bytes()
            text = content.decode()
        except (OSError, UnicodeDecodeError):
            raise self._damage(file) from None
        written = self.result().get("digests", {}).get(file.name)  # none: of an earlier program
        if written not in (None, hashlib.sha256(content).hexdigest()):
            raise self._damage(file)
        return text

    def _damage(self, file: Path) -> InputError:
        return InputError(
            f"{file}: missing or damaged; delete {self.path} and run make decode again"
        )

    def write(
        self,
        *,
        settings: DecodingSettings,
        hypotheses: Sequence[Hypothesis],
        tuning: Sequence[Mapping[str, float]],
        n_best: Sequence[Mapping[str, Any]],
        language: Mapping[str, Any],
        result: Mapping[str, Any],
        lattices: LatticeArchive | None = None,
    ) -> None:
        """Write all files, the result last; lattices of an earlier decoding are removed."""
        symbols_file = self.path / "words.txt"
        if lattices is None:
            self.lattice_file.unlink(missing_ok=True)
            symbols_file.unlink(missing_ok=True)
        else:
            write_bytes(self.lattice_file, lattices.compressed)
            write_text(symbols_file, lattices.symbols)
        write_text(self.path / "settings.yaml", dump_yaml(settings))
        write_text(self.path / "hypotheses.csv", hypotheses_to_csv(hypotheses))
        write_text(
            self.path / "tuning.csv",
            _csv_text(list(tuning[0]) if tuning else [], [list(each.values()) for each in tuning]),
        )
        lines = [json.dumps(each, ensure_ascii=False) for each in n_best]
        write_text(self.path / "n_best.jsonl", "".join(f"{line}\n" for line in lines))
        write_json(self.language_file, dict(language))
        files = (self.path / "hypotheses.csv", self.language_file)
        digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        write_json(self.result_file, {**result, "digests": digests})
        self.trials_file.unlink(missing_ok=True)
        self.mark_newest()


def _csv_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows([columns, *rows])
    return table.getvalue()
