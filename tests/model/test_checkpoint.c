/* Models on disk: exact round trips of weights and training state, every damage of the tensors refused by the ledger with a sentence, hostile
 * folders and configs, a full disk, memory that runs out. Oracles: the bits that were saved; the damage that was done. */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/file.h"
#include "methods.h"
#include "model/checkpoint.h"
#include "model/safetensors.h"

static sy_engine eng;

/* "dir/name", kept until the test ends. */
static char *join(const char *dir, const char *name)
{
    static sy_arena paths;
    char *p = sy_arena_printf(&paths, "%s/%s", dir, name);
    assert_non_null(p);
    return p;
}

static char *in_dir(const char *name) { return join(sy_test_dir(), name); }

static sy_spec small(void)
{
    sy_spec s;
    sy_spec_defaults(&s);
    s.vocab_size = 20, s.hidden_size = 8, s.num_hidden_layers = 2, s.num_attention_heads = 2, s.num_key_value_heads = 1, s.intermediate_size = 12;
    s.layers = "dense,sparse", s.num_experts = 3, s.moe_intermediate_size = 4, s.router = "topk:num_experts_per_tok=2", s.qk_norm = true;
    s.shared_expert_intermediate_size = 4, s.shared_expert_gate = true, s.balance = "switch:coef=0.01 zloss:coef=0.001";
    return s;
}

/* Values that a wrong order, a transposition or a lost bit would show. */
static void fill(sy_real *x, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = (sy_real)((double)(int64_t)seed / 9e18);
    }
}

static sy_model *fresh(const sy_spec *s, uint64_t seed)
{
    sy_model *m;
    sy_expect_ok(sy_model_new(&m, &eng, s, SY_MODEL_TRAIN, seed, err));
    for (int i = 0; i < m->params.n; i++) {
        sy_param *p = m->params.p[i];
        fill(p->w.data, p->n, seed + (uint64_t)i);
        if (p->m) fill(p->m, p->n, seed + 1000 + (uint64_t)i), fill(p->v, p->n, seed + 2000 + (uint64_t)i);
    }
    for (int l = 0; l < s->num_hidden_layers; l++)
        if (m->layer[l].sparse) for (int e = 0; e < s->num_experts + s->zero_experts; e++) m->layer[l].block.counts.prev[e] = (int64_t)seed * 10 + 7 * e + ((int64_t)1 << 40);
    return m;
}

static void same_model(const sy_model *a, const sy_model *b, bool state)
{
    assert_int_equal(a->params.n, b->params.n);
    for (int i = 0; i < a->params.n; i++) {
        const sy_param *p = a->params.p[i], *q = b->params.p[i];
        assert_string_equal(p->name, q->name);
        assert_true(p->n == q->n && p->flags == q->flags);
        sy_expect_same(p->name, p->w.data, q->w.data, p->n * sizeof(sy_real));
        if (!state || !p->m) continue;
        sy_expect_same(p->name, p->m, q->m, p->n * sizeof(sy_real));
        sy_expect_same(p->name, p->v, q->v, p->n * sizeof(sy_real));
    }
}

static void same_file(const char *a, const char *b)
{
    sy_map x, y;
    sy_expect_ok(sy_map_open(&x, a, err));
    sy_expect_ok(sy_map_open(&y, b, err));
    assert_int_equal(x.size, y.size);
    sy_expect_same(a, x.data, y.data, x.size);
    sy_map_close(&x);
    sy_map_close(&y);
}

/* A folder with the small model of `seed`. */
static const char *saved(const char *name, uint64_t seed)
{
    const char *dir = in_dir(name);
    sy_spec s = small();
    sy_model *m = fresh(&s, seed);
    sy_expect_ok(sy_remove_tree(dir, err));
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_model_save(m, dir, 3, NULL, err));
    sy_model_free(m);
    return dir;
}

static void write_text(const char *path, const char *text) { sy_expect_ok(sy_file_write(path, text, strlen(text), err)); }

/* --- round trips ---------------------------------------------------------------------------------------------------------- */

