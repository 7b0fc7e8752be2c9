/* Every case of a file of tests/conformance against the engine: choices, weights, losses, gradients with respect to the logits, biases after a step.
 * Oracle: torch's autograd in float64 (tests/ref/make_conformance.py). The gate is the identity here, so that the tokens are the logits. */
#include "route/bed.h"

#include "core/file.h"
#include "core/json.h"

#define TOL (sizeof(sy_real) == 8 ? 1e-12 : 2e-5)

static json_t *field(const json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    if (!v) fail_msg("the key '%s' is missing", key);
    return v;
}

static double at(const json_t *rows, int i, int k) { return json_number_value(json_array_get(json_array_get(rows, (size_t)i), (size_t)k)); }

/* Gate rows that pick the logits out of a token; with noise a token is [logits, noise logits]. */
static void identity(bed *B, const char *name, int from)
{
    char full[80];
    snprintf(full, sizeof full, "model.layers.3.mlp.gate.%s", name);
    sy_param *p = sy_params_find(&B->params, full);
    if (!p) fail_msg("no parameter is called %s", full);
    sy_real *w = (sy_real *)p->w.data;
    for (int e = 0; e < p->w.dim[0]; e++) for (int d = 0; d < B->D; d++) w[e * B->D + d] = d == from + e;
}

static void fill(bed *B, const json_t *m, int E)
{
    const json_t *z = field(m, "logits"), *seq = field(m, "sequence"), *valid = field(m, "valid"), *noise = json_object_get(m, "noise_logits"), *key = json_object_get(m, "key");
    int T = (int)json_array_size(z);
    bed_tokens(B, 0, 1, T);
    B->valid = malloc((size_t)T);
    for (int t = 0; t < T; t++) {
        B->valid[t] = json_is_true(json_array_get(valid, (size_t)t));
        B->seq[t] = (int)json_integer_value(json_array_get(seq, (size_t)t));
        B->n_seq = B->seq[t] + 1;
        if (key) B->key[t] = (uint64_t)json_integer_value(json_array_get(key, (size_t)t));
        for (int e = 0; e < E; e++) {
            B->value[(size_t)t * B->D + e] = (sy_real)at(z, t, e);
            if (noise) B->value[(size_t)t * B->D + E + e] = (sy_real)at(noise, t, e);
            if (noise) sy_expect_near("noise", sy_draw_normal(B->key[t], (uint64_t)t, (unsigned)e), at(field(m, "noise"), t, e), 1e-12, 1e-12);
        }
    }
}

static void check_route(const bed *B, const json_t *m)
{
    for (int t = 0; t < B->T; t++) {
        const json_t *expert = json_array_get(field(m, "expert"), (size_t)t), *weight = json_array_get(field(m, "weight"), (size_t)t);
        int from = B->route->first_slot[t], n = B->route->first_slot[t + 1] - from;
        if (n != (int)json_array_size(expert)) fail_msg("token %d has %d experts, want %zu", t, n, json_array_size(expert));
        for (int k = 0; k < n; k++) {
            char name[40];
            snprintf(name, sizeof name, "weight[%d,%d]", t, k);
            if (B->route->expert[from + k] != (int)json_integer_value(json_array_get(expert, (size_t)k))) fail_msg("token %d: expert %d in place %d", t, B->route->expert[from + k], k);
            sy_expect_near(name, (double)B->route->weight->x[from + k], json_number_value(json_array_get(weight, (size_t)k)), TOL, TOL);
        }
    }
}

static void check_gradient(const bed *B, const json_t *rows, int from, int E, double loss)
{
    double most = 0;
    for (int t = 0; t < B->T; t++) for (int e = 0; e < E; e++) most = fmax(most, fabs(at(rows, t, e)));
    for (int t = 0; t < B->T; t++)
        for (int e = 0; e < E; e++) {
            char name[40];
            snprintf(name, sizeof name, "gradient[%d,%d]", t, from + e);
            sy_expect_near(name, B->x->dx ? (double)B->x->dx[(size_t)t * B->D + from + e] : 0, at(rows, t, e), TOL * most, TOL);
        }
    if (loss > 0 && !from) assert_true(most > 0);
}

