"""Draw the figures of docs/reading_the_curves.md from recorded runs: `python -m benchmarks.collapse_pictures docs`."""

import json
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from audiogen.metrics.collapse import Alarm
from benchmarks.collapse import RECORDED, Row, alarms_of

PICTURES = {"healthy.png": "healthy", "collapsing.png": "labels_dropped"}
# Title: metrics with their labels, and the metric that real clips score.
PLOTS: dict[str, tuple[dict[str, str], str]] = {
    "fad": ({"fad": ""}, "fad_floor"),
    "coherence": ({"coherence": ""}, "coherence_real"),
    "diversity": ({"diversity_classifier": "overall", "diversity_min_classifier": "least class"}, ""),
    "minibatch_stddev/ratio": ({"minibatch_stddev/ratio": ""}, ""),
    "logits in training": ({"logits/real": "real", "logits/fake": "generated"}, ""),
    "logits of one moment": (
        {"val/logits_train": "training", "val/logits_real": "validation", "val/logits_fake": "generated"},
        "",
    ),
}


def draw(rows: list[Row], alarms: list[Alarm]) -> Figure:
    """Return six plots of a run, with a dashed line at the first warning and a solid line at the stop."""
    figure = Figure(figsize=(11, 5.6), dpi=100, layout="constrained")
    for axis, (title, (names, reference)) in zip(figure.subplots(2, 3).flat, PLOTS.items(), strict=True):
        for name, label in names.items():
            axis.plot(*zip(*((row["kimg"], row[name]) for row in rows if name in row), strict=True), label=label)
        if reference:
            value = next(row[reference] for row in rows if reference in row)
            axis.axhline(value, color="C0", linestyle="--", linewidth=0.9)
        _mark(axis, alarms)
        axis.set_title(title, loc="left", fontsize="small")
        axis.set_xlabel("kimg", fontsize="x-small")
        axis.tick_params(labelsize="x-small")
        axis.grid(alpha=0.25)
        if len(names) > 1:
            axis.legend(fontsize="x-small")
    return figure


def _mark(axis: Axes, alarms: list[Alarm]) -> None:
    if alarms:
        axis.axvline(alarms[0].kimg, color="darkorange", linestyle="--", linewidth=0.9)
    if stops := [alarm.kimg for alarm in alarms if alarm.stop]:
        axis.axvline(stops[0], color="firebrick", linewidth=1.2)


def main(folder: Path) -> None:
    """Draw a healthy and a collapsing run and write the PNGs."""
    runs: dict[str, list[Row]] = json.loads(RECORDED.read_text())
    for file, name in PICTURES.items():
        draw(runs[name], alarms_of(runs[name])).savefig(folder / file)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m benchmarks.collapse_pictures DIR")
    main(Path(sys.argv[1]))
