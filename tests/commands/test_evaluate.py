"""Evaluating checkpoints and folders of sounds after the fact."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import audiogen
from audiogen.__main__ import main
from audiogen.cli import main as train
from audiogen.metrics.embeddings.embedding import Embedding
from tests.tiny_classifier import CLASSES, write_classifier
from tests.tiny_run import SAMPLE_RATE, arguments, write_classes


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def run(classifier: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(
        arguments(classifier[0], folder, 0.008, "--data.transform.floor_db", "-100", "--data.transform.ceil_db", "20")
    )
    return folder


def test_a_run_is_scored_by_its_own_data(classifier: tuple[Path, Path], run: Path) -> None:
    found = audiogen.evaluate(str(run), evaluator=str(classifier[1]), split="val", num_clips=20)
    assert {"fad_classifier", "fad_classifier_floor", "coherence", "coherence_real", "fad"} <= set(found.scores)
    assert found.scores["coherence_real"] >= 0.75
    assert found.file == run / "evaluation-val.json"
    saved = json.loads(found.file.read_text())
    assert saved["metrics"] == found.scores
    assert saved["settings"]["kimg"] == 0.008
    text = str(found)
    assert "20 clips of " in text
    assert "8 val clips" in text
    assert all(name in text for name in ("fad_classifier", "high", "low", "coherence"))


def test_the_verb_prints_the_table(
    classifier: tuple[Path, Path],
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = [
        "--evaluator",
        str(classifier[1]),
        "--split",
        "val",
        "--num_clips",
        "16",
        "--out",
        str(tmp_path / "found.json"),
    ]
    monkeypatch.setattr(sys, "argv", ["audiogen", "evaluate", str(run), *flags])
    main()
    assert "coherence" in capsys.readouterr().out
    assert (tmp_path / "found.json").exists()


def test_real_sounds_score_like_real_ones_and_wrong_ones_worse(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    good = write_classes(tmp_path / "good", CLASSES, num=8)
    bad = write_classes(tmp_path / "bad", {"low": 2000.0, "high": 300.0}, num=8)
    found = [
        audiogen.evaluate(
            str(folder), against=str(classifier[0]), evaluator=str(classifier[1]), out=str(tmp_path / "x.json")
        )
        for folder in (good, bad)
    ]
    assert [one.scores["coherence"] for one in found] == pytest.approx([1, 0], abs=0.15)
    assert found[0].scores["fad_classifier/low"] < 0.2 * found[1].scores["fad_classifier/low"]
    assert "40 val clips" in found[0].settings["against"]  # half of the folder


def test_sounds_of_generate_are_known_by_their_names(classifier: tuple[Path, Path], run: Path, tmp_path: Path) -> None:
    audiogen.generate(run, num=6, out=tmp_path / "made")
    found = audiogen.evaluate(
        str(tmp_path / "made"), against=str(classifier[0]), evaluator=str(classifier[1]), out=str(tmp_path / "x.json")
    )
    assert "12 clips of " in found.settings["generated"]


def test_other_sample_rates_and_lengths_are_fitted(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    for name, frequency in CLASSES.items():
        (tmp_path / "made" / name).mkdir(parents=True)
        for index in range(8):
            time = np.arange(30000 + 2000 * index) / 22050
            tone = 0.4 * np.sin(2 * np.pi * frequency * (1 + 0.01 * index) * time)
            soundfile.write(tmp_path / "made" / name / f"{index}.wav", tone, 22050)
    found = audiogen.evaluate(
        str(tmp_path / "made"), against=str(classifier[0]), evaluator=str(classifier[1]), out=str(tmp_path / "x.json")
    )
    assert found.scores["coherence"] == 1
    assert SAMPLE_RATE == 8000


def ratings(folder: Path, **other: float) -> Path:
    path = folder / "ratings.csv"
    path.write_text("file,target,high,low\na.wav,high,5,1\nb.wav,high,4,2\nc.wav,low,1,4\nd.wav,low,3,5\n")
    return path


def test_human_ratings_give_heep_and_s_gen(classifier: tuple[Path, Path], run: Path, tmp_path: Path) -> None:
    good = write_classes(tmp_path / "good", CLASSES, num=8)
    found = audiogen.evaluate(
        str(good),
        against=str(classifier[0]),
        evaluator=str(classifier[1]),
        ratings=str(ratings(tmp_path)),
        out=str(tmp_path / "x.json"),
    )
    expected = np.corrcoef([5, 4, 1, 3], [1, 1, 0, 0])[0, 1]
    assert found.scores["heep/high"] == pytest.approx(expected)
    fad = found.scores["fad_classifier/high"]
    assert found.scores["s_gen/high"] == pytest.approx((1 / fad + expected) / 2)


def test_what_cannot_be_compared_is_refused(classifier: tuple[Path, Path], run: Path, tmp_path: Path) -> None:
    data, weights = (str(path) for path in classifier)
    with pytest.raises(ValueError, match="evaluate needs a model with a method sample"):
        audiogen.evaluate(weights, evaluator=weights)
    with pytest.raises(ValueError, match="name a classifier to embed clips with: --evaluator CLASSIFIER"):
        audiogen.evaluate(str(run))
    with pytest.raises(ValueError, match="is a StyleGAN2, expected a classifier"):
        audiogen.evaluate(str(run), evaluator=str(run))
    with pytest.raises(ValueError, match="name real clips with --against"):
        audiogen.evaluate(data, evaluator=weights)
    with pytest.raises(ValueError, match="this data set has no test split"):
        audiogen.evaluate(str(run), evaluator=weights)
    with pytest.raises(ValueError, match="in 4 features needs 5 clips"):
        audiogen.evaluate(str(run), evaluator=weights, split="val", num_clips=4)
    other = write_classes(tmp_path / "other", {"a": 300.0, "b": 900.0}, num=8)
    with pytest.raises(ValueError, match=r"the model has the classes high, low, .* has a, b"):
        audiogen.evaluate(str(run), against=str(other), evaluator=weights)
    with pytest.raises(ValueError, match=r"belongs to no class of the data \(high, low\)"):
        audiogen.evaluate(str(other), against=data, evaluator=weights)


class Loudness(Embedding):
    """Takes sounds, and knows no spectrogram."""

    def __init__(self) -> None:
        super().__init__("loudness", 1, 16000)

    def forward(self, clips):  # type: ignore[no-untyped-def]
        return clips.square().mean(dim=(1, 2))[:, None, None]


def test_two_folders_need_an_embedding_with_a_spectrogram(classifier: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="two folders of sounds need an embedding with a spectrogram of its own"):
        audiogen.evaluate(str(classifier[0]), against=str(classifier[0]), embeddings=[Loudness()])


def test_sounds_that_cannot_be_used_are_left_out_named_and_counted(
    classifier: tuple[Path, Path], tmp_path: Path
) -> None:
    good = write_classes(tmp_path / "good", CLASSES, num=8)
    others = {"against": str(classifier[0]), "evaluator": str(classifier[1]), "out": str(tmp_path / "x.json")}
    before = audiogen.evaluate(str(good), **others)
    soundfile.write(good / "low" / "00.wav", np.zeros(4000), SAMPLE_RATE)
    (good / "high" / "00.m4a").write_bytes(b"nothing")
    soundfile.write(good / "high" / "1.wav", soundfile.read(good / "high" / "1.wav")[0], SAMPLE_RATE, subtype="GSM610")
    found = audiogen.evaluate(str(good), **others)
    assert found.settings["generated"] == before.settings["generated"]
    notes = "\n".join(found.settings["notes"])
    assert "2 sounds left out" in notes
    assert "00.wav: silent (every sample is the same)" in notes
    assert "00.m4a: unreadable (.m4a is not a supported format" in notes


@pytest.mark.parametrize("num", [0, 1])
def test_class_with_too_few_sounds_is_named(classifier: tuple[Path, Path], tmp_path: Path, num: int) -> None:
    good = write_classes(tmp_path / "good", CLASSES, num=8)
    for index in range(num, 8):
        (good / "low" / f"{index}.wav").unlink()
    with pytest.raises(ValueError, match=rf"good has {num} usable sounds of low, but two or more are needed"):
        audiogen.evaluate(str(good), against=str(classifier[0]), evaluator=str(classifier[1]))


def test_class_that_limits_the_others_is_named(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    good = write_classes(tmp_path / "good", CLASSES, num=8)
    for index in range(2, 8):
        (good / "low" / f"{index}.wav").unlink()
    with pytest.raises(ValueError, match=r"needs 5 clips.*The smallest class of the folder is low, with 2 sounds"):
        audiogen.evaluate(str(good), against=str(classifier[0]), evaluator=str(classifier[1]))
