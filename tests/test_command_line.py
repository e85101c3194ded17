"""What is said of errors, in a line on stderr, and what commands are written down as."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import command_line
from tests import commands


@pytest.fixture
def said(monkeypatch, capsys):
    """What an experiment says of an error, with or without a workdir."""

    def said(error, workdir=None):
        values = command_line.flags.FlagValues()
        command_line.flags.DEFINE_string("workdir", workdir, "", flag_values=values)
        monkeypatch.setattr(command_line, "FLAGS", values)
        monkeypatch.setattr("sys.argv", ["ablate.py"])
        monkeypatch.setattr(os, "_exit", sys.exit)

        def main():
            raise error

        with pytest.raises(SystemExit) as ended:
            command_line.run(main, "")
        assert ended.value.code == 2
        return capsys.readouterr().err

    return said


ADVICE = "the disk is full; free some space and run the same command, which goes on\n"


def full(path=None):
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([path] if path else []))


def test_a_full_disk_is_told_with_the_workdir_and_what_to_do(said):
    error = full("runs/one/runs/.0123.x.tmp/.config.json.y.tmp")
    assert said(error, "runs/one") == f"python -m experiments.ablate: --workdir=runs/one: {ADVICE}"


def test_a_full_disk_elsewhere_is_told_with_its_folder(said):
    line = said(full("/cache/digits/.split.x.tmp/.images.y.tmp"), "runs/one")
    assert line == f"python -m experiments.ablate: /cache/digits: {ADVICE}"


def test_a_full_disk_is_found_behind_other_errors(said):
    checkpoint = OSError("runs/one/checkpoints: cannot save: INTERNAL")
    checkpoint.__cause__ = ValueError("write: No space left on device [OS error 28]")
    assert said(checkpoint, "runs/one").endswith(f" --workdir=runs/one: {ADVICE}")
    where = Path("runs/one").absolute()
    assert said(checkpoint) == f"python -m experiments.ablate: {where}: {ADVICE}"


def test_a_full_disk_whose_file_is_not_told_is_looked_for(said, monkeypatch):
    free = {"/dev/shm": 0}
    usage = shutil.disk_usage("/")

    def disk_usage(path):
        return usage._replace(free=free.get(str(path), 2**30))

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    assert said(full(), "runs/one") == f"python -m experiments.ablate: /dev/shm: {ADVICE}"
    free["/dev/shm"] = 2**30
    assert said(full(), "runs/one") == f"python -m experiments.ablate: {ADVICE}"


@pytest.mark.parametrize("place", ["--output", "--compilation_cache=/full"])
def test_an_error_that_names_its_flag_stays_as_it_is(said, place):
    line = f"{place}: cannot be made ({os.strerror(errno.ENOSPC)}); expected another"
    assert said(ValueError(line), "runs/one") == f"python -m experiments.ablate: {line}\n"


def test_a_limit_of_files_is_told(said):
    error = OSError(errno.EFBIG, os.strerror(errno.EFBIG), "runs/one/runs/.0.x.tmp/.row.y.tmp")
    assert said(error, "runs/one") == (
        "python -m experiments.ablate: --workdir=runs/one: a file cannot become as large as it has "
        "to, see `ulimit -f`; raise the limit and run the same command, which goes on\n"
    )


def test_other_errors_stay_as_they_are(said):
    assert said(OSError(errno.EACCES, "Permission denied", "a"), "b") == (
        "python -m experiments.ablate: [Errno 13] Permission denied: 'a'\n"
    )


def test_a_pipe_that_breaks_is_told_if_it_is_not_stdout(said):
    error = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    assert said(error) == "python -m experiments.ablate: [Errno 32] Broken pipe\n"


@pytest.fixture
def unread():
    """A pipe that nobody reads, to write to."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def ended(stdout, experiment, *arguments):
    """The status of an experiment that writes to a file, and what it says of errors."""
    command = [sys.executable, "-m", f"experiments.{experiment}", *arguments]
    done = subprocess.run(
        command,
        cwd=commands.ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=commands.SECONDS,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "argument",
    ["--help", "--format=json", "--format=table"],  # Rich, which draws tables, has its own way.
)
def test_it_ends_silently_when_nobody_reads_what_it_writes(unread, argument):
    workdir = "--workdir=experiments/results/digits"
    assert ended(unread, "verdicts", workdir, argument) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="it is Linux's")
def test_a_full_disk_below_stdout_is_told():
    with Path("/dev/full").open("w") as full:
        line = f"python -m experiments.verdicts: stdout: {ADVICE}"
        assert ended(full, "verdicts", "--help") == (2, line)


def test_what_does_more_than_print_goes_on_when_nobody_reads(unread, tmp_path):
    (tmp_path / "trained" / "runs").mkdir(parents=True)
    told = "stdout: cannot be written to (Broken pipe); the work goes on\n"
    arguments = (f"--workdir={tmp_path}/out", f"{tmp_path}/trained")
    assert ended(unread, "merge", *arguments) == (0, told)
    assert list((tmp_path / "out").iterdir())


ABLATE = "python -m experiments.ablate --config=configs/digits.py"


