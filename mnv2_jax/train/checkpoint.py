"""Checkpoints of lanes in training, verified when read. The only place that uses orbax.

A checkpoint is a folder `<step>` with the states of all lanes, the metrics of the epochs so far and
a hash of both; random streams follow from seed and step, and have no state. Orbax writes it in the
background under another name and renames it when it is complete. The hash is verified on reading,
since orbax restores a flipped byte silently.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

from mnv2_jax import checksums

FORMAT = 3
"""The version of the format; others are not read."""

_METRIC = "validation_accuracy"

_PROBE = ".writable-"
"""The prefix of folders that are made to test whether the disk takes any."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Lanes in training, between two steps, on the host.

    Attributes:
      step: steps done.
      state: the lanes' states, arrays `[lanes, ...]`.
      curves: per lane, the metrics of the complete epochs.
      seconds: seconds of training so far.
    """

    step: int
    state: Any
    curves: list[list[dict[str, Any]]]
    seconds: float


class Checkpoints:
    """The checkpoints of lanes that train together: the latest two and the best are kept.

    The best has the highest mean validation accuracy of those saved at the end of an epoch. Only
    the primary process has checkpoints.

    Args:
      folder: a folder for these checkpoints alone, which need not exist.
      identity: JSON values by name; only checkpoints with equal ones are restored.

    Raises:
      OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self._folder = folder.absolute()
        self._identity = identity
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob(f"{_PROBE}*"):  # A killed process left it.
            shutil.rmtree(path, ignore_errors=True)
        # With a checkpoint damaged like this in the folder, orbax fails to open it, or hangs.
        reasons = {step: _why_unsound(self._folder / str(step)) for step in self._steps()}
        self._skipped = {step: reason for step, reason in reasons.items() if reason}
        for step in self._skipped:
            self._put_aside(step)
        keep = [policy.LatestN(2), policy.BestN(get_metric_fn=_accuracy, n=1)]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy.AnyPreservationPolicy(keep),
            best_fn=_accuracy,
            cleanup_tmp_directories=True,
            create=False,
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=jax.process_index(), active_processes={jax.process_index()}
            ),
        )
        self._patient = contextlib.ExitStack()  # While something is being saved.
        with self._as_os_errors("open"):
            self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, snapshot: Checkpoint, accuracy: float | None) -> None:
        """Start to save in the background, after waiting for the previous save to end.

        Args:
          snapshot: the state to save; must not change until the next call.
          accuracy: its mean validation accuracy, a fraction of 1; None within an epoch.

        Raises:
          OSError: this or the previous save failed, as on a full disk; older checkpoints are
            intact.
        """
        content = {
            "format": FORMAT,
            "identity": self._identity,
            "step": snapshot.step,
            "curves": snapshot.curves,
            "seconds": snapshot.seconds,
        }
        # Saved as text: orbax's JSON has no NaN, Python's has.
        text = json.dumps(content)
        sealed = {"content": text, "sha256": _digest(text, snapshot.state)}
        with self._as_os_errors(f"save step {snapshot.step}"):
            # Where no folder can be made, orbax fails only after minutes.
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=_PROBE):
                pass
            self._manager.wait_until_finished()
            self._patient.close()
            self._patient.enter_context(_patient_event_loops())
            self._manager.save(
                snapshot.step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(snapshot.state), content=ocp.args.JsonSave(sealed)
                ),
                metrics={_METRIC: -1.0 if accuracy is None else accuracy},
            )

    def wait(self) -> None:
        """Wait for the save in progress.

        Raises:
          OSError: it failed.
        """
        with self._as_os_errors("save"), self._patient:
            self._manager.wait_until_finished()

    def restore(self, abstract_state: Any, tell: Callable[[str], None]) -> Checkpoint | None:
        """Return the newest sound checkpoint, or None if there is none.

        Damaged ones, and those of other runs or another format, are skipped and renamed to
        `<step>.unsound`.

        Args:
          abstract_state: structure, shapes and types of the state; with None, it is restored as
            a tree of dicts and lists.
          tell: called with a line for each skipped checkpoint, with the reason.

        Raises:
          OSError: a skipped checkpoint cannot be renamed.
        """
        for step, reason in self._skipped.items():
            tell(f"checkpoint {self._folder / str(step)} is skipped: {reason}")
        for step in sorted(self._steps(), reverse=True):
            folder = self._folder / str(step)
            try:
                with _patient_event_loops():
                    return self._read(step, abstract_state)
            except Exception as error:  # Orbax and TensorStore raise what they like.
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                tell(f"checkpoint {folder} is skipped: {reason}")
                self._put_aside(step)
                self._manager.reload()
        return None

    def close(self) -> None:
        """Wait for the save in progress, and close the folder.

        Raises:
          OSError: the save failed.
        """
        with self._as_os_errors("save"), self._patient:
            self._manager.wait_until_finished()
            self._manager.close()

    def _steps(self) -> list[int]:
        return [int(path.name) for path in self._folder.iterdir() if path.name.isdecimal()]

    def _put_aside(self, step: int) -> None:
        folder = self._folder / str(step)
        shutil.rmtree(folder.with_suffix(".unsound"), ignore_errors=True)
        folder.rename(folder.with_suffix(".unsound"))

    def _read(self, step: int, abstract_state: Any) -> Checkpoint:
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract_state), content=ocp.args.JsonRestore()
            ),
        )
        sealed, state = restored["content"], jax.tree.map(np.asarray, restored["state"])
        text = sealed["content"]
        if _digest(text, state) != sealed["sha256"]:
            raise ValueError("its content does not match its hash")
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"it has format {content['format']}; expected {FORMAT}")
        for name, expected in self._identity.items():
            if content["identity"].get(name) != expected:
                raise ValueError(f"it is of another run: its {name} differs")
        if content["step"] != step:
            raise ValueError(f"it holds step {content['step']}")
        if abstract_state is not None and _kinds(state) != _kinds(abstract_state):
            raise ValueError("it is of another network or optimizer: its arrays differ in shape")
        return Checkpoint(step, state, content["curves"], content["seconds"])

    @contextlib.contextmanager
    def _as_os_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise OSError(f"{self._folder}: cannot {what}: {reason}") from error


