/* float only */
/* A sparse block whose matrices are stored, the router's too, on activations of eight bits: who goes where, and with what weight, keeps its bits; what the
 * experts give moves by no more than rounding moves it, and a token's row does not depend on its neighbours.
 *
 * Oracle: the same block, exact. */
#include "route/bed.h"

enum { D = 256, F = 256 };

/* All matrices of the block as Q8_0, in memory of the bed's arena. */
static void store(bed *B)
{
    for (int i = 0; i < B->params.n; i++) {
        sy_param *p = B->params.p[i];
        if (p->w.nd < 2 || p->w.dim[p->w.nd - 1] % 32) continue;
        char *to = sy_arena_alloc(&B->arena, sy_wtype_bytes(SY_W_Q8_0, p->n));
        assert_non_null(to);
        for (size_t k = 0; k < p->n; k++) p->leaf.x[k] *= (sy_real)0.1;
        sy_wtype_write(SY_W_Q8_0, p->leaf.x, NULL, p->n, to);
        p->w.type = SY_W_Q8_0;
        p->w.data = to;
    }
}

static void routes_stay(void **state)
{
    static const char *const routers[] = { "topk:top_k=2,norm_topk_prob=true", "auxfree:top_k=2", "dynmoe" };
    enum { T = 24, SEQ = 6 };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(routers); i++) {
        sy_methods m = sy_builtin_methods;
        sy_err e;
        bed B;
        sy_real *y = malloc(T * D * sizeof *y), most = 0;
        sy_test_case("%s", routers[i]);
        if (bed_try(&B, BED_SPEC(.router = routers[i], .D = D, .F = F, .E = 6, .shared_F = 64), 2, false, &m, &e) != SY_OK) fail_msg("%s", e.text);
        store(&B);
        bed_tokens(&B, 0, T / SEQ, SEQ);
        bed_go(&B, SY_SERVE);
        memcpy(y, B.y->x, T * D * sizeof *y);
        int n = B.route->n, *expert = malloc((size_t)n * sizeof *expert);
        sy_real *weight = malloc((size_t)n * sizeof *weight);
        memcpy(expert, B.route->expert, (size_t)n * sizeof *expert);
        memcpy(weight, B.route->weight->x, (size_t)n * sizeof *weight);
        B.eng.int8 = true;
        sy_tape_free(&B.tape);
        sy_tape_init(&B.tape, &B.eng, false);
        bed_go(&B, SY_SERVE);
        assert_true(B.tape.int8);
        assert_int_equal(B.route->n, n);
        sy_expect_same("experts", B.route->expert, expert, (size_t)n * sizeof *expert);
        sy_expect_same("weights", B.route->weight->x, weight, (size_t)n * sizeof *weight);
        for (int k = 0; k < T * D; k++) {
            sy_real d = (sy_real)fabs((double)(B.y->x[k] - y[k]));
            if (d > most) most = d;
            sy_expect_near("output", (double)B.y->x[k], (double)y[k], 0.02, 0.02);
        }
        if (!(most > 0)) fail_msg("nothing was rounded: the outputs are the exact ones");
        memcpy(y, B.y->x, T * D * sizeof *y);
        for (int s = 0; s < T / SEQ; s++) {                      /* each sequence alone */
            bed_tokens(&B, s, 1, SEQ);
            bed_go(&B, SY_SERVE);
            sy_expect_same("a sequence alone", B.y->x, y + s * SEQ * D, SEQ * D * sizeof *y);
        }
        free(y), free(expert), free(weight);
        bed_close(&B);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(routes_stay) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
