/* tests/routers/contract.h - what every router owes, whatever it does: one call of contract_run() from its test file.
 *
 * Defaults are valid and every option reads back; what lies outside its range is refused; each trained parameter gets a gradient and moves, each frozen one keeps its
 * bits; parameters and buffers are the whole state; the same bits for any number of threads and any neighbours (unless it declares that it couples tokens, and always when
 * serving); token by token equals the whole when serving; a second run keeps the choices; padding has no slots; overrides are obeyed or refused; a step allocates nothing
 * once it is warm; the n-th allocation fails and a status comes back; the neutral setting is its base bit for bit; the auxiliary losses alone move the router. */
#ifndef SY_TEST_CONTRACT_H
#define SY_TEST_CONTRACT_H

#include "core/alloc.h"
#include "route/bed.h"
#include "train/optim.h"

typedef struct contract {
    const char *key;
    const char *router;                 /* text that works over 4 experts; other variants in `more` */
    const char *more[6];
    const char *neutral, *base;         /* two texts that must be the same bits in TRAIN, EVAL and SERVE; NULL: it has no neutral setting */
    const char *balance;                /* the term whose loss must move the router alone; NULL: the router's own losses; "none": nothing is trained by a loss */
    int         Z;                      /* null experts */
    int64_t     step;                   /* of the run, for methods with phases */
} contract;

static const int64_t contract_ids[16] = { 90, 70, 60, 30, 30, 20, 11, 9, 8, 7, 5, 3, 2, 1, 0, 0 };

static inline sy_status contract_open(bed *B, const contract *c, const char *router, int D, int threads, sy_err *err)
{
    sy_block_spec spec = { .router = router, .D = D, .F = 7, .Z = c->Z, .zero = c->Z ? "null" : NULL, .balance = { c->balance }, .n_balance = c->balance && strcmp(c->balance, "none") };
    SY_TRY(bed_try(B, &spec, threads, true, &sy_builtin_methods, err));
    B->step = c->step;
    return sy_block_learn(&B->b, 16, contract_ids, NULL, err);
}

static inline void contract_bed(bed *B, const contract *c, const char *router, int D, int threads)
{
    sy_err err = { 0 };
    if (contract_open(B, c, router, D, threads, &err) != SY_OK) fail_msg("%s: %s", router, err.text);
    sy_expect_ok(sy_block_before(&B->b, c->step, 10, 0, err));
}

/* One training step on the tokens that are there: weight 1 or 0 of the main loss, auxiliary losses, update. */
static inline sy_status contract_step(bed *B, double main, sy_err *err)
{
    sy_params *p = &B->params;
    sy_optim o;
    sy_opt_defaults(sy_optim_opts, &o);
    o.weight_decay = 0;
    SY_TRY(sy_block_before(&B->b, B->step, 10, 0, err));
    sy_grad_zero(&B->eng, p);
    if (B->b.flags & SY_NEEDCOUNT) SY_TRY(bed_run(B, SY_COUNT_PASS, NULL, err));
    SY_TRY(bed_run(B, SY_TRAIN, NULL, err));
    sy_real *c = sy_tape_alloc(&B->tape, sy_numel(B->y), sizeof *c);
    SY_TRY(sy_tape_status(&B->tape, err));
    for (size_t i = 0; i < sy_numel(B->y); i++) c[i] = (sy_real)(main * (2 * sy_draw(3, i, 5) - 1));
    sy_tensor *l = sy_dot_const(&B->tape, B->y, c);
    for (int i = 0; i < B->aux.n; i++) l = sy_add(&B->tape, l, B->aux.l[i].value);
    SY_TRY(sy_tape_status(&B->tape, err));
    SY_TRY(sy_backward(&B->tape, l, err));
    sy_optim_step(&B->eng, p, &o, 1e-2, 1, 1);
    return sy_block_after(&B->b, B->step, 10, 0, err);
}

/* --- options ------------------------------------------------------------------------------------------------------------------- */