static void round_trip(void **state)
{
    static const struct { const char *what, *router, *expert, *zero, *layers; int zeros, shared; bool tied; } cases[] = {
        { "plain", "topk:top_k=2", "swiglu", "null", "dense,sparse", 0, 0, false },
        { "shared expert, tied head", "topk:top_k=1", "swiglu", "null", "sparse", 0, 4, true },
        { "router with a buffer", "auxfree:top_k=2", "swiglu", "null", "sparse", 0, 4, false },
        { "zero-cost experts with parameters", "topk:top_k=2", "swiglu", "constant", "sparse", 2, 0, false },
        { "other experts", "topk:top_k=2", "gelu", "identity", "dense,sparse", 1, 0, false },
        { "dense", "topk", "swiglu", "null", "dense", 0, 0, false },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].what);
        sy_spec s = small();
        s.router = cases[i].router, s.expert = cases[i].expert, s.zero_expert = cases[i].zero, s.layers = cases[i].layers, s.zero_experts = cases[i].zeros;
        s.shared_expert_intermediate_size = cases[i].shared, s.shared_expert_gate = cases[i].shared > 0, s.tie_word_embeddings = cases[i].tied;
        s.rms_norm_eps = 1.2345678901234567e-5, s.rope_theta = 12345.678901234567, s.initializer_range = 0.1;
        sy_model *m = fresh(&s, 5 + i), *back;
        sy_ledger in, out;
        const char *a = in_dir("a"), *b = in_dir("b");
        sy_expect_ok(sy_mkdirs(a, err));
        sy_expect_ok(sy_mkdirs(b, err));
        sy_expect_ok(sy_model_save(m, a, -1, &out, err));
        sy_expect_ok(sy_model_load(&back, &eng, a, SY_MODEL_TRAIN, &in, err));
        same_model(m, back, false);
        size_t values = 0;
        for (int p = 0; p < m->params.n; p++) values += m->params.p[p]->n;
        assert_true(in.values == values && out.values == values);
        assert_int_equal(in.count[SY_L_LOADED], out.count[SY_L_SAVED]);
        assert_int_equal(in.experts, out.experts);
        assert_int_equal(in.n, in.count[SY_L_LOADED]);
        assert_true(back->spec.rms_norm_eps == s.rms_norm_eps && back->spec.rope_theta == s.rope_theta && back->spec.initializer_range == s.initializer_range);
        sy_expect_ok(sy_model_save(back, b, -1, NULL, err));
        same_file(join(a, "model.safetensors"), join(b, "model.safetensors"));
        same_file(join(a, "config.json"), join(b, "config.json"));
        same_file(join(a, "generation_config.json"), join(b, "generation_config.json"));

        sy_state_item save[] = { { "step", 123456789012345 }, { "seed", INT64_MIN }, { "most", INT64_MAX } }, load[] = { { "most", 0 }, { "step", 0 }, { "seed", 0 } };
        char *path = join(a, "training_state.safetensors");
        sy_model *other = fresh(&s, 99);
        sy_expect_ok(sy_state_save(m, path, save, 3, err));
        sy_expect_ok(sy_model_read(other, a, NULL, err));
        sy_expect_ok(sy_state_load(other, path, load, 3, err));
        same_model(m, other, true);
        assert_true(load[0].value == INT64_MAX && load[1].value == save[0].value && load[2].value == INT64_MIN);
        for (int l = 0; l < s.num_hidden_layers; l++)
            if (m->layer[l].sparse) sy_expect_same("counts", m->layer[l].block.counts.prev, other->layer[l].block.counts.prev, (size_t)(s.num_experts + s.zero_experts) * sizeof(int64_t));
        sy_ledger_free(&in);
        sy_ledger_free(&out);
        sy_model_free(m);
        sy_model_free(back);
        sy_model_free(other);
        sy_expect_ok(sy_remove_tree(a, err));
        sy_expect_ok(sy_remove_tree(b, err));
    }
}

/* --- damage ---------------------------------------------------------------------------------------------------------------- */

/* The tensors of a file, to be changed and written again. */
typedef struct edit { sy_map map; sy_st st; sy_arena a; sy_st_out t[256]; int n; const char *path; } edit;

static void edit_open(edit *x, const char *path)
{
    memset(x, 0, sizeof *x);
    x->path = path;
    sy_expect_ok(sy_map_open(&x->map, path, err));
    sy_expect_ok(sy_st_parse(&x->st, x->map.data, x->map.size, path, &x->a, err));
    assert_true(x->st.n < 250);
    for (int i = 0; i < x->st.n; i++) {
        const sy_st_tensor *t = &x->st.t[i];
        x->t[x->n] = (sy_st_out){ t->name, t->type, t->nd, { 0 }, t->data };
        memcpy(x->t[x->n++].dim, t->dim, sizeof t->dim);
    }
}

static sy_st_out *edit_find(edit *x, const char *name)
{
    for (int i = 0; i < x->n; i++) if (!strcmp(x->t[i].name, name)) return &x->t[i];
    fail_msg("the file has no tensor %s", name);
    return NULL;
}

