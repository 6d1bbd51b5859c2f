"""Properties of every transform, with every phase method that suits it."""

from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor

from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.phase.gradient import GradientInversion
from audiogen.transforms.phase.griffin_lim import GriffinLim
from audiogen.transforms.phase.method import PhaseMethod
from audiogen.transforms.phase.spsi import SPSI
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform
from tests.transforms.sounds import harmonic, noise

ON_STFT: dict[str, Any] = {"sample_rate": 8000, "n_fft": 512, "hop_length": 128, "num_frames": 24}
TRANSFORMS: dict[str, tuple[type[SpectrogramTransform], dict[str, Any]]] = {
    "stft": (STFT, ON_STFT),
    "mel": (LogMel, {**ON_STFT, "n_mels": 64}),
    "mel of power": (LogMel, {**ON_STFT, "n_mels": 64, "power": 2}),
    "mfcc": (MFCC, {**ON_STFT, "n_mels": 64, "n_mfcc": 24}),
    "cqt": (CQT, {"sample_rate": 8000, "hop_length": 32, "f_min": 110, "n_bins": 54, "bins_per_octave": 12}),
}
SCALED = [name for name in TRANSFORMS if name != "mfcc"]
PHASES: dict[str, PhaseMethod] = {
    "classic Griffin-Lim": GriffinLim(8, momentum=0),
    "fast Griffin-Lim": GriffinLim(8),
    "SPSI": SPSI(),
    "SPSI and Griffin-Lim": GriffinLim(8, start="spsi"),
    "gradient": GradientInversion(6, start=GriffinLim(8)),
}
PAIRS = [
    (name, phase)
    for name in TRANSFORMS
    for phase in PHASES
    if TRANSFORMS[name][0].linear_frequency or not PHASES[phase].needs_linear_frequency
]
# Signal-to-noise ratio in dB of the inverse with the sound's own phases, rounded down.
SNR = {"stft": 33, "mel": 23, "mel of power": 25, "mfcc": 1, "cqt": 35}
every_transform = pytest.mark.parametrize("name", TRANSFORMS)
every_pair = pytest.mark.parametrize(("name", "phase"), PAIRS)


def make(name: str, phase: str = "fast Griffin-Lim", **options: Any) -> SpectrogramTransform:
    kind, settings = TRANSFORMS[name]
    return kind(**settings, phase=PHASES[phase], **options)


