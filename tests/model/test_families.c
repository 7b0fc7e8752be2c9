/* float only */
/* Families of published models: logits and chosen experts against their makers' code (tests/ref/families.py), files written and read again, forms
 * of the same weights, and damage. SY_FAMILIES_OUT=DIR keeps what was written, for families.py --check. */
#include "model/families.h"

#include <unistd.h>

#include "methods.h"
#include "model/checkpoint.h"
#include "model/family.h"

/* --- running ------------------------------------------------------------------------------------------------------------------ */

/* Rows from .. from+n-1 through the cache; logits to out, and the experts compared. */
static void pass(sy_model *m, sy_tape *t, sy_kv *kv, const int *id, int from, int n, float *out, const sy_st_tensor *experts)
{
    int pos[T], seq[T] = { 0 };
    uint64_t no = 0;
    sy_kv *caches[] = { kv };
    sy_segment seg = { .row = 0, .n = n, .pos0 = from };
    sy_route *routes[64] = { 0 };
    for (int i = 0; i < n; i++) pos[i] = from + i;
    sy_batch b = { .T = n, .n_seg = 1, .id = id + from, .pos = pos, .seq = seq, .seg = &seg, .seq_no = &no };
    sy_run r = { .mode = SY_SERVE, .kv = caches, .routes = routes };
    sy_tape_reset(t);
    sy_tensor *logits = sy_model_logits(m, t, sy_model_hidden(m, t, &b, &r), NULL, n);
    sy_expect_ok(sy_tape_status(t, err));
    memcpy(out + (size_t)from * (size_t)m->spec.vocab_size, logits->x, sy_numel(logits) * sizeof *out);
    for (int l = 0; l < m->n_sparse; l++)
        for (int i = 0; i < n; i++) {
            int K = (int)experts->dim[2], got[64] = { 0 };
            float want[64];
            const sy_route *w = routes[l];
            assert_int_equal(w->first_slot[i + 1] - w->first_slot[i], K);
            for (int k = 0; k < K; k++) got[w->expert[w->first_slot[i] + k]] = 1;
            sy_expect_ok(sy_st_read_f32(experts, ((size_t)l * T + (size_t)(from + i)) * (size_t)K, (size_t)K, want, err));
            for (int k = 0; k < K; k++) if (!got[(int)want[k]]) fail_msg("sparse layer %d, token %d: expert %d was not chosen", l, from + i, (int)want[k]);
        }
}

/* An encoder has neither head nor cache: its hidden states, in one pass. */
static void expect_hidden(const fixture *f, int i, sy_model *m, const int *id)
{
    int pos[T], seq[T] = { 0 }, D = m->spec.hidden_size;
    uint64_t no = 0;
    sy_tape t;
    sy_segment seg = { .n = T };
    float *want = malloc((size_t)T * (size_t)D * sizeof *want);
    for (int k = 0; k < T; k++) pos[k] = k;
    sy_batch b = { .T = T, .n_seg = 1, .id = id, .pos = pos, .seq = seq, .seg = &seg, .seq_no = &no };
    sy_tape_init(&t, m->eng, false);
    sy_tensor *h = sy_model_hidden(m, &t, &b, &(sy_run){ .mode = SY_EVAL });
    sy_expect_ok(sy_tape_status(&t, err));
    sy_expect_ok(sy_st_read_f32(tensor(f, i, "logits"), 0, (size_t)T * (size_t)D, want, err));
    sy_expect_close("hidden", h->x, want, (size_t)T * (size_t)D, 2e-4, 0);
    sy_tape_free(&t);
    free(want);
}

