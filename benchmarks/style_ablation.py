"""Rerun the comparisons of papers C, K and H, `python -m benchmarks.style_ablation`.

Every row is a recipe (`configs/style_transfer_*.yaml`) on the same pairs, with networks of `--width` channels: weights
are scaled so that they mean what they do at 4096. Figures are means over the pairs:

- content, style: final losses relative to the pair (see `audiogen.models.transfer.Losses`), and seconds for a pair;
- mean, deviation, modulation: distance to the style in dB by statistics of its log-mel bands, which no run optimised;
- onsets, pitch: correlation with the content's onset envelope and pitch contour;
- spectrum: root mean square in dB between the spectrogram that was found and that of the sound made of it.

Then, for each claim of the papers, whether it is seen here: two rows are compared by the sum of the three distances
and by the onsets, where differences below 5 % and below 0.03 count as none.

Pairs are spoken digits (FSDD where AUDIOGEN_FSDD names it), synthesised music, and drops of water, or those of
`--pairs FILE.csv`. Comparisons that need weights from elsewhere are left out, saying so, where `--vggish FILE` or
`--network CLASSIFIER` (see configs/classifier_esc50.yaml) is not given.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.audio.io import read_audio
from audiogen.commands.style_recipe import build_style_transfer
from audiogen.commands.transfer_sounds import repeated
from audiogen.data.pairs import Pairs
from audiogen.metrics.contours import contour_match
from audiogen.metrics.texture import texture_distance
from audiogen.models.style_transfer import StyleTransfer
from benchmarks.sounds import drops, music, speech

RATE = 22050
PAPER_WIDTH = 4096
COLUMNS = ("content", "style", "seconds", "mean", "deviation", "modulation", "onsets", "pitch", "spectrum")
SMALL = 0.05  # of a distance
SMALL_CORRELATION = 0.03


@dataclass
class Row:
    """Means over the pairs.

    Attributes:
        name: Of the row.
        figures: By column.
        wavs: The sounds, float32 [C, T], in the order of the pairs.
    """

    name: str
    figures: dict[str, float]
    wavs: list[Tensor] = field(default_factory=list)

    @property
    def distance(self) -> float:
        """Distance to the style, all three together."""
        return sum(self.figures[name] for name in ("mean", "deviation", "modulation"))


class Bench:
    """Runs recipes on pairs.

    Args:
        pairs: Content and style, wav float32 [1, T] at 22,050 Hz.
        width: Channels of the networks.
        effort: Share of the papers' iterations.
        vggish: File of VGGish's weights, or None.
        network: Checkpoint of a trained classifier, or None.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Tensor, Tensor]],
        width: int,
        effort: float,
        vggish: str | None = None,
        network: str | None = None,
    ) -> None:
        self.pairs, self.width, self.effort, self.vggish, self.network = pairs, width, effort, vggish, network
        self.rows: dict[str, Row] = {}

    def run(self, recipe: str, name: str = "", **changes: Any) -> Row:
        """Return the row of a recipe with some arguments of the model changed; the same row is only computed once."""
        name = name or recipe
        if name not in self.rows:
            found = [self._pair(recipe, changes, *pair) for pair in self.pairs]
            figures = {column: _mean([row[column] for row, _ in found]) for column in COLUMNS}
            self.rows[name] = Row(name, figures, [wav for _, wav in found])
            print(f"{name:<44}" + "".join(f"{value:>11.3g}" for value in figures.values()), flush=True)
        return self.rows[name]

    def _pair(
        self, recipe: str, changes: dict[str, Any], content: Tensor, style: Tensor
    ) -> tuple[dict[str, float], Tensor]:
        model = self.model(recipe, changes, content)
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
        return losses | {"seconds": seconds} | near | kept | {"spectrum": 20 * error}, sound

    def model(self, recipe: str, changes: dict[str, Any], content: Tensor) -> StyleTransfer:
        """Build a recipe at this width."""
        share = self.width / PAPER_WIDTH
        plain = build_style_transfer(recipe, {}, {"width": 8}) if "trained" not in recipe else None
        network: dict[str, Any] = {}
        if plain is not None:
            extractor = plain.model.extractor
            network["width"] = self._matched_width() if extractor.orientation == "2d" else self.width
            settings = plain.settings["init_args"]
            power = 2 if recipe.startswith("cs753") else 0
            if settings["balance"] is None:
                weights = settings["style_weight"] if "style_weight" not in changes else changes["style_weight"]
                changes = changes | {"style_weight": weights * share**power}
                if power == 4 and "perceptual" not in recipe:
                    changes |= {"content_weight": settings["content_weight"] * share}
            frames = plain.model.transform(content[None]).shape[3] if extractor.fixed_length else None
            if recipe == "fast":
                network = {}  # as it is
        else:
            frames = None
            changes = changes | {"weights": self.network}
        if recipe == "cs753_perceptual":
            path = {
                "class_path": "audiogen.models.vggish_features.VGGishFeatures",
                "init_args": {"weights": self.vggish},
            }
            changes = changes | {"content_extractor": path}
        return build_style_transfer(recipe, changes, network, frames).model

    def _matched_width(self) -> int:
        """Return the width of two-dimensional convolutions with as many parameters, kernels of 11 and three stacks."""
        parameters = 513 * 11 * self.width + 2 * 11 * self.width**2
        return int((-121 + math.sqrt(121**2 + 4 * 242 * parameters)) / (2 * 242))


