"""Write a self-contained HTML page with the curves, pictures and sounds of a run."""

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import islice
from pathlib import Path

from audiogen.atomic import write_text
from audiogen.curves import Point, Table, parse_table, whole_lines
from audiogen.metrics.collapse import Alarm
from audiogen.outputs import check_output_file
from audiogen.pictures import line_plot, svg
from audiogen.scalars import FILE_NAME, MAX_BYTES, Scalars
from audiogen.untrusted import MAX_TEXT, UntrustedFileError, parse_yaml, read_inside

# Names in a run directory. They are repeated here because the callbacks that define them import lightning.
METRICS, EVENTS, SAMPLES, CONFIG = "metrics.csv", "events.jsonl", "samples", "config.yaml"
CHECKPOINTS = "checkpoints"
PAGE = "report.html"
# Limits for reading a run directory, which may come from somebody else.
MAX_TABLE = 1 << 28  # bytes
MAX_SAMPLE = 1 << 26  # bytes of one picture or sound
MAX_SAMPLES = 1 << 28  # bytes of all pictures and sounds
MAX_FILES = 10_000  # per folder
STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem;max-width:84rem}img{max-width:100%}"
    "td,th{padding:.2rem .8rem;text-align:left}pre{background:#f4f4f4;padding:1rem;overflow:auto}"
    ".number{text-align:right!important;font-variant-numeric:tabular-nums}.plots{display:flex;flex-wrap:wrap;gap:.5rem}"
    "figure{margin:1rem 0;flex:1 1 36rem}.stop{color:#c00000;font-weight:bold}tr.heading th{padding-top:1rem}"
)


@dataclass(frozen=True)
class Report:
    """Result of `report`.

    Attributes:
        page: Path of the HTML page.
        run: The run directory.
        kimg: Thousands of clips shown so far.
        num_alarms: Number of warnings of a collapse.
    """

    page: Path
    run: Path
    kimg: float
    num_alarms: int

    def __str__(self) -> str:
        """Return the path of the page and a summary of the run."""
        return f"Open {self.page}: {self.run} at {self.kimg:.1f} kimg, {self.num_alarms or 'no'} warnings"


