"""Spoken digits without a download: espeak-ng says zero to nine as sixty speakers.

The synthesiser (https://github.com/espeak-ng/espeak-ng, GPL-3.0) comes as a shared library with its voices in the PyPI
package `espeakng-loader`, our extra `demo`, and is called through ctypes (Linux and macOS). Files are named as in FSDD.
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
VERSION = 1  # part of the folder's name: raise it with every change that alters a sample
ACCENTS = {
    "british": "en",
    "american": "en-us",
    "lancaster": "en-gb-x-gbclan",
    "midlands": "en-gb-x-gbcwmd",
    "scottish": "en-gb-scotland",
    "caribbean": "en-029",
}
# Variants of espeak-ng that sound like people (no whisper, no robot, no long echo) and not like each other: retuned
# copies (klatt4 and klatt5, steph2 and steph3, ...) are left out.
VOICES = (
    *("f1", "m1", "Annie", "m3", "Andy", "f5", "Denis", "m4", "f3", "m7"),
    *("f2", "adam", "linda", "boris", "Jacky", "aunty", "klatt3", "Lee", "Michael", "grandma"),
    *("steph", "max", "zac", "ed", "paul", "belinda", "travis", "victor", "quincy", "shelby"),
)
FEMALE = ("f1", "f2", "f3", "f5", "Annie", "linda", "aunty", "grandma", "steph", "belinda")
NEITHER = ("zac", "shelby")  # a child, and a voice as high as the women's
GENDERS = ("male", "female")
RATES = (150, 185)  # words per minute, inclusive: 98 % of the clips stay below 0.6 s
PITCHES = (30, 70)  # espeak's scale 0 to 99, inclusive; 50 is the voice's own pitch, this is about -20 to +20 %
PITCH_RANGES = (30, 70)  # likewise: how far the melody of the word moves
SILENCE = 0.005  # of the clip's peak (-46 dB): at -40 dB, the th of three was cut in some voices
MARGIN_SECONDS = 0.01
# Not a common RMS, which would need room for crest factors of 21 dB. 3 dB are left for overshoot in resampling.
PEAK = 0.7
MIN_CLIPS = 100  # ten speakers, the fewest that fill all splits, times ten digits

_ESPEAK_RATE = 22050
_ESPEAK_VOLUME = 40  # percent; at the default of 100 the loudest voices clip inside espeak
_OUTPUT_SYNCHRONOUS, _DONT_EXIT, _CHARS_UTF8 = 2, 0x8000, 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4  # espeak_PARAMETER in speak_lib.h, like the line above
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Speaker:
    """A voice with an accent.

    Attributes:
        name: Accent and voice, such as "scottish-f1".
        espeak_voice: What espeak calls it, such as "en-gb-scotland+f1".
        split: The part of the data set that has all its clips.
    """

    name: str
    espeak_voice: str
    split: Split


@dataclass(frozen=True)
class Utterance:
    """One clip to speak.

    Attributes:
        digit: 0 to 9.
        speaker: Who says it.
        take: Counts the clips of this digit by this speaker from 0.
        rate: See `RATES`; likewise `pitch` and `pitch_range`.
    """

    digit: int
    speaker: Speaker
    take: int
    rate: int
    pitch: int
    pitch_range: int

    @property
    def path(self) -> Path:
        """Its file below the data set's folder: `{split}/{digit}_{speaker}_{take}.wav`."""
        return Path(self.speaker.split) / f"{self.digit}_{self.speaker.name}_{self.take:03d}.wav"


def list_speakers() -> list[Speaker]:
    """List all speakers: every voice with its first accent, then every voice with its second.

    Of every ten voices, eight train, one validates, one tests. The split is by voice and not only by speaker: a test
    voice would still be heard in training with its other accent.
    """
    accents = list(ACCENTS)
    splits: dict[int, Split] = {8: "val", 9: "test"}
    speakers = []
    for turn in range(2):
        for index, voice in enumerate(VOICES):
            # The accents three apart differ most; all six are in every split.
            accent = accents[(index + 3 * turn) % len(accents)]
            speakers.append(Speaker(f"{accent}-{voice}", f"{ACCENTS[accent]}+{voice}", splits.get(index % 10, "train")))
    return speakers


