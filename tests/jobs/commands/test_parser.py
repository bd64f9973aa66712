"""The program: help for each verb, bad input in one line, few imports on a login node."""

import io
import itertools
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jobs.commands import parser
from jobs.exit_codes import BAD_INPUT

REPOSITORY = Path(__file__).resolve().parents[3]
HEAVY = (
    *("torch", "matplotlib", "pandas", "h5py", "submitit", "numpy", "rich", "jaxtyping"),
    *("regex", "num2words"),  # transcripts in ASCII need neither
)


def loaded(*programs: str) -> list[set[str]]:
    """Modules of HEAVY that a fresh interpreter has after each of these, one after the other."""
    found = f"print('loaded', *[name for name in {HEAVY!r} if name in sys.modules])"
    lines = [f"{line}\n{found}" for line in programs]
    script = "\n".join(["import sys, contextlib", *lines])
    answer = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    said = [line.split() for line in answer.stdout.splitlines()]
    return [{*names} for first, *names in filter(None, said) if first == "loaded"]


def test_a_login_node_loads_no_more_than_it_needs():
    """In this order: what one loads, those after it have."""
    features = {"numpy", "h5py"}
    light = (
        "sweep.plan",
        "profile",
        "sweep.record",
        "sweep.run_status",
        "commands.status",
        "display.live",
    )
    allowed = {
        **{name: set() for name in light},
        **dict.fromkeys(
            (
                "commands.sweep",
                "launch.submit",
                "launch.entrypoint",
                "commands.checking.doctor",
                "commands.inspect",
            ),
            features,
        ),
        "slurm.sbatch": features | {"submitit"},
    }
    help_alone = "with contextlib.suppress(SystemExit): cli.main(['--help'])"
    asked, *found = loaded(
        f"from jobs.commands import parser as cli\n{help_alone}",
        *(f"import jobs.{name}" for name in allowed),
    )
    assert asked == set()
    for (name, modules), heavy in zip(allowed.items(), found, strict=True):
        assert heavy <= modules, name


def test_the_guard_can_fail():
    loads = loaded("import h5py", "import submitit")
    assert loads == [{"numpy", "h5py"}, {"numpy", "h5py", "submitit"}]


