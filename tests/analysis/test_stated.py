from mnv2_jax.analysis import stated
from mnv2_jax.analysis.claims import equivalent, greater

LINEAR = greater("linear", "Fig. 6a", "Linear is better.", "projection", "linear", "relu6")
PLATEAU = equivalent("plateau", "section 4", "All the same.", "expansion", (6, 8), 0.01)
VERSION = {"config": "configs/digits.py", "commit": "0" * 40, "dirty": False}


def test_a_claim_is_dated_when_it_is_first_stated(tmp_path):
    stated.note(tmp_path, [LINEAR], VERSION, finished=0)
    before = (tmp_path / "stated.json").read_bytes()
    stated.note(tmp_path, [LINEAR], {**VERSION, "commit": "1" * 40}, finished=12)
    assert (tmp_path / "stated.json").read_bytes() == before
    stated.note(tmp_path, [LINEAR, PLATEAU], VERSION, finished=12)
    found = stated.read(tmp_path)
    assert found[stated.identity(LINEAR)]["finished"] == 0
    assert found[stated.identity(PLATEAU)]["finished"] == 12
    assert found[stated.identity(PLATEAU)]["commit"] == "0" * 40


def test_a_plan_of_seeds_stands_with_the_moment_it_was_stated(tmp_path):
    plan = {"minimum": 6, "step": 2, "budget": 24}
    stated.note(tmp_path, [LINEAR], VERSION, finished=0)
    stated.note(tmp_path, [LINEAR, PLATEAU], VERSION, finished=12, seeds=plan)
    stated.note(tmp_path, [LINEAR], VERSION, finished=20, seeds={**plan, "budget": 40})
    linear, plateau = (stated.read(tmp_path)[stated.identity(one)] for one in (LINEAR, PLATEAU))
    assert linear["finished"] == 0
    for entry in (linear, plateau):
        assert entry["seeds"] == {**plan, "when": entry["seeds"]["when"], "finished": 12}


def test_a_claim_that_says_something_else_is_another(tmp_path):
    wider = equivalent("plateau", "section 4", "All the same.", "expansion", (6, 8), 0.02)
    assert stated.identity(wider) != stated.identity(PLATEAU)
    stated.note(tmp_path, [PLATEAU], VERSION, finished=0)
    stated.note(tmp_path, [wider], VERSION, finished=12)
    assert len(stated.read(tmp_path)) == 2


def test_without_a_note_nothing_is_said(tmp_path):
    assert stated.read(tmp_path) == {}
