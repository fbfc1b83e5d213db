/* Hand-written C: LANES replicas side by side, GCC vectors, libmvec's exp, OpenMP over blocks of replicas.

   Dimensions are fixed when it is compiled (-D): N prompts, W = K - 1 wrong outputs, DIM = d in feature space and 0 in
   Gram space, LENGTH of the state, RANK of the triangular factors, LANES (a multiple of 8). State and exponentials are
   kept [entry][lane]. The exponentials of all prompts are computed in one loop over an array, which GCC turns into calls
   of libmvec (-ffast-math); sums are kept in registers, ROWS rows of LANES at once. Prompts come from splitmix64 of
   (step, replica), computed for all lanes at once.

   Tried, and what the reader finds here is the faster one: see c_lanes.py. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define VL 8
#define B (LANES / VL)
#define GROUPS ((W + ROWS - 1) / ROWS)
typedef double vec __attribute__((vector_size(8 * VL), aligned(64)));
typedef double loose __attribute__((vector_size(8 * VL), aligned(8)));
#define UNROLL _Pragma("GCC unroll 16")
#define PAD ((LENGTH + VL - 1) / VL * VL)

static inline vec splat(double x) { return (vec){x, x, x, x, x, x, x, x}; }

typedef struct {
    vec state[PAD][B], e[N][W][B], p[N][B], q[N][B], g[N][B], sum_p[N][B], sum_g[N][B];
    double moves[LANES][PAD], scale[LANES];
    uint64_t drawn[LANES];
} block;

/* margins of ROWS rows of D, the first one `row`; those behind `W` are not stored */
#if DIM
static inline void margins(block *b, int i, int row, int rows, const double *restrict differences) {
    vec sum[ROWS][B];
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int k = 0; k < B; k++) sum[r][k] = splat(0);
    const double *d[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++) d[r] = differences + ((size_t)i * W + row + (r < rows ? r : 0)) * DIM;
    for (int c = 0; c < DIM; c++) {
        UNROLL for (int k = 0; k < B; k++) {
            vec x = b->state[c][k];
            UNROLL for (int r = 0; r < ROWS; r++) sum[r][k] += d[r][c] * x;
        }
    }
    UNROLL for (int r = 0; r < ROWS; r++) if (r < rows) UNROLL for (int k = 0; k < B; k++) b->e[i][row + r][k] = sum[r][k];
}
#endif

static inline void exponentials(block *b, int i) {
    double *restrict e = (double *)b->e[i];
    const double *restrict m = DIM ? (double *)b->e[i] : (double *)b->state[i * W];
#pragma omp simd
    for (int x = 0; x < W * LANES; x++) {
        double y = m[x] < 690 ? m[x] : 690;
        e[x] = exp(y > -690 ? y : -690);
    }
}

/* || F (p e) ||^2 with F upper triangular, ROWS rows at once */
static inline void squared_length(block *b, int i, const double *restrict factors, vec *total) {
    for (int row = 0; row < RANK; row += ROWS) {
        vec sum[ROWS][B];
        UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int k = 0; k < B; k++) sum[r][k] = splat(0);
        const double *f[ROWS];
        UNROLL for (int r = 0; r < ROWS; r++)
            f[r] = factors + ((size_t)i * RANK + (row + r < RANK ? row + r : RANK - 1)) * W;
        for (int c = row; c < W; c++) {
            UNROLL for (int k = 0; k < B; k++) {
                vec x = b->e[i][c][k];
                UNROLL for (int r = 0; r < ROWS; r++) sum[r][k] += f[r][c] * x;
            }
        }
        UNROLL for (int r = 0; r < ROWS; r++) if (row + r < RANK) UNROLL for (int k = 0; k < B; k++) {
            vec s = b->p[i][k] * sum[r][k];
            total[k] += s * s;
        }
    }
}

