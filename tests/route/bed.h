/* tests/route/bed.h - a sparse block with tokens around it, for the tests of routers, balance terms and experts.
 *
 * SY_KERNELS=ref runs them on another set of kernels. Values of a token depend on its sequence's number and its place alone, so that a sequence can be run alone or in a batch. */
#ifndef SY_TEST_BED_H
#define SY_TEST_BED_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "methods.h"
#include "route/block.h"
#include "testing.h"

typedef struct bed {
    sy_engine  eng;
    sy_arena   arena;
    sy_params  params;
    sy_tape    tape;
    sy_block   b;
    sy_losses  aux;
    sy_route  *route, again;            /* route: of the last run; again: a copy that outlives the tape, see bed_keep */
    sy_stats  *stats;
    sy_tensor *x, *y;                   /* of the last run */
    int        T, D, n_seq;
    sy_real   *value;                   /* [T,D] */
    int       *id, *pos, *seq, *label, *back[4];
    uint8_t   *valid;                   /* NULL until a test sets it */
    uint64_t  *key;
    const sy_override *over;
    double     progress;
    int64_t    step;
} bed;

#define BED_SPEC(...) (&(sy_block_spec){ __VA_ARGS__ })

/* What a spec leaves out: topk over 4 SwiGLU experts of width 5 in a model of width 6. */
static inline sy_block_spec bed_spec(const sy_block_spec *given)
{
    sy_block_spec s = *given;
    if (!s.router) s.router = "topk";
    if (!s.expert) s.expert = "swiglu";
    if (!s.D) s.D = 6;
    if (!s.F) s.F = 5;
    if (!s.E) s.E = 4;
    if (s.routed_scale == 0) s.routed_scale = 1;
    return s;
}

static inline sy_status bed_try(bed *B, const sy_block_spec *given, int threads, bool train, const sy_methods *methods, sy_err *err)
{
    sy_block_spec spec = bed_spec(given);
    *B = (bed){ .D = spec.D };
    sy_methods tables = *methods;
    tables.extra = NULL;                                                  /* the engine owns its list: methods from outside are registered */
    SY_TRY(sy_engine_init(&B->eng, threads, getenv("SY_KERNELS"), &tables, err));
    for (const sy_method *const *m = methods->extra; m && *m; m++) SY_TRY(sy_engine_register(&B->eng, *m, err));
    sy_tape_init(&B->tape, &B->eng, train);
    B->params = (sy_params){ .arena = &B->arena, .train = train, .fresh = true };
    sy_site site = { .layer = 3, .nth = 1, .n_sparse = 2, .V = 16, .init_std = 0.4 };
    return sy_block_init(&B->b, &spec, &site, &B->eng.methods, &B->params, 11, err);
}

static inline void bed_open(bed *B, const sy_block_spec *spec)
{
    sy_err err;
    if (bed_try(B, spec, 1, true, &sy_builtin_methods, &err) != SY_OK) fail_msg("%s", err.text);
}

static inline void bed_close(bed *B)
{
    free(B->value), free(B->id), free(B->pos), free(B->seq), free(B->label), free(B->valid), free(B->key);
    for (int i = 0; i < 4; i++) free(B->back[i]);
    sy_tape_free(&B->tape);
    sy_arena_free(&B->arena);
    sy_engine_uninit(&B->eng);
}

/* The sentence of a refusal; the spec must be refused. */
static inline void bed_refused(const sy_block_spec *spec, sy_status status, const char *part)
{
    bed B;
    sy_err e = { 0 }, *err = &e;
    sy_status st = bed_try(&B, spec, 1, true, &sy_builtin_methods, err);
    sy_expect_fail(st, status, part);
    bed_close(&B);
}

