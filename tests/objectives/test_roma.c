/* tests/objectives/test_roma.c - routing manifold alignment: samples, neighbours and the term against slow loops, its gradient in double, and the invariants of the definition. */
#include "objectives/contract.h"

#include <math.h>

#include "model/checkpoint.h"

#define MODEL "layers=dense,sparse*2 num_hidden_layers=3 val_fraction=0 balance='' batch_size=4 seq_len=12 warmup_steps=0 lr_schedule=constant "
#define GATE1 "model.layers.1.mlp.gate.weight"
#define GATE2 "model.layers.2.mlp.gate.weight"

enum { N = 18, MOST = 64, E = 4 };

/* Three tasks of six samples: a letter made large, a letter made small, a digit counted up. */
static const char *samples(void)
{
    const char *path = bed_path("answers.jsonl");
    sy_buf b = { 0 };
    for (int i = 0; i < 6; i++) {
        sy_buf_printf(&b, "{\"prompt\": \"up %c>\", \"completion\": \"%c\"}\n", 'a' + i, 'A' + i);
        sy_buf_printf(&b, "{\"prompt\": \"low %c>\", \"completion\": \"%c\"}\n", 'A' + i, 'a' + i);
        sy_buf_printf(&b, "{\"prompt\": \"next %d>\", \"completion\": \"%d\"}\n", i, i + 1);
    }
    sy_expect_ok(sy_file_write(path, b.data, b.n, err));
    sy_buf_free(&b);
    return path;
}

/* --- by hand ------------------------------------------------------------------------------------------------------------------------ */

typedef struct known { int n, layers, width; bool right[MOST]; double r[MOST][2 * E], u[MOST][1024]; } known;

static void look(bed *b, sy_model *m, int layers, bool ngrams, known *k)
{
    sy_tape t;
    sy_arena a = { 0 };
    *k = (known){ .layers = layers, .width = ngrams ? 1024 : m->spec.hidden_size };
    sy_tape_init(&t, &b->eng, false);
    for (int64_t row = 0; row < sy_data_epoch_rows(b->data); row++) {
        sy_batch x;
        sy_route *routes[2];
        sy_arena_reset(&a), sy_tape_reset(&t);
        sy_expect_ok(sy_data_rows(b->data, row, 1, &a, &x, err));
        sy_tensor *z = sy_model_logits(m, &t, sy_model_hidden(m, &t, &x, &(sy_run){ .mode = SY_SERVE, .routes = routes }), NULL, x.T);
        sy_expect_ok(sy_tape_status(&t, err));
        for (int g = 0; g < x.n_seg; g++, k->n++) {
            int last = -1, from = x.seg[g].row;
            double norm = 0;
            k->right[k->n] = true;
            for (int i = from; i < from + x.seg[g].n; i++) {
                if (x.label[i] < 0) continue;
                if (last < 0) last = i;
                int best = 0;
                for (int v = 1; v < 256; v++) if (z->x[i * 256 + v] > z->x[i * 256 + best]) best = v;
                k->right[k->n] &= best == x.label[i];
            }
            for (int l = 0; l < layers; l++) for (int e = 0; e < E; e++) k->r[k->n][l * E + e] = (double)routes[2 - layers + l]->probs->x[last * E + e];
            for (int i = from; i <= last; i++) {
                for (int d = 0; d < k->width && !ngrams; d++) k->u[k->n][d] += (double)m->embed->leaf.x[x.id[i] * k->width + d];
                uint64_t h = 1469598103934665603u;
                for (int j = 0; ngrams && j < 3 && i - j >= from; j++) h = (h ^ (uint64_t)x.id[i - j]) * 1099511628211u, k->u[k->n][(h >> 33) % 1024]++;
            }
            for (int d = 0; d < k->width; d++) norm += k->u[k->n][d] * k->u[k->n][d];
            for (int d = 0; d < k->width; d++) k->u[k->n][d] /= sqrt(norm);
        }
    }
    sy_tape_free(&t);
    sy_arena_free(&a);
}