static void evaluate(block *b, const double *differences, const double *factors) {
    for (int i = 0; i < N; i++) {
#if DIM
        int row = 0;
        for (; row + ROWS <= W; row += ROWS) margins(b, i, row, ROWS, differences);
        if (W % ROWS) margins(b, i, row, W % ROWS, differences);
#endif
        exponentials(b, i);
        vec odds[B], total[B];
        UNROLL for (int k = 0; k < B; k++) odds[k] = total[k] = splat(0);
        for (int j = 0; j < W; j++) UNROLL for (int k = 0; k < B; k++) odds[k] += b->e[i][j][k];
        UNROLL for (int k = 0; k < B; k++) b->p[i][k] = 1 / (1 + odds[k]);
        squared_length(b, i, factors, total);
        UNROLL for (int k = 0; k < B; k++) {
            vec p = b->p[i][k];
            b->q[i][k] = odds[k] * p;
            b->g[i][k] = p * p * total[k];
            b->sum_p[i][k] += p;
            b->sum_g[i][k] += b->g[i][k];
        }
    }
}

static inline void draw(block *b, uint64_t step, uint64_t first) {
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        uint64_t z = (step << 32 | (first + l)) * 0x9E3779B97F4A7C15u + 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        b->drawn[l] = ((z ^ (z >> 31)) >> 32) * N >> 32;
    }
}

static void update(block *b, double eta, const double *restrict rows) {
    const double *p = (double *)b->p, *q = (double *)b->q;
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        double right = p[b->drawn[l] * LANES + l], wrong = q[b->drawn[l] * LANES + l];
        b->scale[l] = -eta / sqrt(right * wrong) * right * right;
    }
    for (int l = 0; l < LANES; l++) {
        const double *e = (double *)b->e[b->drawn[l]] + l, *row = rows + b->drawn[l] * W * PAD;
        double s = b->scale[l];
        int c = 0;
        for (; c + 4 * VL <= PAD; c += 4 * VL) {
            vec sum[4];
            UNROLL for (int k = 0; k < 4; k++) sum[k] = splat(0);
            for (int j = 0; j < W; j++)
                UNROLL for (int k = 0; k < 4; k++) sum[k] += e[j * LANES] * *(loose *)(row + (size_t)j * PAD + c + k * VL);
            UNROLL for (int k = 0; k < 4; k++) *(vec *)(b->moves[l] + c + k * VL) = s * sum[k];
        }
        for (; c < PAD; c += VL) {
            vec sum = splat(0);
            for (int j = 0; j < W; j++) sum += e[j * LANES] * *(loose *)(row + (size_t)j * PAD + c);
            *(vec *)(b->moves[l] + c) = s * sum;
        }
    }
    double *state = (double *)b->state;
    for (int c = 0; c < LENGTH; c++)
#pragma omp simd
        for (int l = 0; l < LANES; l++) state[c * LANES + l] += b->moves[l][c];
}

/* order of one replica, for the check of its run */
void order(int64_t replica, int64_t steps, int64_t *out) {
    block *b = aligned_alloc(64, sizeof(block));
    for (int64_t t = 0; t < steps; t++) {
        draw(b, t, replica / LANES * LANES);
        out[t] = b->drawn[replica % LANES];
    }
    free(b);
}

/* rows padded to PAD columns; out is [4][blocks][N][LANES]: J and ||grad J||^2 at T, then their sums over 0..T */
void run(const double *differences, const double *factors, const double *rows, const double *start, double eta,
         int64_t steps, int64_t blocks, int threads, double *out) {
#pragma omp parallel for schedule(dynamic) num_threads(threads < blocks ? threads : (int)blocks)
    for (int64_t x = 0; x < blocks; x++) {
        block *b = aligned_alloc(64, sizeof(block));
        memset(b->sum_p, 0, sizeof b->sum_p);
        memset(b->sum_g, 0, sizeof b->sum_g);
        for (int c = 0; c < LENGTH; c++) for (int k = 0; k < B; k++) b->state[c][k] = splat(start[c]);
        for (int64_t t = 0; t <= steps; t++) {
            evaluate(b, differences, factors);
            if (t == steps) break;
            draw(b, t, x * LANES);
            update(b, eta, rows);
        }
        const void *values[4] = {b->p, b->g, b->sum_p, b->sum_g};
        for (int v = 0; v < 4; v++)
            memcpy(out + (v * blocks + x) * N * LANES, values[v], sizeof b->p);
        free(b);
    }
}
