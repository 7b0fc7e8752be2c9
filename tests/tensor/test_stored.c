/* tsan */
/* Weights in stored formats: products, experts and the embedding give the bits of the same numbers held as masters, for any number of rows and
 * threads and in every kernel set; gradients pass through to the input and are refused for the weight; the whole weight is never expanded.
 *
 * Oracle: the same ops on a master made by decoding each row. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "tensor/ops.h"
#include "tensor/product.h"

typedef struct pair { sy_weight stored, master; } pair;       /* the same numbers in both */

static pair weights(sy_wtype type, int nd, const int *dim)
{
    pair p = { { .type = type, .nd = nd }, { .type = SY_W_REAL, .nd = nd } };
    size_t n = 1;
    for (int d = 0; d < nd; d++) n *= (size_t)dim[d];
    float *x = malloc(n * sizeof *x);
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, (uint64_t)type, n, 0);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = (float)(2 * sy_draw(key, i, 0) - 1);
    memcpy(p.stored.dim, dim, (size_t)nd * sizeof *dim);
    memcpy(p.master.dim, dim, (size_t)nd * sizeof *dim);
    char *bytes = malloc(sy_wtype_bytes(type, n) + 1);        /* one byte off: blocks in a file are not aligned */
    assert_non_null(bytes);
    p.stored.data = bytes + 1;
    assert_non_null(p.master.data = malloc(n * sizeof(sy_real)));
    sy_wtype_write(type, x, NULL, n, p.stored.data);
    sy_weight_read(type, p.stored.data, 0, n, p.master.data);
    free(x);
    return p;
}

static void drop(pair *p) { free((char *)p->stored.data - 1); free(p->master.data); }

static sy_tensor *input(sy_tape *t, int T, int K)
{
    sy_tensor *x = sy_new(t, SY_DIM(T, K));
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 99, (uint64_t)K, 0);
    for (size_t i = 0; i < sy_numel(x); i++) x->x[i] = (sy_real)(2 * sy_draw(key, i, 0) - 1);
    x->wants = true;
    return x;
}

/* y and dx of one product with each of the two weights, compared bit by bit; by expert with `first`, by head with `heads`. */
static void both(sy_engine *e, pair *p, int T, const int *first, const sy_heads *heads, bool bf16)
{
    sy_tensor *y[2], *x[2];
    sy_tape tape[2];
    for (int i = 0; i < 2; i++) {
        sy_weight *w = i ? &p->master : &p->stored;
        sy_tape_init(&tape[i], e, true);
        tape[i].bf16 = bf16;
        x[i] = input(&tape[i], T, !heads ? w->dim[w->nd - 1] : heads->n_heads * (heads->forward ? w->dim[1] : heads->N));
        y[i] = heads ? sy_linear_heads(&tape[i], x[i], w, heads) : first ? sy_grouped(&tape[i], x[i], w, first) : sy_linear(&tape[i], x[i], w, NULL);
        sy_expect_ok(sy_tape_status(&tape[i], err));
        sy_real *dy = malloc(sy_numel(y[i]) * sizeof *dy + 1);
        assert_non_null(dy);
        for (size_t k = 0; k < sy_numel(y[i]); k++) dy[k] = (sy_real)((int)(k * 7 % 11) - 5) / 8;
        sy_expect_ok(sy_backward_from(&tape[i], y[i], dy, err));
        free(dy);
    }
    sy_expect_same("y", y[0]->x, y[1]->x, sy_numel(y[0]) * sizeof(sy_real));
    sy_expect_same("dx", x[0]->dx, x[1]->dx, sy_numel(x[0]) * sizeof(sy_real));
    for (int i = 0; i < 2; i++) sy_tape_free(&tape[i]);
}

static void products(void **state)
{
    (void)state;
    static const int rows[] = { 1, 3, 17, 520 }, out[] = { 1, 37, 130 };
    const sy_kernels *k;
    for (int set = 0; (k = sy_kernels_at(set)); set++)
        for (int threads = 1; threads <= 2; threads++) {
            sy_engine e;
            sy_expect_ok(sy_engine_init(&e, threads, k->name, NULL, err));
            for (int type = SY_W_REAL + 1; type < SY_WTYPES; type++)
                for (size_t n = 0; n < SY_COUNT(out); n++) {
                    pair p = weights((sy_wtype)type, SY_DIM(out[n], sy_wtype_block((sy_wtype)type) == 256 ? 512 : 288));
                    for (size_t m = 0; m < SY_COUNT(rows); m++) {
                        if (rows[m] > 100 && (n != 1 || type % 3)) continue;         /* the large ones for some */
                        sy_test_case("%s, %s, %d threads, %d rows, %d outputs", k->name, sy_wtype_name((sy_wtype)type), threads, rows[m], out[n]);
                        both(&e, &p, rows[m], NULL, NULL, false);
                        if (n == 1) both(&e, &p, rows[m], NULL, NULL, true);
                    }
                    drop(&p);
                }
            sy_engine_uninit(&e);
        }
}

static void experts(void **state)
{
    (void)state;
    static const int first[] = { 0, 3, 3, 4, 40 };
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 2, NULL, NULL, err));
    for (int type = SY_W_REAL + 1; type < SY_WTYPES; type++) {
        pair p = weights((sy_wtype)type, SY_DIM(4, 20, 256));
        sy_test_case("%s", sy_wtype_name((sy_wtype)type));
        for (int bf16 = 0; bf16 < 2; bf16++) both(&e, &p, 40, first, NULL, bf16);
        drop(&p);
    }
    sy_engine_uninit(&e);
}

