"""Read the Free Spoken Digit Dataset (Jakobovski et al., CC BY-SA 4.0): 3,000 digits by six speakers at 8 kHz.

Files are named `{digit}_{speaker}_{take}.wav`. Takes 0 to 4 are the official test set and takes 5 to 49 the training
set. Some of the training takes are used for validation here.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from audiogen.data.datasets.dataset import AudioDataset, AudioItem, DatasetError, Split, existing_folder

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUM_TAKES = 50
NUM_TEST_TAKES = 5
_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<take>\d+)")


class FSDD(AudioDataset):
    """List the Free Spoken Digit Dataset with its official test split.

    Args:
        label: What the classes are: "digit" (zero ... nine) or "speaker".
        val_takes: Number of takes used for validation, from the start of the official training set, 0 to 44.
        speakers: Speakers to use, in the order of their classes; null for all.

    Raises:
        ValueError: If `val_takes` is out of range.
    """

    def __init__(
        self, label: Literal["digit", "speaker"] = "digit", val_takes: int = 8, speakers: list[str] | None = None
    ) -> None:
        if not 0 <= val_takes < NUM_TAKES - NUM_TEST_TAKES:
            raise ValueError(f"val_takes must be in [0, {NUM_TAKES - NUM_TEST_TAKES}), got {val_takes}")
        self.label, self.val_takes, self.speakers = label, val_takes, speakers
        self.label_order = DIGITS if label == "digit" else tuple(speakers or ())

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List the `*.wav` files in `root` or in its folder `recordings`, as in the original repository."""
        folder = existing_folder(root)
        if (folder / "recordings").is_dir():
            folder = folder / "recordings"
        found = [(path, _NAME.fullmatch(path.stem)) for path in sorted(folder.glob("*.wav"))]
        named = [(path, match) for path, match in found if match]
        if not named:
            raise DatasetError(f"no files named {{digit}}_{{speaker}}_{{take}}.wav in {folder}: is this FSDD?")
        known = {match["speaker"] for _, match in named}
        if missing := [name for name in self.speakers or () if name not in known]:
            raise DatasetError(f"no speaker {', '.join(missing)} in {folder}, only {', '.join(sorted(known))}")
        return [
            AudioItem(
                path,
                DIGITS[int(match["digit"])] if self.label == "digit" else match["speaker"],
                self._split(int(match["take"])),
            )
            for path, match in named
            if self.speakers is None or match["speaker"] in self.speakers
        ]

    def _split(self, take: int) -> Split:
        if take < NUM_TEST_TAKES:
            return "test"
        return "val" if take < NUM_TEST_TAKES + self.val_takes else "train"
