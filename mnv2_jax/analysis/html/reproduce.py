"""Instructions of the report to get its results again: what to check out."""

from collections import Counter
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from mnv2_jax.analysis.html.markup import count

_MOST = 3


def checkout(environments: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the commit to check out, as HTML, with a warning where it lacks some of the code.

    Args:
      environments: by run id, as `records.read_files` returns them.
    """
    return "\n".join(_paragraphs(environments))


def _paragraphs(environments: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    commits = Counter(entry["commit"] for entry in environments.values() if entry.get("commit"))
    versions = '<a href="#environment">Environment</a> has the versions of all libraries.'
    if not commits:
        yield f"<p>No commit was recorded. {versions}</p>"
        return
    known = [f"<code>{escape(commit)}</code>" for commit, _ in commits.most_common(_MOST)]
    if len(commits) == 1:
        yield f"<p>Check out commit {known[0]} first. {versions}</p>"
    else:
        runs = [count(number, "run") for _, number in commits.most_common(_MOST)]
        listed = ", ".join(f"{number} of {name}" for number, name in zip(runs, known, strict=True))
        rest = f" and {len(commits) - _MOST} more" if len(commits) > _MOST else ""
        yield (
            f'<p class="note">Runs are of {len(commits)} commits: {listed}{rest}. No checkout '
            f"gives all of them. {versions}</p>"
        )
    dirty = sum(entry.get("dirty") is True for entry in environments.values())
    if dirty:
        of = f"{dirty:,} of {count(len(environments), 'run')}"
        yield (
            f'<p class="note">In {of} the checkout had uncommitted changes: the commit is not '
            "all of the code that ran.</p>"
        )
