"""Sound for silent videos: ``FoleyPipeline.from_checkpoint()``, then ``pipeline(video)``."""

from video2audio.pipeline import FoleyPipeline
from video2audio.request import FoleyRequest
from video2audio.result import FoleyResult

__all__ = ["FoleyPipeline", "FoleyRequest", "FoleyResult"]
