"""Every check finds the fault that it is there for."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from mnv2_jax import arch
from mnv2_jax.nn import conformance, layers
from mnv2_jax.nn.blocks.base import Block


def block(body, **attributes):
    """A block of the function `body(self, x, carry, train)`."""

    def call(self, x, carry, *, train):
        return body(self, x, carry, train)

    call.__name__ = "__call__"
    return type("Faulty", (Block,), {"__call__": nn.compact(call), **attributes})


def sound(self, x, carry, train):
    y = self.depthwise(x, "depthwise", train, "relu6")
    y = self.pointwise(y, self.spec.out_channels, "project", train)
    return self.join(x, y, carry), carry


def no_stride(self, x, carry, train):
    y = self.depthwise(x, "depthwise", train, stride=1)
    return self.pointwise(y, self.spec.out_channels, "project", train), carry


def no_carry(self, x, carry, train):
    return sound(self, x, carry, train)[0]


def root(self, x, carry, train):
    y, carry = sound(self, x, carry, train)
    return jnp.sqrt(jnp.maximum(y, 0.0)), carry


def batch_mean_in_inference(self, x, carry, train):
    y, carry = sound(self, x, carry, train)
    return y - y.mean(0), carry


def moments_move_in_inference(self, x, carry, train):
    y = self.depthwise(x, "depthwise", True)
    return self.pointwise(y, self.spec.out_channels, "project", True), carry


def moments_never_move(self, x, carry, train):
    y = self.depthwise(x, "depthwise", False)
    return self.pointwise(y, self.spec.out_channels, "project", False), carry


def float32_inside(self, x, carry, train):
    return sound(self, x.astype(jnp.float32), carry, train)


def knobs_of_its_own(self, x, carry, train):
    y, _ = sound(self, x, carry._replace(knobs=None), train)
    return y, carry


def unnamed(self, x, carry, train):
    y, carry = sound(self, x, carry, train)
    return layers.Pointwise(self.spec.out_channels)(y), carry


def named_by_mode(self, x, carry, train):
    y = self.depthwise(x, f"depthwise_{train}", train)
    return self.pointwise(y, self.spec.out_channels, "project", train), carry


def loose_kernel(self, x, carry, train):
    y, carry = sound(self, x, carry, train)
    kernel = self.param("kernel", nn.initializers.ones_init(), (y.shape[-1], y.shape[-1]))
    return y @ kernel.astype(y.dtype), carry


def norm_of_its_own(self, x, carry, train):
    y, carry = sound(self, x, carry, train)
    return layers.BatchNorm(name="norm")(y, train=train), carry


def lane_dependent(self, x, carry, train):
    @jax.custom_batching.custom_vmap
    def factor(one):
        return one

    @factor.def_vmap
    def of_lanes(size, in_batched, one):
        return 2 * one, True

    y, carry = sound(self, x, carry, train)
    return y * factor(jax.lax.stop_gradient(0 * x[0, 0, 0, 0] + 1)), carry


FAULTS = {
    "shapes": [
        (no_stride, r"stride 2, 8x8 pixels: the output has shape \(4, 8, 8, 6\); expected"),
        (no_carry, "expected a pair, the output and the carry"),
    ],
    "gradients": [(root, "the gradient of .* is not finite")],
    "modes": [
        (batch_mean_in_inference, "in inference, an image's result depends on the others"),
        (moments_move_in_inference, "inference changed the running moments"),
        (moments_never_move, "training did not move the running moments"),
    ],
    "bfloat16": [(float32_inside, "inference: bfloat16 in gave float32 out")],
    "lanes": [(lane_dependent, "lane 0 and the same run alone differ in ")],
    "split_batch": [(norm_of_its_own, "the output differs; is `axis_name` passed")],
    "knobs": [(knobs_of_its_own, "carry.knobs is ignored")],
    "names": [
        (unnamed, "params/Pointwise_0/kernel is named by Flax"),
        (named_by_mode, "names depend on size or mode"),
    ],
    "cost": [(loose_kernel, "kernels in no layer of their own: 1")],
}


def test_every_check_has_a_fault_to_find():
    assert set(FAULTS) == set(conformance.CHECKS)


@pytest.mark.parametrize(
    ("check", "body", "message"),
    [(check, *fault) for check, faults in FAULTS.items() for fault in faults],
)
def test_a_fault_is_found(check, body, message):
    problem = conformance.CHECKS[check](block(body))
    assert problem is not None
    assert re.search(message, problem)


def test_values_of_one_network_are_told_from_two():
    base = arch.BlockSpec("separable", expansion=2)
    assert conformance.same_network([base, arch.BlockSpec("separable", expansion=6)])
    assert not conformance.same_network([base, arch.BlockSpec("inverted_residual", expansion=2)])


def test_odd_widths_are_tried():
    def halves(self, x, carry, train):  # As a channel shuffle does it.
        return sound(self, x.reshape(*x.shape[:-1], 2, -1).reshape(x.shape), carry, train)

    with pytest.raises(TypeError, match=r"cannot reshape array of shape .*7"):
        conformance.CHECKS["shapes"](block(halves))
