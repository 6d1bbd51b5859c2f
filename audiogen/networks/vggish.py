"""Compute VGGish features of about a second of sound, from log-mel patches.

Sources: Hershey et al., "CNN Architectures for Large-Scale Audio Classification" (2017), and the released model
(https://github.com/tensorflow/models/tree/master/research/audioset/vggish). Parameters are named as in the PyTorch port
with public weights (https://github.com/harritaylor/torchvggish).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLE_RATE = 16000
WIN_LENGTH = 400  # 25 ms
HOP_LENGTH = 160  # 10 ms
N_FFT = 512
N_MELS = 64
F_MIN, F_MAX = 125.0, 7500.0  # Hz
LOG_OFFSET = 0.01
PATCH_FRAMES = 96
MIN_SAMPLES = WIN_LENGTH + (PATCH_FRAMES - 1) * HOP_LENGTH  # 15,600: one patch
NUM_FEATURES = 128

_WIDTHS: Sequence[int | None] = (64, None, 128, None, 256, 256, None, 512, 512, None)  # None halves the resolution


class VGGishNetwork(nn.Module):
    """Apply convolutions with pooling and three linear layers.

    Args:
        last_relu: Whether to end with a ReLU, as the port does; the released model does not.
    """

    def __init__(self, last_relu: bool = False) -> None:
        super().__init__()
        self.features = _convolutions()
        flat = 512 * (PATCH_FRAMES // 16) * (N_MELS // 16)
        layers = [nn.Linear(flat, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, NUM_FEATURES)]
        self.embeddings = nn.Sequential(*layers, *([nn.ReLU()] if last_relu else []))

    def forward(self, patches: Tensor) -> Tensor:
        """Return features, float [N, 128], for patches, float [N, 1, 96, 64] from `LogMelPatches`.

        Raises:
            ValueError: If `patches` has another shape.
        """
        if tuple(patches.shape[1:]) != (1, PATCH_FRAMES, N_MELS):
            raise ValueError(f"expected patches [N, 1, {PATCH_FRAMES}, {N_MELS}], got {list(patches.shape)}")
        # The weights were trained in TensorFlow, where channels are last.
        maps = self.features(patches).permute(0, 2, 3, 1)  # [N, 6, 4, 512]
        return self.embeddings(maps.flatten(1))


class LogMelPatches(nn.Module):
    """Cut log-mel spectrograms of 16 kHz sounds into patches of 96 frames (0.96 s).

    Args:
        patch_hop: Frames between the starts of consecutive patches; 96 for adjacent ones.

    Raises:
        ValueError: If `patch_hop` is below 1.
    """

    window: Tensor
    mel: Tensor

    def __init__(self, patch_hop: int = PATCH_FRAMES) -> None:
        super().__init__()
        if patch_hop < 1:
            raise ValueError(f"expected patch_hop of at least 1 frame, got {patch_hop}")
        self.patch_hop = patch_hop
        self.register_buffer("window", torch.hann_window(WIN_LENGTH), persistent=False)
        self.register_buffer("mel", mel_matrix().float(), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """Return patches, float [B, K, 96, 64], of wav, float [B, T] in [-1, 1].

        Sounds shorter than 15,600 samples (0.975 s) are padded with silence at the end. The remainder after the last
        whole patch is dropped.
        """
        wav = F.pad(wav, (0, max(MIN_SAMPLES - wav.shape[1], 0)))
        frames = wav.unfold(1, WIN_LENGTH, HOP_LENGTH) * self.window  # [B, L, 400]
        magnitude = torch.fft.rfft(frames, N_FFT).abs()  # [B, L, 257]
        log_mel = torch.log(magnitude @ self.mel + LOG_OFFSET)  # [B, L, 64]
        return log_mel.unfold(1, PATCH_FRAMES, self.patch_hop).transpose(2, 3)  # [B, K, 96, 64]


def mel_matrix() -> Tensor:
    """Return the weights of 64 mel bands over 257 frequency bins, float64 [257, 64].

    The bands are triangles of height 1 with sides linear in mels, m = 1127 ln(1 + f / 700). librosa and torchaudio use
    the same corners but sides linear in Hz; their weights differ by up to 0.0044.
    """
    mels = _mels(torch.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1, dtype=torch.float64))[:, None]
    low, high = _mels(torch.tensor([F_MIN, F_MAX], dtype=torch.float64)).tolist()
    step = (high - low) / (N_MELS + 1)
    centres = low + step * torch.arange(1, N_MELS + 1, dtype=torch.float64)
    return (1 - (mels - centres).abs() / step).clamp_min(0)


def _mels(frequencies: Tensor) -> Tensor:
    return 1127 * torch.log1p(frequencies / 700)


def _convolutions() -> nn.Sequential:
    layers: list[nn.Module] = []
    num_in = 1
    for width in _WIDTHS:
        if width is None:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(num_in, width, 3, padding=1), nn.ReLU()]
            num_in = width
    return nn.Sequential(*layers)
