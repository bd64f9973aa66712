"""MP3: how many samples a file holds, which libsndfile only estimates where no header says it.

In:   a file's bytes, or a map of them.   Out: whether its first frame says its length; or its
frames, counted.
Not here: decoding (audio.py).
"""

from mmap import mmap

LAYER_3 = 1  # as a frame header codes it
MPEG_1, MPEG_2, MPEG_25 = 3, 2, 0  # likewise
KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # by index; 0: free
KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG 2 and 2.5
RATES = {MPEG_1: (44_100, 48_000, 32_000), MPEG_2: (22_050, 24_000, 16_000)}
RATES[MPEG_25] = (11_025, 12_000, 8_000)  # Hz, by index
LENGTH_TOLD = (b"Xing", b"Info")
HAS_FRAMES = 1  # flag of either


def length_told(content: bytes | mmap) -> bool:
    """Whether the first frame is a header with the number of frames; libsndfile then is exact."""
    at = _after_tags(content)
    frame = _frame(content, at)
    if frame is None:
        return False
    mono, first_version = content[at + 3] >> 6 == 3, content[at + 1] >> 3 & 3 == MPEG_1
    side = (17 if mono else 32) if first_version else (9 if mono else 17)  # bytes
    told = content[at + 4 + side : at + 12 + side]
    return told[:4] in LENGTH_TOLD and bool(told[-1] & HAS_FRAMES)


def counted(content: bytes | mmap) -> int | None:
    """Samples of all whole frames; None where something else lies between them."""
    at, samples = _after_tags(content), 0
    while frame := _frame(content, at):
        length, of_frame = frame
        if at + length > len(content):
            return samples  # cut short in its last frame, which no decoder gives
        at, samples = at + length, samples + of_frame
    trailer = content[at : at + 8]
    return samples if samples and (not trailer or trailer[:3] == b"TAG") else None


def _after_tags(content: bytes | mmap) -> int:
    """Past ID3v2, whose size has seven bits a byte."""
    at = 0
    while content[at : at + 3] == b"ID3" and len(content) >= at + 10:
        size = 0
        for byte in content[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if content[at + 5] & 0x10 else 0)  # a footer
    return at


def _frame(content: bytes | mmap, at: int) -> tuple[int, int] | None:
    """(bytes, samples) of the frame that starts here, if one does."""
    if len(content) < at + 4 or content[at] != 0xFF or content[at + 1] >> 5 != 7:
        return None
    version, layer = content[at + 1] >> 3 & 3, content[at + 1] >> 1 & 3
    bitrate, rate, padding = (
        content[at + 2] >> 4,
        content[at + 2] >> 2 & 3,
        content[at + 2] >> 1 & 1,
    )
    if version not in RATES or layer != LAYER_3 or rate == 3 or bitrate in (0, 15):
        return None
    if version == MPEG_1:
        return 144_000 * KBPS_1[bitrate] // RATES[version][rate] + padding, 1152
    return 72_000 * KBPS_2[bitrate] // RATES[version][rate] + padding, 576
