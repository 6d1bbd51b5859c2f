"""Training on the command line with a tiny config: what a run writes, and how it is resumed."""

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import audiogen
from audiogen.callbacks.checkpoint import KimgCheckpoint
from audiogen.checkpoint_io import checkpoints, clips_of
from audiogen.cli import main
from tests.tiny_run import SAMPLE_RATE, arguments, write_classes

KIMG = "checkpoints/kimg-00000.{:03d}.ckpt"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data"), {"low": 300, "high": 2000})


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    main(arguments(data, folder))
    return folder


def read_metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def differing(a: object, b: object, path: str = "") -> list[str]:
    """Return the paths at which two nested structures differ in any bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(set(a) | set(b), key=str)
        return [found for key in keys for found in differing(a.get(key), b.get(key), f"{path}/{key}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [found for i, pair in enumerate(zip(a, b, strict=True)) for found in differing(*pair, f"{path}/{i}")]
    same = torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b
    return [] if same else [path]


def test_a_run_writes_settings_checkpoints_pictures_sounds_and_metrics(run: Path) -> None:
    names = [".lock", "checkpoints", "config.yaml", "metrics.csv", "samples", "scalars.json"]
    assert sorted(p.name for p in run.iterdir()) == names
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == [Path(KIMG.format(k)).name for k in (8, 16, 24)]
    names = {p.name for p in (run / "samples").iterdir()}
    assert names == {"real", "real.png", "kimg-00000.016.png", "kimg-00000.024.png", "high.wav", "low.wav"}
    assert {p.name for p in (run / "samples" / "real").iterdir()} == {"high.wav", "low.wav"}
    info = soundfile.info(run / "samples" / "high.wav")
    assert (info.samplerate, info.frames, info.channels) == (SAMPLE_RATE, 32 * 128, 1)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["init_args"]["total_kimg"] == 0.024
    assert config["data"]["transform"]["init_args"]["n_mels"] == 32


def test_metrics_are_logged_by_kimg(run: Path) -> None:
    rows = read_metrics(run)
    assert [row["kimg"] for row in rows] == ["0.008", "0.016", "0.024"]
    assert [row["step"] for row in rows] == ["8", "16", "24"]
    expected = {"loss/generator", "loss/discriminator", "logits/real", "logits/fake", "penalty/r1"}
    expected |= {"penalty/path_length", "path_length/mean", "gradient_norm/generator", "gradient_norm/discriminator"}
    assert expected <= set(rows[0])
    assert all(math.isfinite(float(row[name])) for row in rows for name in expected if row[name])


def test_a_resumed_run_equals_an_uninterrupted_one(run: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    main(arguments(data, folder, 0.008))
    main(arguments(data, folder, 0.024, "--ckpt_path", "last"))
    whole, parts = (torch.load(r / KIMG.format(24), weights_only=True) for r in (run, folder))
    for part in ("state_dict", "optimizer_states", "clips_seen"):
        assert differing(whole[part], parts[part]) == []
    rows = [[{**row, "speed/clips_per_second": ""} for row in read_metrics(each)] for each in (run, folder)]
    assert rows[0] == rows[1]


def test_a_refused_attempt_does_not_change_the_settings(run: Path, data: Path) -> None:
    before = (run / "config.yaml").read_text()
    with pytest.raises(ValueError, match="other networks"):
        main(arguments(data, run, 0.024, "--model.generator.channel_max", "8", "--ckpt_path", "last"))
    assert (run / "config.yaml").read_text() == before


def test_a_moved_run_can_be_resumed(run: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "moved")
    (tmp_path / "moved" / KIMG.format(24)).unlink()
    main(arguments(data, tmp_path / "moved"))
    whole, moved = (torch.load(r / KIMG.format(24), weights_only=True) for r in (run, tmp_path / "moved"))
    assert differing(whole["state_dict"], moved["state_dict"]) == []


def test_a_checkpoint_with_a_flipped_bit_is_not_used(run: Path, data: Path, tmp_path: Path) -> None:
    content = bytearray((run / KIMG.format(24)).read_bytes())
    content[20_000] ^= 1
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(content)
    for use in (audiogen.load, lambda path: main(arguments(data, tmp_path / "new", 0.024, "--ckpt_path", str(path)))):
        with pytest.raises(ValueError, match="it is damaged, its checksum does not match"):
            use(broken)


def test_a_run_with_only_damaged_checkpoints_is_not_restarted(run: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "copy")
    for path in (tmp_path / "copy" / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"all checkpoints in .* are damaged: restore one from a backup"):
        main(arguments(data, tmp_path / "copy"))


def test_another_seed_trains_another_model(run: Path, data: Path, tmp_path: Path) -> None:
    main(arguments(data, tmp_path / "other", 0.008, "--seed_everything", "1"))
    first, other = (torch.load(r / KIMG.format(8), weights_only=True)["state_dict"] for r in (run, tmp_path / "other"))
    assert differing(first, other)


def test_ckpt_path_last_without_a_checkpoint_starts_from_the_beginning(run: Path, data: Path, tmp_path: Path) -> None:
    main(arguments(data, tmp_path / "new", 0.008, "--ckpt_path", "last"))
    states = [torch.load(folder / KIMG.format(8), weights_only=True) for folder in (run, tmp_path / "new")]
    assert differing(*(state["state_dict"] for state in states)) == []


def test_resuming_a_finished_run_changes_nothing(run: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "done"
    main(arguments(data, folder, 0.008))
    before = (folder / KIMG.format(8)).read_bytes()
    main(arguments(data, folder, 0.008, "--ckpt_path", "last"))
    assert (folder / KIMG.format(8)).read_bytes() == before


def test_flags_override_the_checkpoint_on_resuming(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flags"
    main(arguments(data, folder, 0.008))
    main(arguments(data, folder, 0.016, "--ckpt_path", str(folder / KIMG.format(8))))
    assert torch.load(folder / KIMG.format(16), weights_only=True)["clips_seen"] == 16


def test_learning_rate_flag_overrides_the_checkpoint(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rate"
    main(arguments(data, folder, 0.008))
    main(arguments(data, folder, 0.016, "--ckpt_path", "last", "--model.learning_rate", "1e-4"))
    states = torch.load(folder / KIMG.format(16), weights_only=True)["optimizer_states"]
    assert [state["param_groups"][0]["lr"] for state in states] == pytest.approx([1e-4 * 3 / 4, 1e-4 * 2 / 3])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data.transform.f_min", "20"], "another transform"),
        (["--model.generator.channel_max", "8"], "other networks: expected generator"),
        (["--data.root", "OTHER"], "another label_names"),
    ],
)
def test_a_checkpoint_of_another_model_is_not_resumed(
    flags: list[str], message: str, run: Path, data: Path, tmp_path: Path
) -> None:
    other = write_classes(tmp_path / "other", {"low": 300, "middle": 900})
    flags = [str(other) if flag == "OTHER" else flag for flag in flags]
    checkpoint = str(run / KIMG.format(24))
    with pytest.raises(ValueError, match=message):
        main(arguments(data, tmp_path / "new", 0.032, "--ckpt_path", checkpoint, *flags))


def test_an_older_checkpoint_is_resumed_only_in_another_folder(run: Path, data: Path, tmp_path: Path) -> None:
    older = str(run / KIMG.format(8))
    with pytest.raises(ValueError, match=r"already contains kimg-00000\.024\.ckpt"):
        main(arguments(data, run, 0.032, "--ckpt_path", older))
    main(arguments(data, tmp_path / "branch", 0.016, "--ckpt_path", older))
    whole, branch = (
        torch.load(r / KIMG.format(16), weights_only=True)["state_dict"] for r in (run, tmp_path / "branch")
    )
    assert differing(whole, branch) == []


def test_the_same_command_resumes_a_run_that_started_from_another_one(run: Path, data: Path, tmp_path: Path) -> None:
    command = arguments(data, tmp_path / "branch", 0.024, "--ckpt_path", str(run / KIMG.format(8)))
    main(arguments(data, tmp_path / "branch", 0.016, "--ckpt_path", str(run / KIMG.format(8))))
    with pytest.raises(ValueError, match="other settings"):
        main(command)
    main([*command[:-1], "last"])
    changed = (tmp_path / "branch" / KIMG.format(24)).stat().st_mtime
    main(command)  # already finished
    assert (tmp_path / "branch" / KIMG.format(24)).stat().st_mtime == changed


def test_metrics_without_a_checkpoint_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint in"):
        main(["validate", *arguments(data, tmp_path / "nothing")[1:]])


def test_the_same_command_resumes_and_another_one_does_not_overwrite_the_run(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    main(arguments(data, folder, 0.008))
    with pytest.raises(ValueError, match=r"other settings \(model.init_args.total_kimg: 0.008, now 0.016\)"):
        main(arguments(data, folder, 0.016))
    main(arguments(data, folder, 0.016, "--ckpt_path", "last"))
    main(arguments(data, folder, 0.016, "--trainer.devices", "1"))
    assert torch.load(folder / KIMG.format(16), weights_only=True)["clips_seen"] == 16


def test_only_readable_checkpoints_up_to_the_newest_are_kept(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for kimg in (5, 10, 20, 30):  # the last two are damaged; otherwise the run would not have resumed from 10
        (tmp_path / KIMG.format(kimg)).touch()
    trainer = SimpleNamespace(default_root_dir=tmp_path, is_global_zero=True)
    trainer.save_checkpoint = lambda path, **_: path.touch()
    KimgCheckpoint(keep=2)._save(trainer, SimpleNamespace(kimg=0.015))  # type: ignore[arg-type]
    left = sorted(clips_of(path) for path in (tmp_path / "checkpoints").iterdir())
    assert left == [0.01, 0.015, 0.02, 0.03]


def test_checkpoints_are_ordered_by_their_number_of_clips(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for kimg in (99_990.0, 100_000.0, 5.0):
        (tmp_path / "checkpoints" / f"kimg-{kimg:09.3f}.ckpt").touch()
    assert [clips_of(path) for path in checkpoints(tmp_path)] == [5.0, 99_990.0, 100_000.0]


def test_only_the_newest_checkpoints_are_kept_on_request(data: Path, tmp_path: Path) -> None:
    more = ["--checkpoint.every_kimg", "0.004", "--checkpoint.keep", "2"]
    main(arguments(data, tmp_path / "few", 0.016, *more))
    assert len(list((tmp_path / "few" / "checkpoints").iterdir())) == 2


def test_a_checkpoint_alone_restores_the_averaged_generator(run: Path) -> None:
    model = audiogen.load(run)
    assert model.clips_seen == 24
    assert model.label_names == ["high", "low"]
    assert not model.training
    weights = torch.load(run / KIMG.format(24), weights_only=True)["state_dict"]
    assert differing(dict(model.state_dict()), dict(weights)) == []
    assert differing(
        dict(model.generator.state_dict()), dict(model.generator_ema.state_dict())
    )  # the average lags behind


def test_tensorboard_receives_losses_pictures_and_sounds(data: Path, tmp_path: Path) -> None:
    main(arguments(data, tmp_path / "tb", 0.016, "--config", "configs/trainer/tensorboard.yaml"))
    events = EventAccumulator(str(tmp_path / "tb" / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert "loss/generator" in tags["scalars"]
    assert [event.step for event in events.Scalars("loss/generator")] == [8, 16]
    assert {"samples/real", "samples/generated"} <= set(tags["images"])
    sounds = {f"sounds/{name}/{kind}" for name in ("high", "low") for kind in ("real", "generated")}
    assert sounds <= set(tags["audio"])


def test_a_folder_without_classes_trains_unconditionally(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "flat", {"": 500}, num=8)
    main(arguments(data, tmp_path / "run", 0.008))
    model = audiogen.load(tmp_path / "run")
    assert model.label_names == []
    assert not any("embed" in name for name, _ in model.named_parameters())
    made = audiogen.generate(model, num=3, out=tmp_path / "out")
    assert made.wav.shape == (3, 1, 32 * 128)
    assert [p.name for p in made.files] == ["000.wav", "001.wav", "002.wav", "grid.png"]


def test_stereo_and_rectangular_spectrograms_train(data: Path, tmp_path: Path) -> None:
    shape = ["--data.transform.num_channels", "2", "--data.transform.num_frames", "16"]
    main(arguments(data, tmp_path / "run", 0.008, *shape))
    made = audiogen.generate(tmp_path / "run", "low")
    assert made.spec.shape == (1, 2, 32, 16)
    assert made.wav.shape == (1, 2, 16 * 128)


REPRESENTATIONS = {
    "stft": ("stft.STFT", {"n_fft": 256, "num_bins": 128, "scale": "log1p"}, (128, 32)),
    "mfcc": ("mfcc.MFCC", {"n_fft": 512, "n_mfcc": 40, "n_mels": 64}, (40, 32)),
    "cqt": ("cqt.CQT", {"f_min": 100.0, "n_bins": 96, "bins_per_octave": 24, "filter_scale": 2.0}, (96, 32)),
    "mel and SPSI": (
        "mel.LogMel",
        {"n_fft": 512, "n_mels": 64, "phase": {"class_path": "audiogen.transforms.phase.spsi.SPSI"}},
        (64, 32),
    ),
}


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_every_representation_trains_and_a_checkpoint_alone_makes_it_audible(
    data: Path, tmp_path: Path, name: str
) -> None:
    kind, options, shape = REPRESENTATIONS[name]
    settings = {"sample_rate": 8000, "hop_length": 128, "num_frames": 32, **options}
    transform = {"class_path": f"audiogen.transforms.{kind}", "init_args": settings}
    main(arguments(data, tmp_path / "run", 0.008, "--data.transform", json.dumps(transform)))
    made = audiogen.generate(tmp_path / "run", "low", num=2)
    assert made.spec.shape == (2, 1, *shape)
    assert made.wav.shape == (2, 1, 32 * 128)
    assert made.wav.isfinite().all()


def test_preprocessing_and_random_crops_train(data: Path, tmp_path: Path) -> None:
    steps = json.dumps([{"class_path": "audiogen.audio.silence.TrimSilence"}])
    main(arguments(data, tmp_path / "run", 0.008, "--data.preprocess", steps, "--data.crop", "random"))
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data"]
    assert config["crop"] == "random"
    assert config["preprocess"][0]["init_args"] == {"threshold_db": 40.0}


def test_validate_reports_logits_of_validation_clips(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = arguments(data, run)[1:]
    more = ["--data.dataset.init_args.val_fraction", "0.4", "--ckpt_path", str(run / KIMG.format(24))]
    main(["validate", *flags, *more])
    assert "val/logits_real" in capsys.readouterr().out
    config = yaml.safe_load((run / "config.yaml").read_text())  # still the config of the training run
    assert config["data"]["dataset"]["init_args"]["val_fraction"] == 0.1
    assert config["ckpt_path"] is None


def test_weights_that_are_not_finite_stop_the_run(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="the weights of generator became NaN or infinite at 0 kimg"):
        main(arguments(data, tmp_path / "nan", 0.2, "--model.learning_rate", "1e30"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda group: group.update(maximize=True), "sets the optimiser's maximize to True, the model has False"),
        (lambda group: group.update(amsgrad=True), "sets the optimiser's amsgrad to True"),
        (lambda group: group.update(differentiable=1), "sets the optimiser's differentiable to 1"),
        (lambda group: group.update(lr=float("nan")), "expected a number as the optimiser's lr"),
        (lambda group: group.update(betas="0.9"), "expected a number as the optimiser's betas"),
        (lambda group: group.update(eps=None), "expected a number as the optimiser's eps"),
        (lambda group: group.update(more=1), "expected optimiser settings"),
        (lambda group: group["params"].pop(), "optimised weights in the checkpoint"),
    ],
)
def test_a_checkpoint_does_not_choose_how_optimisers_compute(
    change: Callable[[dict[str, Any]], object], reason: str, run: Path, data: Path, tmp_path: Path
) -> None:
    content = torch.load(run / KIMG.format(8), weights_only=True)
    change(content["optimizer_states"][1]["param_groups"][0])
    torch.save(content, tmp_path / "theirs.ckpt")
    with pytest.raises(ValueError, match=reason):
        main(arguments(data, tmp_path / "new", 0.016, "--ckpt_path", str(tmp_path / "theirs.ckpt")))


def test_a_checkpoint_from_another_device_uses_this_devices_implementation(
    run: Path, data: Path, tmp_path: Path
) -> None:
    content = torch.load(run / KIMG.format(8), weights_only=True)
    content["optimizer_states"][1]["param_groups"][0].update(fused=None, foreach=True, capturable=True)
    torch.save(content, tmp_path / "theirs.ckpt")
    for start in (tmp_path / "theirs.ckpt", run / KIMG.format(8)):
        main(arguments(data, tmp_path / start.stem, 0.016, "--ckpt_path", str(start)))
    theirs, ours = (
        torch.load(tmp_path / name / KIMG.format(16), weights_only=True)["state_dict"]
        for name in ("theirs", "kimg-00000.008")
    )
    assert differing(theirs, ours) == []
