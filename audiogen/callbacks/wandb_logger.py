"""Log to Weights & Biases: one W&B run for each run directory, all metrics against kimg."""

import os
import secrets
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from wandb.errors import Error as WandbError

from audiogen.atomic import write_text
from audiogen.lightning_compat import wandb_has_begun, wandb_settings
from audiogen.scalars import DESCRIPTIONS, Scalars
from audiogen.untrusted import read_inside

ID_FILE = "wandb-id.txt"


class KimgWandbLogger(WandbLogger):
    """Lightning's WandbLogger with kimg as the x-axis.

    A continued run goes on in its W&B run, whose id is kept in the run directory. Without a key, or where the server
    does not answer in time, the run is kept on disk, to be sent later by `wandb sync`. Figures also are in
    `metrics.csv`: what W&B has buffered is lost where a run is killed.

    Args:
        project: Of W&B.
        save_dir: The run directory; "." stands for it.
        name: Shown on the dashboard; by default that of the run directory.
        entity: User or team.
        group: Such as a sweep.
        tags: To find runs by.
        mode: "offline" keeps the run on disk at once; "disabled" is for tests.
        timeout_seconds: How long to wait for the server.
    """

    def __init__(
        self,
        project: str = "audiogen",
        save_dir: str = ".",
        name: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        mode: Literal["online", "offline", "disabled"] = "online",
        timeout_seconds: float = 30.0,
    ) -> None:
        self.folder = folder = Path(save_dir)
        os.environ.setdefault("WANDB_DATA_DIR", str(folder))  # staged files, else somewhere below the user's home
        super().__init__(
            name=name or folder.resolve().name,
            save_dir=folder,
            project=project,
            resume="allow",
            entity=entity,
            group=group,
            tags=tags,
            mode=mode,
            settings=wandb.Settings(init_timeout=timeout_seconds, console="off"),
        )

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, begun at the first use."""
        if wandb_has_begun(self):
            return super().experiment
        settings = wandb_settings(self)
        settings["id"] = _run_id(self.folder)
        try:
            run = super().experiment
        except WandbError as error:
            rank_zero_warn(f"W&B cannot be reached ({str(error).splitlines()[0]}): the run is kept on disk")
            wandb.teardown()  # else its service takes the id for one in use
            settings["mode"] = "offline"
            run = super().experiment
        run.define_metric("kimg")
        run.define_metric("*", step_metric="kimg", step_sync=True)
        return run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics; `step` counts clips."""
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        if step is not None:
            values["kimg"] = step / 1000
        self.experiment.log(values)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Ignore the model's own: `log_config` has all."""

    @rank_zero_only
    def log_config(self, config: dict[str, Any]) -> None:
        """Show the resolved config on the dashboard."""
        self.experiment.config.update(config, allow_val_change=True)

    @rank_zero_only
    def describe_scalars(self, scalars: Scalars) -> None:
        """Keep the descriptions of the logged scalars in the run's config, where `dashboard` finds them."""
        self.experiment.config.update({DESCRIPTIONS: scalars.to_json()}, allow_val_change=True)

    @rank_zero_only
    def alert(self, title: str, text: str) -> None:
        """Send an alert, as the user has set these up."""
        self.experiment.alert(title, text)

    @rank_zero_only
    def mark_interrupted(self) -> None:
        """Let the dashboard show the run as pre-empted, not as failed."""
        self.experiment.mark_preempting()

    @rank_zero_only
    def log_checkpoint(self, path: Path, metadata: dict[str, Any]) -> None:
        """Upload a checkpoint as an artifact; a run that is kept on disk keeps it where it is."""
        if self.experiment.settings.mode == "online":
            artifact = wandb.Artifact(f"{self.experiment.id}-best", "model", metadata=metadata)
            artifact.add_file(str(path))
            self.experiment.log_artifact(artifact, aliases=["best"])


def _run_id(folder: Path) -> str:
    """Return the W&B id of a run directory, chosen when it is first asked for."""
    path = folder / ID_FILE
    if not path.exists():
        write_text(path, os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4))  # the former is set by sweeps
    return read_inside(folder, ID_FILE, 1024).decode().strip()
