"""What README and the Makefile promise exists, and what exists is in README."""

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):.*  ## ", MAKEFILE, flags=re.MULTILINE))
PAGES = [
    path
    for path in REPOSITORY.glob("**/*.md")
    if not {".venv", ".venv-bench", "work", "build"} & set(path.relative_to(REPOSITORY).parts)
]


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_each_target_is_in_readme(target: str):
    assert re.search(rf"make {target}\b|`{target}`", README), f"README does not mention {target}"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)", README))))
def test_each_target_that_readme_names_exists(target: str):
    assert target in TARGETS


def test_make_alone_prints_every_target():
    listing = subprocess.run(
        ["make", "--no-print-directory"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[0] for line in listing.splitlines()} == TARGETS


@pytest.mark.parametrize(
    "name",
    sorted(set(re.findall(r"`((?:pipeline|jobs|configs|cluster|tests)/[\w./-]*)`", README))),
)
def test_each_path_that_readme_names_exists(name: str):
    assert (REPOSITORY / name).exists()


def test_each_module_is_in_the_list_of_readme():
    modules = {
        path.name
        for folder in ("pipeline", "jobs")
        for path in (REPOSITORY / folder).glob("**/*.py")
        if path.name not in {"__init__.py", "__main__.py"}
    }
    assert {name for name in modules if name not in README} == set()


def test_each_module_that_readme_names_exists():
    names = set(re.findall(r"\b(\w+\.py)\b", README))
    rooms = ("pipeline", "jobs", "tests", "cluster")  # not .venv, which has modules of any name
    found = {path.name for room in rooms for path in (REPOSITORY / room).rglob("*.py")}
    assert names - found == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_each_relative_link_leads_somewhere(page: Path):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_first_commands_export_what_the_later_ones_read():
    (example,) = (part for part in README.split("\n\n") if "make features CORPUS=" in part)
    words = example.split()
    (variable,) = set(re.findall(r"root: \$(\w+)", (REPOSITORY / words[4][7:]).read_text("utf-8")))
    assert words[:2] == ["export", f"{variable}=/where/an4/lies"]


def test_each_dependency_has_a_sentence_in_readme():
    pyproject = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    block = pyproject.split("dependencies = [")[1].split("\n]")[0]
    names = re.findall(r'"([a-z0-9-]+)[<>=]', block)
    assert {name for name in names if name not in README.lower()} == set()


def test_readme_holds_no_placeholder():
    assert "@@" not in README