struct contract_walk { const contract *c; const sy_method *m; sy_arena a; };

static inline void contract_reads_back(const struct contract_walk *w, sy_arena *a, const char *text)
{
    const sy_method *m;
    void *s, *again;
    sy_test_case("%s", text);
    sy_expect_ok(sy_method_make(&sy_builtin_methods, SY_ROUTER, text, a, &m, &s, err));
    assert_ptr_equal(m, w->m);
    char *all = sy_method_text(m, s, true, a), *some = sy_method_text(m, s, false, a);
    sy_expect_ok(sy_method_make(&sy_builtin_methods, SY_ROUTER, all, a, &m, &again, err));
    assert_string_equal(sy_method_text(m, again, true, a), all);
    sy_expect_ok(sy_method_make(&sy_builtin_methods, SY_ROUTER, some, a, &m, &again, err));
    assert_string_equal(sy_method_text(m, again, true, a), all);
    if (strchr(text, '=')) assert_non_null(strstr(all, strchr(text, ':') + 1));
}

static inline void contract_option(const sy_opt *row, size_t at, int index, void *arg)
{
    struct contract_walk *w = arg;
    const char *key = w->c->key;
    (void)at, (void)index;
    assert_true(row->help && strlen(row->help) > 5);
    sy_err e = { 0 }, *err = &e;
    const sy_method *m;
    void *s;
#define TEXT(...) sy_arena_printf(&w->a, __VA_ARGS__)
    if (row->type == SY_OPT_INT || row->type == SY_OPT_REAL) {
        contract_reads_back(w, &w->a, TEXT("%s:%s=%g", key, row->name, row->lo));
        contract_reads_back(w, &w->a, TEXT("%s:%s=%g", key, row->name, row->type == SY_OPT_INT ? floor((row->def + 1 <= row->hi ? row->def + 1 : row->lo)) : row->def * 0.5 >= row->lo ? row->def * 0.5 : row->lo));
        for (int side = 0; side < 2; side++) {
            double out = side ? row->hi + fmax(1, fabs(row->hi)) : row->lo - fmax(1, fabs(row->lo));
            char *text = TEXT(row->type == SY_OPT_INT ? "%s:%s=%.0f" : "%s:%s=%g", key, row->name, out);
            sy_test_case("%s", text);
            sy_expect_fail(sy_method_make(&sy_builtin_methods, SY_ROUTER, text, &w->a, &m, &s, err), SY_EARG, row->name);
        }
    } else if (row->type == SY_OPT_BOOL) {
        contract_reads_back(w, &w->a, TEXT("%s:%s=true", key, row->name));
        contract_reads_back(w, &w->a, TEXT("%s:%s=false", key, row->name));
    } else if (row->type == SY_OPT_ENUM) {
        for (const char *p = row->text; *p; p += strspn(p, "|")) {
            size_t n = strcspn(p, "|");
            contract_reads_back(w, &w->a, TEXT("%s:%s=%.*s", key, row->name, (int)n, p));
            p += n;
        }
    }
    if (row->type != SY_OPT_TEXT) sy_expect_fail(sy_method_make(&sy_builtin_methods, SY_ROUTER, TEXT("%s:%s=nonsense", key, row->name), &w->a, &m, &s, err), SY_EARG, row->name);
    if (row->alias) sy_expect_ok(sy_method_make(&sy_builtin_methods, SY_ROUTER, TEXT("%s:%s=%s", key, row->alias, row->type == SY_OPT_BOOL ? "true" : row->type == SY_OPT_ENUM ? TEXT("%.*s", (int)strcspn(row->text, "|"), row->text) : TEXT("%g", row->def)), &w->a, &m, &s, err));
#undef TEXT
}