static void drop(edit *x, const char *name)
{
    sy_st_out *t = edit_find(x, name);
    *t = x->t[--x->n];
}

static void edit_close(edit *x)
{
    sy_expect_ok(sy_st_write(x->path, x->t, x->n, (const char *const *)x->st.meta, err));       /* the mapped file lives on until unmapped */
    sy_map_close(&x->map);
    sy_arena_free(&x->a);
}

#define GATE "model.layers.1.mlp.gate.weight"
#define EXPERT "model.layers.1.mlp.experts.2.up_proj.weight"

static void renamed(edit *x) { edit_find(x, GATE)->name = "model.layers.1.mlp.router.weight"; }
static void dropped(edit *x) { drop(x, EXPERT); }
static void extra(edit *x) { x->t[x->n] = *edit_find(x, EXPERT); x->t[x->n++].name = "model.layers.1.mlp.experts.3.up_proj.weight"; }
static void turned(edit *x) { sy_st_out *t = edit_find(x, EXPERT); int64_t d = t->dim[0]; t->dim[0] = t->dim[1], t->dim[1] = d; }
static void flat(edit *x) { sy_st_out *t = edit_find(x, EXPERT); t->dim[0] *= t->dim[1], t->nd = 1; }
static void typed(edit *x) { sy_st_out *t = edit_find(x, GATE); t->type = sizeof(sy_real) == 4 ? SY_DT_F8_E5M2 : SY_DT_I64; if (sizeof(sy_real) == 4) t->dim[0] *= 4; }
static void emptied(edit *x) { x->n = 0; }
static void swapped(edit *x) { edit_find(x, "model.norm.weight")->name = "tmp"; edit_find(x, "model.embed_tokens.weight")->name = "model.norm.weight"; edit_find(x, "tmp")->name = "model.embed_tokens.weight"; }

static void damage(void **state)
{
    static const struct { const char *what; void (*fn)(edit *); sy_status want; const char *part; } cases[] = {
        { "a tensor renamed", renamed, SY_ELEDGER, "missing " GATE "; unknown model.layers.1.mlp.router.weight" },
        { "an expert dropped", dropped, SY_ELEDGER, "missing " EXPERT },
        { "an expert too many", extra, SY_ELEDGER, "unknown model.layers.1.mlp.experts.3.up_proj.weight" },
        { "a matrix transposed", turned, SY_ESHAPE, "8 x 4 in the file" },
        { "a matrix flattened", flat, SY_ESHAPE, EXPERT },
        { "a type without numbers", typed, SY_ESHAPE, GATE },
        { "no tensor at all", emptied, SY_ELEDGER, "missing" },
        { "two tensors exchanged", swapped, SY_ESHAPE, "in the file" },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_err e = { 0 }, *err = &e;
        sy_model *m = (sy_model *)&e;
        edit x;
        const char *dir = saved("damaged", 3);
        sy_test_case("%s", cases[i].what);
        edit_open(&x, join(dir, "model.safetensors"));
        cases[i].fn(&x);
        if (cases[i].fn == typed && sizeof(sy_real) == 8) { edit_close(&x); sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EUNSUP, "I64"); continue; }
        edit_close(&x);
        sy_ledger l;
        sy_expect_fail(sy_model_load(&m, &eng, dir, 0, &l, err), cases[i].want, cases[i].part);
        assert_ptr_equal(m, &e);                     /* written only on success */
        sy_ledger_free(&l);
        if (cases[i].want == SY_ELEDGER && !strstr(e.text, "inspect")) fail_msg("'%s' does not say what to do", e.text);
    }
}

/* Two-byte weights are taken, converted exactly, and the account says so. */
static void converted(void **state)
{
    (void)state;
    const char *dir = saved("converted", 4);
    edit x;
    edit_open(&x, join(dir, "model.safetensors"));
    sy_st_out *t = edit_find(&x, GATE);
    uint16_t half[24];
    for (int i = 0; i < 24; i++) half[i] = sy_bf16_of((float)i / 7);
    t->type = SY_DT_BF16, t->data = half;
    edit_close(&x);
    sy_model *m;
    sy_ledger l;
    sy_expect_ok(sy_model_load(&m, &eng, dir, 0, &l, err));
    assert_int_equal(l.count[SY_L_CONVERTED], 1);
    for (int i = 0; i < l.n; i++) if (l.line[i].kind == SY_L_CONVERTED) assert_string_equal(l.line[i].name, GATE), assert_string_equal(l.line[i].note, "BF16");
    const sy_real *g = m->layer[1].block.gate->w.data;
    for (int i = 0; i < 24; i++) assert_true(g[i] == (sy_real)sy_bf16_to(half[i]));
    sy_ledger_free(&l);
    sy_model_free(m);
}

