"""A store is built once, and any change of a file, a setting or the code gives another name."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import Mock

import pytest
import soundfile
import torch
from torch import Tensor

from audiogen import fingerprint
from audiogen.audio.preprocess import PreprocessStep
from audiogen.data import cache, digests
from audiogen.data.cache import cache_folder, cached_store, store_key
from audiogen.data.datasets.dataset import DatasetError
from audiogen.data.digests import file_digests
from audiogen.data.pipeline import Pipeline
from audiogen.transforms.cqt import CQT
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.phase.griffin_lim import GriffinLim
from audiogen.transforms.stft import STFT
from audiogen.transforms.transform import SpectrogramTransform
from tests.data.tiny_sets import MEL, open_store


@dataclass(frozen=True)
class Louder(PreprocessStep):
    gain: float = 2.0

    def __call__(self, wav: Tensor, sample_rate: int) -> Tensor:
        return wav * self.gain


def test_second_opening_reads_no_sound(files: list[Path], tmp_path: Path, builds: list[Path]) -> None:
    first = open_store(files, tmp_path)
    assert builds == files
    second = open_store(files, tmp_path)
    assert builds == files
    assert second.folder == first.folder
    segments = range(len(files))
    assert torch.equal(first.read(segments, [0.0] * 4, 24), second.read(segments, [0.0] * 4, 24))


def test_changed_file_is_detected_even_with_the_same_size_and_time(
    files: list[Path], tmp_path: Path, builds: list[Path]
) -> None:
    before = open_store(files, tmp_path).read([1], [0.0], 24)
    stat = files[1].stat()
    samples, rate = soundfile.read(files[1])
    soundfile.write(files[1], -samples[::-1] / 2, rate)
    os.utime(files[1], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert files[1].stat().st_size == stat.st_size
    assert not torch.equal(open_store(files, tmp_path).read([1], [0.0], 24), before)
    assert builds == files * 2


def test_touched_or_moved_file_keeps_the_key(files: list[Path], tmp_path: Path, builds: list[Path]) -> None:
    open_store(files, tmp_path)
    os.utime(files[0])
    files[2] = files[2].rename(tmp_path / "moved.wav")
    open_store(files, tmp_path)
    assert len(builds) == len(files)


def test_missing_file_that_appears_is_noticed(files: list[Path], tmp_path: Path) -> None:
    content = files[0].read_bytes()
    files[0].unlink()
    assert open_store(files, tmp_path).reasons == {0: "unreadable (no such file)"}
    files[0].write_bytes(content)
    assert open_store(files, tmp_path).reasons == {}


def transforms() -> dict[str, SpectrogramTransform]:
    mels = [
        {},
        {"hop_length": 32},
        {"n_mels": 20},
        {"f_min": 50.0},
        {"f_max": 3000.0},
        {"mel_scale": "htk", "n_mels": 20},
        {"norm": "slaney"},
        {"power": 2},
        {"scale": "log1p"},
        {"floor_db": -70.0},
        {"ceil_db": 0.0},
        {"num_frames": 25},
        {"num_channels": 2},
        {"win_length": 200},
        {"n_fft": 512},
        {"sample_rate": 8001},
    ]
    others: dict[str, SpectrogramTransform] = {
        "stft": STFT(8000, 256, 64, 24),
        "stft bins": STFT(8000, 256, 64, 24, num_bins=128),
        "mfcc": MFCC(8000, 256, 64, 12, 24, 24),
        "cqt": CQT(8000, 64, 100.0, 24, 12, 24),
        "cqt f_min": CQT(8000, 64, 101.0, 24, 12, 24),
        "cqt filter_scale": CQT(8000, 64, 100.0, 24, 12, 24, filter_scale=0.9),
    }
    return {str(options): LogMel(**{**MEL, **options}) for options in mels} | others


def test_every_setting_is_part_of_the_key() -> None:
    pipeline = Pipeline(LogMel(**MEL))
    keys = {name: store_key(["a"], Pipeline(transform)) for name, transform in transforms().items()}
    others = {
        "crop": replace(pipeline, crop="random"),
        "min_seconds": replace(pipeline, min_seconds=0.1),
        "segment_seconds": replace(pipeline, segment_seconds=10.0),
        "step": replace(pipeline, steps=(Louder(),)),
        "gain": replace(pipeline, steps=(Louder(3.0),)),
        "twice": replace(pipeline, steps=(Louder(), Louder())),
    }
    keys |= {name: store_key(["a"], other) for name, other in others.items()}
    keys["files"] = store_key(["a", "b"], pipeline)
    keys["order"] = store_key(["b", "a"], pipeline)
    assert len(set(keys.values())) == len(keys)


def test_key_is_the_same_for_the_same_settings_and_for_any_phase_method() -> None:
    keys = {store_key(["a"], Pipeline(LogMel(**MEL, phase=phase))) for phase in (None, GriffinLim(5), GriffinLim(50))}
    assert len(keys) == 1


def test_changed_code_and_versions_change_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plug_in.py").write_text("class Step:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import plug_in  # type: ignore[import-not-found]

    pipeline = Pipeline(LogMel(**MEL), (plug_in.Step(),))
    before = store_key(["a"], pipeline)
    (tmp_path / "plug_in.py").write_text("class Step:\n    gain = 2\n")
    changed = store_key(["a"], pipeline)
    assert changed != before
    monkeypatch.setattr(fingerprint, "_version", lambda name: "0")
    assert store_key(["a"], pipeline) != changed


@pytest.mark.parametrize("damage", [b"no database at all " * 100, None])
def test_damaged_or_read_only_digest_cache_is_ignored(files: list[Path], tmp_path: Path, damage: bytes) -> None:
    expected = file_digests(files, tmp_path)
    if damage:
        (tmp_path / "digests.sqlite").write_bytes(damage)
    else:
        (tmp_path / "digests.sqlite").unlink()
        (tmp_path / "digests.sqlite").mkdir()
    assert file_digests(files, tmp_path) == expected
    assert file_digests(files, tmp_path) == expected


def test_cache_that_cannot_be_made_names_the_option(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DatasetError, match=r"Name another folder with --data\.cache"):
        open_store(files, tmp_path)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Act as an unprivileged user, because root may read and write everything."""
    if os.getuid() != 0:
        pytest.skip("only root can act as another user")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("what", ["the store", "the folder", "the lock", "the unfinished store"])
