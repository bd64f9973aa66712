"""The verb doctor computes missing features, prints each check, and counts what is wrong."""

import pytest

from jobs.commands.parser import main
from pipeline.training.diagnosis import preflight


def test_what_is_wrong_is_printed_with_the_way_out(
    make_project, capfd, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(preflight, "OVERFIT_MAX_UPDATES", 10)
    bench = make_project()
    experiment = bench.configs / "experiments" / "tiny.yaml"
    assert main(["doctor", str(experiment), "--work", str(bench.work)]) == 1
    printed = capfd.readouterr().out
    assert "features: 1 set of" in printed
    assert "ok      alphabet: english-38: " in printed
    assert "WRONG   updates: 2 epochs of" in printed
    assert "remedy: raise train.epochs" in printed
    assert "2 things are wrong" in printed


def test_what_cannot_be_checked_is_wrong_too(make_project, capfd):
    bench = make_project("an4")
    experiment = bench.configs / "experiments" / "tiny.yaml"
    assert main(["doctor", str(experiment), "--work", str(bench.work)]) == 1
    assert "WRONG   the corpus has no dev utterances; choose" in capfd.readouterr().out


def test_a_refused_utterance_is_wrong_and_the_rest_is_checked(
    make_project, capfd, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(preflight, "OVERFIT_MAX_UPDATES", 10)
    bench = make_project("csv", epochs=200)
    experiment = bench.configs / "experiments" / "tiny.yaml"
    for _ in range(2):  # the second time its features are there already
        assert main(["doctor", str(experiment), "--work", str(bench.work)]) == 1
        printed = capfd.readouterr().out
        assert "refused: broken" in printed
        assert "nothing to do" not in printed
        assert "WRONG   corpus: the checks below leave out the utterances refused" in printed
        assert "ok      feasibility: all " in printed
        assert "WRONG   one batch: " in printed
        assert printed.endswith("\n2 things are wrong\n")


def test_a_corpus_whose_error_rate_means_nothing_is_wrong_and_its_note_says_why(
    make_project, capfd, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(preflight, "run_preflight", lambda *arguments: ())
    bench = make_project("csv")
    (bench.corpus / "broken.wav").unlink()
    table = bench.corpus / "list.csv"
    header, _, *lines = table.read_text("utf-8").splitlines()
    same = [",YES,".join(line.split(",")[::2]) for line in lines]
    table.write_text("\n".join([header, *same]), "utf-8")
    experiment = bench.configs / "experiments" / "tiny.yaml"
    assert main(["doctor", str(experiment), "--work", str(bench.work)]) == 1
    *_, wrong, remedy, _, last = (printed := capfd.readouterr().out.splitlines())
    assert "tiny: all training transcripts are the same text, 'YES': nothing" in "\n".join(printed)
    assert wrong.startswith("WRONG   corpus: an error rate may mean nothing; see the lines")
    assert (remedy[:15], last) == ("        remedy:", "1 thing is wrong")
