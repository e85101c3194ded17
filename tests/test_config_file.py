"""Config files of one's own: an error in one is told in a line that names it."""

import pytest

from mnv2_jax import config_file
from mnv2_jax.ablation import ids
from mnv2_jax.ablation.grid import Grid
from tests import commands

HEAD = """from ml_collections import ConfigDict
from configs import questions
from mnv2_jax.ablation.grid import axis, where, zipped
"""


def grid_of(path):
    return config_file.call(path, "get_grid", (), "a Grid", lambda found: isinstance(found, Grid))


@pytest.fixture
def write(tmp_path):
    path = tmp_path / "my.py"

    def write(text):
        path.write_text(HEAD + text)
        return path

    return write


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "axis('seed', 4)",
            "get_grid() raises TypeError: 'int' object is not iterable (line 5)",
        ),
        (
            "where(axis('seed', (1,)), lambda point: point['width'] > 1)",
            "get_grid() raises KeyError: 'width' (line 5)",
        ),
        (
            "int('six')",
            "get_grid() raises ValueError: invalid literal for int() with base 10: 'six' (line 5)",
        ),
        ("None", "get_grid() returns None; expected a Grid"),
    ],
)
def test_an_error_in_a_function_names_it_and_the_line(write, body, message):
    path = write(f"def get_grid():\n    return {body}\n")
    with pytest.raises(ValueError, match=r"my\.py") as error:
        grid_of(path)
    assert str(error.value) == f"config={path}: {message}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("zipped(axis('seed', (1,)), axis('data.order', ()))", "grid: zipped axes have lengths"),
        ("questions.ask('colour', None)", "config: 'colour' after the colon: expected one of"),
    ],
)
def test_what_the_library_says_of_wrong_input_stays_as_it_is(write, body, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        grid_of(write(f"def get_grid():\n    return {body}\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_this_name\n", "it raises ModuleNotFoundError: No module named"),
        ("from configs import digit\n", "it raises ImportError: cannot import name 'digit'"),
        ("def get_config(:\n", "it raises SyntaxError: invalid syntax (line 4)"),
        ("", "it has no function get_config; expected one, as in configs/digits.py"),
        ("def get_config():\n    pass\n", "get_config() returns None; expected a ConfigDict"),
        ("def get_config():\n    ConfigDict().x\n", "get_config() raises AttributeError: "),
    ],
)
def test_a_file_without_a_config_is_refused(write, text, message):
    path = write(text)
    with pytest.raises(ValueError, match=r"my\.py") as error:
        config_file.config(str(path))
    assert str(error.value).startswith(f"config={path}: {message}")
    if "raises" in message:
        assert f" (line {5 if 'def get_config()' in text else 4})" in str(error.value)


@pytest.mark.parametrize("written", ["--config={}", "--config {}", "-config={}"])
def test_the_command_ends_in_one_line_and_status_2(write, tmp_path, written):
    path = write("def get_config():\n    return 1 / 0\n")
    flag = written.format(path).split(" ")
    status, out, err = commands.run("ablate", *flag, f"--workdir={tmp_path / 'w'}")
    assert (status, out) == (2, "")
    expected = f"--config={path}: get_config() raises ZeroDivisionError: division by zero (line 5)"
    assert err == f"python -m experiments.ablate: {expected}\n"


def test_claims_are_asked_for_too(write, tmp_path):
    path = write("def get_config():\n    return ConfigDict()\n")
    status, out, err = commands.run("ablate", f"--config={path}", f"--workdir={tmp_path / 'w'}")
    assert (status, out) == (2, "")
    expected = f"--config={path}: it has no function get_claims; expected one, as in configs/"
    assert err.startswith(f"python -m experiments.ablate: {expected}")
    assert len(err.splitlines()) == 1


WITHOUT_METRICS = """
def get_config():
    config = digits.get_config()
    del config.metrics
    return config
"""


@pytest.mark.parametrize("metrics", ["", "loss,mine.py:F1"])
def test_a_field_that_a_file_lacks_may_be_set_on_the_command_line(write, metrics):
    path = write(f"from configs import digits\n{WITHOUT_METRICS}")
    found = config_file.config(str(path))
    ids.complete(found)
    assert found.metrics == "accuracy,loss"
    given = [f"--config.metrics={metrics}"] if metrics else []
    status, out, _ = commands.run("ablate", f"--config={path}", *given, "--help_config")
    assert status == 0
    assert f"--config.metrics={metrics or 'accuracy,loss'}\n" in out
