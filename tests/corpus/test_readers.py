"""AN4 in both layouts and its splits; unusable utterances are refused and the rest is kept."""

import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.corpus import Corpus
from pipeline.corpus.manifest import Manifest
from pipeline.corpus.readers import build_manifest
from pipeline.files import InputError

TRAIN = {
    "an4_clstk/fash/an251-fash-b": "<s> YES </s>",
    "an4_clstk/fash/cen1-fash-b": "<s> B A O Z </s>",
    "an4_clstk/mblb/an9-mblb-b": "<s> GO </s>",
    "an4_clstk/mblb/cen2-mblb-b": "<s> rubout  seven </s>",
}
TEST = {"an4test_clstk/fcaw/an406-fcaw-b": "RUBOUT G M E F THREE NINE"}


def corpus(root: Path, **changes) -> Corpus:
    return Corpus(name="an4", reader="an4", root=str(root), **{"split": "given", **changes})


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def write_an4(write_wav, write_sphere):
    def write(root: Path, ending: str = ".wav") -> Path:
        (root / "etc").mkdir(parents=True)
        for part, transcripts in (("train", TRAIN), ("test", TEST)):
            lines = (f"{words} ({name.rsplit('/')[-1]})" for name, words in transcripts.items())
            (root / "etc" / f"an4_{part}.fileids").write_text("\n".join(transcripts) + "\n")
            (root / "etc" / f"an4_{part}.transcription").write_text("\n".join(lines) + "\n")
            for name in transcripts:
                (write_wav if ending == ".wav" else write_sphere)(root / "wav" / (name + ending))
        return root

    return write


@pytest.fixture
def root(write_an4, tmp_path) -> Path:
    return write_an4(tmp_path / "an4")


def read(root: Path, **changes) -> Manifest:
    return build_manifest(corpus(root, **changes), root / "work")


def ids(manifest: Manifest) -> list[str]:
    return [utterance.id for utterance in manifest.utterances]


def test_an4_is_read_with_ids_that_sort_by_speaker(root):
    manifest = read(root)
    assert ids(manifest) == [
        "fash-an251-b",
        "fash-cen1-b",
        "mblb-an9-b",
        "mblb-cen2-b",
        "fcaw-an406-b",
    ]
    second, last = manifest.utterances[1], manifest.utterances[-1]
    assert (second.transcript, second.speaker, second.split) == ("B A O Z", "fash", "train")
    assert (second.samples, second.rate) == (8000, 16000)
    assert second.audio == "wav/an4_clstk/fash/cen1-fash-b.wav"
    assert (last.transcript, last.split) == ("RUBOUT G M E F THREE NINE", "test")
    assert manifest.refusals == ()


def test_transcripts_are_normalised(root):
    assert read(root).utterances[3].transcript == "RUBOUT SEVEN"


def test_the_sphere_archive_gives_the_same_utterances(write_an4, root, tmp_path):
    """In the archive everything is in a folder an4/."""
    write_an4(tmp_path / "sphere" / "an4", ".sph")
    sphere, wav = read(tmp_path / "sphere"), read(root)
    assert sphere.root == (tmp_path / "sphere" / "an4").resolve()
    assert [u.audio for u in sphere.utterances] == [
        u.audio.replace(".wav", ".sph") for u in wav.utterances
    ]
    assert [(u.id, u.samples, u.transcript, u.split) for u in sphere.utterances] == [
        (u.id, u.samples, u.transcript, u.split) for u in wav.utterances
    ]


def test_the_root_may_be_the_folder_above(root):
    assert read(root.parent) == read(root)


def test_a_moved_corpus_is_the_same_manifest(root, tmp_path):
    before = read(root).digest
    root.rename(tmp_path / "moved")
    assert read(tmp_path / "moved").digest == before


def refused(manifest: Manifest) -> tuple[str, str]:
    """Return the one refused utterance and the reason; all others are kept."""
    assert len(manifest.utterances) == len(TRAIN) + len(TEST) - 1
    (refusal,) = manifest.refusals
    assert "\n" not in refusal.reason
    assert "exclude: in the corpus file" in refusal.reason
    return refusal.utterance, refusal.reason


def test_a_wav_cut_short_is_refused_and_the_rest_kept(root):
    path = root / "wav/an4_clstk/fash/an251-fash-b.wav"
    path.write_bytes(path.read_bytes()[:1000])
    utterance, reason = refused(read(root))
    assert utterance == "fash-an251-b"
    assert reason.startswith(
        f"{path}: is cut short: its header declares 16000 bytes of audio, it has 956; "
    )


def test_a_missing_wav_is_refused_and_the_rest_kept(root):
    (root / "wav/an4_clstk/mblb/an9-mblb-b.wav").unlink()
    utterance, reason = refused(read(root))
    assert utterance == "mblb-an9-b"
    assert "an9-mblb-b.wav: no such file; add the file, or list the utterance under" in reason


