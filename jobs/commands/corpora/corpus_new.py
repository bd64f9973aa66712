"""The verb corpus-new: write a corpus file for a folder, by looking at it.

In:   typed options.   Out: a file in configs/corpora/; lines; an exit code.
Not here: how a layout is recognised (pipeline/corpus/recognition.py).
"""

import argparse
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import Any

from jobs.display.corpora import print_refusals
from jobs.messages import count_text, duration_text, print_line
from jobs.work_folder import load_profile_and_workdir, make_command
from pipeline.config.corpus import Corpus, load_corpus, name_from_stem
from pipeline.config.loader import dump_mapping, validate_settings
from pipeline.corpus.manifest import Manifest
from pipeline.corpus.readers import build_manifest
from pipeline.corpus.recognition import guess_language, recognise
from pipeline.files import InputError, write_text

CORPORA = Path("configs/corpora")
BASELINE = "configs/experiments/baseline.yaml"


def corpus_new(options: argparse.Namespace) -> int:
    """Recognise the layout, write the file, read the corpus once; print what to type next."""
    profile, work = load_profile_and_workdir(options)
    folder = options.folder.resolve()
    settings = {"root": folder, **recognise(folder)}
    settings = {"reader": settings.pop("reader"), **settings, "root": str(settings["root"])}
    path = CORPORA / f"{name_from_stem(folder.name)}.yaml"
    if path.exists():
        raise InputError(
            f"{path}: is there already; use it if its root: is {folder}, else rename the folder"
        )
    as_written = {"name": path.stem, "language": "und", **settings}  # nothing merges
    manifest = build_manifest(validate_settings(Corpus, as_written, path), work)
    if "language" not in settings and (language := guess_language(manifest.utterances)):
        settings["language"] = language
    write_text(path, _file_text(folder, settings, manifest))
    language = load_corpus(path).language
    print_line(f"{folder}: layout {settings['reader']}, {_size_text(manifest)}")
    code = print_refusals(manifest.refusals, "in what make features writes")
    print_line(f"written: {path}; its language is {language}: correct it there if that is wrong")
    if "# speakers:" in path.read_text(encoding="utf-8"):
        print_line("if each folder holds one speaker, remove the # before speakers: in that file")
    print_line("next:")
    for command in (
        f"make corpus-check CORPUS={quote(str(path))}",
        f"make train EXPERIMENT={BASELINE} SET=corpus=../corpora/{path.name}",
    ):
        print_line(f"  {make_command(command, profile, work)}")
    return code


def _size_text(manifest: Manifest) -> str:
    size = f"{count_text(len(manifest.utterances), 'utterance')}, {duration_text(manifest.seconds)}"
    return f"{size}; {manifest.split_note}" if manifest.split_note else size


def _file_text(folder: Path, settings: Mapping[str, Any], manifest: Manifest) -> str:
    """Return the corpus file with comments for its owner to complete."""
    language = (
        "" if "language" in settings else "# language: en   # of the transcripts: tr, de, …\n"
    )
    folders = {str(PurePosixPath(each.id).parent) for each in manifest.utterances}
    speakers = (
        "# speakers: folder   # if each folder holds one speaker; reports need speakers\n"
        if settings["reader"] == "pairs" and len(folders) > 1
        else ""
    )
    return (
        f"# {folder.name}: the layout {settings['reader']}, as make corpus-new recognised it.\n"
        "# Licence: write it here.   Get it: write here where it comes from.\n"
        f"# Size: {_size_text(manifest)}.\n"
        f"{dump_mapping(settings)}{language}{speakers}"
    )
