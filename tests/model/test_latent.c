/* tests/model/test_latent.c - latent attention by its two forms: what decoding on the latents gives against the pass without a cache, what the cache
 * holds, and that the cheaper form is the one that runs. The oracle is the naive form, which test_grad and the families' fixtures check. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "methods.h"
#include "model/model.h"

enum { N = 90, V = 31 };

static const struct { const char *what, *settings; } models[] = {
    { "one matrix for queries", "kv_lora_rank=24,qk_nope_head_dim=16,qk_rope_head_dim=8,v_head_dim=12" },
    { "low rank, stretched, biases", "q_lora_rank=20,kv_lora_rank=16,qk_nope_head_dim=8,qk_rope_head_dim=12,v_head_dim=20,attention_bias=true,rope_type=yarn,rope_factor=8,rope_mscale=1,rope_mscale_all_dim=0.8,"
                                     "original_max_position_embeddings=32" },
    { "a window, sinks, halves turn", "kv_lora_rank=24,qk_nope_head_dim=16,qk_rope_head_dim=8,v_head_dim=16,rope_interleaved=false,sliding_window=40,attention_sinks=true" },
};

static sy_model *model_of(sy_engine *eng, const char *settings, const char *more)
{
    sy_spec s;
    sy_arena a = { 0 };
    sy_model *m;
    sy_spec_defaults(&s);
    s.vocab_size = V, s.hidden_size = 32, s.num_hidden_layers = 2, s.num_attention_heads = 4, s.intermediate_size = 40, s.max_position_embeddings = N, s.initializer_range = 0.25;
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, "attention=mla,rope_interleaved=true", &a, NULL, err));
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, settings, &a, NULL, err));
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, more, &a, NULL, err));
    sy_expect_ok(sy_model_new(&m, eng, &s, 0, 5, err));
    sy_arena_free(&a);
    return m;
}

/* Logits of ids from .. from+n-1, through the cache if there is one; the tape's products are counted. */
static uint64_t pass(sy_model *m, sy_kv *kv, int from, int n, sy_real *logits)
{
    static int id[N], pos[N], seq[N];
    for (int i = 0; i < n; i++) {
        id[i] = (int)sy_draw_below(sy_key(sy_test_seed(), SY_FOR_TEST, 9, 0, 0), (uint64_t)(from + i), 0, V);
        pos[i] = from + i;
    }
    sy_tape t;
    sy_tape_init(&t, m->eng, false);
    sy_segment seg = { .n = n, .pos0 = from };
    sy_batch b = { .T = n, .n_seg = 1, .id = id, .pos = pos, .seq = seq, .seg = &seg };
    sy_run run = { .mode = SY_SERVE, .kv = kv ? &kv : NULL };
    sy_tensor *z = sy_model_logits(m, &t, sy_model_hidden(m, &t, &b, &run), NULL, n);
    sy_expect_ok(sy_tape_status(&t, err));
    memcpy(logits + (size_t)from * V, z->x, (size_t)n * V * sizeof *logits);
    uint64_t madds = t.madds;
    sy_tape_free(&t);
    return madds;
}

static uint64_t decode(sy_model *m, int prompt, int piece, sy_real *logits)
{
    sy_kv kv;
    uint64_t madds = 0;
    sy_expect_ok(sy_kv_open(&kv, &m->spec, N, err));
    assert_int_equal(kv.heads, 1);
    assert_int_equal(kv.head_dim, m->spec.kv_lora_rank + m->spec.qk_rope_head_dim);
    assert_null(kv.v);
    if (prompt) pass(m, &kv, 0, prompt, logits);
    for (int i = prompt, n; i < N; i += n) {
        n = piece < N - i ? piece : N - i;
        madds += pass(m, &kv, i, n, logits);
    }
    sy_kv_close(&kv);
    return madds;
}

static void both_forms(void **state)
{
    (void)state;
    static sy_real want[N * V], got[N * V];
    static const struct { int prompt, piece; } ways[] = { { 0, 1 }, { 64, 1 }, { 64, 3 }, { 50, 40 }, { 0, 90 } };
    for (size_t c = 0; c < SY_COUNT(models); c++)
        for (size_t w = 0; w < SY_COUNT(ways); w++) {
            sy_engine eng;
            sy_expect_ok(sy_engine_init(&eng, 2, NULL, &sy_builtin_methods, err));
            sy_model *naive = model_of(&eng, models[c].settings, "mla_absorb=false"), *fast = model_of(&eng, models[c].settings, "mla_absorb=true");
            sy_test_case("%s, a prompt of %d and then %d at a time", models[c].what, ways[w].prompt, ways[w].piece);
            pass(naive, NULL, 0, N, want);
            uint64_t all = decode(naive, ways[w].prompt, ways[w].piece, got);
            sy_expect_same("expanded", got, want, sizeof want);
            memset(got, 0, sizeof got);
            uint64_t less = decode(fast, ways[w].prompt, ways[w].piece, got);
            double eps = sizeof(sy_real) == 8 ? 1e-12 : 2e-5;
            sy_expect_close("on the latents", got, want, N * V, eps, eps);
            if (ways[w].piece < 10 && !(less < all / 2)) fail_msg("decoding takes %llu multiply-adds on the latents, %llu expanded", (unsigned long long)less, (unsigned long long)all);
            if (ways[w].piece == N) sy_expect_same("a whole prompt is expanded", got, want, sizeof want);
            sy_model_free(naive);
            sy_model_free(fast);
            sy_engine_uninit(&eng);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(both_forms) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
