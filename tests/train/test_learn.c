/* float only */
/* tests/train/test_learn.c - what a router learns before step 0: a table of experts by token, out of the corpus' counts. Oracles: the bytes of the
 * text itself; the run that was left alone. */
#include "testing.h"

#include <math.h>

#include "bed.h"

/* --- a router of this test: the r-th most frequent token goes to expert r mod E ------------------------------------------------ */

typedef struct { sy_param *table; } rank_state;

static struct { int calls; int64_t count[256]; double embed; bool fail; } seen;

static sy_status rank_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    rank_state *s = state;
    s->table = sy_own_param(own, "table", SY_BUFFER, false, 0, SY_DIM(at->V));
    return s->table ? SY_OK : err->status;
}

static sy_status rank_learn(void *state, const sy_site *at, sy_err *err)
{
    rank_state *s = state;
    seen.calls++;
    if (seen.fail) return sy_fail(err, SY_EARG, "this corpus teaches nothing");
    if (!at->id_count || !at->embed) return sy_fail(err, SY_EARG, "no counts or no embedding");
    assert_int_equal(at->V, 256);
    memcpy(seen.count, at->id_count, sizeof seen.count);
    const sy_real *x = at->embed->data;
    seen.embed = 0;
    for (int i = 0; i < at->V * at->D; i++) seen.embed += fabs((double)x[i]);
    for (int v = 0; v < at->V; v++) {
        int rank = 0;
        for (int u = 0; u < at->V; u++) rank += at->id_count[u] > at->id_count[v] || (at->id_count[u] == at->id_count[v] && u < v);
        ((sy_real *)s->table->w.data)[v] = (sy_real)(rank % at->E);
    }
    return SY_OK;
}

static sy_status rank_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    rank_state *s = state;
    (void)z;
    sy_tensor *g = sy_new(t, SY_DIM(in->T, out->E + out->Z));
    SY_TRY(sy_tape_status(t, err));
    memset(g->x, 0, sy_numel(g) * sizeof *g->x);
    for (int i = 0; i < in->T; i++) g->x[i * (out->E + out->Z) + (int)((sy_real *)s->table->w.data)[in->id[i]]] = 1;
    return sy_slots_dense(t, in, g, out, err);
}

static const sy_method rank = { .kind = SY_ROUTER, .name = "rank", .title = "by frequency", .size = sizeof(rank_state),
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .flags = SY_NOLOGITS | SY_NOPROBS, .params = rank_params, .learn = rank_learn, .select = rank_select } };

#define SETTINGS "router=rank balance='' checkpoint_every=4 "

static void open_with(bed *b, const char *settings)
{
    bed_open(b, 2, settings);
    sy_expect_ok(sy_engine_register(&b->eng, &rank, err));
    memset(&seen, 0, sizeof seen);
}

/* --- tests --------------------------------------------------------------------------------------------------------------------- */

static void test_counts(void **state)
{
    (void)state;
    bed b;
    int64_t want[256] = { 0 }, train = 0;
    open_with(&b, SETTINGS "steps=1");
    const sy_domain *d = sy_data_domain(b.data, 0);
    sy_buf text = bed_read(bed_text(0), "digits.txt"), more = bed_read(bed_text(0), "words.txt");
    sy_buf_put(&text, more.data, more.n);                       /* one domain; its head is trained on, its end is held out */
    assert_true(sy_data_domains(b.data) == 1 && d->eval_tokens > 0 && d->train_tokens + d->eval_tokens == (int64_t)text.n);
    for (; train < d->train_tokens; train++) want[(unsigned char)text.data[train]]++;
    sy_buf_free(&text);
    sy_buf_free(&more);
    sy_expect_ok(bed_train(&b, bed_path("counts"), false, err));
    assert_int_equal(seen.calls, 1);
    for (int v = 0; v < 256; v++) if (seen.count[v] != want[v]) fail_msg("id %d was counted %lld times, it stands there %lld times", v, (long long)seen.count[v], (long long)want[v]);
    assert_true(train > 2000 && seen.embed > 1);
    sy_err e = { 0 }, *err = &e;
    int64_t few[4];
    sy_expect_fail(sy_data_count_ids(b.data, few, 4, err), SY_ESHAPE, "counts of 4 ids");
    bed_close(&b);
}

