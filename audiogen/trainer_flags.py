"""List the Trainer flags that a run honours, and refuse the others with advice.

Models here count clips, average gradients over a batch of fixed size, take their own optimiser steps, and read an
endless stream of clips. Lightning flags with other assumptions would be ignored or silently change the training, so
they are refused. docs/trainer_flags.md is the list for users.
"""

from typing import Any, NamedTuple

HONOURED = (
    *("accelerator", "devices", "num_nodes", "strategy", "plugins", "precision"),
    *(
        "logger",
        "callbacks",
        "default_root_dir",
        "enable_progress_bar",
        "enable_checkpointing",
        "enable_model_summary",
        "profiler",
    ),
    *("max_time", "fast_dev_run", "limit_train_batches", "limit_val_batches", "limit_test_batches"),
    *("val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps", "inference_mode"),
    *("deterministic", "benchmark", "detect_anomaly", "reload_dataloaders_every_n_epochs"),
    *("enable_autolog_hparams", "model_registry"),
)


class Refusal(NamedTuple):
    """Rule for a refused flag.

    Attributes:
        allowed: Values without effect, which are accepted.
        advice: What to do instead.
    """

    allowed: tuple[Any, ...]
    advice: str


_LENGTH = "the training's length is --model.total_kimg, in thousands of clips"
REFUSED = {
    "max_steps": Refusal((-1,), f"it counts optimiser steps, and a model takes several per batch: {_LENGTH}"),
    "min_steps": Refusal((None,), f"it counts optimiser steps, and a model takes several per batch: {_LENGTH}"),
    "max_epochs": Refusal((-1, None), f"the stream of training clips has no end and so no epochs: {_LENGTH}"),
    "min_epochs": Refusal((None,), f"the stream of training clips has no end and so no epochs: {_LENGTH}"),
    "overfit_batches": Refusal(
        (0, 0.0), "it would also validate on training clips: to overfit, name a folder of a few sounds with --data.root"
    ),
    "accumulate_grad_batches": Refusal((1,), "gradients are averaged over --data.batch_size clips: raise that"),
    "gradient_clip_val": Refusal((None, 0, 0.0), "models take their own steps: lower --model.learning_rate"),
    "gradient_clip_algorithm": Refusal((None,), "models take their own steps: lower --model.learning_rate"),
    "log_every_n_steps": Refusal((1, None), "models log means: set --model.log_every_kimg"),
    "use_distributed_sampler": Refusal((False,), "each process already takes its slice of every batch"),
    "sync_batchnorm": Refusal((False,), "batch normalisation already sees the batch of all processes"),
    "barebones": Refusal((False,), "a run without logs and checkpoints could not be continued"),
    "limit_predict_batches": Refusal((None,), "no command predicts: python -m audiogen generate makes sounds"),
}
PRECISIONS = (None, "32-true", "32", 32, "64-true", "64", 64)


def check_flags(flags: Any, command: str) -> None:
    """Refuse Trainer flags that would be ignored or silently change the training.

    Args:
        flags: The Trainer's arguments, with a `get` method.
        command: "fit", "validate" or "test".

    Raises:
        ValueError: If a flag is not supported. The message gives the flag, its value and what to set instead.
    """
    for name, refusal in REFUSED.items():
        if flags.get(name) not in refusal.allowed:
            raise ValueError(f"--trainer.{name} {flags.get(name)} is not supported: {refusal.advice}")
    if flags.get("precision") not in PRECISIONS:
        raise ValueError(
            f"--trainer.precision {flags.get('precision')} is not supported: penalties need float32. Set "
            "--model.precision bf16, which computes the large layers in it"
        )
    limits = {"fit": "limit_train_batches", "validate": "limit_val_batches", "test": "limit_test_batches"}
    if flags.get(limits[command]) in (0, 0.0):
        raise ValueError(f"--trainer.{limits[command]} 0 leaves nothing to {command}")
    batches, every = flags.get("limit_train_batches"), flags.get("check_val_every_n_epoch")
    if isinstance(batches, float) and batches != 1.0:
        raise ValueError(
            f"--trainer.limit_train_batches {batches} is not supported: the stream of training clips has no end, so "
            "give a number of batches; training continues with the next ones after validation"
        )
    if every not in (None, 1) and batches is None:
        raise ValueError(
            f"--trainer.check_val_every_n_epoch {every} is not supported: the stream of training clips has no epochs. "
            "Set every_kimg of an evaluation, or --trainer.val_check_interval to a number of batches"
        )


def shorten(flags: Any, model: Any, batch_size: int) -> int:
    """Turn `fast_dev_run` into a short training that still takes steps, validates, evaluates and saves.

    Lightning's version counts optimiser steps and skips everything after the training.

    Args:
        flags: The Trainer's arguments, changed in place.
        model: The model's arguments, changed in place.
        batch_size: Clips per step.

    Returns:
        The number of batches; 0 without `fast_dev_run`.
    """
    batches = int(flags.fast_dev_run)
    if batches:
        flags.fast_dev_run = flags.logger = False
        flags.limit_val_batches = flags.limit_test_batches = batches
        if "iterations" in model:
            model.iterations = batches  # iterations for each pair of style transfer
        else:
            model.total_kimg = batches * batch_size / 1000
    return batches
