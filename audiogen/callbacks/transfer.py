"""Write what style transfer made: sounds, pictures and losses of each pair."""

import json
from pathlib import Path
from typing import Any

import lightning

from audiogen.audio.io import write_audio
from audiogen.callbacks.samples import SAMPLE_FOLDER, log_picture, log_sound
from audiogen.pictures import save_figure, spectrogram_strip


class TransferLogger(lightning.Callback):
    """Write the results of a batch of pairs when it is done, or when a loss stopped it.

    In the run directory, of pair 3 (counted from 0, of the pairs that could be used): `samples/pair-0003.wav`, of
    several variants `samples/pair-0003-balance-0.5.wav`; `samples/pair-0003.png` with content, results and style; and
    `samples/losses.json` with the final losses of all sounds. Loggers that take pictures and sounds get them too.
    """

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write results where the step was the last one of its pairs."""
        if pl_module.finished:
            self._write(trainer, pl_module, pl_module.clips_seen - 1)

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Write the last good results where a loss became NaN or infinite."""
        if isinstance(exception, FloatingPointError) and pl_module.transfer is not None:
            self._write(trainer, pl_module, pl_module.clips_seen)

    @staticmethod
    def _write(trainer: lightning.Trainer, pl_module: Any, clips_seen: int) -> None:
        share = pl_module.batch_size // trainer.world_size
        group = clips_seen // (pl_module.batch_size * pl_module.iterations)
        first = group * pl_module.batch_size + trainer.global_rank * share
        transfer, transform = pl_module.transfer, pl_module.transform
        folder = Path(trainer.default_root_dir) / SAMPLE_FOLDER
        names = [name.replace(" ", "-") for name in pl_module.variant_names()]
        spec = transfer.spec
        wavs = transform.inverse(spec).clamp(-1, 1).cpu()
        rows = {}
        for index, (content, style) in enumerate(pl_module.pairs):
            stem = f"pair-{first + index:04d}"
            made = {
                "-".join(filter(None, (stem, name))): index * len(names) + variant for variant, name in enumerate(names)
            }
            panels = {"content": content, **{file: spec[row] for file, row in made.items()}, "style": style}
            figure = spectrogram_strip(panels, transform)
            save_figure(figure, folder / f"{stem}.png")
            for logger in trainer.loggers:
                log_picture(logger, f"samples/{stem}", figure, pl_module.clips_seen)
            for file, row in made.items():
                write_audio(folder / f"{file}.wav", wavs[row], transform.sample_rate)
                rows[file] = _figures(transfer.losses, row)
                for logger in trainer.loggers:
                    log_sound(logger, f"sounds/{file}", wavs[row], transform.sample_rate, pl_module.clips_seen)
        _add_rows(folder / "losses.json", rows)


def _figures(losses: Any, row: int) -> dict[str, float]:
    return {name: float(values[row]) for name, values in losses._asdict().items()}


def _add_rows(path: Path, rows: dict[str, Any]) -> None:
    """Add rows to a JSON file, which is written beside and renamed."""
    known = json.loads(path.read_text()) if path.exists() else {}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(known | rows, indent=2))
    part.replace(path)
