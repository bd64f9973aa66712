"""Settings of features: window, hop, spectrum, scale, storage.

In:   the section `features` of an experiment.   Out: a frozen model.
Not here: computing them (pipeline/features/).
"""

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.loader import Settings

Stride = Literal[1, 2, 3]


Speed = Annotated[float, Field(ge=0.5, le=2)]


class FeatureSettings(Settings):
    """What a frame is. Window and hop are in milliseconds, independent of n_fft."""

    sample_rate: int = Field(default=16_000, ge=4_000, le=192_000, description="Hz")
    spectrum: Literal["amplitude", "power", "mel"] = "mel"
    scale: Literal["none", "log1p", "log", "decibel"] = "log"
    n_fft: int = Field(default=512, ge=16, le=65_536, description="points of the FFT")
    window: Literal["hann", "hamming", "blackman", "rectangular"] = "hann"
    window_ms: float = Field(default=25.0, gt=0, le=1000)
    hop_ms: float = Field(default=10.0, gt=0, le=1000)
    mel_bins: int = Field(default=80, ge=1, le=1024)
    mel_low_hz: float = Field(default=0.0, ge=0)
    mel_high_hz: float | None = Field(default=None, gt=0, description="null: half the sample rate")
    floor: float = Field(default=1e-10, gt=0, description="smallest power or mel under a logarithm")
    storage: Literal["float16", "float32", "uint8"] = Field(
        default="float16",
        description="uint8: a code of 8 bits, each bin of 128 frames on its own scale",
    )
    speeds: tuple[Speed, ...] = Field(
        default=(),
        exclude_if=lambda speeds: not speeds,  # identities are older than this setting
        description="each training utterance is stored at these speeds too: resampled, as if "
        "played so fast",
    )

    @property
    def window_length(self) -> int:  # samples: 400
        return round(self.sample_rate * self.window_ms / 1000)

    @property
    def hop_length(self) -> int:  # samples: 160
        return round(self.sample_rate * self.hop_ms / 1000)

    @property
    def bins(self) -> int:
        return self.mel_bins if self.spectrum == "mel" else self.n_fft // 2 + 1

    @property
    def is_log_scale(self) -> bool:
        return self.scale in ("log", "decibel")

    @property
    def is_log_amplitude(self) -> bool:
        return self.spectrum == "amplitude" and self.is_log_scale

    @field_validator("speeds")
    @classmethod
    def _sort_speeds(cls, speeds: tuple[float, ...]) -> tuple[float, ...]:
        if len({1.0, *speeds}) <= len(speeds):
            raise ValueError("each speed once, and not 1, at which all is stored anyway")
        return tuple(sorted(speeds))

    @model_validator(mode="after")
    def _check_frame_settings(self) -> "FeatureSettings":
        if self.window_length > self.n_fft:
            raise ValueError(
                f"window_ms {self.window_ms:g} is {self.window_length} samples at "
                f"{self.sample_rate} Hz, more than n_fft {self.n_fft}; raise n_fft"
            )
        for name, samples in (("window_ms", self.window_length), ("hop_ms", self.hop_length)):
            if samples < 1:
                raise ValueError(f"{name} {getattr(self, name):g} is less than one sample")
        nyquist = self.sample_rate / 2
        if (self.mel_high_hz or nyquist) > nyquist or self.mel_low_hz >= (
            self.mel_high_hz or nyquist
        ):
            raise ValueError(
                f"mel_low_hz {self.mel_low_hz:g} and mel_high_hz {self.mel_high_hz} must ascend "
                f"and stay within {nyquist:g} Hz, half the sample rate"
            )
        if empty := self._count_empty_filters():
            raise ValueError(
                f"mel_bins {self.mel_bins}: {empty} of the filters, narrower than the "
                f"{self.sample_rate / self.n_fft:g} Hz between the points of n_fft {self.n_fft}, "
                "would hold nothing; lower mel_bins or raise n_fft"
            )
        return self

    @property
    def mel_edges_hz(self) -> list[float]:
        """Hz, where each filter begins, the next has its peak and the one before it ends."""
        ends = (self.mel_low_hz, self.mel_high_hz or self.sample_rate / 2)
        low, high = (2595 * math.log10(1 + hertz / 700) for hertz in ends)
        step = (high - low) / (self.mel_bins + 1)
        return [700 * (10 ** ((low + n * step) / 2595) - 1) for n in range(self.mel_bins + 2)]

    def _count_empty_filters(self) -> int:
        if self.spectrum != "mel":
            return 0
        points = [hertz * self.n_fft / self.sample_rate for hertz in self.mel_edges_hz]
        # The first point above where a filter begins lies at or above where it ends.
        return sum(math.floor(a) + 1 >= b for a, b in zip(points, points[2:], strict=False))
