"""Settings of jax that come from where a command is typed."""

import os

import jax
import jax.numpy as jnp
import pytest

from mnv2_jax.train import inherited, runlog


@pytest.fixture
def ranks_raise(monkeypatch):
    monkeypatch.setenv("JAX_NUMPY_RANK_PROMOTION", "raise")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    yield
    jax.config.update("jax_numpy_rank_promotion", "allow")


def test_settings_that_programs_are_not_made_for_are_set_aside_and_told(ranks_raise, caplog):
    with pytest.raises(ValueError, match="rank"):
        jnp.ones((2, 2)) + jnp.ones(2)
    inherited.set_aside()
    assert (jnp.ones((2, 2)) + jnp.ones(2)).shape == (2, 2)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == "JAX_NUMPY_RANK_PROMOTION=raise: set aside, it is allow here"


def test_nothing_is_told_where_nothing_differs(monkeypatch, caplog):
    monkeypatch.setenv("JAX_ENABLE_X64", "0")
    inherited.set_aside()
    assert caplog.records == []


def test_records_have_what_is_set(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("JAX_", "XLA_"))]:
        monkeypatch.delenv(name)
    assert "settings" not in runlog.environment("test")
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    settings = {"JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    assert runlog.environment("test")["settings"] == settings


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize")])
def test_a_platform_without_device_is_refused(monkeypatch, error):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(ValueError, match=r"^JAX_PLATFORMS=cuda: there is no such device here.*cpu"):
        inherited.check_devices()
    monkeypatch.delenv("JAX_PLATFORMS")
    with pytest.raises(type(error)):
        inherited.check_devices()
