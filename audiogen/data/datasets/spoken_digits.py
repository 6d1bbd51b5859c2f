"""Synthesise spoken digits without a download: espeak-ng speaks zero to nine as sixty speakers.

The synthesiser (https://github.com/espeak-ng/espeak-ng, GPL-3.0) is a shared library with its voices in the PyPI
package `espeakng-loader` (the extra `demo`), called through ctypes (Linux and macOS). Files are named as in FSDD.
"""

import ctypes
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from audiogen.audio.io import write_audio
from audiogen.audio.resample import resample
from audiogen.data.cache import cache_folder
from audiogen.data.datasets.dataset import AudioDataset, AudioItem, DatasetError, Split
from audiogen.data.datasets.fsdd import DIGITS
from audiogen.data.parallel import parallel_map

Label = Literal["digit", "speaker", "gender"]
VERSION = 1  # part of the folder's name; increase it with every change that alters a sample
ACCENTS = {
    "british": "en",
    "american": "en-us",
    "lancaster": "en-gb-x-gbclan",
    "midlands": "en-gb-x-gbcwmd",
    "scottish": "en-gb-scotland",
    "caribbean": "en-029",
}
# Variants of espeak-ng that sound human (no whisper, robot or long echo) and distinct. Retuned copies (klatt4 and
# klatt5, steph2 and steph3, ...) are left out.
VOICES = (
    *("f1", "m1", "Annie", "m3", "Andy", "f5", "Denis", "m4", "f3", "m7"),
    *("f2", "adam", "linda", "boris", "Jacky", "aunty", "klatt3", "Lee", "Michael", "grandma"),
    *("steph", "max", "zac", "ed", "paul", "belinda", "travis", "victor", "quincy", "shelby"),
)
FEMALE = ("f1", "f2", "f3", "f5", "Annie", "linda", "aunty", "grandma", "steph", "belinda")
NEITHER = ("zac", "shelby")  # a child, and a voice as high as the female ones
GENDERS = ("male", "female")
RATES = (150, 185)  # words per minute, inclusive; 98% of the clips stay below 0.6 s
PITCHES = (30, 70)  # espeak's scale 0 to 99, inclusive; 50 is the voice's own pitch, 30 and 70 are about -20% and +20%
PITCH_RANGES = (30, 70)  # same scale; how far the pitch moves within a word
SILENCE = 0.005  # threshold relative to the clip's peak (-46 dB); -40 dB cut the th of three in some voices
MARGIN_SECONDS = 0.01
# Peak, because equal RMS would need headroom for crest factors of 21 dB. 3 dB are left for overshoot in resampling.
PEAK = 0.7
MIN_CLIPS = 100  # ten digits by ten speakers, the fewest that fill all splits

_ESPEAK_RATE = 22050
_ESPEAK_VOLUME = 40  # percent; at the default of 100, the loudest voices clip inside espeak
_OUTPUT_SYNCHRONOUS, _DONT_EXIT, _CHARS_UTF8 = 2, 0x8000, 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4  # espeak_PARAMETER; like the line above from speak_lib.h
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Speaker:
    """A voice with an accent.

    Attributes:
        name: Accent and voice, such as "scottish-f1".
        espeak_voice: espeak's name of the voice, such as "en-gb-scotland+f1".
        split: Split that contains all clips of the speaker.
    """

    name: str
    espeak_voice: str
    split: Split


@dataclass(frozen=True)
class Utterance:
    """One clip to synthesise.

    Attributes:
        digit: Digit, 0 to 9.
        speaker: Speaker.
        take: Index of the clip among those of this digit by this speaker.
        rate: Speech rate, within `RATES`.
        pitch: Pitch, within `PITCHES`.
        pitch_range: Pitch range, within `PITCH_RANGES`.
    """

    digit: int
    speaker: Speaker
    take: int
    rate: int
    pitch: int
    pitch_range: int

    @property
    def path(self) -> Path:
        """Path of the clip below the data set's folder: `{split}/{digit}_{speaker}_{take}.wav`."""
        return Path(self.speaker.split) / f"{self.digit}_{self.speaker.name}_{self.take:03d}.wav"


def list_speakers() -> list[Speaker]:
    """List all speakers: every voice with its first accent, then every voice with its second.

    Of every ten voices, eight are for training, one for validation and one for testing. Splitting by voice rather than
    by speaker keeps a test voice from being heard in training with its other accent.
    """
    accents = list(ACCENTS)
    splits: dict[int, Split] = {8: "val", 9: "test"}
    speakers = []
    for turn in range(2):
        for index, voice in enumerate(VOICES):
            # Accents three apart differ most, and every split has all six.
            accent = accents[(index + 3 * turn) % len(accents)]
            speakers.append(Speaker(f"{accent}-{voice}", f"{ACCENTS[accent]}+{voice}", splits.get(index % 10, "train")))
    return speakers


