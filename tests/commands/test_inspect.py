"""The page that `inspect` writes."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import soundfile
from matplotlib.image import imread

from audiogen.commands.inspect import inspect
from audiogen.data.datasets.folder import ClassFolders
from audiogen.data.module import SpectrogramData
from audiogen.transforms.mel import LogMel
from audiogen.transforms.mfcc import MFCC
from audiogen.transforms.transform import SpectrogramTransform
from tests.tiny_run import write_classes

NAMES = ("low & <slow>", "high")


class Links(HTMLParser):
    """Collect what a page shows and plays."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [unquote(value or "") for name, value in attrs if name == "src"]


@pytest.fixture
def transform() -> SpectrogramTransform:
    return LogMel(8000, 512, 128, n_mels=32, num_frames=32, power=2)  # keeps the level of tones


def read(folder: Path, transform: SpectrogramTransform) -> SpectrogramData:
    write_classes(folder / "data", dict(zip(NAMES, (300, 2000), strict=True)), num=5)
    return SpectrogramData(
        ClassFolders(val_fraction=0), transform, root=str(folder / "data"), cache=str(folder / "cache"), num_workers=1
    )


def test_page_shows_pictures_and_plays_sounds_that_are_there(tmp_path: Path, transform: SpectrogramTransform) -> None:
    inspected = inspect(read(tmp_path, transform), tmp_path / "out", num=3)
    sources = Links(inspected.page).sources
    assert [name for name in sources if name.endswith(".png")] == [
        "real.png",
        "round_trip.png",
        "durations.png",
        "levels.png",
    ]
    assert len(sources) == 4 + 2 * 3 * 2
    for name in sources:
        file = tmp_path / "out" / name
        if name.endswith(".png"):
            assert imread(file).std() > 0.05
        else:
            assert soundfile.info(file).frames == transform.num_samples
    text = inspected.page.read_text()
    assert "low &amp; &lt;slow&gt;" in text
    assert NAMES[0] not in text


def test_round_trip_sounds_like_the_original_and_its_distance_is_told(
    tmp_path: Path, transform: SpectrogramTransform
) -> None:
    inspected = inspect(read(tmp_path, transform), tmp_path / "out", num=2)
    assert 0 < inspected.distance < 0.05
    assert str(inspected.page) in str(inspected)
    assert f"{inspected.distance:.4f}" in str(inspected)
    for original in (tmp_path / "out" / "sounds").glob("*original.wav"):
        before, _ = soundfile.read(original)
        after, _ = soundfile.read(str(original).replace("original", "round_trip"))
        assert after.std() == pytest.approx(before.std(), rel=0.2)


def test_coefficients_that_are_no_frequencies_are_drawn_too(tmp_path: Path) -> None:
    inspected = inspect(read(tmp_path, MFCC(8000, 512, 128, 13, 32, 32)), tmp_path / "out", num=1)
    assert inspected.page.is_file()


def test_small_class_leaves_the_others_as_many_clips_as_asked(tmp_path: Path, transform: SpectrogramTransform) -> None:
    data = read(tmp_path, transform)
    clips = [clip for clip in data.loaded.items if clip.label != NAMES[1] or clip.path.stem in "01"]
    data.loaded = replace(data.loaded, items=clips)
    inspected = inspect(data, tmp_path / "out", num=4)
    assert len(list((tmp_path / "out" / "sounds").iterdir())) == (4 + 2) * 2
    assert 0 < inspected.distance < 0.1


def test_sounds_of_an_earlier_page_are_gone(tmp_path: Path, transform: SpectrogramTransform) -> None:
    data = read(tmp_path, transform)
    inspect(data, tmp_path / "out", num=4)
    inspect(data, tmp_path / "out", num=1, overwrite=True)
    assert len(list((tmp_path / "out" / "sounds").iterdir())) == 2 * 2


def test_more_clips_than_there_are_shows_all(tmp_path: Path, transform: SpectrogramTransform) -> None:
    inspect(read(tmp_path, transform), tmp_path / "out", num=100)
    assert len(list((tmp_path / "out" / "sounds").iterdir())) == 2 * 5 * 2
