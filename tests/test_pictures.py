"""Pictures of spectrograms, checked by their pixels, and plots of curves."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from audiogen.curves import Plot, Point
from audiogen.pictures import MAX_ROWS, line_plot, save_figure, spectrogram_grid, svg
from audiogen.transforms.mel import LogMel


@pytest.fixture(scope="module")
def transform() -> LogMel:
    return LogMel(sample_rate=8000, n_fft=256, hop_length=64, n_mels=24, num_frames=20)


def silence(rows: int = 1, columns: int = 1, channels: int = 1) -> Tensor:
    return torch.full((rows, columns, channels, 24, 20), -1.0)


def render(figure: Figure, path: Path) -> list[NDArray]:
    """Return the brightness in [0, 1] inside each axes, float [height, width], first row on top."""
    save_figure(figure, path / "new" / "a.png")
    pixels = matplotlib.image.imread(path / "new" / "a.png")[..., :3].mean(axis=2)
    boxes = [axes.get_window_extent() for axes in figure.axes]
    height = len(pixels)
    # Image rows count from the top, matplotlib's from the bottom. A frame of 2 pixels is left out.
    return [
        pixels[height - int(box.y1) + 2 : height - int(box.y0) - 2, int(box.x0) + 2 : int(box.x1) - 2] for box in boxes
    ]


def test_low_frequencies_are_at_the_bottom_without_blur(transform: LogMel, tmp_path: Path) -> None:
    spec = silence()
    spec[..., :6, :] = 1  # the lowest quarter of the bands
    (picture,) = render(spectrogram_grid(spec, [], transform), tmp_path)
    border = round(len(picture) * 0.75)
    assert picture[border + 3 :].min() > 0.8
    assert picture[: border - 3].max() < 0.05


def test_time_runs_to_the_right(transform: LogMel, tmp_path: Path) -> None:
    spec = silence()
    spec[..., 15:] = 1  # the last quarter of the frames
    (picture,) = render(spectrogram_grid(spec, [], transform), tmp_path)
    border = round(picture.shape[1] * 0.75)
    assert picture[:, border + 3 :].min() > 0.8
    assert picture[:, : border - 3].max() < 0.05


def test_first_row_is_on_top_and_first_clip_on_the_left(transform: LogMel, tmp_path: Path) -> None:
    level = torch.tensor([[-1.0, -0.6, -0.2], [0.2, 0.6, 1.0]])
    spec = level[:, :, None, None, None].expand(2, 3, 1, 24, 20)
    figure = spectrogram_grid(spec, ["upper", "lower"], transform)
    pictures = render(figure, tmp_path)
    assert [axes.get_ylabel() for axes in figure.axes] == ["upper", "lower"]
    tops = [axes.get_position().y0 for axes in figure.axes]
    assert tops[0] > tops[1]
    thirds = [picture[:, int(picture.shape[1] * k / 6)].mean() for picture in pictures for k in (1, 3, 5)]
    assert thirds == sorted(thirds)
    assert thirds[0] < 0.05
    assert thirds[-1] > 0.8


def test_brightness_of_a_level_does_not_depend_on_other_clips(transform: LogMel, tmp_path: Path) -> None:
    alone = render(spectrogram_grid(torch.zeros_like(silence()), [], transform), tmp_path)[0].mean()
    beside = render(
        spectrogram_grid(torch.tensor([0.0, 5.0])[:, None, None, None, None] + silence(2) + 1, [], transform), tmp_path
    )
    assert beside[0].mean() == pytest.approx(alone, abs=1e-3)


def test_channels_are_averaged(transform: LogMel, tmp_path: Path) -> None:
    spec = silence(channels=2)
    spec[:, :, 1] = 0.5
    (picture,) = render(spectrogram_grid(spec, [], transform), tmp_path)
    (mean,) = render(spectrogram_grid(silence() + 0.75, [], transform), tmp_path)
    assert picture.mean() == pytest.approx(mean.mean(), abs=1e-3)


def test_axes_are_labelled_with_seconds_and_frequencies(transform: LogMel) -> None:
    figure = spectrogram_grid(silence(), [], transform, title="kimg 5")
    axes = figure.axes[0]
    assert [(tick, text.get_text()) for tick, text in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)] == [
        (-0.5, "0"),
        (19.5, "0.16 s"),
    ]
    bands = np.asarray(axes.get_yticks()).astype(int)
    labels = [float(text.get_text().removesuffix("k")) for text in axes.get_yticklabels()]
    assert labels == [round(hertz / 1000, 1) for hertz in transform.frequencies()[bands].tolist()]
    assert figure.get_suptitle() == "kimg 5"


def test_rows_beyond_the_limit_are_not_drawn(transform: LogMel) -> None:
    names = [str(row) for row in range(MAX_ROWS + 1)]
    figure = spectrogram_grid(silence(rows=MAX_ROWS + 1), names, transform)
    assert [axes.get_ylabel() for axes in figure.axes] == names[:-1]


@pytest.mark.parametrize("shape", [(1, 1, 24, 20), (1, 1, 1, 1, 24, 20)])
def test_spec_without_five_dimensions_is_refused(transform: LogMel, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected spec \[R, N, C, F, L\], got \[1, 1, .*24, 20\]"):
        spectrogram_grid(torch.zeros(shape), [], transform)


def points(*values: float) -> list[Point]:
    return [Point(float(kimg), value) for kimg, value in enumerate(values)]


def labels(figure: Figure) -> list[str]:
    return [text.get_text().strip() for legend in figure.legends for text in legend.get_texts()]


def test_curve_is_drawn_with_its_reference() -> None:
    figure = line_plot(Plot("fad", {"fad": points(9, 5, 3)}, {"fad": ("floor", 1.5)}, log=True, unit="dB"))
    curve, reference = figure.axes[0].lines
    assert np.asarray(curve.get_xydata()).tolist() == [[0, 9], [1, 5], [2, 3]]
    assert set(np.asarray(reference.get_ydata())) == {1.5}
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[0].get_ylabel() == "dB"
    assert labels(figure) == ["floor 1.5"]  # the title names the curve


def test_reference_below_a_logarithmic_axis_is_in_the_legend() -> None:
    figure = line_plot(Plot("kad", {"kad": points(1, 2)}, {"kad": ("floor", -0.5)}, log=True))
    assert labels(figure) == ["floor -0.5, below this axis"]
    assert figure.axes[0].get_ylim()[0] > 0


def test_warnings_are_dashed_and_stops_are_solid() -> None:
    lines = line_plot(Plot("a", {"a": points(1, 2)}), warned=[0.5], stopped=[1.5]).axes[0].lines[1:]
    assert [(np.asarray(line.get_xdata())[0], line.get_linestyle()) for line in lines] == [(0.5, "--"), (1.5, "-")]


@pytest.mark.parametrize("num", [3, 10, 40])
def test_every_curve_is_in_the_legend_which_covers_none(num: int) -> None:
    names = [f"_class_$number${index}" for index in range(num)]  # "_" and "$" are special characters of matplotlib
    curves = {f"fad/{name}": points(1, 2) for name in names}
    figure = line_plot(Plot("fad", curves, dict.fromkeys(curves, ("floor", 0.5)) if num > 3 else {}))
    figure.draw_without_rendering()
    assert labels(figure) == names
    assert len({line.get_color() for line in figure.axes[0].lines}) == num
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())
    assert figure.bbox.containsx(legend.get_window_extent().x1)
    assert figure.axes[0].get_window_extent().width > 200


def test_logarithmic_axis_has_plain_numbers() -> None:
    figure = line_plot(Plot("kad", {"kad": points(0.011, 0.2)}, log=True))
    figure.draw_without_rendering()
    axis = figure.axes[0].yaxis
    assert {"0.02", "0.1"} <= {text.get_text() for text in axis.get_ticklabels(which="both")}


def test_single_points_and_infinite_values_are_no_error() -> None:
    assert b"<svg" in svg(line_plot(Plot("a", {"a": points(1)}, log=True)))
    assert b"<svg" in svg(line_plot(Plot("a", {"a": points(1, float("nan"), float("inf"))})))


def test_equal_plots_give_equal_svg() -> None:
    plot = Plot("a", {"a": points(1, 2)})
    assert svg(line_plot(plot)) == svg(line_plot(plot))
