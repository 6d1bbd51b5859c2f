"""Draw spectrograms the way people look at them: time to the right, low frequencies at the bottom."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from audiogen.transforms.transform import SpectrogramTransform

MAX_ROWS = 50


def spectrogram_grid(
    spec: Tensor, row_names: Sequence[str], transform: SpectrogramTransform, title: str = ""
) -> Figure:
    """Draw a grid with one row for each class.

    Args:
        spec: float [R, N, C, F, L] in [-1, 1]: R rows of N clips; several channels are averaged.
        row_names: R names; empty for none.
        transform: Gives the axes.
        title: Above the grid.

    Returns:
        A figure; rows beyond the first 50 are left out.

    Raises:
        ValueError: For another shape.
    """
    if spec.ndim != 5:
        raise ValueError(f"expected spec [R, N, C, F, L], got {list(spec.shape)}")
    pictures = spec[:MAX_ROWS].detach().float().mean(dim=2).cpu()  # [R, N, F, L]
    num_rows, num_columns, _, num_frames = pictures.shape
    # One axis for a whole row, with empty frames between clips: matplotlib takes its time for each axis.
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


def histogram(values: Sequence[float], label: str) -> Figure:
    """Draw how often values occur.

    Args:
        values: One for each file.
        label: What they are, with the unit.
    """
    figure = Figure(figsize=(6, 3), dpi=100, layout="constrained")
    axis = figure.subplots()
    axis.hist(values, bins=40, color="#51127c")
    axis.set_xlabel(label)
    axis.set_ylabel("files")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, making missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # names in other scripts are drawn as boxes
        figure.savefig(path)


def _frequency_ticks(transform: SpectrogramTransform) -> tuple[list[int], list[str]]:
    """Return a few bands and their frequencies, or their numbers where they are something else."""
    bands = [transform.shape[1] * k // 4 for k in range(1, 4)]
    frequencies = transform.frequencies()
    return bands, [str(band) if frequencies is None else f"{frequencies[band] / 1000:.1f}k" for band in bands]