/* Splits model.safetensors of `dir` into two shards at tensor `cut` and writes the index. */
static void split(const char *dir, int cut)
{
    edit x;
    sy_buf b = { 0 };
    edit_open(&x, join(dir, "model.safetensors"));
    sy_expect_ok(sy_st_write(join(dir, "model-00001-of-00002.safetensors"), x.t, cut, NULL, err));
    sy_expect_ok(sy_st_write(join(dir, "model-00002-of-00002.safetensors"), x.t + cut, x.n - cut, NULL, err));
    sy_buf_text(&b, "{\"metadata\":{},\"weight_map\":{");
    for (int i = 0; i < x.n; i++) sy_buf_printf(&b, "%s\"%s\":\"model-%05d-of-00002.safetensors\"", i ? "," : "", x.t[i].name, i < cut ? 1 : 2);
    sy_buf_text(&b, "}}");
    write_text(join(dir, "model.safetensors.index.json"), b.data);
    sy_buf_free(&b);
    sy_map_close(&x.map);
    sy_arena_free(&x.a);
    unlink(join(dir, "model.safetensors"));
}

/* Replaces the first `from` in a text file. */
static void replace(const char *path, const char *from, const char *to)
{
    sy_buf b = { 0 }, c = { 0 };
    sy_expect_ok(sy_file_read(path, 1 << 20, &b, err));
    char *at = strstr(b.data, from);
    if (!at) fail_msg("%s has no '%s'", path, from);
    sy_buf_put(&c, b.data, (size_t)(at - b.data));
    sy_buf_text(&c, to);
    sy_buf_text(&c, at + strlen(from));
    sy_expect_ok(sy_file_write(path, c.data, c.n, err));
    sy_buf_free(&b);
    sy_buf_free(&c);
}

static void shards(void **state)
{
    static const struct { const char *what, *from, *to; sy_status want; const char *part; } cases[] = {
        { "a shard that is not there", "\"model-00002-of", "\"model-00003-of", SY_ENOENT, "model-00003-of" },
        { "a path upwards", "\"model-00002-of-00002.safetensors\"", "\"../../etc/passwd\"", SY_EFORMAT, "not the name of a shard" },
        { "an absolute path", "\"model-00002-of-00002.safetensors\"", "\"/etc/passwd\"", SY_EFORMAT, "not the name of a shard" },
        { "the folder above", "\"model-00002-of-00002.safetensors\"", "\"..\"", SY_EFORMAT, "not the name of a shard" },
        { "a number as name", "\"model-00002-of-00002.safetensors\"", "2", SY_EFORMAT, "not the name of a shard" },
        { "an empty name", "\"model-00002-of-00002.safetensors\"", "\"\"", SY_EFORMAT, "not the name of a shard" },
        { "the wrong shard", "\"model-00001-of", "\"model-00002-of", SY_EFORMAT, "should be in model-00002-of-00002.safetensors and is in model-00001" },
        { "a tensor that no shard has", "\"weight_map\":{", "\"weight_map\":{\"model.extra\":\"model-00001-of-00002.safetensors\",", SY_EFORMAT, "is nowhere" },
        { "no map", "\"weight_map\"", "\"weights\"", SY_EFORMAT, "no weight_map" },
        { "a tensor twice", "\"weight_map\":{", "\"weight_map\":{\"lm_head.weight\":\"model-00001-of-00002.safetensors\",", SY_EFORMAT, "duplicate" },
        { "cut in the middle", "}}", "", SY_EFORMAT, "index.json" },
    };
    sy_model *m, *whole;
    sy_err e = { 0 }, *err = &e;
    (void)state;
    const char *dir = saved("shards", 6), *one = saved("one", 6);
    split(dir, 11);
    sy_expect_ok(sy_model_load(&m, &eng, dir, 0, NULL, err));
    sy_expect_ok(sy_model_load(&whole, &eng, one, 0, NULL, err));
    same_model(m, whole, false);
    sy_model_free(m);
    sy_model_free(whole);
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].what);
        split(saved("shards", 6), 11);
        replace(join(dir, "model.safetensors.index.json"), cases[i].from, cases[i].to);
        sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), cases[i].want, cases[i].part);
    }
    sy_test_case("a shard of another version, cut elsewhere");
    split(saved("shards", 6), 11);
    split(saved("one", 7), 14);
    assert_int_equal(rename(join(one, "model-00001-of-00002.safetensors"), join(dir, "model-00001-of-00002.safetensors")), 0);
    sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EFORMAT, "stands in two shards");
    sy_test_case("a shard that is a symlink to itself");
    split(saved("shards", 6), 11);
    unlink(join(dir, "model-00002-of-00002.safetensors"));
    assert_int_equal(symlink("model-00002-of-00002.safetensors", join(dir, "model-00002-of-00002.safetensors")), 0);
    sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EIO, "model-00002-of");
}

