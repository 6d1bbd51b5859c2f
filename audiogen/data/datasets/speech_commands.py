"""Read Speech Commands v0.02 (Warden, 2018, CC BY 4.0): 105,829 clips of 35 words, up to 1 s long, at 16 kHz.

Each word has its own folder. `validation_list.txt` and `testing_list.txt` list the official splits; all other clips are
for training.
"""

import hashlib
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Literal, get_args

import torch

from audiogen.data.datasets.archive import unpack
from audiogen.data.datasets.dataset import AudioDataset, AudioItem, DatasetError, Split, existing_folder
from audiogen.data.datasets.fsdd import DIGITS

Words = Literal["digits", "all"]

VERSION = "speech_commands_v0.02"
# URL and digest as in torchaudio 2.11, datasets/speechcommands.py.
URL = f"http://download.tensorflow.org/data/{VERSION}.tar.gz"
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
MAX_BYTES = 8 << 30  # 105,829 clips of 32 kB and six long ones make 3.5 GB
MAX_FILES = 120_000  # the clips, 36 folders and a few text files
TORCHAUDIO_FOLDER = f"SpeechCommands/{VERSION}"
LISTS: dict[str, Split] = {"validation_list.txt": "val", "testing_list.txt": "test"}


class SpeechCommands(AudioDataset):
    """List Speech Commands with its official splits. The class is the word.

    Args:
        words: Words to use: "digits" for zero ... nine, or "all" for all 35.
        download: Download the data set (2.3 GB) into `--data.root` if it is missing. Do this in a run with a single
            process: every process would download it.

    Raises:
        DatasetError: If `words` is not a valid choice.
    """

    label_order = DIGITS

    def __init__(self, words: Words = "digits", download: bool = False) -> None:
        if words not in get_args(Words):
            raise DatasetError(f"expected words {' or '.join(get_args(Words))}, got {words!r}")
        self.words, self.download = words, download

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List the clips in `root` or in `root/SpeechCommands/speech_commands_v0.02`, as torchaudio lays it out."""
        folder = self._folder(root)
        split_of = _official_splits(folder)
        items = []
        for path in sorted(folder.glob("[!._]*/[!.]*.wav")):  # skips _background_noise_
            word = path.parent.name
            if self.words == "all" or word in DIGITS:
                items.append(AudioItem(path, word, split_of.get(f"{word}/{path.name}", "train")))
        if not items:
            raise DatasetError(f"no folders of words with *.wav files in {folder}: is this Speech Commands?")
        return items

    def _folder(self, root: Path | None) -> Path:
        """Return the folder that contains the words' folders, after downloading it if requested."""
        if self.download and root is not None and not _is_there(root):
            _download(root)
        root = existing_folder(root)
        below = root / TORCHAUDIO_FOLDER
        return below if below.is_dir() else root


def _is_there(root: Path) -> bool:
    return any((root / name).exists() for name in (TORCHAUDIO_FOLDER, *LISTS, *DIGITS))


def _official_splits(folder: Path) -> dict[str, Split]:
    """Return the split of each clip in the official lists by its path below the folder."""
    if missing := [name for name in LISTS if not (folder / name).is_file()]:
        raise DatasetError(f"expected {' and '.join(missing)} in {folder}: is this Speech Commands v0.02?")
    return {path: split for name, split in LISTS.items() for path in (folder / name).read_text().split()}


def _download(root: Path) -> None:
    """Download the archive unless it exists, and unpack it into torchaudio's layout."""
    archive = root / URL.rpartition("/")[2]
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            torch.hub.download_url_to_file(URL, str(archive), hash_prefix=SHA256)
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, RuntimeError, HTTPException) as error:
        raise DatasetError(f"Speech Commands could not be downloaded into {root}: {error}") from error
    if digest != SHA256:
        raise DatasetError(f"{archive} is not {URL}: expected SHA-256 {SHA256}, got {digest}; delete it")
    unpack(archive, root / TORCHAUDIO_FOLDER, MAX_BYTES, MAX_FILES)
