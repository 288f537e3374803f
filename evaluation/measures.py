"""What is measured: name, meaning and direction of every column of the tables."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Measure:
    """A column.

    Args:
        name: Its name in CSV and JSON.
        title: Its name in tables for people.
        definition: What it is, in one sentence without a stop.
        better: Which values are better; None where that is no question.
        decimals: Digits after the point in tables for people.
    """

    name: str
    title: str
    definition: str
    better: Literal["lower", "higher"] | None
    decimals: int = 3

    @property
    def heading(self) -> str:
        """Title with an arrow that points to the better values."""
        return self.title + {"lower": " ↓", "higher": " ↑", None: ""}[self.better]


_CFG = "CondFoleyGen: librosa onset_detect, 22.05 kHz mono, delta 0.3"
_F_MEASURE = "mir_eval.onset.f_measure"
_E_L1 = "mean absolute difference of the RMS, window 512, hop 128"
_HIT_SHAPE = (
    ("attack", "attack (ms)", "ms", "the time from where the level last rises through 20 dB below the peak to it", 1),
    ("decay", "decay (ms)", "ms", "the time from the peak to 20 dB below it, at most to the next hit", 1),
    ("brightness", "brightness (Hz)", "hz", "the spectral centroid of the 100 ms from 5 ms before the peak", 0),
    ("level", "peak level (dB)", "db", "the largest RMS of 2 ms, every 0.5 ms, in dB of full scale", 1),
)
"""Name, title, unit, definition and decimals of what a hit is described by; the level is the RMS of 2 ms throughout."""
MEASURES = (
    Measure("e_l1_stable_v2a_44khz", "E-L1 44.1 kHz (Stable-V2A)", f"{_E_L1}, of 44.1 kHz mono", "lower", 4),
    Measure(
        "e_l1_video_foley_16khz",
        "E-L1 16 kHz (Video-Foley)",
        f"{_E_L1}, of 16 kHz mono reflected by 192 samples at its ends",
        "lower",
        4,
    ),
    Measure("rms_correlation", "RMS correlation", "Pearson correlation of the 16 kHz envelopes", "higher"),
    Measure(
        "onset_detection_accuracy",
        "Onset detection accuracy",
        f"share of reference onsets met within less than 0.1 s ({_CFG}, neighbours within 0.05 s suppressed)",
        "higher",
    ),
    Measure(
        "onset_average_precision",
        "Onset AP",
        "average precision of the same matches, confidence being the peak of min-max-normalised |wave| within ±0.05 s; "
        "as published: missed onsets count as found with confidence 0",
        "higher",
    ),
    Measure(
        "onset_average_precision_all",
        "Onset AP, all onsets",
        "the same with recall over all reference onsets: missed onsets count as never found",
        "higher",
    ),
    Measure("onset_number_accuracy", "Onset number accuracy", "1 where the numbers of onsets are equal", "higher"),
    *(
        Measure(f"onset_{name.lower()}_{ms}ms", f"Onset {name} ({s} s)", f"{_F_MEASURE}, window {s} s", "higher")
        for s, ms in ((0.1, 100), (0.05, 50))
        for name in ("precision", "recall", "F1")
    ),
    Measure("onset_error_ms", "Onset error (ms)", "median distance of onsets matched within 0.1 s", "lower", 1),
    Measure("n_onsets_reference", "Reference onsets", "annotated, or detected in the reference sound", None, 1),
    Measure("n_onsets_generated", "Generated onsets", "detected in the generated sound", None, 1),
    *(
        Measure(
            f"hit_{name}_{which}_{unit}", f"Hit {title}, {which}", f"median over hits of {definition}", None, decimals
        )
        for name, title, unit, definition, decimals in _HIT_SHAPE
        for which in ("reference", "generated")
    ),
    *(
        Measure(
            f"hit_{name}_difference_{'octaves' if name == 'brightness' else unit}",
            f"Hit {'brightness (octaves)' if name == 'brightness' else title}, difference",
            f"median over hits matched within 0.1 s of the {name} in the generated sound less that in the reference",
            None,
            decimals if name != "brightness" else 2,
        )
        for name, title, unit, _, decimals in _HIT_SHAPE
    ),
    Measure("stft_distance", "Multi-resolution STFT distance", "sum of the two that follow", "lower"),
    Measure(
        "stft_spectral_convergence",
        "STFT spectral convergence",
        "‖R - G‖ / ‖R‖ of magnitudes, 44.1 kHz mono, mean over FFT sizes 512, 1024, 2048, Hann, hop a quarter",
        "lower",
    ),
    Measure(
        "stft_log_magnitude",
        "STFT log magnitude",
        "mean |ln R - ln G| of the same, magnitudes at least 1e-4",
        "lower",
    ),
    Measure(
        "log_mel_distance_db",
        "Log-mel distance (dB)",
        "mean absolute difference of 128 mel levels, 44.1 kHz mono, FFT 2048, hop 512, levels at least -80 dB",
        "lower",
        2,
    ),
    Measure(
        "loudness_difference_lu",
        "Loudness difference (LU)",
        "loudness of the generated sound less that of the reference",
        None,
        2,
    ),
    Measure("loudness_reference_lufs", "Loudness, reference (LUFS)", "integrated loudness, ITU-R BS.1770-4", None, 2),
    Measure("loudness_generated_lufs", "Loudness, generated (LUFS)", "integrated loudness, ITU-R BS.1770-4", None, 2),
    Measure("clipped", "Clipped", "1 where the generated sound stays at full scale for 3 samples or more", "lower"),
    Measure("silent", "Silent", "1 where no sample of the generated sound reaches -60 dB of full scale", "lower"),
    Measure("clap_audio_audio", "CLAP audio-audio", "cosine of the LAION-CLAP embeddings of both sounds", "higher"),
    Measure("clap_text_audio", "CLAP text-audio", "cosine of the LAION-CLAP embeddings of prompt and sound", "higher"),
)
"""All columns with numbers; those of CLAP need its weights."""
