"""The house rules that a syntax tree shows: who imports whom; where a heavy library lives."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# A room of pipeline/ imports from the rooms to its left and from these modules.
ROOMS = ("corpus", "features", "training", "results")
FOUNDATION = {
    f"pipeline.{name}" for name in ("config", "corpora", "files", "settings", "shapes", "values")
}

# Library -> the only places that import it: a module, or a package and all below.
HOMES = {
    "yaml": ("pipeline.config.loader",),
    "jaxtyping": ("pipeline.shapes",),
    "h5py": ("pipeline.features.hdf5",),
    "soundfile": ("pipeline.corpus.audio.decode",),
    "soxr": ("pipeline.corpus.audio.resample",),
    "espeakng_loader": ("pipeline.corpus.synthetic.synthesis",),
    "rapidfuzz": ("pipeline.decoding.scoring",),
    "torch": ("pipeline.training",),
    "torchaudio": ("pipeline.training",),
    "pandas": ("pipeline.results",),
    "matplotlib": (
        "pipeline.results.figures.learning_curves",
        "pipeline.results.figures.lr_curve",
        "pipeline.results.figures.spectrograms",
    ),
    "jinja2": ("pipeline.results.report",),
    "submitit": ("jobs.slurm.sbatch",),
    "rich": ("jobs.display.run_table",),
}

# A login node imports these, so none may reach torch.
LIGHT = tuple(f"pipeline.training.{name}" for name in ("run", "row", "scoring", "escape"))

LONGEST_MODULE = 320
LONGEST_FUNCTION = 50


def sources() -> dict[str, str]:
    """Dotted module name -> source text."""
    files = [*REPOSITORY.glob("pipeline/**/*.py"), *REPOSITORY.glob("jobs/**/*.py")]
    return {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): (
            path.read_text(encoding="utf-8")
        )
        for path in files
    }


def imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from pipeline import files` and `from pipeline.files import digest` are one arrow.
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)


def within(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(place + ".") for place in places)


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "pipeline" and len(parts) > 1 and parts[1] in ROOMS else None


def wrong_direction(module: str, imported: str) -> bool:
    if within(imported, ("tests",)):
        return True
    if module.startswith("pipeline") and within(imported, ("jobs",)):
        return True
    mine, theirs = room(module), room(imported)
    if mine and theirs:
        return ROOMS.index(theirs) > ROOMS.index(mine)
    if mine and imported.startswith("pipeline.") and not theirs:
        return not any(within(imported, (base,)) for base in FOUNDATION)
    return within(module, tuple(FOUNDATION)) and theirs is not None


def violations(modules: Mapping[str, str]) -> list[str]:
    found = []
    for module, source in modules.items():
        for imported in imports(source):
            if wrong_direction(module, imported):
                found.append(f"{module} imports {imported}: against the direction of the data")
            home = HOMES.get(imported.split(".")[0])
            if home and not within(module, home):
                found.append(f"{module} imports {imported}: its home is {', '.join(home)}")
            if within(module, LIGHT) and imported.split(".")[0] in {"torch", "torchaudio"}:
                found.append(f"{module} imports {imported}: a login node imports this module")
        found += sizes(module, source)
    return found


def sizes(module: str, source: str) -> Iterator[str]:
    lines = source.count("\n")
    if lines > LONGEST_MODULE:
        yield f"{module} has {lines} lines; split it at a noun"
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{module}.{node.name} has {length} lines; name its parts"
    if source.strip() and not ast.get_docstring(tree):
        yield f"{module} does not say what comes in and what goes out"


def test_the_house_stands_as_designed():
    assert violations(sources()) == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("pipeline.corpus.text", '"""T."""\nimport pipeline.training.ctc', "direction"),
        ("pipeline.corpus.text", '"""T."""\nfrom pipeline.features import shards', "direction"),
        ("pipeline.files", '"""T."""\nfrom pipeline.corpus.text import BLANK', "direction"),
        ("pipeline.runs.folder", '"""T."""\nfrom jobs import plan', "direction"),
        ("pipeline.results.table", '"""T."""\nfrom pipeline.sweep import Sweep', "direction"),
        ("jobs.commands.parser", '"""T."""\nfrom tests import conftest', "direction"),
        ("jobs.commands.parser", '"""T."""\ndef f():\n    import torch', "home"),
        ("pipeline.runs.folder", '"""T."""\nimport torch.nn', "login node"),
        ("pipeline.training.loss.ctc", '"""T."""\nimport h5py', "home"),
        ("pipeline.config.experiment", '"""T."""\n' + "x = 1\n" * 400, "lines"),
        (
            "pipeline.config.experiment",
            '"""T."""\ndef f():\n' + "    x = 1\n" * 60,
            "name its parts",
        ),
        ("pipeline.config.experiment", "import os", "does not say"),
    ],
)
def test_the_guard_can_fail(module: str, source: str, complaint: str):
    found = violations({module: source})
    assert len(found) >= 1
    assert complaint in found[0]


def test_an_innocent_module_passes():
    source = '"""In, out."""\nimport torch\nfrom pipeline.features.shards import FeatureSet\n'
    assert violations({"pipeline.training.data.batches": source}) == []