static void expect_fixture(const fixture *f, int i, sy_model *m)
{
    sy_tape t;
    sy_kv kv;
    int id[T], V = m->spec.vocab_size;
    float want_id[T];
    const sy_st_tensor *experts = tensor(f, i, "experts");
    assert_true(!m->n_sparse == !experts);
    if (experts) assert_int_equal(experts->dim[0], m->n_sparse);
    sy_expect_ok(sy_st_read_f32(tensor(f, i, "ids"), 0, T, want_id, err));
    for (int k = 0; k < T; k++) id[k] = (int)want_id[k];
    if (!m->spec.causal) { expect_hidden(f, i, m, id); return; }
    float *got = malloc((size_t)T * (size_t)V * sizeof *got), *want = malloc((size_t)T * (size_t)V * sizeof *want);
    sy_expect_ok(sy_st_read_f32(tensor(f, i, "logits"), 0, (size_t)T * (size_t)V, want, err));
    sy_tape_init(&t, m->eng, false);
    sy_expect_ok(sy_kv_open(&kv, &m->spec, T, err));
    pass(m, &t, &kv, id, 0, PROMPT, got, experts);
    for (int k = PROMPT; k < T; k++) pass(m, &t, &kv, id, k, 1, got, experts);
    sy_expect_close("logits", got, want, (size_t)T * (size_t)V, 2e-4, 0);
    sy_kv_close(&kv);
    sy_tape_free(&t);
    free(got), free(want);
}

static sy_model *load(sy_engine *eng, const char *dir, sy_ledger *l)
{
    sy_model *m;
    sy_expect_ok(sy_model_load(&m, eng, dir, 0, l, err));
    return m;
}

static void exact(const char *family)
{
    fixture f;
    fixture_open(&f, family);
    for (int s = 0; sy_kernels_at(s) && !sy_kernels_at(s)->gemm16; s++)         /* sets with products in bfloat16 have the float32 kernels of avx512 */
        for (int i = 0; i < models(&f); i++) {
            sy_engine eng;
            sy_test_case("%s %d, kernels %s", family, i, sy_kernels_at(s)->name);
            sy_expect_ok(sy_engine_init(&eng, 1, sy_kernels_at(s)->name, &sy_builtin_methods, err));
            sy_model *m = load(&eng, folder_of(&f, i, "model"), NULL);
            assert_string_equal(m->family->name, family);
            expect_fixture(&f, i, m);
            sy_model_free(m);
            sy_engine_uninit(&eng);
        }
    fixture_close(&f);
}

/* Every family of the list has a fixture. */
static void fixtures(void **state)
{
    (void)state;
    const char *others = getenv("SY_FAMILIES_IN");             /* a sweep over options may have made some families only */
    for (const sy_family *const *f = sy_families; *f; f++) {
        char path[1100];
        snprintf(path, sizeof path, "%s/%s.safetensors", others ? others : "", (*f)->name);
        if (!others || sy_file_exists(path)) exact((*f)->name);
    }
}

/* Weights that stay in their files, in the formats they have there: the same logits, and the same bytes when written again. */
static void mapped(void **state)
{
    sy_engine eng;
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    for (const sy_family *const *fam = sy_families; *fam; fam++) {
        fixture f;
        fixture_open(&f, (*fam)->name);
        for (int i = 0; i < models(&f); i++) {
            sy_model *m, *back;
            const char *out = in_dir("mapped-out");
            sy_test_case("%s %d, mapped", (*fam)->name, i);
            sy_expect_ok(sy_model_load(&m, &eng, folder_of(&f, i, "mapped"), SY_MODEL_MAPPED, NULL, err));
            expect_fixture(&f, i, m);
            sy_expect_ok(sy_mkdirs(out, err));
            sy_expect_ok(sy_model_save(m, out, -1, NULL, err));
            sy_expect_ok(sy_model_load(&back, &eng, out, 0, NULL, err));
            expect_fixture(&f, i, back);
            sy_model_free(back);
            sy_err e = { 0 }, *err = &e;
            if (m->held) sy_expect_fail(sy_model_read(m, out, NULL, err), SY_EARG, "only read");
            sy_model_free(m);
        }
        fixture_close(&f);
    }
    sy_engine_uninit(&eng);
}

/* --- written and read again ----------------------------------------------------------------------------------------------------- */

static void same_params(const sy_model *a, const sy_model *b)
{
    assert_int_equal(a->params.n, b->params.n);
    for (int i = 0; i < a->params.n; i++) {
        const sy_param *p = a->params.p[i], *q = b->params.p[i];
        assert_string_equal(p->name, q->name);
        sy_expect_same(p->name, p->w.data, q->w.data, p->n * sizeof(sy_real));
    }
}