@pytest.mark.parametrize(
    "flags",
    ["--shard=2/2", "--shard 2/2", "-shard=1/2", "--launcher=ray --ray_address=ray://head:10001"],
)
def test_the_command_is_that_of_all_runs(flags):
    asked = f"{ABLATE} {flags} '--config.model.block=my blocks.py:Mixed'"
    assert command_line.of_the_whole(asked) == f"{ABLATE} '--config.model.block=my blocks.py:Mixed'"


def test_other_flags_stay():
    command = f"{ABLATE} --config.shard=1 --workdir runs/shard"
    assert command_line.of_the_whole(command) == command


def test_more_flags_can_be_left_out():
    command = f"{ABLATE} --workdir runs/a --shard=1/2 --config.seed=1"
    assert command_line.of_the_whole(command, "workdir") == f"{ABLATE} --config.seed=1"


@pytest.mark.parametrize(
    ("options", "given", "outcome"),
    [
        ({}, [], "NAME: it is missing; expected one, see --help"),
        ({}, ["a"], ("a",)),
        ({}, ["a", "b"], "b: unknown argument; flags begin with --"),
        ({"several": True}, [], "NAME: it is missing; expected one, see --help"),
        ({"several": True}, ["a", "b"], ("a", "b")),
        ({"optional": True}, [], ()),
        ({"optional": True}, ["a", "b"], "b: unknown argument; flags begin with --"),
        ({"several": True, "optional": True}, [], ()),
        ({"several": True, "optional": True}, ["a", "b"], ("a", "b")),
    ],
)
def test_arguments_that_are_no_flags(monkeypatch, capsys, options, given, outcome):
    monkeypatch.setattr(command_line, "FLAGS", command_line.flags.FlagValues())
    monkeypatch.setattr("sys.argv", ["name.py", *given])
    received = []

    def main(*names):
        received.append(names)
        return 0

    with pytest.raises(SystemExit) as ended:
        command_line.run(main, "", "NAME", **options)
    if isinstance(outcome, tuple):
        assert (ended.value.code, received) == (0, [outcome])
    else:
        assert (ended.value.code, received) == (2, [])
        assert capsys.readouterr().err == f"python -m experiments.name: {outcome}\n"


def started(tmp_path, module, text, *command, **options):
    """A command that finds a module of a test's before others of that name."""
    (tmp_path / f"{module}.py").write_text(text)
    return subprocess.run(
        command,
        cwd=commands.ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        timeout=commands.SECONDS,
        **{"capture_output": True, "text": True, **options},
    )


def test_an_interrupt_while_python_imports_is_one(tmp_path):
    text = (
        "import os, signal, time\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(30)\n"
        "except BaseException:\n"  # As libraries do, which then lack something.
        "    pass\n"
    )
    done = started(tmp_path, "ml_collections", text, sys.executable, "-m", "experiments.verdicts")
    assert (done.returncode, done.stderr) == (130, "interrupted; run it again to go on\n")


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        ("JAX_ENABLE_X64", "abc", "true or false"),
        ("JAX_DEFAULT_PRNG_IMPL", "foo", "a value that jax knows"),
        ("JAX_NUMPY_DTYPE_PROMOTION", "foo", "a value that jax knows"),
        ("JAX_RANDOM_SEED_OFFSET", "foo", "a value that jax knows"),
    ],
)
def test_a_variable_that_jax_refuses_is_told_in_a_line(
    tmp_path, monkeypatch, variable, value, right
):
    monkeypatch.setenv(variable, value)
    done = started(tmp_path, "unused", "", sys.executable, "-m", "experiments.predict", "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{variable}={value}: expected {right}, or the variable unset\n"


def test_other_errors_of_imports_keep_their_traceback(tmp_path):
    text = "raise ValueError('invalid truth value')"
    command = [sys.executable, "-m", "experiments.verdicts"]
    done = started(tmp_path, "ml_collections", text, *command)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback ")
    assert done.stderr.endswith("\nValueError: invalid truth value\n")


def test_closed_descriptors_do_no_harm(tmp_path):
    workdir = commands.ROOT / "experiments/results/digits"
    figure = tmp_path / "figure.svg"
    arguments = f"--workdir={workdir} --x=expansion --output={figure}"
    line = f"{sys.executable} -m experiments.plot {arguments} <&- >&- 2>&-"
    done = started(tmp_path, "unused", "", line, shell=True)
    assert done.returncode == 0
    assert figure.read_text().startswith("<svg")


def test_a_terminal_of_ascii_shows_names_with_replacements(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    missing = tmp_path / "Zürich\x1b[31m"
    command = [sys.executable, "-m", "experiments.verdicts", f"--workdir={missing}"]
    done = started(tmp_path, "unused", "", *command)
    assert done.returncode == 2
    assert r"Z\xfcrich\x1b[31m: there is no claims.json" in done.stderr


def test_a_full_disk_is_told_of_copies_by_where_they_go(said):
    reason = f"[Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}"
    error = shutil.Error([("/from/a", "/cache/digits/a", reason)])
    assert said(error, "runs/one") == f"python -m experiments.ablate: /cache/digits: {ADVICE}"
