"""Draw spectrograms, with time to the right and low frequencies at the bottom, and curves."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from torch import Tensor

from audiogen.atomic import replacing
from audiogen.curves import Plot, Point
from audiogen.transforms.transform import SpectrogramTransform

MAX_ROWS = 50
COLOR = "#51127c"
WARNED, STOPPED = "#e08214", "#c00000"
NAMELESS = " "  # prefix of all names: matplotlib leaves names that start with "_" out of legends
MANY = 6  # with more curves than this, the legend is on the right


def spectrogram_grid(
    spec: Tensor, row_names: Sequence[str], transform: SpectrogramTransform, title: str = ""
) -> Figure:
    """Draw a grid of spectrograms.

    Args:
        spec: float [R, N, C, F, L] in [-1, 1]: R rows of N clips. Channels are averaged.
        row_names: R names, or none.
        transform: The spectrogram definition, for the axes.
        title: Title above the grid.

    Returns:
        A figure of the first 50 rows.

    Raises:
        ValueError: If spec does not have five dimensions.
    """
    if spec.ndim != 5:
        raise ValueError(f"expected spec [R, N, C, F, L], got {list(spec.shape)}")
    pictures = spec[:MAX_ROWS].detach().float().mean(dim=2).cpu()  # [R, N, F, L]
    num_rows, num_columns, _, num_frames = pictures.shape
    # One axis per row, with empty frames between clips, because matplotlib is slow with many axes.
    gap = max(num_frames // 12, 1)
    rows = (
        F.pad(pictures, (0, gap), value=torch.nan).transpose(1, 2).flatten(2)[..., :-gap]
    )  # [R, F, N (L + gap) - gap]
    height, width = 0.6 + 1.1 * num_rows, 1.0 + 1.3 * num_columns
    figure = Figure(figsize=(width, height), dpi=100)
    axes = figure.subplots(num_rows, 1, squeeze=False)[:, 0]
    figure.subplots_adjust(
        left=0.8 / width, right=1 - 0.1 / width, bottom=0.4 / height, top=1 - 0.3 / height, hspace=0.1
    )
    for axis, row, name in zip(axes, rows.numpy(), row_names or [""] * num_rows, strict=False):
        axis.imshow(row, origin="lower", aspect="auto", cmap="magma", vmin=-1, vmax=1, interpolation="nearest")
        axis.set_ylabel(name, parse_math=False)
        axis.set_yticks(*_frequency_ticks(transform), fontsize="x-small")
        axis.set_xticks([])
        axis.spines[:].set_visible(False)
    axes[-1].set_xticks([-0.5, num_frames - 0.5], ["0", f"{transform.seconds:.2f} s"])  # the clips share one scale
    axes[-1].tick_params(axis="x", labelsize="x-small")
    figure.suptitle(title, y=1 - 0.05 / height, fontsize="medium", parse_math=False)
    return figure


def spectrogram_strip(specs: Mapping[str, Tensor], transform: SpectrogramTransform) -> Figure:
    """Draw spectrograms of any lengths side by side, with the same time scale.

    Args:
        specs: Spectrograms, float [C, F, L] in [-1, 1], by title. Channels are averaged.
        transform: The spectrogram definition, for the axes.

    Returns:
        A figure whose brightest colour is the largest value of all spectrograms.
    """
    pictures = {name: spec.detach().float().mean(dim=0).cpu() for name, spec in specs.items()}
    brightest = max(float(picture.max()) for picture in pictures.values())
    frames = [spec.shape[2] for spec in specs.values()]
    width = max(1.0 + 3.0 * len(specs), 4.0)
    figure = Figure(figsize=(width, 3.2), dpi=100, layout="constrained")
    axes = figure.subplots(1, len(specs), squeeze=False, sharey=True, width_ratios=frames)[0]
    for axis, (name, picture), num in zip(axes, pictures.items(), frames, strict=True):
        limits = {"vmin": -1, "vmax": max(brightest, -0.9)}
        axis.imshow(picture, origin="lower", aspect="auto", cmap="magma", interpolation="nearest", **limits)
        axis.set_title(name, fontsize="small", parse_math=False)
        seconds = num * transform.hop_length / transform.sample_rate
        axis.set_xticks([-0.5, num - 0.5], ["0", f"{seconds:.1f} s"], fontsize="x-small")
        axis.spines[:].set_visible(False)
    axes[0].set_yticks(*_frequency_ticks(transform), fontsize="x-small")
    return figure


def histogram(values: Sequence[float], label: str) -> Figure:
    """Draw a histogram.

    Args:
        values: One value per file.
        label: Label of the horizontal axis, with the unit.
    """
    figure = Figure(figsize=(6, 3), dpi=100, layout="constrained")
    axis = figure.subplots()
    axis.hist(values, bins=40, color=COLOR)
    axis.set_xlabel(label)
    axis.set_ylabel("files")
    return figure


def line_plot(plot: Plot, warned: Sequence[float] = (), stopped: Sequence[float] = ()) -> Figure:
    """Draw curves over kimg, with the scores of real clips as dashed horizontal lines.

    Args:
        plot: The curves and their references.
        warned: Positions of dashed vertical lines, in kimg.
        stopped: Positions of solid vertical lines, in kimg.
    """
    many = len(plot.curves) > MANY
    figure = Figure(figsize=(8.8, 3.6) if many else (4.3, 2.8), dpi=100, layout="constrained")
    axis = figure.subplots()
    if plot.log:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(_PlainNumbers())
        axis.yaxis.set_minor_formatter(
            _PlainNumbers(minor_thresholds=(2, 0.4))
        )  # labels ticks within a range of up to 100 : 1
    for color, (name, points) in zip(_colors(len(plot.curves)), plot.curves.items(), strict=True):
        _draw_curve(axis, plot.label(name), points, color)
        if name in plot.references:
            _draw_reference(axis, plot.label(name), *plot.references[name], color)
    _add_legend(figure, axis, plot)
    for kimg in warned:
        axis.axvline(kimg, color=WARNED, linestyle="--", linewidth=0.9)
    for kimg in stopped:
        axis.axvline(kimg, color=STOPPED, linewidth=1.2)
    axis.set_title(plot.title, loc="left", fontsize="small", parse_math=False)
    axis.set_xlabel("kimg", fontsize="x-small")
    axis.set_ylabel(plot.unit, fontsize="x-small", parse_math=False)
    axis.tick_params(which="both", labelsize="x-small")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG. Missing folders are created."""
    with _no_glyph_warnings(), replacing(path, durable=False) as file:
        figure.savefig(file, format="png")


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG. Equal figures give equal bytes."""
    file = BytesIO()
    with _no_glyph_warnings(), matplotlib.rc_context({"svg.hashsalt": "audiogen"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


@contextmanager
def _no_glyph_warnings() -> Iterator[None]:
    """Silence the warnings about characters that the font lacks; they are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