static void round_trip(void **state)
{
    sy_engine eng;
    (void)state;
    const char *keep = getenv("SY_FAMILIES_OUT");
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    for (const sy_family *const *fam = sy_families; *fam; fam++) {
        fixture f;
        fixture_open(&f, (*fam)->name);
        for (int i = 0; i < models(&f); i++) {
            char name[64], out[1024];
            sy_ledger l;
            sy_test_case("%s %d", (*fam)->name, i);
            snprintf(name, sizeof name, "%s-%d", (*fam)->name, i);
            snprintf(out, sizeof out, "%s/%s", keep ? keep : sy_test_dir(), name);
            sy_model *m = load(&eng, folder_of(&f, i, "model"), &l);
            int experts = l.experts;
            sy_ledger_free(&l);
            sy_expect_ok(sy_mkdirs(out, err));
            sy_expect_ok(sy_model_save(m, out, 3, &l, err));
            assert_int_equal(l.experts, experts);
            sy_ledger_free(&l);
            sy_model *back = load(&eng, out, &l);
            assert_ptr_equal(back->family, *fam);
            assert_int_equal(l.count[SY_L_KEY], 0);
            sy_ledger_free(&l);
            same_params(m, back);
            sy_model_free(back);
            sy_test_case("%s %d as an own model", (*fam)->name, i);
            snprintf(out, sizeof out, "%s/own", sy_test_dir());
            sy_expect_ok(sy_mkdirs(out, err));
            sy_expect_ok(sy_model_save_as(m, "switchyard", out, 3, 0, NULL, err));
            back = load(&eng, out, NULL);
            assert_null(back->family);
            same_params(m, back);
            sy_test_case("%s %d as the list decides", (*fam)->name, i);
            snprintf(out, sizeof out, "%s/any+%s", keep ? keep : sy_test_dir(), name);
            sy_expect_ok(sy_mkdirs(out, err));
            sy_expect_ok(sy_model_save(back, out, 3, NULL, err));
            sy_model_free(back);
            back = load(&eng, out, NULL);
            assert_non_null(back->family);
            same_params(m, back);
            sy_model_free(back);
            sy_model_free(m);
        }
        fixture_close(&f);
    }
    sy_engine_uninit(&eng);
}

/* --- forms of the same weights -------------------------------------------------------------------------------------------------- */

static int find(const char *name)
{
    for (int i = 0; i < all.n; i++) if (!strcmp(all.t[i].name, name)) return i;
    return -1;
}

static void drop(int i)
{
    all.t[i] = all.t[--all.n];
    all.f32[i] = all.f32[all.n];
}

/* Per-expert tensors of every layer become the two that transformers 5 holds in memory. */
static void fuse(const char *mlp, const char *to, const char *gate, const char *up, const char *down, int layers, int E)
{
    const char *part[] = { gate, up, down };
    for (int l = 0; l < layers; l++) {
        char name[256];
        int at[3];
        for (int p = 0; p < 3; p++) {
            snprintf(name, sizeof name, "model.layers.%d.%s.experts.0.%s.weight", l, mlp, part[p]);
            if ((at[p] = find(name)) < 0) break;
        }
        if (at[0] < 0) continue;
        int64_t F = all.t[at[0]].dim[0], D = all.t[at[0]].dim[1];
        size_t each = (size_t)(F * D);
        float *both = sy_arena_array(&all.a, 2 * each * (size_t)E, sizeof *both), *one = sy_arena_array(&all.a, each * (size_t)E, sizeof *one);
        for (int e = 0; e < E; e++)
            for (int p = 0; p < 3; p++) {
                snprintf(name, sizeof name, "model.layers.%d.%s.experts.%d.%s.weight", l, mlp, e, part[p]);
                int i = find(name);
                memcpy(p < 2 ? both + (2 * (size_t)e + (size_t)p) * each : one + (size_t)e * each, all.f32[i], each * sizeof(float));
                drop(i);
            }
        snprintf(name, sizeof name, "model.layers.%d.%s.experts.gate_up_proj", l, to);
        all.t[all.n++] = (sy_st_out){ sy_arena_strdup(&all.a, name), SY_DT_F32, 3, { E, 2 * F, D }, both };
        snprintf(name, sizeof name, "model.layers.%d.%s.experts.down_proj", l, to);
        all.t[all.n++] = (sy_st_out){ sy_arena_strdup(&all.a, name), SY_DT_F32, 3, { E, D, F }, one };
    }
}