/* n_seq sequences of `len` tokens, numbered from first_seq on. */
static inline void bed_tokens(bed *B, int first_seq, int n_seq, int len)
{
    int T = n_seq * len;
    B->T = T;
    B->n_seq = n_seq;
    B->value = realloc(B->value, ((size_t)T * B->D + 1) * sizeof *B->value);
    int **ints[] = { &B->id, &B->pos, &B->seq, &B->label, &B->back[0], &B->back[1], &B->back[2], &B->back[3] };
    for (int i = 0; i < 8; i++) *ints[i] = realloc(*ints[i], ((size_t)T + 1) * sizeof(int));
    B->key = realloc(B->key, ((size_t)T + 1) * sizeof *B->key);
    free(B->valid);
    B->valid = NULL;
    for (int t = 0; t < T; t++) {
        int q = first_seq + t / len;
        uint64_t key = sy_key(5, SY_FOR_TEST, (uint64_t)q, (uint64_t)(t % len), 0);
        B->seq[t] = t / len;
        B->pos[t] = t % len;
        B->label[t] = q % 3;
        B->id[t] = (int)sy_draw_below(key, 0, 1, 16);
        B->key[t] = sy_key(5, SY_FOR_ROUTE, (uint64_t)q, 3, 0);
        for (int i = 0; i < 4; i++) B->back[i][t] = B->pos[t] > i ? B->id[t - 1 - i] : -1;
        for (int d = 0; d < B->D; d++) B->value[(size_t)t * B->D + d] = (sy_real)(2 * sy_draw(key, (uint64_t)d, 0) - 1);
    }
}

/* One forward. The tape is reset first; y, route and aux are those of this run. */
static inline sy_status bed_run(bed *B, sy_mode mode, const sy_route *again, sy_err *err)
{
    sy_tape *t = &B->tape;
    sy_tape_reset(t);
    B->aux = (sy_losses){ 0 };
    B->x = sy_new(t, SY_DIM(B->T, B->D));
    SY_TRY(sy_tape_status(t, err));
    memcpy(B->x->x, B->value, (size_t)B->T * B->D * sizeof(sy_real));
    B->x->wants = t->record;
    sy_route_in in = { .mode = mode, .T = B->T, .x = B->x, .id = B->id, .pos = B->pos, .seq = B->seq, .label = B->label, .valid = B->valid, .key = B->key,
                       .batch_key = 9, .step = B->step, .steps = 10, .progress = B->progress, .n_micro = 1, .n_pass = 1, .again = again, .n_seq = B->n_seq, .over = B->over };
    for (int i = 0; i < 4; i++) in.back[i] = B->back[i];
    if (B->b.carry) {                                                     /* as if a layer had gone before */
        in.carry = sy_new(t, SY_DIM(B->T, B->b.carry));
        SY_TRY(sy_tape_status(t, err));
        for (size_t i = 0; i < sy_numel(in.carry); i++) in.carry->x[i] = (sy_real)(sy_draw(B->key[i / (size_t)B->b.carry], (uint64_t)B->pos[i / (size_t)B->b.carry], 900 + (unsigned)(i % (size_t)B->b.carry)) - 0.5);
    }
    B->y = sy_block_run(&B->b, t, in, &B->aux, &B->route, B->stats);
    return sy_tape_status(t, err);
}

static inline void bed_go(bed *B, sy_mode mode)
{
    sy_err err;
    if (bed_run(B, mode, NULL, &err) != SY_OK) fail_msg("%s", err.text);
}

/* Copies the choices of the last run out of the tape. */
static inline void bed_keep(bed *B)
{
    const sy_route *r = B->route;
    B->again = *r;
    B->again.first_slot = sy_arena_alloc(&B->arena, ((size_t)r->T + 1) * sizeof(int));
    B->again.expert = sy_arena_alloc(&B->arena, (size_t)r->n * sizeof(int) + 1);
    memcpy(B->again.first_slot, r->first_slot, ((size_t)r->T + 1) * sizeof(int));
    memcpy(B->again.expert, r->expert, (size_t)r->n * sizeof(int));
    B->again.weight = B->again.probs = B->again.carry = NULL;
    if (r->own) {
        sy_route *own = sy_arena_zalloc(&B->arena, sizeof *own);
        *own = *r->own;
        own->first_slot = sy_arena_alloc(&B->arena, ((size_t)r->T + 1) * sizeof(int));
        own->expert = sy_arena_alloc(&B->arena, (size_t)own->n * sizeof(int) + 1);
        memcpy(own->first_slot, r->own->first_slot, ((size_t)r->T + 1) * sizeof(int));
        memcpy(own->expert, r->own->expert, (size_t)own->n * sizeof(int));
        B->again.own = own;
    }
}

