"""Following a generator in a tiny run: metrics, the best checkpoint, pictures, sounds, and evaluation afterwards."""

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
import torch

import audiogen
from audiogen.callbacks.checkpoint import KimgCheckpoint
from audiogen.callbacks.conversion import ConversionEvaluation, ConversionLogger
from audiogen.cli import main
from audiogen.commands.report import report
from audiogen.metrics.conversion import Task
from audiogen.metrics.evaluator import DatasetView
from tests.test_training import differing
from tests.tiny_classifier import write_classifier
from tests.tiny_conversion import conversion_arguments
from tests.tiny_run import SAMPLE_RATE, arguments, write_classes

SCORES = {
    "fad",
    "fad_source",
    "fad_floor",
    "target_fraction",
    "target_fraction_source",
    "target_fraction_real",
    "content_kept",
    "success",
}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_classifier(tmp_path_factory.mktemp("classifier"))


def evaluation(weights: Path, **settings: Any) -> dict[str, Any]:
    classifier = {
        "class_path": "audiogen.metrics.embeddings.classifier.Classifier",
        "init_args": {"weights": str(weights)},
    }
    settings = {"domain": classifier, "content": classifier, "every_kimg": 0.008} | settings
    return {"class_path": "audiogen.callbacks.conversion.ConversionEvaluation", "init_args": settings}


LOGGER = {
    "class_path": "audiogen.callbacks.conversion.ConversionLogger",
    "init_args": {"every_kimg": 0.016, "num_clips": 3},
}


