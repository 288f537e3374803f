"""The film that stands for a sequence of images while its sound is made."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from tqdm import tqdm

from common.errors import printable
from media.images import Images, write_film
from media.picture_encode import EncodedCodec

log = logging.getLogger(__name__)

_NUMBER = re.compile(r"%\d*d")


@dataclass(frozen=True, eq=False)
class Film:
    """A film in a temporary folder, which goes with this object.

    Args:
        path: The film, named like the images.
        folder: The temporary folder.
    """

    path: Path
    folder: TemporaryDirectory[str]

    @classmethod
    def of(cls, images: Images, frame_rate_hz: float | None, codec: EncodedCodec, quality: int) -> Self:
        """Make the film of images.

        Args:
            images: The images.
            frame_rate_hz: Frames per second of image files.
            codec: Codec of the film; ProRes keeps an alpha channel.
            quality: Constant rate factor of H.264.

        Raises:
            InputError: There is no frame rate, or an image cannot be used.
        """
        folder = TemporaryDirectory(prefix="video2audio-")
        path = Path(folder.name) / f"{film_name(images.path)}{'.mov' if codec == 'prores' else '.mp4'}"
        with tqdm(total=100, desc="images", unit="%", leave=False, disable=None) as bar:
            has_alpha = write_film(
                images,
                path,
                frame_rate_hz=frame_rate_hz,
                codec=codec,
                quality=quality,
                on_progress=lambda share: bar.update(int(100 * share) - bar.n),
            )
        if has_alpha and codec != "prores":
            log.warning("%s: H.264 has no transparency; --codec prores keeps it", printable(images.path))
        return cls(path, folder)


def film_name(path: Path) -> str:
    """Return a name for the film of a folder, of a pattern such as ``take_%04d.png``, or of a file."""
    if path.is_dir():
        return path.absolute().name
    return _NUMBER.sub("", path.stem).strip("_-. ") or path.absolute().parent.name
