"""Features of sounds by models of the package `transformers`: CLAP (Wu et al., 2023), wav2vec 2.0, HuBERT, AST, ...

A model is a folder that `save_pretrained` wrote, or a name on the Hugging Face Hub, from where it is downloaded only on
request. Code that comes with a model is never run: neither its classes, nor what a pickle of its weights would do.
"""

import os
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.metrics.embeddings.embedding import Embedding

Rows = Literal["clip", "frame"]


class Clap(Embedding):
    """The audio half of CLAP: a row of length 1 for each 10 s, at 48 kHz.

    Shorter clips are repeated to fill the 10 s, as CLAP was trained; longer ones are cut into segments of 10 s, and
    what is left after the last is dropped. CLAP itself takes a random segment. A fused model is given the whole of a
    segment only, where its feature extractor would add details to one clip of a batch by chance.

    Args:
        model: Folder or name of the model, such as laion/clap-htsat-unfused (614 MB) or laion/larger_clap_general.
        download: Download it from the Hugging Face Hub if it is not in the cache of the Hub. Begin with one process.

    Raises:
        ImportError: Where transformers is not installed.
        ValueError: Where the model is missing or is another one.
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

    Clips are prepared by the model's own feature extractor: some pad or cut them to a fixed duration (AST: 10.24 s, of
    which all positions count).

    Args:
        model: Folder or name of the model, such as facebook/hubert-base-ls960.
        download: Download it from the Hugging Face Hub if it is not in the cache of the Hub. Begin with one process.
        rows: "clip" for the mean over time, one row of each clip, or "frame" for all positions.
        name: Part of the metrics' names; None for the kind of the model, such as hubert.

    Raises:
        ImportError: Where transformers is not installed.
        ValueError: Where the model is missing or no audio encoder, and for another choice of rows.
    """

    def __init__(self, model: str, download: bool = False, rows: Rows = "clip", name: str | None = None) -> None:
        if rows not in get_args(Rows):
            raise ValueError(f"expected rows {' or '.join(get_args(Rows))}, got {rows!r}")
        network, extractor = _load("AutoModel", model, download)
        config = network.config
        if config.is_encoder_decoder or network.main_input_name not in ("input_values", "input_features"):
            raise ValueError(f"expected an encoder of sounds, but {model} is a {type(network).__name__}")
        super().__init__(name or config.model_type.replace("-", "_"), config.hidden_size, extractor.sampling_rate)
        self.network, self.extractor, self.rows = network, extractor, rows
        self.eval().requires_grad_(False)

    def forward(self, clips: Tensor) -> Tensor:
        """Embed wav, float32 [B, 1, T], as float32 [B, K, D], with K = 1 for rows of clips.

        Raises:
            ValueError: Where the model gives no hidden states, as codecs do.
        """
        output = self.network(**_extract(self.extractor, clips[:, 0]))
        if "last_hidden_state" not in output:
            raise ValueError(f"{self.name}: {type(self.network).__name__} gives no last hidden state")
        states = output.last_hidden_state  # [B, K, D]
        return states if self.rows == "frame" else states.mean(dim=1, keepdim=True)


def _extract(extractor: Any, wav: Tensor) -> dict[str, Tensor]:
    """Return what a feature extractor, which works in NumPy, makes of wav [B, T], on its device."""
    inputs = extractor(list(wav.cpu().numpy()), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    return {name: value.to(wav.device) for name, value in inputs.items()}


def _load(kind: str, model: str, download: bool) -> tuple[Any, Any]:
    """Return a model, an instance of the class `kind` of transformers, and its feature extractor."""
    try:
        import transformers
    except ImportError:
        raise ImportError("this embedding needs the 'clap' extra: pip install 'audiogen[clap]'") from None
    place, options = os.path.expanduser(model), {"local_files_only": not download, "trust_remote_code": False}
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # else it lists what is not needed, such as CLAP's text half
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(place, **options)
        named: dict[str, Any] = {"output_loading_info": True, "weights_only": True, **options}
        network, info = getattr(transformers, kind).from_pretrained(place, **named)
    except Exception as error:  # of transformers, the Hub and the unpickler
        hint = "" if download or os.path.isdir(place) else "; set download to true to get it from the Hugging Face Hub"
        reason = str(error).split("\n")[0]
        if type(error).__name__ == "UnpicklingError":  # PyTorch's own message advises to run the code
            reason = "its weights are a pickle of more than tensors, which could run code"
        raise ValueError(f"no model {model}{hint} ({type(error).__name__}: {reason})") from None
    finally:
        transformers.logging.set_verbosity(verbosity)
    _check_complete(network, info, model)
    if not hasattr(extractor, "sampling_rate"):
        raise ValueError(f"{model} takes no sounds: its features are those of {type(extractor).__name__}")
    return network.float(), extractor


def _check_complete(network: Any, info: dict[str, Any], model: str) -> None:
    """Refuse a model some of whose weights transformers had to draw at random.

    The vector for masked frames is often left out, since only training needs it.
    """
    parameters = {name for name, _ in network.named_parameters() if not name.endswith("masked_spec_embed")}
    if missing := sorted(parameters & set(info["missing_keys"])):
        raise ValueError(f"{model} is no {type(network).__name__}: it has no {missing[0]} ({len(missing)} are missing)")
