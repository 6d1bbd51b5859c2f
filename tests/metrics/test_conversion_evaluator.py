"""Scores of conversions, by classifiers whose answers are known."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from audiogen.metrics.conversion import ConversionEvaluator, all_conversions
from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.metrics.evaluator import DatasetView
from audiogen.metrics.frechet import frechet_distance, moments
from audiogen.transforms.mel import LogMel

TRANSFORM = LogMel(8000, 256, 128, n_mels=8, num_frames=4)
NAMES = ("anna", "bert", "carl")


class Rounded(Embedding):
    """Features are the first bands of the first frame; the class is the first one, rounded."""

    def __init__(self, name: str, label_names: tuple[str, ...], band: int = 0) -> None:
        super().__init__(name, 2, 8000, TRANSFORM)
        self.label_names, self.band = label_names, band

    def forward(self, clips: Tensor) -> Tensor:
        return clips[:, :, self.band : self.band + 2, 0]  # [B, 1, 2]

    def classify(self, rows: Tensor) -> Tensor:
        return (rows[:, 0, 0] * 4).round().long()


def speak(domain: Tensor, word: Tensor, seed: int = 0) -> Tensor:
    """Return clips whose first band says who speaks, and whose fifth what is said."""
    spec = 0.02 * torch.randn(len(domain), 1, 8, 4, generator=torch.Generator().manual_seed(seed))
    spec[:, 0, 0] += domain[:, None] / 4
    spec[:, 0, 4] += word[:, None] / 4
    return spec


LABEL = torch.tensor([0, 1, 2]).repeat(10)
WORD = torch.arange(30) % 4
REAL = speak(LABEL, WORD)


def as_clips(spec: Tensor, label: Tensor) -> DatasetView:
    return DatasetView(lambda rows: spec[rows], label)


def make(targets: tuple[int, ...] = (1,), words: bool = True, known: tuple[str, ...] = NAMES) -> ConversionEvaluator:
    content = Rounded("word", ("zero", "one", "two", "three"), band=4) if words else None
    return ConversionEvaluator(Rounded("speaker", known), content, TRANSFORM, NAMES, targets)


def convert(
    evaluator: ConversionEvaluator, right: float = 1.0, kept: float = 1.0, parts: int = 1
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield conversions of which some shares reach their target and keep their word."""
    task = evaluator.set_real(as_clips(REAL, LABEL), as_clips(speak(LABEL, WORD, 1), LABEL))
    place = torch.arange(len(task.source)) / len(task.source)
    domain = torch.where(place < right, task.target, LABEL[task.source])
    word = torch.where(place < kept, WORD[task.source], (WORD[task.source] + 1) % 4)
    spec = speak(domain, word, 2)
    for rows in torch.arange(len(spec)).chunk(parts):
        yield spec[rows], task.source[rows], task.target[rows]


def test_every_clip_is_converted_to_every_other_target() -> None:
    task = all_conversions(LABEL, [0, 2])
    pairs = list(zip(LABEL[task.source].tolist(), task.target.tolist(), strict=True))
    assert {pair: pairs.count(pair) for pair in set(pairs)} == {(1, 0): 10, (2, 0): 10, (0, 2): 10, (1, 2): 10}


@pytest.mark.parametrize(("right", "kept"), [(1.0, 1.0), (0.5, 0.25), (0.0, 0.75)])
def test_shares_are_counted(right: float, kept: float) -> None:
    evaluator = make()
    evaluator.update(convert(evaluator, right, kept))
    scores = evaluator.compute()
    assert scores["target_share"] == pytest.approx(right)
    assert scores["content_kept"] == pytest.approx(kept)
    assert scores["success"] == pytest.approx(min(right, kept))  # the first clips, in both
    assert scores["target_share_source"] == 0
    assert scores["target_share_real"] == 1


def test_distances_are_those_of_moments() -> None:
    evaluator = make()
    evaluator.update(convert(evaluator, 0.5))
    scores = evaluator.compute()
    rows = lambda spec: spec[:, 0, :2, 0]  # noqa: E731
    own = moments(rows(REAL[LABEL == 1]))
    expected = {
        "fad_source": moments(rows(REAL[LABEL != 1])),
        "fad_floor": moments(rows(speak(LABEL, WORD, 1)[LABEL == 1])),
        "fad": moments(rows(torch.cat([spec for spec, _, _ in convert(evaluator, 0.5)]))),
    }
    for name, found in expected.items():
        assert scores[name] == pytest.approx(float(frechet_distance(*found, *own)))
    assert scores["fad_floor"] < scores["fad"] < scores["fad_source"]


def test_several_targets_have_metrics_of_their_own_and_a_mean() -> None:
    evaluator = make((0, 2))
    evaluator.update(convert(evaluator, right=0.5))  # the first half: those to anna
    scores = evaluator.compute()
    assert scores["target_share/anna"] == 1
    assert scores["target_share/carl"] == 0
    assert scores["target_share"] == 0.5
    assert scores["fad"] == pytest.approx((scores["fad/anna"] + scores["fad/carl"]) / 2)
    assert {"fad_floor/anna", "fad_source/carl", "target_share_real/carl", "content_kept/anna"} <= set(scores)


def test_batches_do_not_matter_and_the_next_pass_starts_anew() -> None:
    evaluator = make((0, 1, 2))
    evaluator.update(convert(evaluator, 0.6, 0.7))
    first = evaluator.compute()
    evaluator.update(convert(evaluator, 0.6, 0.7, parts=7))
    assert evaluator.compute() == pytest.approx(first)


def test_domains_are_found_by_name_among_others() -> None:
    evaluator = make(known=("zora", "bert", "anna"))
    evaluator.update(convert(evaluator))
    assert evaluator.compute()["target_share"] == 1  # bert is class 1 there too
    evaluator = make((0,), known=("zora", "bert", "anna"))
    evaluator.update(convert(evaluator))
    assert evaluator.compute()["target_share"] == 0  # anna's clips are class 0, which that classifier takes for zora


def test_without_a_classifier_of_the_content_nothing_is_said_of_it() -> None:
    evaluator = make(words=False)
    evaluator.update(convert(evaluator))
    scores = evaluator.compute()
    assert "content_kept" not in scores
    assert scores["success"] == scores["target_share"] == 1


def test_classifiers_that_cannot_tell_are_refused() -> None:
    with pytest.raises(ValueError, match="speaker cannot tell whether a clip is of bert: it knows anna, carl"):
        make(known=("anna", "carl"))
    with pytest.raises(ValueError, match="it knows no classes"):
        make(known=())
    with pytest.raises(ValueError, match="word knows no classes"):
        ConversionEvaluator(Rounded("speaker", NAMES), Rounded("word", ()), TRANSFORM, NAMES, [1])


def test_too_few_clips_are_refused() -> None:
    few = as_clips(REAL[:6], LABEL[:6])
    with pytest.raises(
        ValueError, match="a distance in 2 features needs 3 clips, there are 2 of bert, 2 of it to train on and 4 to"
    ):
        make().set_real(few, few)
