"""The report's sections on accuracies with numbers of images, and on what is mistaken for what."""

from collections import Counter
from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd

from mnv2_jax.analysis import accuracies
from mnv2_jax.analysis.accuracies import share
from mnv2_jax.analysis.html.markup import count, region
from mnv2_jax.analysis.mistakes import Mistakes, Picture

_MOST_CLASSES = 20
"""The classes of a matrix of confusions, and the rows of the table of classes, at most."""

_SHADES = 5

_MOST_PAIRS = 3
"""The pairs of classes that the first screen names, at most."""


def lead(frame: pd.DataFrame, mistakes: Mistakes | None) -> str:
    """Return the accuracies of all cells, if they are the answer; see `accuracies.lead`.

    Args:
      frame: one row per run, as `tables.read_results` returns it.
      mistakes: of the runs.
    """
    if not accuracies.lead(frame):
        return ""
    rows = accuracies.cells(frame)
    most = max(cell.runs for cell in rows)
    seeds = '<th scope="col" class="number">Seeds</th>' if most > 1 else ""
    splits = accuracies.splits_of(rows)[::-1]
    heads = "".join(
        f'<th scope="col" class="number">{accuracies.HEADS[split]}</th>' for split in splits
    )
    body = "\n".join(
        f'<tr><th scope="row">{escape(cell.name or "This run")}</th>'
        + "".join(f'<td class="number">{escape(cell.texts[split])}</td>' for split in splits)
        + (f'<td class="number">{cell.runs}</td>' if most > 1 else "")
        + "</tr>"
        for cell in rows
    )
    table = (
        f'<table class="accuracies"><thead><tr><th scope="col">Accuracy</th>{heads}{seeds}</tr>'
        f"</thead>\n<tbody>\n{body}\n</tbody></table>"
    )
    note = "" if most == 1 else '<p class="about">Means over seeds, the lowest and highest.</p>'
    css = "scroll tall" if len(rows) > 12 else "scroll"
    return region("Accuracy", table, css) + note + _most_frequent(mistakes)


def _most_frequent(mistakes: Mistakes | None) -> str:
    """Return a sentence on what the best network takes for what most often."""
    if mistakes is None or not len(mistakes.best.mistaken):
        return ""
    best = mistakes.best
    pairs = Counter((int(best.labels[i]), int(best.predicted[i])) for i in best.mistaken)
    texts = [
        f"{best.class_names[own]} for {best.class_names[taken]} ({number})"
        for (own, taken), number in pairs.most_common(_MOST_PAIRS)
    ]
    more = f" and {len(pairs) - _MOST_PAIRS} other pairs" if len(pairs) > _MOST_PAIRS else ""
    return (
        f'<p class="about">The best network takes {escape(", ".join(texts))}{more}: '
        '<a href="#mistakes">mistakes</a>.</p>'
    )


def section(mistakes: Mistakes | None, pictures: Mapping[int, Picture]) -> str:
    """Return the section on mistakes; "" without predictions.

    Args:
      mistakes: of the runs.
      pictures: by the position of the image in the test split.
    """
    if mistakes is None or not (seen := mistakes.best.confusion.sum()):
        return ""
    best = mistakes.best
    right = int(np.trace(best.confusion))
    runs = "" if mistakes.runs == 1 else f" of {count(mistakes.runs, 'run')} on these test images"
    words = (
        f"The best network{runs} by validation accuracy, run <code>{escape(mistakes.run)}</code>: "
        f"test accuracy {share(right, seen)}."
    )
    parts = [
        f"<p>{words}</p>",
        _classes(mistakes),
        _confusion(mistakes),
        _images(mistakes, pictures),
    ]
    return (
        '<section id="mistakes" aria-labelledby="mistakes-title">\n'
        '<h2 id="mistakes-title">Mistakes</h2>\n' + "\n".join(filter(None, parts)) + "\n</section>"
    )


def _classes(mistakes: Mistakes) -> str:
    """Return a table of the accuracy of each class, or of the classes with the lowest ones."""
    best = mistakes.best
    totals = best.confusion.sum(axis=1)
    right = np.diag(best.confusion)
    labels = [int(label) for label in np.nonzero(totals)[0]]
    head = ""
    if len(labels) > _MOST_CLASSES:
        labels.sort(key=lambda label: right[label] / totals[label])
        labels = labels[:_MOST_CLASSES]
        head = f'<p class="quiet">The {_MOST_CLASSES} classes with the lowest accuracy.</p>\n'
    several = mistakes.runs > 1
    rows = []
    for label in labels:
        cells = [share(right[label], totals[label])]
        if several:
            wrong = mistakes.wrong[best.labels == label].sum()
            cells.append(f"{100 * (1 - wrong / (mistakes.runs * totals[label])):.1f} %")
        tds = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows.append(f'<tr><th scope="row">{escape(best.class_names[label])}</th>{tds}</tr>')
    all_runs = '<th scope="col" class="number">Mean of all runs</th>' if several else ""
    return head + region(
        "Accuracy by class",
        '<table class="classes"><thead><tr><th scope="col">Class</th>'
        f'<th scope="col" class="number">Best network</th>{all_runs}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table>",
    )


def _confusion(mistakes: Mistakes) -> str:
    names, counts = mistakes.best.class_names, mistakes.best.confusion
    if len(names) > _MOST_CLASSES:
        return ""
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades = np.ceil(_SHADES * counts / totals).astype(int)
    head = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in names)
    rows = []
    for label, name in enumerate(names):
        cells = "".join(
            f'<td class="number {"right" if label == guess else "wrong"}-{shades[label, guess]}">'
            f"{number or ''}</td>"
            for guess, number in enumerate(counts[label])
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        "<h3>What it takes for what</h3>\n"
        '<p class="quiet">Test images by class (rows) and by prediction (columns).</p>\n'
        + region(
            "Confusions",
            f'<table class="confusion"><thead><tr><td></td>{head}</tr></thead>\n<tbody>\n'
            + "\n".join(rows)
            + "\n</tbody></table>",
        )
    )


def _images(mistakes: Mistakes, pictures: Mapping[int, Picture]) -> str:
    shown = [image for image in mistakes.shown if image in pictures]
    if not shown:
        return ""
    best, several = mistakes.best, mistakes.runs > 1
    figures = []
    for image in shown:
        own, taken = (best.class_names[x[image]] for x in (best.labels, best.predicted))
        words = f"{own}, taken for {taken}" if own != taken else f"{own}, recognised"
        often = f"wrong in {mistakes.wrong[image]} of {mistakes.runs} runs" if several else ""
        lines = (words, often, pictures[image].file)
        figures.append(
            f'<figure><img src="data:image/png;base64,{escape(pictures[image].png)}" '
            f'alt="test image {image}: {escape(words)}">'
            f"<figcaption>{'<br>'.join(map(escape, filter(None, lines)))}</figcaption></figure>"
        )
    words = (
        "Test images that the best network mistakes, the most confident mistakes first"
        + (", then those that it recognises and other runs mistake" if several else "")
        + "."
    )
    body = "\n".join(figures)
    return f'<h3>Images</h3>\n<p class="quiet">{words}</p>\n<div class="thumbs">\n{body}\n</div>'