static void fused(void **state)
{
    static const struct { const char *family, *mlp, *to, *gate, *up, *down; int E; } cases[] = {
        { "mixtral", "block_sparse_moe", "mlp", "w1", "w3", "w2", 4 }, { "qwen2_moe", "mlp", "mlp", "gate_proj", "up_proj", "down_proj", 6 },
        { "qwen3_moe", "mlp", "mlp", "gate_proj", "up_proj", "down_proj", 8 }, { "olmoe", "mlp", "mlp", "gate_proj", "up_proj", "down_proj", 6 },
    };
    sy_engine eng;
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        fixture f;
        sy_ledger l;
        sy_test_case("%s", cases[i].family);
        fixture_open(&f, cases[i].family);
        const char *dir = folder_of(&f, 0, "fused");
        sy_model *m = load(&eng, dir, &l), *same;
        int experts = l.experts;
        sy_ledger_free(&l);
        fuse(cases[i].mlp, cases[i].to, cases[i].gate, cases[i].up, cases[i].down, 2, cases[i].E);
        sy_expect_ok(sy_st_write(join(dir, "model.safetensors"), all.t, all.n, NULL, err));
        same = load(&eng, dir, &l);
        assert_int_equal(l.experts, experts);
        sy_ledger_free(&l);
        same_params(m, same);
        sy_model_free(m);
        sy_model_free(same);
        fixture_close(&f);
    }
    sy_engine_uninit(&eng);
}

/* --- damage ----------------------------------------------------------------------------------------------------------------------- */

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

static const sy_st_out *named(const char *name)
{
    int i = find(name);
    if (i < 0) fail_msg("no tensor %s", name);
    return &all.t[i];
}

#define GATE "model.layers.1.block_sparse_moe.gate.weight"
#define EXPERT "model.layers.1.block_sparse_moe.experts.2.w3.weight"
static void renamed(void) { ((sy_st_out *)named(GATE))->name = "model.layers.1.block_sparse_moe.router.weight"; }
static void dropped(void) { drop(find(EXPERT)); }
static void extra(void) { all.t[all.n] = *named(EXPERT); all.t[all.n++].name = "model.layers.1.block_sparse_moe.experts.4.w3.weight"; }
static void both(void) { all.t[all.n] = *named(GATE); all.t[all.n++].name = "model.layers.1.mlp.gate.weight"; }
static void turned(void) { sy_st_out *t = (sy_st_out *)named(EXPERT); int64_t d = t->dim[0]; t->dim[0] = t->dim[1], t->dim[1] = d; }
static void headless(void) { drop(find("lm_head.weight")); }
static void rotary(void) { all.t[all.n] = *named("model.norm.weight"); all.t[all.n++].name = "model.layers.0.self_attn.rotary_emb.inv_freq"; }
static void nothing(void) { }

