"""Machine paths: absolute paths in messages, which a report that others read must not name.

In:   a message of a run, the reason of a refusal.   Out: the text with the names of files only.
Not here: commands (jobs/work_folder.py), logs, which keep whole paths.
"""

import re

_PART = r"[^\s/\\:;,'\"<>]+"
ABSOLUTE_FOLDER = re.compile(rf"(?<![\w.:/\\])(?:/(?:{_PART}/)+|[A-Za-z]:\\(?:{_PART}\\)+)(?=\S)")


def hide_folders(text: str) -> str:
    """Return the text with `…/name` for each absolute path."""
    return ABSOLUTE_FOLDER.sub("…/", text)
