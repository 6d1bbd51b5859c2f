"""Models of the package transformers: tiny ones with random weights, loaded from folders."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from audiogen.metrics.embeddings.pretrained import Clap, Pretrained

SAMPLE_RATE = 8000
PIECE = 8000  # a second, for CLAP's ten
# Eight groups of 64 mels fill a square of 64 x 64 in the encoder; the hidden size doubles with each stage.
CLAP_AUDIO = {
    "spec_size": 64,
    "num_mel_bins": 16,
    "patch_embeds_hidden_size": 4,
    "hidden_size": 8,
    "depths": [1, 1],
    "num_attention_heads": [1, 2],
    "num_hidden_layers": 2,
    "window_size": 4,
    "projection_dim": 6,
}
TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
CLAP_TEXT = {**TINY, "vocab_size": 20, "max_position_embeddings": 16, "projection_dim": 6}
CONVOLUTIONS = {"conv_dim": [4, 4], "conv_kernel": [10, 3], "conv_stride": [5, 2], "num_feat_extract_layers": 2}
POSITIONS = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
WAV2VEC2 = {**TINY, **CONVOLUTIONS, **POSITIONS, "vocab_size": 5}


def noise(batch: int, num_samples: int) -> Tensor:
    return 0.1 * torch.randn(batch, 1, num_samples, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def save(folder: Path, model: Any, extractor: Any) -> Any:
    """Draw weights so large that the output depends on the input, and save."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.normal_(std=0.4, generator=generator)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return model.eval()


def save_clap(folder: Path, fused: bool = False) -> Any:
    audio = {**CLAP_AUDIO, **({"enable_fusion": True, "fusion_type": "aff_2d"} if fused else {})}
    model = transformers.ClapModel(transformers.ClapConfig(text_config=CLAP_TEXT, audio_config=audio, projection_dim=6))
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=SAMPLE_RATE,
        hop_length=80,
        fft_window_size=256,
        frequency_max=4000,
        max_length_s=PIECE // SAMPLE_RATE,
        truncation="fusion" if fused else "rand_trunc",
    )
    return save(folder, model, extractor)


def save_wav2vec2(folder: Path, kind: str = "Wav2Vec2Model") -> Any:
    model = getattr(transformers, kind)(transformers.Wav2Vec2Config(**WAV2VEC2))
    return save(folder, model, transformers.Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE))


