"""The commands of README and docs/usage.md run in order, with flags that shorten training; those of all pages parse."""

import inspect
import re
import shlex
import subprocess
import sys
from argparse import ArgumentError
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from audiogen.__main__ import COMMANDS, main
from audiogen.cli import AudiogenCLI
from audiogen.commands.parser import call
from audiogen.resources import config_path, with_config_paths
from tests.tiny_run import write_classes
from tests.tiny_transfer import bursts, melody, write

PAGES = [Path(name).read_text() for name in ("README.md", "docs/usage.md")]
README = PAGES[0]
ALL_PAGES = [
    Path("README.md"),
    *sorted(Path("docs").glob("*.md")),
    Path("slurm/README.md"),
    Path("checkpoints/README.md"),
]
# Programs other than audiogen that README and docs/usage.md start. They are not executed here, except benchmarks.
OTHER_PROGRAMS = {"python3", ".venv/bin/pip", ".venv/bin/python", "python"}
SHORT = {
    "quickstart": ["--data.dataset.init_args.num_clips", "600", "--model.total_kimg", "0.032"],
    "classifier_fsdd": ["--model.total_kimg", "0.64"],
    "stylegan2_fsdd": ["--model.total_kimg", "0.016"],
    "stylegan2_folder": ["--data.batch_size", "4", "--model.total_kimg", "0.008"]
    + [f"--model.{name}.channel_max=16" for name in ("generator", "discriminator")],
    "melgan_vc_quickstart": ["--data.dataset.init_args.num_clips", "1200", "--model.total_kimg", "0.032"],
    "melgan_vc": ["--model.total_kimg", "0.016"]
    + [f"--model.{name}.width=8" for name in ("generator", "siamese", "discriminator")],
}
CONTINUED = ["--data.dataset.init_args.num_clips", "600", "--model.total_kimg", "0.048"]


def write_fsdd(folder: Path) -> None:
    """Write tones in the layout of FSDD: ten digits, 17 takes, of which 5 are for the test and 8 for validation."""
    write_classes(folder, {str(digit): 200.0 + 150 * digit for digit in range(10)}, num=17)
    for path in sorted(folder.rglob("*.wav")):
        path.rename(folder / f"{path.parent.name}_anna_{path.stem}.wav")


def write_sounds(folder: Path) -> None:
    """Write the sounds that the commands name, and a list of a pair of them."""
    write(folder / "in.wav", melody())
    write(folder / "style.wav", bursts())
    write(folder / "rain.wav", bursts(1.5, 22050), 22050)
    (folder / "pairs.csv").write_text("content,style\nin.wav,style.wav\n")


def command_lines(text: str) -> list[list[str]]:
    """Return the words of each command in a page's shell blocks; `A && B` are two commands."""
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.S)).replace("\\\n", " ").splitlines()
    found = [shlex.split(part, comments=True) for line in lines for part in line.split(" && ")]
    return [words for words in found if words]


def arguments_of(words: list[str]) -> list[str] | None:
    """Return the arguments of `audiogen` or `python -m audiogen`; None for other programs."""
    for start, word in enumerate(words):
        if words[start : start + 2] == ["-m", "audiogen"]:
            return words[start + 2 :]
        if Path(word).name == "audiogen" and all("=" in before for before in words[:start]):
            return words[start + 1 :]
    return None


def commands(text: str) -> list[list[str]]:
    """Return the arguments of every audiogen command in a page's shell blocks, without repetitions."""
    found = [args for words in command_lines(text) if (args := arguments_of(words)) is not None]
    return [args for index, args in enumerate(found) if args not in found[:index]]


def config_of(args: list[str]) -> str:
    """Return the name of a training command's first config."""
    return Path(args[args.index("--config") + 1]).stem if "--config" in args else args[1]


def write_named_files(page: Path, folder: Path) -> None:
    """Write the code of a page that tells the user to save it as my_*.py and my_*.yaml."""
    text = page.read_text()
    for suffix, language in (("py", "python"), ("yaml", "yaml")):
        for block in re.finditer(rf"```{language}\n(.*?)```", text, re.S):
            named = re.findall(rf"`(my_\w+\.{suffix})`", text[: block.start()])
            if named and not (folder / named[-1]).exists():  # a later block adds to the file
                (folder / named[-1]).write_text(block[1])


