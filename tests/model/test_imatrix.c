/* Importance matrices in both forms, and the hostile ones. Oracle: what was put into the file; the sentence that must come. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "model/gguf.h"
#include "model/imatrix.h"

static const char *in_dir(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", sy_test_dir(), name);
    return path;
}

static void i32(sy_buf *b, int32_t v) { sy_buf_put(b, &v, 4); }
static void f32(sy_buf *b, float v) { sy_buf_put(b, &v, 4); }

static void old_entry(sy_buf *b, const char *name, int calls, const float *v, int n)
{
    i32(b, (int32_t)strlen(name)), sy_buf_text(b, name), i32(b, calls), i32(b, n);
    for (int i = 0; i < n; i++) f32(b, v[i]);
}

static void write_gguf(const char *path, const char *type, float counts, float first)
{
    float sums[6] = { first, 2, 4, 6, 8, 10 }, n[2] = { counts, 4 };
    sy_gguf_writer w;
    sy_expect_ok(sy_gguf_writer_open(&w, path, err));
    sy_gguf_put_text(&w, "general.type", type, strlen(type));
    sy_expect_ok(sy_gguf_put_tensor(&w, "blk.0.ffn_up_exps.weight.in_sum2", 0, 2, (int64_t[]){ 2, 3 }, err));
    sy_expect_ok(sy_gguf_put_tensor(&w, "blk.0.ffn_up_exps.weight.counts", 0, 2, (int64_t[]){ 2, 1 }, err));
    sy_expect_ok(sy_gguf_writer_begin(&w, err));
    sy_expect_ok(sy_gguf_writer_data(&w, sums, sizeof sums, err));
    sy_expect_ok(sy_gguf_writer_data(&w, n, sizeof n, err));
    sy_expect_ok(sy_gguf_writer_close(&w, err));
    sy_gguf_writer_abandon(&w);
}

static void both_forms(void **state)
{
    static const float v[6] = { 1, 2, 3, 4, 5, 6 };
    const float *row;
    sy_imatrix m;
    sy_buf b = { 0 };
    sy_err told = { 0 }, *err = &told;
    (void)state;
    i32(&b, 2);
    old_entry(&b, "blk.1.attn_q.weight", 3, v, 3);
    old_entry(&b, "blk.0.ffn_up_exps.weight", 3, v, 6);
    i32(&b, 7), i32(&b, 4), sy_buf_text(&b, "wiki");          /* what stands behind the entries */
    sy_expect_ok(sy_file_write(in_dir("old.dat"), b.data, b.n, err));
    sy_expect_ok(sy_imatrix_open(&m, in_dir("old.dat"), err));
    assert_int_equal(m.n, 2);
    sy_expect_ok(sy_imatrix_row(&m, "blk.1.attn_q.weight", 0, 1, 3, &row, err));
    assert_true(row && row[2] == 3);
    sy_expect_ok(sy_imatrix_row(&m, "blk.0.ffn_up_exps.weight", 1, 2, 3, &row, err));
    assert_true(row && row[0] == 4);
    sy_expect_ok(sy_imatrix_row(&m, "output.weight", 0, 1, 3, &row, err));
    assert_null(row);
    sy_expect_fail(sy_imatrix_row(&m, "blk.1.attn_q.weight", 0, 1, 4, &row, err), SY_ESHAPE, "the tensor wants 1 x 4");
    sy_imatrix_close(&m);
    sy_buf_free(&b);

    write_gguf(in_dir("new.gguf"), "imatrix", 2, 0);
    sy_expect_ok(sy_imatrix_open(&m, in_dir("new.gguf"), err));
    sy_expect_ok(sy_imatrix_row(&m, "blk.0.ffn_up_exps.weight", 0, 2, 3, &row, err));
    assert_true(row && row[0] == 0 && row[1] == 1 && row[2] == 2);           /* sums over counts */
    sy_expect_ok(sy_imatrix_row(&m, "blk.0.ffn_up_exps.weight", 1, 2, 3, &row, err));
    assert_true(row && row[0] == 1.5f && row[2] == 2.5f);
    assert_true(m.e[0].used);
    sy_imatrix_close(&m);
    sy_test_case("an expert that saw no text");
    write_gguf(in_dir("new.gguf"), "imatrix", 0, 0);
    sy_expect_ok(sy_imatrix_open(&m, in_dir("new.gguf"), err));
    sy_expect_ok(sy_imatrix_row(&m, "blk.0.ffn_up_exps.weight", 0, 2, 3, &row, err));
    assert_true(row && row[0] == 0 && row[1] == 0);
    sy_imatrix_close(&m);
}

