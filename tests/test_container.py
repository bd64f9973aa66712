"""The recipes of the container copy what the set-up reads, and both the same."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DOCKERFILE = (REPOSITORY / "cluster/container.Dockerfile").read_text(encoding="utf-8")
DEFINITION = (REPOSITORY / "cluster/container.def").read_text(encoding="utf-8")


def copied_by_docker() -> set[str]:
    lines = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
    return {name for line in lines for name in line.split()}


def copied_by_apptainer() -> set[str]:
    section = DEFINITION.partition("%files\n")[2].partition("\n%")[0]
    pairs = [line.split() for line in section.splitlines() if line.strip()]
    assert all(target == f"/opt/blankslate/{source}" for source, target in pairs)
    return {source for source, _ in pairs}


def test_both_recipes_copy_the_same_files_and_all_exist():
    assert copied_by_docker() == copied_by_apptainer()
    assert all((REPOSITORY / name).exists() for name in copied_by_docker())


def test_everything_that_the_set_up_reads_is_copied():
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    packages = re.search(r"include = \[(.+)\]", project)
    modules = re.search(r"py-modules = \[(.+)\]", project)
    readme = re.search(r'^readme = "(.+)"', project, re.MULTILINE)
    assert packages
    assert modules
    assert readme
    needed = {"Makefile", "pyproject.toml", "requirements.lock", "LICENSE", readme[1]}
    needed |= {re.sub(r'[ "*]', "", name) for name in packages[1].split(",")}
    needed |= {re.sub(r'[ "]', "", name) + ".py" for name in modules[1].split(",")}
    assert needed <= copied_by_docker()


def test_both_recipes_run_the_same_set_up():
    assert 'make setup TORCH="$TORCH"' in DOCKERFILE
    assert 'make setup TORCH="{{ TORCH }}"' in DEFINITION
