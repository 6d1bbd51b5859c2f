"""Train generative audio models on spectrograms.

`audiogen.load(checkpoint)` returns a trained model, `audiogen.generate(checkpoint, label="seven", num=4)` makes sounds,
`audiogen.convert(checkpoint, "in.wav", out="out.wav")` converts them, `audiogen.evaluate(checkpoint)` scores a model,
`audiogen.export(checkpoint, "model.safetensors")` writes it for others. `audiogen.stylize("content.wav", "style.wav")`
and `audiogen.texture("reference.wav", seconds=20)` need no trained model.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiogen.checkpoint import export, load
    from audiogen.commands.convert import convert
    from audiogen.commands.evaluate import evaluate
    from audiogen.commands.generate import generate
    from audiogen.commands.stylize import stylize
    from audiogen.commands.texture import texture

__all__ = ["convert", "evaluate", "export", "generate", "load", "stylize", "texture"]

_HOMES = {
    "load": "audiogen.checkpoint",
    "export": "audiogen.checkpoint",
    "generate": "audiogen.commands.generate",
    "convert": "audiogen.commands.convert",
    "evaluate": "audiogen.commands.evaluate",
    "stylize": "audiogen.commands.stylize",
    "texture": "audiogen.commands.texture",
}


def __getattr__(name: str) -> Any:
    """Import torch and Lightning only once something is asked for."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'audiogen' has no attribute {name!r}")
