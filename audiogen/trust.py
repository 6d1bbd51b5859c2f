"""Build the objects that an untrusted file describes, from trusted classes and plain values, ignoring its paths.

A config that the user names is code, since any class in it is imported. A checkpoint is not, nor is the `config.yaml`
beside it. Their classes are looked up only in the modules that models are made of and in packages that the user trusts.
Nothing else is imported, and no function is called. There is no global state, so threads can load checkpoints in
parallel.

Arguments are matched with the annotations of constructors, as in jsonargparse: an object, or a function that makes one,
is described by `class_path` and `init_args`. Strings are never interpreted as files, URLs or YAML.
"""

import importlib
import inspect
import math
import os
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from torch.overrides import TorchFunctionMode

TRUST = "AUDIOGEN_TRUST"  # environment variable with further trusted packages, separated by commas
# Excludes embeddings and data sets: some read folders or download what their arguments name.
PARTS_OF_MODELS = tuple(f"audiogen.{part}" for part in ("augment", "models", "networks", "transforms"))
# Further parts that configure an evaluation, for the config beside a checkpoint.
PARTS_OF_RUNS = (*PARTS_OF_MODELS, *(f"audiogen.{part}" for part in ("audio", "callbacks", "data", "metrics")))
# Arguments, of any class, that name files to read or write, or that start a download.
PATH_ARGUMENTS = frozenset(
    {
        *("a", "b", "cache", "dir", "directory", "download", "file", "folder"),
        *("model", "path", "root", "save_dir", "shards", "url", "weights"),
    }
)
_SPEC = {"class_path", "init_args", "dict_kwargs"}
_MAX_NUMBERS = 1 << 28  # elements in all tensors of a model: 1 GiB of float32
_MAX_TENSORS = 100_000


class UntrustedClassError(ValueError):
    """A file names a class that is not trusted."""


class MismatchError(ValueError):
    """A value in a file does not fit its argument."""


