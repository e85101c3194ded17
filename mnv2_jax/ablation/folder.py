"""An experiment's folder, as this process sees it."""

from collections.abc import Collection
from pathlib import Path

from mnv2_jax.schema import RECORD


class Workdir:
    """An experiment's folder, as this process sees it."""

    def __init__(self, path: Path, files: Collection[str] = RECORD) -> None:
        """Begins.

        Args:
          path: where its files are read and written.
          files: of each record those that are there.
        """
        self.path = path
        self.files = files

    @property
    def location(self) -> str:
        """What processes elsewhere find it by."""
        return str(self.path.resolve())

    def shown(self, text: object) -> str:
        """A text that may name files of the folder, as the user knows them."""
        return str(text)

    def sync(self) -> bool:
        """Shares what was written here, then brings what others wrote.

        Returns:
          Whether that holds records of runs. Where all write to one folder there is nothing to do.

        Raises:
          OSError: the bucket cannot be reached.
        """
        return False
