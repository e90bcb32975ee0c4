import pytest
import toys

from r4t_utils.run.stage import STAGES


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Scratch folders for artifacts, results and notebooks, as every module then sees them."""
    for name in ("artifacts", "results", "notebooks"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"R4T_{name.upper()}", str(tmp_path / name))
    monkeypatch.delenv("R4T_DATA_DIR", raising=False)
    monkeypatch.delenv("R4T_PROGRESS", raising=False)
    return tmp_path


@pytest.fixture
def toy(folders, monkeypatch):
    """A pipeline of two toy notebooks, the first two stages."""
    toys.save(folders / "notebooks", "01_data_curation", toys.FIRST)
    toys.save(folders / "notebooks", "02_rl_fanout", toys.SECOND)
    for name in reversed(list(STAGES)[2:]):  # put back in the opposite order, hence in their own
        monkeypatch.delitem(STAGES, name)
    return folders