static void damage(void **state)
{
    static const struct { const char *what; void (*fn)(void); const char *from, *to; sy_status want; const char *part; } cases[] = {
        { "a tensor renamed", renamed, NULL, NULL, SY_ELEDGER, "missing " GATE "; unknown model.layers.1.block_sparse_moe.router.weight" },
        { "an expert dropped", dropped, NULL, NULL, SY_ELEDGER, "missing " EXPERT },
        { "an expert too many", extra, NULL, NULL, SY_ELEDGER, "unknown model.layers.1.block_sparse_moe.experts.4.w3.weight" },
        { "a tensor under two names", both, NULL, NULL, SY_ELEDGER, "unknown model.layers.1.mlp.gate.weight" },
        { "a matrix turned", turned, NULL, NULL, SY_ESHAPE, EXPERT },
        { "no head", headless, NULL, NULL, SY_ELEDGER, "missing lm_head.weight" },
        { "no head, but tied", headless, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", SY_OK, NULL },
        { "tied, with a head in the file", nothing, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", SY_OK, NULL },
        { "a rotary buffer", rotary, NULL, NULL, SY_OK, NULL },
        { "a key missing", nothing, "\"num_local_experts\": 4,", "", SY_EFORMAT, "says nothing of 'num_local_experts'" },
        { "another key missing", nothing, "\"num_experts_per_tok\": 2,", "", SY_EFORMAT, "says nothing of 'num_experts_per_tok'" },
        { "more experts than there are", nothing, "\"num_local_experts\": 4", "\"num_local_experts\": 5", SY_ESHAPE, "4 x 32 in the file; config.json gives it 5 x 32" },
        { "-1 experts", nothing, "\"num_local_experts\": 4", "\"num_local_experts\": -1", SY_EARG, "num_local_experts" },
        { "a text for a number", nothing, "\"hidden_size\": 32", "\"hidden_size\": \"wide\"", SY_EARG, "hidden_size" },
        { "an activation that is not known", nothing, "\"hidden_act\": \"silu\"", "\"hidden_act\": \"quick_gelu\"", SY_EUNSUP, "hidden_act 'quick_gelu'" },
        { "packed weights", nothing, "{", "{\"quantization_config\": {\"quant_method\": \"gptq\"},", SY_EUNSUP, "gptq" },
        { "a rotation that is not known", nothing, "{", "{\"rope_scaling\": {\"rope_type\": \"mrope\"},", SY_EUNSUP, "mrope" },
        { "a rotation for each kind of layer", nothing, "{", "{\"rope_scaling\": {\"full_attention\": {}},", SY_EUNSUP, "full_attention" },
        { "part of a head turns", nothing, "{", "{\"partial_rotary_factor\": 0.5,", SY_EUNSUP, "partial_rotary_factor" },
        { "another family's name", nothing, "\"model_type\": \"mixtral\"", "\"model_type\": \"qwen3_moe\"", SY_EFORMAT, "says nothing of 'moe_intermediate_size'" },
    };
    sy_engine eng;
    fixture f;
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 1, "ref", &sy_builtin_methods, err));
    fixture_open(&f, "mixtral");
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_err e = { 0 }, *err = &e;
        sy_model *m = NULL;
        sy_ledger l;
        sy_test_case("%s", cases[i].what);
        const char *dir = folder_of(&f, 0, "damaged");
        cases[i].fn();
        sy_expect_ok(sy_st_write(join(dir, "model.safetensors"), all.t, all.n, NULL, err));
        if (cases[i].from) replace(join(dir, "config.json"), cases[i].from, cases[i].to);
        sy_status st = sy_model_load(&m, &eng, dir, 0, &l, err);
        if (cases[i].want == SY_OK && st != SY_OK) fail_msg("%s: %s", cases[i].what, e.text);
        if (cases[i].want != SY_OK) sy_expect_fail_(st, cases[i].want, err, cases[i].part, "sy_model_load");
        if (cases[i].fn == rotary || (cases[i].fn == nothing && cases[i].want == SY_OK)) assert_int_equal(l.count[SY_L_SKIPPED], 1);
        sy_ledger_free(&l);
        sy_model_free(m);
    }
    sy_test_case("a key that nobody knows is named, and refused when asked to be strict");
    sy_err e = { 0 }, *err = &e;
    sy_ledger l;
    const char *dir = folder_of(&f, 0, "damaged");
    replace(join(dir, "config.json"), "{", "{\"expert_temperature\": 0.5,");
    sy_model *m = load(&eng, dir, &l);
    assert_int_equal(l.count[SY_L_KEY], 1);
    sy_ledger_free(&l);
    sy_model_free(m);
    sy_expect_fail(sy_model_load(&m, &eng, dir, SY_MODEL_STRICT, NULL, err), SY_ELEDGER, "expert_temperature");
    fixture_close(&f);
    sy_engine_uninit(&eng);
}