static void check_micro_batch(bed *B, const json_t *m, int E)
{
    fill(B, m, E);
    bed_go(B, SY_TRAIN);
    check_route(B, m);
    double want = json_number_value(field(m, "loss"));
    if (!B->aux.n) { sy_expect_near("loss", 0, want, 0, 0); return; }
    sy_tensor *loss = B->aux.l[0].value;
    for (int i = 1; i < B->aux.n; i++) loss = sy_add(&B->tape, loss, B->aux.l[i].value);
    sy_expect_near("loss", (double)loss->x[0], want, TOL, TOL);
    sy_expect_ok(sy_backward(&B->tape, loss, err));
    check_gradient(B, field(m, "gradient"), 0, E, want);
    if (json_object_get(m, "noise_gradient")) check_gradient(B, field(m, "noise_gradient"), E, E, want);
}

static void check_bias(const bed *B, const json_t *want)
{
    const sy_param *p = sy_params_find(&B->params, "model.layers.3.mlp.gate.e_score_correction_bias");
    for (int e = 0; want && e < (int)json_array_size(want); e++) sy_expect_near("bias", (double)((const sy_real *)p->w.data)[e], json_number_value(json_array_get(want, (size_t)e)), 1e-6, 0);
}

/* Micro-batches whose counts come first, where the term needs them; then all of them in training; then what follows a step. */
static void check_case(const json_t *c)
{
    bed B;
    const json_t *own = field(c, "switchyard"), *terms = field(own, "balance"), *step, *m;
    int E = (int)json_integer_value(field(c, "experts"));
    size_t i, k, n = json_array_size(field(c, "steps"));
    sy_block_spec spec = { .router = json_string_value(field(own, "router")), .E = E, .D = E, .n_balance = (int)json_array_size(terms) };
    bool noisy = json_object_get(json_array_get(field(json_array_get(field(c, "steps"), 0), "micro_batches"), 0), "noise_logits") != NULL;
    if (noisy) spec.D = 2 * E;
    for (int b = 0; b < spec.n_balance; b++) spec.balance[b] = json_string_value(json_array_get(terms, (size_t)b));
    bed_open(&B, &spec);
    identity(&B, "weight", 0);
    if (noisy) identity(&B, "noise_weight", E);
    json_array_foreach(field(c, "steps"), i, step) {
        sy_expect_ok(sy_block_before(&B.b, (int64_t)i, (int64_t)n, (double)i / (double)n, err));
        check_bias(&B, json_object_get(step, "bias_before"));
        if (B.b.flags & SY_NEEDCOUNT) json_array_foreach(field(step, "micro_batches"), k, m) { fill(&B, m, E); bed_go(&B, SY_COUNT_PASS); }
        json_array_foreach(field(step, "micro_batches"), k, m) check_micro_batch(&B, m, E);
        sy_expect_ok(sy_block_after(&B.b, (int64_t)i, (int64_t)n, (double)i / (double)n, err));
        check_bias(&B, json_object_get(step, "bias_after"));
    }
    bed_close(&B);
}

static void conformance(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    const char **name;
    int files, cases = 0;
    sy_expect_ok(sy_dir_list(SY_SOURCE_DIR "/tests/conformance", &a, &name, &files, err));
    for (int i = 0; i < files; i++) {
        json_t *root, *c;
        char path[1024];
        size_t k, n = strlen(name[i]);
        if (n < 5 || strcmp(name[i] + n - 5, ".json")) continue;
        snprintf(path, sizeof path, SY_SOURCE_DIR "/tests/conformance/%s", name[i]);
        sy_expect_ok(sy_json_read(&root, path, 1 << 24, err));
        assert_string_equal(json_string_value(field(root, "format")), "router-conformance 1");
        json_array_foreach(field(root, "cases"), k, c) {
            sy_test_case("%s: %s", name[i], json_string_value(field(c, "name")));
            check_case(c);
            cases++;
        }
        json_decref(root);
    }
    sy_arena_free(&a);
    assert_true(cases >= 35);
}

/* What a coefficient of one scaling is worth in the other: form slots is K times form share. */
static void scalings(void **state)
{
    (void)state;
    static const struct { const char *term; double factor; } cases[] = { { "switch:form=share,coef=1", 1 }, { "switch:form=slots,coef=1", 3 } };
    double loss[2];
    for (int i = 0; i < 2; i++) {
        bed B;
        bed_open(&B, BED_SPEC(.router = "topk:top_k=3", .balance = { cases[i].term }, .n_balance = 1, .E = 5));
        bed_tokens(&B, 0, 2, 6);
        bed_go(&B, SY_TRAIN);
        loss[i] = bed_aux(&B, "switch") / cases[i].factor;
        bed_close(&B);
    }
    sy_expect_near("slots against share", loss[1], loss[0], 1e-6, 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(conformance), cmocka_unit_test(scalings) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
