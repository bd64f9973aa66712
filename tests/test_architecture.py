"""The architecture, as the syntax trees show it: who imports whom, and where each library lives."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# A room imports from the rooms to its left, and from the modules of its foundation.
PIPELINE = ("config", "corpus", "features", "decoding", "runs", "training", "results")
TRAINING = ("network", "data", "loss", "optim", "loop", "trained", "diagnosis")
JOBS = ("slurm", "local", "node", "sweep", "display", "launch", "commands")
RESULTS = (
    *("statistics", "summary", "comparison", "tables", "effects", "errors", "trained", "figures"),
    "page",
)
ORDERS = {
    "pipeline": PIPELINE,
    "pipeline.training": TRAINING,
    "pipeline.results": RESULTS,
    "jobs": JOBS,
}
FOUNDATION = {
    "pipeline": {"pipeline.files", "pipeline.host", "pipeline.shapes"},
    "pipeline.training": set[str](),
    "pipeline.results": set[str](),
    "jobs": {
        "jobs.code_snapshot",
        "jobs.environment",
        "jobs.exit_codes",
        "jobs.messages",
        "jobs.profile",
        "jobs.profile_fields",
        "jobs.work_folder",
    },
}
# Neither imports the other: two places to run in; a report must not need what trains.
APART = (("jobs.slurm", "jobs.local"), ("pipeline.training", "pipeline.results"))

# Library -> the only places that import it: a module, or a room and all below.
HOMES = {
    "yaml": ("pipeline.config.loader",),
    "jaxtyping": ("pipeline.shapes",),
    "h5py": ("pipeline.features.hdf5",),
    # The second one is no part of this program: make export copies it beside an ONNX file.
    "soundfile": ("pipeline.corpus.audio", "pipeline.training.trained.onnx_transcribe"),
    "soxr": ("pipeline.corpus.audio.resample",),
    "espeakng_loader": ("pipeline.corpus.synthetic",),
    "psutil": ("pipeline.host",),
    "kaldifst": ("pipeline.decoding.words.decoding_graph", "pipeline.decoding.words.graph_search"),
    "kaldi_decoder": ("pipeline.decoding.words.graph_search",),
    "rapidfuzz": ("pipeline.decoding.scoring",),
    "torch": ("pipeline.training",),
    "torchaudio": ("pipeline.training",),
    "onnx": ("pipeline.training.trained",),
    "onnxruntime": ("pipeline.training.trained",),
    "num2words": ("pipeline.corpus.text.digits",),
    "regex": ("pipeline.corpus.text.patterns",),
    "tensorboardX": ("pipeline.training.loop.loggers",),
    "pandas": ("pipeline.results",),
    "pyarrow": ("pipeline.corpus.layouts", "pipeline.results"),
    "matplotlib": ("pipeline.results.figures",),
    "jinja2": ("pipeline.results.page.render",),
    "submitit": ("jobs.slurm.sbatch",),
    "rich": ("jobs.messages", "jobs.display"),
    "argparse": ("jobs",),
}

MAX_MODULES_IN_ROOM = 10
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 50


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
    """What a module imports, inside functions and by `import_module` as well."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from pipeline import files` and `from pipeline.files import digest` are one arrow.
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Constant):
            name = str(node.value)
            yield from [name] if name.startswith(("jobs.", "pipeline.")) else []  # import_module


def within(module: str, places: Iterable[str]) -> bool:
    return any(module == place or module.startswith(place + ".") for place in places)


def room(module: str, parent: str) -> str | None:
    """The room of `parent` that holds the module: `loop` of `pipeline.training.loop.trainer`."""
    if not module.startswith(parent + "."):
        return None
    name = module.removeprefix(parent + ".").split(".")[0]
    return name if name in ORDERS[parent] else None