@dataclass
class Builder:
    """Builds objects described in a file.

    Args:
        file: The file, for messages.
        parts: Packages of audiogen that are trusted, in addition to those in the environment variable AUDIOGEN_TRUST.
        own: Whether the user wrote the file, so that its paths may be used.
        max_numbers: Limit on the elements of all tensors that constructors make together.

    Attributes:
        dropped: Arguments that were ignored because they name paths or downloads, such as `data.cache`.
    """

    file: Path
    parts: tuple[str, ...] = PARTS_OF_MODELS
    own: bool = False
    max_numbers: int = _MAX_NUMBERS
    dropped: list[str] = field(default_factory=list)

    def build(self, value: Any, kind: Any, name: str) -> Any:
        """Build the object that a plain value describes.

        Args:
            value: dict, list, str, int, float, bool or None; an object is a dict with `class_path` and `init_args`.
            kind: Expected type, such as `SpectrogramTransform` or `list[str]`.
            name: Name of the argument, for messages.

        Raises:
            UntrustedClassError: If a class is not trusted. Nothing has been built in that case.
            MismatchError: If the value does not fit.
        """
        trusted = (*self.parts, *_named_by_user())
        self._look_up_all(value, trusted)
        with _LimitedTensors(self.max_numbers):
            return self._fit(value, kind, name)

    def note(self) -> str:
        """Return a message about the ignored arguments, or an empty string if there are none."""
        names = ", ".join(dict.fromkeys(self.dropped))
        return f"{self.file} may not be your own, so its paths and downloads are ignored: {names}" if names else ""

    def _look_up_all(self, value: Any, trusted: Sequence[str]) -> None:
        """Refuse everything that is not trusted before anything is built."""
        if isinstance(value, dict) and isinstance(value.get("class_path"), str):
            self._class(value["class_path"], trusted)
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            self._look_up_all(part, trusted)

    def _class(self, class_path: str, trusted: Sequence[str]) -> type:
        """Return the class at an import path, importing trusted modules only."""
        module, _, name = class_path.rpartition(".")
        if not _is_in(module, trusted) or not all(part.isidentifier() for part in class_path.split(".")):
            raise UntrustedClassError(f"{self.file} names {class_path}, {_advice(class_path)}")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            raise UntrustedClassError(f"{self.file} names {class_path}, which does not exist: {error}") from None
        if not isinstance(found, type):
            raise UntrustedClassError(f"{self.file} names {class_path}, which is not a class that models use")
        if not _is_in(found.__module__, trusted):
            path = f"{found.__module__}.{found.__qualname__}"
            raise UntrustedClassError(f"{self.file} names {path} as {class_path}, {_advice(path)}")
        return found

    def _fit(self, value: Any, kind: Any, name: str) -> Any:
        """Convert a value to the type of its argument."""
        origin, inner = get_origin(kind), get_args(kind)
        if kind in (Any, inspect.Parameter.empty, object):
            return value
        if origin in (Union, types.UnionType):
            return self._fit_any(value, inner, name)
        if origin is Literal:
            return _checked(value, any(value == one and type(value) is type(one) for one in inner), kind, name)
        if origin in (list, Sequence, Collection, tuple) or kind in (list, tuple):
            return self._fit_sequence(value, kind, name)
        if origin in (dict, Mapping) or kind is dict:
            _checked(value, isinstance(value, dict), kind, name)
            return {key: self._fit(one, inner[1] if inner else Any, f"{name}.{key}") for key, one in value.items()}
        if kind in (None, type(None)):
            return _checked(value, value is None, kind, name)
        if kind in (str, bool, int):
            return _checked(value, type(value) is kind, kind, name)
        if kind is float:
            return float(_checked(value, type(value) in (int, float) and not math.isnan(value), kind, name))
        return self._fit_class(value, kind, name)

    def _fit_any(self, value: Any, kinds: Sequence[Any], name: str) -> Any:
        """Convert a value to the first of several types that it fits."""
        reasons = []
        for kind in kinds:
            try:
                return self._fit(value, kind, name)
            except MismatchError as error:
                reasons.append(str(error))
        raise MismatchError("; or ".join(reasons))

    def _fit_sequence(self, value: Any, kind: Any, name: str) -> Any:
        """Convert a list to a list or, for a tuple type, to a tuple."""
        inner = get_args(kind)
        is_tuple = tuple in (kind, get_origin(kind))
        fixed = is_tuple and bool(inner) and inner[-1] is not Ellipsis
        _checked(value, isinstance(value, list) and (not fixed or len(value) == len(inner)), kind, name)
        kinds = inner if fixed else [inner[0] if inner else Any] * len(value)
        made = [self._fit(one, each, f"{name}[{i}]") for i, (one, each) in enumerate(zip(value, kinds, strict=True))]
        return tuple(made) if is_tuple else made

    def _fit_class(self, value: Any, kind: Any, name: str) -> Any:
        """Return an instance of a class or, for a Callable that returns one, its constructor with arguments."""
        makes = get_origin(kind) is Callable or kind is Callable
        wanted = (get_args(kind) or (None, Any))[1] if makes else kind
        if isinstance(value, str) and "." in value and all(part.isidentifier() for part in value.split(".")):
            value = {"class_path": value}
        if not isinstance(value, dict) or "class_path" not in value or not value.keys() <= _SPEC:
            raise MismatchError(f"{name}: expected class_path and init_args of a {_name(wanted)}, got {_short(value)}")
        found = self._class(str(value["class_path"]), (*self.parts, *_named_by_user()))
        if isinstance(wanted, type) and not issubclass(found, wanted):
            raise MismatchError(f"{name}: expected a {_name(wanted)}, got the class {value['class_path']}")
        given = [value.get(part) or {} for part in ("init_args", "dict_kwargs")]
        _checked(value, all(isinstance(one, dict) for one in given), kind, name)
        arguments = self._arguments(found, given[0] | given[1], name)
        return partial(found, **arguments) if makes else found(**arguments)

    def _arguments(self, found: type, given: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Return the arguments of a constructor, without paths and downloads unless the file is the user's own."""
        kinds, takes_any = _parameters(found)
        if unknown := [key for key in given if key not in kinds and not takes_any]:
            raise MismatchError(f"{name}: {found.__name__} has no argument {unknown[0]!r}")
        kept = dict(given)
        for key in [] if self.own else [key for key in given if key in PATH_ARGUMENTS]:
            if kept.pop(key) not in (None, False):
                self.dropped.append(f"{name}.{key}")
                self._require_default(found, key, name)
        return {key: self._fit(one, kinds.get(key, Any), f"{name}.{key}") for key, one in kept.items()}

    def _require_default(self, found: type, key: str, name: str) -> None:
        """Raise an error if an ignored argument has no default."""
        parameter = inspect.signature(found).parameters.get(key)
        if parameter is not None and parameter.default is parameter.empty:
            raise MismatchError(f"{name}.{key} is required, but paths in a file that may not be your own are ignored")


class _LimitedTensors(TorchFunctionMode):
    """Refuses large tensors in this thread before they are made, since the file chooses the sizes of networks."""

    _MADE_BY_SIZE = frozenset(
        {"empty", "zeros", "ones", "full", "rand", "randn", "eye", "arange", "linspace", "hann_window"}
    )

    def __init__(self, max_numbers: int) -> None:
        super().__init__()
        self.left, self.calls = max_numbers, _MAX_TENSORS

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the elements of the tensor about to be made."""
        if getattr(func, "__name__", "") in self._MADE_BY_SIZE:
            self.calls -= 1
            self.left -= _num_numbers(func.__name__, args, kwargs or {})
            if self.left < 0 or self.calls < 0:
                raise MismatchError("it describes a network that needs more memory than its weights")
        return func(*args, **(kwargs or {}))


def _num_numbers(name: str, args: Sequence[Any], options: Mapping[str, Any]) -> int:
    """Return the number of elements that a tensor will have."""
    if name == "arange":
        bounds = [float(one) for one in args[:3] if isinstance(one, int | float)]
        start, end, step = [[0.0, 0.0, 1.0], [0.0, *bounds, 1.0], [*bounds, 1.0], bounds][len(bounds)][:3]
        return int(abs(end - start) / max(abs(step), 1e-9))
    if name in ("linspace", "hann_window"):
        return int(options.get("steps", args[-1] if name == "linspace" and args else args[0] if args else 0))
    size = options.get("size", args)
    sizes = size[0] if len(size) and isinstance(size[0], list | tuple) else [n for n in size if isinstance(n, int)]
    return math.prod(sizes) ** (2 if name == "eye" and len(sizes) == 1 else 1)


def _parameters(found: type) -> tuple[dict[str, Any], bool]:
    """Return the types of a constructor's arguments by name, and whether it accepts any others.

    If it passes ** on to its bases, their arguments are included.
    """
    kinds: dict[str, Any] = {}
    for base in found.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        constructor = vars(base)["__init__"]
        signature = inspect.signature(constructor)
        try:
            hints = typing.get_type_hints(constructor)
        except NameError:  # names imported under TYPE_CHECKING
            hints = {}
        named = [
            one
            for one in list(signature.parameters.values())[1:]
            if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        ]
        kinds = {one.name: hints.get(one.name, Any) for one in named} | kinds
        if not any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values()):
            return kinds, False
    return kinds, True


def _checked(value: Any, fits: bool, kind: Any, name: str) -> Any:
    if not fits:
        raise MismatchError(f"{name}: expected {_name(kind)}, got {_short(value)}")
    return value


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_in(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _named_by_user() -> list[str]:
    text = os.environ.get(TRUST, "")
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")) or _is_no_model(name):
            raise ValueError(f"{TRUST}={text}: expected package names separated by commas, such as my_networks")
    return names


def _is_no_model(path: str) -> bool:
    return path.partition(".")[0] in {"audiogen", "jsonargparse", *sys.stdlib_module_names} - {"__main__"}


def _advice(path: str) -> str:
    if _is_no_model(path):
        return "which no model uses: do not use this file"
    return (
        "which is not part of audiogen, and importing it would run its code. If you trust it, set "
        f"{TRUST}={path.partition('.')[0]} (docs/security.md)"
    )