static inline void contract_options(const contract *c)
{
    struct contract_walk w = { c, NULL, { 0 } };
    const sy_preset *preset;
    const sy_site site = { .D = 64, .F = 64, .E = 64, .Z = c->Z, .V = 256, .init_std = 0.02 };
    void *s;
    sy_test_case("defaults of %s", c->key);
    sy_expect_ok(sy_method_find(&sy_builtin_methods, SY_ROUTER, c->key, &w.m, &preset, err));
    sy_expect_ok(sy_method_make(&sy_builtin_methods, SY_ROUTER, c->key, &w.a, &w.m, &s, err));
    if (w.m->check) sy_expect_ok(w.m->check(s, &site, err));
    assert_true(w.m->summary && strlen(w.m->summary) > 30);
    if (w.m->opts) sy_opt_each(w.m->opts, contract_option, &w);
    sy_err e = { 0 }, *err = &e;
    sy_expect_fail(sy_method_make(&sy_builtin_methods, SY_ROUTER, sy_arena_printf(&w.a, "%s:no_such_option=1", c->key), &w.a, &w.m, &s, err), SY_EARG, "no_such_option");
    sy_arena_free(&w.a);
}

/* --- training and state ---------------------------------------------------------------------------------------------------------- */

static inline bool contract_of_router(const sy_param *p) { return strstr(p->name, ".mlp.gate.") || strstr(p->name, "model.router."); }

static inline void contract_trains(const contract *c, const char *router)
{
    bed B;
    sy_test_case("%s: every trained parameter moves, every frozen one keeps its bits", router);
    contract_bed(&B, c, router, 6, 1);
    bed_tokens(&B, 0, 8, 8);
    bool seen[64] = { 0 };
    assert_true(B.params.n <= 64);
    sy_real **old = calloc((size_t)B.params.n, sizeof *old);
    for (int i = 0; i < B.params.n; i++) {
        old[i] = malloc((B.params.p[i]->n + 1) * sizeof(sy_real));
        memcpy(old[i], B.params.p[i]->w.data, B.params.p[i]->n * sizeof(sy_real));
    }
    for (int step = 0; step < 3; step++) {                    /* a parameter may start where its gradient is zero because another one does */
        sy_expect_ok(contract_step(&B, 1, err));
        for (int i = 0; i < B.params.n; i++) {
            sy_param *p = B.params.p[i];
            for (size_t k = 0; sy_param_trains(p) && k < p->n; k++) seen[i] |= p->w.dx[k] != 0;
        }
    }
    for (int i = 0; i < B.params.n; i++) {
        const sy_param *p = B.params.p[i];
        bool moved = memcmp(old[i], p->w.data, p->n * sizeof(sy_real)) != 0;
        if (sy_param_trains(p) && !(seen[i] && moved)) fail_msg("%s: gradient %d, moved %d", p->name, seen[i], moved);
        if (p->flags & SY_FROZEN && moved) fail_msg("%s is frozen and has moved", p->name);
        free(old[i]);
    }
    free(old);
    bed_close(&B);
}

static inline void contract_aux(const contract *c, const char *router)
{
    if (c->balance && !strcmp(c->balance, "none")) return;
    bed B;
    sy_test_case("%s: the auxiliary losses alone move the router", router);
    contract_bed(&B, c, router, 6, 1);
    bed_tokens(&B, 0, 8, 8);
    double most = 0;
    for (int step = 0; step < 2; step++) sy_expect_ok(contract_step(&B, 0, err));
    for (int i = 0; i < B.params.n; i++)
        for (size_t k = 0; sy_param_trains(B.params.p[i]) && contract_of_router(B.params.p[i]) && k < B.params.p[i]->n; k++) most = fmax(most, fabs((double)B.params.p[i]->w.dx[k]));
    assert_true(most > 1e-9);
    bed_close(&B);
}

