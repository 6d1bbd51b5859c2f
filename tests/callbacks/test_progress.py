"""The progress line."""

from types import SimpleNamespace

import pytest
import torch

from audiogen.callbacks import progress
from audiogen.callbacks.progress import KimgProgress
from audiogen.models.kimg import KimgModule
from audiogen.scalars import Scalar


def test_line_has_kimg_headlines_speed_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    module = SimpleNamespace(clips_seen=0, kimg=0.0, total_kimg=50.0, scalars=KimgModule.scalars)
    novelty = SimpleNamespace(scalars=[Scalar("novelty", headline=True), Scalar("fad")])
    metrics = {"novelty": 0.12345, "loss/generator": 1.25, "loss/discriminator": 0.5, "kimg": 1.0, "fad": 7.0}
    metrics = {name: torch.tensor(value) for name, value in metrics.items()}
    trainer = SimpleNamespace(callback_metrics=metrics, callbacks=[novelty, object()], should_stop=False)
    callback = KimgProgress()
    callback.on_train_start(trainer, module)

    now, module.clips_seen, module.kimg = 105.0, 500, 0.5
    callback.on_train_batch_end(trainer, module, None, None, 0)
    assert capsys.readouterr().err == ""  # too early for a log file

    now, module.clips_seen, module.kimg = 110.0, 1000, 1.0
    callback.on_train_batch_end(trainer, module, None, None, 0)
    expected = "kimg 1.0/50 | generator 1.25, discriminator 0.5 | novelty 0.123 | 100.0 clips/s | 8:10 left\n"
    assert capsys.readouterr().err == expected

    now, module.clips_seen, trainer.should_stop = 110.1, 1010, True
    callback.disable()
    callback.on_train_batch_end(trainer, module, None, None, 0)
    assert capsys.readouterr().err == ""
    callback.enable()
    callback.on_train_batch_end(trainer, module, None, None, 0)
    assert "clips/s" in capsys.readouterr().err  # the last line is always printed
