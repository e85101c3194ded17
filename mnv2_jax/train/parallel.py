"""Lanes and batches over devices: the only place that maps programs onto hardware."""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mnv2_jax import cores
from mnv2_jax.train.step import BATCH_AXIS


def use_all_cores() -> None:
    """Make every CPU core a device, so that lanes run side by side; no effect on GPU and TPU.

    Must be called before jax is first used.
    """
    jax.config.update("jax_num_cpu_devices", cores.available())


class Program(NamedTuple):
    """A compiled program.

    Attributes:
      run: the program, a function of the number of lanes in use and its arguments.
      bytes: the memory that a device needs to run it, arguments included, by the compiler's own
        analysis; 0 where there is none, as with several processes.
      compiled: the program as jax has it, whose first argument is the lanes in use by device.
    """

    run: Callable[..., Any]
    bytes: int
    compiled: Any


class Layout(abc.ABC):
    """The placement of lanes, and of a lane's batches, on devices.

    Arrays of lanes have two leading axes, `[devices of this process, lanes on a device, ...]`. On
    CPU the lanes of a device run one after another, since one fills a core and batching gains
    nothing; elsewhere they are batched.

    Attributes:
      name: one of `config.parallel`.
      count: the number of lanes.
      devices: the devices used, those of other processes included.
      per_device: the number of lanes on a device.
      axis_size: the number of devices that share a lane's batch.
    """

    name: str

    def __init__(
        self, count: int, devices: Sequence[jax.Device], per_device: int, axis_size: int
    ) -> None:
        self.count = count
        self.devices = list(devices)
        self.per_device = per_device
        self.axis_size = axis_size
        self._is_local = [device.process_index == jax.process_index() for device in self.devices]
        self._local = sum(self._is_local)

    @abc.abstractmethod
    def shard_lanes(self, lanes: Any) -> Any:
        """Lay out host arrays `[lanes, ...]` of `stack` as arrays with two leading axes.

        Copies of the last lane fill up places without a lane; their results are undefined.
        """

    @abc.abstractmethod
    def in_use(self, lanes: int) -> np.ndarray:
        """Return how many of its places each local device needs for so many lanes."""

    @abc.abstractmethod
    def collect(self, tree: Any) -> Any:
        """Copy arrays with two leading axes to the host: `[count, ...]`."""

    @abc.abstractmethod
    def rows(self, batch: int) -> np.ndarray:
        """Return the rows of a batch that each local device takes, int `[devices, size]`."""

    @abc.abstractmethod
    def shard_batch(self, tree: Any) -> Any:
        """Give every local device its rows of batches, one batch after the other.

        Args:
          tree: of host arrays `[batches, rows, ...]`, with the rows of `host_rows`.

        Returns:
          Host arrays `[devices, batches * size, ...]`.
        """

    @abc.abstractmethod
    def shard_batch_to_lanes(self, tree: Any) -> Any:
        """Give every lane its own batch, or each device its rows of it.

        Args:
          tree: of host arrays `[lanes, rows, ...]`, with the rows of `host_rows`; places without a
            lane are filled up as by `shard_lanes`.

        Returns:
          Host arrays `[devices, lanes on a device, size, ...]`.
        """

    def host_rows(self, batch: int) -> np.ndarray:
        """Return the rows of a batch that this process needs for its devices."""
        return np.unique(self.rows(batch))

    def replicate(self, tree: Any) -> Any:
        """Give every local device all of a tree of host arrays: `[devices, ...]`."""

        def repeat(leaf: Any) -> np.ndarray:
            return np.broadcast_to(leaf, (self._local, *np.shape(leaf)))

        return jax.tree.map(repeat, tree)

    def replicated_shapes(self, tree: Any) -> Any:
        """Return the shapes that `replicate` makes of arrays like those of `tree`."""
        return _with_axes(tree, self._local)

    def shapes(self, lane: Any) -> Any:
        """Return the shapes that `shard_lanes` makes of lanes like `lane`."""
        return _with_axes(lane, self._local, self.per_device)

    def device_put(self, tree: Any) -> Any:
        """Move arrays with a leading axis of devices there, for programs that take them often."""
        mesh = jax.sharding.Mesh(np.array(self.devices), (BATCH_AXIS,))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(BATCH_AXIS))

        def put(leaf: Any) -> jax.Array:
            return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

        return jax.tree.map(put, tree)

    def unstack(self, tree: Any) -> list[Any]:
        """Copy arrays with two leading axes to the host: one tree per lane."""
        leaves, structure = jax.tree.flatten(self.collect(tree))
        return [jax.tree.unflatten(structure, lane) for lane in zip(*leaves, strict=True)]

    def compile(
        self,
        function: Callable[..., Any],
        lane_arguments: Sequence[Any],
        shared_arguments: Sequence[Any] = (),
        *,
        donate: bool = False,
    ) -> Program:
        """Compile `function(*arguments of a lane, *shared arguments)` to run for all lanes.

        Args:
          function: of one lane.
          lane_arguments: arrays or shapes with two leading axes.
          shared_arguments: arrays or shapes of `replicate`: every lane sees them whole.
          donate: let the result reuse the memory of the first argument.
        """
        on_cpu = self.devices[0].platform == "cpu"

        def on_device(in_use: jax.Array, *arguments: Any) -> Any:
            lanes = arguments[: len(lane_arguments)]
            shared = arguments[len(lane_arguments) :]

            def one(lane: Any) -> Any:
                return function(*lane, *shared)

            def nothing(lane: Any) -> Any:
                return jax.tree.map(jnp.zeros_like, jax.eval_shape(one, lane))

            def at(place: tuple[jax.Array, Any]) -> Any:
                number, lane = place
                return lax.cond(number < in_use, one, nothing, lane)

            # Places without a lane cost nothing on CPU.
            places = jnp.arange(self.per_device)
            return lax.map(at, (places, lanes)) if on_cpu else jax.vmap(one)(lanes)

        program = jax.pmap(
            on_device,
            axis_name=BATCH_AXIS,
            devices=self.devices,
            donate_argnums=(1,) if donate else (),
        )
        if jax.process_count() > 1:
            # Compiled ahead, it would take no arrays of one process alone. The first call compiles.
            return self._program(program, 0)
        arguments = (self.in_use(self.count), *lane_arguments, *shared_arguments)
        compiled = program.lower(*jax.tree.map(_shape, arguments)).compile()
        return self._program(compiled, _bytes(compiled))

    def _program(self, compiled: Callable[..., Any], size: int) -> Program:
        return Program(lambda lanes, *given: compiled(self.in_use(lanes), *given), size, compiled)