def parse(args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse a command line as the command does, without running it.

    Raises:
        ArgumentError: If an option or value is not accepted.
        ValueError: If a config does not exist.
    """
    name, *rest = args
    if COMMANDS[name].module is None:
        for method in ("before_instantiate_classes", "instantiate_classes", "_run_subcommand"):
            monkeypatch.setattr(AudiogenCLI, method, lambda *_: None)
        AudiogenCLI(with_config_paths(args))
        return
    function = getattr(import_module(str(COMMANDS[name].module)), name)

    def accept(**values: Any) -> None:
        """Do nothing."""

    accept.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    accept.__doc__ = function.__doc__
    call(name, accept, rest, COMMANDS[name].defaults)
    for option, value in pairwise(rest):
        if option == "--config":
            config_path(value)


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    listed = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGES[1].split("## Commands")[1], re.M))))
    assert listed == set(COMMANDS)


def test_every_line_of_the_shell_blocks_is_audiogen_or_a_known_program() -> None:
    lines = [words for page in PAGES for words in command_lines(page)]
    assert {words[0] for words in lines if arguments_of(words) is None} <= OTHER_PROGRAMS


def test_readme_shows_every_task_and_starts_with_training_and_generating() -> None:
    names = [args[0] for args in commands(README)]
    assert names[:2] == ["fit", "generate"]
    assert {"convert", "stylize", "texture", "prepare", "inspect", "report", "evaluate"} <= set(names)


@pytest.mark.parametrize(
    ("page", "args"),
    [(page, args) for page in ALL_PAGES for args in commands(page.read_text())],
    ids=lambda value: value.stem if isinstance(value, Path) else " ".join(value)[:60],
)
def test_command_of_a_page_is_accepted_by_the_parser(
    page: Path, args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("configs", "checkpoints"):
        (tmp_path / name).symlink_to(Path(name).resolve())
    write_named_files(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        parse(args, monkeypatch)
    finally:
        for module in [name for name in sys.modules if name.startswith("my_")]:
            del sys.modules[module]


@pytest.mark.parametrize("line", ["generate run --nums 3", "fit nothing", "stylize a.wav b.wav --config nothing"])
def test_wrong_command_is_not_accepted_by_the_parser(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((ValueError, ArgumentError), match=r"nothing|nums"):
        parse(line.split(), monkeypatch)


def test_readme_is_short() -> None:
    assert len(README.splitlines()) < 150


def test_commands_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("configs", "checkpoints"):
        (tmp_path / name).symlink_to(Path(name).resolve())
    monkeypatch.setenv("AUDIOGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "DIR", {"low": 300, "high": 2000})
    write_fsdd(tmp_path / "FSDD")
    write_classes(tmp_path, {"A": 300, "B": 2000})
    write_sounds(tmp_path)
    for args in commands("\n".join(PAGES)):
        if args[0] in ("stylize", "texture"):
            args += ["--iterations", "3"]
        if args[0] == "fit":
            args += CONTINUED if "--ckpt_path" in args else SHORT[config_of(args)]
        if "--trainer.devices" in args:  # more processes are started by the command line of this one
            subprocess.run([sys.executable, "-m", "audiogen", *args], check=True, capture_output=True)
            continue
        monkeypatch.setattr(sys, "argv", ["audiogen", *args])
        main()
    assert (tmp_path / "runs" / "quickstart" / "report.html").exists()
    assert (tmp_path / "runs" / "quickstart" / "evaluation-test.json").exists()
    assert (tmp_path / "runs" / "melgan_vc_quickstart" / "evaluation-test.json").exists()
    assert (tmp_path / "inspected" / "index.html").exists()
    for name in ("out", "restyled", "sweep-balance-0.25", "more_rain", "mixture"):
        assert (tmp_path / f"{name}.wav").exists()
    for run in (
        "melgan_vc_quickstart",
        "melgan_vc",
        "quickstart",
        "pair",
        "varied",
        "stylegan2_folder",
        "classifier_fsdd",
        "stylegan2_fsdd",
    ):
        assert list((tmp_path / "runs" / run / "checkpoints").glob("*.ckpt"))
        assert (tmp_path / "runs" / run / "metrics.csv").exists()
    assert len(list((tmp_path / "samples").glob("seven-*.wav"))) == 16
    assert (tmp_path / "runs" / "quickstart" / "checkpoints" / "kimg-00000.048.ckpt").exists()
    (python,) = re.findall(r"```python\n(.*?)```", README, re.S)
    scope: dict[str, object] = {}
    exec(python, scope)
    assert scope["made"].wav.shape[:2] == (8, 1)  # type: ignore[attr-defined]


def test_scores_of_the_readme_are_those_of_the_pages() -> None:
    pages = Path("docs/results.md").read_text() + Path("docs/conversion.md").read_text()
    text = README.split("## How good is it?")[1].split("## Where to go next")[0]
    scores = set(re.findall(r"\d+\.\d+", text))
    rounded = {f"{float(score):.2f}" for score in re.findall(r"\d+\.\d+", pages)}
    means = {"0.96", "0.93"}  # of the three seeds in the table
    assert len(scores) > 8
    assert scores - means - rounded - set(re.findall(r"\d+\.\d+", pages)) == set()


@pytest.mark.parametrize("page", ALL_PAGES, ids=str)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / name).exists(), name
    own = {"configs/stylegan2_birds.yaml"}  # would be added by the reader of docs/add_a_dataset.md
    for name in set(re.findall(r"`(configs/[\w/]+\.yaml)`", text)) - own:
        assert Path(name).exists(), name
    for name in re.findall(r"python -m (benchmarks\.\w+)", text):
        assert Path(name.replace(".", "/") + ".py").exists(), name
