"""Report what a data set contains and what became of each file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audiogen.audio.preprocess import Change, step_reports
from audiogen.data.loading import LoadedData
from audiogen.data.pipeline import Pipeline
from audiogen.data.store import FileRecord

NEAR_FULL = 0.999  # of the largest value in a spectrogram, 1


@dataclass(frozen=True)
class DataReport:
    """Report on a data set; `str` formats it as text.

    Attributes:
        lines: Lines of the report.
        good: Whether every file can be used.
    """

    lines: list[str]
    good: bool

    def __str__(self) -> str:
        """Join the lines."""
        return "\n".join(self.lines)


def report(data: LoadedData, pipeline: Pipeline) -> DataReport:
    """Summarise a data set.

    Args:
        data: All splits.
        pipeline: How its files became spectrograms.
    """
    assert data.store is not None
    records, used = list(data.store.records()), used_records(data)
    lines = [
        data.summary(),
        *_sounds(used),
        *_clips(used, pipeline),
        *_steps(records, pipeline),
        *_classes(data),
        f"Stored in {data.store.folder} ({_size(data.store.folder)})",
    ]
    return DataReport(lines, good=not data.rejected)


def used_records(data: LoadedData) -> list[FileRecord]:
    """Return the records of the files that are used."""
    assert data.store is not None
    files = set(data.files)
    return [record for index, record in enumerate(data.store.records()) if index in files]


def _sounds(used: Sequence[FileRecord]) -> list[str]:
    """Report the durations, sample rates, channels and levels of the files."""
    seconds = sorted(record.seconds for record in used)
    rates = Counter(f"{record.sample_rate} Hz" for record in used)
    channels = Counter({1: "mono", 2: "stereo"}.get(n := record.num_channels, f"{n} channels") for record in used)
    levels = sorted(record.rms_db for record in used)
    middle = len(used) // 2
    return [
        f"Sound: {sum(seconds) / 3600:.3f} hours in files of {seconds[0]:.2f} to {seconds[-1]:.2f} s, "
        f"median {seconds[middle]:.2f} s; {sum(record.kept_seconds for record in used) / 3600:.3f} hours kept",
        f"Files: {_counts(rates)}; {_counts(channels)}",
        f"Level: {levels[0]:.1f} to {levels[-1]:.1f} dB of full scale (RMS), median {levels[middle]:.1f} dB",
    ]


def _clips(used: Sequence[FileRecord], pipeline: Pipeline) -> list[str]:
    """Report how well the files fill a clip and the range of values."""
    transform = pipeline.transform
    padded = sum(record.padded for record in used) / len(used)
    truncated = sum(record.truncated for record in used) / len(used)
    full = sum(record.high > NEAR_FULL for record in used) / len(used)
    shape = " x ".join(map(str, transform.shape))
    lines = [
        f"Clips: {shape} ({transform.seconds:.2f} s): {padded:.1%} of the files padded, {truncated:.1%} truncated",
        f"Values: {min(record.low for record in used):.3f} to {max(record.high for record in used):.3f}",
    ]
    if full:
        lines.append(f"  {full:.1%} of the files reach the top of the scale: a higher ceil_db would keep their peaks")
    if silent := sum(record.silent_crops for record in used) / len(used):
        lines.append(f"  {silent:.1%} of the possible random crops contain only silence and are never used")
    dropped = sum(len(record.dropped) for record in used)
    if dropped:
        example = next(record.dropped[0] for record in used if record.dropped)
        lines.append(f"  {dropped} segments of long files left out, for example: {example}")
    return lines


def _steps(records: Sequence[FileRecord], pipeline: Pipeline) -> list[str]:
    """Report what each preprocessing step changed."""
    changes = [[Change(**change) for change in part] for record in records for part in record.changes]
    reasons = [reason for record in records for reason in (record.reason, *record.dropped) if reason]
    return [f"  {step}" for step in step_reports(pipeline.steps, changes, reasons)]


def _classes(data: LoadedData) -> list[str]:
    """Return a table of the number of clips in each class and split."""
    width = max(map(len, ["class", *data.label_names]))
    counts = {name: split.label.bincount(minlength=len(data.label_names)) for name, split in data.splits.items()}
    header = "".join(f"{name:>8}" for name in counts)
    rows = [
        f"  {name:<{width}}" + "".join(f"{int(count[index]):>8}" for count in counts.values())
        for index, name in enumerate(data.label_names)
    ]
    return [f"  {'class':<{width}}{header}", *rows] if rows else []


def _counts(counter: "Counter[str]") -> str:
    return ", ".join(f"{count} of {name}" for name, count in counter.most_common())


def _size(folder: Path) -> str:
    size = float(sum(path.stat().st_size for path in folder.iterdir()))
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