/* gpt-oss has a stretch of its own whose ramp may end between whole numbers; one that config.json gives ends at whole numbers unless it says otherwise. */
static void own_stretch(void **state)
{
    static const struct { const char *given; bool cut; } cases[] = {
        { "{}", false },
        { "{\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 64}}", true },
        { "{\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 64, \"truncate\": false}}", false },
    };
    char path[600];
    (void)state;
    snprintf(path, sizeof path, "%s/own.json", sy_test_dir());
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_buf b = { 0 };
        sy_arena a = { 0 };
        sy_spec s;
        sy_test_case("%s", cases[i].given);
        sy_buf_printf(&b, "{\"model_type\": \"gpt_oss\", \"vocab_size\": 40, \"hidden_size\": 32, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"num_key_value_heads\": 2, \"head_dim\": 16, "
                          "\"intermediate_size\": 16, \"num_local_experts\": 4, \"num_experts_per_tok\": 2, \"sliding_window\": 8%s%s", cases[i].given[1] == '}' ? "" : ", ", cases[i].given + 1);
        sy_expect_ok(sy_file_write(path, b.data, b.n, err));
        sy_expect_ok(sy_spec_read(path, &s, &a, err));
        assert_int_equal(s.rope_type, SY_ROPE_YARN);
        assert_int_equal(s.rope_truncate, cases[i].cut);
        sy_buf_free(&b);
        sy_arena_free(&a);
    }
}

