"""Making sounds with a trained model."""

from pathlib import Path

import pytest
import soundfile
import torch

import audiogen
from audiogen.models import stylegan2
from audiogen.models.kimg import KimgModule
from audiogen.models.stylegan2 import StyleGAN2
from audiogen.networks.stylegan2 import Discriminator, Generator
from audiogen.transforms.mel import LogMel

NAMES = ["zero", "one", "7", "two"]


@pytest.fixture(scope="module")
def model() -> KimgModule:
    """Return an untrained model with classes, its noise switched on."""
    torch.manual_seed(0)
    model = StyleGAN2(
        LogMel(8000, 512, 128, n_mels=32, num_frames=32),
        NAMES,
        batch_size=4,
        generator=lambda shape, classes: Generator(shape, classes, z_dim=8, w_dim=16, channel_base=256, channel_max=16),
        discriminator=lambda shape, classes: Discriminator(shape, classes, channel_base=256, channel_max=16),
    )
    for name, parameter in model.generator_ema.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.1)
    return model.eval()


def test_same_seed_makes_the_same_sounds_in_any_company(model: KimgModule, monkeypatch: pytest.MonkeyPatch) -> None:
    many = audiogen.generate(model, "all", num=10, seed=3)
    assert many.wav.shape == (40, 1, 32 * 128)
    assert many.label == [name for name in NAMES for _ in range(10)]
    few = audiogen.generate(model, "one", num=2, seed=3)
    assert torch.equal(few.spec, many.spec[10:12])
    assert torch.equal(few.wav, many.wav[10:12])
    monkeypatch.setattr(stylegan2, "SAMPLE_BATCH", 3)
    assert torch.allclose(audiogen.generate(model, "all", num=10, seed=3).spec, many.spec, atol=1e-5)


def test_seeds_classes_and_latents_make_different_sounds(model: KimgModule) -> None:
    made = audiogen.generate(model, ["zero", "one"], num=2, seed=0).spec.flatten(1)
    other = audiogen.generate(model, ["zero", "one"], num=2, seed=1).spec.flatten(1)
    assert torch.cdist(torch.cat([made, other]), torch.cat([made, other])).fill_diagonal_(1).min() > 0.1


def test_truncation_draws_sounds_together(model: KimgModule) -> None:
    def spread(truncation: float) -> float:
        return float(audiogen.generate(model, "zero", num=8, truncation=truncation).spec.std(dim=0).mean())

    assert spread(0.0) < 1e-6
    assert spread(0.0) < spread(0.5) < spread(1.0)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("one", ["one"]),
        ("one, zero", ["one", "zero"]),
        ("3", ["two"]),
        ("7", ["7"]),  # a name that looks like a number
        (0, ["zero"]),  # class 0 is a class
        ([1, "two"], ["one", "two"]),
        ("two,two", ["two"]),
        ("all", NAMES),
    ],
)
def test_labels_are_names_or_numbers(model: KimgModule, label: object, expected: list[str]) -> None:
    assert audiogen.generate(model, label).label == expected


def test_unknown_class_is_refused_with_the_known_ones(model: KimgModule) -> None:
    with pytest.raises(ValueError, match=r"no class 'ten': this model knows zero, one, 7, two \(or 0 ... 3\)"):
        audiogen.generate(model, "zero,ten")
    with pytest.raises(ValueError, match="no class '9'"):
        audiogen.generate(model, "9")


def test_arguments_out_of_range_are_refused(model: KimgModule, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ({"num": 0}, "num must be at least 1"),
        ({"truncation": float("nan")}, "truncation must be a number"),
        ({"label": []}, "no class named"),
        ({"out": tmp_path / "file"}, "is a file: name a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            audiogen.generate(model, **arguments)
    with pytest.raises(ValueError, match="no device 'nope' here"):
        audiogen.generate("checkpoint", device="nope")


def test_files_hold_what_was_returned(model: KimgModule, tmp_path: Path) -> None:
    made = audiogen.generate(model, "one,two", num=2, out=tmp_path / "new" / "folder")
    assert [path.name for path in made.files] == [
        "one-000.wav",
        "one-001.wav",
        "two-000.wav",
        "two-001.wav",
        "grid.png",
    ]
    for path, wav in zip(made.files, made.wav, strict=False):
        samples, sample_rate = soundfile.read(path, dtype="float32")
        assert sample_rate == made.sample_rate == 8000
        assert torch.allclose(torch.from_numpy(samples), wav[0].clamp(-1, 1), atol=1 / 32000)
    assert made.files[-1].stat().st_size > 1000
    assert "Made 4 sounds of 0.51 s at 8000 Hz" in str(made)
