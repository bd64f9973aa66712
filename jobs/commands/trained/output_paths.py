"""Output paths: what OUT=… may name, checked before the work whose results go there.

In:   a path, or None.   Out: InputError where it cannot be used.
Not here: writing (pipeline/files.py).
"""

from pathlib import Path

from pipeline.files import InputError

RESULT_ENDINGS = (".txt", ".json", ".ctm", ".csv", ".srt", ".vtt", ".textgrid")


def require_folder(path: Path | None) -> None:
    """Raise InputError where OUT=… is a file, or has the name of one, and a folder is needed."""
    if path is None or path.is_dir():
        return
    if path.exists() or path.suffix.lower() in RESULT_ENDINGS:
        raise InputError(f"OUT={path}: must be a folder: the results are files in it")


def require_file(path: Path | None) -> None:
    """Raise InputError where OUT=… is a folder and a file is needed."""
    if path is not None and path.is_dir():
        raise InputError(f"OUT={path}: is a folder; name a file, which may be in it")
