"""Spectrograms as WebDataset shards: for many machines, and for sets that are streamed from elsewhere.

A shard is a tar file of about a thousand clips from all over the set: `*.spec.npy`, int16 [L, C, F] as in `store`. An
index beside the shards names the classes and tells what each clip is. Shards are read whole, from a folder or any
address that webdataset opens, and those in use are kept in memory. They may come from others: the index is checked, and
a clip takes no more memory than the index says it needs.
"""

import json
import math
import re
import tarfile
from collections import OrderedDict
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlparse

import numpy as np
import torch

from audiogen.atomic import replacing, write_text
from audiogen.data.cache import definition
from audiogen.data.datasets.archive import MAX_HEADER, LimitedStream
from audiogen.data.datasets.dataset import DatasetError, Split
from audiogen.data.loading import LoadedData, Spectrograms
from audiogen.data.pipeline import Pipeline
from audiogen.data.store import Store
from audiogen.outputs import check_output_folder, start_output_folder
from audiogen.untrusted import is_plain_name, is_regular

INDEX = "index.json"
KEPT_SHARDS = 4  # two in use by the training, two by a pass over another split
_NAME = re.compile(r"[\w-][\w.-]*\.tar")
_SCHEMES = ("file", "http", "https", "ftps", "sftp", "scp", "gs", "htgs", "hf", "ais", "s3")  # but not "pipe"
_MAX_INDEX = 1 << 28  # bytes; a million clips are 20 MB
_MAX_FRAMES = 1 << 31  # of a clip
_MAX_HEADER = 1024  # bytes of the header of an array
_MAX_EXTRA = 8192  # bytes of a clip's headers in the archive and of the array, and of what fills up the blocks


def write_shards(data: LoadedData, pipeline: Pipeline, folder: Path, clips_per_shard: int) -> int:
    """Write all splits of a data set as shards.

    Args:
        data: What is written.
        pipeline: How its files became spectrograms; its definition goes along.
        folder: As `new_shard_folder` returned it.
        clips_per_shard: Clips in a shard, in memory at once when it is read.

    Returns:
        The number of shards.

    """
    writer = _webdataset().TarWriter
    index: dict[str, Any] = {
        "pipeline": definition(pipeline),
        "label_names": data.label_names,
        "shards": [],
    }
    num = {split: -(-len(clips) // clips_per_shard) for split, clips in data.splits.items()}
    splits = [split for split in data.splits for _ in range(num[split])]
    names = [f"{split}-{index:06d}.tar" for index, split in enumerate(splits)]
    start_output_folder(folder, [*names, INDEX], [clip.path for clip in data.clips])
    for split, clips in data.splits.items():
        order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(0))
        for rows in order.split(clips_per_shard):
            segments = clips.segment[rows]
            name = names[len(index["shards"])]
            with replacing(folder / name) as file, writer(file) as shard:
                for number, segment in enumerate(segments.tolist()):
                    shard.write({"__key__": f"{number:06d}", "spec.npy": clips.store.frames(segment)})
            lengths, labels = clips.store.num_frames[segments].tolist(), clips.label[rows].tolist()
            index["shards"].append({"name": name, "split": split, "num_frames": lengths, "label": labels})
    write_text(folder / INDEX, json.dumps(index))  # last: without it the folder holds no shards
    return len(index["shards"])


def load_shards(address: str, pipeline: Pipeline) -> LoadedData:
    """Open a set of shards.

    Args:
        address: The folder or its URL.
        pipeline: What is configured: the shards must have been written with the same.

    Raises:
        DatasetError: Where there are none, or they hold other spectrograms.
    """
    address = address.rstrip("/") if "://" in address else str(Path(address).expanduser())
    index = _checked(_read_index(address), address, pipeline.transform.shape[2])
    there, wanted = index["pipeline"]["state"], json.loads(json.dumps(definition(pipeline)))["state"]
    if other := [name for name in wanted if there.get(name) != wanted[name]]:
        raise DatasetError(f"the shards in {address} were written with other settings of data: {', '.join(other)}")
    store = ShardStore(address, index, pipeline.transform.shape[:2])
    shard_of = torch.tensor([i for i, shard in enumerate(index["shards"]) for _ in shard["label"]])
    labels = torch.tensor([label for shard in index["shards"] for label in shard["label"]])
    names = [shard["split"] for shard in index["shards"]]
    splits: dict[Split, Spectrograms] = {}
    for name in dict.fromkeys(names):
        rows = torch.tensor([names[i] == name for i in shard_of.tolist()]).nonzero()[:, 0]
        groups = [len(shard["label"]) for shard in index["shards"] if shard["split"] == name]
        splits[name] = Spectrograms(store, rows, labels[rows], pipeline.transform.shape[2], groups, pipeline.silence())
    return LoadedData(index["label_names"], splits, [], [], [], None)


class ShardStore(Store):
    """Reads clips from shards, each shard as a whole.

    Args:
        address: The folder of the shards or its URL.
        index: What `write_shards` wrote beside them.
        shape: (C, F) of a frame.
    """

    def __init__(self, address: str, index: dict[str, Any], shape: tuple[int, ...]) -> None:
        self.address, self.shape = address, shape
        self.sizes = [len(shard["label"]) for shard in index["shards"]]
        self.names = [shard["name"] for shard in index["shards"]]
        self.num_frames = torch.tensor([length for shard in index["shards"] for length in shard["num_frames"]])
        self.places = [(i, row) for i, shard in enumerate(index["shards"]) for row in range(len(shard["label"]))]
        self._first = [0, *accumulate(self.sizes)]
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
        url, first = f"{self.address}/{self.names[shard]}", self._first[shard]
        lengths = self.num_frames[first : first + self.sizes[shard]].tolist()
        try:
            with _opened(url) as file:
                stream: Any = LimitedStream(
                    file, sum(_num_bytes((n, *self.shape)) + _MAX_EXTRA for n in lengths) + MAX_HEADER
                )
                with tarfile.open(fileobj=stream, mode="r|") as archive:
                    clips = [_clip(archive, stream, (length, *self.shape)) for length in lengths]
                    if archive.next() is not None:
                        raise ValueError(f"more than {len(lengths)} clips")
        except (OSError, EOFError, ValueError, tarfile.TarError) as error:
            raise DatasetError(f"cannot read shard {url}: {error}") from error
        return clips


def _num_bytes(shape: tuple[int, ...]) -> int:
    return 2 * math.prod(shape)


def _clip(archive: tarfile.TarFile, limits: LimitedStream, shape: tuple[int, ...]) -> np.ndarray:
    """Read the next clip of a shard, int16 of a shape that is known: no more memory is taken than that needs.

    Raises:
        ValueError: Where it is something else.
    """
    member = archive.next()
    is_plain = member is not None and member.isreg() and member.sparse is None
    stream = archive.extractfile(member) if member is not None and is_plain else None
    if member is None or stream is None:
        raise ValueError("clips are missing" if member is None else f"{member.name} is no clip")
    num_bytes = _num_bytes(shape)
    if not num_bytes < member.size <= num_bytes + _MAX_HEADER:
        raise ValueError(f"{member.name} has {member.size} bytes, but a clip {list(shape)} about {num_bytes}")
    limits.left_now = member.size + MAX_HEADER
    content = BytesIO(stream.read())
    limits.left_now = MAX_HEADER
    version = np.lib.format.read_magic(content)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    found = read_header[version](content) if version in read_header else None
    if found != (shape, False, np.dtype(np.int16)):
        raise ValueError(f"{member.name} is no int16 {list(shape)}: its header says {found}")
    return np.frombuffer(content.getbuffer()[content.tell() :], np.int16).reshape(shape)


def new_shard_folder(folder: str, overwrite: bool = False) -> Path:
    """Make a folder for shards, before the work for them is done.

    Args:
        folder: New or empty.
        overwrite: Allow earlier shards in it, which are removed.

    Raises:
        DatasetError: Where the extra `shards` is missing, the folder holds shards already, or it is an address.
        OutputError: If the folder holds files of other origin, or cannot be written.
    """
    _webdataset()
    if "://" in folder:
        raise DatasetError(f"shards are written to a folder, got {folder}: copy them there afterwards")
    place = Path(folder).expanduser()
    if (place / INDEX).exists() and not overwrite:
        raise DatasetError(f"{place} holds shards already: name another folder")
    return check_output_folder(place, overwrite)


def _read_index(address: str) -> Any:
    try:
        with _opened(f"{address}/{INDEX}") as file:
            text = file.read(_MAX_INDEX + 1)
        if len(text) > _MAX_INDEX:
            raise ValueError(f"{INDEX} has more than {_MAX_INDEX} bytes")
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"no shards in {address}: {error}") from error