/* What a checkpoint holds, parameters and buffers, is all that decides an output. */
static inline void contract_state(const contract *c, const char *router)
{
    bed A, B;
    sy_test_case("%s: parameters and buffers are the whole state", router);
    contract_bed(&A, c, router, 6, 1);
    bed_tokens(&A, 0, 8, 8);
    for (int step = 0; step < 2; step++) sy_expect_ok(contract_step(&A, 1, err));
    sy_err e = { 0 };
    sy_block_spec spec = { .router = router, .D = 6, .F = 7, .Z = c->Z, .zero = c->Z ? "null" : NULL };
    if (bed_try(&B, &spec, 1, false, &sy_builtin_methods, &e) != SY_OK) fail_msg("%s", e.text);
    bed_tokens(&B, 0, 8, 8);
    assert_int_equal(A.params.n, B.params.n);
    for (int i = 0; i < A.params.n; i++) {
        assert_string_equal(A.params.p[i]->name, B.params.p[i]->name);
        memcpy(B.params.p[i]->w.data, A.params.p[i]->w.data, A.params.p[i]->n * sizeof(sy_real));
    }
    static const sy_mode modes[] = { SY_EVAL, SY_SERVE };
    for (size_t m = 0; m < SY_COUNT(modes); m++) {
        if (modes[m] == SY_SERVE && A.b.flags & SY_NOSERVE) continue;
        A.step = B.step = 0;
        bed_go(&A, modes[m]), bed_go(&B, modes[m]);
        sy_expect_same("y", B.y->x, A.y->x, (size_t)A.T * 6 * sizeof(sy_real));
    }
    bed_close(&A), bed_close(&B);
}

/* --- the same bits ----------------------------------------------------------------------------------------------------------------- */

static inline void contract_bits(const contract *c, const char *router)
{
    static const sy_mode modes[] = { SY_TRAIN, SY_EVAL, SY_SERVE };
    enum { LEN = 9, D = 33, MANY = 40 };
    for (size_t m = 0; m < SY_COUNT(modes); m++) {
        bed A, B, C;
        sy_mode mode = modes[m];
        contract_bed(&A, c, router, D, 1), contract_bed(&B, c, router, D, 3);
        if (mode == SY_SERVE && A.b.flags & SY_NOSERVE) { bed_close(&A), bed_close(&B); continue; }
        sy_test_case("%s, mode %d: three threads", router, (int)mode);
        bed_tokens(&A, 0, MANY, LEN), bed_tokens(&B, 0, MANY, LEN);
        bed_go(&A, mode), bed_go(&B, mode);
        sy_expect_same("y", B.y->x, A.y->x, (size_t)A.T * D * sizeof(sy_real));
        bed_close(&B);
        if (A.b.flags & SY_COUPLES && mode != SY_SERVE) { bed_close(&A); continue; }
        sy_test_case("%s, mode %d: a sequence alone, and token by token", router, (int)mode);
        contract_bed(&B, c, router, D, 1);
        bed_tokens(&B, 5, 1, LEN);
        bed_go(&B, mode);
        sy_expect_same("alone", B.y->x, A.y->x + (size_t)5 * LEN * D, (size_t)LEN * D * sizeof(sy_real));
        contract_bed(&C, c, router, D, 1);
        for (int t = 0; t < LEN && !(A.b.flags & SY_MIXES); t++) {
            bed_tokens(&C, 5, 1, LEN);
            C.T = 1;
            memcpy(C.value, B.value + (size_t)t * D, D * sizeof(sy_real));
            C.pos[0] = t, C.id[0] = B.id[t], C.key[0] = B.key[t], C.label[0] = B.label[t];
            for (int i = 0; i < 4; i++) C.back[i][0] = B.back[i][t];
            bed_go(&C, mode);
            sy_expect_same("token by token", C.y->x, B.y->x + (size_t)t * D, D * sizeof(sy_real));
        }
        bed_close(&A), bed_close(&B), bed_close(&C);
    }
}

