"""Preprocess clips before the spectrogram, and report what each step changed."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from audiogen.audio.io import AudioFileError


class PreprocessStep(ABC):
    """A preprocessing step, applied to every clip and chosen in the config.

    A step sees one clip at a time, is deterministic and can be pickled. The built-in steps are frozen dataclasses, so
    their `repr` contains everything their results depend on.
    """

    @abstractmethod
    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Process one clip.

        Args:
            wav: float32 [C, T], full scale is [-1, 1]. Do not modify it in place.
            sample_rate: Sample rate in Hz.

        Returns:
            float32 [C, T'].

        Raises:
            AudioFileError: If the clip should be dropped. The message gives the reason without the path.
        """


@dataclass(frozen=True)
class Change:
    """Effect of one step on one clip.

    Attributes:
        step: Class name of the step, numbered if the class is used several times.
        changed: Whether any sample changed.
        seconds_before: Duration before the step, in seconds.
        seconds_after: Duration after the step, in seconds.
        level_db: Change in the RMS level over all samples, in dB.
    """

    step: str
    changed: bool
    seconds_before: float
    seconds_after: float
    level_db: float


@dataclass(frozen=True)
class StepReport:
    """Effect of one step on all clips; `str` formats it as one line.

    Attributes:
        step: See `Change`.
        num_clips: Number of clips that passed all steps.
        num_changed: Number of these that the step changed.
        num_dropped: Number of clips that the step dropped.
        seconds: Mean change in duration of the changed clips, in seconds.
        level_db: Mean change in RMS level of the changed clips, in dB.
    """

    step: str
    num_clips: int
    num_changed: int
    num_dropped: int
    seconds: float
    level_db: float

    def __str__(self) -> str:
        text = f"{self.step}: {self.num_changed} of {self.num_clips} clips changed"
        if self.num_changed:
            text += f", {self.seconds:+z.2f} s on average, level {self.level_db:+z.1f} dB"
        if self.num_dropped:
            text += f"; {self.num_dropped} clip{'s' if self.num_dropped > 1 else ''} dropped"
        return text


def preprocess(wav: Tensor, sample_rate: int, steps: Sequence[PreprocessStep]) -> tuple[Tensor, list[Change]]:
    """Apply all steps to a clip.

    Args:
        wav: float32 [C, T].
        sample_rate: Sample rate in Hz.
        steps: Steps in order of application.

    Returns:
        The processed clip, float32 [C, T'], and the effect of each step.

    Raises:
        AudioFileError: If a step drops the clip, makes samples that are not finite, or leaves only silence. The message
            starts with the name of the step.
    """
    changes = []
    for name, step in zip(_names(steps), steps, strict=True):
        before = wav
        try:
            wav = step(before, sample_rate)
        except AudioFileError as error:
            raise AudioFileError(f"{name}: {error}") from error
        if not torch.isfinite(wav).all():
            raise AudioFileError(f"{name}: not finite (it made NaN or Inf samples)")
        if not wav.any():
            raise AudioFileError(f"{name}: nothing left (every sample is 0)")
        changes.append(_change(name, before, wav, sample_rate))
    return wav, changes


def step_reports(
    steps: Sequence[PreprocessStep], changes: Iterable[Sequence[Change]], rejections: Iterable[str]
) -> list[StepReport]:
    """Summarise the effect of each step on many clips.

    Args:
        steps: The steps given to `preprocess`.
        changes: Changes that `preprocess` returned for each kept clip.
        rejections: Reasons why other clips were rejected. Only messages raised by `preprocess` are counted.

    Example:
        >>> class TrimSilence(PreprocessStep):
        ...     def __call__(self, wav, sample_rate): ...
        >>> clips = [[Change("TrimSilence", True, 1.0, 0.75, 0.5)], [Change("TrimSilence", False, 1.0, 1.0, 0.0)]]
        >>> for line in step_reports([TrimSilence()], clips, ["TrimSilence: empty"]):
        ...     print(line)
        TrimSilence: 1 of 2 clips changed, -0.25 s on average, level +0.5 dB; 1 clip dropped
    """
    all_changes = [change for clip in changes for change in clip]
    reasons = list(rejections)
    return [_report(name, [change for change in all_changes if change.step == name], reasons) for name in _names(steps)]


def _report(name: str, changes: list[Change], reasons: list[str]) -> StepReport:
    changed = [change for change in changes if change.changed]
    return StepReport(
        step=name,
        num_clips=len(changes),
        num_changed=len(changed),
        num_dropped=sum(reason.startswith(f"{name}: ") for reason in reasons),
        seconds=fmean(change.seconds_after - change.seconds_before for change in changed) if changed else 0.0,
        level_db=fmean(change.level_db for change in changed) if changed else 0.0,
    )


def _change(name: str, before: Tensor, after: Tensor, sample_rate: int) -> Change:
    return Change(
        step=name,
        changed=not torch.equal(before, after),
        seconds_before=before.shape[-1] / sample_rate,
        seconds_after=after.shape[-1] / sample_rate,
        level_db=_level_db(after) - _level_db(before),
    )


def _level_db(wav: Tensor) -> float:
    return float(10 * wav.double().square().mean().log10())


def _names(steps: Sequence[PreprocessStep]) -> list[str]:
    """Return the class name of each step, numbered if the class is used several times."""
    names = [type(step).__name__ for step in steps]
    return [name if names.count(name) == 1 else f"{name} {names[: i + 1].count(name)}" for i, name in enumerate(names)]