@pytest.mark.parametrize("verb", sorted(parser.VERB_MODULES))
def test_each_verb_has_help_and_a_function(verb: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        parser.main([verb, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 3
    source = (
        (REPOSITORY / parser.VERB_MODULES[verb].replace(".", "/")).with_suffix(".py").read_text()
    )
    assert f"def {verb.replace('-', '_')}(options: argparse.Namespace) -> int:" in source


def test_without_a_verb_the_list_of_verbs_is_printed_by_purpose(capsys):
    assert parser.main([]) == 0
    printed = capsys.readouterr().out
    blocks = printed.split("\n\n")
    (running,) = (block for block in blocks if block.startswith("Run experiments:\n"))
    verbs = [line.split()[0] for line in running.splitlines()[1:]]
    assert verbs == ["features", "train", "sweep"]
    listed = [line.split()[0] for line in printed.splitlines() if line.startswith("  ")]
    assert set(parser.VERB_MODULES) - set(listed) == {"task"}
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("verb", sorted(set(parser.VERB_MODULES) - {"features"}))
def test_the_help_of_each_option_says_its_default(verb: str, capsys):
    with pytest.raises(SystemExit):
        parser.main([verb, "--help"])
    options = " ".join(capsys.readouterr().out.partition("options:")[2].split())
    for part in options.split(" --")[1:]:
        assert part.startswith("help ") or "(default: " in part


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """What a refused command printed: one line, and exit code 2."""
    assert parser.main([str(word) for word in words]) == BAD_INPUT
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith("blankslate: ")
    return printed


@pytest.mark.parametrize(
    ("word", "hint"),
    [("statsu", "did you mean 'status'?"), ("xyz", "the verbs are demo, corpus-new")],
)
def test_an_unknown_verb_is_refused_with_the_verbs_that_a_person_types(capsys, word, hint):
    with pytest.raises(SystemExit) as ended:
        parser.main([word, "x.yaml"])
    errors = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"unknown verb '{word}'; {hint}" in errors
    assert "task" not in errors


def test_a_missing_sweep_file_is_refused_with_a_similar_name(capsys, tmp_path):
    (tmp_path / "spectrum.yaml").write_text("base: x.yaml\n")
    line = refused(capsys, "sweep", tmp_path / "spectum.yaml", "--work", tmp_path)
    assert "spectum.yaml: no such file; did you mean" in line


def test_an_unknown_key_is_refused_with_the_likely_spelling(capsys, tmp_path):
    (tmp_path / "corpus.yaml").write_text("reader: an4\nrot: /data\n")
    (tmp_path / "e.yaml").write_text("corpus: corpus.yaml\n")
    line = refused(capsys, "train", tmp_path / "e.yaml", "--work", tmp_path)
    assert "corpus.yaml: rot: unknown key; did you mean 'root'?" in line


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("sweep spectrum", "configs/sweeps/spectrum.yaml"),
        ("features --sweep spectrum.yaml", "configs/sweeps/spectrum.yaml"),
        ("features --corpus demo", "configs/corpora/demo.yaml"),
        ("train baseline", "configs/experiments/baseline.yaml"),
        ("status spectrum --cluster slurm", "cluster/slurm.yaml"),
        ("cluster-check kuacc", "cluster/kuacc.yaml"),
    ],
)
def test_a_bare_name_is_refused_with_the_file_of_that_name(capsys, monkeypatch, words, meant):
    monkeypatch.chdir(REPOSITORY)
    assert f": no such file; did you mean {Path(meant)}?" in refused(capsys, *words.split())


def test_a_bare_name_of_a_sweep_is_enough_to_look_at_it(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(REPOSITORY)
    line = refused(capsys, "status", "spectrum", "--work", tmp_path)
    assert "spectrum: not in the work folder" in line


FILES = {
    "sweep": ("configs/sweeps/spectrum.yaml", "is a sweep", "make sweep SWEEP=…"),
    "train": ("configs/experiments/baseline.yaml", "is an experiment", "make train EXPERIMENT=…"),
    "features --corpus": ("configs/corpora/an4.yaml", "is a corpus", "make features CORPUS=…"),
    "cluster-check": ("cluster/slurm.yaml", "is a profile", "CLUSTER=… of any command"),
}


@pytest.mark.parametrize(("verb", "other"), list(itertools.permutations(FILES, 2)))
def test_a_file_of_another_kind_is_refused_with_the_command_that_takes_it(
    capsys, tmp_path, verb, other
):
    file, said, taker = FILES[other]
    line = refused(capsys, *verb.split(), REPOSITORY / file, "--work", tmp_path)
    own = FILES[verb][1].removeprefix("is ")
    assert line == f"blankslate: {REPOSITORY / file}: {said}, not {own}; use it with {taker}\n"


def test_a_word_of_set_without_an_equals_sign_is_refused(capsys, tmp_path):
    line = refused(capsys, "train", tmp_path / "e.yaml", "--set", "epochs", "--work", tmp_path)
    assert "'epochs' is not of the form key=value" in line


def test_a_missing_profile_is_refused(capsys, tmp_path):
    line = refused(capsys, "status", "spectrum", "--cluster", tmp_path / "kuac.yaml")
    assert "kuac.yaml: no such file" in line


def test_the_status_of_an_unknown_sweep_names_the_known_ones(capsys, tmp_path):
    (tmp_path / "sweeps" / "spectrum").mkdir(parents=True)
    (tmp_path / "sweeps" / "spectrum" / "sweep.json").write_text("{}")
    (tmp_path / "sweeps" / "doctor-baseline").mkdir()
    record = tmp_path / "sweeps" / "doctor-baseline" / "sweep.json"
    record.write_text('{"path": "configs/experiments/baseline.yaml"}')
    line = refused(capsys, "status", "plateau.yaml", "--work", tmp_path)
    assert "plateau: not in the work folder" in line
    assert "there are spectrum; " in line
    assert "if it is in another work folder, add WORK=…, or the CLUSTER=…" in line


def test_the_log_of_an_unknown_run_is_refused(capsys, tmp_path):
    assert "no run begins with it" in refused(capsys, "logs", "abc", "--work", tmp_path)


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.setenv("BLANKSLATE_DEBUG", "1")
    with pytest.raises(ValueError, match="no such file"):
        parser.main(["sweep", str(tmp_path / "none.yaml")])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("0123456789ab", "0123abcdef01", "ffff00000000"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "log").write_text(f"log of {name}\n")
    return tmp_path


def test_logs_without_a_run_say_what_to_type(capsys, runs):
    assert "no run is named: add RUN=…; make status SWEEP=… lists" in refused(
        capsys, "logs", "", "--work", runs
    )


def test_the_beginning_of_an_id_finds_a_run_and_an_ambiguous_one_is_refused(
    capsys, runs, monkeypatch
):
    monkeypatch.chdir(runs)
    (runs / "ffff").mkdir()  # a folder of that name is no run
    assert parser.main(["logs", "ffff", "--work", str(runs)]) == 0
    assert capsys.readouterr().out == "log of ffff00000000\n"
    line = refused(capsys, "logs", "0123", "--work", runs)
    assert f"2 runs begin with it in {runs / 'runs'}: 0123456789ab, 0123abcdef01; name one" in line
    assert "no run begins with it" in refused(capsys, "logs", "eeee", "--work", runs)
    assert "has no experiment.yaml" in refused(capsys, "logs", "runs", "--work", runs)
    line = refused(capsys, "logs", "*", "--work", runs)
    assert "make status SWEEP=… lists the ids" in line


def test_a_path_finds_a_run_folder(capsys, runs):
    folder = runs / "runs" / "ffff00000000"
    (folder / "experiment.yaml").touch()
    assert parser.main(["logs", str(folder), "--work", str(runs / "elsewhere")]) == 0


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_record_of_a_sweep_is_refused_with_its_name(capsys, tmp_path, content):
    record = tmp_path / "sweeps" / "spectrum" / "sweep.json"
    record.parent.mkdir(parents=True)
    record.write_text(content)
    line = refused(capsys, "status", "spectrum", "--work", tmp_path)
    assert f"{record}: is damaged, or of another version; make sweep writes it again" in line


@pytest.mark.parametrize("verb", ["cancel", "logs", "cluster-check"])
def test_a_verb_has_no_option_that_it_does_not_read(verb, capsys):
    with pytest.raises(SystemExit):
        parser.main([verb, "--help"])
    assert {"cancel": "--seeds", "logs": "--set", "cluster-check": "--cluster "}[
        verb
    ] not in capsys.readouterr().out


def test_an_unknown_sweep_cannot_be_cancelled(tmp_path, capsys):
    (tmp_path / "sweeps" / "known").mkdir(parents=True)
    (tmp_path / "sweeps" / "known" / "sweep.json").write_text("{}")
    assert parser.main(["cancel", "unknown", "--work", str(tmp_path)]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "unknown" in said
    assert "known" in said


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        ("sweep s.yaml --dry-run", "dry_run", True),
        ("sweep s.yaml", "dry_run", False),
        ("sweep s.yaml --first", "first", True),
        ("sweep s.yaml", "first", False),
        ("features --corpus c.yaml --dry-run", "dry_run", True),
        ("status s --once", "once", True),
        ("status s", "once", False),
        ("status s --json", "json", True),
    ],
)
def test_a_verb_takes_its_options(words, option, value):
    assert getattr(parser.build_parser().parse_args(words.split()), option) is value


def test_without_arguments_the_words_of_the_shell_are_parsed_and_memory_is_frozen(
    monkeypatch, capsys, runs
):
    frozen: list[str] = []
    monkeypatch.setattr(parser.gc, "freeze", lambda: frozen.append("frozen"))
    words = ["logs", "ffff", "--work", str(runs)]
    assert parser.main(words) == 0
    assert frozen == []
    monkeypatch.setattr(sys, "argv", ["blankslate", *words])
    assert parser.main() == 0
    assert frozen == ["frozen"]
    assert capsys.readouterr().out == 2 * "log of ffff00000000\n"


def test_the_version_is_that_of_the_project_and_a_bare_call_lists_the_verbs(capsys):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert parser.main(["--version"]) == 0
    assert capsys.readouterr().out == f"blankslate {project['version']}\n"
    assert parser.main([]) == 0
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in ("demo", "sweep", "report"))