class _PlainNumbers(LogFormatter):
    """Format tick labels as 0.2 instead of 2e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def _colors(num: int) -> list:
    """Return colours that are as distinct as their number allows."""
    if num == 1:
        return [COLOR]
    some = matplotlib.colormaps["tab10" if num <= 10 else "turbo"]
    return [some(index if num <= 10 else index / (num - 1)) for index in range(num)]


def _draw_curve(axis: Axes, name: str, points: Sequence[Point], color: str) -> None:
    kimg, values = zip(*points, strict=True)
    axis.plot(
        kimg, values, color=color, label=f"{NAMELESS}{name}", linewidth=1.1, marker="." if len(points) <= 40 else None
    )


def _draw_reference(axis: Axes, name: str, kind: str, value: float, color: str) -> None:
    below = axis.get_yscale() == "log" and value <= 0
    label = f"{NAMELESS}{name} {kind} {value:.3g}{', below this axis' if below else ''}"
    if below:
        axis.plot([], [], color=color, linestyle="--", linewidth=0.8, label=label)
    else:
        axis.axhline(value, color=color, linestyle="--", linewidth=0.8, label=label)


def _add_legend(figure: Figure, axis: Axes, plot: Plot) -> None:
    """Add a legend below the axes, or on the right if there are many curves."""
    many = len(plot.curves) > MANY
    lines = [line for line in axis.lines if line.get_label() != NAMELESS]
    lines = [line for line in lines if line.get_linestyle() == "-" or not many]
    labels = [str(line.get_label()) for line in lines]
    if not labels:
        return
    columns = -(-len(labels) // 15) if many else min(len(labels), 3)
    legend = figure.legend(
        handles=lines,
        labels=labels,
        loc="outside right upper" if many else "outside lower center",
        ncols=columns,
        fontsize="x-small",
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _frequency_ticks(transform: SpectrogramTransform) -> tuple[list[int], list[str]]:
    """Return a few bands with their frequencies in kHz, or their indices if they have no frequencies."""
    bands = [transform.shape[1] * k // 4 for k in range(1, 4)]
    frequencies = transform.frequencies()
    return bands, [str(band) if frequencies is None else f"{frequencies[band] / 1000:.1f}k" for band in bands]
