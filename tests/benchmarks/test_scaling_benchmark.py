"""The simulation has the right limits, and its formulas of what is exchanged are what two processes exchange."""

import math
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.scaling import prediction_table, tables
from benchmarks.scaling_measure import Measured, Parts, step_of
from benchmarks.scaling_model import (
    Exchanged,
    Link,
    Occasion,
    Step,
    exchanged_per_step,
    fitted_link,
    normal_spread,
    seconds_per_kimg,
    slowest,
    stock_per_step,
)
from benchmarks.scaling_runs import Report, start
from tests.tiny_conversion import conversion_arguments
from tests.tiny_run import arguments, write_classes

ETHERNET = Link("", latency=1e-3, bandwidth=1e6)
NOTHING = Link("", latency=0.0, bandwidth=math.inf)
STEP = Step(1.0, spread=(0.9, 1.1), pack=0.1, exchanged=Exchanged(3, 1e6), decisions=Exchanged(1, 8))
STEPS = 6  # of which each has its penalty: R1 every second, path length every third


def test_one_process_is_efficient() -> None:
    assert STEP.seconds(1, ETHERNET) == pytest.approx(1.0)
    assert STEP.efficiency(1, ETHERNET) == 1


@pytest.mark.parametrize("num", [2, 8, 64])
def test_processes_that_are_equally_fast_lose_nothing_over_an_infinite_link(num: int) -> None:
    assert Step(1.0, exchanged=Exchanged(3, 1e9)).efficiency(num, NOTHING) == pytest.approx(1.0)


def test_slowest_process_rules() -> None:
    spread = [1.0] * 9 + [2.0]
    assert slowest(spread, 1) == pytest.approx(1.1)
    assert slowest(spread, 8) == pytest.approx(1 + (1 - 0.9**8))
    assert slowest(spread, 10_000) == pytest.approx(2.0)
    assert Step(1.0, tuple(spread)).seconds(10_000, NOTHING) == pytest.approx(2.0)


def test_slowest_of_normal_times_is_the_known_order_statistic() -> None:
    assert slowest(normal_spread(0.1), 2) == pytest.approx(1 + 0.1 / math.sqrt(math.pi), rel=1e-3)


def test_ring_sends_nearly_twice_the_bytes_whatever_the_number() -> None:
    seconds = [Link("", 0.0, 1.0).seconds(num, Exchanged(1, 100)) for num in (1, 2, 4, 1000)]
    assert seconds == pytest.approx([0, 100, 150, 199.8])


def test_trees_send_fewer_messages_in_a_row() -> None:
    ring, tree = (Link("", 1.0, math.inf, trees).seconds(64, Exchanged(1, 8)) for trees in (False, True))
    assert (ring, tree) == (126, 12)


def test_exchange_is_not_shared_by_more_cores_and_computing_is() -> None:
    alone, sharing = (STEP.seconds(4, ETHERNET, sharing=sharing) for sharing in (1.0, 2.0))
    own = slowest((0.9, 1.1), 4) + 0.1
    assert sharing - alone == pytest.approx(own)


def test_drawing_grows_with_the_processes() -> None:
    step = Step(1.0, draw=0.1)
    assert step.seconds(8, NOTHING) == pytest.approx(1.8)


def test_what_is_not_shared_limits_a_training() -> None:
    evaluation = [Occasion(1.0, each=1.0, shared=64.0)]
    alone, many = (seconds_per_kimg(num, 0.1, 100 * num, evaluation) for num in (1, 64))
    assert alone == pytest.approx(1.0 + 65.0)
    assert many == pytest.approx(1.0 / 64 + 2.0)


def test_fit_finds_the_link() -> None:
    link = Link("", 2e-5, 1e9)
    sizes = [8, 1e4, 1e6, 1e8]
    found = fitted_link("", 4, sizes, [link.seconds(4, Exchanged(1, size)) for size in sizes])
    assert (found.latency, found.bandwidth) == pytest.approx((2e-5, 1e9))


def made_up(num: int) -> Measured:
    """Return metrics as of a tiny StyleGAN2, whose steps of several processes are those of one."""
    sizes = {
        "weights": {"generator": 10, "discriminator": 10, "generator_penalty": 9, "discriminator_penalty": 9},
        "norms": {},
        "w_dim": 4,
        "r1_interval": 16,
        "path_length_interval": 0,
        "style_mixing": 0.0,
        "log_every_kimg": 0.5,
    }
    parts = Parts(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (1.0,))
    names = ("gradients", "means", "decision", "log")
    found = Measured(
        sizes, [16], {16: parts}, {(num, 16): parts}, {(num, 16): parts}, in_turn=[(1.0, 2.0), (1.5, 1.25)]
    )
    found.counted = {name: Exchanged(1, 8) for name in names}
    return found


def test_prediction_without_exchange_is_the_step_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "packed", lambda measured: 0.0)
    row = prediction_table(made_up(2), {2: (NOTHING, {})}, cores=2).splitlines()[-1]
    assert row.split(" | ")[2:] == ["1000.0", "1000.0", "+0%", "1000.0", "+0% |"]
    row = prediction_table(made_up(4), {4: (NOTHING, {})}, cores=2).splitlines()[-1]
    assert row.split(" | ")[3:5] == ["2000.0", "+100%"]  # four processes on two cores


def test_simulated_step_has_what_the_formulas_say() -> None:
    measured = made_up(2)
    step = step_of(measured, measured.alone[16], 500, pack=0.0)
    found = exchanged_per_step(measured.sizes, 500)
    assert step.exchanged.size + step.decisions.size == sum(each.size for each in found.values())
    assert found["log"].calls == 1  # a batch of 500 clips is logged each time


def test_steps_in_turn_are_told_by_the_fastest() -> None:
    assert scaling.in_turn_table(made_up(2)).splitlines()[-1] == "| 2 | 1000.0 | 1250.0 | 1.25 |"


def test_tables_are_whole() -> None:
    times = {"checkpoint": 1.0, "pictures": 1.0, "validation": 1.0, "metrics": 1.0, "generated clips": 4.0}
    found = dict(tables({2: (ETHERNET, {8: 1e-3})}, {"StyleGAN2": made_up(2)}, {1: times, 2: times}, cores=2))
    assert len(found) == 10
    for text in found.values():
        heads, _, *rows = (line.count("|") for line in text.splitlines())
        assert rows
        assert set(rows) == {heads}
    simulated = next(text for title, text in found.items() if title.startswith("Quickstart, simulated"))
    assert simulated.splitlines()[2].endswith("| 1.00 |")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Report]]:
    """Return what two processes each reported of tiny trainings."""
    folder = tmp_path_factory.mktemp("scaling")
    data = write_classes(folder / "data", {"low": 300, "high": 2000}, num=12)
    more = ["--data.batch_size", "8", "--trainer.callbacks", "[]", "--trainer.enable_progress_bar", "false"]
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
