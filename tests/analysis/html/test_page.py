from mnv2_jax.analysis.html import page
from tests.analysis.html.test_embedded import curves_of
from tests.analysis.synthetic import make_frame

ONE, OTHER = "a" * 40, "b" * 40
ABLATE = "python -m experiments.ablate --config=configs/digits.py"


def test_the_commit_is_named_beside_the_command() -> None:
    frame = make_frame(expansions=(6,), seeds=1)
    html = page.render(
        title="t",
        command=ABLATE,
        frame=frame,
        claims=[],
        curves=curves_of(frame, 1),
        charts={},
        mistakes=None,
        pictures={},
        configs={},
        environments={run_id: {"commit": ONE, "dirty": False} for run_id in frame["run_id"]},
    )
    section = html[html.index('id="reproduce"') : html.index('id="reading"')]
    assert f"Check out commit <code>{ONE}</code> first." in section
    assert f"<code>{ABLATE}</code>" in section
    assert "note" not in section


def test_what_no_checkout_gives_is_warned_of() -> None:
    clean, changed = {"commit": ONE, "dirty": False}, {"commit": ONE, "dirty": True}
    assert "In 1 of 1 run the checkout had uncommitted changes" in page.checkout({"a": changed})
    several = page.checkout({"a": clean, "b": changed, "c": {"commit": OTHER, "dirty": None}})
    assert "Check out" not in several
    assert f"2 commits: 2 runs of <code>{ONE}</code>, 1 run of <code>{OTHER}</code>." in several
    assert "In 1 of 3 runs the checkout had uncommitted changes" in several
    for nothing in ({}, {"a": {"commit": None, "dirty": None}}):
        assert "No commit was recorded." in page.checkout(nothing)
