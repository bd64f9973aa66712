"""JSON Schemas, for editors that complete and check YAML. `make format` writes them anew."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from jobs.profile import Local, Slurm
from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.config.sweep import SweepFile

REPOSITORY = Path(__file__).resolve().parent.parent
KINDS: dict[str, Any] = {
    "configs/corpora/schema.json": Corpus,
    "configs/experiments/schema.json": Experiment,
    "configs/sweeps/schema.json": SweepFile,
    "cluster/schema.json": Local | Slurm,
}


def schemas() -> dict[Path, str]:
    return {
        REPOSITORY / name: json.dumps(_as_written(TypeAdapter(kind).json_schema()), indent=1) + "\n"
        for name, kind in KINDS.items()
    }


def _as_written(schema: dict[str, Any]) -> dict[str, Any]:
    """In a file, a corpus is the path of its file, and a corpus's name is its file's."""
    properties = schema.get("properties", {})
    if "corpus" in properties:
        properties["corpus"] = {"type": "string", "description": "path of a corpus file"}
        schema["$defs"].pop("Corpus")
    if "reader" in properties:
        schema["required"].remove("name")
    return schema


if __name__ == "__main__":
    for path, text in schemas().items():
        path.write_text(text, encoding="utf-8")
