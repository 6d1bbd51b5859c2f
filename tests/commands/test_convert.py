"""Converting files and folders: length, formats, trees, long sounds, and what is refused."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

import audiogen
from audiogen.__main__ import main
from audiogen.audio.io import read_audio
from audiogen.cli import main as train
from audiogen.commands import convert as command
from audiogen.outputs import MARKER
from tests.conftest import FORMATS, tone
from tests.tiny_conversion import conversion_arguments
from tests.tiny_run import SAMPLE_RATE, arguments, write_classes

HOP = 128


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data"), {"low": 300, "high": 2000})


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(conversion_arguments(data, folder, 0.008))
    return folder


def write(path: Path, sample_rate: int = SAMPLE_RATE, seconds: float = 1.0, num_channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = tone(sample_rate, seconds, 440.0, num_channels)
    soundfile.write(path, samples, sample_rate, **FORMATS.get(path.suffix, {}))
    return path


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".au", ".caf", ".oga"])
@pytest.mark.parametrize(("sample_rate", "num_channels"), [(8000, 1), (44100, 2)])
def test_any_format_and_rate_keeps_its_length_within_a_hop(
    run: Path, tmp_path: Path, suffix: str, sample_rate: int, num_channels: int
) -> None:
    source = write(tmp_path / f"in{suffix}", 48000 if suffix == ".opus" else sample_rate, 0.7, num_channels)
    made = audiogen.convert(run, source, out=tmp_path / f"out{suffix}")
    assert made.files == [tmp_path / f"out{suffix}"]
    info = soundfile.info(made.files[0])
    assert info.samplerate == SAMPLE_RATE
    assert info.channels == 1
    expected = soundfile.info(source).duration
    # MP3 and Opus add some samples of their own when they are written.
    slack = 0.1 if suffix in (".mp3", ".opus") else 0
    assert abs(made.seconds - expected) <= HOP / SAMPLE_RATE + slack
    assert abs(info.duration - made.seconds) <= slack + 1e-6


def test_suffix_of_the_target_chooses_the_format(run: Path, tmp_path: Path) -> None:
    audiogen.convert(run, write(tmp_path / "in.wav"), out=tmp_path / "deep" / "out.flac")
    assert soundfile.info(tmp_path / "deep" / "out.flac").format == "FLAC"


def test_folder_keeps_its_tree_and_leaves_bad_files_out(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a.wav", "deep/er/b.flac", "deep/c.mp3"]
    for name in names:
        write(tmp_path / "in" / name, seconds=0.3)
    (tmp_path / "in" / "deep" / "bad.wav").write_text("no sound")
    (tmp_path / "in" / "notes.txt").write_text("no sound")
    args = ["convert", str(run), str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["audiogen", *args])
    main()
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert found == sorted([MARKER, *names])
    text = capsys.readouterr().out
    assert re.search(r"Converted (0\.9|1\.0) s of sound to low, at 8000 Hz: ", text)
    assert "(3 files)" in text
    assert f"left out: {tmp_path / 'in' / 'deep' / 'bad.wav'}: unreadable" in text


def test_a_single_file_without_a_place_is_returned(run: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", seconds=1.0)
    made = audiogen.convert(run, source)
    assert made.wav is not None
    assert made.wav.shape == (1, 63 * HOP)  # 8,000 samples are 62.5 hops
    assert made.files == []
    written = audiogen.convert(audiogen.load(run), source, out=tmp_path / "out.wav")
    read = read_audio(written.files[0], SAMPLE_RATE)
    torch.testing.assert_close(read, made.wav.clamp(-1, 1), atol=1e-4, rtol=0)


def test_name_of_a_file_is_kept_in_a_folder(run: Path, tmp_path: Path) -> None:
    made = audiogen.convert(run, write(tmp_path / "in.wav", seconds=0.2), out=tmp_path / "made")
    assert made.files == [tmp_path / "made" / "in.wav"]


def test_shorter_sounds_than_a_segment_are_converted(run: Path, tmp_path: Path) -> None:
    made = audiogen.convert(run, write(tmp_path / "in.wav", seconds=0.01))
    assert made.wav is not None
    assert made.wav.shape == (1, HOP)


class Same(nn.Module):
    def forward(self, spec: Tensor, target: Tensor | None) -> Tensor:
        return spec


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_sound_comes_through_blocks_as_through_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap: float
) -> None:
    """A generator that changes nothing: what differs is made by cutting into segments and blocks."""
    model: Any = audiogen.load(run)
    model.generator_ema = Same()
    source = write(tmp_path / "in.wav", seconds=8.0)
    monkeypatch.setattr(command, "BLOCK_FRAMES", 64)
    sound = audiogen.convert(model, source, overlap=overlap).wav
    assert sound is not None
    whole = model.transform.inverse(model.transform(read_audio(source, SAMPLE_RATE)[None]))[0]
    lowest, highest, purity = zip(*(level_and_purity(wav) for wav in (sound, whole)), strict=True)
    assert lowest[0] > 0.9 * lowest[1]
    assert highest[0] < 1.1 * highest[1]
    assert purity[0] > 0.9 * purity[1]


def level_and_purity(wav: Tensor) -> tuple[float, float, float]:
    """Return the lowest and the highest level of 20 ms, and what share of the energy of wav [1, T] is around 440 Hz."""
    level = wav[0].unfold(0, 160, 160).square().mean(dim=1).sqrt()[10:-10]
    num = wav.shape[1]
    energy = torch.fft.rfft(wav[0].double() * torch.hann_window(num, dtype=torch.float64)).abs().square()
    first, last = (round(frequency * num / SAMPLE_RATE) for frequency in (390, 490))
    return float(level.min()), float(level.max()), float(energy[first:last].sum() / energy.sum())


LONG = """
import resource, sys, torch
from pathlib import Path
import audiogen
torch.set_num_threads(1)
model = audiogen.load(sys.argv[1])
model.transform.phase.num_iterations = 1
peaks = []
for name in ("short.wav", "long.wav"):
    made = audiogen.convert(model, Path(sys.argv[2]) / name, out=Path(sys.argv[2]) / f"converted-{name}", overlap=0)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(made.seconds, peaks[1] - peaks[0])
