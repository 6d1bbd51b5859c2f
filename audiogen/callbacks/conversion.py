"""Follow the training of a translator: scores of converted clips, and pictures and sounds of fixed ones."""

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor

from audiogen.audio.io import write_audio
from audiogen.callbacks.evaluation import PeriodicEvaluation
from audiogen.callbacks.samples import SAMPLE_FOLDER, log_picture, log_sound
from audiogen.metrics.conversion import ConversionJudge, Task, convert_clips
from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.metrics.judge import Clips, Embed
from audiogen.pictures import save_figure, spectrogram_grid


class ConversionEvaluation(PeriodicEvaluation):
    """Convert all validation clips to every target with the averaged translator, and score them by two classifiers.

    The figures are those of `ConversionJudge`.

    Args:
        domain: A classifier of the domains, such as speakers.
        content: A classifier of what should stay, such as words; null for none.
        every_kimg: Interval of the validation passes.

    Raises:
        ValueError: For values out of range.
    """

    method = "convert"

    def __init__(self, domain: Embedding, content: Embedding | None = None, every_kimg: float = 5.0) -> None:
        super().__init__(every_kimg)
        self.domain, self.content = domain, content
        self._judge: ConversionJudge | None = None
        self._task: Task | None = None

    def make_judge(self, pl_module: Any, reference: Clips, train: Clips, embedder: Embed) -> list[str]:
        """Make a judge with the classifiers; see `PeriodicEvaluation`."""
        settings = (pl_module.transform, pl_module.label_names, pl_module.targets, pl_module.device)
        self._judge = ConversionJudge(self.domain, self.content, *settings)
        self._task = self._judge.set_real(reference, train, embedder)
        return []

    def figures(self, pl_module: Any, reference: Clips, rank: int, world_size: int) -> dict[str, float]:
        """Convert the clips and compute the figures; see `PeriodicEvaluation`."""
        assert self._judge is not None
        assert self._task is not None
        share = Task(*(part[rank::world_size] for part in self._task))
        self._judge.update(convert_clips(pl_module, reference, share))
        return self._judge.compute()


class ConversionLogger(lightning.Callback):
    """Draw the same clips every so often: sources, what is made of them, and clips of the target made into themselves.

    In the run directory: `samples/kimg-00010.000.png`, ..., and at the end sounds of one clip for each target:
    `samples/nicolas-source.wav`, `nicolas-converted.wav`, `nicolas-target.wav`, `nicolas-reproduced.wav`. Clips are of
    the validation split where it has all domains. Loggers that take pictures and sounds (TensorBoard, W&B) get them
    too.

    Args:
        every_kimg: Interval.
        num_clips: In each row.
    """

    def __init__(self, every_kimg: float = 10.0, num_clips: int = 8) -> None:
        if every_kimg <= 0 or num_clips < 1:
            raise ValueError(f"every_kimg must be > 0 and num_clips >= 1, got {every_kimg} and {num_clips}")
        self.every_kimg, self.num_clips = every_kimg, num_clips

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Convert where the step passed a multiple of the interval."""
        if trainer.is_global_zero and pl_module.crossed(self.every_kimg):
            self._show(trainer, pl_module, write=False)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Convert with the last state, whatever ended the training, and write sounds."""
        if trainer.is_global_zero:
            self._show(trainer, pl_module, write=True)

    def _show(self, trainer: lightning.Trainer, pl_module: Any, write: bool) -> None:
        loaded = trainer.datamodule.loaded  # type: ignore[attr-defined]
        clips = loaded.splits.get("val", loaded.splits["train"])
        if len(clips.label.unique()) < len(pl_module.label_names):
            clips = loaded.splits["train"]  # of a small domain, nothing is held out
        rows: dict[str, Tensor] = {}
        for index in pl_module.targets:
            name = pl_module.label_names[index]
            sources, own = (self._spread(clips, mask) for mask in (clips.label != index, clips.label == index))
            made = {f"{name}-source": sources, f"{name}-target": own}
            for kind, spec in (("converted", sources), ("reproduced", own)):
                made[f"{name}-{kind}"] = pl_module.convert(spec, torch.full((len(spec),), index)).cpu()
            order = ("source", "converted", "target", "reproduced")
            rows |= {key: made[key] for key in (f"{name}-{kind}" for kind in order)}
        num = min(len(row) for row in rows.values())
        spec = torch.stack([row[:num] for row in rows.values()])  # [R, N, C, F, L]
        title = f"kimg-{pl_module.kimg:09.3f}"
        figure = spectrogram_grid(spec, list(rows), pl_module.transform, title=title)
        folder = Path(trainer.default_root_dir) / SAMPLE_FOLDER
        save_figure(figure, folder / f"{title}.png")
        takers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger | WandbLogger)]
        for logger in takers:
            log_picture(logger, "samples/converted", figure, pl_module.clips_seen)
        if not takers and not write:
            return
        rate = pl_module.transform.sample_rate
        wavs = pl_module.transform.inverse(spec[:, 0].to(pl_module.device)).clamp(-1, 1).cpu()
        for name, wav in zip(rows, wavs, strict=True):
            if write:
                write_audio(folder / f"{name}.wav", wav, rate)
            for logger in takers:
                log_sound(logger, f"sounds/{name}", wav, rate, pl_module.clips_seen)

    def _spread(self, clips: Any, mask: Tensor) -> Tensor:
        """Return clips of a mask, not the first ones, which may be alike: spec, float32 [N, C, F, L]."""
        found = torch.nonzero(mask)[:, 0]
        num = min(self.num_clips, len(found))
        return clips.take(found[:: len(found) // num][:num])
