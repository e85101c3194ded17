"""Probes: what a network's bottlenecks keep of their input, measured on images in inference mode.

`observe` runs on the device and returns a batch's tensors; `Sums` adds up float64 sums of them on
the host, so that memory depends on the batch and not on the number of images.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mnv2_jax.nn.blocks.base import PROBES, PROJECTION, Block, Knobs
from mnv2_jax.nn.moments import Moments, effective_rank, explained_variance
from mnv2_jax.nn.network import Network
from mnv2_jax.nn.positive import NORM, positive_share

Array = jax.Array


class Observed(NamedTuple):
    """Tensors of one block for a batch of images.

    Attributes:
      target: the block's input as its output is to show it: where the stride is 2, means of cells
        of 2x2 pixels, `[batch, out height, out width, in]`.
      output: the block's output, `[batch, out height, out width, out]`.
      before: the tensor before the projection's activation, `[batch, height, width, channels]`;
        None if the block has none.
      after: the tensor after it.
      inside: by image and channel, the number of pixels strictly inside the bounds of that
        activation, int32 `[batch, channels]`; None if it is a function, which has no bounds.
      positive: by image, the mean and the minimum over pixels of the share of expanded channels
        above 0, float32 `[batch, 2]`; None if no layer expands.
    """

    target: Array
    output: Array
    before: Array | None
    after: Array | None
    inside: Array | None
    positive: Array | None


class Probed(NamedTuple):
    """The measures of one block of one network; None where a block does not have one.

    Attributes:
      channels: of the bottleneck, where the projection's activation acts.
      active: the mean over pixels of the number of channels strictly inside the bounds of the
        projection's activation; beyond a bound a channel does not count as active even if the
        activation leaks.
      dead: the number of channels that are active at no pixel of no image: their output is
        constant, unless the activation leaks.
      rank_before: effective rank before the projection's activation, over the pixels of all images.
      rank_after: effective rank after it.
      positive_mean: the mean over pixels of the share of expanded channels above 0.
      positive_min: the minimum over pixels of that share.
      decodable: the share of the variance of the block's input that a linear map finds in its
        output, pixel by pixel; see `mnv2_jax.nn.moments.explained_variance`.
    """

    channels: int | None
    active: float | None
    dead: int | None
    rank_before: float | None
    rank_after: float | None
    positive_mean: float | None
    positive_min: float | None
    decodable: float | None


def observe(
    network: Network, variables: Any, knobs: Knobs | None, images: Array
) -> tuple[Observed, ...]:
    """Apply a network in inference mode and return tensors of its blocks, in order; to be jitted.

    Args:
      network: the network.
      variables: its variables.
      knobs: see `Network.__call__`.
      images: scaled images, `[batch, height, width, channels]`.
    """
    passed: dict[tuple[str, ...], tuple[Array, Array]] = {}

    def watch(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        result = call(*args, **kwargs)
        module = context.module
        if context.method_name == "__call__":
            if isinstance(module, Block) and len(module.path) == 1:
                passed[module.path] = args[0], result[0]
            elif module.name == NORM:
                passed[module.path] = args[0], result
        return result

    with nn.intercept_methods(watch):
        _, sown = network.apply(variables, images, knobs=knobs, only="features", mutable=[PROBES])
    projections = sown.get(PROBES, {})
    spec = network.spec
    return tuple(
        _observed(
            passed[name,],
            block.stride,
            # Of a block that projects more than once, the last time counts.
            projections.get(name, {}).get(PROJECTION, (None,))[-1],
            passed.get((name, NORM)),
        )
        for name, block in zip(spec.parts[1:], spec.blocks, strict=False)
    )


def _observed(
    block: tuple[Array, Array],
    stride: int,
    projection: tuple[Array, Array, tuple[ArrayLike, ArrayLike] | None] | None,
    expansion: tuple[Array, Array] | None,
) -> Observed:
    x, output = block
    before = after = inside = positive = None
    if projection:
        before, after, bounds = projection
        if bounds:
            low, high = bounds
            inside = jnp.sum((before > low) & (before < high), (1, 2), jnp.int32)
    if expansion:
        shares = positive_share(expansion[1])
        positive = jnp.stack([shares.mean((1, 2)), shares.min((1, 2))], -1)
    return Observed(_cells(x) if stride == 2 else x, output, before, after, inside, positive)


def _cells(x: Array) -> Array:
    """Return means of cells of 2x2 pixels from the upper left; of an odd side, the last has one."""
    return nn.avg_pool(x, (2, 2), (2, 2), "SAME", count_include_pad=False)


class Sums:
    """Sums over images of what one block of one network was observed to do."""

    def __init__(self) -> None:
        self._before, self._after = Moments(), Moments()
        self._halves = Moments(), Moments()
        self._features = 0
        self._pixels = 0
        self._inside: np.ndarray | None = None
        self._positive: list[np.ndarray] = []

    def add(self, observed: Observed, weights: np.ndarray, first: int) -> None:
        """Add a batch.

        Args:
          observed: of the batch.
          weights: of its images: those of weight 0 are left out.
          first: the number of its first image. Even numbers are the half that the regression of
            `Probed.decodable` is fitted on, odd ones the half that it is measured on.
        """
        kept = np.flatnonzero(weights)
        arrays = [None if array is None else np.asarray(array)[kept] for array in observed]
        target, output, before, after, inside, positive = arrays
        assert target is not None
        assert output is not None
        self._features = output.shape[-1]
        joined = np.concatenate([output, target], -1)
        for half, moments in enumerate(self._halves):
            moments.add(_rows(joined[(first + kept) % 2 == half]))
        if before is not None and after is not None:
            self._before.add(_rows(before))
            self._after.add(_rows(after))
            self._pixels += before[..., 0].size
        if inside is not None:
            counts = inside.sum(0, np.int64)
            self._inside = counts if self._inside is None else self._inside + counts
        if positive is not None:
            self._positive.append(positive)

    def finish(self) -> Probed:
        """Return the measures of all images that were added.

        Raises:
          ValueError: a tensor holds numbers that are not finite.
        """
        every = np.concatenate(self._positive) if self._positive else None
        inside = self._inside
        parts = [part for part in (self._before, self._after, *self._halves) if part.count]
        if not all(np.isfinite(part.covariance).all() for part in parts):
            raise ValueError("its tensors are not all finite; expected numbers")
        return Probed(
            channels=len(self._before.mean) if self._before.count else None,
            active=None if inside is None else float(inside.sum() / self._pixels),
            dead=None if inside is None else int((inside == 0).sum()),
            rank_before=self._rank(self._before),
            rank_after=self._rank(self._after),
            positive_mean=None if every is None else float(every[:, 0].mean(dtype=np.float64)),
            positive_min=None if every is None else float(every[:, 1].min()),
            decodable=explained_variance(*self._halves, self._features),
        )

    @staticmethod
    def _rank(moments: Moments) -> float | None:
        return effective_rank(moments.covariance) if moments.count else None


def _rows(tensor: np.ndarray) -> np.ndarray:
    """Return a row per pixel, `[pixels of all images, channels]`."""
    return tensor.reshape(-1, tensor.shape[-1])
