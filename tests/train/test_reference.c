/* float only */
/* A two-layer Mixtral and a two-layer Qwen3-MoE against PyTorch in float64 (tests/ref/make_model_fixtures.py): loss, balance loss, every
 * gradient, and the loss along 20 steps of AdamW. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "methods.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "train/optim.h"

enum { ROWS = 3, LEN = 20, T = ROWS * LEN, STEPS = 20 };

typedef struct fixture { sy_map map; sy_st st; sy_arena a; int id[T], label[T], pos[T], seq[T]; sy_segment seg[ROWS]; uint64_t no[ROWS]; } fixture;

static void open_fixture(fixture *f, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "tests/fixtures/%s.safetensors", name);
    memset(f, 0, sizeof *f);
    sy_expect_ok(sy_map_open(&f->map, path, err));
    sy_expect_ok(sy_st_parse(&f->st, f->map.data, f->map.size, path, &f->a, err));
    float id[T];
    sy_expect_ok(sy_st_read_f32(sy_st_find(&f->st, "ids"), 0, T, id, err));
    for (int i = 0; i < T; i++) {
        f->id[i] = (int)id[i];
        f->pos[i] = i % LEN;
        f->seq[i] = i / LEN;
        f->label[i] = f->pos[i] + 1 < LEN ? (int)id[i + 1] : -1;
    }
    for (int r = 0; r < ROWS; r++) {
        f->seg[r] = (sy_segment){ .row = r * LEN, .n = LEN };
        f->no[r] = (uint64_t)r;
    }
}

static sy_spec spec_of(const char *name)
{
    sy_spec s;
    sy_spec_defaults(&s);
    s.vocab_size = 48, s.hidden_size = 32, s.num_hidden_layers = 2, s.num_attention_heads = 4, s.num_key_value_heads = 2, s.max_position_embeddings = 64;
    s.num_experts = 4, s.moe_intermediate_size = 24, s.layers = "sparse", s.router = "topk:top_k=2,norm_topk_prob=true", s.balance = "switch:coef=0.02,scope=micro";
    if (!strcmp(name, "qwen3moe")) s.head_dim = 12, s.qk_norm = true;
    return s;
}

static double value(const fixture *f, const char *name, size_t i)
{
    double v;
    const sy_st_tensor *t = sy_st_find(&f->st, name);
    if (!t) fail_msg("the fixture has no tensor %s", name);
    sy_expect_ok(sy_st_read_f64(t, i, 1, &v, err));
    return v;
}

/* Name of one piece of a parameter, with a prefix. */
static void piece(char *buf, size_t size, const char *prefix, const sy_param *p, int e)
{
    const char *hole = strstr(p->name, "{e}");
    if (hole) snprintf(buf, size, "%s%.*s%d%s", prefix, (int)(hole - p->name), p->name, e, hole + 3);
    else snprintf(buf, size, "%s%s", prefix, p->name);
}

static int pieces(const sy_param *p) { return strstr(p->name, "{e}") ? p->w.dim[0] : 1; }

static void load(const fixture *f, sy_model *m)
{
    char name[256];
    int used = 0;
    for (int i = 0; i < m->params.n; i++)
        for (int e = 0, k = pieces(m->params.p[i]); e < k; e++, used++) {
            sy_param *p = m->params.p[i];
            piece(name, sizeof name, "w.", p, e);
            const sy_st_tensor *t = sy_st_find(&f->st, name);
            if (!t) fail_msg("the fixture has no tensor %s", name);
            assert_int_equal(t->n, p->n / (size_t)k);
            sy_expect_ok(sy_st_read_f32(t, 0, t->n, (float *)p->w.data + e * t->n, err));
        }
    int there = 0;
    for (int i = 0; i < f->st.n; i++) there += !strncmp(f->st.t[i].name, "w.", 2);
    assert_int_equal(used, there);
}

