/* vectors.h: the vector types of kernel.c and rows.c. */

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && !defined(NO_AVX2) /* tests define NO_AVX2 to test the other branch */
#define AVX2
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float float_lanes __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t int_lanes __attribute__((vector_size(4 * LANES)));
/* Compilers split memcpy of a vector into two halves; loading the whole then waits for both. */
typedef float float_lanes_unaligned
    __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));

/* Most x86-64 CPUs since 2013 have AVX2, and those have F16C too. Without it NumPy is faster. */
#ifdef AVX2
#define TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#else
#define TARGET_AVX2
#endif
#define ALWAYS_INLINE static inline __attribute__((always_inline))