/* Keys of config.json that change what is computed: each is obeyed, or refused by name. */
static void keys(void **state)
{
    static const struct { const char *what, *family, *from, *to; sy_status want; const char *part; } cases[] = {        /* part: of the sentence, or of the router */
        { "no mixture of causal and other tokens", "mixtral", "{", "{\"is_causal\": false,", SY_EUNSUP, "is_causal is false" },
        { "an encoder is not causal anyway", "bert", "{", "{\"is_causal\": false,", SY_OK, NULL },
        { "keys of single layers", "llama", "{", "{\"per_layer_config\": {\"0\": {\"num_attention_heads\": 2}},", SY_EUNSUP, "per_layer_config" },
        { "noise on what the block sees", "mixtral", "\"router_jitter_noise\": 0.0", "\"router_jitter_noise\": 0.1", SY_OK, "jitter_scope=block" },
        { "a window of nothing", "mistral", "\"sliding_window\": 7", "\"sliding_window\": 0", SY_EUNSUP, "sliding_window is 0; null says that there is none" },
        { "values clamped to 0", "olmoe", "\"clip_qkv\": null", "\"clip_qkv\": 0", SY_EUNSUP, "clip_qkv is 0" },
        { "a stretch that Phi-3.5-MoE has not", "phimoe", "\"rope_type\": \"default\"", "\"rope_type\": \"linear\", \"factor\": 2.0", SY_EUNSUP, "family phimoe turns by default or longrope" },
        { "its own without its factors", "phimoe", "\"rope_type\": \"default\"", "\"rope_type\": \"longrope\", \"short_factor\": [1, 1, 1, 1], \"long_factor\": [1, 1, 1, 1]", SY_EFORMAT, "short_mscale" },
        { "the original length elsewhere", "phimoe", "\"rope_parameters\": {\"rope_theta\": 1000000.0, \"rope_type\": \"default\"", "\"original_max_position_embeddings\": 64, \"rope_parameters\": {\"rope_type\": \"longrope\"",
          SY_EUNSUP, "original_max_position_embeddings stands at the top" },
        { "GPT-NeoX's old keys", "gpt_neox", "\"rope_parameters\": {", "\"rotary_pct\": 0.5, \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2}, \"rotary_emb_base\": 100, \"was\": {", SY_OK, NULL },
        { "keys that GPT-NeoX has not", "gpt_neox", "\"rope_parameters\": {", "\"rope_theta\": 500000.0, \"was\": {", SY_EUNSUP, "rope_theta is 500000 at the top, where family gpt_neox reads rotary_emb_base" },
        { "an attention over another model's states", "gpt2", "\"add_cross_attention\": false", "\"add_cross_attention\": true", SY_EUNSUP, "add_cross_attention" },
        { "a decoder of BERT's", "bert", "\"is_decoder\": false", "\"is_decoder\": true", SY_EUNSUP, "is_decoder" },
        { "positions by distance", "bert", "{", "{\"position_embedding_type\": \"relative_key\",", SY_EUNSUP, "position_embedding_type" },
        { "scores times nothing", "granitemoe", "\"attention_multiplier\": 0.25", "\"attention_multiplier\": 0", SY_EFORMAT, "'attention_multiplier' is 0" },
        { "scores turned round", "granitemoe", "\"attention_multiplier\": 0.25", "\"attention_multiplier\": -1", SY_EFORMAT, "'attention_multiplier' is -1" },
        { "no positions in the scores", "deepseek_v2", "{", "{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, \"attention_factor\": 0},", SY_EUNSUP, "attention_factor is 0" },
        { "a part of a rotating head", "deepseek_v2", "{", "{\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 4.0, \"partial_rotary_factor\": 0.5},", SY_EUNSUP, "partial_rotary_factor is 0.5" },
        { "a topk_method of another family", "deepseek_v2", "\"topk_method\": \"greedy\"", "\"topk_method\": \"noaux_tc\"", SY_EUNSUP, "topk_method is 'noaux_tc'" },
        { "a topk_method of another family", "deepseek_v3", "{", "{\"topk_method\": \"greedy\",", SY_EUNSUP, "topk_method is 'greedy'" },
        { "scores of another family", "deepseek_v3", "{", "{\"scoring_func\": \"softmax\",", SY_EUNSUP, "scoring_func is 'softmax'" },
        { "an activation that is not in the code", "gpt_oss", "\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", SY_EUNSUP, "hidden_act is 'gelu'" },
        { "layers of a kind that is not known", "gpt_oss", "\"full_attention\"", "\"chunked_attention\"", SY_EUNSUP, "chunked_attention" },
    };
    sy_arena a = { 0 };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_err e = { 0 }, *err = &e;
        sy_card c;
        fixture f;
        sy_test_case("%s: %s", cases[i].family, cases[i].what);
        fixture_open(&f, cases[i].family);
        const char *path = join(folder_of(&f, 0, "keys"), "config.json");
        replace(path, cases[i].from, cases[i].to);
        sy_status st = sy_card_read(&c, path, &a, NULL, err);
        if (cases[i].want != SY_OK) sy_expect_fail_(st, cases[i].want, err, cases[i].part, "sy_card_read");
        else if (st != SY_OK) fail_msg("%s", e.text);
        else if (cases[i].part && !strstr(c.spec.router, cases[i].part)) fail_msg("router %s", c.spec.router);
        else if (!strcmp(cases[i].family, "gpt_neox")) assert_true(c.spec.rope_theta == 100 && sy_spec_turns(&c.spec) == 4 && c.spec.rope_factor == 2);
        if (st == SY_OK) sy_expect_ok(sy_family_accepts(c.family, &c.spec, &sy_builtin_methods, false, err));
        if (st == SY_OK && cases[i].part) {              /* noise for the router alone is not Mixtral's */
            c.spec.router = "topk:norm_topk_prob=true,num_experts_per_tok=2,router_jitter_noise=0.1";
            sy_expect_fail(sy_family_accepts(c.family, &c.spec, &sy_builtin_methods, false, err), SY_EUNSUP, "cannot say router");
        }
        fixture_close(&f);
    }
    sy_arena_free(&a);
}

