/* Rows: what is made of them when they are kept.

   In:   rows of float32.
   Out:  the same in float16; the sums of products that a covariance is made from.
   Not here: where rows come from (kernel.c); the same by numpy (storage.py, statistics.py).
*/

#include <string.h>

#include "vectors.h"

/* float16: to the nearest, ties to even; numpy's astype, bit for bit, but for what is no number. */
PART uint16_t half(float value)
{
    uint32_t bits, small;
    memcpy(&bits, &value, 4);
    uint32_t sign = bits & 0x80000000;
    bits ^= sign;
    /* Adding 1/2 leaves a subnormal's bits where they belong, rounded. */
    float magnitude, sum;
    memcpy(&magnitude, &bits, 4);
    sum = magnitude + 0.5f;
    memcpy(&small, &sum, 4);
    small -= 0x3f000000;
    uint32_t normal = (bits + 0xc8000fff + ((bits >> 13) & 1)) >> 13;
    uint32_t large = bits > 0x7f800000 ? 0x7e00 : 0x7c00;
    uint32_t found = bits < 0x38800000 ? small : bits < 0x47800000 ? normal : large;
    return (uint16_t)(found | sign >> 16);
}

/* `counts`: of values above the first bound, of those not above the second, of zeros. */
WIDE
void convert_to_float16(
    const float *values, ptrdiff_t count, const float *bounds, uint16_t *out, int64_t *counts)
{
    float most = bounds[0], least = bounds[1];
    ptrdiff_t n = 0;
    memset(counts, 0, 3 * sizeof *counts);
#ifdef AVX2
    wholes above = {0}, below = {0}, zeros = {0};
    for (; n + LANES <= count; n += LANES) {
        lanes seen = *(const anywhere *)(values + n);
        short found __attribute__((vector_size(16))) = __builtin_ia32_vcvtps2ph256(seen, 0);
        memcpy(out + n, &found, sizeof found);
        above -= seen > most; /* true is -1 */
        below -= seen <= least;
        zeros -= seen == 0;
    }
    for (int lane = 0; lane < LANES; lane++) {
        counts[0] += above[lane];
        counts[1] += below[lane];
        counts[2] += zeros[lane];
    }
#endif
    for (; n < count; n++) {
        out[n] = half(values[n]);
        counts[0] += values[n] > most;
        counts[1] += values[n] <= least;
        counts[2] += values[n] == 0;
    }
}

/* A panel: so many neighbouring columns of some rows, one row after the other. */
enum { DEEP = 4, VECTORS = 3, PANEL = VECTORS * LANES };

int32_t panel_columns(void)
{
    return PANEL;
}

/* DEEP columns of one panel times some vectors of another, summed over rows: as many sums as there
   are registers. In float32 over the rows of a block, in float64 over blocks. */
PART void multiply(
    const float *a, const float *b, int rows, int vectors, double *to, ptrdiff_t stride)
{
    lanes sums[DEEP][VECTORS];
    for (int i = 0; i < DEEP; i++)
        for (int v = 0; v < vectors; v++)
            sums[i][v] = (lanes){0};
    for (int row = 0; row < rows; row++, a += PANEL, b += PANEL)
        for (int i = 0; i < DEEP; i++)
            for (int v = 0; v < vectors; v++)
                sums[i][v] += a[i] * *(const lanes *)(b + v * LANES);
    for (int i = 0; i < DEEP; i++)
        for (int v = 0; v < vectors; v++)
            for (int lane = 0; lane < LANES; lane++)
                to[i * stride + v * LANES + lane] += (double)sums[i][v][lane];
}

/* Rows less `mean`; after the last bin a one, with which every bin is summed as well. */
PART void pack(const float *row, const float *mean, int rows, int32_t bins, int here, float *to)
{
    lanes near[VECTORS];
    if (here < PANEL) {
        for (; rows--; row += bins, to += PANEL)
            for (int n = 0; n < PANEL; n++)
                to[n] = n < here ? row[n] - mean[n] : (float)(n == here);
        return;
    }
    for (int v = 0; v < VECTORS; v++)
        near[v] = *(const anywhere *)(mean + v * LANES);
    for (; rows--; row += bins, to += PANEL)
        for (int v = 0; v < VECTORS; v++)
            *(lanes *)(to + v * LANES) = *(const anywhere *)(row + v * LANES) - near[v];
}

/* Adds to `sums`, padded to whole panels both ways, the products of all columns with those that are
   not before them. `packed` has room for `most` rows, padded as well. */
WIDE
void accumulate_products(
    const float *rows, ptrdiff_t count, int32_t bins, const float *mean, int32_t most,
    float *packed, double *sums)
{
    int panels = bins / PANEL + 1; /* of the bins, and the one */
    ptrdiff_t stride = (ptrdiff_t)panels * PANEL, size = (ptrdiff_t)most * PANEL;
    for (; count > 0; rows += (ptrdiff_t)most * bins, count -= most) {
        int here = count < most ? (int)count : most;
        for (int n = 0; n < panels; n++) {
            int from = n * PANEL, some = bins - from < PANEL ? bins - from : PANEL;
            pack(rows + from, mean + from, here, bins, some, packed + n * size);
        }
        for (int n = 0; n < panels; n++) {
            int from = n * PANEL, last = (bins - from) / LANES + 1;
            int all = last < VECTORS ? last : VECTORS;
            for (int i = 0; i < from + PANEL && i <= bins; i += DEEP) {
                int skipped = i < from ? 0 : (i - from) / LANES, vectors = all - skipped;
                const float *a = packed + i / PANEL * size + i % PANEL;
                const float *b = packed + n * size + skipped * LANES;
                double *to = sums + i * stride + from + skipped * LANES;
                if (vectors == 3)
                    multiply(a, b, here, 3, to, stride);
                else if (vectors == 2)
                    multiply(a, b, here, 2, to, stride);
                else
                    multiply(a, b, here, 1, to, stride);
            }
        }
    }
}
