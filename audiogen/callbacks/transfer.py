"""Write the results of style transfer: sounds, pictures and losses of each pair."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from audiogen.atomic import write_text
from audiogen.audio.io import write_audio
from audiogen.callbacks.samples import SAMPLE_FOLDER, log_picture, log_sound
from audiogen.capabilities import Transfers, require
from audiogen.damaged import set_aside
from audiogen.distributed import all_gather
from audiogen.pictures import save_figure, spectrogram_strip
from audiogen.untrusted import read_inside

MAX_BYTES = 1 << 26  # of the table of losses


class TransferLogger(lightning.Callback):
    """Write the results of a batch of pairs when it is done, or when a loss is not finite.

    Writes in the run directory, for pair 3 (counted from 0 over the usable pairs): `samples/pair-0003.wav`, or with
    several variants `samples/pair-0003-balance-0.5.wav`; `samples/pair-0003.png` with content, results and style; and
    `samples/losses.json` with the final losses of all sounds. TensorBoard and W&B receive pictures and sounds too.
    """

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the results if the step was the last one of its pairs."""
        model = require(pl_module, Transfers, "begin", type(self).__name__)
        if model.finished:
            found = all_gather(_results(trainer, model, model.clips_seen - 1))
            if trainer.is_global_zero:
                _write(trainer, model, [result for results in found for result in results])

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Write the last good results if a loss became NaN or infinite."""
        model = require(pl_module, Transfers, "begin", type(self).__name__)
        if isinstance(exception, FloatingPointError) and model.transfer is not None:
            _write(trainer, model, _results(trainer, model, model.clips_seen))


class _Result(NamedTuple):
    """Results of a pair.

    Attributes:
        stem: Stem of its file names.
        panels: Spectrograms of the picture, float32 [C, F, L], by name.
        sounds: wav, float32 [C, T], by name.
        losses: Final losses by name of the sound.
    """

    stem: str
    panels: dict[str, Tensor]
    sounds: dict[str, Tensor]
    losses: dict[str, dict[str, float]]


def _results(trainer: lightning.Trainer, model: Transfers, clips_seen: int) -> list[_Result]:
    """Return the results of this rank's pairs."""
    num_pairs = model.batch_size // trainer.world_size  # of this rank
    group = clips_seen // (model.batch_size * model.iterations)
    first = group * model.batch_size + trainer.global_rank * num_pairs
    transfer = model.transfer
    names = [name.replace(" ", "-") for name in model.variant_names()]
    spec = transfer.spec
    wavs = model.transform.inverse(spec).clamp(-1, 1).cpu()
    results = []
    for index, (content, style) in enumerate(model.pairs):
        if first + index >= trainer.datamodule.num_pairs:  # type: ignore[attr-defined]
            break  # the last batch is filled up with repeated pairs
        stem = f"pair-{first + index:04d}"
        made = {"-".join(filter(None, (stem, name))): index * len(names) + i for i, name in enumerate(names)}
        shown = {"content": content, **{file: spec[row] for file, row in made.items()}, "style": style}
        panels = {name: panel.cpu() for name, panel in shown.items()}
        losses = {file: _scores(transfer.losses, row) for file, row in made.items()}
        results.append(_Result(stem, panels, {file: wavs[row].clone() for file, row in made.items()}, losses))
    return results


def _write(trainer: lightning.Trainer, model: Transfers, results: Sequence[_Result]) -> None:
    """Write and log pictures, sounds and losses."""
    folder, transform = Path(trainer.default_root_dir) / SAMPLE_FOLDER, model.transform
    for result in results:
        figure = spectrogram_strip(result.panels, transform)
        save_figure(figure, folder / f"{result.stem}.png")
        for file, wav in result.sounds.items():
            write_audio(folder / f"{file}.wav", wav, transform.sample_rate)
        for logger in trainer.loggers:
            log_picture(logger, f"samples/{result.stem}", figure, model.clips_seen)
            for file, wav in result.sounds.items():
                log_sound(logger, f"sounds/{file}", wav, transform.sample_rate, model.clips_seen)
    _add_rows(folder / "losses.json", {name: row for result in results for name, row in result.losses.items()})


def _scores(losses: Any, row: int) -> dict[str, float]:
    return {name: float(values[row]) for name, values in losses._asdict().items()}


def _add_rows(path: Path, rows: dict[str, Any]) -> None:
    """Add rows to a JSON file; a damaged one is set aside."""
    known: Any = {}
    if path.exists():
        try:
            known = json.loads(read_inside(path.parent, path.name, MAX_BYTES))
        except (UnicodeDecodeError, json.JSONDecodeError):
            known = None
        if not isinstance(known, dict):
            rank_zero_info(set_aside(path, "it is not a JSON object"))
            known = {}
    write_text(path, json.dumps(known | rows, indent=2))
