"""Find published weights on disk, or download them on request."""

import textwrap
import zipfile
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from audiogen.untrusted import UntrustedFileError, is_regular, require_stored_zip

VGGISH_URL = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"


def weights_file(url: str, weights: str | None, download: bool, cache: str | None) -> Path:
    """Return the path of a weights file.

    Args:
        url: URL of the published file; its name ends in a dash and the first digits of its SHA-256.
        weights: Path of the user's own file; None for the published one.
        download: Whether to download the published file if it is not in `cache`.
        cache: Folder of the published file; None for torch.hub's folder, which other packages use too.

    Raises:
        ValueError: If the file does not exist, or the download fails.
    """
    if weights is not None:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise ValueError(f"no weights file {path}; the published weights are at {url}")
        return path
    folder = Path(torch.hub.get_dir(), "checkpoints") if cache is None else Path(cache).expanduser()
    path = folder / url.rpartition("/")[2]
    if not path.is_file():
        if not download:
            raise ValueError(
                f"no weights {path}: set download to true to download them, save {url} there, or pass a weights file "
                "as weights"
            )
        _download(url, path)
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict.

    Raises:
        ValueError: If the file is not a regular file with a dict of tensors.
    """
    try:
        if not is_regular(path):
            raise UntrustedFileError("it is not a regular file")
        if zipfile.is_zipfile(path):  # older weights files are not
            require_stored_zip(path)
    except UntrustedFileError as error:
        raise ValueError(f"{path} is not a weights file ({error})") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails in many ways on other files
        raise ValueError(f"{path} is not a weights file ({type(error).__name__})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} is not a weights file: expected a dict of tensors")
    return state


def other_weights(path: Path, network: str, error: RuntimeError) -> ValueError:
    """Return the error to raise if `load_state_dict` fails because a file contains another network's weights."""
    return ValueError(f"{path} does not contain the weights of {network}: {textwrap.shorten(str(error), 300)}")


def _download(url: str, path: Path) -> None:
    """Download a file and check its SHA-256. A concurrent download by another process is replaced by an equal file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2])
    except (OSError, RuntimeError, HTTPException) as error:
        raise ValueError(f"{url} could not be downloaded to {path}: {error}") from None
