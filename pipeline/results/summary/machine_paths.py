"""Machine paths: absolute paths in messages, which a report that others read must not name.

In:   a message of a run, the reason of a refusal.   Out: the text with the names of files only.
Not here: commands (jobs/work_folder.py), logs, which keep whole paths.
"""

import os
import re
from pathlib import Path

_PART = r"[^\s/\\:;,'\"<>]+"
ABSOLUTE_FOLDER = re.compile(rf"(?<![\w.:/\\])(?:/(?:{_PART}/)+|[A-Za-z]:\\(?:{_PART}\\)+)(?=\S)")


def hide_folders(text: str) -> str:
    """Return the text with `…/name` for each absolute path.

    The home folder is known, so its name, which is that of a person, may hold spaces. A home folder
    of `/`, as in some containers, names nobody.
    """
    home = f"{Path.home()}{os.sep}"
    return ABSOLUTE_FOLDER.sub("…/", text.replace(home, "/~/") if len(home) > 2 else text)
