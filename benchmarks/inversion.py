"""Compare all inverse transforms with librosa's: `python -m benchmarks.inversion` (four minutes).

Speech: six clips of 3 s at 8 kHz, each a sequence of digits by one speaker, from the Free Spoken Digit Dataset if
AUDIOGEN_FSDD names its folder, and from the embedded digits otherwise. Music: four synthesised clips of 3 s at
22.05 kHz.

- LSD: log-spectral distance between the STFTs of the original and of the reconstruction, in dB relative to full scale
  with a floor of -80 dB: root mean square over frequency, mean over frames.
- own: mean distance in the representation itself in dB (for MFCCs, between the log-mel spectra that they describe).
- STOI (0 to 1) and narrow-band PESQ (-0.5 to 4.5) for speech: higher is better. They need the extra `speech`.
- s/s: computing time in seconds for one second of sound: the first clip alone, fastest of several rounds.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor
from torchmetrics.functional.audio.pesq import perceptual_evaluation_speech_quality
from torchmetrics.functional.audio.stoi import short_time_objective_intelligibility

from audiogen.audio.length import fit_length
from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.phase.gradient import GradientInversion
from audiogen.transforms.phase.griffin_lim import GriffinLim
from audiogen.transforms.phase.method import PhaseMethod
from audiogen.transforms.phase.spsi import SPSI
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform
from benchmarks.librosa_inverses import ITERATIONS, invert_with_librosa
from benchmarks.sounds import MUSIC_RATE, music, speech
from benchmarks.timing import fastest

SECONDS = 3.0
SPEECH_RATE = 8000
ROUNDS = 3
STEPS = 200
HALF_RANGE_DB = 45.0  # all spectrograms map -80 dB to -1 and 10 dB to 1
METHODS: dict[str, PhaseMethod] = {
    "Griffin-Lim, classic": GriffinLim(ITERATIONS, momentum=0),
    "Griffin-Lim, fast": GriffinLim(ITERATIONS),
    "SPSI": SPSI(),
    "SPSI, then Griffin-Lim": GriffinLim(ITERATIONS, start="spsi"),
    "gradient": GradientInversion(STEPS),
}


@dataclass(frozen=True)
class Row:
    """One row of the table. The module docstring defines the columns."""

    sound: str
    representation: str
    inverse: str
    lsd_db: float
    own_db: float
    stoi: float | None
    pesq: float | None
    seconds: float


def speech_representations() -> dict[str, SpectrogramTransform]:
    """Return the representations of speech at 8 kHz."""
    num_frames = round(SECONDS * SPEECH_RATE / 128)
    return {
        "mel": LogMel(SPEECH_RATE, n_fft=512, hop_length=128, n_mels=64, num_frames=num_frames),
        "stft": STFT(SPEECH_RATE, n_fft=512, hop_length=128, num_frames=num_frames),
        "mfcc": MFCC(SPEECH_RATE, n_fft=512, hop_length=128, n_mfcc=20, n_mels=64, num_frames=num_frames),
        "cqt": CQT(SPEECH_RATE, hop_length=32, f_min=65.406, n_bins=138, num_frames=4 * num_frames),  # to 3.4 kHz
    }


def music_representations() -> dict[str, SpectrogramTransform]:
    """Return the representations of music at 22.05 kHz: Jain & Raj (2019), and a CQT of eight octaves."""
    num_frames = round(SECONDS * MUSIC_RATE / 512)
    return {
        "mel": LogMel(MUSIC_RATE, n_fft=2048, hop_length=512, n_mels=128, num_frames=num_frames),
        "stft": STFT(MUSIC_RATE, n_fft=2048, hop_length=512, num_frames=num_frames),
        "mfcc": MFCC(MUSIC_RATE, n_fft=2048, hop_length=512, n_mfcc=40, n_mels=128, num_frames=num_frames),
        "cqt": CQT(MUSIC_RATE, hop_length=64, f_min=32.703, n_bins=192, num_frames=8 * num_frames),  # to 8.1 kHz
    }


def inverses(transform: SpectrogramTransform, spec: Tensor, wav: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return the inverses of a transform by name."""
    methods = {
        name: partial(method, transform, spec)
        for name, method in METHODS.items()
        if transform.linear_frequency or not method.needs_linear_frequency
    }
    plain = partial(transform.inverse_with_phase, spec, wav)
    return {**methods, "the original's phase": plain, "librosa": partial(invert_with_librosa, transform, spec)}


