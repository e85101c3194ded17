"""Checkpoints of lanes in training: whole, verified, or not there. The only place that uses orbax.

A checkpoint is a folder `<step>` with the states of all lanes, the metrics of the epochs so far and
a hash of both; random streams follow from seed and step, and have no state. Orbax writes it in the
background under another name and renames it when it is complete. What is read back is hashed again:
a flipped byte restores silently otherwise.
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

FORMAT = 2
"""The version of what is written; others are not read."""

_METRIC = "validation_accuracy"

_PROBE = ".writable-"
"""The name of folders that are made to see that some can be."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Lanes in training, between two steps, on the host.

    Attributes:
      step: steps done.
      state: the lanes' states, arrays `[lanes, ...]`.
      curves: per lane, the metrics of the epochs that are complete.
      seconds: of training so far.
    """

    step: int
    state: Any
    curves: list[list[dict[str, Any]]]
    seconds: float


class Checkpoints:
    """The checkpoints of some lanes that train together: the latest two and the best are kept.

    The best is the one of the highest mean validation accuracy among those that were saved at the
    end of an epoch. Other processes than the primary one have none of their own.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        """Open the folder, which need not exist.

        Args:
          folder: for checkpoints alone.
          identity: what must be equal for a checkpoint to be continued, as JSON values.

        Raises:
          OSError: the folder cannot be written to.
        """
        self._folder = folder.absolute()
        self._identity = identity
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob(f"{_PROBE}*"):  # What a kill left.
            shutil.rmtree(path, ignore_errors=True)
        # Orbax opens no folder in which such a one is damaged, or waits for ever.
        found = {step: _why_unsound(self._folder / str(step)) for step in self._steps()}
        self._passed_over = {step: reason for step, reason in found.items() if reason}
        for step in self._passed_over:
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
        """Begin to save in the background; waits for the save before, if that still goes on.

        Args:
          snapshot: is not to be changed until the next call.
          accuracy: mean validation accuracy of `snapshot.state`, a fraction of 1, or None within
            an epoch.

        Raises:
          OSError: this or the save before failed, as on a full disk; older checkpoints are intact.
        """
        content = {
            "format": FORMAT,
            "identity": self._identity,
            "step": snapshot.step,
            "curves": snapshot.curves,
            "seconds": snapshot.seconds,
        }
        # As JSON has no NaN, a text of Python's own that has.
        text = json.dumps(content)
        sealed = {"content": text, "sha256": _digest(text, snapshot.state)}
        with self._as_os_errors(f"save step {snapshot.step}"):
            # Where no folder can be made, orbax waits for it for minutes before it says so.
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
        """Wait until what is being saved is saved.

        Raises:
          OSError: it could not be saved.
        """
        with self._as_os_errors("save"), self._patient:
            self._manager.wait_until_finished()

    def restore(self, abstract_state: Any, tell: Callable[[str], None]) -> Checkpoint | None:
        """Return the newest sound checkpoint, or None where there is none.

        Damaged ones, and those of other runs or another version, are passed over and put aside,
        as `<step>.unsound`.

        Args:
          abstract_state: structure, shapes and types of the state; None finds a tree of
            dicts and lists, whatever it is.
          tell: is told in a line what is passed over, and why.

        Raises:
          OSError: one that is passed over cannot be renamed.
        """
        for step, reason in self._passed_over.items():
            tell(f"checkpoint {self._folder / str(step)} is passed over: {reason}")
        for step in sorted(self._steps(), reverse=True):
            folder = self._folder / str(step)
            try:
                with _patient_event_loops():
                    return self._read(step, abstract_state)
            except Exception as error:  # Orbax and TensorStore raise what they like.
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                tell(f"checkpoint {folder} is passed over: {reason}")
                self._put_aside(step)
                self._manager.reload()
        return None

    def close(self) -> None:
        """Wait for what is being saved, and lets go of the folder.

        Raises:
          OSError: it could not be saved.
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
        found = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract_state), content=ocp.args.JsonRestore()
            ),
        )
        sealed, state = found["content"], jax.tree.map(np.asarray, found["state"])
        text = sealed["content"]
        if _digest(text, state) != sealed["sha256"]:
            raise ValueError("its content does not have the hash that it was saved with")
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
    """Make event loops finish what runs in them before they close.

    Orbax reads or writes all arrays at once and closes the loop when one turns out damaged, or a
    disk full. For every other that is still on its way TensorStore then prints a traceback, and
    asyncio one for every other that has failed by then; orbax raises the first one's error.
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
    """Return the fault of a checkpoint's folder, or of orbax's JSON in it, if any."""
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
