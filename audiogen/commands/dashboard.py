"""Build a W&B workspace for this package's runs: the metrics in sections, over kimg, with pictures and sounds.

Names of metrics end with those of the embeddings, which the workspace cannot know: its plots find them by patterns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import wandb
from wandb.errors import Error as WandbError

from audiogen.curves import DIVERSITY

NAME = "audiogen"
# Patterns of metrics without the embedding's name, by the titles of their plots.
DISTANCES = {"fad, fid": "f[ai]d", "kad, kid": "k[ai]d"}
QUALITY = DISTANCES | {name: name for name in ("coherence", "precision", "density")}
OF_CLASSES = {"fad, fid": DISTANCES["fad, fid"], "coherence": "coherence", "diversity": "diversity"}
# Figures of fixed names, by the titles of their plots.
COLLAPSE = {
    "logits": ["logits/real", "logits/fake", "val/logits_real", "val/logits_train", "val/logits_fake"],
    "logits/real_positive": ["logits/real_positive"],
    "minibatch_stddev/ratio": ["minibatch_stddev/ratio"],
    "path_length/mean": ["path_length/mean"],
}
SPEED = ("speed/clips_per_second", "evaluation/share", "evaluation/seconds")
LOSSES = ("loss", "penalty", "gradient_norm")
PICTURES = ("samples/real", "samples/generated")
SOUNDS = "sounds/"


@dataclass(frozen=True)
class Dashboard:
    """A workspace that was saved.

    Attributes:
        url: Where it is.
    """

    url: str

    def __str__(self) -> str:
        """Say so."""
        return f"Open {self.url}"


def dashboard(project: str = "audiogen", entity: str | None = None) -> Dashboard:
    """Build a W&B workspace with sections for quality, diversity, collapse, losses, speed and samples, and save it.

    Each call saves a new one, beside those that were made or changed before.

    Args:
        project: Of W&B. Sounds are shown by the names that its newest run has logged.
        entity: User or team; by default that of the key.

    Raises:
        ValueError: Without the package wandb-workspaces, and where W&B cannot be used: no key, no such project.
    """
    _workspaces()
    try:
        api = wandb.Api()
        owner = entity or str(api.default_entity)
        newest = next(iter(api.runs(f"{owner}/{project}", per_page=1)), None)
        names = [] if newest is None else sorted(newest.summary.keys())
        saved = workspace(project, owner, [name for name in names if name.startswith(SOUNDS)]).save()
    except (WandbError, OSError, ValueError) as error:
        raise ValueError(
            f"W&B cannot be used ({(str(error) or type(error).__name__).splitlines()[0]}): log in with `wandb login`, "
            "and name a project that has runs (`fit` with configs/trainer/wandb.yaml makes one)"
        ) from error
    return Dashboard(saved.url)


def workspace(project: str, entity: str, sounds: Sequence[str] = ()) -> Any:
    """Return the workspace, a `wandb_workspaces.workspaces.Workspace`, unsaved; needs no network.

    Args:
        project: Of W&B.
        entity: User or team.
        sounds: Names of logged sounds.
    """
    workspaces, panels = _workspaces()
    sections = {
        "Quality": [_plot("fad", ["fad", "fad_floor"]), *_of_metrics(QUALITY, "$")],
        "Diversity": _of_metrics({name: name for name in DIVERSITY}, "$"),
        "Of each class": _of_metrics(OF_CLASSES, "/"),
        "Collapse signals": [_plot(title, names) for title, names in COLLAPSE.items()],
        "Losses": [_plot(prefix, pattern=f"^{prefix}/") for prefix in LOSSES],
        "Speed": [_plot(name, [name]) for name in SPEED],
        "Samples": [panels.MediaBrowser(title=name, num_columns=1, media_keys=[name]) for name in [*PICTURES, *sounds]],
    }
    axis = workspaces.SectionPanelSettings(x_axis="kimg")
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            workspaces.Section(name=name, panels=found, is_open=True, panel_settings=axis)
            for name, found in sections.items()
        ],
        settings=workspaces.WorkspaceSettings(x_axis="kimg"),
    )


def _workspaces() -> tuple[Any, Any]:
    """Return the modules of workspaces and of panels."""
    try:
        from wandb_workspaces import workspaces
        from wandb_workspaces.reports import v2
    except ImportError:
        raise ValueError("dashboards need the 'dashboard' extra: pip install 'audiogen[dashboard]'") from None
    return workspaces, v2


def _of_metrics(metrics: Mapping[str, str], end: str) -> list[Any]:
    """Return a plot for each metric, of the metrics in all embeddings; `end` follows the embedding's name."""
    return [_plot(title, pattern=f"^{stem}(_[^/]*)?{end}") for title, stem in metrics.items()]


def _plot(title: str, names: Sequence[str] = (), pattern: str | None = None) -> Any:
    """Return a plot of metrics, by their names or by a pattern; distances and losses on a logarithmic axis."""
    log = title in ("fad", *DISTANCES, *LOSSES)
    return _workspaces()[1].LinePlot(title=title, x="kimg", y=list(names), metric_regex=pattern, log_y=log)
