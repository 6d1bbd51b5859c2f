"""Build a W&B workspace for this package's runs: metrics over kimg in sections, with pictures and sounds.

The sections are the same as in `report`, and come from the descriptions that a run uploads with its config.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import wandb
from wandb.errors import Error as WandbError

from audiogen.scalars import DESCRIPTIONS, Scalar, Scalars, heading_order

NAME = "audiogen"
PICTURES = ("samples/real", "samples/generated")
SOUNDS = "sounds/"


@dataclass(frozen=True)
class Dashboard:
    """Result of `dashboard`.

    Attributes:
        url: URL of the saved workspace.
    """

    url: str

    def __str__(self) -> str:
        """Return the URL."""
        return f"Open {self.url}"


def dashboard(project: str = "audiogen", entity: str | None = None) -> Dashboard:
    """Build and save a W&B workspace with a section for each group of metrics, and one for samples.

    Metrics and sounds are those of the project's newest run. Each call saves another workspace and leaves existing ones
    unchanged.

    Args:
        project: Name of the W&B project.
        entity: User or team; by default the owner of the API key.

    Raises:
        ValueError: If the package wandb-workspaces is missing, there is no API key, or the project has no run that
            describes its metrics.
    """
    _workspaces()
    try:
        api = wandb.Api()
        owner = entity or str(api.default_entity)
        newest = next(iter(api.runs(f"{owner}/{project}", per_page=1)), None)
        if newest is None or DESCRIPTIONS not in newest.config:
            raise ValueError(f"no run of {owner}/{project} describes its metrics")
        scalars = Scalars.from_json(newest.config[DESCRIPTIONS], f"{owner}/{project}")
        sounds = [name for name in sorted(newest.summary.keys()) if name.startswith(SOUNDS)]
        saved = workspace(project, owner, scalars, sounds).save()
    except (WandbError, OSError, ValueError) as error:
        raise ValueError(
            f"cannot build a dashboard ({(str(error) or type(error).__name__).splitlines()[0]}): log in with `wandb "
            "login`, and name a project with runs (`fit` with configs/trainer/wandb.yaml creates one)"
        ) from error
    return Dashboard(saved.url)


def workspace(project: str, entity: str, scalars: Scalars, sounds: Sequence[str] = ()) -> Any:
    """Return an unsaved workspace; needs no network.

    Args:
        project: Name of the W&B project.
        entity: User or team.
        scalars: Descriptions of the metrics to plot.
        sounds: Names of logged sounds.

    Returns:
        A `wandb_workspaces.workspaces.Workspace`.
    """
    workspaces, panels = _workspaces()
    groups: dict[str, dict[str, list[Scalar]]] = {}
    for scalar in scalars:
        groups.setdefault(scalar.group, {}).setdefault(scalar.title, []).append(scalar)
    sections = {group: [_plot(*plot) for plot in groups[group].items()] for group in heading_order(groups)}
    media = [*PICTURES, *sounds]
    sections["Samples"] = [panels.MediaBrowser(title=name, num_columns=1, media_keys=[name]) for name in media]
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
    """Return the modules for workspaces and for panels."""
    try:
        from wandb_workspaces import workspaces
        from wandb_workspaces.reports import v2
    except ImportError:
        raise ValueError("dashboards need the 'dashboard' extra: pip install 'audiogen[dashboard]'") from None
    return workspaces, v2


def _plot(title: str, scalars: Sequence[Scalar]) -> Any:
    """Return a plot of scalars and their references: by their names, or by a pattern if one describes many names."""
    names = list(_names(scalars))
    pattern = "|".join(re.escape(name) + (".*" if name.endswith("/") else "") for name in names)
    many = any(name.endswith("/") for name in names)
    return _workspaces()[1].LinePlot(
        title=title,
        x="kimg",
        y=[] if many else names,
        metric_regex=f"^({pattern})$" if many else None,
        title_y=scalars[0].unit or None,
        log_y=any(scalar.log_scale for scalar in scalars),
    )


def _names(scalars: Iterable[Scalar]) -> Iterable[str]:
    for scalar in scalars:
        yield scalar.name
        if reference := scalar.reference_name(scalar.name):
            yield reference
