"""The choice of a layout: each lane on one device, or each batch shared by all devices."""

from collections.abc import Callable

import jax

from mnv2_jax.train.parallel import Batch, Lanes, Layout

LAYOUTS = ("auto", "lanes", "batch")
"""The values of `config.parallel`."""


def choose(wish: str, lanes: int, batch_size: int) -> tuple[Callable[[int], Layout], str]:
    """Choose a layout for the lanes of a cohort.

    Args:
      wish: one of `LAYOUTS`.
      lanes: the number of lanes.
      batch_size: images computed at once: a batch, or its part where gradients are accumulated.

    Returns:
      The layout, a function of the number of lanes; and the choice with its reason, for the user.

    Raises:
      ValueError: the wish is impossible; the message gives the reason.
    """
    devices = len(jax.devices())
    processes = jax.process_count()
    divides = batch_size % devices == 0
    if wish == "batch" or processes > 1:
        if wish == "lanes":
            raise ValueError(
                f"config.parallel='lanes': expected 'batch' or 'auto' with {processes} processes, "
                f"since several processes can only share batches"
            )
        if not divides:
            raise ValueError(
                f"config.train.batch_size: {batch_size} images at a time do not divide among "
                f"{devices} devices; expected a multiple of {devices}, or one process with "
                f"config.parallel='lanes'"
            )
        reason = "as asked for" if wish == "batch" else f"{processes} processes train together"
        return Batch, f"batch: {devices} devices share each batch, {reason}"
    if wish == "lanes":
        return Lanes, "lanes: every lane whole on one device, as asked for"
    if devices == 1:
        return Lanes, "lanes: there is one device"
    if lanes >= devices:
        return Lanes, f"lanes: enough of them for {devices} devices"
    if not divides:
        return Lanes, f"lanes: batches of {batch_size} do not divide among {devices} devices"
    if jax.devices()[0].platform == "cpu":
        return Lanes, "lanes: one lane has threads on every core already"
    return Batch, f"batch: {devices} devices share each batch, since there are fewer lanes"