/* sum over all samples i of sum_{j in N(i)} W_ij |r_i - r_j|^2: the k of largest cosine by counting, not by keeping a list. */
static double distance(const known *k, int neighbours, double sigma)
{
    double sum = 0;
    for (int i = 0; i < k->n; i++) {
        double cos[MOST], weights = 1e-9, part = 0;
        for (int j = 0; j < k->n; j++) {
            cos[j] = 0;
            for (int d = 0; d < k->width; d++) cos[j] += k->u[i][d] * k->u[j][d];
        }
        for (int j = 0; j < k->n; j++) {
            int nearer = 0;
            double off = 0;
            if (j == i || !k->right[j]) continue;
            for (int o = 0; o < k->n; o++) nearer += o != i && k->right[o] && (cos[o] > cos[j] + 1e-9 || (fabs(cos[o] - cos[j]) <= 1e-9 && o < j));
            if (nearer >= neighbours) continue;
            for (int c = 0; c < k->layers * E; c++) off += (k->r[i][c] - k->r[j][c]) * (k->r[i][c] - k->r[j][c]);
            double w = exp(-(1 - cos[j]) * (1 - cos[j]) / (2 * sigma * sigma));
            weights += w;
            part += w * off;
        }
        sum += part / weights;
    }
    return sum;
}

/* A model that has learned to answer some of the samples, not all. */
static sy_model *trained(bed *b)
{
    static known k;
    sy_stepper s;
    sy_step_result r;
    int right = 0, steps = 0;
    sy_model *m = bed_model(b);
    bed_stepper(b, m, &s);
    for (; right < 5; steps++) {
        if (steps == 2000) fail_msg("%d of %d samples are answered after %d steps", right, k.n, steps);
        sy_expect_ok(sy_stepper_run(&s, &r, err));
        if (steps % 8) continue;
        look(b, m, 1, false, &k);
        right = 0;
        for (int i = 0; i < k.n; i++) right += k.right[i];
    }
    assert_true(right < N);
    sy_stepper_close(&s);
    return m;
}

/* --- tests --------------------------------------------------------------------------------------------------------------------------- */

static double term(const sy_step_result *r)
{
    for (int i = 0; i < r->n_aux; i++) if (!strcmp(r->aux[i].name, "roma.distance")) return r->aux[i].value;
    return 0;
}

/* One step over the whole epoch: its term is lambda(t) / B times the distance of all samples. */
static double one_step(bed *b, sy_model *m, const char *objective, int64_t step, sy_step_result *r)
{
    sy_stepper s;
    sy_arena a = { 0 };
    bed_stepper(b, m, &s);
    s.batch_size = (int)sy_data_epoch_rows(b->data);
    s.step = step;
    sy_expect_ok(sy_objectives_open(&s.objectives, objective, &b->eng.methods, &a, err));
    sy_expect_ok(sy_objectives_begin(&s.objectives, m, b->data, &a, err));
    sy_expect_ok(sy_stepper_run(&s, r, err));
    double v = term(r);
    sy_stepper_close(&s);
    sy_arena_free(&a);
    return v;
}

/* lambda(t) = lambda_reg*min(1,(t+1)/lambda_warmup_steps); the kernel; S by the model's own answers; both vectors; target layers. */
static void formula(void **state)
{
    (void)state;
    static const struct { const char *text; int k, layers; double sigma, lambda; int64_t step; bool ngrams; } cases[] = {
        { "roma:lambda_warmup_steps=1,routers_only=false", 5, 2, 0.4, 0.8, 0, false },
        { "roma:k=1,lambda_warmup_steps=10,lambda_reg=2,sigma=0.1,routers_only=false", 1, 2, 0.1, 2 * 0.4, 3, false },
        { "roma:k=3,lambda_warmup_steps=10,target_layers=1,routers_only=false", 3, 1, 0.4, 0.8, 99, false },
        { "roma:k=2,lambda_warmup_steps=1,embed=ngrams,routers_only=false", 2, 2, 0.4, 0.8, 0, true },
        { "roma:k=64,lambda_warmup_steps=1", 64, 2, 0.4, 0.8, 0, false },
    };
    static known k;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed b;
        sy_step_result r;
        int right = 0;
        sy_test_case("%s", cases[i].text);
        bed_open_text(&b, 2, MODEL, samples());
        sy_model *m = trained(&b);
        look(&b, m, cases[i].layers, cases[i].ngrams, &k);
        assert_int_equal(k.n, N);
        for (int j = 0; j < k.n; j++) right += k.right[j];
        assert_in_range(right, 5, N - 1);
        double got = one_step(&b, m, cases[i].text, cases[i].step, &r), want = cases[i].lambda / N * distance(&k, cases[i].k, cases[i].sigma);
        assert_true(want > 1e-6);
        sy_expect_near("distance", got, want, 1e-9, sizeof(sy_real) == 8 ? 1e-6 : 1e-4);
        assert_int_equal(r.sequences, N);
        sy_model_free(m);
        bed_close(&b);
    }
}