class RunFiles:
    """Reader of a run directory that may come from somebody else.

    Args:
        folder: The run directory.

    Attributes:
        left_out: Files that are not shown, each with the reason.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.left_out: list[str] = []
        self._left = MAX_SAMPLES

    def text(self, name: str, max_bytes: int) -> str:
        """Return the text of a file; empty if it is missing.

        Raises:
            UntrustedFileError: If it is too large, or not a regular file in the run directory.
        """
        try:
            return read_inside(self.folder, name, max_bytes).decode("utf-8", "backslashreplace")
        except FileNotFoundError:
            return ""

    def sample(self, name: str) -> bytes | None:
        """Return the bytes of a picture or a sound; None if it is missing or cannot be shown."""
        try:
            content = read_inside(self.folder, name, min(MAX_SAMPLE, self._left))
        except FileNotFoundError:
            return None
        except (UntrustedFileError, OSError) as error:
            self.left_out.append(str(error))
            return None
        self._left -= len(content)
        return content

    def names(self, folder: str, suffix: str) -> list[str]:
        """Return the sorted names in a folder of the run that end in a suffix."""
        path = self.folder / folder
        if not path.resolve().is_relative_to(self.folder.resolve()) or not path.is_dir():
            self.left_out += [f"{path} is a link out of {self.folder}: not read"] if path.is_symlink() else []
            return []
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in islice(entries, MAX_FILES) if entry.name.endswith(suffix))


def report(run: str, out: str | None = None) -> Report:
    """Write one HTML page with a run's metrics, pictures and sounds. The run may still be training.

    Args:
        run: The run directory.
        out: Path of the page; by default report.html in the run directory.

    Raises:
        FileNotFoundError: If the directory does not exist, or contains no files of a training.
        OutputError: If the page would replace another file of the run, or cannot be written.
        ValueError: If the table of metrics has no rows, or cannot be read.
    """
    folder = Path(run)
    files = RunFiles(folder)
    page = Path(out) if out else folder / PAGE
    table, alarms = _table(files), read_alarms(folder / EVENTS)
    check_output_file(page, [path for path in _files(folder) if path.name != PAGE])
    write_text(page, _page(files, table, alarms))
    return Report(page, folder, table.kimg, len(alarms))


def _table(files: RunFiles) -> Table:
    """Return the table of metrics; an empty one if the run was stopped before the first row."""
    text = files.text(METRICS, MAX_TABLE)
    steps = [re.fullmatch(r"kimg-(\d+\.\d+)\.ckpt", name) for name in files.names(CHECKPOINTS, ".ckpt")]
    saved = max([float(step[1]) for step in steps if step], default=0.0)
    if not text and (saved or (files.folder / CONFIG).is_file()):
        return Table(saved, {}, [])
    if not (files.folder / METRICS).is_file():
        what = f"has no {METRICS}" if files.folder.is_dir() else "is not a directory"
        raise FileNotFoundError(
            f"{files.folder} {what}: name the run directory of a training, to which `fit` writes {METRICS} and {CONFIG}"
        )
    table = parse_table(text, str(files.folder / METRICS), _scalars(files))
    return replace(table, kimg=max(table.kimg, saved))


def _scalars(files: RunFiles) -> Scalars:
    """Return the descriptions of the metrics; without readable ones, all metrics are drawn under "Further"."""
    try:
        text = files.text(FILE_NAME, MAX_BYTES)
        return Scalars.from_json(text, str(files.folder / FILE_NAME)) if text else Scalars()
    except ValueError as error:
        files.left_out.append(str(error))
        return Scalars()


def _files(folder: Path) -> Iterable[Path]:
    """Yield the files of a run directory."""
    for path, _, names in islice(os.walk(folder), MAX_FILES):
        yield from (Path(path) / name for name in names[:MAX_FILES])


def read_alarms(path: Path) -> list[Alarm]:
    """Return the warnings of a run; none if their file is missing.

    Raises:
        ValueError: If a line is not a warning.
    """
    alarms = []
    text = RunFiles(path.parent).text(path.name, MAX_TABLE)
    for number, line in enumerate(whole_lines(text), start=1):
        try:
            found = json.loads(line)
            alarms.append(Alarm(float(found["kimg"]), str(found["rule"]), str(found["text"]), bool(found["stop"])))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: expected kimg, rule, text and stop, got {line!r:.200}") from error
    return alarms


def _page(files: RunFiles, table: Table, alarms: Sequence[Alarm]) -> str:
    """Return the HTML page."""
    try:
        text = files.text(CONFIG, MAX_TEXT)
    except UntrustedFileError as error:
        text = ""
        files.left_out.append(str(error))
    name = escape(files.folder.resolve().name)
    parts = [
        f"<h1>{name}</h1>",
        _headline(table, text),
        _alarm_list(alarms),
        *_plots(table, alarms),
        _scores(table),
        _pictures(files, table),
        _sounds(files),
        f"<details><summary>{CONFIG}</summary><pre>{escape(text)}</pre></details>" if text else "",
        _left_out(files),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
        f"</head><body>\n{chr(10).join(part for part in parts if part)}\n</body></html>\n"
    )


def _headline(table: Table, config: str) -> str:
    """Return a short table: model, clips shown, and the headline scores."""
    rows = [("model", escape(_model(config))), ("shown", f"{table.kimg:.1f} kimg")]
    rows += [(escape(name), _summary(name, table)) for name in table.headlines()]
    if table.texts:
        rows.append(("not drawn", f"{escape(', '.join(table.texts))}: not numbers"))
    return f"<table>{''.join(f'<tr><th>{name}</th><td>{text}</td></tr>' for name, text in rows)}</table>"


def _summary(name: str, table: Table) -> str:
    """Return the last and the best value of a metric, and the score of real clips."""
    points, reference, best = table.curves[name], table.reference(name), table.best(name)
    text = f"{points[-1].value:.4g} at {points[-1].kimg:.1f} kimg"
    if best:
        text += f", best {best.value:.4g} at {best.kimg:.1f} kimg"
    if reference is None:
        return text
    return f"{text}; {'floor' if reference[0] == 'floor' else 'real clips'} {reference[1]:.4g}"


def _model(config: str) -> str:
    """Return the name of the model's class."""
    try:
        return str(parse_yaml(config, CONFIG)["model"]["class_path"]).rpartition(".")[2]
    except (UntrustedFileError, KeyError, TypeError):
        return f"unknown: {CONFIG} does not name it"


def _alarm_list(alarms: Sequence[Alarm]) -> str:
    if not alarms:
        return ""
    items = "".join(
        f'<li class="{"stop" if alarm.stop else "warning"}">{alarm.kimg:.1f} kimg, '
        f"{escape(alarm.rule)}{' (stop)' if alarm.stop else ''}: {escape(alarm.text)}</li>\n"
        for alarm in alarms
    )
    return (
        "<h2>Warnings</h2>\n<p>In the plots, dashed vertical lines are warnings and solid ones stops.</p>\n"
        f"<ul>\n{items}</ul>"
    )


