"""The notebook runs from top to bottom and its network reads digits."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_quickstart.ipynb"


@pytest.mark.filterwarnings("ignore")  # of the notebook machinery
def test_quickstart():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) == 10
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    printed = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    assert float(re.search(r"held-out accuracy ([\d.]+)", printed).group(1)) >= 0.97
