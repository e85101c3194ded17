"""What is shown to people of names that hold what they like."""

import io
import os
import sys

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

from mnv2_jax import terminal

NAME = "runs/w[/red]\x1b[31m:smile:[bold]\x07"
SHOWN = r"runs/w[/red]\x1b[31m:smile:[bold]"


def test_what_would_steer_a_terminal_is_written_out():
    assert terminal.plain("a\x1b[31m\x00\x7f\x9b\rb\tc\nü") == "a\\x1b[31m\\x00\\x7f\\x9b\\rb\tc\nü"


def test_a_line_is_said(capsys):
    terminal.say(f"{NAME}: cat")
    assert capsys.readouterr().out == f"{SHOWN}\\x07: cat\n"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_console_shows_texts_as_they_are(is_terminal):
    out = io.StringIO()
    console = terminal.Console(file=out, width=200, force_terminal=is_terminal, color_system=None)
    table = Table(box=None)
    table.add_column(NAME)
    table.add_row(NAME)
    console.print(NAME, highlight=False)
    console.print(table)
    with Progress(TextColumn("{task.description}", markup=False), console=console) as bar:
        bar.add_task(NAME)
    assert out.getvalue().count(SHOWN) == 3
    assert out.getvalue().count(r"runs/w[/red]\x1b[31m:smile:") >= 4  # The bar leaves no room.
    assert "\x1b[31m" not in out.getvalue()


@pytest.fixture
def unread():
    """A pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def test_a_stream_that_cannot_be_written_to_is_outlived(unread, monkeypatch, capsys):
    with os.fdopen(unread, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        for _ in range(2):
            terminal.outlive("stdout")
        for _ in range(2):
            print("x" * 100_000)  # More than is buffered.
            terminal.say("a line")
        terminal.Console().print("another")
    told = "stdout: cannot be written to (Broken pipe); the work goes on\n"
    assert capsys.readouterr().err == told


def test_nothing_is_told_of_stderr(unread, monkeypatch):
    with os.fdopen(unread, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        terminal.outlive("stderr")
        terminal.say("a line", sys.stderr)
