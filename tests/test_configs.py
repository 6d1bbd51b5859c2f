"""Every config builds its model; variants and trainer settings merge with it."""

import re
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml

from audiogen.cli import AudiogenCLI, main
from audiogen.data.datasets.exvo import EMOTIONS
from audiogen.data.datasets.fsdd import DIGITS
from audiogen.models.classifier import Classifier
from audiogen.models.melgan_vc import MelGANVC
from audiogen.models.style_transfer import StyleTransfer
from audiogen.networks.vggish import VGGishNetwork
from audiogen.resources import config_names, config_path
from tests.tiny_run import write_classes
from tests.tiny_transfer import bursts, melody, write

SYSTEMS = sorted(Path("configs").glob("*.yaml"))
VARIANTS = sorted(Path("configs/papers").glob("*.yaml"))
TRAINER = sorted(Path("configs/trainer").glob("*.yaml"))
FIRST_CLASSES = {
    "ClassFolders": ["one", "zero"],
    "ExVo": ["awe", "excitement"],
    "ESC50": ["bursts", "tones"],
    "Pairs": ["content", "style"],
}
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def merged(config: Path) -> list[Path]:
    """Return the files of a config in order; a variant's header names them in its command."""
    if config in SYSTEMS:
        return [config]
    (command,) = re.findall(r"^#   (python -m audiogen .*)", config.read_text(), re.M)
    return [config_path(word) for word in command.split() if word in config_names()]


def flags_of(config: Path) -> list[str]:
    return [part for path in merged(config) for part in ("--config", str(path))]


def settings_of(config: Path) -> dict[str, Any]:
    """Return the settings of a config's first file."""
    settings: dict[str, Any] = yaml.safe_load(merged(config)[0].read_text())
    return settings


def dataset_of(config: Path) -> str:
    """Return the name of a config's data set class."""
    return settings_of(config)["data"]["dataset"]["class_path"].rsplit(".", 1)[1]


def first_classes_of(config: Path) -> list[str]:
    """Return the names of the first two classes in the data generated for a config."""
    settings = settings_of(config)["data"]["dataset"].get("init_args", {})
    by_label = {"gender": ["male", "female"], "speaker": settings.get("speakers", list(SPEAKERS))[:2]}
    return by_label.get(settings.get("label"), FIRST_CLASSES.get(dataset_of(config), ["zero", "one"]))


def data_for(config: Path, folder: Path) -> list[str]:
    """Create a small data set in a config's layout and return the flags that name it."""
    dataset = dataset_of(config)
    flags = ["--data.root", str(folder)]
    if dataset == "Pairs":
        return [*flags, *pairs_for(config, folder)]
    if dataset == "SpokenDigits":
        return [*flags, "--data.dataset.init_args.num_clips", "100"]
    if dataset == "ESC50":
        write_esc50(folder)
        return [*flags, "--model.network.width", "4"]
    write_classes(folder, {"zero": 300, "one": 500}, num=6)
    if dataset == "FSDD":
        for path in sorted(folder.rglob("*.wav")):  # takes 11, 12 are validation clips, 13 to 16 training clips
            name = f"{DIGITS.index(path.parent.name)}_{{}}_{int(path.stem) + 11}.wav"
            for number, speaker in enumerate(SPEAKERS):
                samples, sample_rate = soundfile.read(path)
                soundfile.write(
                    folder / name.format(speaker), samples / (1 + number / 10), sample_rate
                )  # all different
            path.unlink()
    if dataset == "Domains":
        flags += ["--data.dataset.a", "zero", "--data.dataset.b", "one"]
    if dataset == "SpeechCommands":
        (folder / "validation_list.txt").write_text("zero/0.wav\none/0.wav\n")
        (folder / "testing_list.txt").write_text("zero/1.wav\none/1.wav\n")
    if dataset == "ExVo":
        write_exvo_table(folder)
    return flags


def pairs_for(config: Path, folder: Path) -> list[str]:
    """Write a pair of sounds and return flags that name it and shrink a config's networks."""
    write(folder / "content.wav", melody(0.8))
    write(folder / "style.wav", bursts(0.8))
    (folder / "pairs.csv").write_text("content,style\ncontent.wav,style.wav\n")
    text = config.read_text()
    trained = "extractor: null" in text
    flags = ["--model.weights", str(classifier(folder))] if trained else ["--model.extractor.width", "4"]
    if "content_extractor:" in text:
        torch.save(VGGishNetwork().state_dict(), folder / "vggish.pth")
        flags += ["--model.content_extractor.weights", str(folder / "vggish.pth")]
    return flags


def classifier(folder: Path) -> Path:
    """Train a small network with the config of Huzaifah & Wyse's (2020) trained weights; return the run directory."""
    write_esc50(folder / "ESC-50")
    small = ["--model.network.width", "4", "--model.total_kimg", "0.02", "--data.num_workers", "1"]
    paths = ["--data.root", str(folder / "ESC-50"), "--trainer.default_root_dir", str(folder / "classifier")]
    main(["fit", "--config", "configs/classifier_esc50.yaml", *paths, *small])
    return folder / "classifier"