/* --- hostile folders and configs -------------------------------------------------------------------------------------------- */

static void files(void **state)
{
    sy_model *m;
    sy_err e = { 0 }, *err = &e;
    (void)state;
    static const char *const names[] = { "config.json", "model.safetensors" };
    for (int i = 0; i < 2; i++) {
        const char *dir = saved("files", 8);
        char *path = join(dir, names[i]);
        sy_test_case("%s", names[i]);
        unlink(path);
        sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_ENOENT, i ? names[i] : "no config.json");
        assert_int_equal(symlink("/dev/zero", path), 0);
        sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EARG, "not a file");
        unlink(path);
        assert_int_equal(mkfifo(path, 0600), 0);
        sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EARG, "a pipe");
        unlink(path);
        sy_expect_ok(sy_mkdirs(path, err));
        sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EARG, "a folder");
        rmdir(path);
        write_text(path, "");
        sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EFORMAT, names[i]);
        if (truncate(path, (off_t)1 << 40) == 0) sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EFORMAT, names[i]);
    }
    sy_test_case("no folder");
    sy_expect_fail(sy_model_load(&m, &eng, in_dir("nothing"), 0, NULL, err), SY_ENOENT, "not a folder");
    sy_test_case("an empty folder");
    sy_expect_ok(sy_mkdirs(in_dir("empty"), err));
    sy_expect_fail(sy_model_load(&m, &eng, in_dir("empty"), 0, NULL, err), SY_ENOENT, "no config.json");
    sy_test_case("the weights cut at each 512 bytes");
    const char *dir = saved("files", 8);
    int64_t size = sy_file_size(join(dir, "model.safetensors"));
    for (int64_t cut = size - 1; cut > 0; cut -= 512) {
        assert_int_equal(truncate(join(dir, "model.safetensors"), (off_t)cut), 0);
        sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EFORMAT, "model.safetensors");
    }
}

