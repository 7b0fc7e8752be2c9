/* tests/model/test_sums.c - checksums of a folder: damage, files that are gone, lists that are none; and what loading checks unasked. Oracles: sha256sum's values of
 * known texts; the damage that was done. */
#include "testing.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "methods.h"
#include "model/checkpoint.h"
#include "model/sums.h"

static const char *at(const char *name)
{
    static char path[4][600];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, 600, "%s/folder/%s", sy_test_dir(), name);
    return p;
}

static const char *const must[] = { "abc", NULL };

/* A folder with the files abc ("abc") and empty, and their sums. */
static char *folder(void)
{
    static char dir[500];
    snprintf(dir, sizeof dir, "%s/folder", sy_test_dir());
    sy_expect_ok(sy_remove_tree(dir, err));
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_file_write(at("abc"), "abc", 3, err));
    sy_expect_ok(sy_file_write(at("empty"), "", 0, err));
    sy_expect_ok(sy_sums_write(dir, NULL, err));
    return dir;
}

static void test_sums(void **state)
{
    static const struct { const char *what, *file, *text, *part; } cases[] = {
        { "another text", "abc", "abd", "abc is damaged" }, { "a longer one", "empty", "x", "empty is damaged" }, { "gone", "abc", NULL, "abc is missing" },
        { "no list", "SHA256SUMS", NULL, "SHA256SUMS is missing" }, { "an empty list", "SHA256SUMS", "", "is damaged" }, { "a cut list", "SHA256SUMS", "ba7816bf  abc", "is damaged" },
        { "short sums", "SHA256SUMS", "ba7816bf  abc\n", "is damaged" }, { "an upward path", "SHA256SUMS", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  ../abc\nx  abc\n", "is damaged" },
        { "not listed", "SHA256SUMS", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  empty\n", "does not list abc" },
        { "another sum", "SHA256SUMS", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  abc\n", "abc is damaged" },
    };
    sy_err e = { 0 }, *err = &e;
    sy_buf b = { 0 };
    (void)state;
    const char *dir = folder();
    sy_expect_ok(sy_file_read(at("SHA256SUMS"), 1000, &b, err));
    assert_string_equal(b.data, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  abc\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  empty\n");
    sy_buf_free(&b);
    sy_expect_ok(sy_sums_check(dir, must, err));
    sy_expect_ok(sy_sums_check_small(dir, err));
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].what);
        folder();
        if (cases[i].text) sy_expect_ok(sy_file_write(at(cases[i].file), cases[i].text, strlen(cases[i].text), err));
        else unlink(at(cases[i].file));
        sy_expect_fail(sy_sums_check(dir, must, err), SY_EFORMAT, cases[i].part);
    }
    sy_test_case("a chosen few");
    folder();
    sy_expect_ok(sy_sums_write(dir, (const char *const []){ "abc", "absent", NULL }, err));
    sy_expect_ok(sy_file_write(at("empty"), "no more", 7, err));
    sy_expect_ok(sy_sums_check(dir, must, err));
    sy_expect_ok(sy_sums_remove(dir, err));
    sy_expect_ok(sy_sums_remove(dir, err));
    sy_expect_fail(sy_sums_check(dir, must, err), SY_EFORMAT, "is missing");
}

static void test_unasked(void **state)
{
    (void)state;
    sy_err e = { 0 }, *err = &e;
    const char *dir = folder();
    sy_expect_ok(sy_file_write(at("abc"), "abd", 3, err));
    sy_expect_fail(sy_sums_check_small(dir, err), SY_EFORMAT, "delete SHA256SUMS");
    sy_test_case("too much to read unasked");
    assert_int_equal(truncate(at("empty"), (off_t)SY_SUMS_MOST + 1), 0);
    sy_expect_ok(sy_sums_check_small(dir, err));
    sy_test_case("without a list");
    unlink(at("SHA256SUMS"));
    assert_int_equal(truncate(at("empty"), 0), 0);
    sy_expect_ok(sy_sums_check_small(dir, err));
}

/* One bit of a weight: the tensors are well formed, only the sum can tell. */
static void test_load(void **state)
{
    (void)state;
    sy_engine eng;
    sy_model *m;
    sy_spec s;
    sy_buf b = { 0 };
    sy_err e = { 0 }, *err = &e;
    const char *dir = folder();
    sy_expect_ok(sy_engine_init(&eng, 1, "ref", &sy_builtin_methods, err));
    sy_spec_defaults(&s);
    s.vocab_size = 20, s.hidden_size = 8, s.num_hidden_layers = 1, s.num_attention_heads = 2, s.num_key_value_heads = 1, s.intermediate_size = 12;
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, 1, err));
    sy_expect_ok(sy_model_save(m, dir, -1, NULL, err));
    sy_model_free(m);
    sy_expect_ok(sy_sums_write(dir, NULL, err));
    sy_expect_ok(sy_model_load(&m, &eng, dir, 0, NULL, err));
    sy_model_free(m);
    sy_expect_ok(sy_file_read(at("model.safetensors"), 1 << 20, &b, err));
    b.data[b.n - 7] ^= 1;
    sy_expect_ok(sy_file_write(at("model.safetensors"), b.data, b.n, err));
    sy_expect_fail(sy_model_load(&m, &eng, dir, 0, NULL, err), SY_EFORMAT, "model.safetensors is damaged");
    sy_expect_ok(sy_sums_remove(dir, err));
    sy_expect_ok(sy_model_load(&m, &eng, dir, 0, NULL, err));
    sy_model_free(m);
    sy_buf_free(&b);
    sy_engine_uninit(&eng);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_sums), cmocka_unit_test(test_unasked), cmocka_unit_test(test_load) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
