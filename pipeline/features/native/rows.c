/* rows.c: conversion of rows to float16, and the sums of products for a covariance.

   In:   rows of float32.
   Out:  rows of float16; sums of products of bins.
   Not here: computing rows (kernel.c); the same in NumPy (encoding.py, statistics.py).
*/

#include <string.h>

#include "vectors.h"

/* Return the bits of the nearest float16, ties to even: the same as NumPy's astype, except that
   every NaN becomes the same NaN. */
ALWAYS_INLINE uint16_t float16_bits(float value)
{
    uint32_t bits, subnormal;
    memcpy(&bits, &value, 4);
    uint32_t sign = bits & 0x80000000;
    bits ^= sign;
    /* Adding 1/2 moves the bits of a subnormal to their place, rounded. */
    float magnitude, sum;
    memcpy(&magnitude, &bits, 4);
    sum = magnitude + 0.5f;
    memcpy(&subnormal, &sum, 4);
    subnormal -= 0x3f000000;
    uint32_t normal = (bits + 0xc8000fff + ((bits >> 13) & 1)) >> 13;
    uint32_t overflow = bits > 0x7f800000 ? 0x7e00 : 0x7c00;
    uint32_t bits16 = bits < 0x38800000 ? subnormal : bits < 0x47800000 ? normal : overflow;
    return (uint16_t)(bits16 | sign >> 16);
}

/* Convert values to float16. `counts` gets the numbers of values > bounds[0], of values <= bounds[1]
   and of zeros. */
TARGET_AVX2
void convert_to_float16(
    const float *values, ptrdiff_t count, const float *bounds, uint16_t *out, int64_t *counts)
{
    float max_value = bounds[0], underflow_threshold = bounds[1];
    ptrdiff_t n = 0;
    memset(counts, 0, 3 * sizeof *counts);
#ifdef AVX2
    int_lanes above = {0}, below = {0}, zeros = {0};
    for (; n + LANES <= count; n += LANES) {
        float_lanes loaded = *(const float_lanes_unaligned *)(values + n);
        short converted __attribute__((vector_size(16))) = __builtin_ia32_vcvtps2ph256(loaded, 0);
        memcpy(out + n, &converted, sizeof converted);
        above -= loaded > max_value; /* true is -1 */
        below -= loaded <= underflow_threshold;
        zeros -= loaded == 0;
    }
    for (int lane = 0; lane < LANES; lane++) {
        counts[0] += above[lane];
        counts[1] += below[lane];
        counts[2] += zeros[lane];
    }
#endif
    for (; n < count; n++) {
        out[n] = float16_bits(values[n]);
        counts[0] += values[n] > max_value;
        counts[1] += values[n] <= underflow_threshold;
        counts[2] += values[n] == 0;
    }
}

/* A panel holds PANEL_COLUMNS neighbouring columns of some rows, one row after the other. */
enum { TILE_COLUMNS = 4, PANEL_VECTORS = 3, PANEL_COLUMNS = PANEL_VECTORS * LANES };

int32_t panel_columns(void)
{
    return PANEL_COLUMNS;
}

/* Multiply TILE_COLUMNS columns of panel `a` by `vector_count` vectors of panel `b`; sum over rows.
   There are as many sums as registers. Sums are float32 within a block, float64 over blocks. */
ALWAYS_INLINE void multiply_panels(
    const float *a, const float *b, int rows, int vector_count, double *sums_out, ptrdiff_t stride)
{
    float_lanes sums[TILE_COLUMNS][PANEL_VECTORS];
    for (int i = 0; i < TILE_COLUMNS; i++)
        for (int v = 0; v < vector_count; v++)
            sums[i][v] = (float_lanes){0};
    for (int row = 0; row < rows; row++, a += PANEL_COLUMNS, b += PANEL_COLUMNS)
        for (int i = 0; i < TILE_COLUMNS; i++)
            for (int v = 0; v < vector_count; v++)
                sums[i][v] += a[i] * *(const float_lanes *)(b + v * LANES);
    for (int i = 0; i < TILE_COLUMNS; i++)
        for (int v = 0; v < vector_count; v++)
            for (int lane = 0; lane < LANES; lane++)
                sums_out[i * stride + v * LANES + lane] += (double)sums[i][v][lane];
}

/* Write rows minus `pilot_mean` as a panel. A 1 stands after the last bin, so that the product with
   it is the sum of each bin. */
ALWAYS_INLINE void pack_panel(
    const float *row, const float *pilot_mean, int rows, int32_t bins, int column_count,
    float *packed)
{
    float_lanes mean_lanes[PANEL_VECTORS];
    if (column_count < PANEL_COLUMNS) {
        for (; rows--; row += bins, packed += PANEL_COLUMNS)
            for (int n = 0; n < PANEL_COLUMNS; n++)
                packed[n] = n < column_count ? row[n] - pilot_mean[n] : (float)(n == column_count);
        return;
    }
    for (int v = 0; v < PANEL_VECTORS; v++)
        mean_lanes[v] = *(const float_lanes_unaligned *)(pilot_mean + v * LANES);
    for (; rows--; row += bins, packed += PANEL_COLUMNS)
        for (int v = 0; v < PANEL_VECTORS; v++)
            *(float_lanes *)(packed + v * LANES) =
                *(const float_lanes_unaligned *)(row + v * LANES) - mean_lanes[v];
}

/* Add to `sums` the product of each column with itself and with the columns after it, summed over
   rows. `sums` is padded to whole panels both ways; `packed` holds `max_rows` padded rows. */
TARGET_AVX2
void accumulate_products(
    const float *rows, ptrdiff_t count, int32_t bins, const float *pilot_mean, int32_t max_rows,
    float *packed, double *sums)
{
    int panels = bins / PANEL_COLUMNS + 1; /* of the bins and the 1 after them */
    ptrdiff_t stride = (ptrdiff_t)panels * PANEL_COLUMNS;
    ptrdiff_t panel_size = (ptrdiff_t)max_rows * PANEL_COLUMNS;
    for (; count > 0; rows += (ptrdiff_t)max_rows * bins, count -= max_rows) {
        int row_count = count < max_rows ? (int)count : max_rows;
        for (int n = 0; n < panels; n++) {
            int first = n * PANEL_COLUMNS, left = bins - first;
            int column_count = left < PANEL_COLUMNS ? left : PANEL_COLUMNS;
            float *panel = packed + n * panel_size;
            pack_panel(rows + first, pilot_mean + first, row_count, bins, column_count, panel);
        }
        for (int n = 0; n < panels; n++) {
            int first = n * PANEL_COLUMNS, vectors_left = (bins - first) / LANES + 1;
            int vectors_here = vectors_left < PANEL_VECTORS ? vectors_left : PANEL_VECTORS;
            for (int i = 0; i < first + PANEL_COLUMNS && i <= bins; i += TILE_COLUMNS) {
                int skipped = i < first ? 0 : (i - first) / LANES;
                int vector_count = vectors_here - skipped;
                const float *a = packed + i / PANEL_COLUMNS * panel_size + i % PANEL_COLUMNS;
                const float *b = packed + n * panel_size + skipped * LANES;
                double *block_sums = sums + i * stride + first + skipped * LANES;
                if (vector_count == 3)
                    multiply_panels(a, b, row_count, 3, block_sums, stride);
                else if (vector_count == 2)
                    multiply_panels(a, b, row_count, 2, block_sums, stride);
                else
                    multiply_panels(a, b, row_count, 1, block_sums, stride);
            }
        }
    }
}
