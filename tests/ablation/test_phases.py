"""Phases of transfer learning as runs: their order and their ids."""

import pytest
from ml_collections import ConfigDict

from configs import digits, transfer
from mnv2_jax import schema
from mnv2_jax.ablation import cohort, grid, phases, records
from mnv2_jax.data import sources
from mnv2_jax.metrics import SPLITS
from mnv2_jax.train.tuning import Tuning


def config(**changes):
    found = transfer.get_config()
    for path, value in changes.items():
        section, _, field = path.replace("__", ".").rpartition(".")
        holder = found
        for name in filter(None, section.split(".")):
            holder = holder[name]
        holder[field] = value
    return found


def chain(**changes):
    return phases.runs([config(**changes)])


def told(runs):
    return [run.transfer.phase for run in runs]


def test_a_run_comes_after_those_it_starts_from():
    assert told(chain()) == ["pretraining", "extraction", "finetuning"]
    assert told(chain(transfer__phase="extraction")) == ["pretraining", "extraction"]
    assert told(chain(transfer__phase="scratch")) == ["scratch"]
    base, extraction, finetuning = chain()
    assert base.transfer.start == ""
    assert extraction.transfer.start == grid.run_id(base)
    assert finetuning.transfer.start == grid.run_id(extraction)


def test_a_phase_takes_its_section_and_what_makes_it_what_it_is():
    base, extraction, finetuning = chain(
        extraction__train__epochs=7,
        train__learning_rate=0.25,
        transfer__first="block_08",
        transfer__norm="all",
    )
    assert (base.transfer.classes, base.transfer.images_per_class) == ("0-4", 0)
    assert base.train.batch_size == 64
    assert (base.transfer.first, base.transfer.norm) == ("stem", "all")
    assert extraction.train.epochs == 7
    assert (extraction.transfer.first, extraction.transfer.norm) == ("classifier", "inference")
    assert (extraction.transfer.classes, extraction.transfer.images_per_class) == ("5-9", 10)
    assert finetuning.train.learning_rate == 0.25
    assert (finetuning.transfer.first, finetuning.transfer.norm) == ("block_08", "all")
    for run, until in (
        (base, {"pretraining"}),
        (extraction, {"pretraining", "extraction"}),
        (finetuning, {"pretraining", "extraction"}),
    ):
        assert set(schema.SECTIONS) & set(run) == until
        assert set(run.transfer) == set(phases.FIELDS)
    assert finetuning.extraction.train.epochs == 7


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"transfer__norm": "trained"}, 2),
        ({"train__learning_rate": 0.5}, 2),
        ({"extraction__train__learning_rate": 0.5}, 1),
        ({"transfer__images_per_class": 5}, 1),
        ({"pretraining__train__epochs": 1}, 0),
        ({"model__projection": "relu6"}, 0),
        ({"seed": 1}, 0),
    ],
)
def test_what_comes_before_is_shared_where_it_is_the_same(change, same):
    assert len(phases.runs([config(), config(**change)])) == 6 - same


def test_runs_come_in_the_order_in_which_they_can_be_trained():
    settings = grid.expand(transfer.get_config(), transfer.get_grid())
    runs = phases.runs(settings)
    place = {grid.run_id(run): number for number, run in enumerate(runs)}
    assert len(place) == len(runs) == 16 * 2 * 5
    for run in runs:
        if run.transfer.start:
            assert place[run.transfer.start] < place[grid.run_id(run)]


def test_a_base_that_is_given_takes_the_place_of_pretraining():
    extraction, finetuning = phases.runs([config()], "file-0123456789ab")
    assert extraction.transfer.start == "file-0123456789ab"
    assert finetuning.transfer.start == grid.run_id(extraction)
    assert told(phases.runs([config(transfer__phase="scratch")], "file-0123456789ab")) == [
        "scratch"
    ]
    other = phases.runs([config()], "file-ba9876543210")
    assert {grid.run_id(run) for run in other}.isdisjoint(
        map(grid.run_id, (extraction, finetuning))
    )


def test_impossible_phases_are_refused():
    with pytest.raises(ValueError, match=r"config\.transfer\.phase='tuning': expected one of scra"):
        phases.runs([config(transfer__phase="tuning")])
    with pytest.raises(ValueError, match=r"config\.transfer: the config lacks this section"):
        phases.runs([digits.get_config()])
    folder = transfer.get_config("folder,photos")
    with pytest.raises(ValueError, match=r"pretrained: it is missing, .* no section"):
        phases.runs([folder])
    assert told(phases.runs([folder], "file-0123456789ab")) == ["extraction", "finetuning"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"train": {"rate": 1.0}}, r"config\.extraction: config\.train\.rate: no such field; "),
        (
            {"train": {"epochs": "7"}},
            r"config\.extraction\.train\.epochs='7': expected a value of t",
        ),
        ({"train": 3}, r"config\.extraction\.train=3: expected a field below it, such as config"),
    ],
)
def test_wrong_fields_in_the_section_of_a_phase_are_refused(own, message):
    wrong = config()
    wrong.extraction = ConfigDict(own)
    with pytest.raises(ValueError, match=message):
        phases.runs([wrong])


def names(images):
    return {images.records[number].where for number in range(len(images))}