@contextlib.contextmanager
def _patient_event_loops() -> Iterator[None]:
    """Make new event loops finish their tasks before they close.

    Orbax reads or writes all arrays at once; when one is damaged or the disk is full, it raises
    that error and closes the loop. TensorStore then prints a traceback for every array still in
    progress, and asyncio for every other one that failed.
    """
    make = asyncio.new_event_loop

    def make_patient() -> asyncio.AbstractEventLoop:
        loop = make()
        loop.set_exception_handler(lambda loop, context: None)
        close = loop.close

        def finish_and_close() -> None:
            if running := asyncio.all_tasks(loop):
                loop.run_until_complete(asyncio.gather(*running, return_exceptions=True))
            close()

        loop.close = finish_and_close  # type: ignore[method-assign]
        return loop

    asyncio.new_event_loop = make_patient
    try:
        yield
    finally:
        asyncio.new_event_loop = make


def _why_unsound(folder: Path) -> str:
    """Return what is wrong with a checkpoint's folder or with orbax's JSON in it, or ""."""
    for path in folder.rglob("*"):
        if not stat.S_ISREG(path.lstat().st_mode) and (path.is_symlink() or not path.is_dir()):
            return f"{path.relative_to(folder)} is no regular file"
    for name in ("_CHECKPOINT_METADATA", "metrics/metrics"):
        try:
            checksums.read_json(folder / name)
        except FileNotFoundError:
            continue
        except (OSError, checksums.DamagedError) as error:
            return str(error)
    return ""


def _accuracy(metrics: dict[str, float]) -> float:
    return metrics[_METRIC]


def _kinds(state: Any) -> Any:
    return jax.tree.map(lambda leaf: (np.shape(leaf), np.asarray(leaf).dtype), state)


def _digest(text: str, state: Any) -> str:
    """Return a hash of a text and of every array's place, type, shape and bytes."""
    sha = hashlib.sha256(text.encode())
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.ascontiguousarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }
    for path, array in sorted(leaves.items()):
        sha.update(f"{path} {array.dtype} {array.shape}".encode())
        sha.update(array.data if array.size else b"")
    return sha.hexdigest()
