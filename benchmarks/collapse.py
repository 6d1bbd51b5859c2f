"""Apply the mode-collapse rules to recorded runs, collapsed and healthy: `python -m benchmarks.collapse [DIR]`.

The metrics come from `benchmarks/collapse_runs.json`, recorded by `benchmarks.collapse_runs`. With DIR, the runs in DIR
are read instead and the file is replaced. The first table lists for each rule the collapses it detected, its false
alarms, and how much training remained until the Frechet distance had doubled from its best. The second table lists when
each run would have been warned about and stopped.
"""

import csv
import json
import math
import sys
from pathlib import Path

from audiogen.callbacks.mode_collapse import VALIDATED
from audiogen.metrics.collapse import RULES, Alarm, Watch
from benchmarks.collapse_runs import COLLAPSES, FAULT_KIMG, HEALTHY, IN_FLIGHT

RECORDED = Path(__file__).with_name("collapse_runs.json")
WARM_UP_KIMG = 2.0
TRAINING = ("logits/real", "logits/fake", "loss/discriminator", "loss/generator", "minibatch_stddev/ratio")
EVALUATION = (
    *(
        "fad",
        "fad_floor",
        "coherence",
        "coherence_real",
        "class_entropy",
        "coverage_classifier",
        "diversity_classifier",
        "diversity_min_classifier",
    ),
    *VALIDATED,
)
Row = dict[str, float]


def read_run(folder: Path) -> list[Row]:
    """Return the rows of a run's metrics.csv, limited to the columns that rules use, with four digits."""
    with (folder / "metrics.csv").open() as file:
        rows = [
            {name: row[name] for name in ("kimg", *TRAINING, *EVALUATION) if row.get(name)}
            for row in csv.DictReader(file)
        ]
    return [{name: float(f"{float(value):.4g}") for name, value in row.items()} for row in rows]


def alarms_of(rows: list[Row]) -> list[Alarm]:
    """Return the alarms that the rules raise in a run, row by row."""
    watch = Watch(RULES, WARM_UP_KIMG)
    alarms = []
    for row in rows:
        for names in (TRAINING, EVALUATION):  # rows of one time hold both
            if scores := {name: row[name] for name in names if name in row}:
                alarms += watch.update(row["kimg"], scores)
    return alarms


def doubled(rows: list[Row]) -> float:
    """Return the kimg at which the distance was twice its best, or infinity if it never was."""
    best = math.inf
    for row in rows:
        if "fad" in row and row["kimg"] >= WARM_UP_KIMG:
            if row["fad"] >= 2 * best:
                return row["kimg"]
            best = min(best, row["fad"])
    return math.inf


def main(folder: Path | None) -> None:
    """Apply the rules and print both tables."""
    if folder is not None:
        recorded = {name: read_run(folder / name) for name in COLLAPSES | HEALTHY}
        RECORDED.write_text(json.dumps(recorded) + "\n")
    runs: dict[str, list[Row]] = json.loads(RECORDED.read_text())
    alarms = {name: alarms_of(rows) for name, rows in runs.items()}
    early = {name: found for name in IN_FLIGHT if (found := [a for a in alarms[name] if a.kimg < FAULT_KIMG])}
    if early:
        print(f"False alarms before the fault at {FAULT_KIMG:g} kimg: {early}\n")
        alarms |= {name: [a for a in alarms[name] if a.kimg >= FAULT_KIMG] for name in early}
    _print_rules(runs, alarms)
    _print_runs(runs, alarms)


def _print_rules(runs: dict[str, list[Row]], alarms: dict[str, list[Alarm]]) -> None:
    print(f"{'rule':<24}{'caught':>8}{'false alarms':>14}   kimg of warning before the distance doubled")
    for rule in RULES:
        first = {name: next((a.kimg for a in found if a.rule == rule.name), None) for name, found in alarms.items()}
        caught = [name for name in COLLAPSES if first[name] is not None]
        wrong = [name for name in HEALTHY if first[name] is not None]
        lead = {name: doubled(runs[name]) - (first[name] or 0.0) for name in caught}
        told = ", ".join(f"{name} {'(never)' if math.isinf(kimg) else f'{kimg:.2f}'}" for name, kimg in lead.items())
        print(f"{rule.name:<24}{f'{len(caught)}/{len(COLLAPSES)}':>8}{f'{len(wrong)}/{len(HEALTHY)}':>14}   {told}")


def _print_runs(runs: dict[str, list[Row]], alarms: dict[str, list[Alarm]]) -> None:
    print(
        f"\n{'run':<24}{'best':>7}{'at':>7}{'worst after':>12}{'doubled':>9}{'warned':>8}{'stopped':>9}   first words"
    )
    caught, in_time, never, wrong = [], [], [], []
    for name, rows in runs.items():
        found = alarms[name]
        best, at = min((row["fad"], row["kimg"]) for row in rows if "fad" in row)
        worst = max((row["fad"] for row in rows if "fad" in row and row["kimg"] > at), default=best)
        warned = next((alarm.kimg for alarm in found), math.inf)
        stopped = next((alarm.kimg for alarm in found if alarm.stop), math.inf)
        times = ((doubled(rows), 9), (warned, 8), (stopped, 9))
        cells = "".join(f"{'-' if math.isinf(time) else f'{time:.2f}':>{width}}" for time, width in times)
        print(f"{name:<24}{best:>7.1f}{at:>7.1f}{worst:>12.1f}{cells}   {found[0].text if found else ''}")
        if name in HEALTHY:
            wrong += [name] if found else []
        else:
            caught += [name] if found else []
            never += [name] if math.isinf(doubled(rows)) else []
            in_time += [name] if warned < doubled(rows) < math.inf else []
    num = len(COLLAPSES)
    print(
        f"\nCaught: {len(caught)} of {num} collapses. The distance doubled in {num - len(never)}, of which "
        f"{len(in_time)} were warned of before; it never did in {', '.join(never) or 'none'}.\n"
        f"False alarms: {len(wrong)} of {len(HEALTHY)} healthy runs."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