"""


def test_long_sounds_take_no_more_memory_than_short_ones(run: Path, tmp_path: Path) -> None:
    """An hour as float32 is 115 MB, before any spectrum. Peaks of memory are of a process, so it is one of its own."""
    second = soundfile.read(write(tmp_path / "second.wav"), dtype="int16")[0]
    for name, seconds in (("short.wav", 60), ("long.wav", 3600)):
        with soundfile.SoundFile(tmp_path / name, "w", SAMPLE_RATE, 1) as file:
            for _ in range(seconds):
                file.write(second)
    told = subprocess.run(
        [sys.executable, "-c", LONG, str(run), str(tmp_path)], capture_output=True, text=True, check=True
    )
    seconds, more = map(float, told.stdout.split())
    assert seconds == pytest.approx(3600, abs=HOP / SAMPLE_RATE)
    assert more < 20


def test_an_interrupted_conversion_leaves_no_file(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "in.wav", seconds=30.0)
    parts = iter(range(3))

    def stop(*args: Any) -> Any:
        for _ in parts:
            yield torch.zeros(1, 1, 32, 100)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_converted", stop)
    with pytest.raises(KeyboardInterrupt):
        audiogen.convert(run, source, out=tmp_path / "out" / "out.wav")
    assert list((tmp_path / "out").iterdir()) == []


def test_of_two_targets_the_last_is_the_default(data: Path, tmp_path: Path) -> None:
    train(conversion_arguments(data, tmp_path / "both", 0.008, "--model.targets", "[low, high]"))
    source = write(tmp_path / "in.wav", seconds=0.5)
    model = audiogen.load(tmp_path / "both")
    assert model.label_names == ["high", "low"]
    made = [audiogen.convert(model, source, target).wav for target in ("low", "high", 1, "0")]
    assert torch.equal(made[0], made[2])  # type: ignore[arg-type]
    assert torch.equal(made[1], made[3])  # type: ignore[arg-type]
    assert audiogen.convert(model, source).target == "high"  # the last one named
    with pytest.raises(ValueError, match="no target 'middle': this model converts to "):
        audiogen.convert(model, source, "middle")


def test_of_more_targets_one_has_to_be_named(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"2": 300, "0": 2000, "7": 1000})
    train(conversion_arguments(data, tmp_path / "run", 0.008, "--model.targets", "all"))
    source, model = write(tmp_path / "in.wav", seconds=0.1), audiogen.load(tmp_path / "run")
    assert model.label_names == ["0", "2", "7"]
    with pytest.raises(ValueError, match="name a target: this model converts to 0, 2, 7"):
        audiogen.convert(model, source)
    named = {target: audiogen.convert(model, source, target).target for target in ("2", 2, 0, "7", 1)}
    assert named == {"2": "2", 2: "2", 0: "0", "7": "7", 1: "2"}  # names come first


def test_what_cannot_be_written_is_left_out_of_a_folder(run: Path, tmp_path: Path) -> None:
    model: Any = audiogen.load(run)
    model.transform.sample_rate = 7000  # which Opus does not have
    for name in ("a.wav", "b.opus", "z.wav"):
        write(tmp_path / "in" / name, 48000, seconds=0.2)
    made = audiogen.convert(model, tmp_path / "in", out=tmp_path / "out")
    assert [path.name for path in made.files] == ["a.wav", "z.wav"]
    assert "cannot be written at 7000 Hz as OGG" in made.skipped[tmp_path / "in" / "b.opus"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MARKER, "a.wav", "z.wav"]


def test_sounds_of_a_folder_that_cannot_be_read_are_named(run: Path, tmp_path: Path) -> None:
    for name in ("a.au", "b.oga", "c.wav"):
        write(tmp_path / "in" / name, seconds=0.2)
    soundfile.write(tmp_path / "in" / "gsm.wav", tone(SAMPLE_RATE, 0.2), SAMPLE_RATE, subtype="GSM610")
    for name in ("x.m4a", "y.webm"):
        (tmp_path / "in" / name).write_bytes(b"nothing")
    made = audiogen.convert(run, tmp_path / "in", out=tmp_path / "out")
    assert [path.name for path in made.files] == ["a.au", "b.oga", "c.wav", "gsm.wav"]
    assert {path.name for path in made.skipped} == {"x.m4a", "y.webm"}
    assert "x.m4a: unreadable (.m4a is not a supported format: convert it" in str(made)


@pytest.mark.parametrize("out", ["in", "in/deep", "in/new"])
def test_sources_are_never_written_over(run: Path, tmp_path: Path, out: str) -> None:
    files = [write(tmp_path / "in" / name, seconds=0.1) for name in ("x.wav", "deep/x.wav")]
    before = [path.read_bytes() for path in files]
    with pytest.raises(ValueError, match=r"is inside the source folder .*: name another folder"):
        audiogen.convert(run, tmp_path / "in", out=tmp_path / out)
    assert [path.read_bytes() for path in files] == before


def test_models_that_make_nan_are_told(run: Path, tmp_path: Path) -> None:
    model: Any = audiogen.load(run)
    model.generator_ema.bands.norm.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="the model produces NaN for this sound"):
        audiogen.convert(model, write(tmp_path / "in.wav"), out=tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()


def test_what_cannot_be_converted_is_told(run: Path, data: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", seconds=0.2)
    with pytest.raises(ValueError, match=r"no sound file or folder .*nowhere\.wav"):
        audiogen.convert(run, tmp_path / "nowhere.wav")
    with pytest.raises(ValueError, match="would overwrite the source"):
        audiogen.convert(run, source, out=source)
    with pytest.raises(ValueError, match=r"result\.m4a should end in one of \.aif, .*, or be a folder"):
        audiogen.convert(run, source, out=tmp_path / "result.m4a")
    soundfile.write(tmp_path / "tiny.wav", np.array([0.1, -0.1]), 44100)
    for out in (None, tmp_path / "tiny-out.wav"):
        with pytest.raises(ValueError, match=r"tiny\.wav.*too short \(no sample is left at 8000 Hz\)"):
            audiogen.convert(run, tmp_path / "tiny.wav", out=out)
    with pytest.raises(ValueError, match="is a folder: name a folder to write to"):
        audiogen.convert(run, tmp_path)
    with pytest.raises(ValueError, match=r"is a folder and .*out\.wav a file"):
        audiogen.convert(run, tmp_path, out=tmp_path / "out.wav")
    with pytest.raises(ValueError, match=r"overlap must be in \[0, 1\), got 1"):
        audiogen.convert(run, source, overlap=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no sound files"):
        audiogen.convert(run, tmp_path / "empty", out=tmp_path / "out")
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    for out in (None, tmp_path / "out.wav"):
        with pytest.raises(ValueError, match=r"bad\.wav.*unreadable"):
            audiogen.convert(run, bad, out=out)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_checkpoint_of_another_kind_is_told(data: Path, tmp_path: Path) -> None:
    train(arguments(data, tmp_path / "gan", 0.008))
    with pytest.raises(ValueError, match="convert needs a model with a method convert; StyleGAN2 has none"):
        audiogen.convert(tmp_path / "gan", write(tmp_path / "in.wav"))


def test_generators_do_not_generate(run: Path) -> None:
    with pytest.raises(ValueError, match="generate needs a model with a method sample; MelGANVC has none"):
        audiogen.generate(run)


def test_sound_that_is_silent_stays_finite(run: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000, np.float32), SAMPLE_RATE)
    made = audiogen.convert(run, tmp_path / "silent.wav")
    assert made.wav is not None
    assert made.wav.isfinite().all()
