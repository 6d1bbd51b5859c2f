"""Steps that clips go through between reading and the spectrogram, and what they did to a data set."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from audiogen.audio.io import AudioFileError


class PreprocessStep(ABC):
    """Something done to every clip, chosen by config.

    A step looks at one clip alone, gives the same result every time, and can be pickled. The steps here are frozen
    dataclasses, so that `repr` tells all that their results depend on.
    """

    @abstractmethod
    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Return the clip as it goes on.

        Args:
            wav: float32 [C, T], full scale is [-1, 1]; not to be changed in place.
            sample_rate: In Hz.

        Returns:
            float32 [C, T'].

        Raises:
            AudioFileError: Where the clip is to be dropped; the message is the reason, without the path.
        """


@dataclass(frozen=True)
class Change:
    """What one step did to one clip.

    Attributes:
        step: Class name of the step, numbered where the class is used several times.
        changed: Whether anything is different.
        seconds_before: Length before the step.
        seconds_after: Length after it.
        level_db: How much higher the RMS level over all samples is after the step, in dB.
    """

    step: str
    changed: bool
    seconds_before: float
    seconds_after: float
    level_db: float


@dataclass(frozen=True)
class StepReport:
    """What one step did to all clips; `str` tells it in words.

    Attributes:
        step: As in `Change`.
        num_clips: Clips that no step dropped.
        num_changed: How many of these the step changed.
        num_dropped: Clips that the step dropped.
        seconds: Mean change of the length of the changed clips.
        level_db: Mean change of the RMS level of the changed clips, in dB.
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
    """Take a clip through all steps.

    Args:
        wav: float32 [C, T].
        sample_rate: In Hz.
        steps: In order.

    Returns:
        float32 [C, T'], and what each step did.

    Raises:
        AudioFileError: Where a step drops the clip or leaves nothing but silence; the message begins with the name of
            the step.
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
    """Sum up what each step did to many clips.

    Args:
        steps: As given to `preprocess`.
        changes: What it returned, for each clip that was kept.
        rejections: Why the other clips were not: messages of `preprocess`; other reasons are not counted.

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
    """Return the RMS level of wav [C, T] in dB relative to full scale."""
    return float(10 * wav.double().square().mean().log10())


def _names(steps: Sequence[PreprocessStep]) -> list[str]:
    """Return the class name of each step, numbered where several share it."""
    names = [type(step).__name__ for step in steps]
    return [name if names.count(name) == 1 else f"{name} {names[: i + 1].count(name)}" for i, name in enumerate(names)]
