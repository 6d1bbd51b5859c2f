"""The W&B workspace, as the JSON that would be sent to the server."""

import json
import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from wandb.errors import UsageError

from audiogen.commands.dashboard import dashboard, workspace
from audiogen.metrics.coherence import Coherence
from audiogen.metrics.frechet import FrechetDistance
from audiogen.models.stylegan2 import StyleGAN2
from audiogen.scalars import DESCRIPTIONS, Scalar, Scalars

workspaces = pytest.importorskip("wandb_workspaces.workspaces", reason="needs the 'dashboard' extra")
SOUNDS = ["sounds/seven/generated", "sounds/seven/real"]
SCALARS = Scalars(
    [
        Scalar("novelty", "Novelty", reference="real", unit="dB"),
        *FrechetDistance.scalars,
        FrechetDistance.scalars[0].per_class(),
        *Coherence.scalars,
        *StyleGAN2.scalars,
    ]
)
# Names that a run logs, by section.
LOGGED = {
    "Quality": ["fad", "fad_floor", "coherence", "coherence_real"],
    "Diversity": ["class_entropy"],
    "Per class": ["fad/seven", "fad_floor/seven"],
    "Collapse signals": ["logits/real", "logits/real_positive", "val/logits_real", "minibatch_stddev/ratio"],
    "Losses": ["loss/generator", "penalty/r1", "gradient_norm/discriminator"],
    "Speed": ["speed/clips_per_second"],
    "Novelty": ["novelty", "novelty_real"],
    "Samples": ["samples/real", "samples/generated", *SOUNDS],
}


def sent(made: Any) -> list[dict[str, Any]]:
    """Return the sections of a workspace as they are sent to the server."""
    spec = json.loads(made._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
    return spec["section"]["panelBankConfig"]["sections"]


def shows(panel: dict[str, Any], name: str) -> bool:
    config = panel["config"]
    pattern = config.get("metricRegex")
    named = name in config.get("metrics", []) + config.get("mediaKeys", [])
    return named or bool(pattern and config["useMetricRegex"] and re.search(pattern, name))


@pytest.fixture
def sections() -> list[dict[str, Any]]:
    return sent(workspace("project", "team", SCALARS, SOUNDS))


def test_every_metric_is_shown_in_its_own_section_only(sections: list[dict[str, Any]]) -> None:
    assert [section["name"] for section in sections] == list(LOGGED)
    for heading, names in LOGGED.items():
        for name in names:
            found = [each["name"] for each in sections if any(shows(panel, name) for panel in each["panels"])]
            assert found == [heading], name
            assert heading == "Samples" or SCALARS[name].group in (heading, "Further")  # Further: a reference


def test_all_plots_are_over_kimg(sections: list[dict[str, Any]]) -> None:
    plots = [panel for section in sections for panel in section["panels"] if "Line" in panel["viewType"]]
    assert {plot["config"]["xAxis"] for plot in plots} == {"kimg"}
    assert {section["localPanelSettings"]["xAxis"] for section in sections} == {"kimg"}


def test_distances_and_losses_are_logarithmic(sections: list[dict[str, Any]]) -> None:
    log = {
        panel["config"]["chartTitle"]
        for each in sections
        for panel in each["panels"]
        if panel["config"].get("yLogScale")
    }
    assert log == {"fad", "loss", "penalty", "gradient_norm"}


def pretend(monkeypatch: pytest.MonkeyPatch, runs: list[Any]) -> list[Any]:
    """Replace the server; return the list that saved workspaces are added to."""
    saved: list[Any] = []

    def save(self: Any) -> Any:
        saved.append(self)
        self._internal_name = "nw-abc-v"
        return SimpleNamespace(url="https://wandb.test/me/p?nw=abc")

    api = SimpleNamespace(default_entity="me", runs=lambda path, per_page: iter(runs) if path == "me/p" else iter([]))
    monkeypatch.setattr(wandb, "Api", lambda: api)
    monkeypatch.setattr(workspaces.Workspace, "save", save)
    return saved


def test_metrics_and_sounds_are_those_of_the_newest_run(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = SimpleNamespace(summary=dict.fromkeys([*SOUNDS, "fad"]), config={DESCRIPTIONS: SCALARS.to_json()})
    saved = pretend(monkeypatch, [newest, SimpleNamespace(summary={"sounds/old": 1}, config={})])
    assert str(dashboard("p")) == "Open https://wandb.test/me/p?nw=abc"
    (made,) = saved
    assert (made.entity, made.project) == ("me", "p")
    assert [section["name"] for section in sent(made)] == list(LOGGED)
    assert [panel["config"]["mediaKeys"][0] for panel in sent(made)[-1]["panels"]][2:] == SOUNDS


@pytest.mark.parametrize("runs", [[], [SimpleNamespace(summary={}, config={})]])
def test_project_without_described_metrics_is_refused(runs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    saved = pretend(monkeypatch, runs)
    with pytest.raises(ValueError, match=r"no run of me/p describes its metrics.*configs/trainer/wandb.yaml"):
        dashboard("p")
    assert saved == []


def test_damaged_descriptions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, [SimpleNamespace(summary={}, config={DESCRIPTIONS: "["})])
    with pytest.raises(ValueError, match="me/p does not describe scalars"):
        dashboard("p")


def test_missing_key_is_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise UsageError("No API key configured.")

    monkeypatch.setattr(wandb, "Api", refuse)
    with pytest.raises(ValueError, match=r"No API key configured.*wandb login"):
        dashboard("p")


def test_missing_package_is_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ValueError, match=r"pip install 'audiogen\[dashboard\]'"):
        dashboard("p")
