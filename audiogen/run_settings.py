"""Compare the settings of a training with those of the run that it would continue."""

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_info

from audiogen.checkpoint_io import CONFIG_NAME, read
from audiogen.damaged import set_aside
from audiogen.untrusted import MAX_TEXT, UntrustedFileError, parse_yaml, read_inside

STATE_KEY = "settings"  # key of the settings among a checkpoint's callback states
CONFIG_END = "...\n"  # YAML's end-of-document marker; a file without it is truncated
# Settings that may change when a run is continued, without an explicit request.
MACHINE_KEYS = (
    "ckpt_path",
    *(f"trainer.{key}" for key in ("accelerator", "devices", "num_nodes", "strategy", "default_root_dir")),
    "trainer.logger.init_args.save_dir",
)


def differences(root: Path, newest: Path | None, settings: str) -> str:
    """Describe how the settings of a training differ from those of a run directory; empty if they are equal.

    The run's settings are read from config.yaml or, if that is missing or damaged, from the newest checkpoint.

    Args:
        root: Run directory.
        newest: Newest checkpoint of the run; None if it has none.
        settings: Settings of the new training as YAML.

    Returns:
        The first three differences, and the number of others.
    """
    if newest is None:
        return ""
    before = _saved_settings(root)
    inner = read(newest).get("callbacks", {}).get(STATE_KEY, {}).get("settings")
    if not before and inner is not None:
        before = _flat(parse_yaml(inner, str(newest)))
    now = _flat(yaml.safe_load(settings))
    names = [name for name in sorted(before.keys() | now.keys()) if before and not name.startswith(MACHINE_KEYS)]
    differ = [name for name in names if before.get(name) != now.get(name)]
    shown = "; ".join(f"{name}: {before.get(name)}, now {now.get(name)}" for name in differ[:3])
    return shown + (f"; and {len(differ) - 3} more" if len(differ) > 3 else "")


def _saved_settings(root: Path) -> dict[str, Any]:
    """Return a run's settings by dotted name; empty if its config is missing, or damaged and therefore set aside."""
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
    rank_zero_info(set_aside(root / CONFIG_NAME, "it is truncated or not YAML"))
    return {}


def _flat(settings: Any, name: str = "") -> dict[str, Any]:
    """Flatten nested settings into a dict by dotted name."""
    if isinstance(settings, dict | list) and settings:
        items = settings.items() if isinstance(settings, dict) else enumerate(settings)
        return {k: v for key, value in items for k, v in _flat(value, f"{name}.{key}" if name else str(key)).items()}
    return {name: settings}