struct stopper { volatile sig_atomic_t *stop; int at; };

static void on(void *arg, const sy_train_event *e)
{
    struct stopper *s = arg;
    if (e->moment == SY_AT_STEP && e->step >= s->at) *s->stop = 1;
}

static sy_status run_to(bed *b, const char *out, bool resume, volatile sig_atomic_t *stop, int at, sy_err *err)
{
    struct stopper s = { stop, at };
    return sy_train(&(sy_train_job){ .eng = &b->eng, .config = &b->c, .data = b->data, .tok = b->tok, .out = out, .resume = resume, .stop = stop, .on = on, .arg = &s }, err);
}

static void test_resume(void **state)
{
    (void)state;
    bed b;
    char alone[300], out[300];
    snprintf(alone, sizeof alone, "%s", bed_path("alone"));
    snprintf(out, sizeof out, "%s", bed_path("stopped"));
    open_with(&b, SETTINGS);
    sy_expect_ok(bed_train(&b, alone, false, err));
    assert_int_equal(seen.calls, 1);
    double embed = seen.embed;
    bed_close(&b);
    sy_test_case("stopped behind step 5, resumed: it has learned already");
    for (int k = 0; k < 2; k++) {
        volatile sig_atomic_t stop = 0;
        open_with(&b, SETTINGS);
        sy_expect_ok(run_to(&b, out, k > 0, &stop, k ? 1000 : 5, err));
        assert_int_equal(seen.calls, k ? 0 : 1);
        bed_close(&b);
    }
    bed_expect_same_run(out, alone);
    sy_test_case("killed before its first checkpoint: it learns the same again");
    sy_expect_ok(sy_remove_tree(bed_path("stopped/checkpoints"), err));
    sy_expect_ok(sy_remove_tree(bed_path("stopped/model.safetensors"), err));
    open_with(&b, SETTINGS);
    sy_expect_ok(bed_train(&b, out, true, err));
    assert_int_equal(seen.calls, 1);
    sy_expect_near("embedding", seen.embed, embed, 0, 0);
    bed_close(&b);
    bed_expect_same_run(out, alone);
    sy_test_case("a run from that model keeps its table");
    char set[600];
    snprintf(set, sizeof set, SETTINGS "steps=2 from=%s", alone);
    open_with(&b, set);
    sy_expect_ok(bed_train(&b, bed_path("from"), false, err));
    assert_int_equal(seen.calls, 0);
    sy_model *was, *is;
    sy_expect_ok(sy_model_load(&was, &b.eng, alone, 0, NULL, err));
    sy_expect_ok(sy_model_load(&is, &b.eng, bed_path("from"), 0, NULL, err));
    const sy_param *p = sy_params_find(&was->params, "model.layers.1.mlp.gate.table"), *q = sy_params_find(&is->params, "model.layers.1.mlp.gate.table");
    assert_true(p && q && p->n == 256);
    sy_expect_same("table", p->w.data, q->w.data, p->n * sizeof(sy_real));
    double sum = 0;
    for (size_t i = 0; i < p->n; i++) sum += (double)((sy_real *)p->w.data)[i];
    sy_expect_near("table", sum, 64 * (0 + 1 + 2 + 3), 0, 0);
    sy_model_free(was);
    sy_model_free(is);
    bed_close(&b);
}

static void test_failure(void **state)
{
    (void)state;
    bed b;
    sy_err e = { 0 }, *err = &e;
    open_with(&b, SETTINGS);
    seen.fail = true;
    sy_expect_fail(bed_train(&b, bed_path("failed"), false, err), SY_EARG, "layer 1: router rank: this corpus teaches nothing");
    assert_false(sy_file_exists(bed_path("failed/run.json")));
    bed_close(&b);
    sy_test_case("without data");
    open_with(&b, SETTINGS);
    sy_model *m = bed_model(&b);
    sy_stepper s;
    bed_stepper(&b, m, &s);
    s.data = NULL;
    sy_expect_fail(sy_stepper_learn(&s, err), SY_EARG, "no counts");
    sy_stepper_close(&s);
    sy_model_free(m);
    bed_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_counts), cmocka_unit_test(test_resume), cmocka_unit_test(test_failure) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