def sounds(transform: SpectrogramTransform) -> Tensor:
    """Return three sounds of different levels, one of them half silent, float [3, 1, T]."""
    first, second = harmonic(transform) + noise(transform), 0.01 * harmonic(transform, 310)
    third = second * (torch.arange(transform.num_samples) < transform.num_samples // 2)
    return torch.cat([first, second, third])


@every_transform
def test_shape_and_range_hold_even_beyond_full_scale(name: str) -> None:
    transform = make(name, num_channels=2)
    wav = noise(transform, batch=3) * torch.tensor([1e-9, 1, 1e9])[:, None, None]
    spec = transform(wav)
    assert spec.shape == (3, *transform.shape)
    assert transform.shape[0] == 2
    assert (spec.min(), spec.max()) == (-1, 1)
    assert transform.seconds == transform.shape[2] * transform.hop_length / 8000
    assert transform.inverse(spec).shape == (3, 2, transform.num_samples)


@every_transform
def test_silence_is_exactly_minus_one_or_zero_in_higher_coefficients(name: str) -> None:
    transform = make(name)
    spec = transform(torch.zeros(2, 1, transform.num_samples))
    assert set(spec[:, :, 0].unique().tolist()) == {-1.0}
    assert set(spec[:, :, 1:].unique().tolist()) == {0.0 if name == "mfcc" else -1.0}


@pytest.mark.parametrize("scale", ["log1p", "linear"])
@pytest.mark.parametrize("name", SCALED)
def test_silence_is_exact_on_the_other_scales_both_ways(name: str, scale: str) -> None:
    transform = make(name, scale=scale)
    spec = transform(torch.zeros(1, 1, transform.num_samples))
    assert set(spec.unique().tolist()) == {-1.0}
    assert not transform.inverse(spec).any()


@every_pair
def test_inverse_of_silence_is_exactly_silent(name: str, phase: str) -> None:
    transform = make(name, phase)
    spec = transform(torch.zeros(2, 1, transform.num_samples))
    assert not transform.inverse(spec).any()


@every_transform
def test_forward_of_a_batch_equals_single_clips(name: str) -> None:
    transform = make(name)
    wav = sounds(transform)
    torch.testing.assert_close(transform(wav), torch.cat([transform(w[None]) for w in wav]), rtol=0, atol=1e-6)


@every_pair
def test_inverse_of_a_batch_equals_single_clips(name: str, phase: str) -> None:
    transform = make(name, phase)
    spec = transform(sounds(transform))
    single = torch.cat([transform.inverse(s[None]) for s in spec])
    torch.testing.assert_close(transform.inverse(spec), single, rtol=0, atol=1e-6)


@every_pair
def test_stereo_is_two_mono_sounds_both_ways(name: str, phase: str) -> None:
    mono, stereo = make(name, phase), make(name, phase, num_channels=2)
    wav = sounds(mono)[:2].transpose(0, 1)  # [1, 2, T]
    spec = stereo(wav)
    torch.testing.assert_close(spec[0], mono(wav.transpose(0, 1))[:, 0], rtol=0, atol=1e-6)
    torch.testing.assert_close(stereo.inverse(spec)[0], mono.inverse(spec.transpose(0, 1))[:, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "phase"), [pair for pair in PAIRS if pair[0] != "mfcc"]
)  # for its level see test_mfcc.py
def test_inverse_keeps_the_level_of_loud_and_of_quiet_sounds(name: str, phase: str) -> None:
    transform = make(name, phase)
    wav = sounds(transform)[:2]
    change_db = 20 * torch.log10(transform.inverse(transform(wav)).norm(dim=2) / wav.norm(dim=2))
    assert change_db.abs().max() < 2


@every_transform
@pytest.mark.parametrize("missing", [1, 31])
def test_partial_hop_is_padded_with_silence(name: str, missing: int) -> None:
    transform = make(name)
    wav = noise(transform)[..., :-missing]
    spec = transform(wav)
    assert spec.shape == (1, *transform.shape)
    torch.testing.assert_close(spec, transform(torch.nn.functional.pad(wav, (0, missing))), rtol=0, atol=0)


@every_pair
@pytest.mark.parametrize("num_frames", [1, 2, 50])
def test_other_lengths_work_both_ways(name: str, phase: str, num_frames: int) -> None:
    transform = make(name, phase)
    wav = noise(transform).repeat(1, 1, 3)[..., : num_frames * transform.hop_length]
    spec = transform(wav)
    assert spec.shape == (1, *transform.shape[:2], num_frames)
    returned = transform.inverse(spec)
    assert returned.shape == wav.shape
    assert returned.isfinite().all()


@every_transform
def test_frames_do_not_depend_on_distant_samples(name: str) -> None:
    transform = make(name)
    silent = transform.num_samples // 2
    start, end = (torch.nn.functional.pad(sounds(transform), pad) for pad in ((0, silent), (silent, 0)))
    shift = silent // transform.hop_length
    atol = 5e-4 if name == "cqt" else 1e-5  # its FFTs span many frames: 0.02 dB
    torch.testing.assert_close(transform(end)[..., shift:], transform(start)[..., :-shift], rtol=0, atol=atol)


@every_transform
def test_phases_of_the_original_restore_it(name: str) -> None:
    transform = make(name)
    wav = harmonic(transform, level=0.05)
    returned = transform.inverse_with_phase(transform(wav), wav)
    snr = 20 * torch.log10(wav.norm() / (returned - wav).norm())
    assert snr > SNR[name]


@every_transform
def test_phases_of_silence_give_silence(name: str) -> None:
    transform = make(name)
    spec = transform(noise(transform))
    assert not transform.inverse_with_phase(spec, torch.zeros(1, 1, transform.num_samples)).any()


@every_transform
def test_content_of_another_shape_is_refused(name: str) -> None:
    transform = make(name)
    spec = torch.zeros(2, *transform.shape)
    message = rf"expected content \[2, 1, {transform.num_samples}\], got \[2, 1, 5\]"
    with pytest.raises(ValueError, match=message):
        transform.inverse_with_phase(spec, torch.zeros(2, 1, 5))


@every_transform
def test_other_shapes_are_refused(name: str) -> None:
    transform = make(name)
    channels, bands, num_frames = transform.shape
    for wav in ((64,), (1, 64), (1, 2, 64), (1, 1, 0)):
        with pytest.raises(ValueError, match=r"expected wav \[B, 1, T\], got"):
            transform(torch.zeros(wav))
    for spec in ((bands, num_frames), (1, 2, bands, num_frames), (1, 1, bands + 1, num_frames), (1, 1, bands, 0)):
        with pytest.raises(ValueError, match=rf"expected spec \[B, {channels}, {bands}, L\], got"):
            transform.inverse(torch.zeros(spec))


@every_transform
def test_inverse_clamps_values_out_of_range(name: str) -> None:
    transform = make(name)
    spec = 2 * torch.rand(1, *transform.shape, generator=torch.Generator().manual_seed(0)) - 1
    wild = torch.where(spec > 0.9, 3.0, torch.where(spec < -0.9, -3.0, spec))
    torch.testing.assert_close(transform.inverse(wild), transform.inverse(wild.clamp(-1, 1)), rtol=0, atol=0)


@every_transform
def test_gradient_matches_finite_differences(name: str) -> None:
    transform = make(name).double()
    wav = noise(transform).double()[..., : 4 * transform.hop_length]
    direction = torch.randn(wav.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def along(step: Tensor) -> Tensor:
        return transform(wav + step * direction)

    assert torch.autograd.gradcheck(
        along, torch.zeros((), dtype=torch.float64, requires_grad=True), eps=1e-8, atol=1e-3
    )


@pytest.mark.parametrize("scale", ["db", "log1p", "linear"])
@pytest.mark.parametrize("name", SCALED)
def test_gradient_is_finite_if_part_of_a_clip_is_silent(name: str, scale: str) -> None:
    transform = make(name, scale=scale)
    wav = noise(transform) * (torch.arange(transform.num_samples) < transform.num_samples // 2)
    wav.requires_grad_()
    transform(wav).sum().backward()
    assert wav.grad is not None
    assert wav.grad.isfinite().all()
    assert wav.grad.any()


@every_pair
def test_double_precision_agrees_with_single(name: str, phase: str) -> None:
    single, double = make(name, phase), make(name, phase).double()
    wav = noise(single)
    spec = double(wav.double())
    assert spec.dtype == torch.float64
    torch.testing.assert_close(spec.float(), single(wav), rtol=0, atol=1e-4)
    for returned in (double.inverse(spec), double.inverse_with_phase(spec, wav)):
        assert returned.dtype == torch.float64


@every_transform
def test_half_precision_is_computed_in_single(name: str) -> None:
    transform = make(name)
    wav = noise(transform).bfloat16()
    assert transform(wav).dtype == torch.float32
    spec = transform(wav).bfloat16()
    torch.testing.assert_close(transform.inverse(spec), transform.inverse(spec.float()), rtol=0, atol=0)


@every_pair
def test_inference_mode_makes_the_same_sound(name: str, phase: str) -> None:
    transform = make(name, phase)
    wav = noise(transform)
    expected = transform.inverse(transform(wav))
    with torch.inference_mode():
        returned = transform.inverse(transform(wav))
    torch.testing.assert_close(returned, expected, rtol=0, atol=1e-6)
    assert not expected.requires_grad


@every_pair
def test_all_tensors_are_on_the_device_of_the_transform(name: str, phase: str) -> None:
    transform = make(name, phase).to("meta")  # rejects tensors of other devices
    wav = torch.empty(2, 1, transform.num_samples, device="meta")
    spec = transform(wav)
    for returned in (spec, transform.inverse(spec), transform.inverse_with_phase(spec, wav)):
        assert returned.device.type == "meta"


@every_transform
def test_checkpoint_contains_no_state_of_a_transform(name: str) -> None:
    transform = make(name)
    assert transform.state_dict() == {}
    assert list(transform.parameters()) == []


@every_transform
def test_frequencies_ascend_to_half_the_sample_rate_at_most(name: str) -> None:
    frequencies = make(name).frequencies()
    if name == "mfcc":
        assert frequencies is None
    else:
        assert frequencies.shape == (make(name).shape[1],)
        assert (frequencies.diff() > 0).all()
        assert 0 <= frequencies[0] < frequencies[-1] <= 4000


@pytest.mark.parametrize("phase", [phase for phase in PHASES if PHASES[phase].needs_linear_frequency])
def test_phase_method_for_an_stft_is_refused_by_other_analyses(phase: str) -> None:
    with pytest.raises(ValueError, match="needs the evenly spaced bins of an STFT: use GriffinLim"):
        make("cqt", phase)
    with pytest.raises(ValueError, match="GradientInversion needs the evenly spaced bins"):
        CQT(**TRANSFORMS["cqt"][1], phase=GradientInversion(start=PHASES[phase]))


CONFIG = """
transform:
  class_path: audiogen.transforms.{module}.{kind}
  init_args:
    num_frames: 16
    phase:
      class_path: audiogen.transforms.phase.gradient.GradientInversion
      init_args:
        num_steps: 5
        start:
          class_path: audiogen.transforms.phase.griffin_lim.GriffinLim
          init_args: {{num_iterations: 3, momentum: 0.5}}
"""


@pytest.mark.parametrize("kind", [STFT, LogMel, MFCC, CQT])
def test_transform_and_its_phase_method_are_made_from_a_config_that_can_be_saved(
    kind: type[SpectrogramTransform],
) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--transform", type=SpectrogramTransform)
    config = parser.parse_string(
        CONFIG.format(module=kind.__name__.lower().replace("logmel", "mel"), kind=kind.__name__)
    )
    again = parser.parse_string(yaml.safe_dump(yaml.safe_load(parser.dump(config))))  # plain values only
    transform = parser.instantiate_classes(again).transform
    assert type(transform) is kind
    assert transform.shape[2] == 16
    assert (transform.phase.num_steps, transform.phase.start.num_iterations) == (5, 3)
    assert transform.phase.start.momentum == 0.5