static void configs(void **state)
{
    static const struct { const char *from, *to; sy_status want; const char *part; } cases[] = {
        { "\"num_experts\": 3", "\"num_experts\": -1", SY_EARG, "num_experts" },
        { "\"num_experts\": 3", "\"num_experts\": 0", SY_EARG, "num_experts" },
        { "\"num_experts\": 3", "\"num_experts\": 4", SY_ESHAPE, "3 x 8 in the file" },
        { "\"num_experts\": 3", "\"num_experts\": 2147483648", SY_EARG, "num_experts" },
        { "\"num_experts\": 3", "\"num_experts\": 3.5", SY_EARG, "num_experts" },
        { "\"num_experts\": 3", "\"num_experts\": \"three\"", SY_EARG, "num_experts" },
        { "\"num_experts\": 3", "\"num_experts\": [3]", SY_EFORMAT, "num_experts" },
        { "\"num_experts\": 3", "\"num_experts\": {}", SY_EFORMAT, "num_experts" },
        { "\"num_experts\": 3", "\"num_experts\": 3, \"num_experts\": 3", SY_EFORMAT, "duplicate" },
        { "\"num_experts\": 3", "\"num_experts\": 1e400", SY_EFORMAT, "config.json" },
        { "\"num_experts\": 3", "\"num_experts\": 99999999999999999999", SY_EFORMAT, "config.json" },
        { "\"num_experts\": 3", "\"num_exprets\": 3", SY_EARG, "num_experts" },
        { "\"num_experts\": 3", "\"num_experts\": 1", SY_EARG, "num_experts" },
        { "\"rms_norm_eps\": ", "\"rms_norm_eps\": 1e300, \"x\": ", SY_EARG, "rms_norm_eps" },
        { "\"hidden_size\": 8", "\"hidden_size\": 1048576", SY_ESHAPE, "" },
        { "\"hidden_size\": 8", "\"hidden_size\": 0", SY_EARG, "hidden_size" },
        { "\"vocab_size\": 20", "\"vocab_size\": 16777216", SY_ESHAPE, "config.json describes" },
        { "\"vocab_size\": 20", "\"vocab_size\": 21", SY_ESHAPE, "20 x 8" },
        { "\"head_dim\": 4", "\"head_dim\": 3", SY_ESHAPE, "odd" },
        { "\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3", SY_ESHAPE, "num_key_value_heads 3" },
        { "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", SY_EARG, "num_hidden_layers is 3" },
        { "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 100000", SY_EARG, "num_hidden_layers" },
        { "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4", SY_ELEDGER, "missing" },
        { "\"layers\": \"dense,sparse\"", "\"layers\": \"dense,\"", SY_EARG, "not a pattern" },
        { "\"layers\": \"dense,sparse\"", "\"layers\": \"\"", SY_EARG, "not a pattern" },
        { "\"layers\": \"dense,sparse\"", "\"layers\": \"dense*99999999999999999999\"", SY_EARG, "not a pattern" },
        { "\"router\": \"topk", "\"router\": \"topq", SY_ENOENT, "topk" },
        { "\"router\": \"topk:", "\"router\": \"topk:x=1,", SY_EARG, "topk" },
        { "\"hidden_act\": \"silu\"", "\"hidden_act\": \"sluu\"", SY_EARG, "silu" },
        { "\"model_type\": \"switchyard\"", "\"model_type\": \"gemma2\"", SY_EUNSUP, "'gemma2' are not read yet" },
        { "\"model_type\": \"switchyard\"", "\"model_type\": \"llema\"", SY_EUNSUP, "this version opens switchyard, llama" },
        { "\"model_type\": \"switchyard\"", "\"model_type\": 3", SY_EUNSUP, "(none)" },
        { "{", "[{", SY_EFORMAT, "config.json" },
    };
    sy_model *m;
    sy_err e = { 0 }, *err = &e;
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        const char *dir = saved("configs", 9);
        sy_test_case("%s", cases[i].to);
        replace(join(dir, "config.json"), cases[i].from, cases[i].to);
        sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), cases[i].want, cases[i].part);
    }
    const char *dir = saved("configs", 9);
    sy_buf b = { 0 };
    sy_test_case("brackets 100000 deep");
    sy_buf_text(&b, "{\"a\":");
    for (int i = 0; i < 100000; i++) sy_buf_text(&b, "[");
    write_text(join(dir, "config.json"), b.data);
    sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EFORMAT, "deeper");
    sy_test_case("a text of 8 MB");
    sy_buf_clear(&b);
    sy_buf_text(&b, "{\"model_type\":\"switchyard\",\"layers\":\"");
    for (int i = 0; i < 1 << 20; i++) sy_buf_text(&b, "dense,de");
    sy_buf_text(&b, "\"}");
    write_text(join(dir, "config.json"), b.data);
    sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EFORMAT, "at most");
    sy_buf_free(&b);
    sy_test_case("not UTF-8");
    write_text(join(dir, "config.json"), "{\"model_type\":\"\xff\xc0\"}");
    sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EFORMAT, "config.json");
}

/* --- training state of another run --------------------------------------------------------------------------------------------- */

static void no_moment(edit *x) { drop(x, "model.norm.weight.v"); }
static void no_counts(edit *x) { drop(x, "model.layers.1.mlp.gate.last_counts"); }
static void few_counts(edit *x) { edit_find(x, "model.layers.1.mlp.gate.last_counts")->dim[0] = 2; }
static void foreign(edit *x) { x->t[x->n] = x->t[0]; x->t[x->n++].name = "model.layers.9.mlp.experts.0.up_proj.weight.m"; }
static void turned_moment(edit *x) { sy_st_out *t = edit_find(x, EXPERT ".m"); int64_t d = t->dim[0]; t->dim[0] = t->dim[1], t->dim[1] = d; }
static void no_item(edit *x) { x->st.meta = NULL; }
static void bad_item(edit *x) { static const char *meta[] = { "step", "12x", NULL }; x->st.meta = meta; }
static void huge_item(edit *x) { static const char *meta[] = { "step", "99999999999999999999", NULL }; x->st.meta = meta; }