def audio_features(model: Any, folder: Path, wav: Tensor) -> Tensor:
    """Return CLAP's own features, float [B, D], of wav [B, T]."""
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    inputs = extractor(list(wav.numpy()), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    features = model.audio_projection(model.audio_model(inputs["input_features"]).pooler_output)
    return F.normalize(features, dim=1)


@torch.no_grad()
def test_clap_rows_are_the_audio_features_of_the_whole_model(tmp_path: Path) -> None:
    model = save_clap(tmp_path)
    embedding = Clap(str(tmp_path))
    assert (embedding.name, embedding.num_features, embedding.sample_rate) == ("clap", 6, SAMPLE_RATE)
    wav = noise(3, 6000)
    rows = embedding(wav)
    assert rows.shape == (3, 1, 6)
    torch.testing.assert_close(rows[:, 0], audio_features(model, tmp_path, wav[:, 0]))
    torch.testing.assert_close(rows.norm(dim=2), torch.ones(3, 1))
    assert (rows[0] - rows[1]).abs().max() > 1e-3


@torch.no_grad()
def test_clap_has_one_row_per_whole_segment(tmp_path: Path) -> None:
    save_clap(tmp_path)
    embedding, wav = Clap(str(tmp_path)), noise(2, 2 * PIECE + 100)
    rows = embedding(wav)
    assert rows.shape == (2, 2, 6)
    segments = [embedding(wav[..., start : start + PIECE]) for start in (0, PIECE)]
    torch.testing.assert_close(rows, torch.cat(segments, dim=1))


@torch.no_grad()
def test_fused_clap_is_deterministic(tmp_path: Path) -> None:
    save_clap(tmp_path, fused=True)
    embedding, wav = Clap(str(tmp_path)), noise(3, 6000)
    rows = embedding(wav)
    for _ in range(5):
        torch.testing.assert_close(embedding(wav), rows, rtol=0, atol=0)
    torch.testing.assert_close(embedding(wav[1:2]), rows[1:2])


def test_weights_are_frozen(tmp_path: Path) -> None:
    save_clap(tmp_path)
    embedding = Clap(str(tmp_path))
    assert not embedding(noise(1, 800)).requires_grad
    assert not any(module.training for module in embedding.modules())


@torch.no_grad()
@pytest.mark.parametrize(("kind", "name"), [("wav2vec2", "wav2vec2"), ("hubert", "hubert")])
def test_rows_are_the_last_hidden_states_or_their_mean(tmp_path: Path, kind: str, name: str) -> None:
    config = {"wav2vec2": transformers.Wav2Vec2Config, "hubert": transformers.HubertConfig}[kind](**WAV2VEC2)
    extractor = transformers.Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE)
    model = save(tmp_path, transformers.AutoModel.from_config(config), extractor)
    wav = noise(2, 1000)
    normalised = (wav[:, 0] - wav[:, 0].mean(dim=1, keepdim=True)) / wav[:, 0].std(dim=1, keepdim=True, correction=0)
    expected = model(normalised).last_hidden_state
    frames, clips = (Pretrained(str(tmp_path), rows=rows) for rows in ("frame", "clip"))
    assert (frames.name, frames.num_features, frames.sample_rate, frames.kind) == (name, 8, SAMPLE_RATE, "a")
    torch.testing.assert_close(frames(wav), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(clips(wav), expected.mean(dim=1, keepdim=True), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_model_with_spectrogram_input_uses_its_own_feature_extractor(tmp_path: Path) -> None:
    config = transformers.ASTConfig(**TINY, max_length=32, num_mel_bins=16, patch_size=8)
    extractor = transformers.ASTFeatureExtractor(sampling_rate=SAMPLE_RATE, max_length=32, num_mel_bins=16)
    model = save(tmp_path, transformers.ASTModel(config), extractor)
    wav = noise(2, 2000)
    inputs = extractor(list(wav[:, 0].numpy()), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    rows = Pretrained(str(tmp_path), name="ast")(wav)
    torch.testing.assert_close(rows, model(**inputs).last_hidden_state.mean(dim=1, keepdim=True))


def test_head_of_a_model_is_ignored(tmp_path: Path) -> None:
    save_wav2vec2(tmp_path, "Wav2Vec2ForCTC")
    assert Pretrained(str(tmp_path)).num_features == 8


def test_model_with_missing_weights_is_refused(tmp_path: Path) -> None:
    model = save_wav2vec2(tmp_path)
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("encoder.layers.0.")}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match=r"is not a Wav2Vec2Model: encoder.layers.0.* is missing"):
        Pretrained(str(tmp_path))


def test_mask_vector_may_be_missing(tmp_path: Path) -> None:
    model = save_wav2vec2(tmp_path)
    state = {name: value for name, value in model.state_dict().items() if name != "masked_spec_embed"}
    model.save_pretrained(tmp_path, state_dict=state)
    assert Pretrained(str(tmp_path)).num_features == 8


@pytest.mark.parametrize("kind", [Clap, Pretrained])
def test_missing_model_is_reported_with_the_remedy(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="no model nobody/nothing; set download to true to get it from the Hugging"):
        kind("nobody/nothing")
    with pytest.raises(ValueError, match=rf"no model {tmp_path} \("):
        kind(str(tmp_path))


@pytest.mark.parametrize("download", [False, True])
def test_files_are_downloaded_only_on_request(download: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def from_pretrained(model: str, **options: Any) -> None:
        asked.append((model, options))
        raise OSError("stop")

    monkeypatch.setattr(transformers.AutoFeatureExtractor, "from_pretrained", from_pretrained)
    with pytest.raises(ValueError, match="stop"):
        Clap("a/b", download)
    assert asked == [("a/b", {"local_files_only": not download, "trust_remote_code": False})]


class Marker:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> Any:
        return open, ("unpickled", "w")


def test_only_tensors_are_read_from_pickled_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = save_wav2vec2(tmp_path).state_dict()
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert Pretrained(str(tmp_path)).num_features == 8
    torch.save(state | {"more": Marker()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="UnpicklingError: its weights are a pickle with other objects than tensors"):
        Pretrained(str(tmp_path))
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize(("file", "kind"), [("config", "AutoModel"), ("preprocessor_config", "AutoFeatureExtractor")])
def test_code_in_a_model_folder_is_not_run(
    tmp_path: Path, file: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_wav2vec2(tmp_path)
    (tmp_path / "evil.py").write_text("open('imported', 'w')\nclass Evil: pass\n")
    content = json.loads((tmp_path / f"{file}.json").read_text())
    content |= {"model_type": "evil", "feature_extractor_type": "Evil"}
    content["auto_map"] = {kind: "evil.Evil", "AutoConfig": "evil.Evil"}
    (tmp_path / f"{file}.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"no model .* contains custom code"):
        Pretrained(str(tmp_path))
    assert not (tmp_path / "imported").exists()


def test_models_other_than_audio_encoders_are_refused(tmp_path: Path) -> None:
    save_clap(tmp_path / "clap")
    with pytest.raises(ValueError, match=r"expected an audio encoder, but .*clap is a ClapModel"):
        Pretrained(str(tmp_path / "clap"))
    save_wav2vec2(tmp_path / "wav2vec2")
    with pytest.raises(ValueError, match="wav2vec2"):
        Clap(str(tmp_path / "wav2vec2"))


def test_unknown_choice_of_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="expected rows clip or frame, got 'patch'"):
        Pretrained("unused", rows="patch")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Clap, Pretrained])
def test_missing_package_is_reported_with_the_extra(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"audiogen\[clap\]"):
        kind("unused")
