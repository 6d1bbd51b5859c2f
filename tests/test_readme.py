"""The commands of README and docs/usage.md, run in order; training is shortened by flags."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from audiogen.__main__ import COMMANDS, main
from tests.tiny_run import write_classes
from tests.tiny_transfer import bursts, melody, write

PAGES = [Path(name).read_text() for name in ("README.md", "docs/usage.md")]
README = PAGES[0]
SHORT = {
    "quickstart": ["--data.dataset.init_args.num_clips", "600", "--model.total_kimg", "0.032"],
    "classifier_fsdd": ["--model.total_kimg", "0.64"],
    "stylegan2_fsdd": ["--model.total_kimg", "0.016"],
    "stylegan2_folder": ["--data.batch_size", "4", "--model.total_kimg", "0.008"]
    + [f"--model.{name}.channel_max=16" for name in ("generator", "discriminator")],
    "melgan_vc_quickstart": ["--data.dataset.init_args.num_clips", "1200", "--model.total_kimg", "0.032"],
    "style_transfer": ["--model.iterations", "2", "--model.extractor.width", "16"],
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


def commands() -> list[list[str]]:
    """Return the arguments of every `python -m audiogen` in the shell blocks of both pages, without repetitions."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", "\n".join(PAGES), re.S)).replace("\\\n", " ")
    found = [shlex.split(line) for line in re.findall(r"python -m audiogen (.*)", blocks)]
    return [args for index, args in enumerate(found) if args not in found[:index]]


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    listed = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGES[1].split("## Commands")[1], re.M))))
    assert listed == set(COMMANDS)
    assert {args[0] for args in commands()} <= set(COMMANDS)


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
    for args in commands():
        if args[0] in ("stylize", "texture"):
            args += ["--iterations", "3"]
        if args[0] == "fit":
            config = Path(args[args.index("--config") + 1]).stem if "--config" in args else args[1]
            args += CONTINUED if "--ckpt_path" in args else SHORT[config]
        if "--trainer.devices" in args:  # more processes are started by the command line of this one
            subprocess.run([sys.executable, "-m", "audiogen", *args], check=True, capture_output=True)
            continue
        monkeypatch.setattr(sys, "argv", ["audiogen", *args])
        main()
    assert (tmp_path / "runs" / "quickstart" / "report.html").exists()
    assert (tmp_path / "runs" / "quickstart" / "evaluation-test.json").exists()
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


def test_files_and_options_that_are_named_exist() -> None:
    for folder, page in zip((Path(), Path("docs")), PAGES, strict=True):
        for name in re.findall(r"\]\(([^)#:]+)\)", page):
            assert (folder / name).exists(), name
    for name in re.findall(r"`(configs/[\w/]+\.yaml)`", "".join(PAGES)):
        assert Path(name).exists(), name
    for name in re.findall(r"python -m (benchmarks\.\w+)", PAGES[1]):
        assert Path(name.replace(".", "/") + ".py").exists(), name