static void hostile(void **state)
{
    static const float v[3] = { 1, NAN, 3 }, minus[1] = { -1 };
    sy_imatrix m;
    sy_err told = { 0 }, *err = &told;
    (void)state;
    write_gguf(in_dir("a.gguf"), "model", 2, 0);
    sy_expect_fail(sy_imatrix_open(&m, in_dir("a.gguf"), err), SY_EFORMAT, "of type 'model', not an importance matrix");
    write_gguf(in_dir("a.gguf"), "imatrix", 2, NAN);
    sy_expect_fail(sy_imatrix_open(&m, in_dir("a.gguf"), err), SY_EFORMAT, "must be a number of at least 0");
    write_gguf(in_dir("a.gguf"), "imatrix", -1, 0);
    sy_expect_fail(sy_imatrix_open(&m, in_dir("a.gguf"), err), SY_EFORMAT, "must be a number of at least 0");
    sy_expect_fail(sy_imatrix_open(&m, sy_test_dir(), err), SY_EARG, "is a folder");

    static const int32_t counts[] = { 0, -1, 1 << 30, 2 };
    for (size_t i = 0; i < SY_COUNT(counts); i++) {
        sy_buf b = { 0 };
        i32(&b, counts[i]);
        old_entry(&b, "a", 1, minus + 1, 0);
        sy_expect_ok(sy_file_write(in_dir("b.dat"), b.data, b.n, err));
        sy_test_case("%d entries", counts[i]);
        sy_expect_fail(sy_imatrix_open(&m, in_dir("b.dat"), err), SY_EFORMAT, "b.dat");
        sy_buf_free(&b);
    }
    for (int k = 0; k < 3; k++) {
        sy_buf b = { 0 };
        i32(&b, k == 2 ? 2 : 1);
        old_entry(&b, "a", 1, k == 1 ? minus : v, k == 1 ? 1 : 3);
        if (k == 2) b.n = 0, i32(&b, 2), old_entry(&b, "aaaaaaaaaa", 1, v, 1), old_entry(&b, "aaaaaaaaaa", 1, v, 1);
        sy_expect_ok(sy_file_write(in_dir("b.dat"), b.data, b.n, err));
        sy_expect_fail(sy_imatrix_open(&m, in_dir("b.dat"), err), SY_EFORMAT, k == 2 ? "stands twice" : "at least 0");
        sy_buf_free(&b);
    }
    sy_buf b = { 0 };
    i32(&b, 1);
    old_entry(&b, "blk.0.attn_q.weight", 1, v, 1);
    for (size_t cut = 0; cut < b.n; cut++) {
        sy_expect_ok(sy_file_write(in_dir("c.dat"), b.data, cut, err));
        sy_test_case("cut to %zu bytes", cut);
        sy_expect_fail(sy_imatrix_open(&m, in_dir("c.dat"), err), SY_EFORMAT, "c.dat");
    }
    sy_expect_ok(sy_file_write(in_dir("c.dat"), b.data, b.n, err));
    for (uint64_t n = 1, done = 0; !done; n++) {
        sy_alloc_fail_at(n, 1);
        sy_status st = sy_imatrix_open(&m, in_dir("c.dat"), err);
        sy_alloc_fail_at(0, 0);
        if (st == SY_OK) done = 1, sy_imatrix_close(&m);
        else assert_int_equal(st, SY_ENOMEM);
    }
    sy_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(both_forms), cmocka_unit_test(hostile) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
