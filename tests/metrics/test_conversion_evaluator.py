"""Scores of conversions, by classifiers with known predictions."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from audiogen.metrics.conversion import ConversionEvaluator, all_conversions
from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.metrics.evaluator import DatasetView
from audiogen.metrics.frechet import frechet_distance, moments
from audiogen.scalars import FURTHER, Scalars
from audiogen.transforms.mel import LogMel

TRANSFORM = LogMel(8000, 256, 128, n_mels=8, num_frames=4)
NAMES = ("anna", "bert", "carl")


class Rounded(Embedding):
    """Embed the first two bands of the first frame; the class is four times the first one, rounded."""

    def __init__(self, name: str, label_names: tuple[str, ...], band: int = 0) -> None:
        super().__init__(name, 2, 8000, TRANSFORM)
        self.label_names, self.band = label_names, band

    def forward(self, clips: Tensor) -> Tensor:
        return clips[:, :, self.band : self.band + 2, 0]  # [B, 1, 2]

    def classify(self, rows: Tensor) -> Tensor:
        return (rows[:, 0, 0] * 4).round().long()


def speak(domain: Tensor, word: Tensor, seed: int = 0) -> Tensor:
    """Return clips with the domain in the first band and the word in the fifth."""
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
    """Yield conversions; the fraction `right` reaches the target, and the fraction `kept` keeps the word."""
    task = evaluator.set_real(as_clips(REAL, LABEL), as_clips(speak(LABEL, WORD, 1), LABEL))
    position = torch.arange(len(task.source)) / len(task.source)
    domain = torch.where(position < right, task.target, LABEL[task.source])
    word = torch.where(position < kept, WORD[task.source], (WORD[task.source] + 1) % 4)
    spec = speak(domain, word, 2)
    for rows in torch.arange(len(spec)).chunk(parts):
        yield spec[rows], task.source[rows], task.target[rows]


def test_every_clip_is_converted_to_every_other_target() -> None:
    task = all_conversions(LABEL, [0, 2])
    pairs = list(zip(LABEL[task.source].tolist(), task.target.tolist(), strict=True))
    assert {pair: pairs.count(pair) for pair in set(pairs)} == {(1, 0): 10, (2, 0): 10, (0, 2): 10, (1, 2): 10}


@pytest.mark.parametrize(("right", "kept"), [(1.0, 1.0), (0.5, 0.25), (0.0, 0.75)])
def test_fractions_are_those_of_the_conversions(right: float, kept: float) -> None:
    evaluator = make()
    evaluator.update(convert(evaluator, right, kept))
    scores = evaluator.compute()
    assert scores["target_fraction"] == pytest.approx(right)
    assert scores["content_kept"] == pytest.approx(kept)
    assert scores["success"] == pytest.approx(min(right, kept))  # both are the first clips
    assert scores["target_fraction_source"] == 0
    assert scores["target_fraction_real"] == 1


def test_distances_match_those_of_the_moments() -> None:
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


def test_several_targets_have_one_score_each_and_a_mean() -> None:
    evaluator = make((0, 2))
    evaluator.update(convert(evaluator, right=0.5))  # the first half are the conversions to anna
    scores = evaluator.compute()
    assert scores["target_fraction/anna"] == 1
    assert scores["target_fraction/carl"] == 0
    assert scores["target_fraction"] == 0.5
    assert scores["fad"] == pytest.approx((scores["fad/anna"] + scores["fad/carl"]) / 2)
    assert {"fad_floor/anna", "fad_source/carl", "target_fraction_real/carl", "content_kept/anna"} <= set(scores)


def test_scores_do_not_depend_on_batches_and_compute_resets_them() -> None:
    evaluator = make((0, 1, 2))
    evaluator.update(convert(evaluator, 0.6, 0.7))
    first = evaluator.compute()
    evaluator.update(convert(evaluator, 0.6, 0.7, parts=7))
    assert evaluator.compute() == pytest.approx(first)


def test_domains_of_the_classifier_are_matched_by_name() -> None:
    evaluator = make(known=("zora", "bert", "anna"))
    evaluator.update(convert(evaluator))
    assert evaluator.compute()["target_fraction"] == 1  # bert is class 1 there too
    evaluator = make((0,), known=("zora", "bert", "anna"))
    evaluator.update(convert(evaluator))
    assert evaluator.compute()["target_fraction"] == 0  # anna's clips are class 0, which that classifier calls zora


def test_success_is_the_target_fraction_without_a_content_classifier() -> None:
    evaluator = make(words=False)
    evaluator.update(convert(evaluator))
    scores = evaluator.compute()
    assert "content_kept" not in scores
    assert scores["success"] == scores["target_fraction"] == 1


def test_every_score_is_described() -> None:
    evaluator = make((0, 1))
    evaluator.update(convert(evaluator))
    scores, scalars = evaluator.compute(), Scalars(evaluator.scalars)
    references = {scalars[name].reference_name(name) for name in scores}
    assert {name for name in scores if scalars[name].group == FURTHER} == references & scores.keys()
    assert evaluator.names() == set(scores)


def test_classifiers_without_the_needed_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="speaker has no class bert; its classes are anna, carl"):
        make(known=("anna", "carl"))
    with pytest.raises(ValueError, match="its classes are none"):
        make(known=())
    with pytest.raises(ValueError, match="word has no classes, so it cannot compare contents"):
        ConversionEvaluator(Rounded("speaker", NAMES), Rounded("word", ()), TRANSFORM, NAMES, [1])


def test_too_few_clips_for_a_distance_are_refused() -> None:
    few = as_clips(REAL[:6], LABEL[:6])
    message = "in 2 features needs 3 clips, got 2 real and 2 training clips of bert and 4 source clips"
    with pytest.raises(ValueError, match=message):
        make().set_real(few, few)
