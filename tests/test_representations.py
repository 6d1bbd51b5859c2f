"""What docs/representations.md shows: every definition constructs, and those of its examples train."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser

import audiogen
from audiogen.cli import main
from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform
from benchmarks.inversion import METHODS, speech_representations
from tests.tiny_run import arguments, write_classes

TEXT = Path("docs/representations.md").read_text()
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.S)]
OF_PAPERS = re.findall(r"^\| (.+? \(\d{4}\)).*?\| `(\{class_path.*\})` \|", TEXT, re.M)


def construct(definition: dict[str, Any]) -> SpectrogramTransform:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--transform", type=SpectrogramTransform)
    return parser.instantiate_classes(parser.parse_object({"transform": definition})).transform


@pytest.mark.filterwarnings("error::UserWarning")  # a definition that is warned of is no example
@pytest.mark.parametrize(("paper", "definition"), OF_PAPERS)
def test_definition_of_a_paper_constructs(paper: str, definition: str) -> None:
    settings = yaml.safe_load(definition)
    transform = construct(settings)
    assert transform.sample_rate == settings["init_args"]["sample_rate"]
    assert transform.shape[2] == settings["init_args"]["num_frames"]


def test_definitions_of_papers_have_the_listed_shapes_and_lengths() -> None:
    made = [(paper, construct(yaml.safe_load(definition))) for paper, definition in OF_PAPERS]
    described = [(paper, type(t), t.shape[1], round(t.seconds, 1)) for paper, t in made]
    assert described == [
        ("Jain & Raj (2019)", STFT, 1025, 10.0),
        ("Jain & Raj (2019)", LogMel, 128, 10.0),
        ("Jain & Raj (2019)", MFCC, 40, 10.0),
        ("Huzaifah & Wyse (2020)", STFT, 513, 5.0),
        ("Huzaifah & Wyse (2020)", CQT, 192, 5.0),
        ("Goel et al. (2020)", LogMel, 128, 1.0),
        ("Jiralerspong & Gidel (2022)", LogMel, 128, 2.0),
        ("Jiralerspong & Gidel (2022)", LogMel, 256, 4.1),
        ("Lin (2021)", LogMel, 192, 1.2),
    ]


def test_examples_are_of_all_transforms() -> None:
    kinds = [type(construct(example["data"]["transform"])) for example in EXAMPLES]
    assert kinds == [LogMel, STFT, CQT, MFCC]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["data"]["transform"]["class_path"])
def test_example_trains_and_generates(example: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text(yaml.safe_dump(example))
    data = write_classes(tmp_path / "data", {"low": 300, "high": 2000})
    tiny = arguments(data, tmp_path / "run", 0.008)
    first = tiny.index("--data.root")
    flags = zip(tiny[first::2], tiny[first + 1 :: 2], strict=True)
    kept = [part for flag in flags if not flag[0].startswith("--data.transform.") for part in flag]
    wide = [part for name in ("generator", "discriminator") for part in (f"--model.{name}.channel_base", "1024")]
    main([*tiny[:first], "--config", str(tmp_path / "example.yaml"), *kept, *wide])
    model = audiogen.load(tmp_path / "run")
    wanted = construct(example["data"]["transform"])
    assert type(model.transform) is type(wanted)
    assert vars(model.transform.phase).keys() == vars(wanted.phase).keys()
    made = audiogen.generate(model, "low", num=2)
    assert made.spec.shape == (2, *wanted.shape)
    assert made.wav.shape == (2, 1, wanted.num_samples)
    assert made.wav.isfinite().all()


def test_table_has_the_rows_of_the_benchmark() -> None:
    measured = TEXT.split("## Measured")[1].split("## What the papers use")[0]
    rows = [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in re.findall(r"^\| \w.*", measured, re.M)]
    assert rows == [
        (name if name == "mel" else name.upper(), inverse)
        for name, transform in speech_representations().items()
        for inverse in [*METHODS, "the original's phase", "librosa"]
        if transform.linear_frequency or inverse not in METHODS or not METHODS[inverse].needs_linear_frequency
    ]