/* gradient of the term w.r.t. r_i = 2*(r_i - sum_j W_ij r_j)/B, and from there into the gates: loss and term together against central differences. */
static void gradient(void **state)
{
    (void)state;
    if (sizeof(sy_real) == 4) { print_message("gradients are checked in double\n"); return; }
    static const char *const texts[] = { "roma:lambda_warmup_steps=1,lambda_reg=20", "roma:lambda_warmup_steps=1,lambda_reg=20,embed=ngrams,routers_only=false,k=2" };
    for (size_t c = 0; c < SY_COUNT(texts); c++) {
        bed b;
        sy_stepper s;
        sy_step_result r;
        sy_arena a = { 0 };
        bed_open_text(&b, 1, MODEL, samples());
        sy_model *m = trained(&b);
        b.c.train.optim.lr = 0;
        bed_stepper(&b, m, &s);
        s.batch_size = (int)sy_data_epoch_rows(b.data);
        sy_expect_ok(sy_objectives_open(&s.objectives, texts[c], &b.eng.methods, &a, err));
        sy_expect_ok(sy_objectives_begin(&s.objectives, m, b.data, &a, err));
        sy_expect_ok(sy_stepper_run(&s, &r, err));
        assert_true(term(&r) > 1e-3);
        const char *const names[] = { GATE1, GATE2 };
        for (int g = 0; g < 2; g++) {
            sy_param *p = sy_params_find(&m->params, names[g]);
            double most = 0;
            for (size_t i = 0; i < p->n; i += 3) {
                const double h = 1e-5;
                double got = (double)p->w.dx[i], at[2];
                sy_real was = p->leaf.x[i];
                for (int side = 0; side < 2; side++) {
                    p->leaf.x[i] = was + (sy_real)(side ? -h : h);
                    s.step = s.row = 0;
                    sy_expect_ok(sy_stepper_run(&s, &r, err));
                    at[side] = r.loss + term(&r);
                }
                p->leaf.x[i] = was;
                s.step = s.row = 0;
                sy_expect_ok(sy_stepper_run(&s, &r, err));
                sy_expect_near("gradient", got, (at[0] - at[1]) / (2 * h), 1e-8, 1e-5);
                most = fmax(most, fabs(got));
            }
            assert_true(most > 1e-3);
        }
        sy_stepper_close(&s);
        sy_model_free(m);
        bed_close(&b);
        sy_arena_free(&a);
    }
}

/* S empty gives term 0; the term is 0 when all r are equal. */
static void zero(void **state)
{
    (void)state;
    bed b;
    sy_step_result r;
    bed_open_text(&b, 1, MODEL, samples());
    sy_model *fresh = bed_model(&b), *m = trained(&b);
    static known k;
    look(&b, fresh, 2, false, &k);
    for (int i = 0; i < k.n; i++) assert_false(k.right[i]);
    assert_true(one_step(&b, fresh, "roma:lambda_warmup_steps=1", 0, &r) == 0);
    sy_param_fill(sy_params_find(&m->params, GATE1), 0);
    sy_param_fill(sy_params_find(&m->params, GATE2), 0);
    look(&b, m, 2, false, &k);
    int right = 0;
    for (int i = 0; i < k.n; i++) right += k.right[i];
    assert_true(right > 1);
    sy_expect_near("equal routes", one_step(&b, m, "roma:lambda_warmup_steps=1", 0, &r), 0, 1e-15, 0);
    sy_model_free(m), sy_model_free(fresh);
    bed_close(&b);
}

/* lambda=0 equals router tuning; no expert weight changes: only the gates of the target layers move. */
static void routers_only(void **state)
{
    (void)state;
    bed b;
    const char *tuned = bed_path("tuned"), *by_name = bed_path("by-name");
    bed_open_text(&b, 1, MODEL "steps=6 objective=roma:lambda_reg=0,target_layers=1", samples());
    sy_expect_ok(bed_train(&b, tuned, false, err));
    bed_close(&b);
    bed_open_text(&b, 1, MODEL "steps=6 train_params=model.layers.2.mlp.gate.*", samples());
    sy_expect_ok(bed_train(&b, by_name, false, err));
    bed_expect_same_file(tuned, by_name, "model.safetensors");
    sy_model *start = bed_model(&b), *end;
    sy_expect_ok(sy_model_load(&end, &b.eng, tuned, 0, NULL, err));
    for (int i = 0; i < start->params.n; i++) {
        const sy_param *p = start->params.p[i], *q = sy_params_find(&end->params, p->name);
        bool same = !memcmp(p->w.data, q->w.data, p->n * sizeof(sy_real));
        if (same == !strcmp(p->name, GATE2)) fail_msg("%s %s", p->name, same ? "has not moved" : "has moved");
    }
    sy_model_free(start), sy_model_free(end);
    bed_close(&b);
}

