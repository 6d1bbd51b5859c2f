"""Write and read spectrograms as WebDataset shards, for training on many machines or from remote storage.

A shard is a tar file of about a thousand randomly chosen clips: `*.spec.npy`, int16 [L, C, F] as in `store`. An index
beside the shards lists the class names and describes each clip. Shards are read as a whole, from a folder or any URL
that webdataset opens, and the shards in use are kept in memory. Shards may be untrusted: the index is validated, and
reading a clip takes no more memory than its size in the index requires.
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
KEPT_SHARDS = 4  # two for training and two for a pass over another split
_NAME = re.compile(r"[\w-][\w.-]*\.tar")
_SCHEMES = (
    "file",
    "http",
    "https",
    "ftps",
    "sftp",
    "scp",
    "gs",
    "htgs",
    "hf",
    "ais",
    "s3",
)  # no "pipe": it runs commands
_MAX_INDEX = 1 << 28  # bytes; a million clips take 20 MB
_MAX_FRAMES = 1 << 31  # of a clip
_MAX_HEADER = 1024  # bytes of an array's header
_MAX_EXTRA = 8192  # bytes of a clip's tar and array headers and of block padding


def write_shards(data: LoadedData, pipeline: Pipeline, folder: Path, clips_per_shard: int) -> int:
    """Write all splits of a data set as shards.

    Args:
        data: Data to write.
        pipeline: How its files became spectrograms. Its settings are stored in the index.
        folder: Folder returned by `new_shard_folder`.
        clips_per_shard: Clips per shard. A shard is kept in memory while it is read.

    Returns:
        Number of shards.
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
    start_output_folder(folder, [*names, INDEX], [clip.path for clip in data.items])
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
    write_text(folder / INDEX, json.dumps(index))  # last, because the index makes the shards valid
    return len(index["shards"])


def load_shards(url: str, pipeline: Pipeline) -> LoadedData:
    """Open a set of shards.

    Args:
        url: Folder of the shards or its URL.
        pipeline: Configured pipeline, which must equal that of the shards.

    Raises:
        DatasetError: If there are no shards, or if they contain other spectrograms.
    """
    url = url.rstrip("/") if "://" in url else str(Path(url).expanduser())
    index = _checked(_read_index(url), url, pipeline.transform.shape[2])
    stored, wanted = index["pipeline"]["state"], json.loads(json.dumps(definition(pipeline)))["state"]
    if other := [name for name in wanted if stored.get(name) != wanted[name]]:
        raise DatasetError(f"the shards in {url} were written with different data settings: {', '.join(other)}")
    store = ShardStore(url, index, pipeline.transform.shape[:2])
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
    """Read clips from shards, one whole shard at a time.

    Args:
        url: Folder of the shards or its URL.
        index: Content of the index file.
        shape: Shape of a frame, (C, F).
    """

    def __init__(self, url: str, index: dict[str, Any], shape: tuple[int, ...]) -> None:
        self.url, self.shape = url, shape
        self.sizes = [len(shard["label"]) for shard in index["shards"]]
        self.names = [shard["name"] for shard in index["shards"]]
        self.num_frames = torch.tensor([length for shard in index["shards"] for length in shard["num_frames"]])
        self.positions = [(i, row) for i, shard in enumerate(index["shards"]) for row in range(len(shard["label"]))]
        self._first = [0, *accumulate(self.sizes)]
        self._kept: OrderedDict[int, list[np.ndarray]] = OrderedDict()

    def frames(self, segment: int) -> np.ndarray:
        """Return all frames of a clip, int16 [L, C, F]."""
        shard, row = self.positions[segment]
        if shard not in self._kept:
            self._kept[shard] = self._read(shard)
        self._kept.move_to_end(shard)
        if len(self._kept) > KEPT_SHARDS:
            self._kept.popitem(last=False)
        return self._kept[shard][row]

    def _read(self, shard: int) -> list[np.ndarray]:
        url, first = f"{self.url}/{self.names[shard]}", self._first[shard]
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
    """Read the next clip of a shard, int16 of the given shape, without using more memory than it requires.

    Raises:
        ValueError: If the next file is not such a clip.
    """
    member = archive.next()
    is_plain = member is not None and member.isreg() and member.sparse is None
    stream = archive.extractfile(member) if member is not None and is_plain else None
    if member is None or stream is None:
        raise ValueError("clips are missing" if member is None else f"{member.name} is not a clip")
    num_bytes = _num_bytes(shape)
    if not num_bytes < member.size <= num_bytes + _MAX_HEADER:
        raise ValueError(f"{member.name} has {member.size} bytes, expected about {num_bytes} for a clip {list(shape)}")
    limits.left_now = member.size + MAX_HEADER
    content = BytesIO(stream.read())
    limits.left_now = MAX_HEADER
    version = np.lib.format.read_magic(content)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    found = read_header[version](content) if version in read_header else None
    if found != (shape, False, np.dtype(np.int16)):
        raise ValueError(f"{member.name}: expected int16 {list(shape)}, its header has {found}")
    return np.frombuffer(content.getbuffer()[content.tell() :], np.int16).reshape(shape)


def new_shard_folder(folder: str, overwrite: bool = False) -> Path:
    """Create a folder for shards, before any work is done for them.

    Args:
        folder: Path of a new or empty folder.
        overwrite: Replace earlier shards in the folder.

    Raises:
        DatasetError: If the extra `shards` is not installed, the folder already contains shards, or it is a URL.
        OutputError: If the folder contains other files or cannot be written.
    """
    _webdataset()
    if "://" in folder:
        raise DatasetError(f"expected a folder, got the URL {folder}: write the shards to a folder, then upload them")
    path = Path(folder).expanduser()
    if (path / INDEX).exists() and not overwrite:
        raise DatasetError(f"{path} already contains shards: choose another folder")
    return check_output_folder(path, overwrite)


def _read_index(url: str) -> Any:
    try:
        with _opened(f"{url}/{INDEX}") as file:
            text = file.read(_MAX_INDEX + 1)
        if len(text) > _MAX_INDEX:
            raise ValueError(f"{INDEX} has more than {_MAX_INDEX} bytes")
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"no shards in {url}: {error}") from error


def _checked(index: Any, url: str, least_frames: int) -> dict[str, Any]:
    """Return the index if it is valid: names are safe in URLs, and numbers are in range and small enough for memory.

    Raises:
        DatasetError: If it is invalid.
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
        raise DatasetError(f"{url}/{INDEX} is not an index of shards: {type(error).__name__} {error}") from error
    if not all(good):
        raise DatasetError(f"{url}/{INDEX} is invalid: it has names other than shards, or numbers out of range")
    return index


def _opened(url: str) -> Any:
    """Open a file in a folder or at a URL of an allowed scheme; webdataset would also run commands (`pipe:`).

    Raises:
        OSError: If it cannot be opened.
        ValueError: If the scheme is not allowed.
    """
    parsed = urlparse(url)
    local = url if "://" not in url else unquote(parsed.path) if parsed.scheme == "file" else None
    if local is not None and Path(local).exists() and not is_regular(Path(local)):
        raise ValueError("expected a regular file")
    if "://" not in url:
        return open(url, "rb")
    if parsed.scheme not in _SCHEMES:
        raise ValueError(f"expected a folder or a URL ({', '.join(_SCHEMES)})")
    return _webdataset().gopen(url)


def _webdataset() -> Any:
    try:
        import webdataset
    except ImportError as error:
        raise DatasetError("shards need the 'shards' extra: pip install 'audiogen[shards]'") from error
    return webdataset
