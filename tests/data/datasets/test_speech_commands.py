"""Speech Commands: words, official splits, torchaudio's folder, and the download on request."""

import hashlib
import os
import shutil
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torchaudio

from audiogen.data.datasets import speech_commands
from audiogen.data.datasets.dataset import DatasetError
from audiogen.data.datasets.fsdd import DIGITS
from audiogen.data.datasets.speech_commands import SpeechCommands


def write_layout(folder: Path) -> Path:
    """Make four words with three clips each, one of them for validation and one for tests."""
    for word in ("zero", "nine", "marvin", "backward"):
        (folder / word).mkdir(parents=True)
        for name in ("0a7c2a8d_nohash_0", "0a7c2a8d_nohash_1", "1b4c9b89_nohash_0"):
            (folder / word / f"{name}.wav").touch()
    (folder / "_background_noise_").mkdir()
    (folder / "_background_noise_" / "pink_noise.wav").touch()
    for name, clip in {"validation_list.txt": "0a7c2a8d_nohash_1", "testing_list.txt": "1b4c9b89_nohash_0"}.items():
        (folder / name).write_text("".join(f"{word}/{clip}.wav\n" for word in ("backward", "marvin", "nine", "zero")))
    return folder


def test_digits_have_the_official_splits(tmp_path: Path) -> None:
    clips = SpeechCommands().scan(write_layout(tmp_path))
    assert [(clip.path.relative_to(tmp_path).as_posix(), clip.label, clip.split) for clip in clips] == [
        ("nine/0a7c2a8d_nohash_0.wav", "nine", "train"),
        ("nine/0a7c2a8d_nohash_1.wav", "nine", "val"),
        ("nine/1b4c9b89_nohash_0.wav", "nine", "test"),
        ("zero/0a7c2a8d_nohash_0.wav", "zero", "train"),
        ("zero/0a7c2a8d_nohash_1.wav", "zero", "val"),
        ("zero/1b4c9b89_nohash_0.wav", "zero", "test"),
    ]


def test_all_words_leave_out_the_background_noise_and_hidden_files(tmp_path: Path) -> None:
    (write_layout(tmp_path) / "zero" / "._0a7c2a8d_nohash_0.wav").touch()
    clips = SpeechCommands(words="all").scan(tmp_path)
    assert Counter(clip.label for clip in clips) == dict.fromkeys(("zero", "nine", "marvin", "backward"), 3)
    assert Counter(clip.split for clip in clips) == {"train": 4, "val": 4, "test": 4}


@pytest.mark.parametrize("words", ["digits", "all"])
def test_digits_come_first_in_the_order_of_numbers(words: Any) -> None:
    assert SpeechCommands(words).label_order == DIGITS


def test_torchaudio_layout_is_found(tmp_path: Path) -> None:
    folder = write_layout(tmp_path / "SpeechCommands" / "speech_commands_v0.02")
    assert {clip.path.parent.parent for clip in SpeechCommands().scan(tmp_path)} == {folder}


@pytest.mark.parametrize("missing", [["validation_list.txt"], ["validation_list.txt", "testing_list.txt"]])
def test_missing_lists_are_named(tmp_path: Path, missing: list[str]) -> None:
    write_layout(tmp_path)
    for name in missing:
        (tmp_path / name).unlink()
    with pytest.raises(DatasetError, match=f"expected {' and '.join(missing)} in {tmp_path}"):
        SpeechCommands().scan(tmp_path)


def test_folder_without_words_is_refused(tmp_path: Path) -> None:
    for name in ("validation_list.txt", "testing_list.txt"):
        (tmp_path / name).touch()
    with pytest.raises(DatasetError, match=r"no folders of words with \*\.wav files"):
        SpeechCommands().scan(tmp_path)


def test_unknown_choice_of_words_is_refused() -> None:
    with pytest.raises(DatasetError, match="expected words digits or all, got 'commands'"):
        SpeechCommands(words="commands")  # type: ignore[arg-type]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the published archive by a small one; return a list of download paths."""
    layout = write_layout(tmp_path / "layout")
    with tarfile.open(tmp_path / "published.tar.gz", "w:gz") as archive:
        archive.add(layout, ".")
    content = (tmp_path / "published.tar.gz").read_bytes()
    downloads = []

    def download(url: str, path: str, hash_prefix: str) -> None:
        assert url.endswith("/speech_commands_v0.02.tar.gz")
        assert hash_prefix == speech_commands.SHA256
        downloads.append(Path(path))
        Path(path).write_bytes(content)

    monkeypatch.setattr(speech_commands, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    return downloads


def test_missing_data_are_downloaded_on_request_and_unpacked(tmp_path: Path, published: list[Path]) -> None:
    for _ in range(2):
        assert len(SpeechCommands(download=True).scan(tmp_path / "new")) == 6
    assert published == [tmp_path / "new" / "speech_commands_v0.02.tar.gz"]
    assert (tmp_path / "new" / "SpeechCommands" / "speech_commands_v0.02" / "testing_list.txt").is_file()


def test_existing_archive_is_not_downloaded_again(tmp_path: Path, published: list[Path]) -> None:
    SpeechCommands(download=True).scan(tmp_path / "new")
    shutil.rmtree(tmp_path / "new" / "SpeechCommands")
    assert len(SpeechCommands(download=True).scan(tmp_path / "new")) == 6
    assert len(published) == 1


def test_archive_with_another_digest_is_refused(tmp_path: Path, published: list[Path]) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "speech_commands_v0.02.tar.gz").write_bytes(b"another")
    with pytest.raises(DatasetError, match=r"speech_commands_v0\.02\.tar\.gz is not http.*expected SHA-256"):
        SpeechCommands(download=True).scan(tmp_path / "new")
    assert published == []


def test_existing_data_are_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *_, **__: pytest.fail("downloads"))
    assert len(SpeechCommands(download=True).scan(write_layout(tmp_path / "flat"))) == 6
    with pytest.raises(DatasetError, match="does not exist"):
        SpeechCommands().scan(tmp_path / "new")


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("invalid hash value"), ConnectionError("reset")])
def test_failed_download_reports_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(DatasetError, match=r"could not be downloaded into .*(no route|invalid hash value|reset)"):
        SpeechCommands(download=True).scan(tmp_path)


def test_digest_equals_that_in_torchaudio() -> None:
    assert torchaudio.datasets.speechcommands._CHECKSUMS[speech_commands.URL] == speech_commands.SHA256


@pytest.mark.skipif(
    "AUDIOGEN_SPEECH_COMMANDS" not in os.environ, reason="set AUDIOGEN_SPEECH_COMMANDS to the real data"
)
def test_real_data_have_the_official_counts() -> None:
    folder = Path(os.environ["AUDIOGEN_SPEECH_COMMANDS"])
    every_word = SpeechCommands("all").scan(folder)
    assert Counter(clip.split for clip in every_word) == {"train": 84843, "val": 9981, "test": 11005}
    assert len({clip.label for clip in every_word}) == 35
    assert Counter(clip.split for clip in SpeechCommands().scan(folder))["train"] == 31158
