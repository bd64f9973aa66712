"""What the pages promise exists, and what exists is in the pages."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests import module_map

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):.*  ## ", MAKEFILE, flags=re.MULTILINE))
ROOMS = ("pipeline", "jobs", "tests", "configs", "cluster")
NOT_OURS = {".venv", ".venv-bench", "work", "build", "node_modules"}
PAGES = sorted(
    page
    for top in REPOSITORY.iterdir()
    if top.name not in NOT_OURS  # .venv has 40,000 files
    for page in (top, *top.rglob("*.md"))
    if page.suffix == ".md" and not NOT_OURS & set(page.relative_to(REPOSITORY).parts)
)
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which tells of what was
MAX_README_WORDS = 1500


def name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@cache
def files(suffix: str) -> set[str]:
    return {path.name for room in ROOMS for path in (REPOSITORY / room).rglob(f"*{suffix}")}


def gone(text: str) -> list[str]:
    """Python modules and C sources that a text names and no room holds."""
    text = re.sub(r"#include <.*>", "", text)
    named = re.findall(r"(?<![\w/.-])(?:[\w.-]+/)*([\w-]+\.(?:py|c|h))\b(?!\w)", text)
    there = files(".py") | files(".c") | files(".h")
    return [file for file in named if file not in there]


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_each_target_is_in_readme(target: str):
    assert re.search(rf"make {target}\b(?!-)|`{target}`", README)


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_each_target_that_a_page_names_exists(page: Path):
    named = re.findall(r"(?:^    |`)make ([a-z]+(?:-[a-z]+)*)", page.read_text("utf-8"), re.M)
    assert set(named) - TARGETS == set()


def test_make_alone_prints_every_target():
    listing = subprocess.run(
        ["make", "--no-print-directory"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    printed = {line.split()[0] for line in listing.splitlines() if line.startswith("  ")}
    assert printed == TARGETS


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_each_path_that_a_page_names_exists(page: Path):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(rf"`((?:{'|'.join(ROOMS)})/[\w./-]*)`", text))
    assert [path for path in sorted(named) if not (REPOSITORY / path).exists()] == []


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_a_page_names_no_module_that_is_gone(page: Path):
    assert gone(page.read_text(encoding="utf-8")) == []


def test_a_module_that_is_gone_is_noticed():
    assert gone("see `jobs/ranging.py` and plan.py") == ["ranging.py"]


@pytest.mark.parametrize(
    "file",
    sorted(
        path
        for package in ("pipeline", "jobs")
        for path in (REPOSITORY / package).rglob("*.*")
        if path.suffix in {".py", ".c", ".h"}
    ),
    ids=name,
)
def test_a_docstring_or_comment_names_no_module_that_is_gone(file: Path):
    assert gone(file.read_text(encoding="utf-8")) == []


def test_a_docstring_names_a_module_of_another_room_with_that_room():
    modules = [file for room in ("pipeline", "jobs") for file in (REPOSITORY / room).rglob("*.py")]
    # `runs/plateau.py` for pipeline/runs/plateau.py
    ends = {file.relative_to(parent).as_posix() for file in modules for parent in file.parents[1:5]}
    found = set()
    for file in modules:
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        for named in re.findall(r"(?<![\w/.])[a-z_/]+\.py\b", docstring):
            if named not in ends and not any(
                (at / named).exists() for at in (file.parent, REPOSITORY)
            ):
                found.add((name(file), named))
    # The program that make export writes is beside the network's file, as model.py.
    assert found == {("pipeline/training/trained/onnx_transcribe.py", "model.py")}


def test_each_class_constant_and_function_that_contributing_names_is_defined():
    definition = r"^(?:class |(?:async )?def |type )?(\w+)\b"
    files = [file for room in ("pipeline", "jobs") for file in (REPOSITORY / room).rglob("*.py")]
    text = "\n".join(file.read_text("utf-8") for file in files)
    defined = set(re.findall(definition, text, flags=re.MULTILINE))
    text, _, _ = CONTRIBUTING.partition("<!-- map: begin")
    names = r"`([A-Z][A-Za-z]+|[A-Z]+(?:_[A-Z]+)*|_[a-z_]+)(?:\.(?!md`)\w+)?`"
    named = set(re.findall(names, text)) - {"Makefile"}
    assert len(named) >= 10
    assert named - defined == set()


def test_the_map_in_contributing_is_that_of_the_rooms():
    assert module_map.page(CONTRIBUTING) == CONTRIBUTING, "run make format"


def test_each_module_is_in_the_map():
    """Independently of how the map is made."""
    written = CONTRIBUTING.partition(module_map.BEGIN)[2]
    for package in ("pipeline", "jobs"):
        for file in (REPOSITORY / package).rglob("*.py"):
            if not file.name.startswith("__"):
                room = written.partition(f"### {file.parent.relative_to(REPOSITORY).as_posix()}/\n")
                assert f"- `{file.name}`: " in room[2].partition("\n### ")[0], file


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_relative_link_leads_somewhere(page: Path):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_readme_is_short():
    assert len(README.split()) <= MAX_README_WORDS


def test_readme_exports_what_its_corpus_file_reads():
    (example,) = (part for part in README.split("\n\n") if "export " in part)
    variable, corpus = re.findall(r"export (\w+)=|CORPUS=(\S+)", example)
    file = REPOSITORY / corpus[1]
    assert re.findall(r"root: \$(\w+)", file.read_text(encoding="utf-8")) == [variable[0]]


def test_each_dependency_has_a_sentence_in_contributing():
    """As a whole word: torchaudio is no mention of torch."""
    pyproject = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    block = pyproject.split("dependencies = [")[1].split("\n]")[0]
    names = re.findall(r'^\s*"([A-Za-z0-9-]+)[<>=]', block, flags=re.MULTILINE)
    table = CONTRIBUTING.partition("## Dependencies")[2].partition("\n## ")[0]
    assert len(names) > 10
    assert [one for one in names if not re.search(rf"(?<![\w-]){one}(?![\w-])", table)] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_holds_no_placeholder(page: Path):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"@@|TODO|\(written by", text)