def write_esc50(folder: Path) -> None:
    """Write two classes with five folds in ESC-50's layout."""
    (folder / "meta").mkdir(parents=True)
    (folder / "audio").mkdir()
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, (category, sound) in enumerate((("tones", melody(1.0)), ("bursts", bursts(1.0)))):
            name = f"{fold}-{target}-A-{target}.wav"
            write(folder / "audio" / name, sound * (1 - fold / 10))
            rows.append(f"{name},{fold},{target},{category},False,{target},A")
    (folder / "meta" / "esc50.csv").write_text("\n".join(rows))


def write_exvo_table(folder: Path) -> None:
    """Write a table in which the classes zero and one are awe and excitement, beside the sounds."""
    lines = ["File_ID,Split," + ",".join(EMOTIONS)]
    for path in sorted(folder.rglob("*.wav")):
        scores = ["1", "0"] if path.parent.name == "zero" else ["0", "1"]
        lines.append(",".join([f"[{path.parent.name}/{path.stem}]", "Train", *scores, *["0"] * (len(EMOTIONS) - 2)]))
    (folder / "data_info.csv").write_text("\n".join(lines))


@pytest.mark.parametrize("config", [*SYSTEMS, *VARIANTS], ids=lambda path: path.stem)
def test_config_builds_networks_for_its_spectrogram_and_classes(config: Path, tmp_path: Path) -> None:
    cli = AudiogenCLI([*flags_of(config), *data_for(config, tmp_path)], run=False)
    model, data = cli.model, cli.datamodule
    assert model.transform.shape == data.transform.shape
    assert model.batch_size == data.batch_size
    assert model.label_names == data.label_names
    assert model.label_names[:2] == first_classes_of(config)
    if isinstance(model, Classifier):
        assert model.network(torch.zeros(2, *model.transform.shape)).shape == (2, len(model.label_names))
        return
    if isinstance(model, MelGANVC):
        assert data.domains
        target = torch.tensor(model.targets[:1]).repeat(2)
        assert model.convert(torch.zeros(2, *model.transform.shape), target).shape == (2, *model.transform.shape)
        assert model.discriminator(torch.zeros(2, *model.transform.shape), model.target_input(target)).shape == (2,)
        return
    if isinstance(model, StyleTransfer):
        assert data.num_pairs == 1
        clips = data.split("test")
        content, style = clips.take([0]), clips.take([1])[0]
        transfer = model.begin(content if model.keeps_content or model.start == "content" else None, [[style]])
        assert all(part.isfinite().all() for part in transfer.step())
        assert transfer.spec.shape == (model.num_variants, *model.transform.shape)
        return
    label = model.one_hot(torch.tensor([0, 1]))
    spec = model.generator(torch.randn(2, model.generator.z_dim), label)
    assert spec.shape == (2, *model.transform.shape)
    assert model.discriminator(spec, label).shape == (2,)


@pytest.mark.parametrize("part", TRAINER, ids=lambda path: path.stem)
def test_trainer_config_merges_with_a_system(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AudiogenCLI, "before_instantiate_classes", lambda self: None)
    monkeypatch.setattr(AudiogenCLI, "instantiate_classes", lambda self: None)
    parser = AudiogenCLI(["--config", "configs/quickstart.yaml", "--config", str(part)], run=False)
    added = yaml.safe_load(part.read_text())["trainer"]
    more = added.pop("callbacks+", [])
    for name, value in added.items():
        got = parser.config.trainer[name]
        assert (got.class_path == value["class_path"]) if isinstance(value, dict) else (got == value)
    own = yaml.safe_load(Path("configs/quickstart.yaml").read_text())["trainer"]["callbacks"]
    paths = [callback.class_path for callback in parser.config.trainer.callbacks]
    assert paths == [callback["class_path"] for callback in [*own, *more]]


@pytest.mark.parametrize("config", SYSTEMS, ids=lambda path: path.stem)
def test_config_starts_with_its_command(config: Path) -> None:
    assert f"python -m audiogen fit --config {config}" in config.read_text()


@pytest.mark.parametrize("config", VARIANTS, ids=lambda path: path.stem)
def test_variant_ends_its_command_and_contains_only_differences(config: Path) -> None:
    *bases, own = merged(config)
    assert bases
    assert own.samefile(config)
    texts = [yaml.safe_load(path.read_text()) for path in (*bases, own)]
    before: dict[str, Any] = {}
    for content in texts[:-1]:
        before |= flat(content)
    same = [name for name, value in flat(texts[-1]).items() if name in before and before[name] == value]
    assert same == []


def flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings as a flat dictionary with dotted names."""
    if not isinstance(content, dict):
        return {prefix: content}
    return {name: value for key, part in content.items() for name, value in flat(part, f"{prefix}.{key}").items()}
