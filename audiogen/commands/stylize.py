"""Restyle one sound with another: the command stylize."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from audiogen.audio.io import AudioFileError, audio_info, stream_audio
from audiogen.audio.level import active_level
from audiogen.commands.generate import pick_device
from audiogen.commands.style_config import Built, build_style_transfer, config_list, given
from audiogen.commands.transfer_sounds import (
    WORKING_LEVEL,
    Made,
    Synthesis,
    check_length,
    check_out,
    make,
    note_format,
    read_reference,
    repeated,
    write_report,
)
from audiogen.pictures import spectrogram_strip
from audiogen.transforms.streaming import spectrogram_blocks
from audiogen.transforms.transform import SpectrogramTransform


def stylize(
    content: str | Path,
    style: str | Path,
    out: str | Path | None = None,
    config: str | Sequence[str] = "style_transfer",
    balance: float | None = None,
    sweep: int | None = None,
    content_weight: float | None = None,
    style_weight: float | None = None,
    seconds: float | None = None,
    iterations: int | None = None,
    network: str | None = None,
    seed: int | None = None,
    device: str | None = None,
) -> Made:
    """Make a sound with the content of one sound and the style of another.

    Files may have any format, length and sample rate; both are resampled to the config's rate. Contents longer than 10
    s are made in chunks that continue each other, so memory does not grow. The first 30 s of the style are used.

    Args:
        content: Sound file whose events and rhythm are kept.
        style: Sound file whose timbre and texture are imposed.
        out: File to write; its suffix chooses the format. A picture (.png) and the settings and losses (.json) are
            written beside it. From Python, None keeps the sound in memory.
        config: Name of a shipped config (style_transfer, huzaifah_wyse, jain_raj, lin, papers/...) or a YAML file.
            Repeat it to merge several.
        balance: From 0 (content alone) to 1 (style alone). Both sounds are first brought to the same level, and the
            result gets the content's level.
        sweep: Number of sounds to make at once, with balances from 0 to 1.
        content_weight: Weight of the content loss as in the paper, instead of a balance.
        style_weight: Weight of the style loss as in the paper, instead of a balance.
        seconds: Seconds of the content to use; all by default.
        iterations: Evaluations of the network.
        network: Checkpoint or run directory of a classifier with the same spectrogram, whose features are used.
        seed: Seed of the noise, for configs that start from noise.
        device: Device, such as cuda. By default a GPU if there is one.

    Returns:
        The result. Its length is the content's, to within one hop.

    Raises:
        OutputError: If a file to write is one of the inputs, or cannot be written.
        ValueError: If options exclude each other, or a sound cannot be read, is silent or is too short.
        FloatingPointError: If the first loss is not finite.
    """
    inputs = [content, style, *config_list(config), *([network] if network else [])]
    place = None if out is None else check_out(out, inputs)
    changes = _changes(balance, sweep, content_weight, style_weight)
    changes |= given(iterations=iterations, weights=network, seed=seed)
    notes: list[str] = []
    try:
        built, frames = _build(config, changes, content, seconds)
        model = built.model.to(pick_device(device))
        note_format(content, model, notes)
        check_length(content, frames, model)
        reference = read_reference(style, model, notes)
        gain = WORKING_LEVEL / active_level([reference], model.transform.sample_rate)
        target = model.transform(gain * reference[None].to(model.device))[0]
        if model.extractor.fixed_length:
            target = repeated(target, frames)
        synthesis = Synthesis(model, [target])
        chunk = frames if model.extractor.fixed_length else synthesis.chunk
        level = _level(content, model.transform, frames)
        contents = _contents(content, synthesis, chunk, frames, WORKING_LEVEL / level)
        made = make(synthesis, contents, -(-frames // chunk), place, inputs, notes, level)
    except AudioFileError as error:
        raise ValueError(f"{content} cannot be used: {error}") from error
    if place is not None:
        assert synthesis.content is not None
        panels = {"content": synthesis.content, **synthesis.results("result"), "style": target}
        report = {
            "content": str(content),
            "style": str(style),
            "config": config_list(config),
            "settings": built.settings,
        }
        write_report(made, place, spectrogram_strip(panels, model.transform), report)
    return made


def _changes(
    balance: float | None, sweep: int | None, content_weight: float | None, style_weight: float | None
) -> dict[str, Any]:
    """Return the model's arguments for the weights of content and style.

    Raises:
        ValueError: If options exclude each other.
    """
    weights = given(content_weight=content_weight, style_weight=style_weight)
    ways = [*given(balance=balance, sweep=sweep), *list(weights)[:1]]
    if len(ways) > 1:
        raise ValueError(f"--{ways[0]} and --{ways[1]} exclude each other")
    if sweep is not None:
        if sweep < 2:
            raise ValueError(f"a sweep needs at least 2 sounds, got {sweep}")
        return {"balance": [round(index / (sweep - 1), 3) for index in range(sweep)]}
    if balance is not None:
        return {"balance": balance}
    return weights | {"balance": None} if weights else {}


def _build(
    config: str | Sequence[str], changes: dict[str, Any], content: str | Path, seconds: float | None
) -> tuple[Built, int]:
    """Return the model and the content's number of frames. A network with a single length gets the content's.

    Raises:
        AudioFileError: If the content cannot be read.
        ValueError: If `seconds` is not positive.
    """
    if seconds is not None and seconds <= 0:
        raise ValueError(f"expected seconds above 0, got {seconds:g}")
    built = build_style_transfer(config, changes)
    transform = built.model.transform
    limit = min(audio_info(content).seconds, seconds or float("inf"))
    frames = -(-round(limit * transform.sample_rate) // transform.hop_length)
    if built.model.extractor.fixed_length:
        built = build_style_transfer(config, changes, num_frames=frames)
    return built, frames


def _wavs(path: str | Path, transform: SpectrogramTransform, frames: int) -> Iterator[Tensor]:
    """Yield the content block by block, float32 [C, T] each."""
    left = frames * transform.hop_length
    for wav in stream_audio(path, transform.sample_rate, transform.shape[0]):
        yield wav[:, :left]
        left -= wav.shape[1]
        if left <= 0:
            return


def _level(path: str | Path, transform: SpectrogramTransform, frames: int) -> float:
    """Return the level of the content.

    Raises:
        AudioFileError: The content cannot be read, or is silent.
    """
    level = active_level(_wavs(path, transform, frames), transform.sample_rate)
    if level == 0:
        raise AudioFileError("silent")
    return level


def _contents(path: str | Path, synthesis: Synthesis, chunk: int, frames: int, gain: float) -> Iterator[Tensor]:
    """Yield the spectrogram of the content chunk by chunk, with the frames before it, float32 [1, C, F, L]."""
    model = synthesis.model
    parts = (gain * wav.to(model.device) for wav in _wavs(path, model.transform, frames))
    for spec, before, num in spectrogram_blocks(model.transform, parts, chunk, synthesis.overlap):
        yield spec[..., : before + num]
