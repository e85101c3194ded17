import dataclasses

import pytest

from mnv2_jax.ablation.grid import axis, product
from mnv2_jax.analysis.claims import greater
from mnv2_jax.api.planning import Design, read_config_file
from tests import victim


@pytest.mark.parametrize(
    ("config", "name", "data"),
    [
        ("folder.py:photos/", "folder_photos", "photos/"),
        ("folder.py:./photos,shortcut", "folder_photos_shortcut", "./photos"),
        ("folder.py:/data/my photos, é:2/,shortcut", "folder_my_photos_é_2_shortcut", None),
        ("folder.py:../", "folder", "../"),
        ("transfer.py:folder,a, b/", "transfer_folder_a_b", "a, b/"),
        ("transfer.py:folder,/somewhere/else/pets/", "transfer_folder_pets", None),
    ],
)
def test_an_experiment_on_a_folder_is_called_after_that_folder(config, name, data):
    found = read_config_file(f"configs/{config}")
    assert found.name == name
    assert found.config.data.name == data or data is None


def test_its_title_is_the_first_line_of_the_docstring(tmp_path):
    assert read_config_file("configs/digits.py:shortcut").title == (
        "Linear against ReLU6 projections, shortcuts on and off, expansions 1 to 10, on real digits"
    )
    path = tmp_path / "mine.py"
    path.write_text("from configs.digits import get_claims, get_config, get_grid\n")
    assert read_config_file(str(path)).title == ""


@pytest.fixture
def plan(dots, tiny):
    """Plans projections x learning rates x seeds, with a claim about projections."""

    def planned(rates, seeds, **fields):
        (config, *_) = victim.configs(epochs=2)
        config.model.projection = "linear"
        config.evaluate_test = fields.pop("evaluate_test", True)
        grid = product(
            axis("model.projection", ("linear", "relu6")),
            axis("train.learning_rate", [0.1 * rate for rate in range(1, rates + 1)]),
            axis("seed", range(seeds)),
        )
        claim = greater("c", "here", "Linear is better", "model.projection", "linear", "relu6")
        design = Design("d", config, grid, fields.pop("claims", (claim,)), **fields)
        return design.plan(lambda _: dots)

    return planned


def test_a_plan_that_decides_no_claim_is_refused_unless_it_is_small(plan):
    assert plan(4, 2).remarks == ()
    assert plan(7, 1, claims=()).remarks == ()
    (remark,) = plan(6, 1).remarks
    assert remark == "no claim can be decided by one seed, which gives no interval"
    for pinned in ((), {"seed"}):
        seeds = 2 if pinned else 1
        expected = "^claims: 14 runs would decide none of them: no claim .*leave out .*config.seed"
        with pytest.raises(ValueError, match=expected):
            plan(7, seeds, pinned=pinned)
    (remark,) = plan(6, 2, pinned={"model.projection"}).remarks
    assert remark == "claim 'c' cannot be decided: no run has projection relu6"
    expected = "^claims: 14 runs would decide none .*no run has projection relu6; leave out what"
    with pytest.raises(ValueError, match=expected):
        plan(7, 2, pinned={"model.projection"})


def test_claims_about_test_images_that_are_left_unread_are_refused(plan):
    message = (
        r"^claim 'c': metric='test_accuracy': config.evaluate_test=False leaves test images unread;"
        r" expected a metric such as 'validation_accuracy', or config.evaluate_test=True$"
    )
    with pytest.raises(ValueError, match=message):
        plan(4, 2, evaluate_test=False)
    claim = greater("c", "here", "Better", "model.projection", "linear", "relu6")
    of_validation = dataclasses.replace(claim, metric="validation_accuracy")
    assert plan(4, 2, evaluate_test=False, claims=(of_validation,)).remarks == ()
