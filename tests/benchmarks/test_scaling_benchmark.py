"""The formulas of what is exchanged match what two processes exchange; the tables are whole."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.scaling import (
    counted_table,
    efficiency,
    exchanged_per_step,
    gpu_table,
    in_turn_table,
    steps_table,
    stock_per_step,
)
from benchmarks.scaling_runs import Report, start
from tests.tiny_conversion import conversion_arguments
from tests.tiny_run import arguments, write_classes

STEPS = 6  # of which each has its penalty: R1 every second, path length every third


def test_exchange_that_costs_nothing_is_efficient() -> None:
    assert efficiency(1.0, 10, 1e9, 64, bandwidth=float("inf"), latency=0.0) == 1


def test_latency_grows_with_the_logarithm_of_the_processes() -> None:
    lost = [1 / efficiency(1.0, 1, 0, num, bandwidth=1.0, latency=0.1) - 1 for num in (2, 64)]
    assert lost == pytest.approx([0.2, 1.2])


def test_tables_are_whole(reports: dict[str, list[Report]]) -> None:
    first = {"StyleGAN2": reports["StyleGAN2"][0]}
    stock = {"StyleGAN2": reports["stock"][0]}
    tables = [counted_table(first, stock), steps_table(first, first), in_turn_table({"x": [(1.0, 2.0), (1.5, 1.25)]})]
    for text in [*tables, gpu_table()]:
        heads, _, *rows = (line.count("|") for line in text.splitlines())
        assert rows
        assert set(rows) == {heads}
    assert tables[2].endswith("| x | 1000.0 | 1250.0 | 1.25 |")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Report]]:
    """Return what two processes each reported of tiny trainings."""
    folder = tmp_path_factory.mktemp("scaling")
    data = write_classes(folder / "data", {"low": 300, "high": 2000}, num=12)
    more = ["--data.batch_size", "8", "--trainer.callbacks", "[]", "--trainer.enable_progress_bar", "false"]
    more += ["--trainer.enable_checkpointing", "false"]
    kimg = 8 * (STEPS + 1) / 1000
    lines = {
        "StyleGAN2": arguments(data, Path("run"), kimg, *more, "--model.style_mixing", "0"),
        "MelGAN-VC": conversion_arguments(data, Path("run"), kimg, *more, "--model.targets", "all"),
    }
    found = {name: start("train", line, 2, folder / name) for name, line in lines.items()}
    return found | {"stock": start("stock", lines["StyleGAN2"], 2, folder / "stock")}


@pytest.mark.parametrize("model", ["StyleGAN2", "MelGAN-VC"])
def test_formula_of_what_is_exchanged_is_what_two_processes_exchange(
    model: str, reports: dict[str, list[Report]]
) -> None:
    for report in reports[model]:
        calls, size = Counter[str](), Counter[str]()
        for call in report.calls:
            if 0 <= call.step < STEPS:
                calls[call.purpose] += 1
                size[call.purpose] += call.size
        expected = exchanged_per_step(report.sizes, 8)
        assert calls.keys() == expected.keys()
        for purpose in expected.keys() - {"log"}:
            assert calls[purpose] == pytest.approx(STEPS * expected[purpose].calls), purpose
            assert size[purpose] == pytest.approx(STEPS * expected[purpose].size), purpose


@pytest.mark.parametrize("model", ["StyleGAN2", "MelGAN-VC"])
def test_formula_of_what_is_logged_is_that_of_a_step_with_both_penalties(
    model: str, reports: dict[str, list[Report]]
) -> None:
    for report in reports[model]:
        log = [call for call in report.calls if (call.step, call.purpose) == (STEPS, "log")]
        expected = exchanged_per_step(report.sizes, 8)["log"]  # tiny runs log at every step
        assert (len(log), sum(call.size for call in log)) == (expected.calls, expected.size)


def test_stock_exchanges_all_weights_in_each_backward_pass(reports: dict[str, list[Report]]) -> None:
    for report in reports["stock"]:
        size = sum(call.size for call in report.calls if call.purpose == "gradients" and 0 <= call.step < STEPS)
        assert size == pytest.approx(STEPS * stock_per_step(report.sizes))
        assert size > 2.5 * STEPS * exchanged_per_step(report.sizes, 8)["gradients"].size
