"""No command writes onto an input, into a folder of the user's, or over an earlier result."""

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import audiogen
import audiogen.commands.inspect
from audiogen.__main__ import main
from audiogen.atomic import write_text
from audiogen.cli import main as train
from audiogen.commands.parser import call
from audiogen.commands.stylize import stylize
from audiogen.commands.texture import texture
from audiogen.data.datasets.folder import find_sounds
from audiogen.outputs import MARKER, OutputError, check_output_file, check_output_folder, start_output_folder
from tests.full_disk import limited_files
from tests.tiny_classifier import write_classifier
from tests.tiny_conversion import conversion_arguments
from tests.tiny_run import arguments, write_classes
from tests.tiny_transfer import bursts, melody, write

LINKS: dict[str, Callable[[Path, Path], object]] = {
    "same": lambda source, out: source.rename(out),
    "link": lambda source, out: out.symlink_to(source),
    "hard link": lambda source, out: os.link(source, out),
    "link to a link": lambda source, out: (
        out.with_name("first" + out.suffix).symlink_to(source),
        out.symlink_to(out.with_name("first" + out.suffix)),
    ),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return runs of a generator and of a converter, their data, and a classifier."""
    folder = tmp_path_factory.mktemp("runs")
    data, classifier = write_classifier(folder / "classifier")
    train(
        arguments(
            data, folder / "generator", 0.008, "--data.transform.floor_db", "-100", "--data.transform.ceil_db", "20"
        )
    )
    sounds = write_classes(folder / "sounds", {"low": 300, "high": 2000})
    train(conversion_arguments(sounds, folder / "converter", 0.008))
    return {"data": data, "classifier": classifier, "sounds": sounds} | {
        name: folder / name for name in ("generator", "converter")
    }


def sound(folder: Path, name: str = "in.wav") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / name, melody(0.5))
    return folder / name


def checkpoint_of(run: Path) -> Path:
    (found,) = (run / "checkpoints").glob("kimg-*.ckpt")
    return found


def copied(path: Path, out: Path) -> Path:
    out.write_bytes(path.read_bytes())
    return out


# For each command that writes a file: an input, and what is called with the same file as output.
Command = tuple[Callable[[dict[str, Path], Path], Path], Callable[[dict[str, Path], Path, Path], object]]
COMMANDS: dict[str, Command] = {
    "convert": (
        lambda runs, folder: sound(folder),
        lambda runs, source, out: audiogen.convert(runs["converter"], source, out=out),
    ),
    "convert, checkpoint": (
        lambda runs, folder: copied(checkpoint_of(runs["converter"]), folder / "model.wav"),
        lambda runs, source, out: audiogen.convert(source, sound(source.parent, "other.wav"), out=out),
    ),
    "stylize, content": (
        lambda runs, folder: sound(folder),
        lambda runs, source, out: stylize(source, sound(source.parent, "style.wav"), out=out, iterations=1),
    ),
    "stylize, style": (
        lambda runs, folder: sound(folder),
        lambda runs, source, out: stylize(sound(source.parent, "content.wav"), source, out=out, iterations=1),
    ),
    "texture": (
        lambda runs, folder: sound(folder),
        lambda runs, source, out: texture([sound(source.parent, "first.wav"), source], out=out, iterations=1),
    ),
    "export": (
        lambda runs, folder: audiogen.export(runs["generator"], folder / "in.safetensors"),
        lambda runs, source, out: audiogen.export(source, out),
    ),
    "evaluate, ratings": (
        lambda runs, folder: copied(runs["generator"] / "config.yaml", folder / "ratings.json"),
        lambda runs, source, out: audiogen.evaluate(
            str(runs["generator"]), evaluator=str(runs["classifier"]), ratings=str(source), out=str(out)
        ),
    ),
    "evaluate, sounds": (
        lambda runs, folder: sound(folder / "sounds" / "low"),
        lambda runs, source, out: audiogen.evaluate(
            str(source.parent.parent), against=str(runs["data"]), evaluator=str(runs["classifier"]), out=str(out)
        ),
    ),
    "evaluate, classifier": (
        lambda runs, folder: copied(checkpoint_of(runs["classifier"]), folder / "classifier.ckpt"),
        lambda runs, source, out: audiogen.evaluate(str(runs["generator"]), evaluator=str(source), out=str(out)),
    ),
    "report": (
        lambda runs, folder: run_with_table(folder) / "metrics.csv",
        lambda runs, source, out: audiogen.commands.report.report(str(source.parent), str(out)),
    ),
}


def run_with_table(folder: Path) -> Path:
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "metrics.csv").write_text("step,kimg,fad\n1,0.001,2\n")
    return folder / "run"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("link", LINKS)
def test_no_command_writes_onto_an_input(command: str, link: str, runs: dict[str, Path], tmp_path: Path) -> None:
    import audiogen.commands.report  # noqa: F401

    make, call = COMMANDS[command]
    source = make(runs, tmp_path)
    out = tmp_path / f"out{source.suffix}"
    if link == "same":
        out = source
    else:
        LINKS[link](source, out)
    before = source.read_bytes()
    with pytest.raises(OutputError, match=r"would overwrite the source .*: name another output"):
        call(runs, source, out)
    assert source.read_bytes() == before


def test_variants_and_reports_of_a_sound_are_outputs_too(tmp_path: Path) -> None:
    variant = sound(tmp_path, "out-balance-0.wav")
    with pytest.raises(OutputError, match="would overwrite the source"):
        stylize(variant, sound(tmp_path, "style.wav"), out=tmp_path / "out.wav", sweep=2, iterations=1)
    config = copied(Path("configs/style_transfer.yaml"), tmp_path / "out.json")
    with pytest.raises(OutputError, match=r"out\.json would overwrite the source"):
        texture(variant, out=tmp_path / "out.wav", config=str(config), iterations=1)


@pytest.mark.parametrize("name", ["out.png", "out.json"])
def test_files_beside_a_sound_are_replaced_if_they_are_its_report(name: str, tmp_path: Path) -> None:
    source = sound(tmp_path)
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(OutputError, match=rf"{name} would be replaced, but this command did not write it"):
        texture(source, out=tmp_path / "out.wav", iterations=1)
    assert (tmp_path / name).read_text() == '{"mine": 1}'
    (tmp_path / name).unlink()
    for _ in range(2):
        texture(source, out=tmp_path / "out.wav", iterations=1, seconds=0.5)


def test_folder_must_be_new_empty_or_ours(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    check_output_folder(folder)
    start_output_folder(folder, ["a.wav", "deep/b.wav"])
    for name in ("a.wav", "deep/b.wav"):
        write_text(folder / name, "old")
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"out holds an earlier result: name another folder, or .* --overwrite"):
        check_output_folder(folder)
    check_output_folder(folder, overwrite=True)
    start_output_folder(folder, ["c.wav"])
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [MARKER, "mine.txt"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"holds files that audiogen did not write there, such as thesis\.txt"):
            check_output_folder(other, overwrite)
    with pytest.raises(OutputError, match="is a file: name a folder"):
        check_output_folder(other / "thesis.txt")


def test_file_of_the_user_in_our_folder_stays(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "out")
    start_output_folder(tmp_path / "out", ["a.wav"])
    (tmp_path / "out" / "b.wav").write_text("mine")
    with pytest.raises(OutputError, match=r"b\.wav was not written by audiogen: move it"):
        start_output_folder(tmp_path / "out", ["a.wav", "b.wav"])
    assert (tmp_path / "out" / "b.wav").read_text() == "mine"


@pytest.mark.parametrize("name", ["../mine.txt", "link/mine.txt", "/etc/hostname"])
def test_list_that_somebody_has_planted_removes_nothing_elsewhere(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    (folder / MARKER).write_text(json.dumps({"files": [name]}))
    start_output_folder(check_output_folder(folder, overwrite=True), ["a.wav"])
    assert (tmp_path / "mine.txt").read_text() == "mine"
    with pytest.raises(OutputError, match="would be written through a link"):
        start_output_folder(folder, ["link/new.wav"])


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"files": 3}', '{"files": [3]}', '{"other": []}', "[" * 100_000])
def test_list_that_is_damaged_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text(text)
    with pytest.raises(OutputError, match=rf"{MARKER} is damaged"):
        check_output_folder(tmp_path)


def test_generate_again_does_not_mix_two_results(runs: dict[str, Path], tmp_path: Path) -> None:
    model, out = audiogen.load(runs["generator"]), tmp_path / "out"
    audiogen.generate(model, num=3, out=out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds an earlier result"):
        audiogen.generate(model, num=1, out=out)
    assert len(find_sounds(out)) == 6
    audiogen.generate(model, num=1, out=out, overwrite=True)
    assert [path.name for path in find_sounds(out)] == ["high-000.wav", "low-000.wav"]
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("flag", ["--overwrite", "--overwrite=true"])
def test_the_flag_needs_no_value(
    flag: str, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for more in ([], [flag, "--num", "1"]):
        command = ["generate", str(runs["generator"]), "--num", "2", "--out", str(tmp_path / "out"), *more]
        monkeypatch.setattr(sys, "argv", ["audiogen", *command])
        main()
    assert len(find_sounds(tmp_path / "out")) == 2


def test_convert_keeps_to_folders_of_its_own(runs: dict[str, Path], tmp_path: Path) -> None:
    model: Any = audiogen.load(runs["converter"])
    source = tmp_path / "parent" / "source"
    for name in ("a.wav", "deep/b.wav"):
        sound((source / name).parent, Path(name).name)
    before = {path: path.read_bytes() for path in find_sounds(tmp_path)}
    with pytest.raises(OutputError, match="holds files that audiogen did not write there, such as source"):
        audiogen.convert(model, source, out=tmp_path / "parent")
    out = tmp_path / "out"
    audiogen.convert(model, source, out=out)
    with pytest.raises(OutputError, match="holds an earlier result"):
        audiogen.convert(model, source, out=out)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "a.wav").symlink_to(out / "a.wav")
    with pytest.raises(OutputError, match=r"out/a\.wav would overwrite the source"):
        audiogen.convert(model, linked, out=out, overwrite=True)
    (out / "deep" / "b.wav").unlink()
    (out / "deep").rmdir()
    (out / "deep").symlink_to(source / "deep")
    with pytest.raises(OutputError, match=r"deep/b\.wav would (overwrite the source|be written through a link)"):
        audiogen.convert(model, source, out=out, overwrite=True)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_single_sounds_may_be_added_to_a_folder_of_conversions(runs: dict[str, Path], tmp_path: Path) -> None:
    model, out = audiogen.load(runs["converter"]), tmp_path / "out"
    for name in ("a.wav", "b.wav"):
        audiogen.convert(model, sound(tmp_path / "in", name), out=out)
    assert [path.name for path in find_sounds(out)] == ["a.wav", "b.wav"]
    with pytest.raises(OutputError, match="holds an earlier result"):
        audiogen.convert(model, tmp_path / "in" / "b.wav", out=out)
    audiogen.convert(model, tmp_path / "in" / "b.wav", out=out, overwrite=True)
    assert [path.name for path in find_sounds(out)] == ["a.wav", "b.wav"]


def test_inspect_leaves_sounds_of_the_user_alone(runs: dict[str, Path], tmp_path: Path) -> None:
    mine = sound(tmp_path / "mine" / "sounds", "00-00-original.wav")
    config = arguments(runs["sounds"], tmp_path / "run")
    flags = [
        part
        for name, value in zip(config[1::2], config[2::2], strict=True)
        if not any(word in name for word in ("model", "trainer.", "checkpoint."))
        for part in (name, value)
    ]

    def inspect(*more: str) -> None:
        call("inspect", audiogen.commands.inspect.inspect, [*flags, *more], {})

    with pytest.raises(OutputError, match="holds files that audiogen did not write there, such as sounds"):
        inspect("--out", str(tmp_path / "mine"), "--num", "1")
    assert mine.exists()
    inspect("--out", str(tmp_path / "out"), "--num", "2")
    with pytest.raises(OutputError, match="holds an earlier result"):
        inspect("--out", str(tmp_path / "out"), "--num", "1")
    inspect("--out", str(tmp_path / "out"), "--num", "1", "--overwrite")
    assert len(find_sounds(tmp_path / "out")) == 4


NOT_WRITABLE: dict[str, Callable[[dict[str, Path], Path], object]] = {
    "generate": lambda runs, out: audiogen.generate("no checkpoint", out=out),
    "convert": lambda runs, out: audiogen.convert("no checkpoint", runs["sounds"], out=out),
    "convert a file": lambda runs, out: audiogen.convert(
        "no checkpoint", runs["sounds"] / "low" / "0.wav", out=out / "x.wav"
    ),
    "stylize": lambda runs, out: stylize("no sound", "no sound", out=out / "x.wav"),
    "texture": lambda runs, out: texture("no sound", out=out / "x.wav"),
    "evaluate": lambda runs, out: audiogen.evaluate(
        str(runs["generator"]), evaluator="no classifier", out=str(out / "x.json")
    ),
    "export": lambda runs, out: audiogen.export(runs["generator"], out / "x.safetensors"),
}


@pytest.mark.parametrize("command", NOT_WRITABLE)
def test_place_that_cannot_be_written_is_found_before_any_work(
    command: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written: Not a directory. Name another"):
        NOT_WRITABLE[command](runs, tmp_path / "file" / "below")


def test_command_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such checkpoint"):
        audiogen.generate(tmp_path / "none.ckpt", out=tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []


def test_disk_that_is_full_is_found_before_any_work(tmp_path: Path) -> None:
    with limited_files(1000):
        with pytest.raises(OutputError, match=r"x\.wav cannot be written: File too large"):
            check_output_file(tmp_path / "x.wav")
        with pytest.raises(OutputError, match=r"out cannot be written: File too large"):
            check_output_folder(tmp_path / "out")
    with pytest.raises(OutputError, match="expected a file to write, got a folder"):
        check_output_file(tmp_path)


def fill_after(monkeypatch: pytest.MonkeyPatch, module: str, num: int) -> None:
    """Let the disk be full after some sounds."""
    target = sys.modules[module]
    before, left = target.write_audio, iter(range(num))

    def write_or_fail(path: Path, *args: Any) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        before(path, *args)

    monkeypatch.setattr(target, "write_audio", write_or_fail)


def test_sounds_that_were_made_before_the_disk_was_full_stay(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = audiogen.load(runs["generator"])
    fill_after(monkeypatch, "audiogen.commands.generate", 3)
    with pytest.raises(OSError, match=r"No space left on device: 3 of 4 sounds are written: .*out"):
        audiogen.generate(model, num=2, out=tmp_path / "out")
    assert len(find_sounds(tmp_path / "out")) == 3


def test_texture_is_kept_as_far_as_the_disk_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audiogen.commands import transfer_sounds

    write(tmp_path / "rain.wav", bursts(1.5, 22050), 22050)
    monkeypatch.setattr(transfer_sounds, "CHUNK_SECONDS", 1.0)
    monkeypatch.setattr(transfer_sounds, "write_report", lambda *args: None)
    with limited_files(100_000):
        monkeypatch.setattr("audiogen.outputs._PROBE", 1000)
        made = texture(tmp_path / "rain.wav", out=tmp_path / "out.wav", seconds=6, iterations=1)
    assert 0.5 < made.seconds < 6
    assert "File too large: the result ends there" in made.notes
    assert find_sounds(tmp_path)


def test_metrics_are_shown_where_they_cannot_be_written(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("audiogen.commands.evaluate.write_text", fail)
    with pytest.raises(OSError, match=r"(?s)No space left on device; the result was:.*fad_classifier .*x\.json"):
        audiogen.evaluate(
            str(runs["generator"]),
            evaluator=str(runs["classifier"]),
            split="val",
            num_clips=20,
            out=str(tmp_path / "x.json"),
        )