def plan_utterances(num_clips: int, seed: int) -> list[Utterance]:
    """Plan the clips: all digits by each speaker in turn, then the same again with the next take.

    A larger `num_clips` contains the clips of a smaller one.

    Args:
        num_clips: Number of clips. From `MIN_CLIPS` on, every split has all digits.
        seed: Seed of the rate, pitch and pitch range of every clip.
    """
    speakers = list_speakers()
    utterances = []
    for index in range(num_clips):
        turn, digit = divmod(index, len(DIGITS))
        take, speaker_index = divmod(turn, len(speakers))
        speaker = speakers[speaker_index]
        rng = random.Random(f"{seed} {speaker.name} {digit} {take}")  # independent of num_clips
        rate, pitch, pitch_range = (rng.randint(*bounds) for bounds in (RATES, PITCHES, PITCH_RANGES))
        utterances.append(Utterance(digit, speaker, take, rate, pitch, pitch_range))
    return utterances


def build_spoken_digits(folder: Path, num_clips: int, seed: int, sample_rate: int, num_workers: int = 1) -> None:
    """Synthesise all clips into `folder`, which appears once it is complete.

    If another process was faster, its folder is kept.

    Args:
        folder: Target folder.
        num_clips: Number of clips; see `plan_utterances`.
        seed: Seed of the voice parameters; see `plan_utterances`.
        sample_rate: Sample rate of the files in Hz.
        num_workers: Number of processes, which does not affect the files. 1 works in this process, which takes seconds
            for 6,000 clips.

    Raises:
        DatasetError: If the extra `demo` is not installed or espeak fails.
    """
    plan = plan_utterances(num_clips, seed)
    tasks = [[utterance for utterance in plan if utterance.speaker == speaker] for speaker in list_speakers()]
    _espeak_paths()  # fails before anything is written
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        built = Path(temporary) / folder.name
        speak = partial(_speak_clips, folder=built, sample_rate=sample_rate)
        with tqdm(total=num_clips, desc=f"Synthesising {folder.name}", unit="clip", disable=None) as bar:
            for num_spoken in parallel_map(speak, tasks, num_workers):
                bar.update(num_spoken)
        try:
            built.rename(folder)
        except OSError:  # not empty: another process was faster
            if not folder.is_dir():
                raise


class SpokenDigits(AudioDataset):
    """Synthesise the digits zero to nine on first use and list them. No speaker and no voice is in two splits.

    Args:
        label: What the classes are: "digit" (zero ... nine), "speaker" (the takes are then split instead of the
            speakers), or "gender" (male or female, as the voice sounds; two ambiguous voices are left out).
        num_clips: Number of clips, at least 100.
        seed: Seed of the speech rates and pitches.
        sample_rate: Sample rate of the files in Hz.

    Raises:
        DatasetError: If an argument is out of range.
    """

    label_order = (*DIGITS, *GENDERS)

    def __init__(self, label: Label = "digit", num_clips: int = 6000, seed: int = 0, sample_rate: int = 8000) -> None:
        if label not in get_args(Label):
            raise DatasetError(f"expected label {', '.join(get_args(Label))}, got {label!r}")
        if num_clips < MIN_CLIPS or sample_rate <= 0:
            raise DatasetError(f"expected num_clips >= {MIN_CLIPS}, sample_rate > 0, got {num_clips}, {sample_rate}")
        self.label, self.num_clips, self.seed, self.sample_rate = label, num_clips, seed, sample_rate

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List the clips, after synthesising them if they are missing.

        Args:
            root: Folder to keep them in; None for $AUDIOGEN_CACHE or else ~/.cache/audiogen.

        Raises:
            DatasetError: If the extra `demo` is not installed or the folder lacks clips.
        """
        base = root or cache_folder()
        name = f"spoken_digits-v{VERSION}-{self.num_clips}-seed{self.seed}-{self.sample_rate}hz"
        folder = base / name
        if not folder.is_dir():
            build_spoken_digits(folder, self.num_clips, self.seed, self.sample_rate)
        items = []
        for split in get_args(Split):
            for path in sorted((folder / split).glob("*.wav")):
                digit, speaker, take = path.stem.split("_")
                label = {"digit": DIGITS[int(digit)], "speaker": speaker, "gender": gender_of(speaker)}[self.label]
                items.append(AudioItem(path, label, _split_of_take(int(take)) if self.label == "speaker" else split))
        if len(items) != self.num_clips:
            raise DatasetError(f"expected {self.num_clips} clips in {folder}, found {len(items)}: delete it to rebuild")
        return [item for item in items if item.label is not None]


def gender_of(speaker: str) -> str | None:
    """Return the perceived gender of a speaker such as "british-f1", or None if it is ambiguous."""
    voice = speaker.rsplit("-", 1)[1]
    return None if voice in NEITHER else GENDERS[voice in FEMALE]


def _split_of_take(take: int) -> Split:
    """Return the split of a take when speakers are the classes, so that every class is in every split."""
    return "val" if take % 10 == 8 else "test" if take % 10 == 9 else "train"


def _speak_clips(utterances: list[Utterance], folder: Path, sample_rate: int) -> int:
    """Write one speaker's clips below `folder` and return their number."""
    with _espeak(folder) as library:
        for utterance in utterances:
            wav = resample(_speak(library, utterance), _ESPEAK_RATE, sample_rate)
            write_audio(folder / utterance.path, _trim_and_level(wav, sample_rate), sample_rate)
    return len(utterances)