def better(one: Row, other: Row) -> str:
    """Say whether one row is nearer to the style than another and keeps as much of the content."""
    distance = (one.distance - other.distance) / other.distance
    onsets = one.figures["onsets"] - other.figures["onsets"]
    nearer = -1 if distance > SMALL else int(distance < -SMALL)
    keeps = -1 if onsets < -SMALL_CORRELATION else int(onsets > SMALL_CORRELATION)
    told = f"distance {distance:+.0%}, onsets {onsets:+.2f}"
    if nearer + keeps > 0:
        return f"seen ({told})"
    if nearer == keeps == 0:
        return f"no difference ({told})"
    return f"{'not seen' if nearer + keeps < 0 else 'mixed'} ({told})"


def _mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else math.nan


def repeats(wav: Tensor, least_seconds: float = 0.5) -> float:
    """Return the largest correlation of a sound's log-mel frames with themselves at a lag, below 1 without repeats.

    Args:
        wav: float32 [C, T] at 22,050 Hz.
        least_seconds: The shortest lag.
    """
    spec = _log_mel(wav)
    spec = spec - spec.mean(dim=1, keepdim=True)
    num = spec.shape[1]
    first = round(least_seconds * RATE / 512)
    values = []
    for lag in range(first, num - num // 4):
        one, two = spec[:, lag:].flatten(), spec[:, : num - lag].flatten()
        values.append(float(one @ two / (one.norm() * two.norm()).clamp_min(1e-9)))
    return max(values)


def event_seconds(wav: Tensor) -> float:
    """Return how long a sound stays like itself: the lag at which its frames' correlation falls to 1 / e."""
    spec = _log_mel(wav, hop=128)
    spec = spec - spec.mean(dim=1, keepdim=True)
    power = float(spec.square().mean())
    for lag in range(1, spec.shape[1] // 2):
        if float((spec[:, lag:] * spec[:, :-lag]).mean()) < power / math.e:
            return lag * 128 / RATE
    return spec.shape[1] / 2 * 128 / RATE


def _log_mel(wav: Tensor, hop: int = 512) -> Tensor:
    import librosa

    mel = librosa.feature.melspectrogram(y=wav[0].numpy(), sr=RATE, n_fft=1024, hop_length=hop, n_mels=40)
    return torch.from_numpy(librosa.power_to_db(mel, top_db=60.0))


def paper_c(bench: Bench) -> dict[str, str]:
    """Run paper C's comparisons and return what is seen of its claims."""
    mel, stft, mfcc = (bench.run(name) for name in ("cs753", "cs753_stft", "cs753_mfcc"))
    relu, max_pool, average = (bench.run(f"cs753_{name}") for name in ("relu", "maxpool", "avgpool"))
    plain = bench.run("cs753_plain")
    claims = {
        "C: mel is better than STFT": better(mel, stft),
        "C: STFT is better than MFCC": better(stft, mfcc),
        "C: tanh is better than ReLU": better(mel, relu),
        "C: no pooling is better than max pooling": better(mel, max_pool),
        "C: no pooling is better than average pooling": better(mel, average),
    }
    errors = [row.figures["spectrum"] for row in (mel, plain)]
    claims["C: Griffin-Lim is better than the plain inverse"] = (
        f"{'seen' if errors[0] < errors[1] else 'not seen'} (spectrum {errors[0]:.2f} and {errors[1]:.2f})"
    )
    claim = "C: L2 is better than the perceptual loss"
    claims[claim] = better(mel, bench.run("cs753_perceptual")) if bench.vggish else "not run: name --vggish FILE"
    return claims


def paper_k(bench: Bench) -> dict[str, str]:
    """Run paper K's baseline."""
    row = bench.run("stanford")
    before = _mean([sum(texture_distance(content, style, RATE)) for content, style in bench.pairs])
    share = row.distance / before
    return {
        "K: the style's timbre is taken on": f"{'seen' if share < 0.8 else 'not seen'} ({share:.0%} of the distance)"
    }


def paper_h(bench: Bench) -> dict[str, str]:
    """Run paper H's transfers and return what is seen of its claims."""
    betas = (1e5, 1e7, 1e9)
    ratios = [bench.run("huzaifah", f"huzaifah, beta {beta:.0e}", style_weight=beta) for beta in betas]
    contents, losses = ([row.figures[name] for row in ratios] for name in ("content", "style"))
    moving = contents == sorted(contents) and losses == sorted(losses, reverse=True)
    claims = {
        "H: more weight on the style, from content to style": (
            f"{'seen' if moving and losses[-1] < 0.1 < 0.9 < losses[0] else 'not seen'} (content "
            f"{', '.join(f'{value:.2g}' for value in contents)}; style {', '.join(f'{value:.2g}' for value in losses)})"
        )
    }
    starts = [bench.run(f"huzaifah_random_{start}") for start in ("content", "noise")]
    claims["H: with random weights, a content start is better than noise"] = better(*starts)
    claim = "H: random weights are better than trained ones, from the content"
    if bench.network:
        trained = [bench.run(f"huzaifah_trained_{start}") for start in ("content", "noise")]
        claims[claim] = better(starts[0], trained[0])
        claims["H: with trained weights, a content start is better than noise"] = better(*trained)
    else:
        claims[claim] = "not run: name --network CLASSIFIER"
    bounded = bench.run("huzaifah", "huzaifah, beta 1e+09", style_weight=1e9)
    unbounded = bench.run("huzaifah_unbounded", "huzaifah_unbounded, beta 1e+09", style_weight=1e9)
    claims["H: the soft bound is needed"] = better(bounded, unbounded)
    one = bench.run("huzaifah_one_stack", "huzaifah_one_stack, beta 1e+09", style_weight=1e9)
    claims["H: deeper layers for the content are better than the first"] = better(bounded, one)
    time_channels = bench.run("huzaifah_time", "huzaifah_time, beta 1e+09", style_weight=1e9)
    claims["H: frequency as channels is better for timbre than time"] = better(bounded, time_channels)
    return claims


def ours(bench: Bench) -> dict[str, str]:
    """Run the default recipe beside the papers' best ones."""
    fast = bench.run("fast")
    rivals = [
        bench.run("cs753"),
        bench.run("stanford"),
        bench.run("huzaifah", "huzaifah, beta 1e+07", style_weight=1e7),
        bench.run("huzaifah", "huzaifah, beta 1e+09", style_weight=1e9),
    ]
    return {f"fast is better than {rival.name}": better(fast, rival) for rival in rivals}


def textures(bench: Bench) -> dict[str, str]:
    """Run paper H's textures and return what is seen of its claims."""
    kernels = {
        1: bench.run("huzaifah_texture_k1"),
        11: bench.run("huzaifah_texture"),
        101: bench.run("huzaifah_texture_k101"),
    }
    noise = _mean([sum(texture_distance(0.1 * torch.randn(1, 5 * RATE), style, RATE)) for _, style in bench.pairs])
    share = kernels[11].distance / noise
    events = {kernel: _mean([event_seconds(wav) for wav in row.wavs]) for kernel, row in kernels.items()}
    references = _mean([event_seconds(style) for _, style in bench.pairs])
    lasting = events[1] <= events[11] <= events[101] and events[101] > events[1]
    most = _mean([repeats(wav) for wav in kernels[11].wavs])
    claims = {
        "H: textures work": f"{'seen' if share < 0.5 else 'not seen'} ({share:.0%} of white noise's distance)",
        "H: wider kernels make longer events": (
            f"{'seen' if lasting else 'not seen'} (seconds: "
            f"{', '.join(f'{value:.3f}' for value in events.values())}; references {references:.3f})"
        ),
        "H: nothing is repeated": f"{'seen' if most < 0.9 else 'not seen'} (largest correlation at a lag {most:.2f})",
    }
    linear, constant_q = (
        [bench.run(f"huzaifah_{kind}_texture_k{kernel}") for kernel in (1, 11, 101)] for kind in ("time", "cqt")
    )
    nearer = [row.distance for row in (linear[0], linear[-1])]
    claims["H: with time as channels, wider kernels come closer to the original"] = (
        f"{'seen' if nearer[1] < nearer[0] * (1 - SMALL) else 'not seen'} (distances {nearer[0]:.1f}, {nearer[1]:.1f})"
    )
    keeps = [_mean([_harmonicity(wav) for wav in row.wavs]) for row in (linear[1], constant_q[1])]
    claims["H: the CQT keeps harmonics together"] = (
        f"{'seen' if keeps[1] > keeps[0] else 'not seen'} (share of voiced frames {keeps[0]:.2f} and {keeps[1]:.2f})"
    )
    return claims


def _harmonicity(wav: Tensor) -> float:
    """Return the mean probability that frames have a pitch, by pYIN."""
    import librosa

    _, _, probability = librosa.pyin(wav[0].numpy(), fmin=60.0, fmax=1000.0, sr=RATE)
    return float(probability.mean())


PARTS: dict[str, Callable[[Bench], dict[str, str]]] = {
    "c": paper_c,
    "k": paper_k,
    "h": paper_h,
    "texture": textures,
    "ours": ours,
}


def default_pairs(num: int, seconds: float) -> list[tuple[Tensor, Tensor]]:
    """Return pairs of contents and styles."""
    spoken, played, dripping = speech(seconds, RATE), music(seconds), drops(seconds)
    pairs = [(spoken[0], played[0]), (played[1], dripping), (spoken[1], spoken[2]), (played[0], spoken[3])]
    return pairs[:num]


def read_pairs(path: str, seconds: float) -> list[tuple[Tensor, Tensor]]:
    """Read the pairs of a CSV file, the first seconds of each."""
    sounds = [read_audio(clip.path, RATE)[:, : round(seconds * RATE)] for clip in Pairs().scan(Path(path))]
    return list(zip(sounds[::2], sounds[1::2], strict=True))


def main() -> None:
    """Run what was asked for and print tables and claims."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.style_ablation", description=__doc__.split("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--pairs", help="CSV file with the columns content and style")
    parser.add_argument("--num_pairs", type=int, default=4, help="of the default ones")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--width", type=int, default=512, help="channels; the papers' are 4096")
    parser.add_argument("--effort", type=float, default=0.5, help="share of the papers' iterations")
    parser.add_argument("--vggish", help="file of VGGish's weights")
    parser.add_argument("--network", help="classifier trained by configs/classifier_esc50.yaml")
    options = parser.parse_args()
    pairs = (
        read_pairs(options.pairs, options.seconds)
        if options.pairs
        else default_pairs(options.num_pairs, options.seconds)
    )
    bench = Bench(pairs, options.width, options.effort, options.vggish, options.network)
    torch.manual_seed(0)
    print(f"{len(pairs)} pairs of {options.seconds:g} s, width {options.width}, {options.effort:g} of the iterations")
    print(f"{'':<44}" + "".join(f"{column:>11}" for column in COLUMNS))
    before = [(sum(texture_distance(c, s, RATE)), contour_match(s, c, RATE).onsets) for c, s in pairs]
    print(
        f"contents are {_mean([distance for distance, _ in before]):.1f} dB from their styles, whose onsets correlate "
        f"with theirs by {_mean([onsets for _, onsets in before]):.2f}"
    )
    claims = {claim: text for part in options.parts for claim, text in PARTS[part](bench).items()}
    width = max(map(len, claims))
    print("\n" + "\n".join(f"{claim:<{width}}  {text}" for claim, text in claims.items()))


if __name__ == "__main__":
    main()
