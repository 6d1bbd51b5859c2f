"""The LightningModule of docs/add_a_model.md: trained, resumed, reported on, evaluated and sampled."""

import csv
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiogen.__main__ import run
from audiogen.data.batch import Batch
from audiogen.transforms.mel import LogMel

PAGE = Path("docs/add_a_model.md").read_text()
CODE, CONFIG = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)[1] for kind in ("python", "yaml"))
COMMANDS = [
    shlex.split(line) for line in PAGE.split("Train it, ")[1].split("```")[1].splitlines() if "audiogen" in line
]
SHORT = ["--data.dataset.num_clips", "600", "--model.total_kimg", "0.64", "--data.batch_size", "16"]


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the page's Python and YAML into the current folder, outside the package."""
    (tmp_path / "my_vae.py").write_text(CODE)
    (tmp_path / "my_vae.yaml").write_text(CONFIG)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("my_vae", None)


def test_documented_commands_train_report_evaluate_and_generate(
    documented: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = []
    for words in COMMANDS:
        for word in words[: words.index("python")]:
            monkeypatch.setenv(*word.split("=", 1))
        args = words[words.index("audiogen") + 1 :]
        commands.append(args[0])
        run([*args, *(SHORT if args[0] == "fit" else [])])
    assert commands == ["fit", "report", "evaluate", "generate"]
    folder = documented / "runs" / "my_vae"
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    losses = [float(row["loss/reconstruction"]) for row in rows if row["loss/reconstruction"]]
    assert losses[-1] < losses[0]
    assert {"val/reconstruction", "fad", "coherence"} <= {name for row in rows for name, value in row.items() if value}
    described = {scalar["name"] for scalar in json.loads((folder / "scalars.json").read_text())}
    assert "val/reconstruction" in described
    page = (folder / "report.html").read_text()
    assert "reconstruction" in page
    assert "coherence" in page
    assert "coherence" in capsys.readouterr().out
    sounds = sorted((documented / "sevens").glob("*.wav"))
    assert len(sounds) == 4
    assert all(np.abs(soundfile.read(sound)[0]).max() > 0 for sound in sounds)


def test_clip_depends_on_its_class_and_seed_alone(documented: Path) -> None:
    import my_vae  # type: ignore[import-not-found]

    model = my_vae.VAE(LogMel(8000, n_fft=256, hop_length=64, n_mels=16, num_frames=8), ["a", "b"], 4)
    together = model.sample(torch.tensor([0, 1, 1]), [1, 2, 3])
    torch.testing.assert_close(together[1:2], model.sample(torch.tensor([1]), [2]))
    assert not torch.allclose(together[1], together[2])


def test_divergence_of_standard_normal_latents_is_zero(documented: Path) -> None:
    import my_vae

    model = my_vae.VAE(LogMel(8000, n_fft=256, hop_length=64, n_mels=16, num_frames=8), [], 4)
    torch.nn.init.zeros_(model.encoder[-1].weight)
    torch.nn.init.zeros_(model.encoder[-1].bias)
    error, divergence = model.losses(Batch(torch.zeros(4, 1, 16, 8), torch.zeros(4, dtype=torch.int64)))
    assert divergence == 0
    assert error > 0
