"""Published weights are found, downloaded on request, or refused with the file's name."""

import hashlib
from http.client import IncompleteRead
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch

from audiogen.networks.weights import read_weights, weights_file


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Publish a weights file below tmp_path, named after its SHA-256."""
    torch.save({"a": torch.ones(2)}, tmp_path / "new.pth")
    digest = hashlib.sha256((tmp_path / "new.pth").read_bytes()).hexdigest()
    return (tmp_path / "new.pth").rename(tmp_path / f"weights-{digest[:8]}.pth").as_uri()


def test_missing_weights_error_gives_the_url_and_the_folder(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match=r"no weights .*/cache/weights-\w+.pth: set download to true") as error:
        weights_file(url, None, download=False, cache=str(tmp_path / "cache"))
    assert url in str(error.value)
    assert not (tmp_path / "cache").exists()


def test_weights_are_downloaded_on_request_and_kept(tmp_path: Path, url: str) -> None:
    path = weights_file(url, None, download=True, cache=str(tmp_path / "cache"))
    assert path == tmp_path / "cache" / Path(url).name
    assert torch.equal(read_weights(path)["a"], torch.ones(2))
    (tmp_path / path.name).unlink()  # the published file
    for download in (True, False):
        assert weights_file(url, None, download, cache=str(tmp_path / "cache")) == path


def test_folder_of_torch_hub_is_the_default(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert weights_file(url, None, download=True, cache=None) == tmp_path / "hub" / "checkpoints" / Path(url).name


def test_download_with_another_hash_is_refused(tmp_path: Path, url: str) -> None:
    with (tmp_path / Path(url).name).open("ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match=r"could not be downloaded to .*invalid hash value"):
        weights_file(url, None, download=True, cache=str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("error", [URLError("no route"), ConnectionError("reset"), IncompleteRead(b"")])
def test_failed_download_error_gives_the_reason(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(ValueError, match=r"could not be downloaded to .*(no route|reset|IncompleteRead)"):
        weights_file(url, None, download=True, cache=str(tmp_path / "cache"))


def test_users_file_is_used_unchanged(tmp_path: Path) -> None:
    (tmp_path / "own.pth").touch()
    assert weights_file("unused", str(tmp_path / "own.pth"), download=True, cache=None) == tmp_path / "own.pth"
    with pytest.raises(ValueError, match=r"no weights file .*other.pth"):
        weights_file("unused", str(tmp_path / "other.pth"), download=True, cache=None)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"])
def test_file_without_weights_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad.pth is not a weights file"):
        read_weights(tmp_path / "bad.pth")


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("ran",)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, Harmful()])
def test_only_a_dict_of_tensors_is_read(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"bad.pth is not a weights file"):
        read_weights(tmp_path / "bad.pth")
