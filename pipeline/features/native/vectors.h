/* Vectors: what kernel.c and rows.c are written in. */

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && !defined(NARROW) /* which tests define, to see the rest */
#define AVX2
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float lanes __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t wholes __attribute__((vector_size(4 * LANES)));
/* memcpy of a vector is compiled into two halves, for which a load of the whole has to wait. */
typedef float anywhere __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));

/* Of x86-64, what most have had since 2013 (all with AVX2 have F16C): without it numpy is the faster
   one. */
#ifdef AVX2
#define WIDE __attribute__((target("avx2,fma,f16c")))
#else
#define WIDE
#endif
#define PART static inline __attribute__((always_inline))