def test_a_wav_too_short_for_any_frame_is_refused_and_the_rest_kept(root, write_wav):
    """Resampled to 16 kHz, its one sample disappears."""
    write_wav(root / "wav/an4_clstk/mblb/an9-mblb-b.wav", np.zeros(1, np.int16), 48_000)
    utterance, reason = refused(read(root))
    assert utterance == "mblb-an9-b"
    assert "an9-mblb-b.wav: the utterance lasts 21 µs, which is too short; " in reason


def test_an_empty_transcript_is_refused_and_the_rest_kept(root):
    rewrite(root / "etc/an4_train.transcription", "<s> GO </s>", "<s> </s>")
    utterance, reason = refused(read(root))
    assert utterance == "mblb-an9-b"
    assert re.search(r"an9-mblb-b\.wav: its transcript is empty; write the transcript, or", reason)


def test_an_utterance_without_a_transcript_is_refused_and_the_rest_kept(root):
    rewrite(root / "etc/an4_train.transcription", "<s> GO </s> (an9-mblb-b)\n", "")
    assert refused(read(root))[0] == "mblb-an9-b"


def test_an_excluded_utterance_is_neither_kept_nor_refused(root):
    (root / "wav/an4_clstk/mblb/an9-mblb-b.wav").unlink()
    manifest = read(root, exclude=("mblb-an9-b",))
    assert manifest.refusals == ()
    assert "mblb-an9-b" not in ids(manifest)


def test_a_misspelt_exclusion_is_refused_with_a_suggestion(root):
    with pytest.raises(InputError, match="no utterance 'mblb-an9'; did you mean 'mblb-an9-b'"):
        read(root, exclude=("mblb-an9",))


def test_a_missing_corpus_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no corpus an4 is here .*; set AN4 to the"):
        read(tmp_path / "nowhere")


def test_a_file_is_no_corpus(tmp_path):
    (tmp_path / "README.md").touch()
    with pytest.raises(InputError, match=r"README.md: .* is here \(this is a file\); set"):
        read(tmp_path / "README.md")


def test_a_corpus_without_usable_utterances_is_refused_with_the_first_reason(root):
    for path in root.rglob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"no utterance of an4 can be used; .*: is empty"):
        read(root)


@pytest.mark.parametrize("excluded", [False, True])
def test_a_corpus_with_empty_lists_or_all_excluded_is_refused(root, excluded):
    names = [] if excluded else ["fileids", "transcription"]
    every = [u.id for u in read(root).utterances] if excluded else []
    for path in (path for name in names for path in root.glob(f"etc/*.{name}")):
        path.write_text("")
    problem = "no utterance of an4 can be used; all are under exclude:"
    problem = problem if excluded else "the lists of an4 name no utterance; check root:"
    with pytest.raises(InputError, match=problem):
        read(root, exclude=every)


def test_a_strict_corpus_reports_the_number_of_refusals(root):
    for path in list(root.rglob("*.wav"))[:2]:
        path.unlink()
    found = r"an4 is strict, and 2 of its .*; the first: .*\.wav: no such file; .*; remove strict"
    with pytest.raises(InputError, match=f"{found}: true to see all of them"):
        read(root, strict=True)


def test_the_second_audio_file_of_an_id_is_refused(root):
    path = root / "etc/an4_train.fileids"
    path.write_text(path.read_text() + "another/fash/an251-fash-b\n")
    manifest = read(root)
    assert [refusal.utterance for refusal in manifest.refusals] == ["fash-an251-b"]
    assert manifest.refusals[0].reason == (
        f"{path}:5: duplicate id 'fash-an251-b': audio 'wav/another/fash/an251-fash-b.wav' here, "
        f"'wav/an4_clstk/fash/an251-fash-b.wav' in {path}:1 (kept); remove one of the two lines"
    )
    assert manifest.utterances == without_refusals(root, path).utterances


def without_refusals(root: Path, path: Path) -> Manifest:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    manifest = read(root)
    assert manifest.refusals == ()
    return manifest


def test_the_second_transcript_of_an_id_is_refused(root):
    path = root / "etc/an4_train.transcription"
    path.write_text(path.read_text() + "<s> STOP </s> (an9-mblb-b)\n<s> X </s> (an1-elsewhere-b)\n")
    path.write_text(path.read_text() + "<s> Y </s> (an1-elsewhere-b)\n")  # of an unused audio file
    manifest = read(root)
    assert [u.transcript for u in manifest.utterances if u.id == "mblb-an9-b"] == ["GO"]
    found = {refusal.utterance: refusal.reason for refusal in manifest.refusals}
    assert (
        f"{path}:5: duplicate id 'an9-mblb-b': 'STOP' here, 'GO' in {path}:3"
        in (found["mblb-an9-b"])
    )
    assert found["an1-elsewhere-b"].endswith(
        "'an1-elsewhere-b' is not in an4_train.fileids; add it there, or remove its line"
    )


