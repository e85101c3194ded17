from pathlib import Path

import pandas as pd
import pytest

from tests.analysis.synthetic import make_frame, stop, write_workdir


@pytest.fixture
def frame() -> pd.DataFrame:
    return make_frame()


@pytest.fixture(scope="session")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished default grid with one diverged and one failed run; not to be written to."""
    results = make_frame()
    stop(results, 30)
    stop(results, 77, "failed")
    return write_workdir(tmp_path_factory.mktemp("sweep"), results)
