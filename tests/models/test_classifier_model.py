"""The classifier is trained, tested, exported and loaded."""

import json
from pathlib import Path

import pytest
import torch

import audiogen
from audiogen.checkpoint_io import CheckpointError
from audiogen.cli import main
from tests.tiny_classifier import classifier_arguments, write_classifier
from tests.tiny_run import write_classes


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_classifier(tmp_path_factory.mktemp("classifier"))


def test_tones_of_two_pitches_are_distinguished(classifier: tuple[Path, Path]) -> None:
    _, run = classifier
    model = audiogen.load(run)
    assert model.label_names == ["high", "low"]
    rows = (run / "metrics.csv").read_text().splitlines()
    names, last = rows[0].split(","), rows[-1].split(",")
    assert float(last[names.index("val/accuracy")]) >= 0.9


def test_validate_and_test_print_the_accuracy(
    classifier: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["validate", *classifier_arguments(*classifier)])
    assert "val/accuracy" in capsys.readouterr().out


def test_learning_rate_rises_and_falls_by_kimg(classifier: tuple[Path, Path]) -> None:
    _, run = classifier
    states = [
        torch.load(path, weights_only=True)["optimizer_states"][0]["param_groups"][0]["lr"]
        for path in sorted((run / "checkpoints").glob("*.ckpt"))
    ]
    assert 0 <= states[-1] < 0.004 * 0.01


def test_data_of_one_class_are_refused(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"": 300})
    with pytest.raises(ValueError, match="at least two classes, got 0"):
        main(["fit", *classifier_arguments(data, tmp_path / "run")])


def test_exported_model_is_identical_and_contains_its_settings(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    path = audiogen.export(classifier[1], tmp_path / "evaluator.safetensors")
    before, after = audiogen.load(classifier[1]), audiogen.load(path)
    assert after.kimg == before.kimg == 0.4
    assert after.transform.same_spectrogram(before.transform)
    assert all(torch.equal(tensor, after.state_dict()[name]) for name, tensor in before.state_dict().items())


def test_invalid_exports_are_refused(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"should end in \.safetensors"):
        audiogen.export(classifier[1], tmp_path / "evaluator.pt")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x00" * 100)
    with pytest.raises(CheckpointError, match=r"broken\.safetensors is not a readable checkpoint"):
        audiogen.load(broken)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors", {"audiogen": json.dumps({})})
    with pytest.raises(CheckpointError, match="saved by another program"):
        audiogen.load(tmp_path / "other.safetensors")