static void states(void **state)
{
    static const struct { const char *what; void (*fn)(edit *); sy_status want; const char *part; } cases[] = {
        { "a moment missing", no_moment, SY_EFORMAT, "model.norm.weight.v" },
        { "counts missing", no_counts, SY_EFORMAT, "last_counts" },
        { "counts of two experts", few_counts, SY_EFORMAT, "last_counts" },
        { "a tensor of another model", foreign, SY_EFORMAT, "layers.9" },
        { "a moment transposed", turned_moment, SY_ESHAPE, EXPERT ".m" },
        { "no step", no_item, SY_EFORMAT, "says nothing of 'step'" },
        { "a step that is no number", bad_item, SY_EFORMAT, "not a whole number" },
        { "a step beyond 64 bits", huge_item, SY_EFORMAT, "not a whole number" },
    };
    sy_spec s = small();
    sy_model *m = fresh(&s, 11);
    char *path = in_dir("training_state.safetensors");
    sy_state_item item = { "step", 5 };
    sy_err e = { 0 }, *err = &e;
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        edit x;
        sy_test_case("%s", cases[i].what);
        sy_expect_ok(sy_state_save(m, path, &item, 1, err));
        edit_open(&x, path);
        cases[i].fn(&x);
        edit_close(&x);
        sy_expect_fail(sy_state_load(m, path, &item, 1, err), cases[i].want, cases[i].part);
    }
    sy_test_case("no file");
    unlink(path);
    sy_expect_fail(sy_state_load(m, path, &item, 1, err), SY_ENOENT, "training_state");
    sy_model_free(m);
}

/* --- faults ------------------------------------------------------------------------------------------------------------------ */

static const sy_syscalls *disk;
static int fail_in;
static bool fell;

static bool down(void)
{
    if (!fell && (fail_in == 0 || --fail_in > 0)) return false;
    errno = ENOSPC;
    return fell = true;
}
static int     full_open(const char *path, int flags, mode_t mode) { return flags & O_CREAT && down() ? -1 : disk->open(path, flags, mode); }
static ssize_t full_write(int fd, const void *p, size_t n) { return down() ? -1 : disk->write(fd, p, n); }
static int     full_fsync(int fd) { return down() ? -1 : disk->fsync(fd); }

/* Wherever the disk fills up while a model is saved over an older one: what stands there loads, whole, old or new. */
static void full_disk(void **state)
{
    sy_spec s = small();
    sy_model *old = fresh(&s, 21), *new = fresh(&s, 22), *m;
    sy_err e = { 0 }, *err = &e;
    sy_syscalls full = *(disk = sy_file_calls);
    (void)state;
    full.open = full_open, full.write = full_write, full.fsync = full_fsync;
    const char *dir = in_dir("full");
    sy_expect_ok(sy_mkdirs(dir, err));
    fell = true;
    for (int n = 1; fell; n++) {
        sy_test_case("call %d", n);
        sy_expect_ok(sy_model_save(old, dir, -1, NULL, err));
        fail_in = n, fell = false;
        sy_file_calls = &full;
        sy_status st = sy_model_save(new, dir, -1, NULL, err);
        sy_file_calls = disk;
        if (fell) sy_expect_fail_(st, SY_EIO, err, "free some space", "sy_model_save");
        else if (st != SY_OK) fail_msg("%s", e.text);
        sy_expect_ok(sy_model_load(&m, &eng, dir, 0, NULL, err));
        const sy_real *got = m->params.p[0]->w.data, *a = old->params.p[0]->w.data, *b = new->params.p[0]->w.data;
        same_model(m, got[0] == a[0] ? old : new, false);
        assert_true(fell || got[0] == b[0]);
        sy_model_free(m);
        const char **names;
        int files;
        sy_arena a_ = { 0 };
        sy_expect_ok(sy_dir_list(dir, &a_, &names, &files, err));
        assert_int_equal(files, 4);
        sy_arena_free(&a_);
        assert_true(n < 200);
    }
    fell = false, fail_in = 0;
    sy_model_free(old);
    sy_model_free(new);
}

/* Every allocation of saving and loading fails once: a status, a sentence, no leak (the address sanitizer looks), nothing damaged. */
static void out_of_memory(void **state)
{
    static const char *const ways[] = { "load", "save", "state save", "state load", "shards" };
    sy_spec s = small();
    sy_model *m = fresh(&s, 31), *got;
    sy_state_item item = { "step", 5 };
    const char *dir = in_dir("memory"), *cut = saved("cut", 31);
    char *path = join(dir, "training_state.safetensors");
    (void)state;
    split(cut, 9);
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_model_save(m, dir, -1, NULL, err));
    for (size_t way = 0; way < SY_COUNT(ways); way++) {
        sy_status st = SY_ENOMEM;
        uint64_t n;
        for (n = 1; st != SY_OK; n++) {
            sy_err e = { 0 }, *err = &e;
            sy_test_case("%s, allocation %llu", ways[way], (unsigned long long)n);
            sy_alloc_fail_at(n, n % 2);
            switch (way) {
            case 0: st = sy_model_load(&got, &eng, dir, SY_MODEL_TRAIN, NULL, err); break;
            case 1: st = sy_model_save(m, dir, -1, NULL, err); break;
            case 2: st = sy_state_save(m, path, &item, 1, err); break;
            case 3: st = sy_state_load(m, path, &item, 1, err); break;
            default: st = sy_model_load(&got, &eng, cut, 0, NULL, err); break;
            }
            sy_alloc_fail_at(0, 0);
            if (st != SY_OK) sy_expect_fail_(st, SY_ENOMEM, err, "memory", ways[way]);
            assert_true(n < 20000);
        }
        print_message("%s: %llu allocations\n", ways[way], (unsigned long long)n - 2);
        if (way == 0 || way == 4) {
            same_model(m, got, false);
            sy_model_free(got);
        }
    }
    sy_model_free(m);
}

