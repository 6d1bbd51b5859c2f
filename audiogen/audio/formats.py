"""List the audio file formats by suffix."""

# Suffixes that can be written. Values are libsndfile's container names that differ from the suffix.
CONTAINERS = {".aif": "AIFF", ".aifc": "AIFF", ".snd": "AU", ".oga": "OGG", ".opus": "OGG", ".wave": "WAV"}
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aiff", ".au", ".caf", ".rf64", ".w64", *CONTAINERS})
# Suffixes that can only be read.
_READ_ONLY = {".avr", ".htk", ".iff", ".mp2", ".nist", ".paf", ".pvf", ".sd2", ".sds", ".sf", ".sph", ".svx", ".voc"}
READ_SUFFIXES = AUDIO_SUFFIXES | _READ_ONLY
# Audio formats that libsndfile cannot read. These files are reported as unreadable instead of being ignored.
UNREADABLE_SUFFIXES = {
    *(".3gp", ".aac", ".ac3", ".adts", ".alac", ".amr", ".ape", ".asf", ".avi", ".dsf", ".dts", ".eac3", ".flv"),
    *(".m4a", ".m4b", ".m4r", ".m4v", ".mka", ".mkv", ".mov", ".mp4", ".mpc", ".mpeg", ".mpg", ".oma", ".qcp"),
    *(".ra", ".ram", ".rm", ".shn", ".spx", ".tak", ".tta", ".webm", ".weba", ".wma", ".wmv", ".wv"),
}
SOUND_SUFFIXES = READ_SUFFIXES | UNREADABLE_SUFFIXES
