"""The W&B workspace, looked at as the JSON that is sent; nothing is sent here."""

import json
import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from wandb.errors import UsageError

from audiogen.commands.dashboard import dashboard, workspace
from audiogen.curves import heading_of

workspaces = pytest.importorskip("wandb_workspaces.workspaces", reason="needs the 'dashboard' extra")
SOUNDS = ["sounds/seven/generated", "sounds/seven/real"]
# What a run logs, by the section it should be seen in.
LOGGED = {
    "Quality": ["fad", "fad_floor", "fad_vggish", "fid_inception", "kid_inception", "coherence", "coherence_real"],
    "Diversity": ["coverage_a", "recall_a_real", "diversity_a", "diversity_min_a", "vendi_a", "class_entropy"],
    "Of each class": ["fad_a/seven", "fad_a_floor/seven", "coherence/seven", "diversity_a/seven"],
    "Collapse signals": ["logits/real", "logits/real_positive", "val/logits_real", "minibatch_stddev/ratio"],
    "Losses": ["loss/generator", "penalty/r1", "gradient_norm/discriminator"],
    "Speed": ["speed/clips_per_second", "evaluation/share"],
    "Samples": ["samples/real", "samples/generated", *SOUNDS],
}


def sent(made: Any) -> list[dict[str, Any]]:
    """Return the sections of a workspace as they go to the server."""
    spec = json.loads(made._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
    return spec["section"]["panelBankConfig"]["sections"]


def shows(panel: dict[str, Any], name: str) -> bool:
    config = panel["config"]
    pattern = config.get("metricRegex")
    named = name in config.get("metrics", []) + config.get("mediaKeys", [])
    return named or bool(pattern and config["useMetricRegex"] and re.search(pattern, name))


@pytest.fixture
def sections() -> list[dict[str, Any]]:
    return sent(workspace("project", "team", SOUNDS))


def test_each_metric_is_seen_in_its_section_alone(sections: list[dict[str, Any]]) -> None:
    assert [section["name"] for section in sections] == list(LOGGED)
    for heading, names in LOGGED.items():
        for name in names:
            found = [each["name"] for each in sections if any(shows(panel, name) for panel in each["panels"])]
            assert found == [heading], name
            assert heading == "Samples" or heading_of(name) == heading  # as on the page that `report` writes


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
    assert log == {"fad", "fad, fid", "kad, kid", "loss", "penalty", "gradient_norm"}


def pretend(monkeypatch: pytest.MonkeyPatch, runs: list[Any]) -> list[Any]:
    """Replace the server; return what is saved."""
    saved: list[Any] = []

    def save(self: Any) -> Any:
        saved.append(self)
        self._internal_name = "nw-abc-v"
        return SimpleNamespace(url="https://wandb.test/me/p?nw=abc")

    api = SimpleNamespace(default_entity="me", runs=lambda path, per_page: iter(runs) if path == "me/p" else iter([]))
    monkeypatch.setattr(wandb, "Api", lambda: api)
    monkeypatch.setattr(workspaces.Workspace, "save", save)
    return saved


def test_saves_with_the_sounds_of_the_newest_run_and_tells_where(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [SimpleNamespace(summary=dict.fromkeys([*SOUNDS, "fad"])), SimpleNamespace(summary={"sounds/old": 1})]
    (made,) = pretend_and_run(monkeypatch, runs)
    assert (made.entity, made.project) == ("me", "p")
    assert [panel["config"]["mediaKeys"][0] for panel in sent(made)[-1]["panels"]][2:] == SOUNDS


def pretend_and_run(monkeypatch: pytest.MonkeyPatch, runs: list[Any]) -> list[Any]:
    saved = pretend(monkeypatch, runs)
    assert str(dashboard("p")) == "Open https://wandb.test/me/p?nw=abc"
    return saved


def test_project_without_runs_gets_one_without_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    (made,) = pretend_and_run(monkeypatch, [])
    assert len(sent(made)[-1]["panels"]) == 2


def test_without_a_key_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise UsageError("No API key configured.")

    monkeypatch.setattr(wandb, "Api", refuse)
    with pytest.raises(ValueError, match=r"No API key configured.*wandb login"):
        dashboard("p")


def test_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ValueError, match=r"pip install 'audiogen\[dashboard\]'"):
        dashboard("p")
