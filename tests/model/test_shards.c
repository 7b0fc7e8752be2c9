/* Weights in several files. Oracle: the same model in one; a process that is killed between two shards leaves nothing that opens, and where a model
 * stood before, that model. */
#include "testing.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/json.h"
#include "methods.h"
#include "model/checkpoint.h"
#include "model/convert.h"
#include "model/shards.h"

static sy_engine eng;

static char *in_dir(const char *name)
{
    static char path[6][512];
    static int turn;
    char *p = path[turn++ % 6];
    snprintf(p, sizeof *path, "%s/%s", sy_test_dir(), name);
    return p;
}

static sy_model *model_of(uint64_t seed)
{
    sy_spec s;
    sy_arena a = { 0 };
    sy_model *m;
    sy_spec_defaults(&s);
    s.vocab_size = 61, s.hidden_size = 32, s.num_hidden_layers = 2, s.num_attention_heads = 4, s.intermediate_size = 48, s.max_position_embeddings = 64;
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, "layers=sparse,router='topk:top_k=2,norm_topk_prob=true',num_experts=3,moe_intermediate_size=48", &a, NULL, err));
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, seed, err));
    sy_arena_free(&a);
    return m;
}

static void expect_same_model(const sy_model *a, const char *dir)
{
    sy_model *b;
    sy_expect_ok(sy_model_load(&b, &eng, dir, SY_MODEL_TRAIN, NULL, err));
    for (int i = 0; i < a->params.n; i++) sy_expect_same(a->params.p[i]->name, b->params.p[i]->w.data, a->params.p[i]->w.data, a->params.p[i]->n * sizeof(sy_real));
    sy_model_free(b);
}

/* Files of weights in a folder. */
static int files_in(const char *dir, bool *index)
{
    sy_arena a = { 0 };
    const char **name;
    int n, k = 0;
    sy_expect_ok(sy_dir_list(dir, &a, &name, &n, err));
    *index = false;
    for (int i = 0; i < n; i++) {
        *index |= !strcmp(name[i], "model.safetensors.index.json");
        k += sy_is_shard(name[i]) && strcmp(name[i], "model.safetensors.index.json");
    }
    sy_arena_free(&a);
    return k;
}

static size_t bytes_of(const sy_model *m)
{
    size_t n = 0;
    for (int i = 0; i < m->params.n; i++) n += m->params.p[i]->n * sizeof(sy_real);
    return n;
}

static void names(void **state)
{
    (void)state;
    assert_true(sy_is_shard("model.safetensors") && sy_is_shard("model-00001-of-00002.safetensors") && sy_is_shard("model.safetensors.index.json"));
    assert_false(sy_is_shard("model-00001-of-00002.safetensors.tmp.7") || sy_is_shard("training_state.safetensors") || sy_is_shard("model-x.safetensors") || sy_is_shard("config.json"));
}

/* One folder, saved again and again with other sizes: each time the same model, and nothing of the last set stays. */
static void sizes(void **state)
{
    sy_model *m = model_of(sy_test_seed());
    const char *dir = in_dir("model");
    size_t all = bytes_of(m);
    const struct { uint64_t most; int least, most_files; } cases[] = { { 0, 1, 1 }, { all / 3, 3, 5 }, { all - 1, 2, 2 }, { 1, 20, 1000 }, { all, 1, 1 }, { all / 2, 2, 3 }, { 5000, 5, 100 }, { 0, 1, 1 } };
    (void)state;
    sy_expect_ok(sy_mkdirs(dir, err));
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bool index;
        sy_test_case("at most %llu of %zu bytes", (unsigned long long)cases[i].most, all);
        sy_expect_ok(sy_model_save_as(m, NULL, dir, -1, cases[i].most, NULL, err));
        int n = files_in(dir, &index);
        assert_in_range(n, cases[i].least, cases[i].most_files);
        assert_int_equal(index, n > 1);
        expect_same_model(m, dir);
    }
    sy_model_free(m);
}

