"""Seeds of an experiment: which ones, or a plan by which they stop by themselves."""

import dataclasses
import re
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True)
class Auto:
    """Seeds that stop by themselves: 0, 1, 2, ..., until every claim is decided.

    As an iterable, the seeds that are trained in any case.

    Attributes:
      minimum: the number of seeds before claims are decided for the first time.
      step: how many are added at a time, to the runs of claims that are undecided.
      budget: the most seeds.

    Raises:
      ValueError: a number is wrong.
    """

    minimum: int = 6
    step: int = 2
    budget: int = 24

    def __post_init__(self) -> None:
        least = {"minimum": 2, "step": 1, "budget": self.minimum}
        for name, bound in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < bound:
                what = " of minimum" if name == "budget" else ""
                raise ValueError(
                    f"seeds: {self}: {name}={value!r}; expected a whole number, {bound}{what} or "
                    f"more"
                )

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.minimum))

    def __str__(self) -> str:
        return f"auto(minimum={self.minimum}, step={self.step}, budget={self.budget})"

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of seeds after each round; rounds of equal size share compiled programs."""
        first = range(self.step, self.minimum, self.step)
        then = range(self.minimum, self.budget, self.step)
        return (*first, *then, self.budget)


def parse(text: str) -> Auto | int | list[int]:
    """Read seeds written as `8` (how many), `0,2,5` (which ones), `auto` or `auto:6,2,24`.

    Raises:
      ValueError: the text is none of these.
    """
    if re.fullmatch(r"\d+", text):
        return int(text)
    if re.fullmatch(r"\d+(,\d+)+", text):
        return [int(number) for number in text.split(",")]
    if not (plan := re.fullmatch(r"auto(:\d+,\d+,\d+)?", text)):
        raise ValueError(
            f"seeds={text}: expected how many, such as 8, which ones, such as 0,2,5, or auto or "
            f"auto:MINIMUM,STEP,BUDGET"
        )
    return Auto(*map(int, plan[1][1:].split(","))) if plan[1] else Auto()