static void a_matrix_a_head(void **state)
{
    (void)state;
    static const sy_heads forms[] = { { 3, 8, 2, 5, true }, { 3, 8, 0, 6, false } };
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 2, NULL, NULL, err));
    for (int type = SY_W_REAL + 1; type < SY_WTYPES; type++) {
        pair p = weights((sy_wtype)type, SY_DIM(24, 256));
        for (size_t f = 0; f < SY_COUNT(forms); f++) {
            sy_test_case("%s, form %zu", sy_wtype_name((sy_wtype)type), f);
            both(&e, &p, 1, NULL, &forms[f], false);
            both(&e, &p, 9, NULL, &forms[f], f == 0);
        }
        drop(&p);
    }
    sy_engine_uninit(&e);
}

static void embedding(void **state)
{
    (void)state;
    static const int id[] = { 5, 0, 8, 5 };
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 1, NULL, NULL, err));
    for (int type = SY_W_REAL + 1; type < SY_WTYPES; type++) {
        pair p = weights((sy_wtype)type, SY_DIM(9, 256));
        sy_tape t;
        sy_tape_init(&t, &e, true);
        sy_tensor *a = sy_embed(&t, &p.stored, id, 4), *b = sy_embed(&t, &p.master, id, 4);
        sy_expect_ok(sy_tape_status(&t, err));
        sy_test_case("%s", sy_wtype_name((sy_wtype)type));
        sy_expect_same("rows", a->x, b->x, 4 * 256 * sizeof(sy_real));
        sy_tape_free(&t);
        drop(&p);
    }
    sy_engine_uninit(&e);
}

/* The head inside the loss, which makes its own products. */
static void loss(void **state)
{
    (void)state;
    static const int label[] = { 1, 8, -1, 3, 0 };
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 2, NULL, NULL, err));
    pair p = weights(SY_W_Q6_K, SY_DIM(9, 256));
    sy_tape tape[2];
    sy_tensor *x[2], *l[2];
    for (int i = 0; i < 2; i++) {
        sy_tape_init(&tape[i], &e, true);
        x[i] = input(&tape[i], 5, 256);
        l[i] = sy_cross_entropy(&tape[i], x[i], i ? &p.master : &p.stored, label, &(sy_xent){ .scale = 0.25 });
        sy_expect_ok(sy_backward(&tape[i], l[i], err));
    }
    sy_expect_same("loss", l[0]->x, l[1]->x, sizeof(sy_real));
    sy_expect_same("dx", x[0]->dx, x[1]->dx, 5 * 256 * sizeof(sy_real));
    for (int i = 0; i < 2; i++) sy_tape_free(&tape[i]);
    drop(&p);
    sy_engine_uninit(&e);
}

static void not_trained(void **state)
{
    (void)state;
    sy_engine e;
    sy_tape t;
    sy_err told = { 0 }, *err = &told;
    sy_real dx[512];
    sy_expect_ok(sy_engine_init(&e, 1, NULL, NULL, err));
    sy_tape_init(&t, &e, true);
    pair p = weights(SY_W_Q4_K, SY_DIM(2, 256));
    p.stored.dx = dx;
    sy_linear(&t, input(&t, 3, 256), &p.stored, NULL);
    sy_expect_fail(sy_tape_status(&t, err), SY_EUNSUP, "linear: a weight of type Q4_K cannot be trained");
    sy_tape_free(&t);

    sy_arena a = { 0 };
    sy_params train = { .arena = &a, .train = true }, bare = { .arena = &a, .bare = true };
    sy_param *w = sy_params_add(&train, "w", 0, SY_DIM(2, 256)), *b = sy_params_add(&bare, "b", 0, SY_DIM(2, 256)), *odd = sy_params_add(&bare, "c", 0, SY_DIM(2, 40));
    assert_true(w && b && odd);
    assert_null(b->w.data);
    sy_expect_fail(sy_param_store(w, SY_W_Q4_K, p.stored.data, err), SY_EUNSUP, "w: a parameter that has memory of its own");
    sy_expect_fail(sy_param_store(odd, SY_W_Q8_0, p.stored.data, err), SY_ESHAPE, "rows of 40 values are no whole number of Q8_0 blocks");
    sy_expect_ok(sy_param_store(b, SY_W_Q4_K, p.stored.data, err));
    assert_true(b->w.type == SY_W_Q4_K && b->w.data == p.stored.data && !b->leaf.x);
    assert_true(sy_param_own(odd, &a) && odd->w.data && odd->leaf.x == odd->w.data);
    sy_arena_free(&a);
    drop(&p);
    sy_engine_uninit(&e);
}

static void never_expanded(void **state)
{
    (void)state;
    enum { N = 4096, K = 2048 };
    sy_engine e;
    sy_tape t;
    sy_expect_ok(sy_engine_init(&e, 2, NULL, NULL, err));
    pair p = weights(SY_W_Q8_0, SY_DIM(N, K));
    sy_tape_init(&t, &e, true);
    sy_tensor *x = input(&t, 40, K), *y = sy_linear(&t, x, &p.stored, NULL);
    sy_real *dy = calloc((size_t)40 * N, sizeof *dy);
    assert_non_null(dy);
    sy_expect_ok(sy_backward_from(&t, y, dy, err));
    for (int i = 0; i < e.threads; i++)
        if (e.scratch[i].high > (size_t)N * K / 8 * sizeof(sy_real)) fail_msg("thread %d used %zu bytes of scratch for a weight of %d values", i, e.scratch[i].high, N * K);
    free(dy);
    sy_tape_free(&t);
    drop(&p);
    sy_engine_uninit(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products), cmocka_unit_test(experts), cmocka_unit_test(a_matrix_a_head), cmocka_unit_test(embedding), cmocka_unit_test(loss), cmocka_unit_test(not_trained), cmocka_unit_test(never_expanded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
