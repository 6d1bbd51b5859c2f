"""Published weights: a file that is there, or a download on request."""

import textwrap
import zipfile
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from audiogen.untrusted import UntrustedFileError, is_regular, require_stored_zip

VGGISH_URL = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"


def weights_file(url: str, weights: str | None, download: bool, cache: str | None) -> Path:
    """Return the file of weights.

    Args:
        url: Where they are published; the name of the file ends in a dash and the first digits of its SHA-256.
        weights: A file of the user's; None for the published one.
        download: Download the published file into `cache` if it is not there.
        cache: Folder of the published file; None for the one where torch.hub and other packages keep it too.

    Raises:
        ValueError: Where there is no file, or the download fails.
    """
    if weights is not None:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise ValueError(f"no file of weights {path}; the published ones are {url}")
        return path
    folder = Path(torch.hub.get_dir(), "checkpoints") if cache is None else Path(cache).expanduser()
    path = folder / url.rpartition("/")[2]
    if not path.is_file():
        if not download:
            raise ValueError(
                f"no weights {path}: set download to true to download them, or put {url} there, or name a file of them "
                "with weights"
            )
        _download(url, path)
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict.

    Raises:
        ValueError: For a file of something else.
    """
    try:
        if not is_regular(path):
            raise UntrustedFileError("it is not a regular file")
        if zipfile.is_zipfile(path):  # older files of weights are none
            require_stored_zip(path)
    except UntrustedFileError as error:
        raise ValueError(f"{path} is not a file of weights ({error})") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails in many ways on bytes that are not its own
        raise ValueError(f"{path} is not a file of weights ({type(error).__name__})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} is not a file of weights: expected tensors by their names")
    return state


def other_weights(path: Path, network: str, error: RuntimeError) -> ValueError:
    """Return what to raise where `load_state_dict` finds that a file holds the weights of another network."""
    return ValueError(f"{path} does not hold the weights of {network}: {textwrap.shorten(str(error), 300)}")


def _download(url: str, path: Path) -> None:
    """Download a file and check its SHA-256; one that another process downloads too is replaced by its equal."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2])
    except (OSError, RuntimeError, HTTPException) as error:
        raise ValueError(f"{url} could not be downloaded to {path}: {error}") from None
