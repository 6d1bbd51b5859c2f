"""Measure the speed of MelGAN-VC, training steps and conversion: `python -m benchmarks.melgan_vc_step`.

Training: networks of the default widths on 64 bands x 48 frames (`configs/melgan_vc_fsdd.yaml`) and on 192 x 72
(`configs/melgan_vc.yaml`), with batches of 16 crops, of which 8 are sources and 8 targets. Candidates: the step in
float32, the step in the precision that the package chooses, a step that updates only the discriminator, and bare
convolutions of the networks' sizes. The rate of the bare convolutions estimates the limit of the machine.

Conversion: one minute of speech-like noise, with segments that overlap by half. The network and the phase method are
timed separately. The real-time factor is the number of seconds of sound that are converted per second.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric

from audiogen.audio.io import write_audio
from audiogen.commands.convert import convert
from audiogen.data.batch import Batch
from audiogen.models.melgan_vc import MelGANVC
from audiogen.models.precision import Precision, has_fast_bf16
from audiogen.networks.melgan_vc import Discriminator, Generator, Siamese
from audiogen.transforms.mel import LogMel
from audiogen.transforms.streaming import waveform_blocks
from audiogen.transforms.transform import SpectrogramTransform
from benchmarks.stylegan2_step import count_flop
from benchmarks.timing import fastest

BATCH = 16
SECONDS = 60.0
BLOCK = 512  # frames per block, similar to the command `convert`
TRANSFORMS: dict[str, Callable[[], SpectrogramTransform]] = {
    "64 x 48": lambda: LogMel(8000, 512, 128, n_mels=64, num_frames=48),
    "192 x 72": lambda: LogMel(16000, 2048, 192, 192, 72, win_length=1152, mel_scale="htk", power=2),
}


def make_model(transform: SpectrogramTransform, precision: Precision, interval: int = 1) -> MelGANVC:
    """Return a model that is ready for `training_step` without a Trainer and without logging."""
    torch.manual_seed(0)
    model = MelGANVC(
        transform,
        ["a", "b"],
        BATCH,
        Generator,
        Siamese,
        Discriminator,
        total_kimg=1e9,
        generator_interval=interval,
        precision=precision,
        log_every_kimg=1e9,
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    model._fabric = fabric
    model._fabric_optimizers = list(fabric.setup_optimizers(*model.configure_optimizers()))
    return model.train()


def conv_rate(bands: int, frames: int, dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    """Return a function that runs the networks' largest convolutions forward and backward, and its FLOP."""
    segments = (3 * BATCH, frames // 3)
    layers = [  # batch, channels in and out, kernel, stride, frames in
        (segments[0], 256, 256, 9, 2, segments[1]),
        (segments[0], 512, 256, 9, 1, segments[1]),
        (BATCH, 512, 512, 9, 2, frames),
        (BATCH, 512, 512, 7, 2, frames // 2),
    ]
    runs, flop = [], 0.0
    for batch, num_in, num_out, kernel, stride, length in layers:
        x = torch.randn(batch, num_in, 1, length, dtype=dtype).contiguous(memory_format=torch.channels_last)
        w = torch.randn(num_out, num_in, 1, kernel, dtype=dtype).contiguous(memory_format=torch.channels_last)
        place = ((1, stride), (0, kernel // 2))  # stride and padding
        forward = partial(F.conv2d, x, w, None, *place)
        y = forward()
        backward = partial(torch.ops.aten.convolution_backward, torch.randn_like(y), x, w, None, *place)
        masks = ([True, False, False], [False, True, False])
        runs += [forward, *(partial(backward, [1, 1], False, [0, 0], 1, mask) for mask in masks)]
        flop += 3 * 2 * kernel * num_in * y.numel()
    return lambda: [run() for run in runs], flop


def measure_steps(name: str, dtype: torch.dtype) -> dict[str, float]:
    """Time training steps; print the table and return its metrics."""
    transform = TRANSFORMS[name]()
    _, bands, frames = transform.shape
    batch = Batch(torch.rand(BATCH, 1, bands, frames) * 2 - 1, torch.arange(BATCH) % 2)
    exact, auto, rarely = (
        make_model(transform, *settings)
        for settings in (("fp32",), ("auto",), ("auto", 10**9))  # type: ignore[arg-type]
    )
    rarely.training_step(batch, 0)  # its later steps update only the discriminator
    convolutions, conv_flop = conv_rate(bands, frames, dtype)
    candidates: dict[str, Callable[[], object]] = {
        "float32": lambda: exact.training_step(batch, 0),
        "auto": lambda: auto.training_step(batch, 0),
        "auto, discriminator alone": lambda: rarely.training_step(batch, 0),
        "convolutions": convolutions,
    }
    seconds = fastest(candidates)
    rate = conv_flop / seconds["convolutions"]
    print(f"\nstep of {BATCH} crops, {name}; convolutions alone: {rate / 1e9:.0f} GFLOP/s")
    print(f"{'':<32}{'crops/s':>9}{'GFLOP/crop':>12}{'fraction of conv rate':>23}")
    scores = {"conv_gflop_per_s": rate / 1e9}
    for kind in list(candidates)[:3]:
        flop = count_flop(candidates[kind])
        fraction = flop / seconds[kind] / rate
        print(f"{kind:<32}{BATCH / seconds[kind]:>9.1f}{flop / BATCH / 1e9:>12.2f}{fraction:>23.2f}")
        if kind == "auto":
            scores |= {"crops_per_s": BATCH / seconds[kind], "fraction_of_conv_rate": fraction}
    return scores


def measure_conversion(name: str) -> dict[str, float]:
    """Convert a minute of sound; print the real-time factors and return them."""
    transform = TRANSFORMS[name]()
    model = make_model(transform, "auto").eval()
    envelope = torch.randn(int(SECONDS * 8)).abs().repeat_interleave(transform.sample_rate // 8)
    wav = 0.1 * torch.randn(1, len(envelope)) * envelope
    with TemporaryDirectory() as folder, torch.no_grad():
        source, target = Path(folder) / "in.wav", Path(folder) / "out.wav"
        write_audio(source, wav, transform.sample_rate)
        spec, aim = transform(wav[None]), torch.tensor([1])
        blocks = spec.split(BLOCK, dim=3)
        made = [model.convert(block, aim) for block in blocks]
        candidates: dict[str, Callable[[], object]] = {
            "network": lambda: [model.convert(block, aim) for block in blocks],
            "phases": lambda: list(waveform_blocks(transform, made)),
            "convert, file to file": lambda: convert(model, source, out=target),
        }
        seconds = fastest(candidates)
    print(f"\nconversion of {SECONDS:.0f} s at {transform.sample_rate} Hz, {name}: times faster than real time")
    for kind, taken in seconds.items():
        print(f"{kind:<32}{SECONDS / taken:>9.1f}")
    keys = ("network", "phase", "whole")
    return {key: SECONDS / taken for key, taken in zip(keys, seconds.values(), strict=True)}


def main() -> None:
    """Measure training and conversion."""
    torch.set_flush_denormal(True)
    dtype = torch.bfloat16 if has_fast_bf16(torch.device("cpu")) else torch.float32
    print(f"MelGAN-VC, {torch.get_num_threads()} threads, auto = {dtype}")
    scores: dict[str, float] = {}
    for name in TRANSFORMS:
        size = name.replace(" ", "")
        scores |= {f"{key}_{size}": value for key, value in measure_steps(name, dtype).items()}
    for name in TRANSFORMS:
        found = measure_conversion(name)
        scores |= {f"conversion_{key}_{name.replace(' ', '')}": value for key, value in found.items()}
    scores["conversion_real_time_factor"] = found["whole"]  # of the last, larger one
    print(json.dumps({key: round(value, 3) for key, value in scores.items()}))


if __name__ == "__main__":
    main()
