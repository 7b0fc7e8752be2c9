/* tests/infer/test_embed.c - what a folder says of pooling, and vectors: the mean or the first of the hidden states, of length one, the same
 * bits with any neighbours. Hidden states themselves are checked against transformers' (tests/model/test_families). */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/random.h"
#include "infer/embed.h"
#include "methods.h"

#define ENCODER "norm=layer,norm_bias=true,norm_place=post,embedding_norm=true,final_norm=false,lm_head=false,causal=false,learned_positions=true,rope_type=none,ffn_gated=false,mlp_bias=true," \
                "attention_bias=true,attention_out_bias=true,type_vocab_size=2,hidden_act=gelu"

enum { V = 23, D = 16, MAX = 40, TEXTS = 6 };
static const int length[TEXTS] = { 3, 40, 1, 17, 8, 40 };

static sy_model *encoder(sy_engine *eng, const char *more)
{
    sy_spec s;
    sy_arena a = { 0 };
    sy_model *m;
    sy_spec_defaults(&s);
    s.vocab_size = V, s.hidden_size = D, s.num_hidden_layers = 2, s.num_attention_heads = 4, s.intermediate_size = 20, s.max_position_embeddings = MAX, s.initializer_range = 0.3;
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, ENCODER, &a, NULL, err));
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, more, &a, NULL, err));
    sy_expect_ok(sy_model_new(&m, eng, &s, 0, 4, err));
    sy_arena_free(&a);
    return m;
}

static void make_texts(int *id, int *first)
{
    first[0] = 0;
    for (int i = 0; i < TEXTS; i++) {
        first[i + 1] = first[i] + length[i];
        for (int j = first[i]; j < first[i + 1]; j++) id[j] = (int)sy_draw_below(sy_key(sy_test_seed(), SY_FOR_TEST, 12, 0, 0), (uint64_t)j, 0, V);
    }
}

static void hidden_of(sy_model *m, const int *id, int n, sy_real *out)
{
    int pos[MAX], seq[MAX] = { 0 };
    sy_tape t;
    sy_tape_init(&t, m->eng, false);
    for (int i = 0; i < n; i++) pos[i] = i;
    sy_segment seg = { .n = n };
    sy_batch b = { .T = n, .n_seg = 1, .id = id, .pos = pos, .seq = seq, .seg = &seg };
    sy_tensor *h = sy_model_hidden(m, &t, &b, &(sy_run){ .mode = SY_EVAL });
    sy_expect_ok(sy_tape_status(&t, err));
    memcpy(out, h->x, (size_t)n * D * sizeof *out);
    sy_tape_free(&t);
}

static void vectors(void **state)
{
    (void)state;
    static const sy_pooling ways[] = { { SY_POOL_MEAN, true, MAX }, { SY_POOL_CLS, true, MAX }, { SY_POOL_MEAN, false, MAX } };
    static int id[TEXTS * MAX], first[TEXTS + 1];
    static sy_real all[TEXTS * D], one[D], h[MAX * D];
    sy_engine eng;
    sy_tape t;
    sy_expect_ok(sy_engine_init(&eng, 2, NULL, &sy_builtin_methods, err));
    sy_model *m = encoder(&eng, "");
    make_texts(id, first);
    sy_tape_init(&t, &eng, false);
    for (size_t w = 0; w < SY_COUNT(ways); w++) {
        sy_test_case("pooling %d, unit %d", ways[w].how, ways[w].unit);
        sy_expect_ok(sy_embed_texts(m, &t, &ways[w], id, first, TEXTS, all, err));
        for (int i = 0; i < TEXTS; i++) {
            double want[D] = { 0 }, sum = 0;
            int two[] = { 0, length[i] }, n = ways[w].how == SY_POOL_MEAN ? length[i] : 1;
            sy_expect_ok(sy_embed_texts(m, &t, &ways[w], id + first[i], two, 1, one, err));
            sy_expect_same("alone", all + i * D, one, sizeof one);
            hidden_of(m, id + first[i], length[i], h);
            for (int j = 0; j < n; j++) for (int d = 0; d < D; d++) want[d] += (double)h[j * D + d] / n;
            for (int d = 0; d < D; d++) sum += want[d] * want[d];
            for (int d = 0; d < D; d++) sy_expect_near("value", (double)one[d], ways[w].unit ? want[d] / sqrt(sum) : want[d], 1e-5, 1e-5);
        }
    }
    sy_err e = { 0 }, *err = &e;
    sy_expect_fail(sy_embed_texts(m, &t, &(sy_pooling){ SY_POOL_MEAN, true, 16 }, id, first, 2, all, err), SY_EARG, "text 1 has 40 tokens; this model reads 1 to 16");
    sy_expect_fail(sy_embed_texts(m, &t, &ways[0], id, (int[]){ 0, 0 }, 1, all, err), SY_EARG, "text 0 has 0 tokens");
    sy_tape_free(&t);
    sy_model_free(m);
    sy_engine_uninit(&eng);
}