static inline void contract_again(const contract *c, const char *router)
{
    bed A;
    sy_test_case("%s: a second run keeps choices, outputs and counts", router);
    contract_bed(&A, c, router, 6, 1);
    bed_tokens(&A, 0, 6, 8);
    bed_go(&A, SY_TRAIN);
    if (!(A.b.flags & SY_MIXES)) {
        sy_real *y = malloc((size_t)A.T * 6 * sizeof *y);
        int64_t seen = 0;
        memcpy(y, A.y->x, (size_t)A.T * 6 * sizeof *y);
        bed_keep(&A);
        for (int e = 0; e < 4 + c->Z; e++) seen += A.b.counts.seen[e];
        sy_expect_ok(bed_run(&A, SY_TRAIN, &A.again, err));
        sy_expect_ids("expert", A.route->expert, A.again.expert, (size_t)A.again.n);
        sy_expect_ids("first_slot", A.route->first_slot, A.again.first_slot, (size_t)A.T + 1);
        sy_expect_same("y", A.y->x, y, (size_t)A.T * 6 * sizeof *y);
        for (int e = 0; e < 4 + c->Z; e++) seen -= A.b.counts.seen[e];
        assert_int_equal(seen, 0);
        free(y);
    }
    bed_close(&A);
}

static inline void contract_edges(const contract *c, const char *router)
{
    static const sy_mode modes[] = { SY_TRAIN, SY_COUNT_PASS, SY_EVAL, SY_SERVE };
    for (size_t m = 0; m < SY_COUNT(modes); m++) {
        bed B;
        contract_bed(&B, c, router, 6, 1);
        if (modes[m] == SY_SERVE && B.b.flags & SY_NOSERVE) { bed_close(&B); continue; }
        sy_test_case("%s, mode %d: no token, padding alone, some padding", router, (int)modes[m]);
        bed_tokens(&B, 0, 1, 0);
        bed_go(&B, modes[m]);
        bed_tokens(&B, 0, 1, 3);
        B.valid = calloc(3, 1);
        bed_go(&B, modes[m]);
        for (int i = 0; i < 18; i++) assert_true(B.y->x[i] == 0);
        for (int i = 0; i < B.aux.n; i++) assert_true(isfinite((double)B.aux.l[i].value->x[0]));
        bed_tokens(&B, 0, 3, 5);
        B.valid = malloc(15);
        for (int t = 0; t < 15; t++) B.valid[t] = t % 5 != 4;
        bed_go(&B, modes[m]);
        for (int t = 4; t < 15; t += 5) {
            if (B.route) assert_int_equal(B.route->first_slot[t + 1], B.route->first_slot[t]);
            for (int d = 0; d < 6; d++) assert_true(B.y->x[6 * t + d] == 0);
        }
        bed_close(&B);
    }
}

/* k = 1, ranks {1} and a threshold (which is no method's default): obeyed, or refused with a sentence; never ignored. */
static inline void contract_overrides(const contract *c, const char *router)
{
    static const int second[] = { 1 };
    static const sy_override over[] = { { .k = 1 }, { .n_ranks = 1, .ranks = second }, { .threshold = 0.35 } };
    for (size_t i = 0; i < SY_COUNT(over); i++) {
        bed A, B;
        sy_err e = { 0 };
        sy_test_case("%s, override %d", router, (int)i);
        contract_bed(&A, c, router, 6, 1), contract_bed(&B, c, router, 6, 1);
        bed_tokens(&A, 0, 8, 8), bed_tokens(&B, 0, 8, 8);
        sy_mode mode = A.b.flags & SY_NOSERVE ? SY_EVAL : SY_SERVE;
        B.over = &over[i];
        bed_go(&A, mode);
        if (bed_run(&B, mode, NULL, &e) != SY_OK) assert_true(strlen(e.text) > 20);
        else if (i < 2) for (int t = 0; t < B.T; t++) assert_true(B.route->first_slot[t + 1] - B.route->first_slot[t] <= 1);
        else assert_true(B.route->n != A.route->n || memcmp(B.route->expert, A.route->expert, (size_t)A.route->n * sizeof(int)));
        bed_close(&A), bed_close(&B);
    }
}

/* --- memory ------------------------------------------------------------------------------------------------------------------------- */