def wrong_direction(module: str, imported: str) -> bool:
    if within(imported, ("tests",)) or (
        within(module, ("pipeline",)) and within(imported, ("jobs",))
    ):
        return True
    for parent, order in ORDERS.items():
        mine, theirs = room(module, parent), room(imported, parent)
        if mine and theirs and order.index(theirs) > order.index(mine):
            return True
        if within(module, FOUNDATION[parent]) and theirs:
            return True
    return any(
        within(module, (one,)) and within(imported, (other,))
        for pair in APART
        for one, other in (pair, pair[::-1])
    )


def arrows(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Module -> the modules of this repository that it imports."""
    return {
        module: {imported for imported in imports(source) if imported in modules} - {module}
        for module, source in modules.items()
    }


def find_cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """One cycle as the modules along it, the first one repeated at the end; empty if none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for imported in sorted(graph[module]):
            if cycle := visit(imported, [*path, module]):
                return cycle
        done.add(module)
        return []

    return next((cycle for module in sorted(graph) if (cycle := visit(module, []))), [])


def violations(modules: Mapping[str, str]) -> list[str]:
    found = []
    for module, source in modules.items():
        for imported in imports(source):
            if wrong_direction(module, imported):
                found.append(f"{module} imports {imported}: against the direction of the rooms")
            home = HOMES.get(imported.split(".")[0])
            if home and not within(module, home):
                found.append(f"{module} imports {imported}: its home is {', '.join(home)}")
        found += sizes(module, source)
    if cycle := find_cycle(arrows(modules)):
        found.append(f"a cycle of imports: {' -> '.join(cycle)}")
    return [*found, *full_rooms(modules)]


def full_rooms(modules: Mapping[str, str]) -> Iterator[str]:
    """Rooms with too many modules; a package is no module of its own."""
    packages = {module.rpartition(".")[0] for module in modules}
    rooms = Counter(module.rpartition(".")[0] for module in modules if module not in packages)
    for name, count in rooms.items():
        if count > MAX_MODULES_IN_ROOM:
            yield f"{name} has {count} modules; make two rooms of it"


def sizes(module: str, source: str) -> Iterator[str]:
    lines = source.count("\n")
    if lines > MAX_MODULE_LINES:
        yield f"{module} has {lines} lines; split it at a noun"
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{module}.{node.name} has {length} lines; name its parts"
    if source.strip() and not ast.get_docstring(tree):
        yield f"{module} does not say what comes in and what goes out"
    yield from docstrings_without_subject(module, tree)


def docstrings_without_subject(module: str, tree: ast.Module) -> Iterator[str]:
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    for node in ast.walk(tree):
        text = (ast.get_docstring(node) or "") if isinstance(node, documented) else ""
        if text.startswith("Of "):
            yield f"{module}: a docstring begins with 'Of': {text.splitlines()[0]}"


def test_the_architecture_holds():
    assert violations(sources()) == []


def test_each_order_names_the_rooms_that_there_are():
    """A room that is missing from an order would be free to import anything."""
    modules = sources()
    for parent, order in ORDERS.items():
        children = {
            one for one, other in pairwise(sorted(modules)) if other.startswith(one + ".")
        } & {name for name in modules if name.rpartition(".")[0] == parent}
        assert {name.rpartition(".")[2] for name in children} == set(order)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        (
            "pipeline.corpus.text.alphabet",
            '"""T."""\nimport pipeline.training.loss.ctc',
            "direction",
        ),
        (
            "pipeline.corpus.text.alphabet",
            '"""T."""\nfrom pipeline.features import shards',
            "direction",
        ),
        (
            "pipeline.files",
            '"""T."""\nfrom pipeline.corpus.text.alphabet import BLANK',
            "direction",
        ),
        ("pipeline.runs.folder", '"""T."""\nfrom jobs.sweep import plan', "direction"),
        (
            "pipeline.results.summary.table",
            '"""T."""\nfrom pipeline.training.loop import x',
            "direction",
        ),
        ("pipeline.decoding.greedy", '"""T."""\nfrom pipeline.runs import rows', "direction"),
        (
            "pipeline.training.network.model",
            '"""T."""\nfrom pipeline.training.data import batches',
            "direction",
        ),
        ("jobs.commands.parser", '"""T."""\nfrom tests import conftest', "direction"),
        ("jobs.node.requeue", '"""T."""\nfrom jobs.sweep import record', "direction"),
        ("jobs.node.requeue", '"""T."""\nimport_module("jobs.commands.report")', "direction"),
        ("jobs.slurm.sbatch", '"""T."""\nfrom jobs.local import executor', "direction"),
        ("jobs.messages", '"""T."""\nfrom jobs.display import live', "direction"),
        ("jobs.commands.parser", '"""T."""\ndef f():\n    import torch', "home"),
        ("pipeline.runs.folder", '"""T."""\nimport torch.nn', "home"),
        ("pipeline.training.loss.ctc", '"""T."""\nimport h5py', "home"),
        ("pipeline.config.sweep", '"""T."""\n' + "x = 1\n" * 400, "lines"),
        ("pipeline.config.sweep", '"""T."""\ndef f():\n' + "    x = 1\n" * 60, "name its parts"),
        ("pipeline.config.sweep", "import os", "does not say"),
        ("pipeline.config.sweep", '"""T."""\ndef f():\n    """Of what?"""', "begins with 'Of'"),
    ],
)
def test_the_guard_can_fail(module: str, source: str, complaint: str):
    found = violations({module: source})
    assert len(found) >= 1
    assert complaint in found[0]


