"""The evaluator: names, references, descriptions, errors, and equality of one and two processes."""

import os
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import Tensor

from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.metrics.evaluator import DatasetView, Evaluator
from audiogen.metrics.metric import ClipMetric
from audiogen.scalars import DIVERSITY, PER_CLASS, Scalar, Scalars
from audiogen.transforms.mel import LogMel

NAMES = ["low", "high"]


def transform() -> LogMel:
    return LogMel(sample_rate=8000, n_fft=512, hop_length=128, n_mels=16, num_frames=16)


class Means(Embedding):
    """Mean levels of four groups of bands, and the class by the louder half."""

    def __init__(self, name: str = "means", kind: str = "a", knows: bool = True, rows: int = 1) -> None:
        super().__init__(name, 4, 8000, transform(), kind)
        self.label_names = NAMES if knows else ()
        self.num_rows = rows

    def forward(self, clips: Tensor) -> Tensor:
        return clips.unflatten(3, (self.num_rows, -1)).unflatten(2, (4, -1)).mean(dim=(1, 3, 5)).transpose(1, 2)

    def classify(self, rows: Tensor) -> Tensor:
        mean = rows.mean(dim=1)
        return (mean[:, 2:].sum(dim=1) > mean[:, :2].sum(dim=1)).long()


def clips(num: int, seed: int, spread: float = 0.2) -> tuple[Tensor, Tensor]:
    """Return `num` clips of each of two classes, spec [2 N, 1, 16, 16] and label."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(2).repeat_interleave(num)
    level = torch.where((torch.arange(16) >= 8) == label[:, None].bool(), 0.3, -0.5)  # [2 N, F]
    spec = level[:, None, :, None] + spread * torch.randn(len(label), 1, 16, 16, generator=generator)
    return spec.clamp(-1, 1), label


def real(num: int, seed: int) -> DatasetView:
    spec, label = clips(num, seed)
    return DatasetView(lambda rows: spec[rows], label)


def evaluator_of(*embeddings: Embedding, num: int = 40) -> Evaluator:
    found = Evaluator(embeddings, transform(), NAMES, num)
    found.set_real(real(25, 0), real(40, 1))
    return found


def test_scores_are_named_after_metric_embedding_and_class() -> None:
    evaluator = evaluator_of(Means(), Means("other", kind="i", knows=False))
    evaluator.update([clips(20, 2)])
    scores = evaluator.compute()
    assert {"fad", "fad_floor", "fad_means", "fad_means_floor", "fad_means/low", "fad_means_floor/high"} <= set(scores)
    assert {"coherence", "coherence_real", "coherence/low", "class_entropy"} <= set(scores)
    assert {"kad_means", "precision_means", "coverage_means_real", "vendi_means", "diversity_min_means"} <= set(scores)
    assert {"fid_other", "fid_other_floor", "fid_infinity_other", "kid_other", "fid_other/low"} <= set(scores)
    assert scores["fad"] == scores["fad_means"]
    assert scores["fad_floor"] == scores["fad_means_floor"]
    assert all(isinstance(value, float) for value in scores.values())


def test_collapsed_clips_score_worse_than_clips_from_the_real_distribution() -> None:
    evaluator = evaluator_of(Means())
    evaluator.update([clips(20, 2)])
    alike = evaluator.compute()
    spec, label = clips(20, 3)
    evaluator.update([(spec[:1].expand_as(spec), label)])
    collapsed = evaluator.compute()
    assert alike["fad"] < 4 * alike["fad_floor"]
    assert collapsed["fad"] > 20 * alike["fad"]
    assert alike["coherence"] == alike["coherence_real"] == 1
    assert collapsed["coherence"] == 0.5
    assert collapsed["class_entropy"] == 0
    assert alike["diversity_means"] == pytest.approx(1, abs=0.2)
    assert collapsed["diversity_min_means"] == 0


def test_compute_resets_the_metrics() -> None:
    evaluator = evaluator_of(Means())
    found = []
    for _ in range(2):
        evaluator.update([clips(20, 2)])
        found.append(evaluator.compute())
    assert found[0] == pytest.approx(found[1], rel=1e-9, abs=1e-12)  # BLAS rounds by the alignment of memory


def test_scores_do_not_depend_on_batches_or_their_order() -> None:
    evaluator, (spec, label) = evaluator_of(Means(rows=2)), clips(20, 2)
    evaluator.update([(spec, label)])
    at_once = evaluator.compute()
    for part in torch.randperm(40, generator=torch.Generator().manual_seed(0)).split(7):
        evaluator.update([(spec[part], label[part])])
    assert evaluator.compute() == pytest.approx(at_once, rel=1e-6, abs=1e-9)


def test_fewer_clips_than_features_are_refused() -> None:
    evaluator = Evaluator([Means()], transform(), NAMES, 4)
    with pytest.raises(ValueError, match="in 4 features needs 5 clips, got 50 real and 4 generated ones"):
        evaluator.set_real(real(25, 0), real(40, 1))


def test_classes_with_too_few_clips_are_skipped_with_a_note() -> None:
    evaluator = Evaluator([Means()], transform(), NAMES, 40)
    evaluator.set_real(real(4, 0), real(40, 1))
    evaluator.update([clips(20, 2)])
    scores = evaluator.compute()
    assert "fad_means" in scores
    assert "fad_means/low" not in scores
    assert "diversity_means/low" in scores
    assert any("no FrechetDistance for 2 of 2 classes, such as low" in note for note in evaluator.notes)


def test_classifier_with_other_classes_has_no_coherence() -> None:
    evaluator = Evaluator([Means()], transform(), ["a", "b"], 40)
    evaluator.set_real(real(25, 0), real(40, 1))
    evaluator.update([clips(20, 2)])
    assert "coherence" not in evaluator.compute()
    assert any("no coherence: means was trained on other classes" in note for note in evaluator.notes)


def test_data_without_classes_have_no_scores_per_class() -> None:
    evaluator = Evaluator([Means(knows=False)], transform(), [], 30)
    spec, _ = clips(25, 0)
    label = torch.zeros(50, dtype=torch.long)
    evaluator.set_real(DatasetView(lambda rows: spec[rows], label), DatasetView(lambda rows: spec[rows], label))
    evaluator.update([(spec[:30], label[:30])])
    scores = evaluator.compute()
    assert scores["fad"] >= 0
    assert not any("/" in name for name in scores)


def test_embeddings_with_the_same_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"embeddings with distinct names, got \['means', 'means'\]"):
        Evaluator([Means(), Means()], transform(), NAMES, 40)
    with pytest.raises(ValueError, match="distinct names, got none"):
        Evaluator([], transform(), NAMES, 40)


def test_nan_in_an_embedding_is_reported_with_the_clip() -> None:
    evaluator = evaluator_of(Means())
    spec, label = clips(20, 2)
    spec[33] = torch.nan
    with pytest.raises(ValueError, match=r"means: the embedding of clip 33 \(class 1\) is NaN"):
        evaluator.update([(spec, label)])


def _evaluate_one_slice(rank: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": Path(folder, "port").read_text()}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    evaluator, (spec, label) = evaluator_of(Means(rows=2)), clips(20, 2)
    evaluator.update([(spec[rank::2], label[rank::2])])
    torch.save(evaluator.compute(), Path(folder, f"{rank}.pt"))
    torch.distributed.destroy_process_group()


def test_two_processes_compute_the_scores_of_one(tmp_path: Path) -> None:
    evaluator = evaluator_of(Means(rows=2))
    evaluator.update([clips(20, 2)])
    alone = evaluator.compute()
    (tmp_path / "port").write_text(str(20000 + os.getpid() % 20000))
    torch.multiprocessing.spawn(_evaluate_one_slice, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == pytest.approx(alone, rel=1e-6, abs=1e-9)


def test_generated_classes_have_the_proportions_of_real_ones() -> None:
    """A perfect generator of unbalanced data scores as well as the data themselves."""
    spec, label = clips(200, 0)
    unbalanced = torch.cat([torch.arange(180), torch.arange(200, 220)])
    reference = DatasetView(lambda rows: spec[unbalanced][rows], label[unbalanced])
    evaluator = Evaluator([Means()], transform(), NAMES, 100)
    evaluator.set_real(reference, real(150, 1))
    wanted, number = evaluator.wanted
    assert wanted.bincount().tolist() == [90, 10]
    assert number.tolist() == [*range(90), *range(10)]
    fresh, fresh_label = clips(90, 3)
    chosen = torch.cat([torch.arange(90), torch.arange(90, 100)])
    evaluator.update([(fresh[chosen], fresh_label[chosen])])
    scores = evaluator.compute()
    assert scores["fad"] < 3 * scores["fad_floor"] < 0.05
    assert scores["diversity_means"] == pytest.approx(1, abs=0.3)


def test_classes_without_real_clips_are_skipped_with_a_note() -> None:
    spec, label = clips(30, 0)
    evaluator = Evaluator([Means()], transform(), NAMES, 20)
    evaluator.set_real(DatasetView(lambda rows: spec[:30][rows], label[:30]), real(40, 1))
    assert evaluator.wanted[0].tolist() == [0] * 20
    assert "no clips of high are generated, because there are no real ones" in evaluator.notes


def test_classes_with_too_few_training_clips_have_no_floor() -> None:
    spec, label = clips(40, 1)
    evaluator = Evaluator([Means()], transform(), NAMES, 40)
    evaluator.set_real(real(25, 0), DatasetView(lambda rows: spec[:41][rows], label[:41]))
    assert "fad_means_floor/low" in evaluator.real
    assert "fad_means_floor/high" not in evaluator.real
    assert "diversity_means_real/high" not in evaluator.real


def test_classifier_with_other_classes_has_no_reference_coherence() -> None:
    evaluator = Evaluator([Means()], transform(), ["a", "b"], 40)
    evaluator.set_real(real(25, 0), real(40, 1))
    assert "coherence_real" not in evaluator.real


def test_fid_is_not_called_fad() -> None:
    evaluator = evaluator_of(Means("pictures", kind="i"), Means())
    assert evaluator.real["fad_floor"] == evaluator.real["fad_means_floor"]
    assert "fad_floor" not in evaluator_of(Means(kind="i")).real


def test_clip_numbers_in_errors_count_over_all_batches() -> None:
    evaluator = evaluator_of(Means())
    spec, label = clips(20, 2)
    spec[33] = torch.nan
    with pytest.raises(ValueError, match="the embedding of clip 33 "):
        evaluator.update((spec[part], label[part]) for part in torch.arange(40).split(8))


class Loudest(ClipMetric):
    scalars = (Scalar("loudest", "Loudness", higher_is_better=True, unit="dB", reference="real"),)
    per_class = True

    def compute(self) -> dict[str, Tensor]:
        return {"loudest": self.generated.max()}


def test_every_score_is_described_under_its_full_name() -> None:
    evaluator = Evaluator([Means(), Means("pictures", kind="i")], transform(), NAMES, 40, extra_metrics=[Loudest()])
    scalars = Scalars(evaluator.scalars)  # known before the real clips are
    evaluator.set_real(real(25, 0), real(40, 1))
    evaluator.update([clips(20, 2)])
    scores = evaluator.compute()
    references = {scalars[name].reference_name(name) for name in scores}
    assert {name for name in scores if scalars[name].group == "Further"} == references & scores.keys()
    assert evaluator.names() == set(scores)
    assert scalars["loudest_means"] == Scalar("loudest_means", "Loudness", True, "dB", "real")
    assert scalars["loudest_pictures/high"].group == PER_CLASS
    assert scalars["diversity_min_pictures"].group == DIVERSITY
    assert scalars["fad"].alias_of == "fad_means"
    assert scalars["fid_pictures"].higher_is_better is False


def test_scalars_are_described_metric_by_metric() -> None:
    names = [scalar.name for scalar in Evaluator([Means(), Means("b")], transform(), NAMES, 40).scalars]
    assert names[:2] == ["fad", "coherence"]
    assert names.index("fad_means") < names.index("fad_b") < names.index("kad_means") < names.index("kad_b")


def test_metric_that_returns_other_scores_than_it_describes_is_refused() -> None:
    class Misspelt(Loudest):
        def compute(self) -> dict[str, Tensor]:
            return {"loudset": self.generated.max()}

    evaluator = Evaluator([Means()], transform(), NAMES, 40, extra_metrics=[Misspelt()])
    with pytest.raises(ValueError, match=r"Misspelt\.compute returned loudset, but its scalars describe loudest"):
        evaluator.set_real(real(25, 0), real(40, 1))