class Lanes(Layout):
    """Each lane lies whole on one device; devices exchange nothing."""

    name = "lanes"

    def __init__(self, count: int, devices: Sequence[jax.Device] | None = None) -> None:
        available = list(jax.local_devices() if devices is None else devices)
        per_device = -(-count // min(count, len(available)))
        super().__init__(count, available[: -(-count // per_device)], per_device, axis_size=1)

    def rows(self, batch: int) -> np.ndarray:
        """See `Layout`: all of them."""
        return np.broadcast_to(np.arange(batch), (len(self.devices), batch))

    def shard_batch(self, tree: Any) -> Any:
        """See `Layout`."""
        return self.replicate(jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree))

    def shard_batch_to_lanes(self, tree: Any) -> Any:
        """See `Layout`."""
        return self.shard_lanes(tree)

    def shard_lanes(self, lanes: Any) -> Any:
        """See `Layout`; the devices take turns."""
        places = (self.per_device, len(self.devices))

        def shard(leaf: np.ndarray) -> np.ndarray:
            filled = _filled(leaf, math.prod(places)).reshape(*places, *leaf.shape[1:])
            return filled.swapaxes(0, 1)

        return jax.tree.map(shard, lanes)

    def in_use(self, lanes: int) -> np.ndarray:
        """See `Layout`."""
        devices = len(self.devices)
        return (lanes + devices - 1 - np.arange(devices, dtype=np.int32)) // devices

    def collect(self, tree: Any) -> Any:
        """See `Layout`."""

        def flat(leaf: Any) -> np.ndarray:
            # Indexing an array that lies on several devices is slow; on the host it costs nothing.
            host = np.array(leaf).swapaxes(0, 1)
            return host.reshape(-1, *host.shape[2:])[: self.count]

        return jax.tree.map(flat, tree)


class Batch(Layout):
    """Devices, of all processes, each hold all lanes and share every lane's batch.

    They exchange gradients and BatchNorm's moments in every step.
    """

    name = "batch"

    def __init__(self, count: int, devices: Sequence[jax.Device] | None = None) -> None:
        available = list(jax.devices() if devices is None else devices)
        super().__init__(count, available, per_device=count, axis_size=len(available))

    def rows(self, batch: int) -> np.ndarray:
        """See `Layout`: each its own."""
        return np.arange(batch).reshape(self.axis_size, -1)[self._is_local]

    def shard_batch(self, tree: Any) -> Any:
        """See `Layout`."""

        def shard(leaf: np.ndarray) -> np.ndarray:
            return self._split_rows(leaf).reshape(self._local, -1, *leaf.shape[2:])

        return jax.tree.map(shard, tree)

    def shard_batch_to_lanes(self, tree: Any) -> Any:
        """See `Layout`."""
        return jax.tree.map(lambda leaf: self._split_rows(_filled(leaf, self.count)), tree)

    def in_use(self, lanes: int) -> np.ndarray:
        """See `Layout`."""
        return np.full(self._local, lanes, np.int32)

    def shard_lanes(self, lanes: Any) -> Any:
        """See `Layout`."""
        return self.replicate(jax.tree.map(lambda leaf: _filled(leaf, self.count), lanes))

    def collect(self, tree: Any) -> Any:
        """See `Layout`."""

        def first(leaf: Any) -> np.ndarray:
            # All devices hold the same. An array that no program has seen yet is on the host still.
            held = leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf
            return np.array(np.asarray(held)[0])

        return jax.tree.map(first, tree)

    def _split_rows(self, leaf: np.ndarray) -> np.ndarray:
        """Split `[batches, rows, ...]` by local device: `[devices, batches, size, ...]`."""
        count, rows, *rest = leaf.shape
        return leaf.reshape(count, self._local, rows // self._local, *rest).swapaxes(0, 1)


def stack(lanes: Sequence[Any]) -> Any:
    """Stack trees of one structure, one per lane, to one of host arrays `[lanes, ...]`."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *lanes)


def unstack(lanes: Any, count: int) -> list[Any]:
    """Undo `stack`; return an empty list for a tree without arrays."""
    leaves, structure = jax.tree.flatten(lanes)
    by_lane = [[leaf[lane] for leaf in leaves] for lane in range(count)] if leaves else []
    return [jax.tree.unflatten(structure, lane) for lane in by_lane]


def _filled(lanes: np.ndarray, places: int) -> np.ndarray:
    missing = places - len(lanes)
    return np.concatenate([lanes, np.repeat(lanes[-1:], missing, axis=0)]) if missing else lanes


def _with_axes(tree: Any, *axes: int) -> Any:
    """Return the shapes of a tree's leaves with axes of these sizes before theirs."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype), tree)


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def _bytes(compiled: Any) -> int:
    memory = compiled.memory_analysis()
    if memory is None:
        return 0
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return int(held + memory.temp_size_in_bytes)
