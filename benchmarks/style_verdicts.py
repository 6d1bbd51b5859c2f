"""Turn measurements into verdicts, and measure textures, for `benchmarks.style_ablation`.

A claim compares two systems on the same pairs of sounds. Differences are averaged over the seeds of each pair, so that
pairs are independent. The 95 % confidence interval of their mean is compared with a margin, below which a difference
is irrelevant.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import librosa
import numpy as np
import soxr
import torch
from scipy.stats import t as student_t
from torch import Tensor

Answer = Literal["better", "worse", "no difference", "cannot tell"]
CONFIDENCE = 0.95
MIN_PAIRS = 3
DISTANCE_MARGIN = 0.05  # of the distance
ONSETS_MARGIN = 0.03  # of a correlation


class Difference(NamedTuple):
    """A mean difference over pairs, positive if the first system is better.

    Attributes:
        mean: Mean difference over the pairs.
        half_width: Half the width of the confidence interval, infinite for fewer than two pairs.
        answer: Verdict at the given margin.
    """

    mean: float
    half_width: float
    answer: Answer


def difference(values: Sequence[float], margin: float) -> Difference:
    """Decide from the differences of independent pairs of sounds, positive where the first system is better.

    "better" and "worse" require a mean of at least the margin and an interval that excludes 0. "no difference" requires
    an interval within the margin on both sides. Everything else, and fewer than three pairs, is "cannot tell".

    Example:
        >>> difference([0.20, 0.25, 0.22, 0.18], margin=0.05).answer
        'better'
        >>> difference([0.20, -0.25, 0.22, -0.18], margin=0.05).answer
        'cannot tell'
        >>> difference([0.001, -0.002, 0.001, 0.000], margin=0.05).answer
        'no difference'
    """
    known = np.array([value for value in values if math.isfinite(value)])
    if len(known) < 2:
        return Difference(float(known.mean()) if len(known) else math.nan, math.inf, "cannot tell")
    mean = float(known.mean())
    quantile = float(student_t.ppf(0.5 + CONFIDENCE / 2, len(known) - 1))
    half = quantile * float(known.std(ddof=1)) / math.sqrt(len(known))
    answer: Answer = "cannot tell"
    if len(known) >= MIN_PAIRS:
        if abs(mean) >= margin and half < abs(mean):
            answer = "better" if mean > 0 else "worse"
        elif abs(mean) + half < margin:
            answer = "no difference"
    return Difference(mean, half, answer)


def combined(answers: Sequence[Answer]) -> Answer:
    """Combine several verdicts: one "better" or "worse" decides, unless another verdict contradicts it."""
    decided = {answer for answer in answers if answer in ("better", "worse")}
    if len(decided) == 1:
        return decided.pop()
    return "no difference" if set(answers) == {"no difference"} else "cannot tell"


def verdict(answer: Answer) -> str:
    """Return the verdict on a claim that the first system is better."""
    return {"better": "supported", "worse": "contradicted"}.get(answer, answer)


def repeats(wav: Tensor, sample_rate: int, least_seconds: float = 0.5) -> float:
    """Return the largest autocorrelation of a sound's log-mel frames over the lags; 1 is exact repetition.

    Args:
        wav: float32 [C, T].
        sample_rate: Sample rate in Hz.
        least_seconds: Shortest lag in seconds.
    """
    spec = _log_mel(wav, sample_rate)
    spec = spec - spec.mean(dim=1, keepdim=True)
    num = spec.shape[1]
    values = []
    for lag in range(round(least_seconds * sample_rate / 512), num - num // 4):
        one, two = spec[:, lag:].flatten(), spec[:, : num - lag].flatten()
        values.append(float(one @ two / (one.norm() * two.norm()).clamp_min(1e-9)))
    return max(values)


def event_seconds(wav: Tensor, sample_rate: int) -> float:
    """Return the lag in seconds at which the autocorrelation of a sound's frames falls to 1 / e."""
    spec = _log_mel(wav, sample_rate, hop=128)
    spec = spec - spec.mean(dim=1, keepdim=True)
    power = float(spec.square().mean())
    for lag in range(1, spec.shape[1] // 2):
        if float((spec[:, lag:] * spec[:, :-lag]).mean()) < power / math.e:
            return lag * 128 / sample_rate
    return spec.shape[1] / 2 * 128 / sample_rate


def voiced_fraction(wav: Tensor, sample_rate: int) -> float:
    """Return the mean probability that a frame is voiced, by pYIN (Mauch & Dixon, 2014)."""
    _, _, probability = librosa.pyin(wav[0].numpy(), fmin=60.0, fmax=1000.0, sr=sample_rate)
    return float(probability.mean())


def below(wav: Tensor, sample_rate: int, frequency: float) -> tuple[Tensor, int]:
    """Low-pass and downsample a sound; return it, float32 [C, T'], and the new sample rate, twice the cut-off."""
    rate = round(2 * frequency)
    return torch.from_numpy(soxr.resample(wav.mT.numpy(), sample_rate, rate)).mT.contiguous(), rate


def _log_mel(wav: Tensor, sample_rate: int, hop: int = 512) -> Tensor:
    mel = librosa.feature.melspectrogram(y=wav[0].numpy(), sr=sample_rate, n_fft=1024, hop_length=hop, n_mels=40)
    return torch.from_numpy(librosa.power_to_db(mel, top_db=60.0))
