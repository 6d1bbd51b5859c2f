"""What generated clips are worth: `python -m benchmarks.coherence RUN_DIR`.

A small classifier is trained on the run's real training clips. Printed for every checkpoint of the run: the share of
generated clips that it takes for the class they were made for (coherence, paper E), and the Frechet distance of its
128 features between generated and test clips; beside them the same of real clips, which is what can be reached. Also
the coherence of the sounds (generated clips made audible and analysed again), and the diversity: the mean distance of
features within a class, relative to that of test clips.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.augment.spectrogram import SpectrogramAugment
from audiogen.callbacks.checkpoint import CHECKPOINT_FOLDER, CHECKPOINT_PATTERN
from audiogen.checkpoint import load
from audiogen.commands.data_arguments import data_and_arguments, data_parser
from audiogen.data.loading import Spectrograms

EPOCHS = 12
NUM_GENERATED = 600


class Classifier(nn.Module):
    """Four convolutions, the mean over place, and a dense layer."""

    def __init__(self, num_channels: int, num_classes: int) -> None:
        super().__init__()
        widths = [num_channels, 32, 64, 96, 128]
        blocks = [
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
            for a, b in pairwise(widths)
        ]
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], num_classes)

    def embed(self, spec: Tensor) -> Tensor:
        """Return features, float [B, 128], of spec [B, C, F, L]."""
        return self.body(spec).mean(dim=(2, 3))

    def forward(self, spec: Tensor) -> Tensor:
        """Return logits, float [B, num_classes]."""
        return self.head(self.embed(spec))


def train_classifier(clips: Spectrograms, num_classes: int) -> Classifier:
    """Train on real clips, shifted and masked as the generator's are."""
    torch.manual_seed(0)
    model = Classifier(clips.take([0]).shape[1], num_classes).train()
    augment = SpectrogramAugment(max_shift=4)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-2)
    steps = EPOCHS * (len(clips) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for _ in range(steps):
        batch = torch.randint(len(clips), (64,))
        loss = F.cross_entropy(model(augment(clips.take(batch))), clips.label[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def embed_and_score(model: Classifier, spec: Tensor, label: Tensor) -> tuple[Tensor, float]:
    """Return features, float64 [N, 128], and the share of clips classified as labelled."""
    features = torch.cat([model.embed(part) for part in spec.split(256)])
    return features.double(), float((model.head(features).argmax(dim=1) == label).double().mean())


def frechet(a: Tensor, b: Tensor) -> float:
    """Return the Frechet distance of two sets of rows, float64 [N, D]."""
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)


def spread(features: Tensor, label: Tensor) -> float:
    """Return the mean distance of rows, float64 [N, D], of the same class."""
    return float(torch.stack([torch.pdist(features[label == index]).mean() for index in label.unique()]).mean())


def main(run: Path) -> None:
    """Measure and print."""
    data, _ = data_and_arguments(data_parser("fit", ""), ["--config", str(run / "config.yaml")])
    names = data.label_names
    model = train_classifier(data.split("train"), len(names))
    test = data.split("test")
    real, accuracy = embed_and_score(model, test.take(range(len(test))), test.label)
    train = data.split("train")
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:NUM_GENERATED]
    floor = frechet(embed_and_score(model, train.take(rows), train.label[rows])[0], real)
    print(f"{'clips':<24}{'coherence':>10}{'of sounds':>10}{'diversity':>10}{'Frechet':>9}")
    print(f"{'real test clips':<24}{accuracy:>10.3f}{'':>10}{1:>10.2f}{floor:>9.1f}  (train against test)")
    label = torch.arange(NUM_GENERATED) % len(names)
    figures = {"accuracy_real": accuracy, "frechet_floor": floor}
    for path in sorted((run / CHECKPOINT_FOLDER).glob(CHECKPOINT_PATTERN)):
        generator = load(path)
        spec = generator.sample(label, seeds=range(NUM_GENERATED)).clamp(-1, 1)  # type: ignore[operator]
        features, coherence = embed_and_score(model, spec, label)
        with torch.no_grad():
            heard = generator.transform(generator.transform.inverse(spec))
        audible = embed_and_score(model, heard, label)[1]
        distance = frechet(features, real)
        diversity = spread(features, label) / spread(real, test.label)
        print(f"{path.stem:<24}{coherence:>10.3f}{audible:>10.3f}{diversity:>10.2f}{distance:>9.1f}", flush=True)
        figures |= {"kimg": generator.kimg, "coherence": coherence, "coherence_sounds": audible}
        figures |= {"diversity": diversity, "frechet": distance}
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m benchmarks.coherence RUN_DIR")
    main(Path(sys.argv[1]))