def test_unusable_cache_of_another_user_is_reported_before_building(
    files: list[Path], builds: list[Path], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "store_key", lambda digests, pipeline: "key")  # the code may be readable only by root
    with TemporaryDirectory() as name:  # only its owner can enter pytest's folder
        folder = Path(name)
        folder.chmod(0o755)
        store = cached_store(files, Pipeline(LogMel(**MEL)), folder / "cache", num_workers=1).folder
        (folder / "cache").chmod(0o755 if what == "the folder" else 0o777)
        if what == "the store":
            store.chmod(0o700)
        elif what == "the unfinished store":
            store.rename(f"{store}.unfinished")
            Path(f"{store}.lock").unlink(missing_ok=True)
        else:
            shutil.rmtree(store)
            Path(f"{store}.lock").touch(0o600)
            Path(f"{store}.lock").chmod(0o600)
        for path in files:
            path.rename(folder / path.name).chmod(0o644)
        builds.clear()
        paths = [folder / path.name for path in files]
        with (
            as_nobody(),
            pytest.raises(DatasetError, match=r"cannot use the cache .*Name another folder with --data\.cache or"),
        ):
            cached_store(paths, Pipeline(LogMel(**MEL)), folder / "cache", num_workers=1)
        assert builds == []


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_path_that_blocks_a_store_is_removed_or_reported_before_building(
    files: list[Path], tmp_path: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_store(files, tmp_path).folder
    shutil.rmtree(folder)
    (folder / "something").mkdir(parents=True)
    assert open_store(files, tmp_path).is_whole()
    shutil.rmtree(folder)
    folder.write_text("a file")
    assert open_store(files, tmp_path).is_whole()
    builds.clear()
    shutil.rmtree(folder)
    (folder / "something").mkdir(parents=True)
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **options: None)  # as with a folder of another user
    with pytest.raises(DatasetError, match="is damaged and cannot be removed"):
        open_store(files, tmp_path)
    assert builds == []


def test_missing_home_folder_is_reported_with_the_variables_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUDIOGEN_CACHE")
    monkeypatch.setenv("HOME", "")
    with pytest.raises(DatasetError, match=r"set HOME or AUDIOGEN_CACHE, or use --data\.cache"):
        cache_folder()
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "expanduser", Mock(side_effect=RuntimeError("Could not determine home directory.")))
    with pytest.raises(DatasetError, match=r"set HOME or AUDIOGEN_CACHE, or use --data\.cache"):
        cache_folder()


def test_digests_of_unchanged_files_are_not_computed_again(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = file_digests(files, tmp_path)
    assert len(set(first)) == 4
    monkeypatch.setattr(digests, "file_digest", lambda path: "computed")
    assert file_digests(files, tmp_path) == first
    files[3].write_bytes(b"other")
    assert file_digests(files, tmp_path) == [*first[:3], "computed"]