/* A later token changes the vector of an earlier one's text: nothing is hidden by a causal mask. */
static void both_directions(void **state)
{
    (void)state;
    sy_engine eng;
    sy_real a[4 * D], b[4 * D];
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    sy_model *m = encoder(&eng, "");
    hidden_of(m, (int[]){ 1, 2, 3, 4 }, 4, a);
    hidden_of(m, (int[]){ 1, 2, 3, 5 }, 4, b);
    assert_true(memcmp(a, b, D * sizeof *a) != 0);
    sy_kv kv;
    sy_err e = { 0 }, *err = &e;
    sy_expect_fail(sy_kv_open(&kv, &m->spec, 8, err), SY_EUNSUP, "no cache");
    sy_tape t;
    sy_tape_init(&t, &eng, false);
    sy_tensor *h = sy_new(&t, SY_DIM(1, D));
    sy_model_logits(m, &t, h, NULL, 1);
    sy_expect_fail(sy_tape_status(&t, err), SY_EUNSUP, "no head that gives logits");
    sy_tape_free(&t);
    sy_model_free(m);
    sy_engine_uninit(&eng);
}

#define MODULES(kind, path, last) "[{\"type\":\"sentence_transformers.models.Transformer\",\"path\":\"\"},{\"type\":\"sentence_transformers.models." kind "\",\"path\":\"" path "\"}" last "]"
#define UNIT ",{\"type\":\"sentence_transformers.models.Normalize\",\"path\":\"2_Normalize\"}"

static void put(const char *dir, const char *name, const char *text)
{
    char path[1400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (text) sy_expect_ok(sy_file_write(path, text, strlen(text), err));
    else remove(path);
}

static void folders(void **state)
{
    (void)state;
    static const struct { const char *modules, *pooling, *bert; sy_pooling want; const char *says; } cases[] = {
        { NULL, NULL, NULL, { SY_POOL_MEAN, true, MAX }, NULL },
        { MODULES("Pooling", "1_Pooling", UNIT), "{\"pooling_mode_cls_token\":false,\"pooling_mode_mean_tokens\":true}", "{\"max_seq_length\":12}", { SY_POOL_MEAN, true, 12 }, NULL },
        { MODULES("Pooling", "1_Pooling", ""), "{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":false}", "{\"max_seq_length\":512}", { SY_POOL_CLS, false, MAX }, NULL },
        { MODULES("Pooling", "1_Pooling", UNIT), "{\"pooling_mode\":\"cls\"}", NULL, { SY_POOL_CLS, true, MAX }, NULL },
        { MODULES("Pooling", "1_Pooling", UNIT), "{\"pooling_mode_mean_tokens\":true,\"pooling_mode_max_tokens\":true}", NULL, { 0 }, "pooling_mode_max_tokens" },
        { MODULES("Pooling", "1_Pooling", UNIT), "{\"pooling_mode\":\"lasttoken\"}", NULL, { 0 }, "lasttoken" },
        { MODULES("Pooling", "../1_Pooling", UNIT), "{}", NULL, { 0 }, "not a folder beside it" },
        { MODULES("Dense", "2_Dense", UNIT), "{}", NULL, { 0 }, "models.Dense' is not computed" },
        { "[]", "{}", NULL, { 0 }, "has no pooling" },
        { "{}", "{}", NULL, { 0 }, "not a list" },
        { "[{}]", "{}", NULL, { 0 }, "no type" },
        { NULL, NULL, "{\"max_seq_length\":0}", { 0 }, "max_seq_length" },
    };
    sy_engine eng;
    char dir[900], sub[1000];
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    sy_model *m = encoder(&eng, "");
    snprintf(dir, sizeof dir, "%s/embed", sy_test_dir());
    snprintf(sub, sizeof sub, "%s/1_Pooling", dir);
    sy_expect_ok(sy_mkdirs(sub, err));
    for (size_t c = 0; c < SY_COUNT(cases); c++) {
        sy_pooling p;
        sy_err e = { 0 }, *err = &e;
        sy_test_case("folder %zu", c);
        put(dir, "modules.json", cases[c].modules);
        put(sub, "config.json", cases[c].pooling);
        put(dir, "sentence_bert_config.json", cases[c].bert);
        sy_status st = sy_pooling_read(&p, &m->spec, dir, err);
        if (cases[c].says) {
            assert_int_not_equal(st, SY_OK);
            if (!strstr(e.text, cases[c].says)) fail_msg("'%s' does not say '%s'", e.text, cases[c].says);
            continue;
        }
        if (st != SY_OK) fail_msg("%s", e.text);
        assert_int_equal(p.how, cases[c].want.how);
        assert_int_equal(p.unit, cases[c].want.unit);
        assert_int_equal(p.most, cases[c].want.most);
    }
    sy_model_free(m);
    sy_engine_uninit(&eng);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(vectors), cmocka_unit_test(both_directions), cmocka_unit_test(folders) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