static inline double bed_aux(const bed *B, const char *name)
{
    for (int i = 0; i < B->aux.n; i++) if (!strcmp(B->aux.l[i].name, name)) return B->aux.l[i].value->x[0];
    fail_msg("no loss is called %s", name);
    return 0;
}

/* Logits in double by slow loops: [T,cols], to be freed. */
static inline double *bed_logits(const bed *B, const char *weight)
{
    const sy_param *p = sy_params_find(&B->params, weight);
    if (!p) fail_msg("no parameter is called %s", weight);
    int cols = p->w.dim[0];
    const sy_real *w = p->w.data;
    double *z = malloc((size_t)B->T * cols * sizeof *z);
    for (int t = 0; t < B->T; t++)
        for (int e = 0; e < cols; e++) {
            z[t * cols + e] = 0;
            for (int d = 0; d < B->D; d++) z[t * cols + e] += (double)w[e * B->D + d] * B->value[t * B->D + d];
        }
    return z;
}

static inline double *bed_softmax(const double *z, int T, int n)
{
    double *p = malloc((size_t)T * n * sizeof *p);
    for (int t = 0; t < T; t++) {
        double sum = 0;
        for (int e = 0; e < n; e++) sum += p[t * n + e] = exp(z[t * n + e]);
        for (int e = 0; e < n; e++) p[t * n + e] /= sum;
    }
    return p;
}

/* y of one token through expert e's SwiGLU, in double. */
static inline void bed_swiglu(const bed *B, int e, const sy_real *x, double *y)
{
    const char *names[] = { "gate_proj", "up_proj", "down_proj" };
    const sy_real *w[3];
    int D = B->D, F = B->b.site.F;
    for (int i = 0; i < 3; i++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.3.mlp.experts.{e}.%s.weight", names[i]);
        w[i] = (const sy_real *)sy_params_find(&B->params, name)->w.data + (size_t)e * D * F;
    }
    for (int d = 0; d < D; d++) y[d] = 0;
    for (int f = 0; f < F; f++) {
        double g = 0, u = 0;
        for (int d = 0; d < D; d++) g += (double)w[0][f * D + d] * x[d], u += (double)w[1][f * D + d] * x[d];
        double h = g / (1 + exp(-g)) * u;
        for (int d = 0; d < D; d++) y[d] += h * w[2][d * F + f];
    }
}

#define BED_TOL (sizeof(sy_real) == 8 ? 1e-12 : 2e-5)

/* The whole layer from the route it chose: y[t] = sum of weight * SwiGLU_e(x). */
static inline void bed_expect_layer(const bed *B)
{
    double one[64], want[64];
    for (int t = 0; t < B->T; t++) {
        for (int d = 0; d < B->D; d++) want[d] = 0;
        for (int s = B->route->first_slot[t]; s < B->route->first_slot[t + 1]; s++) {
            if (B->route->expert[s] < 0) continue;
            bed_swiglu(B, B->route->expert[s], B->value + (size_t)t * B->D, one);
            for (int d = 0; d < B->D; d++) want[d] += (double)B->route->weight->x[s] * one[d];
        }
        for (int d = 0; d < B->D; d++) {
            char name[32];
            snprintf(name, sizeof name, "y[%d,%d]", t, d);
            sy_expect_near(name, B->y->x[(size_t)t * B->D + d], want[d], BED_TOL, BED_TOL);
        }
    }
}

#endif
