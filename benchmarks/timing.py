"""Time candidates in alternation. The speed of shared machines drifts, so only neighbouring rounds are comparable."""

import time
from collections.abc import Callable, Mapping

ROUNDS = 10


def fastest(candidates: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Run all candidates once, then in alternation for some rounds; return the fastest time of each in seconds."""
    for run in candidates.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}
