"""Check a block against the contract of all blocks; print which fields it reads.

  python -m experiments.check_block inverted_residual
  python -m experiments.check_block sandglass
  python -m experiments.check_block my_block.py:MyBlock

NAME is a block of mnv2_jax.nn.blocks.BLOCKS, or FILE.py:CLASS. The exit status is 1 if a check
fails.
"""

from experiments import command_line
from mnv2_jax import arch, user_code
from mnv2_jax.nn import conformance
from mnv2_jax.nn.blocks import block_class
from mnv2_jax.nn.blocks.base import Block
from mnv2_jax.terminal import Console
from mnv2_jax.train import setup


def main(name: str) -> int:
    """Print a line per check. Return 1 if one failed, else 0.

    Raises:
      ValueError: there is no such block.
    """
    console = Console(soft_wrap=True, highlight=False)
    setup.begin(keep_programs=False)
    block = block_class(name)
    failed = 0
    width = max(map(len, conformance.CHECKS))
    for check, run in conformance.CHECKS.items():
        problem = _problem(run, block)
        failed += problem is not None
        text = f"FAILED: {problem}" if problem else (run.__doc__ or "").splitlines()[0]
        console.print(f"{check:{width}} {text}")
    if failed:
        console.print(f"{failed} of {len(conformance.CHECKS)} checks failed")
        return 1
    read = conformance.knobs_read(name)
    ignored = [knob for knob in arch.KNOBS if knob != "block" and knob not in read]
    console.print(f"Knobs it reads: {', '.join(read) or 'none'}")
    console.print(f"Knobs without effect on it: {', '.join(ignored) or 'none'}")
    return 0


def _problem(run: conformance.Check, block: type[Block]) -> str | None:
    """Return what a check finds wrong, such as a block that cannot run; None if it passes."""
    try:
        return run(block)
    except Exception as error:
        return user_code.fault(error, block)


if __name__ == "__main__":
    command_line.run(main, __doc__ or "", argument="NAME")
