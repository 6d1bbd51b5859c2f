"""Repeat the comparisons of the style-transfer papers: `python -m benchmarks.style_ablation`.

Every row is a config: `style_transfer`, `huzaifah_wyse`, `jain_raj`, `lin`, or a variant in `configs/papers`. All rows
use the same pairs and seeds, and networks of `--width` channels, with loss weights scaled to have the same effect as at
4096 channels. The table shows means over pairs and seeds:

- content, style: final losses relative to the pair (see `audiogen.models.transfer.Losses`), and seconds per pair;
- mean, deviation, modulation: distance to the style in dB, from statistics of log-mel bands that no run optimised;
- onsets, pitch: correlation with the content's onset envelope and pitch contour;
- spectrum: root mean square difference in dB between the optimised spectrogram and the spectrogram of its inversion.

A verdict follows for each claim of the papers. Two rows are compared pair by pair, by the sum of the three distances
and by the onset correlation (see `benchmarks.style_verdicts`). "cannot tell" means that these pairs and seeds are not
enough to decide.

The pairs are spoken digits (FSDD if AUDIOGEN_FSDD names it), synthesised music and drops of water, or the pairs in
`--pairs FILE.csv`. Comparisons that need pretrained weights are skipped with a message unless `--vggish FILE` or
`--network CLASSIFIER` (see configs/classifier_esc50.yaml) is given. `--out DIR` keeps sounds and pictures.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from audiogen.metrics.contours import contour_match
from audiogen.metrics.texture import texture_distance
from benchmarks.style_bench import COLUMNS, RATE, Bench, Row, default_pairs, mean, read_pairs
from benchmarks.style_verdicts import (
    DISTANCE_MARGIN,
    ONSETS_MARGIN,
    Answer,
    Difference,
    below,
    combined,
    difference,
    event_seconds,
    repeats,
    verdict,
    voiced_fraction,
)

SPECTRUM_MARGIN = 0.1  # dB
TIMBRE_MARGIN = 0.2  # of the distance to the style
EVENT_MARGIN = 0.01  # s
VOICED_MARGIN = 0.05
CQT_TOP = 4000.0  # Hz: the CQT configs end at 4.07 kHz, so rows are compared below that


def compare(one: Row, other: Row) -> tuple[Answer, Difference, Difference]:
    """Compare two rows by the relative distance to the style and by the onset correlation with the content."""
    nearer = [(theirs - ours) / theirs for ours, theirs in zip(one.distances(), other.distances(), strict=True)]
    kept = [ours - theirs for ours, theirs in zip(one.results["onsets"], other.results["onsets"], strict=True)]
    parts = difference(nearer, DISTANCE_MARGIN), difference(kept, ONSETS_MARGIN)
    return combined([part.answer for part in parts]), *parts


def better(one: Row, other: Row) -> str:
    """Return the verdict on whether one row is closer to the style than another, or keeps more of the content."""
    answer, nearer, kept = compare(one, other)
    return (
        f"{verdict(answer)} (nearer by {nearer.mean:+.0%} ± {nearer.half_width:.0%}, onsets {kept.mean:+.2f} ± "
        f"{kept.half_width:.2f})"
    )


def higher(ours: Sequence[float], others: Sequence[float], margin: float, unit: str = "") -> str:
    """Return the verdict on whether one set of values per pair is higher than another."""
    found = difference([a - b for a, b in zip(ours, others, strict=True)], margin)
    values = f"{mean(list(ours)):.3g} and {mean(list(others)):.3g}{unit}"
    return f"{verdict(found.answer)} ({values}; difference {found.mean:+.3g} ± {found.half_width:.2g})"


def jain_raj(bench: Bench) -> dict[str, str]:
    """Run the comparisons of Jain & Raj (2019) and return verdicts on its claims."""
    mel, stft, mfcc = (bench.run(name) for name in ("jain_raj", "jain_raj stft", "jain_raj mfcc"))
    relu, max_pool, average = (bench.run(f"jain_raj {name}") for name in ("relu", "maxpool", "avgpool"))
    plain = bench.run("jain_raj plain")
    claims = {
        "Jain & Raj: mel is better than STFT": better(mel, stft),
        "Jain & Raj: STFT is better than MFCC": better(stft, mfcc),
        "Jain & Raj: tanh is better than ReLU": better(mel, relu),
        "Jain & Raj: no pooling is better than max pooling": better(mel, max_pool),
        "Jain & Raj: no pooling is better than average pooling": better(mel, average),
    }
    claims["Jain & Raj: Griffin-Lim is better than the plain inverse"] = higher(
        plain.results["spectrum"], mel.results["spectrum"], SPECTRUM_MARGIN, " dB"
    )
    claim = "Jain & Raj: L2 is better than the perceptual loss"
    claims[claim] = better(mel, bench.run("jain_raj perceptual")) if bench.vggish else "not run: name --vggish FILE"
    return claims


def lin(bench: Bench) -> dict[str, str]:
    """Run the baseline of Lin (2021)."""
    row = bench.run("lin")
    before = [sum(texture_distance(content, style, RATE)) for content, style in bench.pairs]
    nearer = [(start - end) / start for start, end in zip(before, row.distances(), strict=True)]
    found = difference(nearer, TIMBRE_MARGIN)
    return {
        "Lin: the style's timbre is taken on": f"{verdict(found.answer)} (nearer by {_shown(found)} of the distance)"
    }


def huzaifah_wyse(bench: Bench) -> dict[str, str]:
    """Run the transfers of Huzaifah & Wyse (2020) and return verdicts on its claims."""
    betas = (1e5, 1e7, 1e9)
    ratios = [bench.run("huzaifah_wyse", f"huzaifah_wyse, beta {beta:.0e}", style_weight=beta) for beta in betas]
    contents, losses = ([row.overall(name) for row in ratios] for name in ("content", "style"))
    moving = contents == sorted(contents) and losses == sorted(losses, reverse=True)
    claims = {
        "Huzaifah & Wyse: more weight on the style, from content to style": (
            f"{'supported' if moving and losses[-1] < 0.1 < 0.9 < losses[0] else 'not supported'} (content "
            f"{', '.join(f'{value:.2g}' for value in contents)}; style {', '.join(f'{value:.2g}' for value in losses)})"
        )
    }
    starts = [bench.run(f"huzaifah_wyse random_{start}") for start in ("content", "noise")]
    claims["Huzaifah & Wyse: with random weights, a content start is better than noise"] = better(*starts)
    claim = "Huzaifah & Wyse: random weights are better than trained ones, from the content"
    if bench.network:
        trained = [bench.run(f"huzaifah_wyse trained_{start}") for start in ("content", "noise")]
        claims[claim] = better(starts[0], trained[0])
        claims["Huzaifah & Wyse: with trained weights, a content start is better than noise"] = better(*trained)
    else:
        claims[claim] = "not run: name --network CLASSIFIER"
    bounded = bench.run("huzaifah_wyse", "huzaifah_wyse, beta 1e+09", style_weight=1e9)
    unbounded = bench.run("huzaifah_wyse unbounded", "huzaifah_wyse unbounded, beta 1e+09", style_weight=1e9)
    claims["Huzaifah & Wyse: the soft bound is needed"] = better(bounded, unbounded)
    one = bench.run("huzaifah_wyse one_stack", "huzaifah_wyse one_stack, beta 1e+09", style_weight=1e9)
    claims["Huzaifah & Wyse: deeper layers for the content are better than the first"] = better(bounded, one)
    time_channels = bench.run("huzaifah_wyse time", "huzaifah_wyse time, beta 1e+09", style_weight=1e9)
    claims["Huzaifah & Wyse: frequency as channels is better for timbre than time"] = better(bounded, time_channels)
    return claims


def ours(bench: Bench) -> dict[str, str]:
    """Compare the default config with the best config of each paper."""
    fast = bench.run("style_transfer")
    rivals = [
        bench.run("jain_raj"),
        bench.run("lin"),
        bench.run("huzaifah_wyse", "huzaifah_wyse, beta 1e+07", style_weight=1e7),
        bench.run("huzaifah_wyse", "huzaifah_wyse, beta 1e+09", style_weight=1e9),
    ]
    return {f"fast is better than {rival.name}": better(fast, rival) for rival in rivals}


def textures(bench: Bench) -> dict[str, str]:
    """Run the textures of Huzaifah & Wyse (2020) and return verdicts on its claims."""
    kernels = {
        1: bench.run("huzaifah_wyse texture k1"),
        11: bench.run("huzaifah_wyse texture"),
        101: bench.run("huzaifah_wyse texture k101"),
    }
    noise = [sum(texture_distance(0.1 * torch.randn(1, 5 * RATE), style, RATE)) for _, style in bench.pairs]
    nearer = [(start - end) / start for start, end in zip(noise, kernels[11].distances(), strict=True)]
    works = difference(nearer, TIMBRE_MARGIN)
    events = {kernel: row.measured(event_seconds) for kernel, row in kernels.items()}
    references = mean([event_seconds(style, RATE) for _, style in bench.pairs])
    most = mean(kernels[11].measured(repeats))
    claims = {
        "Huzaifah & Wyse: textures work": (
            f"{verdict(works.answer)} (nearer than white noise by {_shown(works)} of its distance)"
        ),
        "Huzaifah & Wyse: wider kernels make longer events": (
            f"{higher(events[101], events[1], EVENT_MARGIN, ' s')}; kernel 11: {mean(events[11]):.3f} s; references "
            f"{references:.3f} s"
        ),
        "Huzaifah & Wyse: nothing is repeated": (
            f"{'supported' if most < 0.9 else 'not supported'} (largest correlation {most:.2f})"
        ),
    }
    linear, constant_q = (
        [bench.run(f"huzaifah_wyse texture {kind}{kernel}") for kernel in (" k1", "", " k101")]
        for kind in ("time", "cqt")
    )
    claims["Huzaifah & Wyse: with time as channels, wider kernels come closer to the original"] = higher(
        linear[0].distances(), linear[-1].distances(), DISTANCE_MARGIN * mean(linear[0].distances()), " dB"
    )
    keeps = [row.measured(_voiced_below) for row in (constant_q[1], linear[1])]
    claims["Huzaifah & Wyse: the CQT keeps harmonics together"] = (
        f"{higher(keeps[0], keeps[1], VOICED_MARGIN)} of frames voiced below {CQT_TOP:g} Hz; references "
        f"{mean([_voiced_below(style, RATE) for _, style in bench.pairs]):.2f}"
    )
    return claims


def _voiced_below(wav: Tensor, sample_rate: int) -> float:
    return voiced_fraction(*below(wav, sample_rate, CQT_TOP))


def _shown(found: Difference) -> str:
    return f"{found.mean:.0%} ± {found.half_width:.0%}"


PARTS: dict[str, Callable[[Bench], dict[str, str]]] = {
    "jain_raj": jain_raj,
    "lin": lin,
    "huzaifah_wyse": huzaifah_wyse,
    "texture": textures,
    "ours": ours,
}


def main() -> None:
    """Run the requested comparisons and print tables and verdicts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.style_ablation", description=__doc__.split("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--pairs", help="CSV file with the columns content and style")
    parser.add_argument("--num_pairs", type=int, default=4, help="number of default pairs")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--width", type=int, default=512, help="channels; the papers' are 4096")
    parser.add_argument("--effort", type=float, default=0.5, help="fraction of the papers' iterations")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of networks and noise for each pair")
    parser.add_argument("--out", type=Path, help="folder for sounds and pictures")
    parser.add_argument("--vggish", help="file of VGGish's weights")
    parser.add_argument("--network", help="classifier trained by configs/classifier_esc50.yaml")
    options = parser.parse_args()
    pairs = (
        read_pairs(options.pairs, options.seconds)
        if options.pairs
        else default_pairs(options.num_pairs, options.seconds)
    )
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(pairs, options.width, options.effort, options.seeds, options.vggish, options.network, options.out)
    torch.manual_seed(0)
    print(
        f"{len(pairs)} pairs of {options.seconds:g} s, {options.seeds} seeds, width {options.width}, "
        f"{options.effort:g} of the iterations"
    )
    print(f"{'':<44}" + "".join(f"{column:>11}" for column in COLUMNS))
    before = [(sum(texture_distance(c, s, RATE)), contour_match(s, c, RATE).onsets) for c, s in pairs]
    print(
        f"contents are {mean([distance for distance, _ in before]):.1f} dB from their styles, whose onsets correlate "
        f"with theirs by {mean([onsets for _, onsets in before]):.2f}"
    )
    claims = {claim: text for part in options.parts for claim, text in PARTS[part](bench).items()}
    width = max(map(len, claims))
    print("\n" + "\n".join(f"{claim:<{width}}  {text}" for claim, text in claims.items()))


if __name__ == "__main__":
    main()
