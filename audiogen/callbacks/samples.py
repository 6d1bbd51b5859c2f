"""Make pictures and sounds during training: the same seeds each time, so that progress can be compared."""

from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from audiogen.audio.io import write_audio
from audiogen.pictures import MAX_ROWS, save_figure, spectrogram_grid

SAMPLE_FOLDER = "samples"


class SampleLogger(lightning.Callback):
    """Draw a grid of generated clips every so often; at the end also write one sound for each class.

    In the run directory: `samples/real.png`, `samples/real/seven.wav`, `samples/kimg-00010.000.png`, ...,
    `samples/seven.wav`. Loggers that take pictures and sounds (TensorBoard, W&B) get them too.

    Args:
        every_kimg: Interval.
        num_per_class: Clips in each row of the grid.
        seed: Of the clips.
    """

    def __init__(self, every_kimg: float = 10.0, num_per_class: int = 8, seed: int = 0) -> None:
        if every_kimg <= 0 or num_per_class < 1:
            raise ValueError(f"every_kimg must be > 0 and num_per_class >= 1, got {every_kimg} and {num_per_class}")
        self.every_kimg = every_kimg
        self.num_per_class = num_per_class
        self.seed = seed

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Draw real clips, to compare with."""
        if trainer.is_global_zero:
            clips = trainer.datamodule.split("train")  # type: ignore[attr-defined]
            rows = [torch.nonzero(clips.label == i)[:, 0] for i in range(_num_rows(pl_module))]
            num = min(self.num_per_class, *(len(row) for row in rows))
            spread = [row[:: len(row) // num][:num] for row in rows]  # not the first ones: they may be of one speaker
            spec = torch.stack([clips.take(row) for row in spread])
            self._draw(trainer, pl_module, spec, "real")
            self._sound(trainer, pl_module, spec[:, 0].to(pl_module.device), "real", write=True)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Make clips where the step passed a multiple of the interval."""
        if trainer.is_global_zero and pl_module.crossed(self.every_kimg):
            self._show(trainer, pl_module, write=False)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Make clips of the last state, whatever ended the training, and write one sound for each class."""
        if trainer.is_global_zero:
            self._show(trainer, pl_module, write=True)

    def _show(self, trainer: lightning.Trainer, pl_module: Any, write: bool) -> None:
        spec = self._sample(pl_module)
        self._draw(trainer, pl_module, spec[:MAX_ROWS], f"kimg-{pl_module.kimg:09.3f}")
        self._sound(trainer, pl_module, spec[:, 0], "generated", write)

    def _sample(self, pl_module: Any) -> Tensor:
        """Return spec, float32 [R, N, C, F, L], the seeds in columns."""
        num_rows = _num_rows(pl_module)
        seeds = pl_module.clip_seeds(self.seed, self.num_per_class)
        label = torch.arange(num_rows).repeat_interleave(self.num_per_class)
        return pl_module.sample(label, seeds * num_rows).unflatten(0, (num_rows, -1))

    def _draw(self, trainer: lightning.Trainer, pl_module: Any, spec: Tensor, name: str) -> None:
        figure = spectrogram_grid(spec, pl_module.label_names, pl_module.transform, title=name)
        save_figure(figure, Path(trainer.default_root_dir) / SAMPLE_FOLDER / f"{name}.png")
        for logger in trainer.loggers:
            log_picture(logger, "samples/real" if name == "real" else "samples/generated", figure, pl_module.clips_seen)

    def _sound(self, trainer: lightning.Trainer, pl_module: Any, spec: Tensor, kind: str, write: bool) -> None:
        """Hand the sounds of spec [R, C, F, L] to the loggers and, with `write`, put them into files."""
        takers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger | WandbLogger)]
        if not takers and not write:
            return
        sample_rate = pl_module.transform.sample_rate
        wavs = pl_module.transform.inverse(spec).clamp(-1, 1).cpu()  # [R, C, T]
        folder = Path(trainer.default_root_dir) / SAMPLE_FOLDER / ("real" if kind == "real" else "")
        for name, wav in zip(pl_module.label_names or ["sample"], wavs, strict=True):
            if write:
                write_audio(folder / f"{name}.wav", wav, sample_rate)
            for logger in takers:
                log_sound(logger, f"sounds/{name}/{kind}", wav, sample_rate, pl_module.clips_seen)


def _num_rows(pl_module: Any) -> int:
    return max(len(pl_module.label_names), 1)


def log_picture(logger: Logger, name: str, figure: Figure, step: int) -> None:
    """Hand a picture to a logger that takes pictures."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, _pixels(figure), step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [_pixels(figure)], step=step)


def log_sound(logger: Logger, name: str, wav: Tensor, sample_rate: int, step: int) -> None:
    """Hand wav, float [C, T] in [-1, 1], to a logger that takes sounds; TensorBoard takes one channel."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_audio(name, wav.mean(dim=0), step, sample_rate)
    elif isinstance(logger, WandbLogger):
        logger.log_audio(name, [wav.T.numpy()], step=step, sample_rate=[sample_rate])


def _pixels(figure: Figure) -> np.ndarray:
    """Render a figure, uint8 [H, W, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
