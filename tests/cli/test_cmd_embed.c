/* float only */
/* tests/cli/test_cmd_embed.c - switchyard embed as a user runs it: ids in, vectors out as JSON lines or as one file, refusals in a sentence. What is
 * in a vector is tests/infer/test_embed's business. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/file.h"
#include "core/json.h"
#include "methods.h"
#include "model/checkpoint.h"
#include "model/safetensors.h"

enum { D = 16 };
static sy_buf said;                     /* both outputs of the last run */
static char dir[900];                   /* of the encoder */

static int run(const char *input, const char *fmt, ...)
{
    char args[2000], line[4000], path[1000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(args, sizeof args, fmt, ap);
    va_end(ap);
    snprintf(path, sizeof path, "%s/input", sy_test_dir());
    sy_expect_ok(sy_file_write(path, input, strlen(input), err));
    snprintf(line, sizeof line, "%s embed %s --quiet < %s 2>&1", SY_BINARY, args, path);
    FILE *p = popen(line, "r");
    assert_non_null(p);
    sy_buf_clear(&said);
    for (int c; (c = getc(p)) != EOF; ) sy_buf_put(&said, &(char){ (char)c }, 1);
    int status = pclose(p);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_said(const char *part)
{
    if (!said.data || !strstr(said.data, part)) fail_msg("'%s' is not in:\n%s", part, said.data ? said.data : "(nothing)");
}

static int make(void **state)
{
    (void)state;
    sy_spec s;
    sy_arena a = { 0 };
    sy_engine eng;
    sy_model *m;
    sy_spec_defaults(&s);
    s.vocab_size = 20, s.hidden_size = D, s.num_hidden_layers = 1, s.num_attention_heads = 2, s.intermediate_size = 20, s.max_position_embeddings = 8, s.initializer_range = 0.3;
    snprintf(dir, sizeof dir, "%s/encoder", sy_test_dir());
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, "norm=layer,norm_bias=true,norm_place=post,embedding_norm=true,final_norm=false,lm_head=false,causal=false,learned_positions=true,rope_type=none,"
                              "ffn_gated=false,mlp_bias=true,attention_bias=true,attention_out_bias=true,type_vocab_size=2,hidden_act=gelu", &a, NULL, err));
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, 2, err));
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_model_save(m, dir, -1, NULL, err));
    sy_model_free(m);
    sy_engine_uninit(&eng);
    sy_arena_free(&a);
    return 0;
}

static void lines(void **state)
{
    (void)state;
    double first[D];
    int n = 0;
    assert_int_equal(run("1 2 3\n 7 \n1 2 3\n", "%s --ids", dir), 0);
    for (char *p = said.data, *end; p && (end = strchr(p, '\n')); p = end + 1, n++) {
        json_t *v;
        double sum = 0;
        sy_expect_ok(sy_json_parse(&v, p, (size_t)(end - p), "vector", err));
        assert_int_equal(json_array_size(v), D);
        for (int d = 0; d < D; d++) {
            double x = json_number_value(json_array_get(v, (size_t)d));
            if (!n) first[d] = x;
            if (n == 2) assert_true(x == first[d]);
            sum += x * x;
        }
        sy_expect_near("length", sqrt(sum), 1, 1e-6, 0);
        json_decref(v);
    }
    assert_int_equal(n, 3);
    assert_int_equal(run("", "%s --ids", dir), 0);
    assert_int_equal(said.n, 0);
}

static void one_file(void **state)
{
    (void)state;
    char path[1000];
    sy_arena a = { 0 };
    sy_map map;
    sy_st st;
    snprintf(path, sizeof path, "%s/out.safetensors", sy_test_dir());
    assert_int_equal(run("1 2 3\n4\n", "%s --ids --out %s", dir, path), 0);
    sy_expect_ok(sy_map_open(&map, path, err));
    sy_expect_ok(sy_st_parse(&st, map.data, map.size, path, &a, err));
    const sy_st_tensor *t = sy_st_find(&st, "embeddings");
    assert_non_null(t);
    assert_true(t->nd == 2 && t->dim[0] == 2 && t->dim[1] == D && t->type == SY_DT_F32);
    sy_map_close(&map);
    sy_arena_free(&a);
}

static void refusals(void **state)
{
    (void)state;
    assert_int_equal(run("1 2\n3 20\n", "%s --ids", dir), 1);
    expect_said("line 2: '20' is not an id of 0 to 19");
    assert_int_equal(run("1 x\n", "%s --ids", dir), 1);
    expect_said("line 1: 'x' is not an id");
    assert_int_equal(run("1\n\n", "%s --ids", dir), 1);
    expect_said("line 2 has no tokens");
    assert_int_equal(run("1 2 3 4 5 6 7 8 9\n", "%s --ids", dir), 1);
    expect_said("line 1 has 9 tokens, the model reads 8; give --cut");
    assert_int_equal(run("1 2 3 4 5 6 7 8 9\n", "%s --ids --cut", dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(lines), cmocka_unit_test(one_file), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, make, NULL);
}
