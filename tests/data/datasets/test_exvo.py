"""ExVo: classes are the emotions with the highest score; splits as in the paper; refused tables."""

from pathlib import Path

import pytest

from audiogen.data.datasets.dataset import AudioItem, DatasetError
from audiogen.data.datasets.exvo import EMOTIONS, ExVo

HEADER = (
    "File_ID,Split,Subject_ID,Country,"
    "Awe,Excitement,Amusement,Awkwardness,Fear,Horror,Distress,Triumph,Sadness,Surprise"
)
ROWS = [
    "[00001],Train,[s1],China,1.0,0.1,0,0,0,0,0,0,0,0.2",
    "[00002],Train,[s1],China,0,0,0,0,1,1.0,0.5,0,0,0",  # fear and horror
    "[00003],Train,[s2],Venezuela,0.9,0,0,0,0,0,0,1,0,0",  # triumph alone
    "[00004],Val,[s3],South Africa,0,0,0,0,0,0,0,0,0,1",
    "[00005],Test,,,,,,,,,,,,",
]


def write_layout(folder: Path, rows: list[str] = ROWS, header: str = HEADER, name: str = "data_info.csv") -> Path:
    """Write the table, and empty sounds for the clips that the original table has."""
    (folder / "wav").mkdir(parents=True)
    for row in ROWS:
        (folder / "wav" / f"{row[1:6]}.wav").touch()
    (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return folder


def found(data: ExVo, folder: Path) -> list[tuple[str, str | None, str]]:
    clips = data.scan(folder)
    assert all(clip.path.is_file() for clip in clips)
    return [(clip.path.stem, clip.label, clip.split) for clip in clips]


def test_clip_belongs_to_each_emotion_with_the_highest_score(tmp_path: Path) -> None:
    assert found(ExVo(), write_layout(tmp_path)) == [
        ("00001", "awe", "train"),
        ("00002", "fear", "train"),
        ("00002", "horror", "train"),
        ("00004", "surprise", "val"),
    ]


def test_validation_can_be_trained_on(tmp_path: Path) -> None:
    assert found(ExVo(train_on_val=True), write_layout(tmp_path))[-1] == ("00004", "surprise", "train")


def test_lower_min_score_lists_more_clips(tmp_path: Path) -> None:
    labels = [(name, label) for name, label, _ in found(ExVo(min_score=0.5), write_layout(tmp_path))]
    assert ("00003", "awe") in labels
    assert ("00002", "distress") in labels
    assert len(labels) == 6


def test_emotions_are_chosen_in_their_order_whatever_their_case(tmp_path: Path) -> None:
    data = ExVo(emotions=("Triumph", "awe"))
    assert data.label_order == ("triumph", "awe")
    assert found(data, write_layout(tmp_path)) == [("00001", "awe", "train"), ("00003", "triumph", "train")]


def test_default_leaves_out_triumph_in_the_order_of_the_table() -> None:
    assert ExVo().label_order == EMOTIONS
    assert [name.lower() for name in HEADER.split(",")[4:] if name != "Triumph"] == list(EMOTIONS)


@pytest.mark.parametrize(("train_on_val", "val"), [(False, "val"), (True, "train")])
def test_without_classes_every_clip_is_listed_once(tmp_path: Path, train_on_val: bool, val: str) -> None:
    data = ExVo(conditional=False, train_on_val=train_on_val)
    assert data.label_order == ()
    assert found(data, write_layout(tmp_path)) == [
        ("00001", None, "train"),
        ("00002", None, "train"),
        ("00003", None, "train"),
        ("00004", None, val),
        ("00005", None, "train"),  # a test clip, which lacks only the scores
    ]


def test_test_clips_with_scores_are_the_test_split(tmp_path: Path) -> None:
    write_layout(tmp_path, ["[00005],Test,,,0,1,0,0,0,0,0,0,0,0"])
    assert found(ExVo(), tmp_path) == [("00005", "excitement", "test")]


def test_ids_without_brackets_and_names_in_any_case_are_accepted(tmp_path: Path) -> None:
    rows = [row.replace("[", "").replace("]", "") for row in ROWS]
    write_layout(tmp_path, rows, HEADER.upper(), name="copy.csv")
    assert found(ExVo(file="copy.csv"), tmp_path)[0] == ("00001", "awe", "train")


def test_sounds_are_searched_in_wav_then_beside_the_table(tmp_path: Path) -> None:
    write_layout(tmp_path)
    (tmp_path / "wav" / "00001.wav").rename(tmp_path / "00001.wav")
    (tmp_path / "00004.wav").touch()
    (tmp_path / "wav" / "00002.wav").unlink()
    assert list(ExVo().scan(tmp_path)) == [
        AudioItem(tmp_path / "00001.wav", "awe", "train"),
        AudioItem(tmp_path / "wav" / "00002.wav", "fear", "train"),  # missing; reported when it is read
        AudioItem(tmp_path / "wav" / "00002.wav", "horror", "train"),
        AudioItem(tmp_path / "wav" / "00004.wav", "surprise", "val"),
    ]


def test_missing_columns_are_named_beside_those_found(tmp_path: Path) -> None:
    write_layout(tmp_path, ["[00001],Train,1"], "File_ID,Split,Awe")
    with pytest.raises(DatasetError, match=r"lacks the columns joy, calm: it has File_ID, Split, Awe"):
        ExVo(emotions=("joy", "awe", "calm")).scan(tmp_path)
    assert len(ExVo(conditional=False).scan(tmp_path)) == 1


@pytest.mark.parametrize("score", ["high", "", "nan", "1.1", "-1"])
def test_invalid_score_is_refused_naming_the_row(tmp_path: Path, score: str) -> None:
    write_layout(tmp_path, [ROWS[0], f"[00002],Train,,,0,0,0,0,{score},0,0,0,0,0"])
    with pytest.raises(DatasetError, match=rf"line 3: expected a score in \[0, 1\] for fear, got '{score}'"):
        ExVo().scan(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["[00001],Holdout,,,0,0,0,0,0,0,0,0,0,0"], "line 2: expected a split .*, got 'Holdout'"),
        ([",Train,,,0,0,0,0,0,0,0,0,0,0"], "line 2: no file_id"),
        (["../../00001,Train,,,0,0,0,0,0,0,0,0,0,0"], "line 2: expected a file_id in the folder of the data set"),
        (["/etc/00001,Train,,,0,0,0,0,0,0,0,0,0,0"], "line 2: expected a file_id in the folder of the data set"),
        ([ROWS[-1]], "lists no clips with a score of 1 or more"),
        ([], "lists no clips with a score of 1 or more"),
    ],
)
def test_broken_table_is_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        ExVo().scan(write_layout(tmp_path, rows))


@pytest.mark.parametrize("emotions", [(), ("awe", "Awe")])
def test_empty_or_repeated_emotions_are_refused(emotions: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="expected one or more different emotions"):
        ExVo(emotions)


@pytest.mark.parametrize("min_score", [0, 1.5])
def test_min_score_out_of_range_is_refused(min_score: float) -> None:
    with pytest.raises(ValueError, match=r"min_score must be in \(0, 1\]"):
        ExVo(min_score=min_score)
