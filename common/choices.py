"""Names that options may have, in a module that imports nothing, so that `--help` is quick."""

from typing import Literal, get_args

SAMPLERS = ("dpmpp-3m-sde", "dpmpp-2m", "euler")
DTYPES = ("float32", "bfloat16", "float16")
INT8 = "int8"
"""8-bit weights of the layers, and bfloat16 elsewhere: for sampling on a processor."""
SAMPLING_DTYPES = (*DTYPES, INT8)
SOUND_FORMATS = ("wav", "flac")
BIT_DEPTHS = (16, 24, 32)
VIDEO_FORMATS = ("mp4", "mov", "mkv")
PictureCodec = Literal["auto", "copy", "h264", "prores"]
"""How the picture is written: copied if a container holds it and else H.264 (`auto`), copied, H.264, ProRes 4444."""
PICTURE_CODECS: tuple[PictureCodec, ...] = get_args(PictureCodec)
DEFAULT_QUALITY = 18
"""Constant rate factor of H.264."""
PEAKS = ("limit", "soften", "clip")
"""What becomes of peaks above full scale."""
