/* Kernel: the arithmetic of spectrum.py, on several frames at a time, one in each lane of a vector.

   In:   samples, of which the window of each frame sees a stretch; tables made by compiled.py.
   Out:  rows of amplitude, power or mel, scaled, for one or more settings at once.
   Not here: which frames there are (spectrum.py); the same by numpy, where nothing is compiled.

   Every lane goes through the same operations, so that no frame depends on its neighbours.
*/

#include <float.h>
#include <math.h>
#include <string.h>

#include "vectors.h"

enum { NONE, LOG1P, LOG }; /* scales */

struct transform {
    int32_t length;        /* of the window */
    int32_t points;        /* of a complex transform: half of n_fft */
    const float *window;   /* (length), halved */
    const float *twiddles; /* three cosines and sines for each butterfly of each radix-4 pass */
    const float *turns;    /* (points / 2 + 1, 2): cosine and sine of -2 pi k / n_fft */
    const int32_t *places; /* (points): where the passes leave frequency k */
    lanes *scratch;        /* (3 * points + 1): of the transform, and its power */
};

struct rows {
    int32_t bins;
    int32_t points;         /* bins of the power, less 1 */
    int32_t root;           /* amplitude without a logarithm */
    int32_t scale;
    float floor, factor;    /* of LOG: factor * log(max(x, floor)) */
    const int32_t *filters; /* (points + 1): the first filter that holds a bin; null: no mel */
    const float *weights;   /* (points + 1, 2): of that filter and of the next */
    lanes *scratch;         /* (bins + 1) */
    float *out;             /* (frames, bins) */
};

/* Frames at a time; 0 on a CPU that cannot run this. */
int32_t supported_lanes(void)
{
#ifdef AVX2
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? LANES : 0;
#else
    return LANES;
#endif
}

