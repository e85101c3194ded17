import pandas as pd

from mnv2_jax.analysis import seeds
from tests.analysis.synthetic import make_frame, stop


def test_means_have_the_seeds_that_all_cells_were_run_with():
    few, more = make_frame((1,), seeds=2), make_frame((6,), seeds=4)
    more["run_id"] = "more" + more["run_id"]
    frame = pd.concat([few, more], ignore_index=True)
    stop(frame, 0)  # It was run, so that its seed stays.
    recorded = seeds.recorded(frame)
    done = frame[frame["status"] == "done"]
    assert set(seeds.of_whole(done, recorded)["seed"]) == {0, 1}
    assert len(seeds.of_whole(done, recorded)) == 15
    assert seeds.of_whole(more, recorded) is more
    apart = pd.concat([few, more.assign(seed=more["seed"] + 10)], ignore_index=True)
    assert len(seeds.of_whole(apart, seeds.recorded(apart))) == len(apart)
