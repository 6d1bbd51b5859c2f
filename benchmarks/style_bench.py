"""Run style-transfer configs on pairs of sounds, for `benchmarks.style_ablation`."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.audio.io import read_audio, write_audio
from audiogen.audio.level import active_level
from audiogen.commands.style_config import build_style_transfer
from audiogen.commands.transfer_sounds import WORKING_LEVEL, repeated
from audiogen.data.datasets.pairs import Pairs
from audiogen.metrics.contours import contour_match
from audiogen.metrics.texture import texture_distance
from audiogen.models.style_transfer import StyleTransfer
from audiogen.pictures import save_figure, spectrogram_strip
from benchmarks.sounds import drops, music, speech

RATE = 22050
PAPER_WIDTH = 4096
DISTANCES = ("mean", "deviation", "modulation")
COLUMNS = ("content", "style", "seconds", *DISTANCES, "onsets", "pitch", "spectrum")


@dataclass
class Row:
    """Results of one config.

    Attributes:
        name: Name of the row.
        results: For each column, the mean over the seeds for each pair.
        wavs: Sounds, float32 [C, T], for each pair and seed.
    """

    name: str
    results: dict[str, list[float]]
    wavs: list[list[Tensor]]

    def overall(self, column: str) -> float:
        """Return the mean of a column over the pairs."""
        return mean(self.results[column])

    def distances(self) -> list[float]:
        """Return the sum of the three distances to the style for each pair."""
        return [sum(values) for values in zip(*(self.results[name] for name in DISTANCES), strict=True)]

    def measured(self, measure: Callable[[Tensor, int], float]) -> list[float]:
        """Apply a measure to all sounds and return its mean over the seeds for each pair."""
        return [mean([measure(wav, RATE) for wav in wavs]) for wavs in self.wavs]


def config_files(config: str) -> list[str]:
    """Return the names of the shipped configs that make up a system with its variants.

    >>> config_files("huzaifah_wyse texture k1")
    ['huzaifah_wyse', 'papers/huzaifah_wyse_texture', 'papers/huzaifah_wyse_k1']
    """
    system, *variants = config.split()
    return [system, *(f"papers/{system}_{variant}" for variant in variants)]


class Bench:
    """Run configs on pairs of sounds.

    Args:
        pairs: Pairs of content and style, wav float32 [1, T] at 22,050 Hz.
        width: Channels of the networks.
        effort: Iterations as a fraction of the papers' numbers.
        seeds: Seeds of networks and noise.
        vggish: File with the weights of VGGish, or None.
        network: Checkpoint of a trained classifier, or None.
        out: Folder for sounds and pictures, or None.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Tensor, Tensor]],
        width: int,
        effort: float,
        seeds: int = 1,
        vggish: str | None = None,
        network: str | None = None,
        out: Path | None = None,
    ) -> None:
        self.pairs = [(_levelled(content), _levelled(style)) for content, style in pairs]
        self.width, self.effort, self.seeds, self.out = width, effort, seeds, out
        self.vggish, self.network = vggish, network
        self.rows: dict[str, Row] = {}

    def run(self, config: str, name: str = "", **changes: Any) -> Row:
        """Return the row of a config with some arguments of the model changed. Equal rows are computed once."""
        name = name or config
        if name not in self.rows:
            results: dict[str, list[float]] = {column: [] for column in COLUMNS}
            wavs: list[list[Tensor]] = []
            for index, pair in enumerate(self.pairs):
                found = [self._pair(config, changes, *pair, seed) for seed in range(self.seeds)]
                for column in COLUMNS:
                    results[column].append(mean([row[column] for row, _, _ in found]))
                wavs.append([wav for _, wav, _ in found])
                if self.out is not None:
                    self._keep(f"{name}-pair-{index}", *found[0][1:])
            self.rows[name] = Row(name, results, wavs)
            print(f"{name:<44}" + "".join(f"{mean(results[column]):>11.3g}" for column in COLUMNS), flush=True)
        return self.rows[name]

    def _keep(self, name: str, wav: Tensor, panels: tuple[dict[str, Tensor], Any]) -> None:
        """Write a sound and its picture."""
        assert self.out is not None
        stem = self.out / name.replace(", ", "-").replace(" ", "-")
        write_audio(stem.with_name(f"{stem.name}.wav"), wav.clamp(-1, 1), RATE)
        save_figure(spectrogram_strip(*panels), stem.with_name(f"{stem.name}.png"))

    def _pair(
        self, config: str, changes: dict[str, Any], content: Tensor, style: Tensor, seed: int
    ) -> tuple[dict[str, float], Tensor, tuple[dict[str, Tensor], Any]]:
        """Run one pair; return its results, its sound, and the panels of its picture with their transform."""
        model = self.model(config, changes, content, seed)
        transform = model.transform
        wanted, target = transform(content[None]), transform(style[None])[0]
        if model.extractor.fixed_length:
            target = repeated(target, wanted.shape[3])
        start = time.perf_counter()
        texture = model.start == "noise" and not model.keeps_content
        transfer = model.begin(None if texture else wanted, [[target]], num_frames=wanted.shape[3])
        for _ in range(max(round(model.iterations * self.effort), 1)):
            transfer.step()
        seconds = time.perf_counter() - start
        with torch.no_grad():
            wav = transform.inverse(transfer.spec)
            error = (transform(wav) - transfer.spec.clamp(-1, 1)).square().mean().sqrt().item()
        assert transfer.losses is not None
        losses = {name: getattr(transfer.losses, name).item() for name in ("content", "style")}
        sound = wav[0, :, : content.shape[1]]
        near, kept = texture_distance(sound, style, RATE)._asdict(), contour_match(sound, content, RATE)._asdict()
        panels = {} if texture else {"content": wanted[0]}
        panels |= {"texture" if texture else "result": transfer.spec[0], "style": target}
        results = losses | {"seconds": seconds} | near | kept | {"spectrum": 20 * error}
        return results, sound, (panels, transform)

    def model(self, config: str, changes: dict[str, Any], content: Tensor, seed: int = 0) -> StyleTransfer:
        """Build the model of a config at this width."""
        ratio = self.width / PAPER_WIDTH
        changes = {"seed": seed} | changes
        plain = build_style_transfer(config_files(config), {}, {"width": 8}) if "trained" not in config else None
        network: dict[str, Any] = {}
        if plain is not None:
            extractor = plain.model.extractor
            network |= {"width": self._matched_width() if extractor.orientation == "2d" else self.width, "seed": seed}
            settings = plain.settings["init_args"]
            if config.startswith("jain_raj"):  # its losses are sums over features rather than means
                changes |= {"style_weight": changes.get("style_weight", settings["style_weight"]) * ratio**2}
                if "perceptual" not in config:
                    changes |= {"content_weight": settings["content_weight"] * ratio}
            frames = plain.model.transform(content[None]).shape[3] if extractor.fixed_length else None
            if config == "style_transfer":
                network = {"seed": seed}  # a trained network keeps its own width
        else:
            frames = None
            changes = changes | {"weights": self.network}
        if config == "jain_raj perceptual":
            path = {
                "class_path": "audiogen.models.vggish_features.VGGishFeatures",
                "init_args": {"weights": self.vggish},
            }
            changes = changes | {"content_extractor": path}
        return build_style_transfer(config_files(config), changes, network, frames).model

    def _matched_width(self) -> int:
        """Return the width at which 2-D convolutions (kernel 11, three stacks) have as many parameters as 1-D ones."""
        parameters = 513 * 11 * self.width + 2 * 11 * self.width**2
        return int((-121 + math.sqrt(121**2 + 4 * 242 * parameters)) / (2 * 242))


def default_pairs(num: int, seconds: float) -> list[tuple[Tensor, Tensor]]:
    """Return the default pairs of content and style."""
    spoken, played, dripping = speech(seconds, RATE), music(seconds), drops(seconds)
    pairs = [(spoken[0], played[0]), (played[1], dripping), (spoken[1], spoken[2]), (played[0], spoken[3])]
    return pairs[:num]


def read_pairs(path: str, seconds: float) -> list[tuple[Tensor, Tensor]]:
    """Read the first seconds of the pairs in a CSV file."""
    sounds = [read_audio(clip.path, RATE)[:, : round(seconds * RATE)] for clip in Pairs().scan(Path(path))]
    return list(zip(sounds[::2], sounds[1::2], strict=True))


def _levelled(wav: Tensor) -> Tensor:
    """Scale a sound to the level that `stylize` uses."""
    return wav * (WORKING_LEVEL / active_level([wav], RATE))


def mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else math.nan
