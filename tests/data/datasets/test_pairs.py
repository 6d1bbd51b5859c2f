"""Pairs of content and style: both sounds have the number of the pair."""

from pathlib import Path

import pytest

from audiogen.data.datasets.dataset import AudioItem, DatasetError
from audiogen.data.datasets.pairs import Pairs


def test_each_row_makes_two_clips_of_one_pair(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("content,style\nspeech.wav,../bells.flac\nspeech.wav,/far/rain.wav\n")
    assert list(Pairs().scan(tmp_path)) == [
        AudioItem(tmp_path / "speech.wav", "content", "test", pair=0),
        AudioItem(tmp_path / ".." / "bells.flac", "style", "test", pair=0),
        AudioItem(tmp_path / "speech.wav", "content", "test", pair=1),
        AudioItem(Path("/far/rain.wav"), "style", "test", pair=1),
    ]


def test_content_is_the_first_class() -> None:
    assert Pairs().label_order == ("content", "style")


def test_column_order_and_extra_columns_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("Style,note,Content\nbells.wav,loud,speech.wav\n")
    clips = Pairs("list.csv").scan(tmp_path)
    assert [(clip.path.name, clip.label) for clip in clips] == [("speech.wav", "content"), ("bells.wav", "style")]
    assert Pairs().scan(tmp_path / "list.csv") == clips


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("content,style\na.wav,b.wav\nc.wav\n", "line 3: no style"),
        ("content,style\n,b.wav\n", "line 2: no content"),
        ("content;style\na.wav;b.wav\n", "has semicolons between its columns: expected commas"),
        ("content,style\n/dev/zero,b.wav\n", "line 2: /dev/zero is neither a file nor missing"),
        ("content,style\n", "lists no pairs"),
    ],
)
def test_broken_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        Pairs().scan(tmp_path)


def test_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected pairs\.csv in "):
        Pairs().scan(tmp_path)
