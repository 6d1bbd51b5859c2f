"""Show a data set: real spectrograms, what comes back of them as sound, durations and levels, on one HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import torch
from torch import Tensor

from audiogen.atomic import write_text
from audiogen.audio.io import write_audio
from audiogen.data.datasets.dataset import AudioItem
from audiogen.data.loading import LoadedData
from audiogen.data.module import SpectrogramData
from audiogen.data.pipeline import Pipeline, clip_waveform
from audiogen.data.report import report, used_records
from audiogen.outputs import check_output_folder, start_output_folder
from audiogen.pictures import MAX_ROWS, histogram, save_figure, spectrogram_grid

PAGE = "index.html"
PICTURES = ("real.png", "round_trip.png", "durations.png", "levels.png")
KINDS = ("original", "round_trip")  # versions of a sound


@dataclass(frozen=True)
class Inspected:
    """Result of `inspect`.

    Attributes:
        page: The HTML page.
        distance: Mean absolute difference of spectrograms before and after the round trip, in a range of 2.
    """

    page: Path
    distance: float

    def __str__(self) -> str:
        """Return the path of the page and the error of the round trip."""
        return (
            f"Open {self.page}: spectrograms, sounds before and after the round trip, durations and levels\n"
            f"Round trip: spectrograms differ by {self.distance:.4f} of their range of 2 on average"
        )


@dataclass(frozen=True)
class Shown:
    """The clips on the page, in R rows (one per class) of N clips.

    Attributes:
        names: R class names, or a single empty one.
        clips: R rows of audio items; small classes have fewer than N.
        wav: Originals, float32 [R, N, C, T].
        spec: Spectrograms of the originals, float32 [R, N, C, F, L]; NaN if there is no clip.
        back: Sounds inverted from `spec`, float32 [R, N, C, T].
        again: Spectrograms of `back`, float32 [R, N, C, F, L].
    """

    names: list[str]
    clips: list[list[AudioItem]]
    wav: Tensor
    spec: Tensor
    back: Tensor
    again: Tensor


def inspect(data: SpectrogramData, out: str | Path = "inspect", num: int = 6, overwrite: bool = False) -> Inspected:
    """Write an HTML page that shows a data set and plays its round trip through the spectrogram.

    Args:
        data: The data module.
        out: New or empty folder for `index.html`, `*.png` and `sounds/`.
        num: Clips per class. Classes beyond the first 50 are left out.
        overwrite: Replace an earlier page in the folder. Other files are never removed.

    Raises:
        OutputError: If the folder contains an earlier page or other files, or cannot be written.
        ValueError: If `num` is less than 1.
    """
    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}")
    folder = check_output_folder(Path(out), overwrite)
    return _write_page(data.loaded, data.pipeline, folder, num)


def _write_page(data: LoadedData, pipeline: Pipeline, out: Path, num: int) -> Inspected:
    shown = _choose(data, pipeline, num)
    sounds = [
        _sound_file(row, column, kind)
        for row, clips in enumerate(shown.clips)
        for column in range(len(clips))
        for kind in KINDS
    ]
    start_output_folder(out, [PAGE, *PICTURES, *sounds], [clip.path for clip in data.items])
    names = [name for name in shown.names if name]
    save_figure(spectrogram_grid(shown.spec, names, pipeline.transform, "real"), out / PICTURES[0])
    save_figure(spectrogram_grid(shown.again, names, pipeline.transform, "round trip"), out / PICTURES[1])
    used = used_records(data)
    save_figure(histogram([r.seconds for r in used], "duration of the files (s)"), out / PICTURES[2])
    save_figure(histogram([r.rms_db for r in used], "RMS level (dB of full scale)"), out / PICTURES[3])
    rows = _write_sounds(shown, pipeline.transform.sample_rate, out)
    text = str(report(data, pipeline))
    if len(data.label_names) > MAX_ROWS:
        text += f"\nShown: the first {MAX_ROWS} of {len(data.label_names)} classes"
    write_text(out / PAGE, _page(text, rows))
    return Inspected(out / PAGE, float((shown.again - shown.spec).abs().nanmean()))


@torch.no_grad()
def _choose(data: LoadedData, pipeline: Pipeline, num: int) -> Shown:
    """Return clips spread over each class, with their round trips."""
    names = data.label_names[:MAX_ROWS] or [""]
    rows = [[clip for clip in data.items if (clip.label or "") == name] for name in names]
    num = min(num, max(map(len, rows)))
    clips = [row[:: max(len(row) // num, 1)][:num] for row in rows]
    wavs = [[clip_waveform(clip.path, pipeline, clip.span) for clip in row] for row in clips]
    missing = torch.tensor([[column >= len(row) for column in range(num)] for row in clips])
    wav = torch.zeros(len(names), num, *wavs[0][0].shape)
    wav[~missing] = torch.stack([one for row in wavs for one in row])
    flat = wav.flatten(0, 1)  # [R N, C, T]
    spec = pipeline.transform(flat)
    back = pipeline.transform.inverse(spec)
    spec, back, again = (x.unflatten(0, (len(names), num)) for x in (spec, back, pipeline.transform(back)))
    spec[missing] = again[missing] = torch.nan  # left blank in the picture
    return Shown(names, clips, wav, spec, back, again)


def _write_sounds(shown: Shown, sample_rate: int, out: Path) -> list[list[str]]:
    """Write all sounds, and return table rows: class, file, players of both versions, level difference."""
    rows = []
    for index, (name, clips) in enumerate(zip(shown.names, shown.clips, strict=True)):
        for column, clip in enumerate(clips):
            players = []
            for kind, wav in zip(KINDS, (shown.wav, shown.back), strict=True):
                path = _sound_file(index, column, kind)
                write_audio(out / path, wav[index, column], sample_rate)
                players.append(f'<audio controls preload="none" src="{quote(path)}"></audio>')
            level = 20 * torch.log10(shown.back[index, column].norm() / shown.wav[index, column].norm())
            rows.append([escape(name), escape(clip.path.name), *players, f"{float(level):+.1f} dB"])
    return rows


def _sound_file(row: int, column: int, kind: str) -> str:
    """Return the path of a sound below the folder."""
    return f"sounds/{row:02d}-{column:02d}-{kind}.wav"


def _page(text: str, rows: Sequence[Sequence[str]]) -> str:
    """Return the HTML page."""
    heads = ("class", "file", "original", "round trip", "level")
    table = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    pictures = "".join(
        f'<h2>{title}</h2>\n<img src="{file}" alt="{title}">\n'
        for title, file in zip(
            ("Real clips", "The same after the round trip to sound and back", "Durations", "Levels"),
            PICTURES,
            strict=True,
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Data set</title><style>'
        "body{font:15px system-ui,sans-serif;margin:2rem;max-width:80rem}img{max-width:100%}"
        "td,th{padding:.2rem .8rem;text-align:left}pre{background:#f4f4f4;padding:1rem;overflow:auto}"
        f"</style></head><body>\n<h1>Data set</h1>\n<pre>{escape(text)}</pre>\n{pictures}"
        "<h2>Sounds</h2>\n<p>The round trip is the best that a model with this spectrogram can sound.</p>\n"
        f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>\n{table}</table>\n</body></html>\n"
    )
