"""The networks of MelGAN-VC match the reference's sizes and use their inputs as documented."""

import pytest
import torch
from torch import nn

from audiogen.networks.melgan_vc import Discriminator, Generator, Siamese, TargetNorm


def num_parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_sizes_match_the_reference_at_192_bands_and_24_frames() -> None:
    generator = Generator((1, 192, 24))
    norms = 2 * 4 * 256
    assert num_parameters(generator) - norms == 256 * (192 * 3 + 256 * 9 + 256 * 7 + 256 * 7 + 512 * 9) + 512 * 192
    assert round(num_parameters(generator) / 1e6, 1) == 2.9
    assert round(num_parameters(Siamese((1, 192, 24))) / 1e6, 1) == 1.4
    head = 512 * 18 + 1
    assert num_parameters(Discriminator((1, 192, 72))) == 512 * (192 * 3 + 512 * 9 + 512 * 7) + head


@pytest.mark.parametrize("shape", [(1, 192, 24), (2, 64, 16), (1, 37, 3), (1, 13, 21), (1, 5, 32)])
def test_any_number_of_bands_frames_and_channels(shape: tuple[int, int, int]) -> None:
    spec = torch.rand(3, *shape) * 2 - 1
    made = Generator(shape, width=8)(spec)
    assert made.shape == spec.shape
    assert made.abs().max() <= 1
    assert Siamese(shape, 5, width=8)(spec).shape == (3, 5)
    whole = (*shape[:2], 3 * shape[2])
    assert Discriminator(whole, width=8)(torch.rand(3, *whole)).shape == (3,)


@pytest.mark.parametrize("frames", [1, 2, 7, 40])
def test_generator_takes_segments_of_other_lengths(frames: int) -> None:
    assert Generator((1, 8, 16), width=8).eval()(torch.rand(2, 1, 8, frames)).shape == (2, 1, 8, frames)


@pytest.mark.parametrize("network", [Siamese, Discriminator])
def test_fewer_frames_than_the_first_kernel_are_refused(network: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="need at least 3 frames, got 2"):
        network((1, 8, 2))


@pytest.mark.parametrize(("network", "padding"), [(Generator, 1), (Siamese, 0), (Discriminator, 0)])
def test_first_kernel_is_a_valid_convolution_over_all_bands(network: type[nn.Module], padding: int) -> None:
    """With bands as channels it equals the reference's F x 3 convolution; only the generator pads in time."""
    made = network((1, 8, 16), width=4)
    layer = (made.bands if network is Generator else made.body[0]).convolution
    spec = torch.randn(2, 1, 8, 16)
    layer.eval()  # disables power iterations, so that the weight stays fixed
    kernel = layer.weight[:, :, 0][:, None]  # [width, 1, F, 3]
    expected = nn.functional.conv2d(nn.functional.pad(spec, (padding, padding)), kernel)  # [B, width, 1, L]
    torch.testing.assert_close(layer(spec.flatten(1, 2)[:, :, None]), expected)


def test_spectral_norms_are_one_where_the_reference_has_them() -> None:
    torch.manual_seed(0)
    generator, discriminator = Generator((1, 16, 16), width=16), Discriminator((1, 16, 48), width=16)
    for _ in range(200):  # power iterations run in training mode only
        generator(torch.rand(2, 1, 16, 16))
        discriminator(torch.rand(2, 1, 16, 48))
    weights = [m.weight for net in (generator, discriminator) for m in net.modules() if hasattr(m, "parametrizations")]
    assert len(weights) == 6 + 4
    for weight in weights:
        assert float(torch.linalg.matrix_norm(weight.flatten(1), 2)) == pytest.approx(1, abs=0.02)
    assert not any(hasattr(module, "parametrizations") for module in Siamese((1, 16, 16), width=16).modules())


def test_targets_change_the_output_and_the_logits() -> None:
    torch.manual_seed(0)
    generator = Generator((1, 8, 16), num_targets=3, width=8).eval()
    for module in generator.modules():
        if isinstance(module, TargetNorm):
            nn.init.normal_(module.gain)
    spec = torch.rand(1, 1, 8, 16).expand(3, -1, -1, -1)
    made = generator(spec, torch.arange(3))
    assert not torch.allclose(made[0], made[1], atol=1e-3)
    torch.testing.assert_close(made[1:2], generator(spec[:1], torch.tensor([1])))
    discriminator = Discriminator((1, 8, 16), num_targets=3, width=8).eval()
    assert len(set(discriminator(spec, torch.arange(3)).tolist())) == 3


def test_target_norm_starts_as_batch_norm() -> None:
    x = torch.randn(6, 4, 1, 5) * 3 + 1
    expected = nn.BatchNorm2d(4)(x)
    torch.testing.assert_close(TargetNorm(4, 2)(x, torch.tensor([0, 1, 0, 1, 0, 1])), expected)
