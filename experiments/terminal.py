"""What is shown to people: names of files, blocks and classes hold what they like."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    r"""A text with what would steer the terminal written out: an escape as \x1b."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def say(text: str, file: TextIO | None = None) -> None:
    """Prints a text, on stdout by default, at once; see `plain`."""
    print(plain(text), file=file, flush=True)


def first_few(lines: Sequence[str], most: int = 5) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - most
    return [*lines[:most], *([f"and {more} more like these"] if more > 0 else [])]


class Console(rich.console.Console):
    """One that shows texts as they are: brackets are no markup, and colons no pictures."""

    def __init__(self, **options: Any) -> None:
        """Begins; `options` are those of Rich."""
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """See `rich.console.Console`, and `plain`: what cells of tables take is measured of it."""
        return super().render_str(plain(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See `rich.console.Console`, and `plain`."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))
