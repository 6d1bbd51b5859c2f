"""Spectrograms as WebDataset shards: for many machines, and for sets that are streamed from elsewhere.

A shard is a tar file of about a thousand clips from all over the set: `*.spec.npy`, int16 [L, C, F] as in `store`. An
index beside the shards names the classes and tells what each clip is. Shards are read whole, from a folder or any
address that webdataset opens, and those in use are kept in memory.
"""

import json
import tarfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiogen.data.build import Recipe
from audiogen.data.cache import definition
from audiogen.data.dataset import DatasetError, Split
from audiogen.data.loading import LoadedData, Spectrograms
from audiogen.data.store import Store

INDEX = "index.json"
KEPT_SHARDS = 4  # two in use by the training, two by a pass over another split


def write_shards(data: LoadedData, recipe: Recipe, folder: Path, clips_per_shard: int) -> int:
    """Write all splits of a data set as shards.

    Args:
        data: What is written.
        recipe: How its files became spectrograms; its definition goes along.
        folder: As `new_shard_folder` returned it.
        clips_per_shard: Clips in a shard, in memory at once when it is read.

    Returns:
        The number of shards.

    """
    writer = _webdataset().TarWriter
    index: dict[str, Any] = {
        "recipe": definition(recipe),
        "label_names": data.label_names,
        "shards": [],
    }
    for split, clips in data.splits.items():
        order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(0))
        for rows in order.split(clips_per_shard):
            segments = clips.segment[rows]
            name = f"{split}-{len(index['shards']):06d}.tar"
            with writer(str(folder / name)) as shard:
                for number, segment in enumerate(segments.tolist()):
                    shard.write({"__key__": f"{number:06d}", "spec.npy": clips.store.frames(segment)})
            lengths, labels = clips.store.num_frames[segments].tolist(), clips.label[rows].tolist()
            index["shards"].append({"name": name, "split": split, "num_frames": lengths, "label": labels})
    (folder / INDEX).write_text(json.dumps(index))
    return len(index["shards"])


def load_shards(address: str, recipe: Recipe) -> LoadedData:
    """Open a set of shards.

    Args:
        address: The folder or its URL.
        recipe: What is configured: the shards must have been written with the same.

    Raises:
        DatasetError: Where there are none, or they hold other spectrograms.
    """
    address = address.rstrip("/") if "://" in address else str(Path(address).expanduser())
    index = _read_index(address)
    there, wanted = index["recipe"]["state"], json.loads(json.dumps(definition(recipe)))["state"]
    if other := [name for name in wanted if there.get(name) != wanted[name]]:
        raise DatasetError(f"the shards in {address} were written with other settings of data: {', '.join(other)}")
    store = ShardStore(address, index)
    shard_of = torch.tensor([i for i, shard in enumerate(index["shards"]) for _ in shard["label"]])
    labels = torch.tensor([label for shard in index["shards"] for label in shard["label"]])
    names = [shard["split"] for shard in index["shards"]]
    splits: dict[Split, Spectrograms] = {}
    for name in dict.fromkeys(names):
        rows = torch.tensor([names[i] == name for i in shard_of.tolist()]).nonzero()[:, 0]
        groups = [len(shard["label"]) for shard in index["shards"] if shard["split"] == name]
        splits[name] = Spectrograms(store, rows, labels[rows], recipe.transform.shape[2], groups)
    return LoadedData(index["label_names"], splits, [], [], [], None)


class ShardStore(Store):
    """Reads clips from shards, each shard as a whole.

    Args:
        address: The folder of the shards or its URL.
        index: What `write_shards` wrote beside them.
    """

    def __init__(self, address: str, index: dict[str, Any]) -> None:
        self.address = address
        self.sizes = [len(shard["label"]) for shard in index["shards"]]
        self.names = [shard["name"] for shard in index["shards"]]
        self.num_frames = torch.tensor([length for shard in index["shards"] for length in shard["num_frames"]])
        self.places = [(i, row) for i, shard in enumerate(index["shards"]) for row in range(len(shard["label"]))]
        self._kept: OrderedDict[int, list[np.ndarray]] = OrderedDict()

    def frames(self, segment: int) -> np.ndarray:
        """Return all frames of a clip, int16 [L, C, F]."""
        shard, row = self.places[segment]
        if shard not in self._kept:
            self._kept[shard] = self._read(shard)
        self._kept.move_to_end(shard)
        if len(self._kept) > KEPT_SHARDS:
            self._kept.popitem(last=False)
        return self._kept[shard][row]

    def _read(self, shard: int) -> list[np.ndarray]:
        url = f"{self.address}/{self.names[shard]}"
        try:
            samples = _webdataset().tariterators.tarfile_samples([{"url": url}])
            clips = [np.load(BytesIO(sample["spec.npy"])) for sample in samples]
        except (OSError, KeyError, ValueError, tarfile.TarError) as error:
            raise DatasetError(f"cannot read shard {url}: {error}") from error
        if len(clips) != self.sizes[shard]:
            raise DatasetError(f"shard {url} is damaged: {len(clips)} of {self.sizes[shard]} clips")
        return clips


def new_shard_folder(folder: str) -> Path:
    """Make a folder for shards, before the work for them is done.

    Raises:
        DatasetError: Where the extra `shards` is missing, the folder holds shards already, or it is an address.
    """
    _webdataset()
    if "://" in folder:
        raise DatasetError(f"shards are written to a folder, got {folder}: copy them there afterwards")
    place = Path(folder).expanduser()
    if (place / INDEX).exists():
        raise DatasetError(f"{place} holds shards already: name another folder")
    place.mkdir(parents=True, exist_ok=True)
    return place


def _read_index(address: str) -> dict[str, Any]:
    try:
        with _webdataset().gopen(f"{address}/{INDEX}") as file:
            return json.loads(file.read())
    except (OSError, ValueError) as error:
        raise DatasetError(f"no shards in {address}: {error}") from error


def _webdataset() -> Any:
    try:
        import webdataset
    except ImportError as error:
        raise DatasetError("shards need the 'shards' extra: pip install 'audiogen[shards]'") from error
    return webdataset