/* Eight vectors of eight lanes: lane n becomes row n. */
#if defined(AVX2) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define TRANSPOSES
PART void transpose(const lanes *v, float *out, ptrdiff_t stride)
{
    lanes a[8], b[8];
    for (int n = 0; n < 8; n += 2) {
        a[n] = __builtin_shufflevector(v[n], v[n + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        a[n + 1] = __builtin_shufflevector(v[n], v[n + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int n = 0; n < 8; n += 4)
        for (int m = 0; m < 2; m++) {
            lanes x = a[n + m], y = a[n + m + 2];
            b[n + 2 * m] = __builtin_shufflevector(x, y, 0, 1, 8, 9, 4, 5, 12, 13);
            b[n + 2 * m + 1] = __builtin_shufflevector(x, y, 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int n = 0; n < 4; n++) {
        lanes low = __builtin_shufflevector(b[n], b[n + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        lanes high = __builtin_shufflevector(b[n], b[n + 4], 4, 5, 6, 7, 12, 13, 14, 15);
        *(anywhere *)(out + n * stride) = low;
        *(anywhere *)(out + (n + 4) * stride) = high;
    }
}
#endif
#endif

/* Even samples are the real parts, odd ones the imaginary: half as long a complex transform. */
PART void load(
    const struct transform *t, const float *samples, ptrdiff_t hop, int here, float *restrict re,
    float *restrict im)
{
    const float *row[LANES];
    for (int lane = 0; lane < LANES; lane++)
        row[lane] = samples + (lane < here ? lane : 0) * hop;
    const float *window = t->window;
    int length = t->length, n = 0;
#ifdef TRANSPOSES
    for (; n + LANES <= length; n += LANES) {
        lanes seen[LANES], turned[LANES];
        for (int lane = 0; lane < LANES; lane++)
            seen[lane] = *(const anywhere *)(row[lane] + n);
        transpose(seen, (float *)turned, LANES);
        for (int m = 0; m < LANES; m += 2) {
            *(lanes *)(re + (n + m) / 2 * LANES) = turned[m] * window[n + m];
            *(lanes *)(im + (n + m) / 2 * LANES) = turned[m + 1] * window[n + m + 1];
        }
    }
#endif
    for (; n + 1 < length; n += 2)
        for (int lane = 0; lane < LANES; lane++) {
            re[n / 2 * LANES + lane] = row[lane][n] * window[n];
            im[n / 2 * LANES + lane] = row[lane][n + 1] * window[n + 1];
        }
    for (int m = n / 2 * LANES; m < t->points * LANES; m++)
        re[m] = im[m] = 0;
    if (n < length)
        for (int lane = 0; lane < LANES; lane++)
            re[n / 2 * LANES + lane] = row[lane][n] * window[n];
}

/* a, b, c, d at distance q -> their transform of four points, whose last three are turned by w. */
PART void butterfly(lanes *re, lanes *im, int q, const float *w)
{
    float cos1 = w[0], sin1 = w[1], cos2 = w[2], sin2 = w[3], cos3 = w[4], sin3 = w[5];
    lanes ar = re[0] + re[2 * q], ai = im[0] + im[2 * q];
    lanes cr = re[0] - re[2 * q], ci = im[0] - im[2 * q];
    lanes br = re[q] + re[3 * q], bi = im[q] + im[3 * q];
    lanes dr = re[q] - re[3 * q], di = im[q] - im[3 * q];
    lanes xr = cr + di, xi = ci - dr, yr = ar - br, yi = ai - bi, zr = cr - di, zi = ci + dr;
    re[0] = ar + br;
    im[0] = ai + bi;
    re[q] = xr * cos1 - xi * sin1;
    im[q] = xr * sin1 + xi * cos1;
    re[2 * q] = yr * cos2 - yi * sin2;
    im[2 * q] = yr * sin2 + yi * cos2;
    re[3 * q] = zr * cos3 - zi * sin3;
    im[3 * q] = zr * sin3 + zi * cos3;
}

/* In place, decimated in frequency: radix 4, and in the end 2 where the points are no power of 4. */
PART void transform_lanes(const struct transform *t, lanes *re, lanes *im)
{
    static const float still[6] = {1, 0, 1, 0, 1, 0};
    const float *w = t->twiddles;
    int span = t->points;
    for (; span > 4; span /= 4)
        for (int j = 0; j < span / 4; j++, w += 6)
            for (int p = j; p < t->points; p += span)
                butterfly(re + p, im + p, span / 4, w);
    for (int p = 0; p < t->points; p += span)
        if (span == 4)
            butterfly(re + p, im + p, 1, still);
        else {
            lanes br = re[p] - re[p + 1], bi = im[p] - im[p + 1];
            re[p] += re[p + 1];
            im[p] += im[p + 1];
            re[p + 1] = br;
            im[p + 1] = bi;
        }
}

/* The complex transform is that of the even samples and that of the odd ones, folded together.
   The window was halved, because both are twice as large here. */
PART void unfold(const struct transform *t, const lanes *re, const lanes *im, lanes *power)
{
    int points = t->points;
    lanes sum = (re[0] + im[0]) * 2, difference = (re[0] - im[0]) * 2;
    power[0] = sum * sum;
    power[points] = difference * difference;
    for (int k = 1; k <= points / 2; k++) {
        int a = t->places[k], b = t->places[points - k];
        float c = t->turns[2 * k], s = t->turns[2 * k + 1];
        lanes even_r = re[a] + re[b], even_i = im[a] - im[b];
        lanes odd_r = im[a] + im[b], odd_i = re[b] - re[a];
        lanes turned_r = odd_r * c - odd_i * s, turned_i = odd_r * s + odd_i * c;
        lanes xr = even_r + turned_r, xi = even_i + turned_i;
        lanes yr = even_r - turned_r, yi = even_i - turned_i;
        power[k] = xr * xr + xi * xi;
        power[points - k] = yr * yr + yi * yi;
    }
}

/* Cephes' logf of a normal positive number: off by one unit of the last place at most. */
PART float natural_logarithm(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits -= 0x3f3504f3; /* sqrt(1/2): what is left of x below is from there to sqrt(2) */
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

/* What is infinite or no number stays so, as whoever asked for it checks that. */
PART void scale(const struct rows *r, float *values, int count)
{
    float floor = r->floor, factor = r->factor;
    if (r->root)
        for (int n = 0; n < count; n++)
            values[n] = sqrtf(values[n]);
    if (r->scale == LOG)
        for (int n = 0; n < count; n++) {
            float x = values[n] < floor ? floor : values[n];
            values[n] = x <= FLT_MAX ? factor * natural_logarithm(x) : x;
        }
    if (r->scale == LOG1P)
        for (int n = 0; n < count; n++) {
            float x = values[n], u = 1 + x; /* what u rounds away of x is added again */
            values[n] = x <= FLT_MAX ? natural_logarithm(u) + (x - (u - 1)) / u : x;
        }
}

PART void filter(const struct rows *r, const lanes *power, lanes *mel)
{
    memset(mel, 0, sizeof(lanes) * (size_t)(r->bins + 1));
    for (int k = 0; k <= r->points; k++) {
        lanes *to = mel + r->filters[k];
        to[0] += power[k] * r->weights[2 * k];
        to[1] += power[k] * r->weights[2 * k + 1];
    }
}

/* `here` lanes of power -> so many rows. */
WIDE
void rows_from_power(const struct rows *r, const lanes *power, int here, float *out)
{
    if (r->filters)
        filter(r, power, r->scratch);
    else
        memcpy(r->scratch, power, sizeof(lanes) * (size_t)r->bins);
    const float *scaled = (const float *)r->scratch;
    scale(r, (float *)r->scratch, r->bins * LANES);
    int bins = r->bins, bin = 0;
#ifdef TRANSPOSES
    if (here == LANES)
        for (; bin + LANES <= bins; bin += LANES)
            transpose(r->scratch + bin, out + bin, bins);
#endif
    for (; bin < bins; bin++)
        for (int lane = 0; lane < here; lane++)
            out[lane * bins + bin] = scaled[bin * LANES + lane];
}

/* `count` frames, `hop` samples apart, from the first one's window on. */
WIDE
void compute_rows(
    const struct transform *t, const struct rows *outputs, int32_t number, const float *samples,
    ptrdiff_t hop, ptrdiff_t count)
{
    lanes *re = t->scratch, *im = re + t->points, *power = im + t->points;
    for (ptrdiff_t row = 0; row < count; row += LANES) {
        int here = count - row < LANES ? (int)(count - row) : LANES;
        load(t, samples + row * hop, hop, here, (float *)re, (float *)im);
        transform_lanes(t, re, im);
        unfold(t, re, im, power);
        for (int32_t n = 0; n < number; n++)
            rows_from_power(outputs + n, power, here, outputs[n].out + row * outputs[n].bins);
    }
}
