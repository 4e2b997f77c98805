"""examples/segment.ipynb runs from top to bottom on its phantom and on a scan of one's own, and is kept without outputs."""

from pathlib import Path

import nbformat
import papermill
import pytest

from scoat_lib import phantom
from scoat_lib.scan import Scan

PATH = Path(__file__).parents[2] / "examples" / "segment.ipynb"


@pytest.mark.parametrize("own", [False, True], ids=["phantom", "own scan"])
def test_the_example_runs(tmp_path, own):
    parameters = {"output": str(tmp_path / "made")}
    if own:
        parameters["scan"] = str(phantom.patient(5, (64, 64, 16)).scan.save(tmp_path / "own.nii.gz"))
    ran = papermill.execute_notebook(PATH, tmp_path / "ran.ipynb", parameters, progress_bar=False)
    printed = "".join(o.get("text", "") for c in ran.cells for o in c.get("outputs", []) if o.output_type == "stream")
    mask = Scan.load(tmp_path / "made" / "mask.nii.gz", mask=True)
    assert f"volume {mask.volume():.0f} cm³, mask of shape {mask.voxels.shape}" in printed
    assert "lung-opacification.ctbl" in printed
    assert (tmp_path / "made" / "lung-opacification.txt").exists()
    assert (tmp_path / "made" / "phantom.nii.gz").exists() != own


def test_the_example_is_kept_without_outputs():
    cells = nbformat.read(PATH, 4).cells
    assert all(not cell.outputs for cell in cells if cell.cell_type == "code")
    assert all(cell.source.count("\n") < 25 for cell in cells)
