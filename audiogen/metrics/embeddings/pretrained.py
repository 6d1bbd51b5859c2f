"""Embed audio by models of the package `transformers`: CLAP (Wu et al., 2023), wav2vec 2.0, HuBERT, AST, ...

A model is a folder written by `save_pretrained`, or a name on the Hugging Face Hub. It is downloaded only on request.
Code that comes with a model is never run, neither custom classes nor code in pickled weights.
"""

import os
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.metrics.embeddings.embedding import Embedding

Rows = Literal["clip", "frame"]


class Clap(Embedding):
    """The audio encoder of CLAP: one row of unit norm per 10 s of audio at 48 kHz.

    Shorter clips are repeated to fill 10 s, as in CLAP's training. Longer clips are cut into segments of 10 s, and the
    remainder is dropped; CLAP itself takes a random segment. Fused models only see the segment as a whole, because
    their feature extractor would otherwise add details to a random clip of the batch.

    Args:
        model: Folder or name of the model, such as laion/clap-htsat-unfused (614 MB) or laion/larger_clap_general.
        download: Whether to download it from the Hugging Face Hub if it is not cached. Start with a single process,
            because each process would download it.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If the model is missing, or is not a CLAP model.
    """

    def __init__(self, model: str = "laion/clap-htsat-unfused", download: bool = False) -> None:
        network, extractor = _load("ClapAudioModelWithProjection", model, download)
        super().__init__("clap", network.config.projection_dim, extractor.sampling_rate)
        self.network, self.extractor = network, extractor
        self.eval().requires_grad_(False)

    def forward(self, clips: Tensor) -> Tensor:
        """Embed wav, float32 [B, 1, T] at 48 kHz, as float32 [B, K, D]."""
        segment = self.extractor.nb_max_samples
        num_segments = max(clips.shape[2] // segment, 1)
        wav = clips[:, 0, : num_segments * segment].reshape(len(clips) * num_segments, -1)  # [B K, T]
        features = _extract(self.extractor, wav)["input_features"]
        is_longer = torch.zeros(len(wav), 1, dtype=torch.bool, device=wav.device)
        rows = self.network(input_features=features, is_longer=is_longer).audio_embeds  # [B K, D]
        return F.normalize(rows, dim=1).unflatten(0, (-1, num_segments))


class Pretrained(Embedding):
    """The last hidden state of an audio encoder.

    The model's own feature extractor prepares the clips. Some pad or cut clips to a fixed duration, such as AST to
    10.24 s; the padding then counts too.

    Args:
        model: Folder or name of the model, such as facebook/hubert-base-ls960.
        download: Whether to download it from the Hugging Face Hub if it is not cached. Start with a single process,
            because each process would download it.
        rows: "clip" for one row per clip, the mean over time, or "frame" for one row per position.
        name: Suffix of the metrics' names; None for the model type, such as hubert.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If the model is missing or not an audio encoder, or the choice of rows is unknown.
    """

    def __init__(self, model: str, download: bool = False, rows: Rows = "clip", name: str | None = None) -> None:
        if rows not in get_args(Rows):
            raise ValueError(f"expected rows {' or '.join(get_args(Rows))}, got {rows!r}")
        network, extractor = _load("AutoModel", model, download)
        config = network.config
        if config.is_encoder_decoder or network.main_input_name not in ("input_values", "input_features"):
            raise ValueError(f"expected an audio encoder, but {model} is a {type(network).__name__}")
        super().__init__(name or config.model_type.replace("-", "_"), config.hidden_size, extractor.sampling_rate)
        self.network, self.extractor, self.rows = network, extractor, rows
        self.eval().requires_grad_(False)

    def forward(self, clips: Tensor) -> Tensor:
        """Embed wav, float32 [B, 1, T], as float32 [B, K, D]; K is 1 for one row per clip.

        Raises:
            ValueError: If the model has no hidden states, as is the case for codecs.
        """
        output = self.network(**_extract(self.extractor, clips[:, 0]))
        if "last_hidden_state" not in output:
            raise ValueError(f"{self.name}: {type(self.network).__name__} returns no last hidden state")
        states = output.last_hidden_state  # [B, K, D]
        return states if self.rows == "frame" else states.mean(dim=1, keepdim=True)


def _extract(extractor: Any, wav: Tensor) -> dict[str, Tensor]:
    """Return the result of a feature extractor, which works in NumPy, for wav [B, T], on the device of wav."""
    inputs = extractor(list(wav.cpu().numpy()), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    return {name: value.to(wav.device) for name, value in inputs.items()}


def _load(kind: str, model: str, download: bool) -> tuple[Any, Any]:
    """Return a model and its feature extractor; `kind` is the name of the model's class in transformers."""
    try:
        import transformers
    except ImportError:
        raise ImportError("this embedding needs the 'clap' extra: pip install 'audiogen[clap]'") from None
    path, options = os.path.expanduser(model), {"local_files_only": not download, "trust_remote_code": False}
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # it would list unused weights, such as CLAP's text encoder
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(path, **options)
        named: dict[str, Any] = {"output_loading_info": True, "weights_only": True, **options}
        network, info = getattr(transformers, kind).from_pretrained(path, **named)
    except Exception as error:  # transformers, the Hub and the unpickler raise various types
        hint = "" if download or os.path.isdir(path) else "; set download to true to get it from the Hugging Face Hub"
        reason = str(error).split("\n")[0]
        if type(error).__name__ == "UnpicklingError":  # PyTorch's own message recommends running the code
            reason = "its weights are a pickle with other objects than tensors, which could run code"
        raise ValueError(f"no model {model}{hint} ({type(error).__name__}: {reason})") from None
    finally:
        transformers.logging.set_verbosity(verbosity)
    _check_complete(network, info, model)
    if not hasattr(extractor, "sampling_rate"):
        raise ValueError(f"{model} takes no audio: its feature extractor is {type(extractor).__name__}")
    return network.float(), extractor


def _check_complete(network: Any, info: dict[str, Any], model: str) -> None:
    """Refuse a model with missing weights, which transformers would initialise at random.

    The vector for masked frames may be missing, since only training needs it.
    """
    parameters = {name for name, _ in network.named_parameters() if not name.endswith("masked_spec_embed")}
    if missing := sorted(parameters & set(info["missing_keys"])):
        raise ValueError(
            f"{model} is not a {type(network).__name__}: {missing[0]} is missing ({len(missing)} weights in all)"
        )