def _trim_and_level(wav: Tensor, sample_rate: int) -> Tensor:
    """Trim wav, float32 [1, T], to `MARGIN_SECONDS` around the sound and scale its peak to `PEAK`."""
    peak = wav.abs().max()
    loud = (wav[0].abs() > SILENCE * peak).nonzero()  # [N, 1]
    margin = round(MARGIN_SECONDS * sample_rate)
    padded = torch.nn.functional.pad(wav, (margin, margin))  # the sound may reach the ends of the clip
    return padded[:, int(loud[0]) : int(loud[-1]) + 1 + 2 * margin] * (PEAK / peak)  # [1, T]


def _espeak_paths() -> tuple[Path, str]:
    """Return the paths of espeak's shared library and its data folder."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise DatasetError("the embedded digits need the 'demo' extra: pip install 'audiogen[demo]'") from error
    data_path = espeakng_loader.get_data_path()
    # If a variant is missing, espeak uses its plain voice without an error.
    if missing := [voice for voice in VOICES if not Path(data_path, "voices", "!v", voice).is_file()]:
        raise DatasetError(f"espeak-ng in {data_path} lacks the voices {', '.join(missing)}")
    return Path(espeakng_loader.get_library_path()), data_path


@contextmanager
def _espeak(folder: Path) -> Iterator[ctypes.CDLL]:
    """Load espeak in its initial state.

    An utterance depends on those before it: espeak's static variables (flutter, phase, filters) survive even
    espeak_Terminate. Therefore each speaker gets a fresh copy of the library. It is unloaded before its file is
    deleted, because on NFS the folder of a mapped file cannot be deleted.
    """
    library_path, data_path = _espeak_paths()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        library = ctypes.CDLL(str(shutil.copy(library_path, temporary)))
        try:
            rate = library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, data_path.encode(), _DONT_EXIT)
            if rate != _ESPEAK_RATE:
                raise DatasetError(f"espeak-ng did not start with {data_path}: rate {rate}, expected {_ESPEAK_RATE}")
            library.espeak_ng_SetRandSeed(ctypes.c_long(0))  # breath noise is otherwise seeded with the time of day
            yield library
            library.espeak_Terminate()
        finally:
            ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))


def _speak(library: ctypes.CDLL, utterance: Utterance) -> Tensor:
    """Synthesise an utterance: float32 [1, T] in [-1, 1] at `_ESPEAK_RATE`."""
    chunks = []

    def collect(samples: "ctypes._Pointer[ctypes.c_short]", num_samples: int, _events: int | None) -> int:
        if samples and num_samples > 0:
            chunks.append(ctypes.string_at(samples, 2 * num_samples))
        return 0  # continue

    callback = _Callback(collect)  # must outlive espeak_Synth
    library.espeak_SetSynthCallback(callback)
    voice, text = utterance.speaker.espeak_voice, DIGITS[utterance.digit]
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise DatasetError(f"espeak-ng has no voice {voice!r}")
    library.espeak_SetParameter(_VOLUME, _ESPEAK_VOLUME, 0)
    library.espeak_SetParameter(_RATE, utterance.rate, 0)
    library.espeak_SetParameter(_PITCH, utterance.pitch, 0)
    library.espeak_SetParameter(_RANGE, utterance.pitch_range, 0)
    status = library.espeak_Synth(text.encode(), ctypes.c_size_t(len(text) + 1), 0, 0, 0, _CHARS_UTF8, None, None)
    if status != 0 or not chunks:
        raise DatasetError(f"espeak-ng could not speak {text!r} as {voice!r} (status {status})")
    return torch.frombuffer(bytearray(b"".join(chunks)), dtype=torch.int16)[None] / 2**15  # [1, T]
