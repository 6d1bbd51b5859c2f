"""Grow a texture from one or several references: the command texture."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

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
    read_reference,
    repeated,
    seconds_to_frames,
    write_report,
)
from audiogen.pictures import spectrogram_strip

DEFAULT_SECONDS = 10.0


def texture(
    references: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    seconds: float | None = None,
    weights: str | Sequence[float] | None = None,
    event: float | None = None,
    config: str | Sequence[str] = "style_transfer",
    iterations: int | None = None,
    network: str | None = None,
    seed: int | None = None,
    device: str | None = None,
) -> Made:
    """Make a sound of any length with the texture of others, without repeating them.

    The sound is made in chunks of 10 s that continue each other, so memory does not grow with its length.

    Args:
        references: Sound files of any format, length and sample rate. The first 30 s of each are used.
        out: File to write; its suffix chooses the format. A picture (.png) and the settings and losses (.json) are
            written beside it. From Python, None keeps the sound in memory.
        seconds: Duration, 10 by default. inf continues until Ctrl-C. With time as channels, the sound is as long as the
            first reference.
        weights: Weights of several references in the mixture, such as 0.7,0.3; equal by default.
        event: Duration in seconds of an event, such as a word or a drop. It sets the width of the kernel.
        config: Name of a shipped config (style_transfer, huzaifah_wyse, papers/...) or a YAML file. Repeat it to merge
            several.
        iterations: Evaluations of the network for each chunk.
        network: Checkpoint or run directory of a classifier with the same spectrogram, whose features are used.
        seed: Seed of the noise.
        device: Device, such as cuda. By default a GPU if there is one.

    Returns:
        The result.

    Raises:
        OutputError: If a file to write is one of the inputs, or cannot be written.
        ValueError: If options contradict each other, or a sound cannot be read, is silent or is too short.
        FloatingPointError: If the first loss is not finite.
    """
    paths = [references] if isinstance(references, str | Path) else list(references)
    reference_weights = _parsed_weights(weights, len(paths))
    inputs = [*paths, *config_list(config), *([network] if network else [])]
    place = None if out is None else check_out(out, inputs)
    if seconds is not None and not seconds > 0:
        raise ValueError(f"expected seconds above 0, got {seconds:g}")
    if seconds == math.inf and place is None:
        raise ValueError("a sound without an end needs a file: set `out`")
    changes = given(iterations=iterations, weights=network, seed=seed) | {"start": "noise", "content_weight": 0.0}
    notes: list[str] = []
    built = _build(config, changes, event, seconds, paths[0])
    model = built.model.to(pick_device(device))
    wavs = [read_reference(path, model, notes) for path in paths]
    level = max(active_level([wav], model.transform.sample_rate) for wav in wavs)
    # One gain for all: their relative levels are part of the mixture.
    styles = [model.transform(WORKING_LEVEL / level * wav[None].to(model.device))[0] for wav in wavs]
    if model.extractor.fixed_length:
        frames: float = model.transform.shape[2]
        styles = [repeated(spec, model.transform.shape[2]) for spec in styles]
    else:
        wanted = DEFAULT_SECONDS if seconds is None else seconds
        frames = wanted if wanted == math.inf else seconds_to_frames(wanted, model)
        check_length("the texture", frames, model)
    synthesis = Synthesis(model, styles, reference_weights)
    num_chunks = None if frames == math.inf else math.ceil(frames / synthesis.chunk)
    made = make(synthesis, _lengths(frames, synthesis), num_chunks, place, inputs, notes, level)
    if place is not None:
        panels = {"texture": synthesis.results("texture").popitem()[1]}
        panels |= {f"reference: {Path(path).name}": spec for path, spec in zip(paths, styles, strict=True)}
        report = {
            "references": [str(path) for path in paths],
            "weights": reference_weights,
            "config": config_list(config),
        }
        write_report(made, place, spectrogram_strip(panels, model.transform), report | {"settings": built.settings})
    return made


def _parsed_weights(weights: str | Sequence[float] | None, num: int) -> list[float] | None:
    """Return the weights of the references as numbers.

    Raises:
        ValueError: If there is not one weight of at least 0 for each, or all are 0.
    """
    if weights is None:
        return None
    try:
        numbers = [float(part) for part in (weights.split(",") if isinstance(weights, str) else weights)]
    except ValueError:
        raise ValueError(f"expected weights such as 0.7,0.3, got {weights!r}") from None
    if len(numbers) != num or min(numbers) < 0 or not 0 < sum(numbers) < math.inf:
        raise ValueError(f"need a weight of at least 0 for each of {num} references, got {weights}")
    return numbers


def _build(
    config: str | Sequence[str], changes: dict, event: float | None, seconds: float | None, reference: str | Path
) -> Built:
    """Return the model, with the kernel that the event needs. A network with a single length gets the reference's."""
    built = build_style_transfer(config, changes)
    model = built.model
    kernel = {}
    if event is not None:
        if not 0 < event <= DEFAULT_SECONDS:
            raise ValueError(f"expected an event above 0 and up to {DEFAULT_SECONDS:g} seconds, got {event:g}")
        kernel = {"kernel": seconds_to_frames(event, model) | 1}
    if model.extractor.fixed_length:
        if event is not None or seconds is not None:
            raise ValueError("this config has time as channels: leave out --event and --seconds")
        frames = -(-read_reference(reference, model, []).shape[1] // model.transform.hop_length)
        return build_style_transfer(config, changes, kernel, frames)
    return build_style_transfer(config, changes, kernel) if kernel else built


def _lengths(frames: float, synthesis: Synthesis) -> Iterator[int]:
    """Yield the frames of each chunk, with those of the one before."""
    before = 0
    while frames > 0:
        new = int(min(frames, synthesis.chunk))
        yield before + new
        frames -= new
        before = synthesis.overlap