def plan_utterances(num_clips: int, seed: int) -> list[Utterance]:
    """Plan the clips: all digits by the first speaker, by the second and so on, then everyone again with another take.

    A larger `num_clips` repeats the clips of a smaller one and adds to them.

    Args:
        num_clips: How many; from `MIN_CLIPS` on, all splits have all digits.
        seed: Decides rate, pitch and pitch range of every clip.
    """
    speakers = list_speakers()
    utterances = []
    for index in range(num_clips):
        turn, digit = divmod(index, len(DIGITS))
        take, speaker_index = divmod(turn, len(speakers))
        speaker = speakers[speaker_index]
        rng = random.Random(f"{seed} {speaker.name} {digit} {take}")  # does not depend on num_clips
        rate, pitch, pitch_range = (rng.randint(*bounds) for bounds in (RATES, PITCHES, PITCH_RANGES))
        utterances.append(Utterance(digit, speaker, take, rate, pitch, pitch_range))
    return utterances


def build_spoken_digits(folder: Path, num_clips: int, seed: int, sample_rate: int, num_workers: int = 1) -> None:
    """Speak all clips into `folder`, which appears when it is complete, or keep it where another process was faster.

    Args:
        folder: The target.
        num_clips: See `plan_utterances`.
        seed: See `plan_utterances`.
        sample_rate: Of the files, in Hz.
        num_workers: Processes, which do not change the files. 1 speaks in this one and takes seconds for 6,000 clips;
            more are spawned and import the user's script, which then needs its `if __name__ == "__main__"`.

    Raises:
        DatasetError: Where the extra `demo` is missing or espeak fails.
    """
    plan = plan_utterances(num_clips, seed)
    tasks = [[utterance for utterance in plan if utterance.speaker == speaker] for speaker in list_speakers()]
    _espeak_paths()  # fails before anything is made
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        built = Path(temporary) / folder.name
        speak = partial(_speak_clips, folder=built, sample_rate=sample_rate)
        with tqdm(total=num_clips, desc=f"speaking {folder.name}", unit="clip", disable=None) as bar:
            for num_spoken in parallel_map(speak, tasks, num_workers):
                bar.update(num_spoken)
        try:
            built.rename(folder)
        except OSError:  # not empty: another process was faster
            if not folder.is_dir():
                raise


class SpokenDigits(AudioDataset):
    """Speak the digits zero to nine on first use and list them; no speaker and no voice is in two splits.

    Args:
        label: What the class of a clip is: the digit (zero ... nine), the speaker (then the takes are split instead),
            or the gender that the voice sounds like (male, female; two voices that sound like neither are left out).
        num_clips: Size of the data set, at least 100.
        seed: Another one draws other rates and pitches.
        sample_rate: Of the files, in Hz.

    Raises:
        DatasetError: Where an argument is out of range.
    """

    label_order = (*DIGITS, *GENDERS)

    def __init__(self, label: Label = "digit", num_clips: int = 6000, seed: int = 0, sample_rate: int = 8000) -> None:
        if label not in get_args(Label):
            raise DatasetError(f"expected label {', '.join(get_args(Label))}, got {label!r}")
        if num_clips < MIN_CLIPS or sample_rate <= 0:
            raise DatasetError(f"expected num_clips >= {MIN_CLIPS}, sample_rate > 0, got {num_clips}, {sample_rate}")
        self.label, self.num_clips, self.seed, self.sample_rate = label, num_clips, seed, sample_rate

    def scan(self, root: Path | None) -> Sequence[AudioItem]:
        """List the clips, after speaking them where they are missing.

        Args:
            root: The folder to keep them in; None is $AUDIOGEN_CACHE or else ~/.cache/audiogen.

        Raises:
            DatasetError: Where the extra `demo` is missing or the folder lacks clips.
        """
        base = root or cache_folder()
        name = f"spoken_digits-v{VERSION}-{self.num_clips}-seed{self.seed}-{self.sample_rate}hz"
        folder = base / name
        if not folder.is_dir():
            build_spoken_digits(folder, self.num_clips, self.seed, self.sample_rate)
        clips = []
        for split in get_args(Split):
            for path in sorted((folder / split).glob("*.wav")):
                digit, speaker, take = path.stem.split("_")
                label = {"digit": DIGITS[int(digit)], "speaker": speaker, "gender": gender_of(speaker)}[self.label]
                clips.append(AudioItem(path, label, _split_of_take(int(take)) if self.label == "speaker" else split))
        if len(clips) != self.num_clips:
            raise DatasetError(f"expected {self.num_clips} clips in {folder}, found {len(clips)}: delete it to rebuild")
        return [clip for clip in clips if clip.label is not None]


