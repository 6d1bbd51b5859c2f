"""What the ablation says of claims follows from its figures."""

import math

import pytest
import torch

from benchmarks.sounds import drops
from benchmarks.style_ablation import COLUMNS, RATE, Bench, Row, better, event_seconds, repeats


def row(distance: float, onsets: float) -> Row:
    figures = dict.fromkeys(COLUMNS, 0.0) | {"mean": distance, "onsets": onsets}
    return Row("row", figures)


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ((5, 0.9), (10, 0.9), "seen"),
        ((10, 0.9), (10, 0.5), "seen"),
        ((10, 0.9), (5, 0.9), "not seen"),
        ((5, 0.5), (10, 0.9), "mixed"),
        ((10, 0.9), (10.1, 0.91), "no difference"),
    ],
)
def test_verdict_weighs_distance_and_onsets(one: tuple[float, float], other: tuple[float, float], verdict: str) -> None:
    assert better(row(*one), row(*other)).startswith(verdict + " (")


def noise(seconds: float) -> torch.Tensor:
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=torch.Generator().manual_seed(0))


def steps(each: float, seconds: float) -> torch.Tensor:
    """Return noise whose level changes at random after each so many seconds."""
    levels = torch.rand(round(seconds / each) + 1, generator=torch.Generator().manual_seed(1)) ** 3
    sound = noise(seconds)
    return sound * levels.repeat_interleave(round(each * RATE))[: sound.shape[1]]


def test_repeated_sound_is_found() -> None:
    assert repeats(steps(0.05, 1.5).repeat(1, 3)) > 0.9
    assert repeats(drops(5.0)) < 0.5


def test_events_last_as_long_as_they_are() -> None:
    short, long = (event_seconds(steps(each, 5.0)) for each in (0.05, 0.3))
    assert long > 3 * short


def test_recipe_is_run_at_another_width_with_weights_that_mean_the_same() -> None:
    content, style = noise(1.2), drops(1.2)
    losses = []
    for width in (64, 256):
        bench = Bench([(content, style)], width, effort=0.02)
        model = bench.model("huzaifah_one_stack", {}, content)
        assert model.extractor.num_features == width
        transfer = model.begin(model.transform(content[None]), [[model.transform(style[None])[0]]])
        wanted = transfer.objective(model.transform(style[None])[..., : transfer.spec.shape[3]])
        losses.append(math.log((model.style_weight * transfer.objective.style_scales["relu_1"]).item()))
        assert wanted.style.item() < 0.2
    assert losses[0] == pytest.approx(losses[1], abs=0.5)
