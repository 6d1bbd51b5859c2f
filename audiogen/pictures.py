"""Draw spectrograms the way people look at them: time to the right, low frequencies at the bottom."""

from collections.abc import Sequence
from pathlib import Path

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
    pictures = spec[:MAX_ROWS].detach().float().mean(dim=2).cpu().numpy()  # [R, N, F, L]
    num_rows, num_columns = pictures.shape[:2]
    figure = Figure(figsize=(1.0 + 1.35 * num_columns, 0.9 + 1.15 * num_rows), dpi=100, layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False, sharex=True, sharey=True)
    for row in range(num_rows):
        for column in range(num_columns):
            axes[row, column].imshow(
                pictures[row, column],
                origin="lower",
                aspect="auto",
                cmap="magma",
                vmin=-1,
                vmax=1,
                interpolation="nearest",
                extent=(0, transform.seconds, 0, pictures.shape[2]),
            )
            axes[row, column].tick_params(labelsize="x-small")
        if len(row_names) > 0:
            axes[row, 0].set_ylabel(row_names[row])
    _label_frequencies(axes[0, 0], transform)
    figure.suptitle(title)
    figure.supxlabel("seconds", fontsize="medium")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, making missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _label_frequencies(axes: object, transform: SpectrogramTransform) -> None:
    """Put the frequencies of a few bands on the shared vertical axis."""
    frequencies = transform.frequencies()
    ticks = [len(frequencies) * k // 4 for k in range(1, 4)]
    labels = [f"{frequencies[t] / 1000:.1f}k" for t in ticks]
    axes.set_yticks([t + 0.5 for t in ticks], labels)  # type: ignore[attr-defined]