def _plots(table: Table, alarms: Sequence[Alarm]) -> list[str]:
    """Return a section for each heading."""
    warned = [alarm.kimg for alarm in alarms if not alarm.stop]
    stopped = [alarm.kimg for alarm in alarms if alarm.stop]
    parts = ["<p>Dashed horizontal lines are the scores of real clips.</p>"]
    for heading, plots in table.plots().items():
        pictures = [_image(svg(line_plot(plot, warned, stopped)), "svg+xml", plot.title) for plot in plots]
        parts.append(f'<h2>{escape(heading)}</h2>\n<div class="plots">\n{chr(10).join(pictures)}\n</div>')
    return parts


def _scores(table: Table) -> str:
    """Return the table of all metrics, in the order of the plots."""
    rows = []
    for heading, plots in table.plots().items():
        rows.append(f'<tr class="heading"><th colspan="6">{escape(heading)}</th></tr>')
        rows += [_row(name, table) for plot in plots for name in plot.curves]
    heads = ("last", "at kimg", "real clips", "best", "at kimg")
    head = "<th>metric</th>" + "".join(f'<th class="number">{text}</th>' for text in heads)
    return f"<h2>All metrics</h2>\n<table><tr>{head}</tr>\n{chr(10).join(rows)}\n</table>"


def _row(name: str, table: Table) -> str:
    points, reference, best = table.curves[name], table.reference(name), table.best(name)
    cells = [*_value(points[-1]), f"{reference[0]} {reference[1]:.4g}" if reference else "", *_value(best)]
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    return f"<tr><td>{escape(name)}</td>{numbers}</tr>"


def _value(point: Point | None) -> tuple[str, str]:
    return (f"{point.value:.4g}", f"{point.kimg:.1f}") if point else ("", "")


def _pictures(files: RunFiles, table: Table) -> str:
    """Return pictures of real clips, of the last generated ones, and of those nearest to the best headline score."""
    names = [re.fullmatch(r"kimg-(\d+(?:\.\d+)?)\.png", name) for name in files.names(SAMPLES, ".png")]
    pictures = {float(name[1]): f"{SAMPLES}/{name[0]}" for name in names if name}
    score = next(iter(table.headlines()), "")
    best = table.best(score)
    shown = {"Real clips": f"{SAMPLES}/real.png"}
    if pictures:
        shown[f"At {max(pictures):.1f} kimg, the last pictures"] = pictures[max(pictures)]
        nearest = min(pictures, key=lambda kimg: abs(kimg - best.kimg)) if best else max(pictures)
        if best and nearest < max(pictures):
            shown[f"At {nearest:.1f} kimg, nearest to the best {score} ({best.kimg:.1f} kimg)"] = pictures[nearest]
    figures = "".join(
        f"<figure>{_image(content, 'png', title)}<figcaption>{escape(title)}</figcaption></figure>\n"
        for title, name in shown.items()
        if (content := files.sample(name)) is not None
    )
    return f'<h2>Pictures</h2>\n<div class="plots">\n{figures}</div>' if figures else ""


def _sounds(files: RunFiles) -> str:
    """Return a table of players, with a row per class: a real and a generated sound."""
    folders = {"real": f"{SAMPLES}/real", "generated": SAMPLES}
    names = sorted({name for folder in folders.values() for name in files.names(folder, ".wav")})
    if not names:
        return ""
    rows = ""
    for name in names:
        players = "".join(f"<td>{_player(files.sample(f'{folder}/{name}'))}</td>" for folder in folders.values())
        rows += f"<tr><td>{escape(Path(name).stem)}</td>{players}</tr>\n"
    head = "".join(f"<th>{text}</th>" for text in ("class", *folders))
    return f"<h2>Sounds</h2>\n<table><tr>{head}</tr>\n{rows}</table>"


def _player(content: bytes | None) -> str:
    """Return a player of a sound; empty if there is no sound."""
    if content is None:
        return ""
    return f'<audio controls preload="none" src="{_data(content, "audio/wav")}"></audio>'


def _left_out(files: RunFiles) -> str:
    """Return a list of the files that are not shown."""
    items = "".join(f"<li>{escape(text)}</li>\n" for text in dict.fromkeys(files.left_out))
    return f"<h2>Left out</h2>\n<ul>\n{items}</ul>" if items else ""


def _image(content: bytes, kind: str, title: str) -> str:
    return f'<img src="{_data(content, f"image/{kind}")}" alt="{escape(title)}">'


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