def test_identical_duplicates_are_skipped(root):
    before = read(root)
    for name in ("fileids", "transcription"):
        path = root / f"etc/an4_train.{name}"
        path.write_text(2 * path.read_text())
    assert read(root) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("an4_train.transcription", " (an9-mblb-b)", ""),
        ("an4_train.fileids", "an4_clstk/mblb/an9-mblb-b", "an9"),
    ],
)
def test_a_line_of_another_form_is_refused_with_its_number(root, name, old, new):
    rewrite(root / "etc" / name, old, new)
    manifest = read(root)
    assert len(manifest.utterances) == 4
    reasons = [r.reason for r in manifest.refusals if r.utterance == f"{name}:3"]
    assert re.search(rf"{re.escape(name)}:3: .* is not of the form", reasons[0])
    with pytest.raises(InputError, match="an4 is strict, and "):
        read(root, strict=True)


def test_a_missing_list_is_refused(root):
    (root / "etc/an4_test.transcription").unlink()
    with pytest.raises(InputError, match=r"an4_test\.transcription: cannot be read"):
        read(root)


def test_a_list_that_is_not_text_costs_its_own_lines(root):
    (root / "etc/an4_test.fileids").write_bytes(b"\xff\xfe\x00")
    manifest = read(root)
    assert {u.split for u in manifest.utterances} == {"train"}
    assert any("an4_test.fileids:1: is not UTF-8" in r.reason for r in manifest.refusals)


def test_the_demo_corpus_is_synthesised_into_the_work_folder(tmp_path):
    spoken = Corpus(name="tiny", reader="demo", minutes=0.2, voices=3)
    manifest = build_manifest(spoken, tmp_path)
    assert manifest.root == (tmp_path / "corpora" / "tiny").resolve()
    assert {utterance.split for utterance in manifest.utterances} == {"train", "dev", "test"}
    assert manifest.seconds >= 12
    assert build_manifest(spoken, tmp_path) == manifest


@pytest.fixture(scope="module")
def espnet(an4) -> Manifest:
    return read(an4, split="espnet")


@pytest.fixture(scope="module")
def balanced(an4) -> Manifest:
    return read(an4, split="balanced")


@pytest.mark.an4
def test_espnet_s_split_has_its_published_sizes(espnet):
    """The numbers of ESPnet's tables: utterances; words and characters of dev and test."""
    splits = Counter(utterance.split for utterance in espnet.utterances)
    assert splits == {"train": 848, "dev": 100, "test": 130}
    transcripts = {
        split: [u.transcript for u in espnet.utterances if u.split == split]
        for split in ("dev", "test")
    }
    assert sum(len(text.split()) for text in transcripts["dev"]) == 591
    assert sum(map(len, transcripts["dev"])) == 1915
    assert sum(len(text.split()) for text in transcripts["test"]) == 773
    assert sum(map(len, transcripts["test"])) == 2565
    assert espnet.refusals == ()


@pytest.mark.an4
def test_espnet_s_dev_speakers_are_the_first_eight(espnet):
    speakers = {u.speaker for u in espnet.utterances if u.split == "dev"}
    assert sorted(speakers) == ["fash", "fbbh", "fclc", "fejs", "ffmm", "fjam", "fjdn", "fjmd"]


@pytest.mark.an4
def test_espnet_s_split_is_by_sorted_id(espnet):
    others = [u for u in espnet.utterances if u.split != "test"]
    by_id = sorted(others, key=lambda u: u.id)
    assert [u.split for u in by_id] == ["dev"] * 100 + ["train"] * 848


@pytest.mark.an4
def test_balanced_dev_has_women_and_men_and_shares_no_speaker(balanced):
    speakers = defaultdict(set)
    for utterance in balanced.utterances:
        speakers[utterance.split].add(utterance.speaker)
    assert not speakers["dev"] & speakers["train"]
    assert not speakers["dev"] & speakers["test"]
    genders = Counter(speaker[0] for speaker in speakers["dev"])
    assert genders.keys() == {"f", "m"}
    dev = [u for u in balanced.utterances if u.split == "dev"]
    assert 90 <= len(dev) <= 115
    women = sum(u.speaker.startswith("f") for u in dev)
    assert 0.4 < women / len(dev) < 0.6


@pytest.mark.an4
def test_balanced_tests_on_the_standard_test_set(balanced, espnet):
    balanced_test, espnet_test = (
        [u.id for u in manifest.utterances if u.split == "test"] for manifest in (balanced, espnet)
    )
    assert balanced_test == espnet_test


@pytest.mark.an4
def test_another_seed_draws_another_dev_split_and_the_same_seed_the_same(an4, balanced):
    assert read(an4, split="balanced").digest == balanced.digest
    assert read(an4, split="balanced", seed=1).digest != balanced.digest


def test_a_missing_root_is_refused_with_its_key(tmp_path):
    corpus = Corpus(name="wrong", reader="csv", root=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere: no such folder; set root: .* of wrong"):
        build_manifest(corpus, tmp_path)