/* A run that was cut goes on with the same bits, from the weights that it began with; other ones in their place are refused. */
static void resumed(void **state)
{
    (void)state;
    char from[700], whole[700], cut[700], settings[1500];
    bed b;
    snprintf(from, sizeof from, "%s", bed_path("start"));
    snprintf(whole, sizeof whole, "%s", bed_path("roma-whole"));
    snprintf(cut, sizeof cut, "%s", bed_path("roma-cut"));
    for (int turn = 0; turn < 2; turn++) {                   /* the second time: another model in its place */
        bed_open_text(&b, 1, turn ? MODEL "steps=310" : MODEL "steps=300", samples());
        if (turn) sy_expect_ok(sy_remove_tree(from, err));
        sy_expect_ok(bed_train(&b, from, false, err));
        bed_close(&b);
        snprintf(settings, sizeof settings, MODEL "steps=8 lr=3e-2 from=%s objective=roma:lambda_warmup_steps=4 checkpoint_every=3", from);
        bed_open_text(&b, 1, settings, samples());
        if (!turn) {
            sy_expect_ok(bed_train(&b, whole, false, err));
            volatile sig_atomic_t stop = 1;          /* ends behind the first step */
            sy_expect_ok(sy_train(&(sy_train_job){ .eng = &b.eng, .config = &b.c, .data = b.data, .tok = b.tok, .out = cut, .stop = &stop }, err));
            sy_expect_ok(bed_train(&b, cut, true, err));
            bed_expect_same_run(whole, cut);
            sy_buf m = bed_metrics(whole);
            assert_non_null(strstr(m.data, "roma.distance"));
            sy_buf_free(&m);
        } else {
            sy_err e = { 0 }, *err = &e;
            sy_expect_fail(bed_train(&b, cut, true, err), SY_EARG, "have changed since");
        }
        bed_close(&b);
    }
}

static void refusals(void **state)
{
    (void)state;
    static const struct { const char *settings, *objective, *part; sy_status status; } cases[] = {
        { "layers=dense", "roma", "this model is dense", SY_EUNSUP }, { "router=hash", "roma", "declares that it has none", SY_EUNSUP }, { "router=thor", "roma", "declares that it has none", SY_EUNSUP },
        { "router=smoedropout", "roma", "nothing that is trained", SY_EUNSUP }, { "", "roma:k=0", "outside 1 .. 64", SY_EARG }, { "", "roma:embed=words", "embed", SY_EARG },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed b;
        sy_objectives o;
        sy_arena a = { 0 };
        sy_err e = { 0 }, *err = &e;
        char settings[600];
        sy_test_case("%s, %s", cases[i].settings, cases[i].objective);
        snprintf(settings, sizeof settings, "%s%s", MODEL, cases[i].settings);
        bed_open_text(&b, 1, settings, samples());
        sy_model *m = bed_model(&b);
        sy_status st = sy_objectives_open(&o, cases[i].objective, &b.eng.methods, &a, err);
        if (st == SY_OK) st = sy_objectives_begin(&o, m, b.data, &a, err);
        sy_expect_fail(st, cases[i].status, cases[i].part);
        if (!i) {
            sy_expect_ok(sy_objectives_open(&o, "roma", &b.eng.methods, &a, err));
            sy_expect_fail(((const sy_objective_hooks *)o.term[0].m->hooks)->prepare(o.term[0].s, m, NULL, &a, &(uint64_t){ 0 }, err), SY_EARG, "there is none");
        }
        sy_model_free(m);
        bed_close(&b);
        sy_arena_free(&a);
    }
}

/* A model that was trained once and is the same for every run of the contract. */
static sy_model *start(bed *b)
{
    static char dir[700];
    sy_model *m;
    if (!*dir) {
        snprintf(dir, sizeof dir, "%s", bed_path("contract"));
        sy_expect_ok(sy_mkdirs(dir, err));
        m = trained(b);
        sy_expect_ok(sy_model_save(m, dir, -1, NULL, err));
        sy_model_free(m);
    }
    sy_expect_ok(sy_model_load(&m, &b->eng, dir, SY_MODEL_TRAIN, NULL, err));
    return m;
}

static void contract(void **state)
{
    (void)state;
    objective_contract_run(&(objective_contract){ .key = "roma", .objective = "roma:lambda_warmup_steps=1,lambda_reg=4", .off = "roma:lambda_warmup_steps=1,lambda_reg=0",
                                                  .neutral = "lambda_reg=0,routers_only=false", .settings = MODEL "lr=1e-2", .text = samples(), .model = start });
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(contract), cmocka_unit_test(formula), cmocka_unit_test(gradient), cmocka_unit_test(zero), cmocka_unit_test(routers_only), cmocka_unit_test(resumed), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