/* --- run folders --------------------------------------------------------------------------------------------------------------- */

/* --- files that are cut while they are mapped (a SIGBUS in a program that does not expect it) ------------------------------------- */

static const sy_syscalls *disk;
static const char *cut_name;            /* the file that is cut as soon as it is mapped and closed */
static off_t cut_to;

static int cutting_close(int fd)
{
    char link[64], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n < 0 ? 0 : n] = 0;
    const char *name = strrchr(path, '/');
    if (name && !strcmp(name + 1, cut_name)) assert_int_equal(truncate(path, cut_to), 0);
    return disk->close(fd);
}

static void cut_under_us(void **state)
{
    static const struct { const char *file; off_t to; bool sharded; } cases[] = {
        { "model.safetensors", 0, false }, { "model.safetensors", 4096, false }, { "training_state.safetensors", 0, false }, { "training_state.safetensors", 4096, false },
        { "model-00001-of-00002.safetensors", 0, true }, { "model-00002-of-00002.safetensors", 0, true },
    };
    sy_model *m;
    sy_err e = { 0 }, *err = &e;
    sy_spec s = small();
    (void)state;
    s.hidden_size = 16, s.intermediate_size = 40;    /* each file has more than two pages */
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_state_item item = { "step", 3 };
        const char *dir = in_dir("cut");
        char *path = join(dir, "training_state.safetensors");
        sy_test_case("%s is cut to %lld bytes", cases[i].file, (long long)cases[i].to);
        sy_expect_ok(sy_remove_tree(dir, err));
        sy_expect_ok(sy_mkdirs(dir, err));
        m = fresh(&s, 4);
        sy_expect_ok(sy_model_save(m, dir, 0, NULL, err));
        sy_expect_ok(sy_state_save(m, path, &item, 1, err));
        assert_true(cases[i].to < 8192 && sy_file_size(path) > 8192 && sy_file_size(join(dir, "model.safetensors")) > 8192);
        if (cases[i].sharded) split(dir, 11);
        sy_syscalls cutting = *(disk = sy_file_calls);
        cutting.close = cutting_close;
        cut_name = cases[i].file;
        cut_to = cases[i].to;
        sy_file_calls = &cutting;
        sy_status st = cut_name[0] == 't' ? sy_state_load(m, path, &item, 1, err) : sy_model_read(m, dir, NULL, err);
        sy_file_calls = disk;
        sy_expect_fail(st, SY_EIO, "was cut short");
        sy_model_free(m);
    }
}

static void newest(void **state)
{
    char found[1024], tiny[4];
    sy_err e = { 0 }, *err = &e;
    (void)state;
    const char *run = in_dir("run");
    static const char *const names[] = { "step-0000000009", "step-0000000100", "step-0000000020", ".tmp-step-0000000300" };
    for (size_t i = 0; i < SY_COUNT(names); i++) {
        char sub[64];
        snprintf(sub, sizeof sub, "run/checkpoints/%s", names[i]);
        sy_expect_ok(sy_mkdirs(in_dir(sub), err));
    }
    sy_expect_ok(sy_checkpoint_find(run, found, sizeof found, err));
    assert_non_null(strstr(found, "checkpoints/step-0000000100"));
    write_text(join(run, "config.json"), "{}");
    sy_expect_ok(sy_checkpoint_find(run, found, sizeof found, err));
    assert_string_equal(found, run);
    sy_expect_fail(sy_checkpoint_find(run, tiny, sizeof tiny, err), SY_EARG, "too long");
}

static int open_engine(void **state)
{
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 1, "ref", &sy_builtin_methods, err));
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    sy_engine_uninit(&eng);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(out_of_memory), cmocka_unit_test(round_trip), cmocka_unit_test(damage), cmocka_unit_test(converted), cmocka_unit_test(shards), cmocka_unit_test(files), cmocka_unit_test(configs),
                                        cmocka_unit_test(states), cmocka_unit_test(full_disk), cmocka_unit_test(cut_under_us), cmocka_unit_test(newest) };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