def test_a_cycle_is_found_through_a_late_import():
    modules = {
        "jobs.node.a": '"""A."""\nfrom jobs.node import b',
        "jobs.node.b": '"""B."""\ndef f():\n    import_module("jobs.node.a")',
    }
    assert violations(modules) == [
        "a cycle of imports: jobs.node.a -> jobs.node.b -> jobs.node.a",
    ]


def test_a_full_room_is_found():
    modules = {f"jobs.node.m{number}": '"""M."""' for number in range(11)}
    assert violations(modules) == ["jobs.node has 11 modules; make two rooms of it"]


def test_an_innocent_module_passes():
    source = '"""In, out."""\nimport torch\nfrom pipeline.features.shards import FeatureSet\n'
    assert violations({"pipeline.training.data.batches": source}) == []


MIN_REPEATED_LINES = 8


def repeated_blocks(sources: Mapping[str, str]) -> list[str]:
    """Return where a block of lines stands twice; imports and lists of names are left out."""
    places = defaultdict(list)
    for name, source in sources.items():
        numbered = enumerate((line.strip() for line in source.splitlines()), start=1)
        lines = [(n, line) for n, line in numbered if line and not line.startswith("#")]
        for first in range(len(lines) - MIN_REPEATED_LINES + 1):
            block = lines[first : first + MIN_REPEATED_LINES]
            if not all(re.match(r"(from|import) |[\w, ]+$|\)$", line) for _, line in block):
                places[tuple(line for _, line in block)].append(f"{name}:{block[0][0]}")
    return [" and ".join(found) for found in places.values() if len(found) > 1]


def test_no_block_of_eight_lines_stands_twice():
    files = [
        path
        for room in ("pipeline", "jobs", "tests")
        for path in REPOSITORY.glob(f"{room}/**/*.py")
    ]
    sources = {str(path.relative_to(REPOSITORY)): path.read_text("utf-8") for path in files}
    assert repeated_blocks(sources) == []


def test_a_repeated_block_is_found_whatever_its_indentation_and_comments():
    block = [f"x{n} = {n}" for n in range(MIN_REPEATED_LINES)]
    other = [f"    {line}\n    # of f" for line in block]
    sources = {"a.py": "\n".join(block), "b.py": "\n".join(["def f():", *other])}
    assert repeated_blocks(sources) == ["a.py:1 and b.py:2"]
    assert repeated_blocks({"a.py": sources["a.py"], "b.py": "\n".join(other[1:])}) == []