def _checked(index: Any, address: str, least_frames: int) -> dict[str, Any]:
    """Return an index if all it says can be believed: names become addresses, numbers indices and sizes in memory.

    Raises:
        DatasetError: Where it is something else.
    """
    try:
        names, shards = index["label_names"], index["shards"]
        good = [all(isinstance(name, str) and is_plain_name(name) for name in names), "state" in index["pipeline"]]
        for shard in shards:
            good += [bool(_NAME.fullmatch(shard["name"])), shard["split"] in get_args(Split)]
            good.append(len(shard["label"]) == len(shard["num_frames"]))
            good.append(all(type(label) is int and 0 <= label < max(len(names), 1) for label in shard["label"]))
            good.append(all(type(num) is int and least_frames <= num < _MAX_FRAMES for num in shard["num_frames"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{address}/{INDEX} is no index of shards: {type(error).__name__} {error}") from error
    if not all(good):
        raise DatasetError(f"{address}/{INDEX} is damaged: it names other files than shards, or numbers out of range")
    return index


def _opened(url: str) -> Any:
    """Open a file of a folder, or an address; webdataset would also run the command that an address may be.

    Raises:
        OSError: Where it cannot be opened.
        ValueError: For an address that is a command or of an unknown kind.
    """
    parsed = urlparse(url)
    near = url if "://" not in url else unquote(parsed.path) if parsed.scheme == "file" else None
    if near is not None and Path(near).exists() and not is_regular(Path(near)):
        raise ValueError("expected a regular file")
    if "://" not in url:
        return open(url, "rb")
    if parsed.scheme not in _SCHEMES:
        raise ValueError(f"expected a folder or an address ({', '.join(_SCHEMES)})")
    return _webdataset().gopen(url)


def _webdataset() -> Any:
    try:
        import webdataset
    except ImportError as error:
        raise DatasetError("shards need the 'shards' extra: pip install 'audiogen[shards]'") from error
    return webdataset
