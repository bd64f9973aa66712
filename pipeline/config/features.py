"""Settings of features: window, hop, spectrum, scale, storage.

In:   the section `features` of an experiment.   Out: a frozen model.
Not here: computing features (pipeline/features/).
"""

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.loader import Settings

Speed = Annotated[float, Field(ge=0.5, le=2)]


class FeatureSettings(Settings):
    """How a frame is computed. Window and hop are in milliseconds and do not depend on n_fft."""

    sample_rate: int = Field(
        default=16_000,
        ge=4_000,
        le=192_000,
        description="sample rate of the waveform; audio of another rate is resampled [Hz]",
    )
    spectrum: Literal["amplitude", "power", "mel"] = Field(
        default="mel",
        description="magnitude of the STFT, its square, or the power summed by mel filters",
    )
    scale: Literal["none", "log1p", "log", "decibel"] = Field(
        default="log",
        description="none; log(1 + x); natural logarithm; decibel (10 log10 of a power or mel, "
        "20 log10 of an amplitude)",
    )
    n_fft: int = Field(default=512, ge=16, le=65_536, description="length of the FFT [samples]")
    window: Literal["hann", "hamming", "blackman", "rectangular"] = Field(
        default="hann", description="window function"
    )
    window_ms: float = Field(
        default=25.0,
        gt=0,
        le=1000,
        description="length of the window: at least one sample, at most n_fft samples [ms]",
    )
    hop_ms: float = Field(
        default=10.0,
        gt=0,
        le=1000,
        description="distance from one frame to the next: at least one sample [ms]",
    )
    mel_bins: int = Field(
        default=80,
        ge=1,
        le=1024,
        description="number of mel filters; too many for n_fft leave empty filters, which are "
        "refused [bins]",
    )
    mel_low_hz: float = Field(
        default=0.0, ge=0, description="lower edge of the lowest mel filter [Hz]"
    )
    mel_high_hz: float | None = Field(
        default=None,
        gt=0,
        description="upper edge of the highest mel filter; null: half the sample rate [Hz]",
    )
    floor: float = Field(
        default=1e-10,
        gt=0,
        description="log and decibel: smaller powers or mel values are raised to this value, "
        "amplitudes to its square root [power]",
    )
    storage: Literal["float16", "float32", "uint8"] = Field(
        default="float16",
        description="number format of the shards; uint8: 8-bit codes with one scale per bin and "
        "128 frames",
    )
    speeds: tuple[Speed, ...] = Field(
        default=(),
        exclude_if=lambda speeds: not speeds,  # so that older identities stay valid
        description="speed perturbation: each training utterance is also stored resampled, as if "
        "played at these speeds; pitch changes too [ratio]",
    )

    @property
    def window_length(self) -> int:  # samples: 400
        return round(self.sample_rate * self.window_ms / 1000)

    @property
    def hop_length(self) -> int:  # samples: 160
        return round(self.sample_rate * self.hop_ms / 1000)

    @property
    def bins(self) -> int:
        """The number of values in a frame."""
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
            raise ValueError("list each speed once, without 1, which is always stored")
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
                raise ValueError(
                    f"{name} {getattr(self, name):g} is less than one sample; raise it"
                )
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
                f"mel_bins {self.mel_bins}: {empty} of the filters would be empty, because they "
                f"are narrower than the {self.sample_rate / self.n_fft:g} Hz between two FFT bins "
                f"of n_fft {self.n_fft}; lower mel_bins or raise n_fft"
            )
        return self

    @property
    def centres_hz(self) -> list[float]:
        """The centre of each bin in Hz: where a mel filter peaks, or an FFT bin's frequency."""
        if self.spectrum == "mel":
            return self.mel_edges_hz[1:-1]
        return [n * self.sample_rate / self.n_fft for n in range(self.bins)]

    @property
    def mel_edges_hz(self) -> list[float]:
        """The mel_bins + 2 edges in Hz: filter m starts at edge m, peaks at m + 1, ends at m + 2.

        They are evenly spaced on the HTK mel scale, 2595 log10(1 + hertz / 700).
        """
        ends = (self.mel_low_hz, self.mel_high_hz or self.sample_rate / 2)
        low, high = (2595 * math.log10(1 + hertz / 700) for hertz in ends)
        step = (high - low) / (self.mel_bins + 1)
        return [700 * (10 ** ((low + n * step) / 2595) - 1) for n in range(self.mel_bins + 2)]

    def _count_empty_filters(self) -> int:
        if self.spectrum != "mel":
            return 0
        points = [hertz * self.n_fft / self.sample_rate for hertz in self.mel_edges_hz]
        # A filter is empty if the first FFT bin above its start is not below its end.
        return sum(math.floor(a) + 1 >= b for a, b in zip(points, points[2:], strict=False))
