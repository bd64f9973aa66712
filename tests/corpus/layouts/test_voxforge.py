"""VoxForge: a folder for each session, with its prompts and recordings."""

import pytest

from pipeline.files import InputError
from tests.corpus.layouts.conftest import manifest_rows, refusal_reasons, write_lines, write_noise


def test_sessions_have_prompts_and_recordings_of_their_own(tmp_path, read_corpus):
    """The two lists, and the names of sessions, are as in the archives."""
    ann = tmp_path / "ann-20080318-kdl"
    write_lines(ann / "etc" / "prompts-original", "a0001 Author of the danger trail, etc.")
    write_lines(ann / "etc" / "PROMPTS", "ann-20080318-kdl/mfc/a0001 AUTHOR")
    write_lines(ann / "etc" / "README", "User Name:ann")
    write_noise(ann / "wav" / "a0001.wav")
    write_noise(ann / "flac" / "a0001.flac")
    ben = tmp_path / "more" / "Ben-ger-20090101-x1"
    write_lines(ben / "etc" / "PROMPTS", "*/Ben-20090101-x1/mfc/de5-001 ES WAR EINMAL")
    write_noise(ben / "flac" / "de5-001.flac")
    for letters in ("aaa", "bbb"):
        session = tmp_path / f"anonymous-20100101-{letters}"
        write_lines(session / "etc" / "PROMPTS", f"anonymous-20100101-{letters}/mfc/1 YES")
        write_noise(session / "wav" / "1.wav")
    manifest = read_corpus("voxforge", punctuation="drop")
    assert manifest.refusals == ()
    speakers = {u.audio: (u.speaker, u.transcript) for u in manifest.utterances}
    assert speakers == {
        "ann-20080318-kdl/wav/a0001.wav": ("ann", "AUTHOR OF THE DANGER TRAIL ETC"),
        "anonymous-20100101-aaa/wav/1.wav": ("anonymous-20100101-aaa", "YES"),
        "anonymous-20100101-bbb/wav/1.wav": ("anonymous-20100101-bbb", "YES"),
        "more/Ben-ger-20090101-x1/flac/de5-001.flac": ("Ben-ger", "ES WAR EINMAL"),
    }


def test_one_session_may_be_the_corpus(tmp_path, read_corpus):
    root = tmp_path / "ann-20080318-kdl"
    write_lines(root / "etc" / "PROMPTS", "x/mfc/a1 YES", "x/mfc/a2 NO")
    for name in ("a1", "a2", "a3"):
        write_noise(root / "wav" / f"{name}.wav")
    manifest = read_corpus("voxforge", root)
    assert [(each[0], each[2]) for each in manifest_rows(manifest)] == [
        ("a1", "ann"),
        ("a2", "ann"),
    ]
    assert refusal_reasons(manifest).keys() == {"a3"}


def test_sound_and_text_without_the_other_are_refused_and_the_rest_kept(tmp_path, read_corpus):
    session = tmp_path / "ann-20080318-kdl"
    path = session / "etc" / "prompts-original"
    write_lines(path, "a1 yes", "a2 no", "a3")
    path.write_bytes(path.read_bytes() + b"a4 na\xefve\n")
    for name in ("a1", "a3", "a5"):
        write_noise(session / "wav" / f"{name}.wav")
    lost = tmp_path / "ben-20080318-kdl"
    write_noise(lost / "wav" / "b1.wav")
    manifest = read_corpus("voxforge")
    assert [u.transcript for u in manifest.utterances] == ["YES"]
    name = session.name
    reasons = refusal_reasons(manifest)
    assert reasons.keys() == {
        f"{name}/a2", f"{name}/a3", "prompts-original:4", f"{name}/a5", f"{lost.name}/b1",
    }  # fmt: skip
    assert reasons[f"{name}/a2"].startswith(f"{path}:2: 'a2' has no recording in wav/ or flac/")
    assert "its transcript is empty" in reasons[f"{name}/a3"]
    assert "no line of etc/prompts-original or etc/PROMPTS names it" in reasons[f"{name}/a5"]
    ignoring = read_corpus("voxforge", unlisted="ignore")
    assert f"{name}/a5" not in refusal_reasons(ignoring)


def test_a_folder_without_sessions_is_refused(tmp_path, read_corpus):
    with pytest.raises(
        InputError, match="a folder with etc/prompts-original or etc/PROMPTS is mis"
    ):
        read_corpus("voxforge")
