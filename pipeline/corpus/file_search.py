"""The files of a corpus on disk: found through links, under another spelling, named by no list.

In:   folders.   Out: paths; refusals of links that form a loop and of audio that no list names.
Not here: what a file holds (audio/), which lists name which files (layouts/).
"""

import os
import unicodedata
from collections.abc import Collection, Iterator
from posixpath import splitext

from pipeline.corpus.manifest import Refusal
from pipeline.files import error_reason

# Endings of audio files that are read, and of those that a message says how to convert.
# fmt: off
AUDIO_SUFFIXES = frozenset((
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".sph", ".nist", ".aiff", ".aif",
    ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".voc", ".sf", ".paf", ".svx", ".avr",
))
CONVERTIBLE_SUFFIXES = frozenset((
    ".m4a", ".m4b", ".mp4", ".aac", ".webm", ".weba", ".mka", ".mkv", ".wma", ".asf", ".amr",
    ".3gp", ".mov", ".ape", ".wv", ".tta", ".ra", ".spx", ".ac3", ".mp2", ".shn",
))
# fmt: on
SpelledNames = tuple[dict[str, str], dict[str, str]]  # normal form -> name, plain form -> name

UNLISTED_HINT = "add it with its transcript, or set unlisted: ignore in the corpus file"


def walk_files(folder: str, refusals: list[Refusal]) -> Iterator[str]:
    """Yield the paths of all regular files below `folder`, sorted; links to folders are followed.

    A link to a folder above it is refused, because it would never end. Files such as ._x.wav, which
    macOS writes beside x.wav on other disks, are left out.
    """
    yield from _walk(folder, len(folder), frozenset(), refusals)


def _walk(
    folder: str, prefix: int, above: frozenset[tuple[int, int]], refusals: list[Refusal]
) -> Iterator[str]:
    name = folder[prefix:].replace(os.sep, "/").strip("/") or "."
    try:
        status = os.stat(folder)  # noqa: PTH116 (a Path takes ten times as long)
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        problem = f"cannot be read ({error_reason(error)}); allow it, or remove the folder"
        refusals.append(Refusal(name, f"{folder}: {problem}"))
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above and status.st_ino:
        problem = "is a link to a folder above it, and was not followed; remove the link"
        refusals.append(Refusal(name, f"{folder}: {problem}"))
        return
    for entry in entries:
        try:
            is_file, is_folder = entry.is_file(), entry.is_dir()
        except OSError:  # a link to itself
            continue
        if is_file and not entry.name.startswith("._"):
            yield entry.path
        elif is_folder:
            yield from _walk(entry.path, prefix, above | {identity}, refusals)


def find_unlisted_audio(
    root: str, listed: Collection[str], known: Collection[str], refusals: list[Refusal]
) -> None:
    """Refuse the audio files that no list names, in the folders of those that lists name.

    `listed`: paths below `root` (absolute ones are ignored). `known`: paths without suffix that
    are named elsewhere. Searched are the folders directly below `root` with a listed file, at any
    depth, and the files of `root` itself if one of them is listed. A file that differs from a
    listed one only in its suffix is a copy of it.
    """
    stems = {_plain_form(splitext(name.replace("\\", "/").strip())[0]) for name in listed}
    tops = {name.split("/", 1)[0] if "/" in name else "" for name in listed if _is_below(name)}
    for top in sorted(tops):
        folder = f"{root}{os.sep}{top}"
        if top and not os.path.isdir(folder):  # noqa: PTH112
            continue  # its files are refused one by one
        for path in walk_files(folder, refusals) if top else _files_in(root):
            stem, suffix = splitext(path[len(root) + 1 :].replace(os.sep, "/"))
            if (
                suffix.lower() in AUDIO_SUFFIXES
                and _plain_form(stem) not in stems
                and stem not in known
            ):
                refusals.append(Refusal(stem, f"{path}: no list names it; {UNLISTED_HINT}"))


def _plain_form(name: str) -> str:
    """Return what spellings of the same name have in common."""
    return (name if name.isascii() else unicodedata.normalize("NFC", name)).casefold()


def _is_below(name: str) -> bool:
    return not (name.startswith(("/", "..")) or name[1:2] == ":")


def _files_in(folder: str) -> list[str]:
    with os.scandir(folder) as found:
        names = [entry.name for entry in found if entry.is_file()]
    return sorted(os.path.join(folder, name) for name in names if not name.startswith("._"))  # noqa: PTH118


def find_other_spelling(root: str, name: str, folders: dict[str, SpelledNames]) -> str | None:
    """Return the path below `root` of the file that a list spells otherwise, if there is one.

    `name` is a path below `root`, or absolute; `folders` keeps the names of folders between calls.
    Lists often have ö as one character where the disk has two (macOS), or the other way round; from
    Windows they have backslashes, and small letters for large ones. Spaces around `name` are none
    of the file.
    """
    drive, rest = os.path.splitdrive(name.replace("\\", "/").strip())
    is_absolute = rest.startswith("/")
    folder, found = (drive if is_absolute else root), [drive] if is_absolute else []
    for part in rest.strip("/").split("/"):
        if folder not in folders:
            folders[folder] = _names_by_spelling(folder + os.sep)
        exact, plain = folders[folder]
        part = (  # noqa: PLW2901
            exact.get(unicodedata.normalize("NFC", part)) or plain.get(_plain_form(part)) or part
        )
        found.append(part)
        folder = f"{folder}{os.sep}{part}"
    other = "/".join(found)
    return other if other != name and os.path.isfile(folder) else None  # noqa: PTH113


def _names_by_spelling(folder: str) -> SpelledNames:
    """Return the names in a folder by their normal form, and by their plain form.

    "" stands for a plain form that several names have.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except (OSError, ValueError):
        return {}, {}
    plain: dict[str, str] = {}
    for name in names:
        form = _plain_form(name)
        plain[form] = "" if form in plain else name
    return {unicodedata.normalize("NFC", name): name for name in names}, plain