static void index_says_all(void **state)
{
    sy_model *m = model_of(3);
    const char *dir = in_dir("indexed"), *key;
    json_t *root, *v;
    size_t tensors = 0;
    (void)state;
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_model_save_as(m, NULL, dir, -1, 9000, NULL, err));
    sy_expect_ok(sy_json_read(&root, in_dir("indexed/model.safetensors.index.json"), 1 << 20, err));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "metadata"), "total_size")), bytes_of(m));
    json_object_foreach(json_object_get(root, "weight_map"), key, v) {
        char path[700];
        snprintf(path, sizeof path, "%s/%s", dir, json_string_value(v));
        int64_t size = sy_file_size(path);
        assert_true(size > 0 && size < 9000 + 8192);             /* with its header; one tensor alone is larger than that in none of these */
        tensors++;
    }
    for (int i = 0; i < m->params.n; i++) tensors -= (size_t)sy_param_pieces(m->params.p[i]);
    assert_int_equal(tensors, 0);
    json_decref(root);
    sy_model_free(m);
}

/* --- killed ------------------------------------------------------------------------------------------------------------------------ */

static const sy_syscalls *disk;
static int renames_left;
static int killing_rename(const char *from, const char *to)
{
    if (strstr(to, "model") && !renames_left--) kill(getpid(), SIGKILL);
    return disk->rename(from, to);
}

static void killed_after(int renames, void (*what)(void *), void *arg)
{
    int how;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        sy_syscalls calls = *(disk = sy_file_calls);
        calls.rename = killing_rename;
        renames_left = renames;
        sy_file_calls = &calls;
        what(arg);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static void save_shards(void *dir)
{
    sy_model *m = model_of(8);
    sy_model_save_as(m, NULL, dir, -1, bytes_of(m) / 3, NULL, &(sy_err){ 0 });
}

static void convert_shards(void *dir)
{
    sy_ledger l = { 0 };
    sy_convert c = { .in = dir, .out = in_dir("converted"), .shard = 9000 };
    sy_convert_run(&eng, &c, &l, &(sy_err){ 0 });
    sy_ledger_free(&l);
}

static void killed_between_shards(void **state)
{
    sy_err e = { 0 }, *err = &e;
    sy_model *old = model_of(7), *m, *in = model_of(9);
    (void)state;
    for (int had = 0; had < 3; had++)                /* nothing, one file, shards */
        for (int after = 0; after < 4; after++) {
            const char *dir = in_dir("killed");
            sy_test_case("%d renames, %s before", after, had == 0 ? "nothing" : had == 1 ? "one file" : "shards");
            sy_expect_ok(sy_remove_tree(dir, err));
            sy_expect_ok(sy_mkdirs(dir, err));
            if (had) sy_expect_ok(sy_model_save_as(old, NULL, dir, -1, had == 1 ? 0 : bytes_of(old) / 3, NULL, err));
            killed_after(after, save_shards, (void *)dir);
            if (had == 1) expect_same_model(old, dir);           /* it stands until the index of the new one does */
            else sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_ENOENT, had ? "model.safetensors" : "config.json");
            sy_expect_ok(sy_model_save_as(in, NULL, dir, -1, bytes_of(in) / 2, NULL, err));       /* what a killed process leaves is in no one's way */
            expect_same_model(in, dir);
        }
    const char *dir = in_dir("input");
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_model_save(in, dir, -1, NULL, err));
    killed_after(2, convert_shards, (void *)dir);
    assert_false(sy_file_exists(in_dir("converted")));
    convert_shards((void *)dir);
    expect_same_model(in, in_dir("converted"));
    bool index;
    assert_true(files_in(in_dir("converted"), &index) > 3 && index);
    sy_model_free(old);
    sy_model_free(in);
}

int main(void)
{
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(sizes), cmocka_unit_test(index_says_all), cmocka_unit_test(killed_between_shards) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sy_engine_uninit(&eng);
    return failed;
}
