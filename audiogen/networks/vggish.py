"""VGGish: features of about a second of sound, and the log-mel patches it takes.

Sources: Hershey et al., "CNN Architectures for Large-Scale Audio Classification" (2017), and the released model
(https://github.com/tensorflow/models/tree/master/research/audioset/vggish). The names of the parameters are those of
the PyTorch port whose weights are public (https://github.com/harritaylor/torchvggish).
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

_WIDTHS: Sequence[int | None] = (64, None, 128, None, 256, 256, None, 512, 512, None)  # None: halve the resolution


class VGGishNetwork(nn.Module):
    """Convolutions with pooling and three linear layers.

    Args:
        last_relu: End with a ReLU, as the port does. The released model ends without it.
    """

    def __init__(self, last_relu: bool = False) -> None:
        super().__init__()
        self.features = _convolutions()
        flat = 512 * (PATCH_FRAMES // 16) * (N_MELS // 16)
        layers = [nn.Linear(flat, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, NUM_FEATURES)]
        self.embeddings = nn.Sequential(*layers, *([nn.ReLU()] if last_relu else []))

    def forward(self, patches: Tensor) -> Tensor:
        """Return features, float [N, 128], of patches, float [N, 1, 96, 64] as `LogMelPatches` makes them.

        Raises:
            ValueError: For another shape.
        """
        if tuple(patches.shape[1:]) != (1, PATCH_FRAMES, N_MELS):
            raise ValueError(f"expected patches [N, 1, {PATCH_FRAMES}, {N_MELS}], got {list(patches.shape)}")
        # The weights were trained in TensorFlow, where channels come last.
        maps = self.features(patches).permute(0, 2, 3, 1)  # [N, 6, 4, 512]
        return self.embeddings(maps.flatten(1))


class LogMelPatches(nn.Module):
    """Cut log-mel spectrograms of sounds at 16 kHz into patches of 96 frames, 0.96 s.

    Args:
        patch_hop:  Analysisfrom one patch to the next; 96 for patches that do not overlap.

    Raises:
        ValueError: For a hop below 1.
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

        Sounds below 15,600 samples (0.975 s) are padded with silence at the end. What is left after the last whole
        patch is dropped.
        """
        wav = F.pad(wav, (0, max(MIN_SAMPLES - wav.shape[1], 0)))
        frames = wav.unfold(1, WIN_LENGTH, HOP_LENGTH) * self.window  # [B, L, 400]
        magnitude = torch.fft.rfft(frames, N_FFT).abs()  # [B, L, 257]
        log_mel = torch.log(magnitude @ self.mel + LOG_OFFSET)  # [B, L, 64]
        return log_mel.unfold(1, PATCH_FRAMES, self.patch_hop).transpose(2, 3)  # [B, K, 96, 64]


def mel_matrix() -> Tensor:
    """Return the weights of 64 mel bands on 257 bins of frequency, float64 [257, 64].

    The bands are triangles with height 1 and straight sides over mels, m = 1127 ln(1 + f / 700). Those of librosa and
    torchaudio have the same corners, but sides that are straight over Hz: their weights differ by up to 0.0044.
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