def test_letters_that_a_console_cannot_show_are_escaped(monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", console)
    assert parser.main(["--version"]) == 0
    print("dağ, größe", flush=True)
    assert console.buffer.getvalue().endswith("da\\u011f, größe\n".encode("cp1252"))


def test_the_home_folder_may_be_written_as_a_tilde(capsys):
    assert str(Path.home() / "absent.yaml") in refused(capsys, "sweep", "~/absent.yaml")


def _imported_by(code: str) -> set[str]:
    words = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}


def test_a_command_with_nothing_to_do_imports_nothing_of_jobs_reports_and_other_layouts():
    """A typed command may take at most a tenth longer than at first: imports were half of it."""
    found = _imported_by("import jobs.commands.parser, jobs.commands.sweep")
    assert {"jobs.launch.reconcile", "pipeline.corpus.readers"} <= found
    needless = ("jobs.slurm", "jobs.launch.decision", "jobs.sweep.retry_policy", "pipeline.results")
    layouts = ("pipeline.corpus.layouts.tables", "pipeline.corpus.layouts.kaldi")
    assert not [name for name in found if name.startswith((*needless, *layouts))]


def test_pydantic_looks_for_no_plugins(tmp_path):
    """For that alone it would import importlib.metadata, and with it the parser of mails."""
    code = f"import jobs.commands.parser as p; p.main(['status', 'x', '--work', {str(tmp_path)!r}])"
    found = _imported_by(code)
    assert "pydantic" in found
    assert not found & {"importlib.metadata", "email.message", "pipeline.runs.plateau"}
