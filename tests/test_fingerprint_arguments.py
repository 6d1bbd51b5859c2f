"""Every argument of whatever a cached result depends on changes the key of the cache, found by reflection."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import audiogen
from audiogen.audio.denoise import Denoise
from audiogen.audio.loudness import NormalizeLoudness
from audiogen.audio.preprocess import PreprocessStep
from audiogen.audio.silence import DropEmpty, TrimSilence
from audiogen.data.cache import store_key
from audiogen.data.pipeline import Pipeline
from audiogen.fingerprint import fingerprint
from audiogen.metrics.embeddings.classifier import Classifier
from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.metrics.embeddings.inception import Inception
from audiogen.metrics.embeddings.pretrained import Clap, Pretrained
from audiogen.metrics.embeddings.vggish import VGGish
from audiogen.networks.vggish import VGGishNetwork
from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.phase.gradient import GradientInversion
from audiogen.transforms.phase.griffin_lim import GriffinLim
from audiogen.transforms.phase.method import PhaseMethod
from audiogen.transforms.phase.plain import ZeroPhase
from audiogen.transforms.phase.spsi import SPSI
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform
from tests.metrics.embeddings.test_inception import save_random_weights
from tests.metrics.embeddings.test_pretrained import save_clap, save_wav2vec2

SCALES = {"scale": "log1p", "floor_db": -70.0, "ceil_db": 5.0}
FRAMES = {"hop_length": 64, "num_frames": 32, "num_channels": 2, "phase": ZeroPhase()}
MEL = {"n_mels": 64, "f_min": 50.0, "f_max": 3000.0, "mel_scale": "htk"}
# For each class, another value of each argument. A new class or argument without a row here fails a test.
OTHER: dict[type, dict[str, Any]] = {
    CQT: FRAMES
    | SCALES
    | {"sample_rate": 22000, "f_min": 40.0, "n_bins": 150, "bins_per_octave": 26}
    | {"filter_scale": 0.9, "log1p_gain": 500.0},
    STFT: FRAMES | SCALES | {"sample_rate": 8000, "n_fft": 1024, "num_bins": 512, "win_length": 1024},
    LogMel: FRAMES
    | SCALES
    | MEL
    | {"sample_rate": 8000, "n_fft": 2048, "win_length": 512, "norm": "slaney", "power": 2},
    MFCC: FRAMES | MEL | {"sample_rate": 8000, "n_fft": 1024, "n_mfcc": 13, "floor_db": -70.0, "ceil_db": 5.0},
    GriffinLim: {"num_iterations": 8, "momentum": 0.5, "start": "spsi"},
    GradientInversion: {"num_steps": 10, "learning_rate": 0.1, "start": ZeroPhase()},
    SPSI: {},
    ZeroPhase: {},
    Denoise: {"stationary": True, "reduction": 0.5, "padding": 0},
    NormalizeLoudness: {"target_lufs": -20.0, "max_peak": 0.5},
    TrimSilence: {"threshold_db": 60.0},
    DropEmpty: {"min_seconds": 0.1, "threshold": -3.0, "empty_fraction": 0.5},
    Pipeline: {"transform": LogMel(8000), "steps": [TrimSilence()], "crop": "center", "min_seconds": 0.1}
    | {"segment_seconds": 30.0, "cut": True},
    VGGish: {"weights": "other_vggish.pth", "last_relu": True, "patch_hop": 48},
    Inception: {"weights": "other_inception.pth"},
    Classifier: {"weights": "voices", "name": "speaker"},
    Clap: {"model": "other_clap"},
    Pretrained: {"model": "other_encoder", "rows": "frame", "name": "encoder"},
}
GIVEN: dict[type, dict[str, Any]] = {
    Pipeline: {"transform": LogMel()},
    VGGish: {"weights": "vggish.pth"},
    Inception: {"weights": "inception.pth"},
    Classifier: {"weights": "digits"},
    Clap: {"model": "clap"},
    Pretrained: {"model": "encoder"},
}
# Where weights come from changes nothing: their content counts. `full_rank` decides what is an error.
WITHOUT_EFFECT = {"download", "cache", "full_rank"}


def subclasses(base: type) -> Iterator[type]:
    for kind in base.__subclasses__():
        yield kind
        yield from subclasses(kind)


def classes_of_the_package() -> set[type]:
    """Return all concrete transforms, phase methods, preprocessing steps and embeddings of the package."""
    for module in pkgutil.walk_packages(audiogen.__path__, "audiogen."):
        if module.name.startswith(("audiogen.audio", "audiogen.transforms", "audiogen.metrics")):
            importlib.import_module(module.name)
    bases = (SpectrogramTransform, PhaseMethod, PreprocessStep, Embedding)
    found = {kind for base in bases for kind in subclasses(base) if kind.__module__.startswith("audiogen.")}
    return {kind for kind in found if not inspect.isabstract(kind)}


def arguments(kind: type) -> list[str]:
    parameters = inspect.signature(kind).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save two sets of random weights for each embedding."""
    folder = tmp_path_factory.mktemp("weights")
    for seed, prefix in enumerate(("", "other_")):
        save_random_weights(folder / f"{prefix}inception.pth", seed)
        torch.manual_seed(seed)
        torch.save(VGGishNetwork().state_dict(), folder / f"{prefix}vggish.pth")
        save_clap(folder / f"{prefix}clap", fused=bool(seed))
        save_wav2vec2(folder / f"{prefix}encoder", ("Wav2Vec2Model", "Wav2Vec2ForCTC")[seed])
    return folder


def build(kind: type, folder: Path, values: Mapping[str, Any]) -> Any:
    """Build an object; names of files in `folder` become paths."""
    return kind(**{name: str(folder / value) if in_folder(folder, value) else value for name, value in values.items()})


def in_folder(folder: Path, value: Any) -> bool:
    return isinstance(value, str) and (folder / value).exists()


def key(thing: Any) -> str:
    return store_key([], thing) if isinstance(thing, Pipeline) else fingerprint(thing)


def test_every_class_and_argument_has_another_value() -> None:
    kinds = classes_of_the_package()
    assert kinds == set(OTHER) - {Pipeline}
    missing = {kind: set(arguments(kind)) - set(OTHER[kind]) - WITHOUT_EFFECT for kind in OTHER}
    assert {kind: names for kind, names in missing.items() if names} == {}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, values in OTHER.items() for name in values])
def test_other_argument_gives_another_key(kind: type, name: str, folder: Path) -> None:
    given = GIVEN.get(kind, {})
    plain = build(kind, folder, given)
    assert key(build(kind, folder, given)) == key(plain)
    assert key(build(kind, folder, given | {name: OTHER[kind][name]})) != key(plain)


def test_classes_without_arguments_have_different_keys() -> None:
    assert fingerprint(SPSI()) != fingerprint(ZeroPhase())
