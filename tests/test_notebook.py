"""The notebook's code runs from top to bottom."""

import json

import matplotlib as mpl

from data.media import probe
from tests.conftest import REPOSITORY


def test_the_notebook_runs(inference_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    mpl.use("agg")
    notebook = json.loads((REPOSITORY / "notebook" / "inference_gh.ipynb").read_text())
    namespace = {}
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        source = "".join(line for line in cell["source"] if not line.startswith("%"))
        exec(compile(source, "notebook", "exec"), namespace)  # noqa: S102
        if "parameters" in cell["metadata"].get("tags", ()):
            namespace |= {
                "checkpoint": inference_folder / "model.safetensors",
                "video": inference_folder / "video.mp4",
                "output_dir": tmp_path / "out",
            }
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"edited.wav", "edited.mp4", "edited.envelope.csv"}
    assert probe(tmp_path / "out" / "edited.mp4").has_sound
