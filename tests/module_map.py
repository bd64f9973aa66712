"""Write the map of the rooms into CONTRIBUTING.md, from the docstrings of rooms and modules.

python -m tests.module_map      # what `make format` does
"""

import ast
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "CONTRIBUTING.md"
BEGIN, END = "<!-- map: begin (make format writes it) -->", "<!-- map: end -->"
PACKAGES = ("pipeline", "jobs")


def summary(file: Path) -> str:
    """The first sentence of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def lines(folder: Path) -> list[str]:
    """A heading for the room, then its modules, then the rooms in it."""
    name = folder.relative_to(REPOSITORY).as_posix()
    found = ["", f"### {name}/", "", summary(folder / "__init__.py"), ""]
    modules = sorted(file for file in folder.glob("*.py") if not file.name.startswith("__"))
    found += [f"- `{file.name}`: {_short(summary(file))}" for file in modules]
    rooms = sorted(file.parent for file in folder.glob("*/__init__.py"))
    return [*found, *(line for room in rooms for line in lines(room))]


def page(text: str) -> str:
    """The page with its map written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    written = [line for package in PACKAGES for line in lines(REPOSITORY / package)]
    return f"{before}{BEGIN}\n{chr(10).join(written).lstrip()}\n\n{END}{after}"


def _short(text: str) -> str:
    """Without the name that docstrings open with: `Batches: shards -> …` -> `shards -> …`."""
    name, colon, rest = text.partition(": ")
    return rest if colon and len(name.split()) <= 4 else text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
