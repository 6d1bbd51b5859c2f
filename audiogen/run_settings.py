"""In which settings a training differs from the run that it would continue."""

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_info

from audiogen.checkpoint_io import CONFIG_NAME, read
from audiogen.damaged import set_aside
from audiogen.untrusted import MAX_TEXT, UntrustedFileError, parse_yaml, read_inside

STATE_KEY = "settings"  # of the settings in a checkpoint's callbacks
CONFIG_END = "...\n"  # YAML's end of a document: without it a file was cut off
# What a run may be continued with, without being told to: the same settings but for these.
PLACE_KEYS = (
    "ckpt_path",
    *(f"trainer.{key}" for key in ("accelerator", "devices", "num_nodes", "strategy", "default_root_dir")),
    "trainer.logger.init_args.save_dir",
)


def differences(root: Path, newest: Path | None, settings: str) -> str:
    """Name the settings in which a training differs from that of a run directory; nothing where it does not.

    The settings are those of config.yaml or, where it is missing or damaged, those in the newest checkpoint.
    """
    if newest is None:
        return ""
    before = _saved_settings(root)
    inner = read(newest).get("callbacks", {}).get(STATE_KEY, {}).get("settings")
    if not before and inner is not None:
        before = _flat(parse_yaml(inner, str(newest)))
    now = _flat(yaml.safe_load(settings))
    names = [name for name in sorted(before.keys() | now.keys()) if before and not name.startswith(PLACE_KEYS)]
    differ = [name for name in names if before.get(name) != now.get(name)]
    shown = "; ".join(f"{name}: {before.get(name)}, now {now.get(name)}" for name in differ[:3])
    return shown + (f"; and {len(differ) - 3} more" if len(differ) > 3 else "")


def _saved_settings(root: Path) -> dict[str, Any]:
    """Return the settings in a run's config, flat; nothing where it is missing, or damaged and set aside."""
    try:
        saved = read_inside(root, CONFIG_NAME, MAX_TEXT).decode(errors="surrogateescape")
    except FileNotFoundError:
        return {}
    try:
        found = parse_yaml(saved, str(root / CONFIG_NAME))
    except UntrustedFileError:
        found = None
    if isinstance(found, dict) and saved.endswith(CONFIG_END):
        return _flat(found)
    rank_zero_info(set_aside(root / CONFIG_NAME, "it is cut off or no YAML"))
    return {}


def _flat(settings: Any, name: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    if isinstance(settings, dict | list) and settings:
        items = settings.items() if isinstance(settings, dict) else enumerate(settings)
        return {k: v for key, value in items for k, v in _flat(value, f"{name}.{key}" if name else str(key)).items()}
    return {name: settings}
