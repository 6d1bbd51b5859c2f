"""Draw the curves and sounds of a run as one HTML page, which holds all it shows and opens from anywhere."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import yaml

from audiogen.atomic import write_text
from audiogen.curves import Point, Table, best_point, read_table, reference_of, sort_plots, whole_lines
from audiogen.metrics.collapse import Alarm
from audiogen.pictures import line_plot, svg

# What a run directory holds: the callbacks that write it import lightning, this page does without.
METRICS, EVENTS, SAMPLES, CONFIG = "metrics.csv", "events.jsonl", "samples", "config.yaml"
PAGE = "report.html"
STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem;max-width:84rem}img{max-width:100%}"
    "td,th{padding:.2rem .8rem;text-align:left}pre{background:#f4f4f4;padding:1rem;overflow:auto}"
    ".number{text-align:right!important;font-variant-numeric:tabular-nums}.plots{display:flex;flex-wrap:wrap;gap:.5rem}"
    "figure{margin:1rem 0;flex:1 1 36rem}.stop{color:#c00000;font-weight:bold}tr.heading th{padding-top:1rem}"
)


@dataclass(frozen=True)
class Report:
    """Where the page is, and what it is of.

    Attributes:
        page: The HTML page.
        run: The run directory.
        kimg: How far the run has come.
        num_alarms: Warnings of a collapse.
    """

    page: Path
    run: Path
    kimg: float
    num_alarms: int

    def __str__(self) -> str:
        """Say so."""
        return f"Open {self.page}: {self.run} at {self.kimg:.1f} kimg, {self.num_alarms or 'no'} warnings"


def report(run: str, out: str | None = None) -> Report:
    """Write one HTML page with a run's figures, pictures and sounds; also while it is training.

    Args:
        run: The run directory.
        out: The page; by default report.html in the run directory.

    Raises:
        FileNotFoundError: Without the directory, or the table of figures in it.
        ValueError: For a table without rows, or one that cannot be read.
    """
    folder = Path(run)
    if not (folder / METRICS).is_file():
        what = f"has no {METRICS}" if folder.is_dir() else "is no directory"
        raise FileNotFoundError(
            f"{run} {what}: name the run directory of a training, which `fit` writes {METRICS} and {CONFIG} to"
        )
    table, alarms = read_table(folder / METRICS), read_alarms(folder / EVENTS)
    page = Path(out) if out else folder / PAGE
    write_text(page, _page(folder, table, alarms))
    return Report(page, folder, table.kimg, len(alarms))


def read_alarms(path: Path) -> list[Alarm]:
    """Return the warnings of a run, none where there is no file of them.

    Raises:
        ValueError: For a line that is no warning.
    """
    alarms = []
    for number, line in enumerate(whole_lines(path) if path.is_file() else [], start=1):
        try:
            found = json.loads(line)
            alarms.append(Alarm(float(found["kimg"]), str(found["rule"]), str(found["text"]), bool(found["stop"])))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: expected kimg, rule, text and stop, got {line!r}") from error
    return alarms


def _page(folder: Path, table: Table, alarms: Sequence[Alarm]) -> str:
    """Return the HTML page."""
    config = folder / CONFIG
    text = config.read_text(encoding="utf-8", errors="backslashreplace") if config.is_file() else ""
    name = escape(folder.resolve().name)
    parts = [
        f"<h1>{name}</h1>",
        _headline(table, text),
        _alarm_list(alarms),
        *_plots(table, alarms),
        _figures(table),
        _pictures(folder / SAMPLES, table),
        _sounds(folder / SAMPLES),
        f"<details><summary>{CONFIG}</summary><pre>{escape(text)}</pre></details>" if text else "",
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
        f"</head><body>\n{chr(10).join(part for part in parts if part)}\n</body></html>\n"
    )


def _headline(table: Table, config: str) -> str:
    """Return what matters most, in a few lines."""
    rows = [("model", escape(_model(config))), ("shown", f"{table.kimg:.1f} kimg")]
    for name in ("fad", "coherence", "target_share", "content_kept"):
        if name in table.curves:
            rows.append((name, _summary(name, table)))
    if table.texts:
        rows.append(("not drawn", f"{escape(', '.join(table.texts))}: no numbers"))
    return f"<table>{''.join(f'<tr><th>{name}</th><td>{text}</td></tr>' for name, text in rows)}</table>"


def _summary(name: str, table: Table) -> str:
    """Say of a metric what it is, was at its best, and is of real clips."""
    points = table.curves[name]
    reference = reference_of(name, table.curves)
    best = best_point(name, points, reference and reference[1])
    text = f"{points[-1].value:.4g} at {points[-1].kimg:.1f} kimg"
    if best:
        text += f", best {best.value:.4g} at {best.kimg:.1f} kimg"
    if reference is None:
        return text
    return f"{text}; {'floor' if reference[0] == 'floor' else 'real clips'} {reference[1]:.4g}"


def _model(config: str) -> str:
    """Return the model's class, as far as the config tells."""
    try:
        return str(yaml.safe_load(config)["model"]["class_path"]).rpartition(".")[2]
    except (yaml.YAMLError, KeyError, TypeError):
        return f"unknown: {CONFIG} does not tell"