def gender_of(speaker: str) -> str | None:
    """Return what a speaker such as "british-f1" sounds like; None where that is neither."""
    voice = speaker.rsplit("-", 1)[1]
    return None if voice in NEITHER else GENDERS[voice in FEMALE]


def _split_of_take(take: int) -> Split:
    """Return where a take belongs when speakers are the classes: every class must be in every split."""
    return "val" if take % 10 == 8 else "test" if take % 10 == 9 else "train"


def _speak_clips(utterances: list[Utterance], folder: Path, sample_rate: int) -> int:
    """Write the clips of one speaker below `folder` and return how many they are."""
    with _espeak(folder) as library:
        for utterance in utterances:
            wav = resample(_speak(library, utterance), _ESPEAK_RATE, sample_rate)
            write_audio(folder / utterance.path, _trim_and_level(wav, sample_rate), sample_rate)
    return len(utterances)


def _trim_and_level(wav: Tensor, sample_rate: int) -> Tensor:
    """Cut wav float32 [1, T] to a margin of `MARGIN_SECONDS` around the sound and scale it to `PEAK`."""
    peak = wav.abs().max()
    loud = (wav[0].abs() > SILENCE * peak).nonzero()  # [N, 1]
    margin = round(MARGIN_SECONDS * sample_rate)
    padded = torch.nn.functional.pad(wav, (margin, margin))  # the sound may reach the ends
    return padded[:, int(loud[0]) : int(loud[-1]) + 1 + 2 * margin] * (PEAK / peak)  # [1, T]


def _espeak_paths() -> tuple[Path, str]:
    """Return espeak's shared library and its data folder."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise DatasetError("the embedded digits need the 'demo' extra: pip install 'audiogen[demo]'") from error
    data_path = espeakng_loader.get_data_path()
    # espeak speaks with its plain voice, without an error, where a variant is missing.
    if missing := [voice for voice in VOICES if not Path(data_path, "voices", "!v", voice).is_file()]:
        raise DatasetError(f"espeak-ng in {data_path} lacks the voices {', '.join(missing)}")
    return Path(espeakng_loader.get_library_path()), data_path


@contextmanager
def _espeak(folder: Path) -> Iterator[ctypes.CDLL]:
    """Load espeak in its initial state.

    An utterance depends on those before it: static variables of espeak (flutter, phase, filters) outlive even
    espeak_Terminate. So each speaker gets a fresh copy of the library, unloaded before its file is deleted: on NFS, the
    folder of a mapped file cannot be deleted.
    """
    library_path, data_path = _espeak_paths()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        library = ctypes.CDLL(str(shutil.copy(library_path, temporary)))
        try:
            rate = library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, data_path.encode(), _DONT_EXIT)
            if rate != _ESPEAK_RATE:
                raise DatasetError(f"espeak-ng did not start with {data_path}: rate {rate}, expected {_ESPEAK_RATE}")
            library.espeak_ng_SetRandSeed(ctypes.c_long(0))  # breath is noise, seeded with the time of day otherwise
            yield library
            library.espeak_Terminate()
        finally:
            ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))


def _speak(library: ctypes.CDLL, utterance: Utterance) -> Tensor:
    """Return what espeak says: float32 [1, T] in [-1, 1] at `_ESPEAK_RATE`."""
    chunks = []

    def collect(samples: "ctypes._Pointer[ctypes.c_short]", num_samples: int, _events: int | None) -> int:
        if samples and num_samples > 0:
            chunks.append(ctypes.string_at(samples, 2 * num_samples))
        return 0  # go on

    callback = _Callback(collect)  # must outlive espeak_Synth
    library.espeak_SetSynthCallback(callback)
    voice, text = utterance.speaker.espeak_voice, DIGITS[utterance.digit]
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise DatasetError(f"espeak-ng has no accent of {voice!r}")
    library.espeak_SetParameter(_VOLUME, _ESPEAK_VOLUME, 0)
    library.espeak_SetParameter(_RATE, utterance.rate, 0)
    library.espeak_SetParameter(_PITCH, utterance.pitch, 0)
    library.espeak_SetParameter(_RANGE, utterance.pitch_range, 0)
    status = library.espeak_Synth(text.encode(), ctypes.c_size_t(len(text) + 1), 0, 0, 0, _CHARS_UTF8, None, None)
    if status != 0 or not chunks:
        raise DatasetError(f"espeak-ng did not say {text!r} as {voice!r} (status {status})")
    return torch.frombuffer(bytearray(b"".join(chunks)), dtype=torch.int16)[None] / 2**15  # [1, T]
