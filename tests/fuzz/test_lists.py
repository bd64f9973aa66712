"""Mutated lists and settings: one line each, and whatever is kept holds what the lists said."""

import random

import pytest

from pipeline.config.corpus import Corpus, load_corpus
from pipeline.config.experiment import load_experiment
from pipeline.config.sweep import load_sweep
from pipeline.corpus.audio import decode
from pipeline.corpus.manifest import ManifestFile, write_manifest
from pipeline.corpus.readers import build_manifest
from tests.conftest import REPOSITORY
from tests.corpus.layouts.conftest import write_lines, write_noise
from tests.fuzz.mutations import TIMES, mutate, one_line_or_fine
from tests.jobs.commands.corpora.test_corpus_commands import LAYOUTS

LISTS = dict(LAYOUTS)
LISTS["csv"] = (
    {"a.csv": ["audio,text,start,duration,split,speaker", '0.wav,"yes, so",0.1,0.2,train,ann']},
    ["0.wav"],
)
LISTS["kaldi"] = (
    {
        "wav.scp": ["r wav/0.wav"],
        "text": ["u YES"],
        "segments": ["u r 0.1 0.4"],
        "utt2spk": ["u ann"],
    },
    ["wav/0.wav"],
)
LISTS["common-voice"] = (
    {"train.tsv": ["client_id\tpath\tsentence", "s\t0.wav\tyes", "t\t1.wav\tno"]},
    ["clips/0.wav", "clips/1.wav"],
)
LISTS["nemo"] = (
    {"a.json": ['{"audio_filepath": "0.wav", "text": "yes", "offset": 0.1, "duration": 0.2}']},
    ["0.wav"],
)
NUMBER = 600 * TIMES  # mutations of each layout: 8,400 in all


@pytest.mark.parametrize("reader", sorted(LISTS))
def test_mutated_lists_give_one_line_each(tmp_path, reader, capfd):
    lists, audio = LISTS[reader]
    root = tmp_path / "root"
    for name in audio:
        write_noise(root / name, 0.5)
    contents = {}
    for name, lines in lists.items():
        contents[root / name] = write_lines(root / name, *lines, *lines[1:]).read_bytes()
    corpus_root = root / "cv" if reader == "never" else root
    corpus = Corpus(name="tiny", reader=reader, root=str(corpus_root), unlisted="refuse")
    rng = random.Random(reader)
    for number in range(NUMBER):
        path = rng.choice(list(contents))
        changed = mutate(contents[path], rng)
        path.write_bytes(changed)
        with one_line_or_fine((path.name, changed)):
            manifest = build_manifest(corpus, tmp_path / "work")
            for each in manifest.refusals:
                assert (each.utterance + each.reason).replace("\xa0", " ").isprintable()
            if number % 10 == 0:
                written = tmp_path / "manifest.jsonl"
                write_manifest(manifest, written)
                assert ManifestFile.open(written).utterance_count == len(manifest.utterances)
            for each in manifest.utterances:
                header, _ = decode.read_header(str(root / each.audio))
                assert 0 <= each.start < each.start + each.samples <= header.samples
                assert each.rate == header.rate
        path.write_bytes(contents[path])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["corpora", "experiments", "sweeps"])
def test_mutated_settings_give_one_line_each(tmp_path, kind, monkeypatch):
    for name in ("AN4", "LIBRISPEECH", "COMMON_VOICE", "LJSPEECH", "MY_SPEECH"):
        monkeypatch.setenv(name, str(tmp_path))
    load = {"corpora": load_corpus, "experiments": load_experiment, "sweeps": load_sweep}[kind]
    folder = tmp_path / "configs" / kind
    for room in ("corpora", "experiments", "sweeps"):
        (tmp_path / "configs" / room).mkdir(parents=True)
        for path in (REPOSITORY / "configs" / room).glob("*.yaml"):
            (tmp_path / "configs" / room / path.name).write_bytes(path.read_bytes())
    files = sorted(folder.glob("*.yaml"))
    rng = random.Random(kind)
    for _ in range(1150 * TIMES):
        content = rng.choice(files).read_bytes()
        settings = b"\n".join(line for line in content.splitlines() if not line.startswith(b"#"))
        changed = mutate(settings, rng)
        (folder / "mutated.yaml").write_bytes(changed)
        with one_line_or_fine(changed):
            load(folder / "mutated.yaml")