def log_spectral_distance(wav: Tensor, original: Tensor, sample_rate: int) -> float:
    """Return the log-spectral distance between two batches of sounds, float [N, 1, T], in dB."""
    n_fft = 512 if sample_rate <= SPEECH_RATE else 2048
    stft = STFT(sample_rate, n_fft, n_fft // 4)
    difference = HALF_RANGE_DB * (stft(wav) - stft(original))  # [N, 1, F, L]
    return float(difference.square().mean(dim=2).sqrt().mean())


def own_distance(wav: Tensor, spec: Tensor, transform: SpectrogramTransform) -> float:
    """Return the distance in dB between the spectrograms of sounds, float [N, 1, T], and the intended spectrograms."""
    returned = transform(wav)
    if isinstance(transform, MFCC):
        returned, spec = transform.log_mel(returned), transform.log_mel(spec)
    return HALF_RANGE_DB * float((returned - spec).abs().mean())


def stoi(wav: Tensor, original: Tensor) -> float | None:
    """Return the mean STOI, or None if pystoi is not installed."""
    if not find_spec("pystoi"):
        return None
    return float(short_time_objective_intelligibility(wav, original, SPEECH_RATE).mean())


def pesq(wav: Tensor, original: Tensor) -> float | None:
    """Return the mean PESQ, or None if pesq is not installed."""
    if not find_spec("pesq"):
        return None
    return float(perceptual_evaluation_speech_quality(wav, original, SPEECH_RATE, "nb").mean())


def measure(sound: str, wav: Tensor, transforms: dict[str, SpectrogramTransform]) -> list[Row]:
    """Measure all representations of sounds, float32 [N, 1, T]."""
    rows = []
    for name, transform in transforms.items():
        original = fit_length(wav, transform.num_samples)
        spec = transform(original)
        seconds = fastest(inverses(transform, spec[:1], original[:1]), ROUNDS)
        for inverse, run in inverses(transform, spec, original).items():
            returned = run()
            row = Row(
                sound,
                name,
                inverse,
                log_spectral_distance(returned, original, transform.sample_rate),
                own_distance(returned, spec, transform),
                stoi(returned, original) if sound == "speech" else None,
                pesq(returned, original) if sound == "speech" else None,
                seconds[inverse] / transform.seconds,
            )
            print(line(row), flush=True)
            rows.append(row)
    return rows


def line(row: Row) -> str:
    """Format a row of the table."""
    scores = [row.lsd_db, row.own_db, row.stoi, row.pesq]
    columns = "".join(f"{'-' if figure is None else f'{figure:.2f}':>7}" for figure in scores)
    return f"{row.sound:<8}{row.representation:<6}{row.inverse:<24}{columns}{row.seconds:>10.4f}"


def main() -> None:
    """Measure speech and music and print the table."""
    print(f"{ITERATIONS} iterations of Griffin-Lim, {STEPS} steps of gradient descent; ", end="")
    print(f"the fastest of {ROUNDS} rounds on {torch.get_num_threads()} threads")
    if not (find_spec("pystoi") and find_spec("pesq")):
        print("STOI and PESQ need pip install '.[speech]' and a C compiler")
    print(f"\n{'sound':<14}{'inverse':<24}{'LSD dB':>7}{'own dB':>7}{'STOI':>7}{'PESQ':>7}{'s/s':>10}")
    rows = measure("speech", speech(SECONDS, SPEECH_RATE), speech_representations())
    rows += measure("music", music(SECONDS), music_representations())
    print()
    print(
        json.dumps([{name: round(x, 4) if isinstance(x, float) else x for name, x in asdict(r).items()} for r in rows])
    )


if __name__ == "__main__":
    main()
