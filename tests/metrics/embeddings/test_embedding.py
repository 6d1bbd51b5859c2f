"""The input of embeddings, and the cache of embedded clips."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiogen.metrics.embeddings.cache import cached_embedder
from audiogen.metrics.embeddings.embedding import Embedding, clips_for, embed
from audiogen.transforms.mel import LogMel
from audiogen.transforms.phase.griffin_lim import GriffinLim


def mel(**changes: Any) -> LogMel:
    settings = {"sample_rate": 8000, "n_fft": 512, "hop_length": 128, "n_mels": 32, "num_frames": 32} | changes
    return LogMel(**settings)  # type: ignore[arg-type]


class Level(Embedding):
    """Embed clips as their mean magnitude, and record the shapes of the inputs."""

    def __init__(self, sample_rate: int = 8000, transform: LogMel | None = None) -> None:
        super().__init__("level", 1, sample_rate, transform)
        self.scale = torch.nn.Parameter(torch.ones([]))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, clips: Tensor) -> Tensor:
        self.seen.append(tuple(clips.shape))
        return self.scale * clips.abs().mean(dim=(1, 2, *range(3, clips.ndim)))[:, None, None]


def tones(transform: LogMel, frequency: float = 440.0) -> Tensor:
    time = torch.arange(transform.num_samples) / transform.sample_rate
    return transform(0.5 * torch.sin(2 * math.pi * frequency * time).expand(2, 1, -1))


def test_spectrograms_of_its_own_transform_are_embedded_directly() -> None:
    spec = tones(mel())
    assert torch.equal(clips_for(Level(transform=mel()), spec, mel()), spec)


def test_spectrogram_definition_depends_on_settings_but_not_on_phase_method_or_mode() -> None:
    assert mel().same_spectrogram(mel().eval())
    assert not mel().same_spectrogram(mel(hop_length=100))
    assert not mel().same_spectrogram(mel(f_min=50.0))
    assert not mel().same_spectrogram(mel(num_frames=16))


def test_audio_is_resampled_and_the_description_mentions_it() -> None:
    embedding = Level(sample_rate=16000)
    wav = clips_for(embedding, tones(mel()), mel())
    assert wav.shape == (2, 1, 2 * mel().num_samples)
    spectrum = torch.fft.rfft(wav[0, 0]).abs()
    assert abs(float(spectrum.argmax()) * 16000 / wav.shape[2] - 440) < 10
    assert "resampled from 8000 to 16000 Hz" in embedding.describe(mel())


@pytest.mark.parametrize("num_frames", [16, 64])
def test_clips_are_cut_or_padded_to_the_length_of_its_own_transform(num_frames: int) -> None:
    other = mel(num_frames=num_frames)
    assert clips_for(Level(transform=other), tones(mel()), mel()).shape == (2, 1, 32, num_frames)


def test_other_spectrograms_are_inverted_to_audio() -> None:
    own = mel(n_mels=64, hop_length=64)
    spec = clips_for(Level(transform=own), tones(mel()), mel())
    distance = spec - own(0.5 * torch.sin(2 * math.pi * 440 * torch.arange(own.num_samples) / 8000)[None, None])
    assert float(distance.abs().mean()) < 0.1


def test_embedding_no_clips_is_refused() -> None:
    with pytest.raises(ValueError, match="level: no clips to embed"):
        embed(Level(), [], mel())


def test_real_clips_are_embedded_once(tmp_path: Path) -> None:
    look_up, batches = cached_embedder(tmp_path / "cache"), [(tones(mel()), torch.tensor([0, 1]))]
    first, second = Level(transform=mel()), Level(transform=mel())
    rows = look_up(first, batches, mel())
    again = look_up(second, batches, mel())
    assert (len(first.seen), len(second.seen)) == (1, 0)
    assert torch.equal(rows.rows, again.rows)
    assert torch.equal(rows.label, again.label)


def test_other_clips_labels_weights_or_transforms_are_not_read_from_the_cache(tmp_path: Path) -> None:
    look_up, batches = cached_embedder(tmp_path), [(tones(mel()), torch.tensor([0, 1]))]
    look_up(Level(transform=mel()), batches, mel())
    louder = Level(transform=mel())
    louder.scale.data.mul_(2)
    cases = [
        (louder, batches, mel()),
        (Level(transform=mel()), [(tones(mel(), 450.0), torch.tensor([0, 1]))], mel()),
        (Level(transform=mel()), [(tones(mel()), torch.tensor([0, 0]))], mel()),
        (Level(), batches, mel()),
    ]
    for embedding, other, transform in cases:
        look_up(embedding, other, transform)
        assert len(embedding.seen) == 1


def test_cache_key_contains_the_phase_method_only_if_audio_is_embedded(tmp_path: Path) -> None:
    look_up, batches = cached_embedder(tmp_path), [(tones(mel()), torch.tensor([0, 1]))]
    other = mel(phase=GriffinLim(2))
    for make, expected in ((lambda: Level(), 1), (lambda: Level(transform=mel()), 0)):
        look_up(make(), batches, mel())
        embedding = make()
        found = look_up(embedding, batches, other)
        assert len(embedding.seen) == expected
        torch.testing.assert_close(found.rows, embed(make(), batches, other).rows)


def test_cache_key_contains_the_code_of_the_phase_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path("audiogen/transforms/phase/griffin_lim.py").read_text()
    (tmp_path / "kept_phase.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    import kept_phase  # type: ignore[import-not-found]

    look_up, batches = cached_embedder(tmp_path / "cache"), [(tones(mel()), torch.tensor([0, 1]))]
    counts = []
    for change in ("", "", "\nCHANGED = True\n"):
        (tmp_path / "kept_phase.py").write_text(text + change)
        embedding = Level()
        look_up(embedding, batches, mel(phase=kept_phase.GriffinLim(2)))
        counts.append(len(embedding.seen))
    assert counts == [1, 0, 1]


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_flipped_bit_in_the_cache_is_detected(tmp_path: Path) -> None:
    batches = [(tones(mel()), torch.tensor([0, 1]))]
    look_up = cached_embedder(tmp_path)
    expected = look_up(Level(transform=mel()), batches, mel())
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    for position in range(0, len(content), len(content) // 50):
        file.write_bytes(content[:position] + bytes([content[position] ^ 1 << position % 8]) + content[position + 1 :])
        embedding = Level(transform=mel())
        assert torch.equal(look_up(embedding, batches, mel()).rows, expected.rows)
        assert len(embedding.seen) == 1
        assert file.read_bytes() == content


def test_damaged_cache_is_replaced_and_unwritable_cache_is_skipped(tmp_path: Path) -> None:
    batches = [(tones(mel()), torch.tensor([0, 1]))]
    look_up = cached_embedder(tmp_path)
    look_up(Level(transform=mel()), batches, mel())
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"nothing")
    embedding = Level(transform=mel())
    look_up(embedding, batches, mel())
    assert len(embedding.seen) == 1
    (tmp_path / "file").touch()
    assert cached_embedder(tmp_path / "file" / "below")(Level(transform=mel()), batches, mel()).rows.shape == (2, 1, 1)