/* The tensors at hand in two shards with an index. */
static void split(const char *dir, int cut)
{
    sy_buf b = { 0 };
    sy_expect_ok(sy_st_write(join(dir, "model-00001-of-00002.safetensors"), all.t, cut, NULL, err));
    sy_expect_ok(sy_st_write(join(dir, "model-00002-of-00002.safetensors"), all.t + cut, all.n - cut, NULL, err));
    sy_buf_text(&b, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
    for (int i = 0; i < all.n; i++) sy_buf_printf(&b, "%s\"%s\": \"model-%05d-of-00002.safetensors\"", i ? ", " : "", all.t[i].name, i < cut ? 1 : 2);
    sy_buf_text(&b, "}}");
    write_text(join(dir, "model.safetensors.index.json"), b.data);
    sy_buf_free(&b);
    unlink(join(dir, "model.safetensors"));
}

/* Shards that belong together give the model; one of another version is refused with the name of a tensor. */
static void shards(void **state)
{
    static const char *const second = "model-00002-of-00002.safetensors";
    sy_engine eng;
    fixture f;
    sy_err e = { 0 }, *err = &e;
    sy_model *m = NULL, *whole;
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    fixture_open(&f, "mixtral");
    whole = load(&eng, folder_of(&f, 0, "whole"), NULL);
    const char *dir = folder_of(&f, 0, "shards"), *other;
    split(dir, 17);
    for (int how = 0; how <= SY_MODEL_MAPPED; how += SY_MODEL_MAPPED) {
        sy_expect_ok(sy_model_load(&m, &eng, dir, (unsigned)how, NULL, err));
        if (!how) same_params(m, whole);
        expect_fixture(&f, 0, m);
        sy_model_free(m);
    }
    sy_test_case("a shard of a model with other sizes");
    other = folder_of(&f, 2, "other");
    split(other, 17);
    assert_int_equal(rename(join(other, second), join(dir, second)), 0);
    sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EFORMAT, "are of different models");
    sy_test_case("a shard of the same names with other shapes");
    dir = folder_of(&f, 0, "shards");
    split(dir, 17);
    for (int i = 17; i < all.n; i++) if (all.t[i].nd == 2) { int64_t d = all.t[i].dim[0]; all.t[i].dim[0] = all.t[i].dim[1], all.t[i].dim[1] = d; }
    sy_expect_ok(sy_st_write(join(dir, second), all.t + 17, all.n - 17, NULL, err));
    sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_ESHAPE, "in the file; config.json gives it");
    sy_test_case("a shard that counts itself among others");
    dir = folder_of(&f, 0, "shards");
    split(dir, 17);
    assert_int_equal(rename(join(dir, second), join(dir, "model-00002-of-00003.safetensors")), 0);
    sy_buf b = { 0 };
    sy_expect_ok(sy_file_read(join(dir, "model.safetensors.index.json"), 1 << 20, &b, err));
    for (char *at = b.data; (at = strstr(at, "00002-of-00002")); ) at[13] = '3';
    write_text(join(dir, "model.safetensors.index.json"), b.data);
    sy_buf_free(&b);
    sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EFORMAT, "model-00002-of-00003.safetensors is one of 3");
    sy_model_free(whole);
    fixture_close(&f);
    sy_engine_uninit(&eng);
}

/* Layers that predict further tokens stand behind the last and are left out; a layer that was merely cut off config.json is not. */
static void mtp(void **state)
{
    sy_engine eng;
    fixture f;
    sy_ledger l;
    sy_model *m;
    sy_err e = { 0 }, *err = &e;
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 1, "ref", &sy_builtin_methods, err));
    fixture_open(&f, "glm4_moe");
    const char *dir = folder_of(&f, 0, "mtp");
    int eh = all.n++;
    all.t[eh] = *named("model.norm.weight");
    all.t[eh].name = "model.layers.2.eh_proj.weight";
    sy_expect_ok(sy_st_write(join(dir, "model.safetensors"), all.t, all.n, NULL, err));
    m = load(&eng, dir, &l);
    assert_int_equal(l.count[SY_L_SKIPPED], 1);
    sy_ledger_free(&l);
    sy_model_free(m);
    all.t[eh].name = "model.layers.3.eh_proj.weight";
    sy_expect_ok(sy_st_write(join(dir, "model.safetensors"), all.t, all.n, NULL, err));
    sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_ELEDGER, "unknown model.layers.3.eh_proj.weight");
    fixture_close(&f);
    sy_engine_uninit(&eng);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(fixtures), cmocka_unit_test(mapped), cmocka_unit_test(round_trip), cmocka_unit_test(fused), cmocka_unit_test(damage), cmocka_unit_test(own_stretch), cmocka_unit_test(keys), cmocka_unit_test(shards), cmocka_unit_test(mtp) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