/* One forward and backward; the gradients are left in the parameters. */
static void run(const fixture *f, sy_model *m, sy_tape *t, double *ce, double *aux)
{
    sy_losses losses = { 0 };
    sy_batch b = { .T = T, .n_seg = ROWS, .id = f->id, .label = f->label, .pos = f->pos, .seq = f->seq, .seg = f->seg, .seq_no = f->no };
    sy_run r = { .mode = SY_TRAIN, .losses = &losses };
    sy_tape_reset(t);
    sy_grad_zero(m->eng, &m->params);
    sy_expect_ok(sy_model_before(m, 0, STEPS, 0, err));
    sy_tensor *h = sy_model_hidden(m, t, &b, &r);
    sy_tensor *loss = sy_cross_entropy(t, h, sy_model_head(m), f->label, &(sy_xent){ .scale = 1.0 / (ROWS * (LEN - 1)) });
    sy_expect_ok(sy_tape_status(t, err));
    *ce = (double)loss->x[0];
    *aux = 0;
    for (int i = 0; i < losses.n; i++) {
        *aux += (double)losses.l[i].value->x[0];
        loss = sy_add(t, loss, losses.l[i].value);
    }
    sy_expect_ok(sy_backward(t, loss, err));
}

static void check(const char *name, const char *kernels)
{
    fixture f;
    sy_engine e;
    sy_model *m;
    sy_tape t;
    double ce, aux;
    char tensor[256];
    sy_spec s = spec_of(name);
    sy_test_case("%s, kernels %s", name, kernels);
    open_fixture(&f, name);
    sy_expect_ok(sy_engine_init(&e, 2, kernels, &sy_builtin_methods, err));
    sy_expect_ok(sy_model_new(&m, &e, &s, SY_MODEL_TRAIN | SY_MODEL_EMPTY, 1, err));
    load(&f, m);
    sy_tape_init(&t, &e, true);
    run(&f, m, &t, &ce, &aux);
    sy_expect_near("loss", ce, value(&f, "loss", 0), 0, fmax(1e-5, 2 * value(&f, "loss", 2) / value(&f, "loss", 0)));
    sy_expect_near("balance loss", aux, value(&f, "loss", 1), 0, 1e-5);
    for (int i = 0; i < m->params.n; i++)
        for (int k = 0, n = pieces(m->params.p[i]); k < n; k++) {
            const sy_param *p = m->params.p[i];
            size_t each = p->n / (size_t)n;
            double diff = 0, norm = 0, want;
            piece(tensor, sizeof tensor, "grad.", p, k);
            for (size_t v = 0; v < each; v++) {
                want = value(&f, tensor, v);
                diff += pow((double)p->w.dx[k * each + v] - want, 2);
                norm += want * want;
            }
            double got = sqrt(diff) / fmax(sqrt(norm), 1e-300);
            piece(tensor, sizeof tensor, "err.", p, k);
            double limit = fmax(1e-5, 2 * value(&f, tensor, 0));
            if (!(got <= limit)) fail_msg("%s, kernels %s: gradient of %s is off by %.3g relative, at most %.3g", name, kernels, tensor + 4, got, limit);
        }
    sy_optim o;
    sy_opt_defaults(sy_optim_opts, &o);
    o.lr = 3e-3;
    for (int step = 1; step <= STEPS; step++) {
        if (step > 1) run(&f, m, &t, &ce, &aux);
        sy_expect_near("loss of a step", ce, value(&f, "curve", (size_t)step - 1), 1e-4, 0);
        double g = sy_grad_norm(&e, &m->params);
        sy_optim_step(&e, &m->params, &o, o.lr, step, g > 1 ? 1 / g : 1);
    }
    sy_tape_free(&t);
    sy_model_free(m);
    sy_engine_uninit(&e);
    sy_map_close(&f.map);
    sy_arena_free(&f.a);
}

static void all(const char *name)
{
    for (int i = 0; sy_kernels_at(i); i++) check(name, sy_kernels_at(i)->name);
}

static void mixtral(void **s) { (void)s; all("mixtral"); }
static void qwen3moe(void **s) { (void)s; all("qwen3moe"); }

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(mixtral), cmocka_unit_test(qwen3moe) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
