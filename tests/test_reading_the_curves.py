"""The page on curves names the rules that there are, and its config works."""

import re
from pathlib import Path

import yaml
from jsonargparse import ArgumentParser

from audiogen.callbacks.mode_collapse import ModeCollapse
from audiogen.metrics.collapse import RULES

PAGE = Path("docs/reading_the_curves.md").read_text()


def test_table_has_every_rule_and_what_it_does() -> None:
    rows = {row[0]: row[2] for row in re.findall(r"^\| ([\w ]+) \| (.+) \| (stops|warns) \|$", PAGE, re.M)}
    assert rows == {rule.name: "stops" if rule.stop else "warns" for rule in RULES}


def test_rule_of_the_page_is_one() -> None:
    (config,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    (callback,) = yaml.safe_load(config)["trainer"]["callbacks+"]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ModeCollapse, "callback")
    built = parser.instantiate(parser.parse_object({"callback": callback})).callback
    (rule,) = built.watch.rules
    assert (rule.signal, rule.low, rule.stop) == ("coverage", 0.5, True)
