"""Derive cache keys from settings, code and file contents. No other module does.

A result on disk is named by the fingerprint of everything that determines it, so any change gives another name, and
nothing stale is ever read. A fingerprint covers

- all attributes of an object and of the objects nested in it, including tensors;
- the source of their classes and functions, and of every module that these import, wherever it is. Modules of Python
  and of installed packages contribute only their version;
- the size and content of every file named by a string or path among the attributes.

Not covered: the contents of named folders, anything else read at run time, and modules with computed names.
"""

import ast
import functools
import hashlib
import importlib.util
import json
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audiogen.untrusted import is_regular

UNREADABLE = "unreadable"
_MODULE_INTERNALS = frozenset(vars(nn.Module()))
_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
_PACKAGE = __name__.partition(".")[0]  # its version changes too rarely to represent its code
_INSTALLED = ("site-packages", "dist-packages")


def fingerprint(*things: Any, without: Any = None) -> str:
    """Return a digest of objects: 32 hexadecimal digits that change with their settings, code and files.

    Args:
        things: Any objects, in a fixed order.
        without: An object nested in them to ignore, because it does not affect the result.

    Example:
        >>> fingerprint("a", 1) == fingerprint("a", 1), fingerprint("a", 1) == fingerprint("a", 2)
        (True, False)
    """
    walk = _Walk(without)
    plain = [walk.settings(thing) for thing in things]
    files = {name: [os.path.getsize(name), file_digest(Path(name))] for name in sorted(walk.files)}
    return _digest([plain, _code(walk.kinds), list(files.values())])


def settings(thing: Any, without: Any = None) -> Any:
    """Return all settings of an object as plain JSON values; see `fingerprint` for the arguments.

    Example:
        >>> settings((1, {"b": b""}))
        [1, {'b': ['bytes', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855']}]
    """
    return _Walk(without).settings(thing)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, or a string starting with `UNREADABLE` if it cannot be read."""
    if path.exists() and not is_regular(path):  # it may be endless
        return f"{UNREADABLE}: not a regular file"
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"{UNREADABLE}: {error.errno}"


class _Walk:
    """Collect the settings of objects, their classes and functions, and the files they name."""

    def __init__(self, without: Any = None) -> None:
        self.without = without
        self.kinds: dict[str, Any] = {}
        self.files: set[str] = set()
        self._inside: set[int] = set()  # ids of the objects that contain the current one

    def settings(self, thing: Any) -> Any:
        """Return an object as plain values. A reference to an enclosing object becomes "itself"."""
        if thing is None or thing is self.without:
            return None
        if isinstance(thing, bool | int | float):
            return thing
        if isinstance(thing, str | Path):
            return self._text(str(thing))
        if id(thing) in self._inside:
            return "itself"
        self._inside.add(id(thing))
        try:
            return self._structure(thing)
        finally:
            self._inside.discard(id(thing))

    def _structure(self, thing: Any) -> Any:
        if isinstance(thing, Tensor | np.ndarray):
            return _array(thing)
        if isinstance(thing, bytes | bytearray | memoryview):
            return ["bytes", hashlib.sha256(thing).hexdigest()]
        if isinstance(thing, Mapping):
            if all(isinstance(key, str) for key in thing):
                return {key: self.settings(value) for key, value in thing.items()}
            return sorted(([self.settings(key), self.settings(value)] for key, value in thing.items()), key=json.dumps)
        if isinstance(thing, set | frozenset):
            return ["set", sorted((self.settings(item) for item in thing), key=json.dumps)]
        if isinstance(thing, Sequence) and type(thing).__module__ == "builtins":
            return [self.settings(item) for item in thing]
        if isinstance(thing, FunctionType | type | ModuleType):
            return self._named(thing)
        return self._object(thing)

    def _object(self, thing: Any) -> Any:
        """Return the class and attributes of an object or, if it has none, what pickle would save."""
        found = {"class": self._named(type(thing))}
        if isinstance(thing, nn.Module):
            own = {key: value for key, value in vars(thing).items() if key not in _MODULE_INTERNALS}
            parts = (thing.named_parameters(recurse=False), thing.named_buffers(recurse=False), thing.named_children())
            return found | {"state": self.settings(own | {name: part for each in parts for name, part in each})}
        if attributes := getattr(thing, "__dict__", None):
            return found | {"state": self.settings(dict(attributes))}
        try:
            saved = thing.__reduce_ex__(4)
        except Exception:  # cannot be pickled
            return found | {"state": repr(thing)}
        # In (function, arguments, state, items, pairs), the last two are iterators.
        plain = saved if isinstance(saved, str) else [*saved[:3], *(list(each) for each in saved[3:5] if each)]
        return found | {"state": self.settings(plain)}

    def _named(self, kind: Any) -> str:
        """Return the full name of a class, function or module, and include its code."""
        name = kind.__name__ if isinstance(kind, ModuleType) else f"{kind.__module__}.{kind.__qualname__}"
        self.kinds[name] = kind
        if isinstance(kind, FunctionType) and (kind.__closure__ or kind.__defaults__ or kind.__kwdefaults__):
            cells = [cell.cell_contents for cell in kind.__closure__ or ()]
            name += json.dumps(self.settings([cells, kind.__defaults__, kind.__kwdefaults__]))
        return name

    def _text(self, text: str) -> str:
        path = os.path.expanduser(text)
        if os.path.isfile(path):
            self.files.add(path)
        return text


def _array(array: Tensor | np.ndarray) -> list[Any]:
    """Return dtype, shape and digest of an array."""
    if isinstance(array, Tensor):
        plain = array.detach().cpu().contiguous()
        content = plain.view(-1).view(torch.uint8).numpy().data
        return [str(array.dtype), list(array.shape), hashlib.sha256(content).hexdigest()]
    if array.dtype.hasobject:
        return [str(array.dtype), list(array.shape), repr(array.tolist())]
    return [str(array.dtype), list(array.shape), hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()]


def _code(kinds: Mapping[str, Any]) -> list[Any]:
    """Return digests of the source files behind classes and functions, and versions of the packages they use."""
    modules = {base.__module__ for kind in kinds.values() if isinstance(kind, type) for base in kind.__mro__}
    modules |= {kind.__name__ if isinstance(kind, ModuleType) else kind.__module__ for kind in kinds.values()}
    sources: dict[str, str] = {}
    libraries: set[str] = set()
    waiting = sorted(modules)
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        path = _own_file(name)
        if path is None:
            libraries.add(name.partition(".")[0])
        else:
            sources[name] = file_digest(path)
            waiting += _imports(path, sources[name], name)
    typed = [kind for kind in kinds.values() if not isinstance(kind, ModuleType)]
    without_file = {f"{kind.__module__}.{kind.__qualname__}": _compiled(kind) for kind in typed if _typed_in(kind)}
    return [sorted(sources.items()), sorted((name, _version(name)) for name in libraries), sorted(without_file.items())]


def _own_file(name: str) -> Path | None:
    """Return a module's source file, or None if it belongs to Python or an installed package, or has no file."""
    top = name.partition(".")[0]
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if module is None:
        if top != name and _own_file(top) is None:  # import only own packages to look inside
            return None
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, AttributeError, ValueError):
            return None
        file = None if spec is None else spec.origin
    if file is None or not os.path.isfile(file):
        return None
    path = Path(file)
    installed = path.resolve().is_relative_to(_STDLIB) or any(part in _INSTALLED for part in path.parts)
    return None if installed and top != _PACKAGE else path


