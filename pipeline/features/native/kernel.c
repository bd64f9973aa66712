/* kernel.c: waveform -> feature rows, LANES frames at a time, one frame in each lane of a vector.

   In:   samples; tables and sizes that kernels.py prepares.
   Out:  rows of amplitude, power or mel, scaled, for one or more settings at once.
   Not here: which samples belong to a frame (framing.py); the same in NumPy (stft.py).

   Every lane does the same operations, so a frame does not depend on the frames beside it.
*/

#include <float.h>
#include <math.h>
#include <string.h>

#include "vectors.h"

enum { SCALE_NONE, SCALE_LOG1P, SCALE_LOG };

struct fft_plan {
    int32_t window_length;           /* samples */
    int32_t points;                  /* complex points: half of n_fft */
    const float *window;             /* (window_length), multiplied by 1/2 */
    const float *butterfly_twiddles; /* cos and sin, three pairs per butterfly and radix-4 pass */
    const float *real_fft_twiddles;  /* (points / 2 + 1, 2): cos and sin of -2 pi k / n_fft */
    const int32_t *digit_reversal;   /* (points): the index at which the passes leave frequency k */
    float_lanes *scratch;            /* (3 * points + 1): real part, imaginary part, power */
};

struct feature_output {
    int32_t bins;
    int32_t points;              /* bins of the power spectrum, minus 1 */
    int32_t take_sqrt;           /* 1 for amplitude without a logarithm */
    int32_t scale;
    float log_floor, log_factor; /* SCALE_LOG: log_factor * log(max(x, log_floor)) */
    const int32_t *first_filters; /* (points + 1): first mel filter of each bin; null without mel */
    const float *filter_weights; /* (points + 1, 2): weights of that filter and of the next one */
    float_lanes *scratch;        /* (bins + 1) */
    float *out;                  /* (frames, bins) */
};

/* Return the number of frames computed at a time, or 0 when this CPU cannot run the library. */
int32_t supported_lanes(void)
{
#ifdef AVX2
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? LANES : 0;
#else
    return LANES;
#endif
}

