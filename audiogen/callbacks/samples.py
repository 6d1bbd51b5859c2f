"""Make pictures and sounds during training, from the same seeds each time so that they can be compared."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from audiogen.audio.io import write_audio
from audiogen.capabilities import Samples, Trained, require, trained
from audiogen.pictures import MAX_ROWS, save_figure, spectrogram_grid

SAMPLE_FOLDER = "samples"


class PeriodicSamples(lightning.Callback, ABC):
    """Show what a model makes at an interval and at the end, as pictures and sounds.

    Args:
        every_kimg: Interval in thousands of clips shown.
        num_clips: Clips in each row of a picture.

    Raises:
        ValueError: If `every_kimg` or `num_clips` is not positive.
    """

    capability: type[Trained]
    method: str

    def __init__(self, every_kimg: float, num_clips: int) -> None:
        if every_kimg <= 0 or num_clips < 1:
            raise ValueError(f"need every_kimg > 0 and at least one clip in a row, got {every_kimg} and {num_clips}")
        self.every_kimg = every_kimg

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Refuse models that cannot make the clips."""
        require(pl_module, self.capability, self.method, type(self).__name__)

    @abstractmethod
    def show(self, trainer: lightning.Trainer, model: Trained, write: bool) -> None:
        """Make clips, draw them, and log sounds; with `write`, also write them as files."""

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Make clips if the step passed a multiple of the interval."""
        model = trained(pl_module)
        if trainer.is_global_zero and model.crossed(self.every_kimg):
            self.show(trainer, model, write=False)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Make clips of the final state, and write sounds."""
        model = trained(pl_module)
        if trainer.is_global_zero:
            self.show(trainer, model, write=True)

    @staticmethod
    def draw(
        trainer: lightning.Trainer, model: Trained, spec: Tensor, row_names: Sequence[str], title: str, tag: str
    ) -> None:
        """Write spec [R, N, C, F, L] as a picture named by its title, and log it as `tag`."""
        figure = spectrogram_grid(spec, row_names, model.transform, title=title)
        save_figure(figure, Path(trainer.default_root_dir) / SAMPLE_FOLDER / f"{title}.png")
        for logger in trainer.loggers:
            log_picture(logger, tag, figure, model.clips_seen)

    @staticmethod
    def sound(trainer: lightning.Trainer, model: Trained, spec: Tensor, tags: Mapping[str, str], write: bool) -> None:
        """Invert spec [R, C, F, L] to sound, and log it.

        Args:
            trainer: Trainer with the run directory and the loggers.
            model: Model with the transform.
            spec: One clip per sound.
            tags: For each sound its file in the folder of samples, without suffix, and its tag in the loggers.
            write: Whether to write files.
        """
        takers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger | WandbLogger)]
        if not takers and not write:
            return
        sample_rate = model.transform.sample_rate
        wavs = model.transform.inverse(spec.to(model.device)).clamp(-1, 1).cpu()  # [R, C, T]
        for (file, tag), wav in zip(tags.items(), wavs, strict=True):
            if write:
                write_audio(Path(trainer.default_root_dir) / SAMPLE_FOLDER / f"{file}.wav", wav, sample_rate)
            for logger in takers:
                log_sound(logger, tag, wav, sample_rate, model.clips_seen)


class SampleLogger(PeriodicSamples):
    """Draw a grid of generated clips at an interval, and at the end also write one sound per class.

    Writes `samples/real.png`, `samples/real/seven.wav`, `samples/kimg-00010.000.png`, ... and `samples/seven.wav` in
    the run directory. TensorBoard and W&B receive the pictures and sounds too.

    Args:
        every_kimg: Interval in thousands of clips shown.
        num_per_class: Clips in each row of the grid.
        seed: Seed of the clips.

    Raises:
        ValueError: If `every_kimg` or `num_per_class` is not positive.
    """

    capability = Samples
    method = "sample"

    def __init__(self, every_kimg: float = 10.0, num_per_class: int = 8, seed: int = 0) -> None:
        super().__init__(every_kimg, num_per_class)
        self.num_per_class, self.seed = num_per_class, seed

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Draw real clips for comparison."""
        model = trained(pl_module)
        if trainer.is_global_zero:
            clips = trainer.datamodule.split("train")  # type: ignore[attr-defined]
            rows = [torch.nonzero(clips.label == i)[:, 0] for i in range(_num_rows(model))]
            num = min(self.num_per_class, *(len(row) for row in rows))
            spec = torch.stack([clips.take(spread(row, num)) for row in rows])
            self.draw(trainer, model, spec, model.label_names, "real", "samples/real")
            self.sound(trainer, model, spec[:, 0], _tags(model, "real/", "real"), write=True)

    def show(self, trainer: lightning.Trainer, model: Trained, write: bool) -> None:
        """Generate clips from the same seeds each time; see `PeriodicSamples`."""
        model = cast(Samples, model)  # `setup` has checked it
        num_rows = _num_rows(model)
        seeds = model.clip_seeds(self.seed, self.num_per_class)
        label = torch.arange(num_rows).repeat_interleave(self.num_per_class)
        spec = model.sample(label, seeds * num_rows).unflatten(0, (num_rows, -1))  # [R, N, C, F, L]
        title = f"kimg-{model.kimg:09.3f}"
        self.draw(trainer, model, spec[:MAX_ROWS], model.label_names, title, "samples/generated")
        self.sound(trainer, model, spec[:, 0], _tags(model, "", "generated"), write)


def spread(indices: Tensor, num: int) -> Tensor:
    """Return evenly spread indices; the first ones might all belong to one speaker.

    Example:
        >>> spread(torch.arange(10), 3)
        tensor([0, 3, 6])
    """
    return indices[:: len(indices) // num][:num]


def _tags(model: Trained, folder: str, kind: str) -> dict[str, str]:
    return {f"{folder}{name}": f"sounds/{name}/{kind}" for name in model.label_names or ["sample"]}


def _num_rows(model: Trained) -> int:
    return max(len(model.label_names), 1)


def log_picture(logger: Logger, name: str, figure: Figure, step: int) -> None:
    """Log a picture to TensorBoard or W&B."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, _pixels(figure), step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [_pixels(figure)], step=step)


def log_sound(logger: Logger, name: str, wav: Tensor, sample_rate: int, step: int) -> None:
    """Log wav, float [C, T] in [-1, 1], to TensorBoard (mixed to one channel) or W&B."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_audio(name, wav.mean(dim=0), step, sample_rate)
    elif isinstance(logger, WandbLogger):
        logger.log_audio(name, [wav.T.numpy()], step=step, sample_rate=[sample_rate])


def _pixels(figure: Figure) -> np.ndarray:
    """Render a figure, uint8 [H, W, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