def test_phases_draw_the_same_splits():
    """Of the classes that they share: those of a base may be more."""
    drawn = config(data__split="per_seed", pretraining__transfer__classes="", seed=3)
    base, *later = (part.dataset for part in cohort.plan(phases.runs([drawn]), sources.load))
    assert len(base.test) == 500
    assert len(later) == 2
    for dataset in later:
        for split in SPLITS:
            assert names(getattr(dataset, split)) < names(getattr(base, split))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"data": {"train": "train[:50%]"}}, r"config\.data\.train is 'train\[:50%\]', in the pha"),
        (
            {"data": {"split": "fixed"}},
            r"config\.data\.split is 'fixed', in the phase extraction '",
        ),
        ({"seed": 4}, r"config\.seed is 4, in the phase extraction 3, so that one may train on te"),
    ],
)
def test_phases_that_draw_other_splits_are_refused(own, message):
    drawn = config(data__split="per_seed", seed=3)
    drawn.pretraining.update(own)
    with pytest.raises(ValueError, match=f"^config.data.split='per_seed': in the .*{message}"):
        phases.runs([drawn])
    drawn.pretraining.update({"data": {"name": "another"}})
    assert len(phases.runs([drawn])) == 3
    drawn.pretraining.update({"data": {"name": "digits"}})
    drawn.data.split = "fixed"
    assert len(phases.runs([drawn])) == 3


def test_phases_are_cohorts_whose_lanes_start_from_one_another():
    """Of both projections and all seeds; the label says what tells the cohorts apart."""
    runs = phases.runs(grid.expand(transfer.get_config(), transfer.get_grid()))
    cohorts = cohort.plan(runs, sources.load)
    assert sorted(part.label.partition(", ")[2] for part in cohorts) == [
        "norm all, phase pretraining",
        "norm all, phase scratch",
        "norm inference, phase extraction",
        "norm inference, phase finetuning",
        "norm trained, phase finetuning",
    ]
    assert [len(part.runs) for part in cohorts] == [32] * 5
    tunings = {part.label.rpartition(" ")[2]: part.program.tuning for part in cohorts}
    assert tunings["pretraining"] is tunings["scratch"] is None
    assert tunings["extraction"] == Tuning("classifier", "inference")
    first = "block_04"  # The last six of nine.
    assert {part.program.tuning for part in cohorts if "finetuning" in part.label} == {
        Tuning(first, "inference"),
        Tuning(first, "trained"),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transfer__first": "block_99"}, r"config\.transfer\.first='block_99': no such part"),
        ({"transfer__norm": "batch"}, r"config\.transfer\.norm='batch': expected one of"),
        ({"transfer__dropout": 1.0}, r"config\.transfer\.dropout=1\.0: expected 0 or more"),
        ({"transfer__classes": "5-5"}, r"config\.transfer\.classes='5-5': it leaves one class"),
        ({"transfer__images_per_class": 999}, r"config\.transfer\.images_per_class=999: images of"),
        ({"train__batch_size": 64}, r"config\.train\.batch_size=64: expected at most 50"),
        ({"transfer__start": "x"}, r"config\.transfer\.start='x': expected '', since"),
        (
            {"extraction__train__learning_rate": -1.0},
            r"config\.train\.learning_rate=-1\.0: .* phase extraction, whose own values are those",
        ),
        ({"augment__flip": True}, r"config\.augment\.flip=True: expected False"),
    ],
)
def test_wrong_values_are_refused_before_anything_trains(change, message):
    with pytest.raises(ValueError, match=message):
        cohort.plan(chain(**change), sources.load)


def test_finetuning_without_a_start_is_refused():
    alone = chain()[-1]
    alone.transfer.start = ""
    with pytest.raises(ValueError, match=r"config\.transfer\.phase='finetuning': .*finetune"):
        cohort.plan([alone], sources.load)
    with pytest.raises(ValueError, match=r"config\.transfer\.phase='finetuning': .*finetune"):
        cohort.plan([config()], sources.load)


def test_how_a_start_was_trained_is_a_column_and_no_cohort():
    """A field that an earlier phase differs in is a column under the path of its section."""
    settings = [
        config(pretraining__train__weight_decay=decay, extraction__train__learning_rate=rate)
        for decay, rate in ((0.0, 0.1), (1e-3, 0.1), (1e-3, 0.2))
    ]
    cohorts = cohort.plan(phases.runs(settings), sources.load)
    assert [len(part.runs) for part in cohorts] == [2, 3, 3]
    rows = records.planned(cohorts)
    decay, rate = "pretraining.train.weight_decay", "extraction.train.learning_rate"
    told = [(row["transfer.phase"], row[decay], row[rate]) for row in rows]
    assert told == [
        ("pretraining", 0.0, None),
        ("pretraining", 1e-3, None),
        ("extraction", 0.0, 0.1),
        ("extraction", 1e-3, 0.1),
        ("extraction", 1e-3, 0.2),
        ("finetuning", 0.0, 0.1),
        ("finetuning", 1e-3, 0.1),
        ("finetuning", 1e-3, 0.2),
    ]
    fields = [grid.fields(run.config) for part in cohorts for run in part.runs]
    implied_by_phase = phases.implied_by_phase(fields)
    assert {"train.weight_decay", "train.learning_rate", "train.epochs"} <= implied_by_phase
    assert not {decay, rate, "transfer.phase"} & implied_by_phase
    # Where nothing varies, there is no such column.
    assert decay not in records.planned(cohort.plan(chain(), sources.load))[0]


def test_few_images_and_more_are_decoded_once():
    settings = [config(transfer__images_per_class=count) for count in (5, 10)]
    cohorts = cohort.plan(phases.runs(settings), sources.load)
    tuned = [part.dataset for part in cohorts if "finetuning" in part.label]
    assert [data.images_per_class for data in tuned] == [5, 10]
    assert tuned[0].decoded is tuned[1].decoded
    (base,) = (part.dataset for part in cohorts if "pretraining" in part.label)
    assert base.decoded is not tuned[0].decoded
