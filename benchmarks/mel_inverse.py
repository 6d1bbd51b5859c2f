"""Compare mel inversion with librosa's: `python -m benchmarks.mel_inverse`.

64 clips of 1 s at 16 kHz, 128 bands, n_fft 1024, hop 256, and 32 iterations of Griffin-Lim for both. The clips are
spoken digits from the Free Spoken Digit Dataset if AUDIOGEN_FSDD names its folder, and embedded digits otherwise. The
quality is the mean distance in dB between the log-mel spectrograms of the original and of the reconstruction.
"""

import json
from collections.abc import Callable
from functools import partial

import librosa
import numpy as np
import torch
from torch import Tensor

from audiogen.audio.io import read_audio
from audiogen.audio.length import fit_length
from audiogen.transforms.mel import LogMel
from audiogen.transforms.phase.griffin_lim import GriffinLim
from benchmarks.sounds import spoken_test_files
from benchmarks.timing import fastest

NUM_CLIPS = 64
ITERATIONS = 32


def load_clips(transform: LogMel) -> Tensor:
    """Return test clips, float32 [64, 1, T]."""
    test = spoken_test_files()
    chosen = test[:: len(test) // NUM_CLIPS][:NUM_CLIPS]
    return torch.stack([fit_length(read_audio(path, transform.sample_rate), transform.num_samples) for path in chosen])


def invert_with_librosa(mel: np.ndarray, transform: LogMel, n_fft: int) -> Tensor:
    """Return wav, float32 [N, 1, T], from mel magnitudes [N, F, L]."""
    invert = partial(
        librosa.feature.inverse.mel_to_audio,
        sr=transform.sample_rate,
        n_fft=n_fft,
        hop_length=transform.hop_length,
        power=1.0,
        n_iter=ITERATIONS,
        length=transform.num_samples,
        pad_mode="constant",
        norm=None,
    )
    # librosa needs the last frame too, which the transform leaves out.
    return torch.from_numpy(np.stack([invert(np.pad(m, ((0, 0), (0, 1)), mode="edge")) for m in mel])[:, None]).float()


def main() -> None:
    """Measure both and print the table."""
    n_fft = 1024
    transform = LogMel(16000, n_fft, 256, 128, num_frames=63, phase=GriffinLim(ITERATIONS))
    wav = load_clips(transform)
    spec = transform(wav)
    scale = float(transform.window.sum() / 2)
    mel = (transform.scaling.to_amplitude(spec)[:, 0] * scale).numpy()

    def distance(invert: Callable[[], Tensor]) -> float:
        decibels = (transform.scaling.ceil_db - transform.scaling.floor_db) / 2
        return float((transform(invert()) - spec).abs().mean()) * decibels

    ours, theirs = partial(transform.inverse, spec), partial(invert_with_librosa, mel, transform, n_fft)
    errors = {"audiogen": distance(ours), "librosa": distance(theirs)}
    seconds = fastest({"audiogen": ours, "librosa": theirs})
    print(
        f"{NUM_CLIPS} clips of {transform.seconds:.2f} s, {ITERATIONS} iterations, {torch.get_num_threads()} threads\n"
    )
    print(f"{'inverse':<12}{'log-mel L1 (dB)':>17}{'seconds':>10}{'seconds per second of sound':>30}")
    for name, time in seconds.items():
        print(f"{name:<12}{errors[name]:>17.3f}{time:>10.3f}{time / (NUM_CLIPS * transform.seconds):>30.5f}")
    speed = seconds["librosa"] / seconds["audiogen"]
    print(f"\naudiogen is {speed:.1f} times as fast")
    scores = {
        "log_mel_l1_db": errors["audiogen"],
        "log_mel_l1_db_librosa": errors["librosa"],
        "seconds": seconds["audiogen"],
        "seconds_librosa": seconds["librosa"],
        "times_faster": speed,
    }
    print(json.dumps({name: round(value, 4) for name, value in scores.items()}))


if __name__ == "__main__":
    main()
