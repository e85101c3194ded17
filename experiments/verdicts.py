"""Print the verdicts on an experiment's claims.

  python -m experiments.verdicts --workdir=runs/digits
  python -m experiments.verdicts --workdir=experiments/results/digits --format=markdown
  python -m experiments.verdicts --workdir=experiments/results/digits_factorial --format=json

It reads claims.json, which `experiments.ablate` writes and which lies beside the committed results.
"""

import json

from absl import flags

from experiments import command_line
from mnv2_jax.ablation import workdir
from mnv2_jax.analysis import claim_tables, verdicts
from mnv2_jax.terminal import Console, say

flags.DEFINE_string(
    "workdir", None, "The folder that claims.json is in, which may be gs:// or s3://."
)
_FORMAT = flags.DEFINE_enum(
    "format", "table", ["table", "markdown", "latex", "json"], "How to print."
)


def main() -> int:
    """Print the decided claims. Return 0, whatever the verdicts are.

    Raises:
      ValueError: there are none in the folder, or the file is damaged.
    """
    where = command_line.required("workdir", "the folder of an experiment, such as runs/digits")
    with workdir.seen(where, files=()) as here:
        path = here.path / "claims.json"
        if not path.is_file():
            raise ValueError(
                f"--workdir={where}: there is no claims.json; expected a folder that "
                f"experiments.ablate has worked in"
            )
        try:
            rows = verdicts.read_decided(here.path)
            table = claim_tables.claims_table(rows)
            texts = {
                "markdown": claim_tables.claims_markdown(rows),
                "latex": claim_tables.claims_latex(rows),
                "json": json.dumps(rows, indent=1),
            }
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ValueError(
                f"{here.shown(path)}: it is damaged; run the experiment's command again, which "
                f"writes it anew"
            ) from None
    if _FORMAT.value == "table":
        Console().print(table)
    else:
        say(texts[_FORMAT.value])
    return 0


if __name__ == "__main__":
    command_line.run(main, __doc__ or "")
