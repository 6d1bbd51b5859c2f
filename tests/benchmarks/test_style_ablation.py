"""What the ablation says of claims follows from its results."""

import math
from pathlib import Path

import pytest
import torch

from benchmarks.sounds import drops
from benchmarks.style_ablation import better, higher
from benchmarks.style_bench import COLUMNS, RATE, Bench, Row
from benchmarks.style_verdicts import below, combined, difference, event_seconds, repeats


def row(distances: list[float], onsets: list[float]) -> Row:
    results = {column: [0.0] * len(distances) for column in COLUMNS}
    return Row("row", results | {"mean": distances, "onsets": onsets}, [])


CLEAR, EVEN, NOISE = [10.0, 11.0, 9.0, 10.5], [0.9, 0.9, 0.9, 0.9], [14.0, 7.0, 12.0, 6.0]


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        (([5.0, 5.4, 4.6, 5.3], EVEN), (CLEAR, EVEN), "supported"),
        ((CLEAR, EVEN), (CLEAR, [0.5, 0.52, 0.48, 0.5]), "supported"),
        ((CLEAR, EVEN), ([5.0, 5.4, 4.6, 5.3], EVEN), "contradicted"),
        (([5.0, 5.4, 4.6, 5.3], [0.5, 0.52, 0.48, 0.5]), (CLEAR, EVEN), "cannot tell"),
        (([9.99, 11.01, 9.02, 10.5], EVEN), (CLEAR, EVEN), "no difference"),
        ((NOISE, EVEN), (CLEAR, EVEN), "cannot tell"),
        (([5.0], [0.9]), ([10.0], [0.9]), "cannot tell"),
    ],
)
def test_verdict_needs_a_margin_and_agreement_of_the_pairs(
    one: tuple[list[float], list[float]], other: tuple[list[float], list[float]], verdict: str
) -> None:
    assert better(row(*one), row(*other)).startswith(verdict + " (")


def test_equal_noise_is_not_taken_for_a_difference() -> None:
    """Two systems whose true difference is 0 are told apart in about 5 % of trials."""
    generator = torch.Generator().manual_seed(0)
    answers = [difference(torch.randn(4, generator=generator).tolist(), margin=0.1).answer for _ in range(400)]
    assert sum(answer in ("better", "worse") for answer in answers) < 0.08 * 400


def test_hundredths_decide_nothing() -> None:
    assert higher([0.01, 0.012, 0.011], [0.01, 0.011, 0.012], 0.05).startswith("no difference")
    assert higher([0.045, 0.060, 0.030], [0.046, 0.040, 0.052], 0.01).startswith("cannot tell")


def test_measures_that_contradict_each_other_decide_nothing() -> None:
    assert combined(["better", "worse"]) == "cannot tell"
    assert combined(["better", "cannot tell"]) == "better"
    assert combined(["no difference", "cannot tell"]) == "cannot tell"
    assert combined(["no difference", "no difference"]) == "no difference"


def test_sounds_are_compared_below_a_frequency() -> None:
    time = torch.arange(RATE) / RATE
    low, high = (torch.sin(2 * torch.pi * frequency * time)[None] for frequency in (1000, 6000))
    wav, rate = below(low + high, RATE, 4000.0)
    assert rate == 8000
    middle = wav[0, 1000:7000]
    expected = torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 8000)[1000:7000]
    assert torch.allclose(middle, expected, atol=0.01)


def noise(seconds: float) -> torch.Tensor:
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=torch.Generator().manual_seed(0))


def steps(each: float, seconds: float) -> torch.Tensor:
    """Return noise whose level changes at random after each so many seconds."""
    levels = torch.rand(round(seconds / each) + 1, generator=torch.Generator().manual_seed(1)) ** 3
    sound = noise(seconds)
    return sound * levels.repeat_interleave(round(each * RATE))[: sound.shape[1]]


def test_repeated_sound_is_found() -> None:
    assert repeats(steps(0.05, 1.5).repeat(1, 3), RATE) > 0.9
    assert repeats(drops(5.0), RATE) < 0.5


def test_events_last_as_long_as_they_are() -> None:
    short, long = (event_seconds(steps(each, 5.0), RATE) for each in (0.05, 0.3))
    assert long > 3 * short


@pytest.mark.parametrize("config", ["huzaifah_wyse one_stack", "jain_raj"])
def test_config_is_run_at_another_width_with_weights_that_mean_the_same(config: str) -> None:
    content, style = noise(1.2), drops(1.2)
    losses = []
    for width in (64, 256):
        bench = Bench([(content, style)], width, effort=0.02)
        model = bench.model(config, {}, content)
        assert model.extractor.num_features == width
        transfer = model.begin(model.transform(content[None]), [[model.transform(style[None])[0]]])
        (scale,) = transfer.objective.style_scales.values()
        losses.append(math.log((model.style_weight * scale / model.content_weight).item()))
    # The ratio of style and content: in jain_raj the sums over N^2 and N features leave one factor of N.
    assert losses[1] - losses[0] == pytest.approx(math.log(4) if config == "jain_raj" else 0, abs=0.5)


def test_sounds_and_pictures_are_kept(tmp_path: Path) -> None:
    bench = Bench([(noise(1.2), drops(1.2))], 16, effort=0.01, out=tmp_path)
    result = bench.run("lin")
    assert {path.name for path in tmp_path.iterdir()} == {"lin-pair-0.wav", "lin-pair-0.png"}
    assert len(result.results["mean"]) == 1
    assert bench.run("lin") is result