static inline sy_status contract_life(bed *B, const contract *c, const char *router, sy_err *err)
{
    SY_TRY(contract_open(B, c, router, 6, 1, err));
    bed_tokens(B, 0, 3, 9);
    SY_TRY(contract_step(B, 1, err));
    return bed_run(B, B->b.flags & SY_NOSERVE ? SY_EVAL : SY_SERVE, NULL, err);
}

static inline void contract_memory(const contract *c, const char *router)
{
    uint64_t n = 1;
    bed B;
    for (sy_status st = SY_ENOMEM; st != SY_OK; n++) {
        sy_err e = { 0 };
        sy_test_case("%s, allocation %d fails", router, (int)n);
        sy_alloc_fail_at(n, 1);
        st = contract_life(&B, c, router, &e);
        sy_alloc_fail_at(0, 0);
        if (st != SY_OK) assert_int_equal(st, SY_ENOMEM);
        bed_close(&B);
        assert_true(n < 500);
    }
    assert_true(n > 3);
    sy_test_case("%s: a warm step allocates nothing", router);
    sy_expect_ok(contract_life(&B, c, router, err));
    uint64_t calls = 0;
    for (int step = 0; step < 6; step++) {
        if (step == 3) calls = sy_alloc_calls();
        sy_expect_ok(contract_step(&B, 1, err));
    }
    assert_int_equal(sy_alloc_calls(), calls);
    bed_close(&B);
}

static inline void contract_neutral(const contract *c)
{
    static const sy_mode modes[] = { SY_TRAIN, SY_EVAL, SY_SERVE };
    const sy_method *m;
    const sy_preset *preset;
    sy_expect_ok(sy_method_find(&sy_builtin_methods, SY_ROUTER, c->key, &m, &preset, err));
    assert_int_equal(m->neutral != NULL, c->neutral != NULL);
    for (size_t i = 0; c->neutral && i < SY_COUNT(modes); i++) {
        bed A, B;
        sy_err e;
        sy_test_case("%s against %s, mode %d: the same bits", c->neutral, c->base, (int)modes[i]);
        if (bed_try(&A, BED_SPEC(.router = c->base, .E = 5), 1, true, &sy_builtin_methods, &e) != SY_OK) fail_msg("%s", e.text);
        if (bed_try(&B, BED_SPEC(.router = c->neutral, .E = 5), 1, true, &sy_builtin_methods, &e) != SY_OK) fail_msg("%s", e.text);
        const sy_param *w = sy_params_find(&A.params, "model.layers.3.mlp.gate.weight");
        sy_param *v = sy_params_find(&B.params, "model.layers.3.mlp.gate.weight");
        assert_true(w && v && w->n == v->n);
        memcpy(v->w.data, w->w.data, w->n * sizeof(sy_real));
        bed_tokens(&A, 0, 6, 8), bed_tokens(&B, 0, 6, 8);
        bed_go(&A, modes[i]), bed_go(&B, modes[i]);
        sy_expect_ids("expert", B.route->expert, A.route->expert, (size_t)A.route->n);
        sy_expect_same("y", B.y->x, A.y->x, (size_t)A.T * A.D * sizeof(sy_real));
        if (modes[i] == SY_TRAIN) {
            sy_expect_ok(sy_backward_from(&A.tape, A.y, A.value, err));
            sy_expect_ok(sy_backward_from(&B.tape, B.y, B.value, err));
            sy_expect_same("gradient of the gate", v->w.dx, w->w.dx, w->n * sizeof(sy_real));
        }
        bed_close(&A), bed_close(&B);
    }
}

static inline void contract_run(const contract *c)
{
    contract_options(c);
    contract_neutral(c);
    const char *text[8] = { c->router };
    for (int i = 0; i < 6; i++) text[i + 1] = c->more[i];
    for (int i = 0; text[i]; i++) {
        contract_trains(c, text[i]);
        contract_aux(c, text[i]);
        contract_state(c, text[i]);
        contract_bits(c, text[i]);
        contract_again(c, text[i]);
        contract_edges(c, text[i]);
        contract_overrides(c, text[i]);
        contract_memory(c, text[i]);
    }
}

#endif
