"""Embed clips by a classifier trained on the same data, as Jiralerspong & Gidel (2022) do; nothing is downloaded."""

from typing import Any

from torch import Tensor

from audiogen.checkpoint import load
from audiogen.metrics.embeddings.embedding import Embedding
from audiogen.resources import weights_path


class Classifier(Embedding):
    """The hidden layer of a trained `audiogen.models.classifier.Classifier`.

    Args:
        weights: Checkpoint, run directory, exported `.safetensors` file, or name of shipped weights.
        name: Suffix of the metrics' names.

    Raises:
        CheckpointError: If the file is not a checkpoint.
        ValueError: If the path does not exist, or the model is not a classifier.
    """

    def __init__(self, weights: str, name: str = "classifier") -> None:
        path = weights_path(weights)
        if not path.exists():
            raise ValueError(
                f"no classifier {weights}: train one with `python -m audiogen fit --config "
                "configs/classifier_fsdd.yaml` (or classifier_folder), or name an existing one"
            )
        model: Any = load(path)
        network: Any = getattr(model, "network", None)
        if not (hasattr(network, "embed") and hasattr(network, "logits")):
            raise ValueError(f"{weights} is a {type(model).__name__}, expected a classifier")
        super().__init__(name, network.num_features, model.transform.sample_rate, model.transform)
        self.network = network.requires_grad_(False)
        self.label_names = model.label_names

    def forward(self, clips: Tensor) -> Tensor:
        """Embed spec, float32 [B, C, F, L], as float32 [B, 1, D]."""
        return self.network.embed(clips)[:, None]

    def classify(self, rows: Tensor) -> Tensor:
        """Return the predicted class index of each clip, int64 [B], for rows [B, 1, D]."""
        return self.network.logits(rows[:, 0]).argmax(dim=1)
