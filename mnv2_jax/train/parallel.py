"""Lanes over devices: the only place that maps programs onto hardware."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def use_all_cores() -> None:
    """Makes every CPU core a device. To be called before jax is first used; no harm on GPU, TPU.

    One lane keeps one core busy, so that two lanes run side by side on two cores.
    """
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))


class Lanes:
    """How lanes are laid out: some on each device, the devices side by side.

    Arrays that belong to lanes have two leading axes, `[devices, lanes per device, ...]`. Where
    the lanes do not fill it, copies of the last one do; their results are dropped.

    Attributes:
      count: the number of lanes.
      devices: the devices used, at most one per lane.
    """

    def __init__(self, count: int, devices: Sequence[jax.Device] | None = None) -> None:
        available = list(jax.local_devices() if devices is None else devices)
        self.count = count
        self.per_device = -(-count // min(count, len(available)))
        self.devices = available[: -(-count // self.per_device)]

    def spread(self, lanes: Sequence[Any]) -> Any:
        """Stacks one pytree per lane into one of arrays `[devices, per device, ...]`."""
        total = self.per_device * len(self.devices)
        filled = [*lanes, *[lanes[-1]] * (total - len(lanes))]

        def stack(*leaves: Any) -> np.ndarray:
            stacked = np.stack(leaves)
            return stacked.reshape(len(self.devices), self.per_device, *stacked.shape[1:])

        return jax.tree.map(stack, *filled)

    def gather(self, tree: Any) -> list[Any]:
        """Brings arrays `[devices, per device, ...]` to the host: one pytree per lane."""
        # Indexing an array that lies on several devices is slow; on the host it costs nothing.
        host = jax.device_get(tree)

        def pick(lane: int) -> Any:
            device, place = divmod(lane, self.per_device)
            return jax.tree.map(lambda leaf: leaf[device, place], host)

        return [pick(lane) for lane in range(self.count)]

    def compile(
        self,
        function: Callable[..., Any],
        lane_arguments: Sequence[Any],
        shared_arguments: Sequence[Any] = (),
        *,
        donate: bool = False,
    ) -> Callable[..., Any]:
        """Compiles `function(*of one lane, *shared)` to run for all lanes.

        Inside a device, lanes run one after another on CPU, where they fill a core each and
        batching them gains nothing, and batched elsewhere.

        Args:
          function: takes the arguments of one lane, then the shared ones.
          lane_arguments: arrays or shapes `[devices, per device, ...]`.
          shared_arguments: arrays or shapes that every lane sees whole.
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
            in_axes=(0,) * len(lane_arguments) + (None,) * len(shared_arguments),
            devices=self.devices,
            donate_argnums=(0,) if donate else (),
        )
        shapes = jax.tree.map(_shape, (*lane_arguments, *shared_arguments))
        return program.lower(*shapes).compile()


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))