/* Transpose eight vectors of eight values: lane n becomes row n. */
#if defined(AVX2) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define HAVE_TRANSPOSE
ALWAYS_INLINE void transpose(const float_lanes *in, float *out, ptrdiff_t stride)
{
    float_lanes a[8], b[8];
    for (int n = 0; n < 8; n += 2) {
        a[n] = __builtin_shufflevector(in[n], in[n + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        a[n + 1] = __builtin_shufflevector(in[n], in[n + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int n = 0; n < 8; n += 4)
        for (int m = 0; m < 2; m++) {
            float_lanes x = a[n + m], y = a[n + m + 2];
            b[n + 2 * m] = __builtin_shufflevector(x, y, 0, 1, 8, 9, 4, 5, 12, 13);
            b[n + 2 * m + 1] = __builtin_shufflevector(x, y, 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int n = 0; n < 4; n++) {
        float_lanes low = __builtin_shufflevector(b[n], b[n + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        float_lanes high = __builtin_shufflevector(b[n], b[n + 4], 4, 5, 6, 7, 12, 13, 14, 15);
        *(float_lanes_unaligned *)(out + n * stride) = low;
        *(float_lanes_unaligned *)(out + (n + 4) * stride) = high;
    }
}
#endif
#endif

/* Window the frames. Even samples become real parts, odd samples imaginary parts, so that the
   complex transform has half the length. Unused lanes repeat the first frame. */
ALWAYS_INLINE void load_windows(
    const struct fft_plan *t, const float *samples, ptrdiff_t hop, int frame_count,
    float *restrict re, float *restrict im)
{
    const float *windows[LANES];
    for (int lane = 0; lane < LANES; lane++)
        windows[lane] = samples + (lane < frame_count ? lane : 0) * hop;
    const float *window = t->window;
    int length = t->window_length, n = 0;
#ifdef HAVE_TRANSPOSE
    for (; n + LANES <= length; n += LANES) {
        float_lanes loaded[LANES], transposed[LANES];
        for (int lane = 0; lane < LANES; lane++)
            loaded[lane] = *(const float_lanes_unaligned *)(windows[lane] + n);
        transpose(loaded, (float *)transposed, LANES);
        for (int m = 0; m < LANES; m += 2) {
            *(float_lanes *)(re + (n + m) / 2 * LANES) = transposed[m] * window[n + m];
            *(float_lanes *)(im + (n + m) / 2 * LANES) = transposed[m + 1] * window[n + m + 1];
        }
    }
#endif
    for (; n + 1 < length; n += 2)
        for (int lane = 0; lane < LANES; lane++) {
            re[n / 2 * LANES + lane] = windows[lane][n] * window[n];
            im[n / 2 * LANES + lane] = windows[lane][n + 1] * window[n + 1];
        }
    for (int m = n / 2 * LANES; m < t->points * LANES; m++)
        re[m] = im[m] = 0;
    if (n < length)
        for (int lane = 0; lane < LANES; lane++)
            re[n / 2 * LANES + lane] = windows[lane][n] * window[n];
}

/* Transform four points at distance q; the last three results are multiplied by the twiddles w. */
ALWAYS_INLINE void butterfly(float_lanes *re, float_lanes *im, int q, const float *w)
{
    float cos1 = w[0], sin1 = w[1], cos2 = w[2], sin2 = w[3], cos3 = w[4], sin3 = w[5];
    float_lanes ar = re[0] + re[2 * q], ai = im[0] + im[2 * q];
    float_lanes cr = re[0] - re[2 * q], ci = im[0] - im[2 * q];
    float_lanes br = re[q] + re[3 * q], bi = im[q] + im[3 * q];
    float_lanes dr = re[q] - re[3 * q], di = im[q] - im[3 * q];
    float_lanes xr = cr + di, xi = ci - dr, yr = ar - br, yi = ai - bi, zr = cr - di, zi = ci + dr;
    re[0] = ar + br;
    im[0] = ai + bi;
    re[q] = xr * cos1 - xi * sin1;
    im[q] = xr * sin1 + xi * cos1;
    re[2 * q] = yr * cos2 - yi * sin2;
    im[2 * q] = yr * sin2 + yi * cos2;
    re[3 * q] = zr * cos3 - zi * sin3;
    im[3 * q] = zr * sin3 + zi * cos3;
}

/* Complex FFT in place, decimation in frequency: radix-4 passes, and a last radix-2 pass when
   `points` is not a power of 4. */
ALWAYS_INLINE void complex_fft(const struct fft_plan *t, float_lanes *re, float_lanes *im)
{
    static const float unit_twiddles[6] = {1, 0, 1, 0, 1, 0};
    const float *w = t->butterfly_twiddles;
    int span = t->points;
    for (; span > 4; span /= 4)
        for (int j = 0; j < span / 4; j++, w += 6)
            for (int p = j; p < t->points; p += span)
                butterfly(re + p, im + p, span / 4, w);
    for (int p = 0; p < t->points; p += span)
        if (span == 4)
            butterfly(re + p, im + p, 1, unit_twiddles);
        else {
            float_lanes br = re[p] - re[p + 1], bi = im[p] - im[p + 1];
            re[p] += re[p + 1];
            im[p] += im[p + 1];
            re[p + 1] = br;
            im[p + 1] = bi;
        }
}

/* Separate the transforms of the even and of the odd samples, and add them to the spectrum of the
   real signal. Both come out twice as large, therefore the window was multiplied by 1/2. */
ALWAYS_INLINE void real_power_spectrum(
    const struct fft_plan *t, const float_lanes *re, const float_lanes *im, float_lanes *power)
{
    int points = t->points;
    float_lanes sum = (re[0] + im[0]) * 2, difference = (re[0] - im[0]) * 2;
    power[0] = sum * sum;
    power[points] = difference * difference;
    for (int k = 1; k <= points / 2; k++) {
        int a = t->digit_reversal[k], b = t->digit_reversal[points - k];
        float c = t->real_fft_twiddles[2 * k], s = t->real_fft_twiddles[2 * k + 1];
        float_lanes even_r = re[a] + re[b], even_i = im[a] - im[b];
        float_lanes odd_r = im[a] + im[b], odd_i = re[b] - re[a];
        float_lanes rotated_r = odd_r * c - odd_i * s, rotated_i = odd_r * s + odd_i * c;
        float_lanes xr = even_r + rotated_r, xi = even_i + rotated_i;
        float_lanes yr = even_r - rotated_r, yi = even_i - rotated_i;
        power[k] = xr * xr + xi * xi;
        power[points - k] = yr * yr + yi * yi;
    }
}

/* Natural logarithm of a normal positive number (logf of the Cephes library, Moshier): at most one
   unit in the last place away from the true value. */
ALWAYS_INLINE float natural_log(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits -= 0x3f3504f3; /* sqrt(1/2): the mantissa m lies between it and sqrt(2) */
    float exponent = (float)((int32_t)bits >> 23), m;
    bits = (bits & 0x7fffff) + 0x3f3504f3;
    memcpy(&m, &bits, 4);
    m -= 1;
    float z = m * m, y = 7.0376836292e-2f;
    y = y * m - 1.1514610310e-1f;
    y = y * m + 1.1676998740e-1f;
    y = y * m - 1.2420140846e-1f;
    y = y * m + 1.4249322787e-1f;
    y = y * m - 1.6668057665e-1f;
    y = y * m + 2.0000714765e-1f;
    y = y * m - 2.4999993993e-1f;
    y = y * m + 3.3333331174e-1f;
    y = y * m * z + exponent * -2.12194440e-4f - z * 0.5f;
    return m + y + exponent * 0.693359375f;
}

/* Apply the scale in place. Infinity and NaN stay as they are: framing.py checks for them. */
ALWAYS_INLINE void apply_scale(const struct feature_output *r, float *values, int count)
{
    float floor = r->log_floor, factor = r->log_factor;
    if (r->take_sqrt)
        for (int n = 0; n < count; n++)
            values[n] = sqrtf(values[n]);
    if (r->scale == SCALE_LOG)
        for (int n = 0; n < count; n++) {
            float x = values[n] < floor ? floor : values[n];
            values[n] = x <= FLT_MAX ? factor * natural_log(x) : x;
        }
    if (r->scale == SCALE_LOG1P)
        for (int n = 0; n < count; n++) {
            float x = values[n], u = 1 + x; /* x - (u - 1): the part of x that u rounds away */
            values[n] = x <= FLT_MAX ? natural_log(u) + (x - (u - 1)) / u : x;
        }
}

ALWAYS_INLINE void apply_mel_filters(
    const struct feature_output *r, const float_lanes *power, float_lanes *mel)
{
    memset(mel, 0, sizeof(float_lanes) * (size_t)(r->bins + 1));
    for (int k = 0; k <= r->points; k++) {
        float_lanes *mel_pair = mel + r->first_filters[k];
        mel_pair[0] += power[k] * r->filter_weights[2 * k];
        mel_pair[1] += power[k] * r->filter_weights[2 * k + 1];
    }
}

/* Write one row for each of the first `frame_count` lanes of power. */
TARGET_AVX2
void rows_from_power(
    const struct feature_output *r, const float_lanes *power, int frame_count, float *out)
{
    if (r->first_filters)
        apply_mel_filters(r, power, r->scratch);
    else
        memcpy(r->scratch, power, sizeof(float_lanes) * (size_t)r->bins);
    const float *scaled = (const float *)r->scratch;
    apply_scale(r, (float *)r->scratch, r->bins * LANES);
    int bins = r->bins, bin = 0;
#ifdef HAVE_TRANSPOSE
    if (frame_count == LANES)
        for (; bin + LANES <= bins; bin += LANES)
            transpose(r->scratch + bin, out + bin, bins);
#endif
    for (; bin < bins; bin++)
        for (int lane = 0; lane < frame_count; lane++)
            out[lane * bins + bin] = scaled[bin * LANES + lane];
}

/* Compute the rows of `count` frames. `samples` is where the window of the first frame begins; the
   next windows begin `hop` samples later each. */
TARGET_AVX2
void compute_rows(
    const struct fft_plan *t, const struct feature_output *outputs, int32_t output_count,
    const float *samples, ptrdiff_t hop, ptrdiff_t count)
{
    float_lanes *re = t->scratch, *im = re + t->points, *power = im + t->points;
    for (ptrdiff_t row = 0; row < count; row += LANES) {
        int frame_count = count - row < LANES ? (int)(count - row) : LANES;
        load_windows(t, samples + row * hop, hop, frame_count, (float *)re, (float *)im);
        complex_fft(t, re, im);
        real_power_spectrum(t, re, im, power);
        for (int32_t n = 0; n < output_count; n++) {
            float *out = outputs[n].out + row * outputs[n].bins;
            rows_from_power(outputs + n, power, frame_count, out);
        }
    }
}
