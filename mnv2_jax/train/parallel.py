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
    """Make every CPU core a device. To be called before jax is first used; no harm on GPU, TPU.

    One lane keeps one core busy, so that two lanes run side by side on two cores.
    """
    jax.config.update("jax_num_cpu_devices", cores.available())


class Program(NamedTuple):
    """A compiled program.

    Attributes:
      run: takes the arguments, gives the result.
      bytes: the memory that a device needs to run it, its arguments included, by the compiler's
        own analysis; 0 where there is none, as with several processes.
    """

    run: Callable[..., Any]
    bytes: int


class Layout(abc.ABC):
    """Layout of a program's lanes, and of a lane's batches, on devices.

    Arrays that belong to lanes have two leading axes, `[devices of this process, lanes on a device,
    ...]`. Inside a device, lanes run one after another on CPU, where they fill a core each and
    batching them gains nothing, and batched elsewhere.

    Attributes:
      name: as in `config.parallel`.
      count: the number of lanes.
      devices: the devices used, those of other processes included.
      axis_size: the devices that share a lane's batch.
    """

    name: str

    def __init__(self, count: int, devices: Sequence[jax.Device], axis_size: int) -> None:
        self.count = count
        self.devices = list(devices)
        self.axis_size = axis_size

    @property
    @abc.abstractmethod
    def per_device(self) -> int:
        """Lanes on a device."""

    @property
    def _here(self) -> int:
        """The devices used that are of this process."""
        return sum(device.process_index == jax.process_index() for device in self.devices)

    @abc.abstractmethod
    def shard_lanes(self, lanes: Any) -> Any:
        """Lay out host arrays `[lanes, ...]`, see `stack`, as arrays with two leading axes.

        Where there are fewer lanes than places, copies of the last one fill up; their results are
        dropped.
        """

    @abc.abstractmethod
    def collect(self, tree: Any) -> Any:
        """Bring arrays with two leading axes to the host, as copies: `[count, ...]`."""

    @abc.abstractmethod
    def rows(self, batch: int) -> np.ndarray:
        """Return the rows of a batch that each device here takes, int `[devices, size]`."""

    @abc.abstractmethod
    def shard_batch(self, tree: Any) -> Any:
        """Give every device of this process its rows of batches, one batch after the other.

        Args:
          tree: of host arrays `[batches, rows, ...]`, with the rows of `host_rows`.

        Returns:
          Host arrays `[devices, batches * size, ...]`.
        """

    @abc.abstractmethod
    def shard_batch_to_lanes(self, tree: Any) -> Any:
        """Give every lane its own batch, or each device its rows of it.

        Args:
          tree: of host arrays `[lanes, rows, ...]`, see `spread`, with the rows of `host_rows`.

        Returns:
          Host arrays `[devices, lanes on a device, size, ...]`.
        """

    def host_rows(self, batch: int) -> np.ndarray:
        """Return the rows of a batch that this process needs, for all of its devices."""
        return np.unique(self.rows(batch))

    def replicate(self, tree: Any) -> Any:
        """Give every device of this process all of a tree of host arrays: `[devices, ...]`."""

        def repeat(leaf: Any) -> np.ndarray:
            return np.broadcast_to(leaf, (self._here, *np.shape(leaf)))

        return jax.tree.map(repeat, tree)

    def replicated_shapes(self, tree: Any) -> Any:
        """Return the shapes of what `share` makes of arrays like those of `tree`."""

        def on_devices(leaf: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((self._here, *leaf.shape), leaf.dtype)

        return jax.tree.map(on_devices, tree)

    def device_put(self, tree: Any) -> Any:
        """Move arrays with a leading axis of devices there, for programs that take them often."""
        mesh = jax.sharding.Mesh(np.array(self.devices), (BATCH_AXIS,))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(BATCH_AXIS))

        def put(leaf: Any) -> jax.Array:
            return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

        return jax.tree.map(put, tree)

    def unstack(self, tree: Any) -> list[Any]:
        """Bring arrays with two leading axes to the host: one pytree per lane."""
        leaves, structure = jax.tree.flatten(self.collect(tree))
        return [jax.tree.unflatten(structure, of_lane) for of_lane in zip(*leaves, strict=True)]

    def shapes(self, lane: Any) -> Any:
        """Return the shapes of what `spread` makes of pytrees like `lane`."""

        def with_lanes(leaf: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((self._here, self.per_device, *leaf.shape), leaf.dtype)

        return jax.tree.map(with_lanes, lane)

    def compile(
        self,
        function: Callable[..., Any],
        lane_arguments: Sequence[Any],
        shared_arguments: Sequence[Any] = (),
        *,
        donate: bool = False,
    ) -> "Program":
        """Compile `function(*of one lane, *shared)` to run for all lanes.

        Args:
          function: takes the arguments of one lane, then the shared ones.
          lane_arguments: arrays or shapes with two leading axes.
          shared_arguments: what `share` gives, arrays or shapes: every lane sees them whole.
          donate: let the result reuse the memory of the first argument.
        """
        on_cpu = self.devices[0].platform == "cpu"

        def on_device(*arguments: Any) -> Any:
            of_lanes = arguments[: len(lane_arguments)]
            shared = arguments[len(lane_arguments) :]

            def one(lane: Any) -> Any:
                return function(*lane, *shared)

            return lax.map(one, of_lanes) if on_cpu else jax.vmap(one)(of_lanes)

        program = jax.pmap(
            on_device,
            axis_name=BATCH_AXIS,
            devices=self.devices,
            donate_argnums=(0,) if donate else (),
        )
        if jax.process_count() > 1:
            # What is compiled ahead takes no arrays of one process alone; the first call compiles.
            return Program(program, 0)
        shapes = jax.tree.map(_shape, (*lane_arguments, *shared_arguments))
        compiled = program.lower(*shapes).compile()
        return Program(compiled, _bytes(compiled))


class Lanes(Layout):
    """Devices hold different lanes, each whole: nothing is exchanged between them."""

    name = "lanes"

    def __init__(self, count: int, devices: Sequence[jax.Device] | None = None) -> None:
        available = list(jax.local_devices() if devices is None else devices)
        per_device = -(-count // min(count, len(available)))
        super().__init__(count, available[: -(-count // per_device)], axis_size=1)
        self._per_device = per_device

    @property
    def per_device(self) -> int:
        """See `Layout`."""
        return self._per_device

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
        """See `Layout`."""
        places = (len(self.devices), self.per_device)

        def lay(leaf: np.ndarray) -> np.ndarray:
            return _filled(leaf, math.prod(places)).reshape(*places, *leaf.shape[1:])

        return jax.tree.map(lay, lanes)

    def collect(self, tree: Any) -> Any:
        """See `Layout`."""

        def flat(leaf: Any) -> np.ndarray:
            # Indexing an array that lies on several devices is slow; on the host it costs nothing.
            host = np.array(leaf)
            return host.reshape(-1, *host.shape[2:])[: self.count]

        return jax.tree.map(flat, tree)


class Batch(Layout):
    """Devices, of all processes, each hold all lanes and share every lane's batch.

    Gradients and BatchNorm's moments are exchanged between them in every step.
    """

    name = "batch"

    def __init__(self, count: int, devices: Sequence[jax.Device] | None = None) -> None:
        available = list(jax.devices() if devices is None else devices)
        super().__init__(count, available, axis_size=len(available))

    @property
    def per_device(self) -> int:
        """See `Layout`."""
        return self.count

    def rows(self, batch: int) -> np.ndarray:
        """See `Layout`: each its own."""
        here = [
            part
            for part, device in enumerate(self.devices)
            if device.process_index == jax.process_index()
        ]
        return np.arange(batch).reshape(self.axis_size, -1)[here]

    def shard_batch(self, tree: Any) -> Any:
        """See `Layout`."""

        def parts(leaf: np.ndarray) -> np.ndarray:
            count, rows, *rest = leaf.shape
            dealt = leaf.reshape(count, self._here, rows // self._here, *rest)
            return dealt.swapaxes(0, 1).reshape(self._here, -1, *rest)

        return jax.tree.map(parts, tree)

    def shard_batch_to_lanes(self, tree: Any) -> Any:
        """See `Layout`."""

        def parts(leaf: np.ndarray) -> np.ndarray:
            lanes = _filled(leaf, self.count)
            count, rows, *rest = lanes.shape
            return lanes.reshape(count, self._here, rows // self._here, *rest).swapaxes(0, 1)

        return jax.tree.map(parts, tree)

    def shard_lanes(self, lanes: Any) -> Any:
        """See `Layout`."""
        return self.replicate(jax.tree.map(lambda leaf: _filled(leaf, self.count), lanes))

    def collect(self, tree: Any) -> Any:
        """See `Layout`."""

        def first(leaf: Any) -> np.ndarray:
            # All devices hold the same; the first one of this process is asked. What was spread and
            # not yet given to a program is on the host still.
            held = leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf
            return np.array(np.asarray(held)[0])

        return jax.tree.map(first, tree)


def stack(lanes: Sequence[Any]) -> Any:
    """Pytrees of one structure, one per lane, as one of host arrays `[lanes, ...]`."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *lanes)


def unstack(lanes: Any, count: int) -> list[Any]:
    """Undo `stack`; give nothing where that was no array."""
    leaves, structure = jax.tree.flatten(lanes)
    by_lane = [[leaf[lane] for leaf in leaves] for lane in range(count)] if leaves else []
    return [jax.tree.unflatten(structure, of_lane) for of_lane in by_lane]


def _filled(lanes: np.ndarray, places: int) -> np.ndarray:
    missing = places - len(lanes)
    return np.concatenate([lanes, np.repeat(lanes[-1:], missing, axis=0)]) if missing else lanes


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def _bytes(compiled: Any) -> int:
    found = compiled.memory_analysis()
    if found is None:
        return 0
    held = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return int(held + found.temp_size_in_bytes)