def _alarm_list(alarms: Sequence[Alarm]) -> str:
    if not alarms:
        return ""
    items = "".join(
        f'<li class="{"stop" if alarm.stop else "warning"}">{alarm.kimg:.1f} kimg, '
        f"{escape(alarm.rule)}{' (stop)' if alarm.stop else ''}: {escape(alarm.text)}</li>\n"
        for alarm in alarms
    )
    return (
        "<h2>Warnings</h2>\n<p>In the plots, a dashed vertical line is a warning, a solid one a stop.</p>\n"
        f"<ul>\n{items}</ul>"
    )


def _plots(table: Table, alarms: Sequence[Alarm]) -> list[str]:
    """Return a part of the page for each heading."""
    warned = [alarm.kimg for alarm in alarms if not alarm.stop]
    stopped = [alarm.kimg for alarm in alarms if alarm.stop]
    parts = ["<p>Dashed horizontal lines are what real clips score.</p>"]
    for heading, plots in sort_plots(table.curves).items():
        pictures = [_image(svg(line_plot(plot, warned, stopped)), "svg+xml", plot.title) for plot in plots]
        parts.append(f'<h2>{heading}</h2>\n<div class="plots">\n{chr(10).join(pictures)}\n</div>')
    return parts


def _figures(table: Table) -> str:
    """Return the table of all figures, in the order of the plots."""
    rows = []
    for heading, plots in sort_plots(table.curves).items():
        rows.append(f'<tr class="heading"><th colspan="6">{heading}</th></tr>')
        rows += [_row(name, table) for plot in plots for name in plot.curves]
    heads = ("last", "at kimg", "real clips", "best", "at kimg")
    head = "<th>figure</th>" + "".join(f'<th class="number">{text}</th>' for text in heads)
    return f"<h2>All figures</h2>\n<table><tr>{head}</tr>\n{chr(10).join(rows)}\n</table>"


def _row(name: str, table: Table) -> str:
    points = table.curves[name]
    reference = reference_of(name, table.curves)
    best = best_point(name, points, reference and reference[1])
    cells = [*_value(points[-1]), f"{reference[0]} {reference[1]:.4g}" if reference else "", *_value(best)]
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    return f"<tr><td>{escape(name)}</td>{numbers}</tr>"


def _value(point: Point | None) -> tuple[str, str]:
    return (f"{point.value:.4g}", f"{point.kimg:.1f}") if point else ("", "")


def _pictures(samples: Path, table: Table) -> str:
    """Show real clips, the last generated ones, and those nearest to the best fad."""
    made = {float(path.stem.removeprefix("kimg-")): path for path in _numbered(samples)}
    best = best_point("fad", table.curves.get("fad", []))
    shown = {"Real clips": samples / "real.png"} if (samples / "real.png").is_file() else {}
    if made:
        shown[f"At {max(made):.1f} kimg, the last ones"] = made[max(made)]
        nearest = min(made, key=lambda kimg: abs(kimg - best.kimg)) if best else max(made)
        if best and nearest < max(made):
            shown[f"At {nearest:.1f} kimg, nearest to the best fad ({best.kimg:.1f} kimg)"] = made[nearest]
    figures = "".join(
        f"<figure>{_image(path.read_bytes(), 'png', title)}<figcaption>{title}</figcaption></figure>\n"
        for title, path in shown.items()
    )
    return f'<h2>Pictures</h2>\n<div class="plots">\n{figures}</div>' if figures else ""


def _numbered(samples: Path) -> Iterable[Path]:
    return (path for path in samples.glob("kimg-*.png") if re.fullmatch(r"kimg-\d+(\.\d+)?", path.stem))


def _sounds(samples: Path) -> str:
    """Return players of the sounds of each class, real beside generated."""
    folders = {"real": samples / "real", "generated": samples}
    names = sorted({path.name for folder in folders.values() for path in folder.glob("*.wav")})
    if not names:
        return ""
    rows = ""
    for name in names:
        players = "".join(f"<td>{_player(folder / name)}</td>" for folder in folders.values())
        rows += f"<tr><td>{escape(Path(name).stem)}</td>{players}</tr>\n"
    head = "".join(f"<th>{text}</th>" for text in ("class", *folders))
    return f"<h2>Sounds</h2>\n<table><tr>{head}</tr>\n{rows}</table>"


def _player(path: Path) -> str:
    """Return a player of a sound; nothing where there is none."""
    if not path.is_file():
        return ""
    return f'<audio controls preload="none" src="{_data(path.read_bytes(), "audio/wav")}"></audio>'


def _image(content: bytes, kind: str, title: str) -> str:
    return f'<img src="{_data(content, f"image/{kind}")}" alt="{escape(title)}">'


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
