"""The weights in checkpoints/ are those of the manifest, and do what it says."""

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest
import torch

import audiogen
from audiogen.data.datasets.spoken_digits import SpokenDigits
from audiogen.data.module import SpectrogramData

FOLDER = Path("checkpoints")
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())


def test_manifest_and_page_name_the_files_that_are_there() -> None:
    assert set(MANIFEST) == {path.name for path in FOLDER.glob("*.safetensors")}
    assert all(name in (FOLDER / "README.md").read_text() for name in MANIFEST)


@pytest.mark.parametrize("name", MANIFEST)
def test_file_is_small_and_that_of_the_manifest(name: str) -> None:
    content = (FOLDER / name).read_bytes()
    assert len(content) < 2e6
    assert hashlib.sha256(content).hexdigest() == MANIFEST[name]["sha256"]
    model = audiogen.load(FOLDER / name)
    assert f"{type(model).__module__}.{type(model).__name__}" == MANIFEST[name]["model"]
    assert Path(MANIFEST[name]["config"]).exists()


@pytest.mark.skipif(not importlib.util.find_spec("espeakng_loader"), reason="the digits need the extra demo")
def test_digits_are_told_apart_by_speakers_it_was_not_trained_on(tmp_path: Path) -> None:
    evaluator = audiogen.load(FOLDER / "digits.safetensors")
    data = SpectrogramData(SpokenDigits(num_clips=200), evaluator.transform, root=str(tmp_path), cache=str(tmp_path))
    clips = data.split("test")
    with torch.no_grad():
        predicted = evaluator.network(clips.take(range(len(clips)))).argmax(dim=1)  # type: ignore[operator]
    assert evaluator.label_names == data.label_names
    assert float((predicted == clips.label).float().mean()) >= 0.95