def _imports(path: Path, digest: str, name: str) -> Iterator[str]:
    """Yield the names of the modules that a source file imports, at any depth."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for module, level, names in _statements(path, digest):
        if not names:
            yield module
            continue
        try:
            source = importlib.util.resolve_name("." * level + module, package) if level else module
        except ImportError:  # a relative import in a script, which has no package
            continue
        if _own_file(source) is None:
            yield source
            continue
        for each in names:
            inner = f"{source}.{each}"
            yield inner if _own_file(inner) is not None else source


@functools.lru_cache(maxsize=1000)
def _statements(path: Path, digest: str) -> list[tuple[str, int, tuple[str, ...]]]:
    """Return the imports in a source file with a given digest: module, number of leading dots, imported names."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # for example a compiled extension
        return []
    found: list[tuple[str, int, tuple[str, ...]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level, tuple(alias.name for alias in node.names)))
    return found


def _typed_in(kind: Any) -> bool:
    """Return whether a class or function has no source file, as in a notebook or from `exec`."""
    module = sys.modules.get(kind.__module__)
    return kind.__module__ not in sys.stdlib_module_names and getattr(module, "__file__", None) is None


def _compiled(kind: Any) -> str:
    """Return a digest of the compiled code of a class or function."""

    def plain(code: CodeType) -> list[Any]:
        consts = [plain(const) if isinstance(const, CodeType) else repr(const) for const in code.co_consts]
        return [code.co_code.hex(), consts, code.co_names]

    functions = [kind] if isinstance(kind, FunctionType) else vars(kind).values()
    return _digest([plain(each.__code__) for each in functions if isinstance(each, FunctionType)])


@functools.cache
def _version(name: str) -> str:
    """Return the version of an installed module's distribution, or Python's for standard modules."""
    if name in sys.stdlib_module_names:
        return f"Python {sys.version_info.major}.{sys.version_info.minor}"
    try:
        return version(name)
    except (PackageNotFoundError, ValueError):
        found = packages_distributions().get(name, [])
        return ", ".join(version(each) for each in sorted(set(found)))


def _digest(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode(errors="surrogatepass")).hexdigest()[:32]