@pytest.fixture(scope="module")
def run(classifier: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    main(conversion_arguments(classifier[0], folder, 0.024, callbacks=[evaluation(classifier[1]), LOGGER]))
    return folder


def read_metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_losses_have_curves_of_their_own(run: Path) -> None:
    rows = read_metrics(run)
    assert [row["kimg"] for row in rows] == ["0.008", "0.016", "0.024"]
    terms = ("adversarial", "identity", "travel_distance", "travel_angle", "margin", "discriminator")
    for name in [*(f"loss/{term}" for term in terms), "logits/real", "gradient_norm/generator", "val/identity"]:
        assert all(math.isfinite(float(row[name])) for row in rows), name


def test_metrics_are_logged_and_the_best_is_kept(run: Path) -> None:
    rows = read_metrics(run)
    assert all(math.isfinite(float(row[name])) for row in rows for name in SCORES)
    assert float(rows[0]["target_fraction_source"]) <= 0.25
    assert float(rows[0]["target_fraction_real"]) >= 0.75
    best = audiogen.load(run / "checkpoints" / "best.ckpt")
    success = [float(row["success"]) for row in rows]
    assert best.kimg == pytest.approx(float(rows[success.index(max(success))]["kimg"]))


def test_the_same_clips_are_drawn_and_heard(run: Path) -> None:
    names = sorted(path.name for path in (run / "samples").iterdir())
    sounds = ["low-real.wav", "low-reproduced.wav", "to-low-converted.wav", "to-low-source.wav"]
    assert names == ["kimg-00000.016.png", "kimg-00000.024.png", *sounds]
    infos = [soundfile.info(run / "samples" / sound) for sound in sounds]
    assert {(info.samplerate, info.frames) for info in infos} == {(SAMPLE_RATE, 24 * 128)}


def test_a_resumed_run_equals_an_uninterrupted_one(run: Path, classifier: tuple[Path, Path], tmp_path: Path) -> None:
    callbacks = [evaluation(classifier[1]), LOGGER]
    main(conversion_arguments(classifier[0], tmp_path / "parts", 0.008, callbacks=callbacks))
    main(conversion_arguments(classifier[0], tmp_path / "parts", 0.024, "--ckpt_path", "last", callbacks=callbacks))
    whole, parts = (
        torch.load(folder / "checkpoints/kimg-00000.024.ckpt", weights_only=True)
        for folder in (run, tmp_path / "parts")
    )
    for part in ("state_dict", "optimizer_states", "clips_seen"):
        assert differing(whole[part], parts[part]) == []


def test_all_options_at_once_are_continued_exactly_too(
    classifier: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second part begins in the middle of the generator's interval, and in the middle of a pass over the clips."""
    options = {"targets": "all", "generator_interval": 3, "cycle_weight": 1, "pairs": "batch", "ema_half_life_kimg": 1}
    options |= {"decay_from": 0.5, "learning_rate": 0.001, "discriminator_learning_rate": 0.002}
    flags = [part for name, value in options.items() for part in (f"--model.{name}", str(value))]
    main(conversion_arguments(classifier[0], tmp_path / "whole", 0.024, *flags))
    command = conversion_arguments(classifier[0], tmp_path / "parts", 0.024, *flags)

    def stop(self: KimgCheckpoint, trainer: Any, model: Any, *args: Any) -> None:
        if model.clips_seen == 16:
            raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(KimgCheckpoint, "on_train_batch_end", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            main(command)
    assert audiogen.load(tmp_path / "parts").kimg == 0.016
    main(command)
    whole, parts = (
        torch.load(tmp_path / name / "checkpoints/kimg-00000.024.ckpt", weights_only=True)
        for name in ("whole", "parts")
    )
    for part in ("state_dict", "optimizer_states", "clips_seen"):
        assert differing(whole[part], parts[part]) == []
    assert "loss/cycle" in read_metrics(tmp_path / "parts")[-1]
    rates = [state["param_groups"][0]["lr"] for state in whole["optimizer_states"]]
    assert rates == pytest.approx([0.001 * 2 * 4 / 24, 0.002 * 2 * 4 / 24])  # of the last step, with 4 clips to go


def test_evaluate_scores_a_run_by_its_own_classifiers(run: Path, classifier: tuple[Path, Path]) -> None:
    found = audiogen.evaluate(str(run), split="val")
    last = read_metrics(run)[-1]
    for name in SCORES:
        assert found.scores[name] == pytest.approx(float(last[name]), rel=1e-4), name
    assert json.loads((run / "evaluation-val.json").read_text())["metrics"] == found.scores
    text = str(found)
    assert "10 clips to low" in text
    assert [line.split()[0] for line in text.splitlines() if line[:4] in ("targ", "cont", "succ", "fad ")] == [
        "target_fraction",
        "content_kept",
        "success",
        "fad",
    ]
    named = audiogen.evaluate(str(run), evaluator=str(classifier[1]), split="val", out=str(run / "named.json"))
    assert named.scores == found.scores


def test_evaluate_takes_other_data_to_compare_with(run: Path, classifier: tuple[Path, Path], tmp_path: Path) -> None:
    shared = audiogen.export(run, tmp_path / "model.safetensors")
    of_folder = audiogen.evaluate(
        str(shared), str(classifier[0]), evaluator=str(classifier[1]), out=str(tmp_path / "a.json")
    )
    assert of_folder.settings["converted"] == "20 clips to low"  # half of forty
    assert "content_kept" not in of_folder.scores
    of_run = audiogen.evaluate(
        str(shared), str(run), evaluator=str(classifier[1]), split="val", out=str(tmp_path / "b.json")
    )
    assert of_run.scores["fad"] == audiogen.evaluate(str(run), split="val").scores["fad"]
    with pytest.raises(ValueError, match="name a classifier of the domains: --evaluator"):
        audiogen.evaluate(str(shared), str(run))


def test_options_of_generators_mean_nothing_for_generators(run: Path) -> None:
    with pytest.raises(ValueError, match="--num_clips, --truncation mean nothing for a conversion model"):
        audiogen.evaluate(str(run), num_clips=10, truncation=0.5)


def test_pictures_are_of_training_clips_where_a_domain_has_no_others(tmp_path: Path) -> None:
    write_classes(tmp_path / "data", {"high": 2000}, num=8)
    write_classes(tmp_path / "data", {"low": 300}, num=1)
    main(conversion_arguments(tmp_path / "data", tmp_path / "run", 0.016, callbacks=[LOGGER]))
    assert (tmp_path / "run" / "samples" / "kimg-00000.016.png").exists()
    assert audiogen.load(tmp_path / "run").label_names == ["high", "low"]  # of one file, which is enough for a domain


def test_report_shows_a_conversion_model(run: Path) -> None:
    page = report(str(run)).page.read_text()
    for text in ("target_fraction", "content_kept", "loss/travel_angle", "to-low-converted", "the last pictures"):
        assert text in page


def test_export_and_load_convert_the_same(run: Path, classifier: tuple[Path, Path], tmp_path: Path) -> None:
    shared = audiogen.export(run, tmp_path / "model.safetensors")
    source = sorted((classifier[0] / "high").glob("*.wav"))[0]
    made = [audiogen.convert(path, source).wav for path in (run, shared)]
    assert made[0].equal(made[1])


def test_evaluation_of_another_kind_of_model_is_refused(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    args = arguments(classifier[0], tmp_path / "gan")
    args[args.index("--trainer.callbacks") + 1] = json.dumps([evaluation(classifier[1])])
    with pytest.raises(
        ValueError, match="ConversionEvaluation needs a model with a method convert; StyleGAN2 has none"
    ):
        main(args)
    generator = {
        "class_path": "audiogen.callbacks.evaluation.Evaluation",
        "init_args": {"embeddings": [evaluation(classifier[1])["init_args"]["domain"]]},
    }
    with pytest.raises(ValueError, match="Evaluation needs a model with a method sample; MelGANVC has none"):
        main(conversion_arguments(classifier[0], tmp_path / "vc", callbacks=[generator]))


def test_content_is_asked_train_generators_alone(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--content is for conversion models"):
        audiogen.evaluate(str(classifier[1]), content=str(classifier[1]))


@pytest.mark.parametrize("settings", [{"every_kimg": 0}, {"num_clips": 0}])
def test_values_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need every_kimg > 0 and at least one clip in a row"):
        ConversionLogger(**settings)


def test_processes_convert_shares_in_as_many_batches_and_nothing_twice() -> None:
    callback = ConversionEvaluation(domain=None)  # type: ignore[arg-type]
    callback._task = Task(torch.arange(129), torch.arange(129) % 2)  # two whole batches and one clip
    clips = DatasetView(lambda rows: rows.float()[:, None], torch.zeros(129))
    model = SimpleNamespace(convert=lambda spec, target: spec + 1000 * target[:, None])
    shares = [list(callback.make_clips(model, clips, rank, 2)) for rank in (0, 1)]
    assert [len(batches) for batches in shares] == [2, 2]
    assert shares[1][1] is None
    spec, source, target = (torch.cat(parts) for parts in zip(*filter(None, shares[0] + shares[1]), strict=True))
    assert sorted(source.tolist()) == list(range(129))
    assert torch.equal(spec[:, 0], source + 1000 * target)
