"""Sounds for the benchmarks: spoken digits, synthesised music and synthesised drops of water."""

import os
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from audiogen.audio.io import read_audio
from audiogen.audio.length import fit_length
from audiogen.data.datasets.fsdd import FSDD
from audiogen.data.datasets.spoken_digits import SpokenDigits

MUSIC_RATE = 22050
# Four bars each: roots of the chords as MIDI notes, and the melody's steps above the root.
PIECES = (
    ((48, 53, 55, 48), (12, 16, 19, 16, 17, 21, 19, 16)),
    ((45, 41, 48, 43), (15, 12, 19, 24, 22, 19, 15, 14)),
    ((50, 55, 57, 50), (24, 21, 19, 14, 12, 17, 19, 26)),
    ((40, 45, 47, 43), (19, 20, 23, 24, 26, 23, 19, 16)),
)
CHORD = (0, 4, 7, 12)


def spoken_test_files() -> list[Path]:
    """List test clips of the Free Spoken Digit Dataset if AUDIOGEN_FSDD names its folder, embedded digits otherwise."""
    root = os.environ.get("AUDIOGEN_FSDD")
    clips = FSDD().scan(Path(root)) if root else SpokenDigits().scan(None)
    return [clip.path for clip in clips if clip.split == "test"]


def speech(seconds: float, sample_rate: int) -> Tensor:
    """Return a sequence of digits by each of six speakers, float32 [6, 1, T]."""
    spoken = defaultdict(list)
    for path in spoken_test_files():
        spoken[path.stem.split("_")[1]].append(path)
    clips = []
    for speaker in sorted(spoken)[:6]:
        takes = sorted(spoken[speaker], key=lambda path: (path.stem.split("_")[2], path.stem))  # zero to nine, again
        digits = torch.cat([read_audio(path, sample_rate) for path in takes[:10]], dim=1)
        clips.append(fit_length(digits, round(seconds * sample_rate)))
    return torch.stack(clips)


def music(seconds: float) -> Tensor:
    """Return four segments of chords, a melody and percussion, float32 [4, 1, T] at MUSIC_RATE."""
    return torch.stack([_segment(chords, steps, seconds) for chords, steps in PIECES])[:, None]


def drops(seconds: float) -> Tensor:
    """Return 30 drops per second at random times over faint noise, float32 [1, T] at MUSIC_RATE with peak 0.7."""
    generator = torch.Generator().manual_seed(0)
    wav = 0.02 * torch.randn(round(seconds * MUSIC_RATE), generator=generator)
    time = torch.arange(1500) / MUSIC_RATE
    for _ in range(round(30 * seconds)):
        start, pitch, level = torch.rand(3, generator=generator).tolist()
        ringing = torch.sin(2 * torch.pi * (800 + 3200 * pitch) * time) * torch.exp(-110 * time)
        _add(wav, start * seconds * 0.999, (0.1 + 0.5 * level) * ringing)
    return (0.7 * wav / wav.abs().max())[None]


def _segment(roots: tuple[int, ...], steps: tuple[int, ...], seconds: float) -> Tensor:
    """Return four chords, each with two melody notes and two percussion strokes, float32 [T] with peak 0.7."""
    bar = seconds / len(roots)
    wav = torch.zeros(round(seconds * MUSIC_RATE))
    for index, root in enumerate(roots):
        for interval in CHORD:
            _add(wav, index * bar, 0.3 * _note(root + interval, bar, decay=2, num_partials=8))
        for half in range(2):
            start = (index + half / 2) * bar
            _add(wav, start, 0.6 * _note(root + steps[2 * index + half], bar / 2, decay=5, num_partials=15))
            _add(wav, start, (0.5, 1.0)[half] * _burst(seed=2 * index + half))
    return 0.7 * wav / wav.abs().max()


def _note(midi: int, seconds: float, decay: float, num_partials: int) -> Tensor:
    """Return a plucked string, whose higher partials are weaker and decay faster."""
    time = torch.arange(round(seconds * MUSIC_RATE)) / MUSIC_RATE
    frequency = 440 * 2 ** ((midi - 69) / 12)
    partials = [
        torch.sin(2 * torch.pi * k * frequency * time) / k * torch.exp(-decay * k**0.5 * time)
        for k in range(1, num_partials + 1)
        if k * frequency < MUSIC_RATE / 2
    ]
    return torch.stack(partials).sum(dim=0) * (time / 0.005).clamp_max(1)


def _burst(seed: int) -> Tensor:
    """Return a snare: noise that decays within 0.1 s."""
    time = torch.arange(round(0.15 * MUSIC_RATE)) / MUSIC_RATE
    noise = torch.randn(time.shape, generator=torch.Generator().manual_seed(seed))
    return 0.3 * noise * torch.exp(-40 * time)


def _add(wav: Tensor, seconds: float, sound: Tensor) -> None:
    """Add a sound to a waveform, starting at a given time."""
    start = round(seconds * MUSIC_RATE)
    wav[start : start + len(sound)] += sound[: len(wav) - start]
