"""Write the report of finished results again, from their records.

  python -m experiments.report --workdir=runs/digits
  python -m experiments.report --workdir=copied/digits_factorial
  python -m experiments.report --workdir=s3://bucket/digits

It decides the claims that claims.json records and writes claims.json, figures/ and report.html in
the folder; nothing is trained, and the config file is not read. Claims that an earlier version
wrote, or that are of a kind of your own, stay as they were decided.
"""

from absl import flags

from experiments import command_line
from mnv2_jax.ablation import workdir
from mnv2_jax.api import Results
from mnv2_jax.terminal import say

flags.DEFINE_string(
    "workdir", None, "The folder that results.csv is in, which may be gs:// or s3://."
)


def main() -> int:
    """Write the report and print its path.

    Raises:
      ValueError: there are no results in the folder, or a record is damaged.
      OSError: the folder cannot be written to.
    """
    where = command_line.required("workdir", "a folder that a sweep wrote")
    with workdir.seen(where) as here:
        say(here.shown(Results(here).report()))
    return 0


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
