/* Heap and growing buffers. Oracle: a plain copy, and the failure switch of core/alloc.h. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/buffer.h"

static void growth(void **s)
{
    (void)s;
    sy_buf b = { 0 };
    char want[20000];
    size_t n = 0;
    for (int i = 0; i < 1000; i++) {
        char piece[40];
        int k = snprintf(piece, sizeof piece, "%d,%.*s", i, i % 20, "********************");
        memcpy(want + n, piece, (size_t)k);
        n += (size_t)k;
        if (i % 3 == 0) sy_buf_put(&b, piece, (size_t)k);
        else if (i % 3 == 1) sy_buf_text(&b, piece);
        else sy_buf_printf(&b, "%s", piece);
        assert_int_equal(b.n, n);
        assert_int_equal(b.data[n], 0);
        assert_true(b.room > n);
    }
    assert_memory_equal(b.data, want, n);
    uint64_t calls = sy_alloc_calls();
    sy_buf_clear(&b);
    assert_string_equal(b.data, "");
    sy_buf_put(&b, want, n);
    assert_int_equal(sy_alloc_calls(), calls);       /* the memory was kept */
    sy_buf_put(&b, NULL, 0);
    sy_buf_free(&b);
    sy_buf_free(&b);
    sy_buf_put(&b, "", 0);
    assert_string_equal(b.data, "");
    sy_buf_free(&b);
}

static void failures_stick(void **s)
{
    (void)s;
    sy_buf b = { 0 };
    sy_buf_text(&b, "kept");
    assert_false(sy_buf_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
    sy_buf_text(&b, "lost");
    sy_buf_printf(&b, "%d", 5);
    assert_string_equal(b.data, "kept");
    sy_buf_clear(&b);
    assert_false(b.failed);
    sy_alloc_fail_at(1, 0);
    char big[1000];
    memset(big, 'x', sizeof big);
    sy_buf_put(&b, big, sizeof big);
    assert_true(b.failed);
    sy_buf_put(&b, big, sizeof big);
    assert_int_equal(b.n, 0);
    sy_alloc_fail_at(0, 0);
    sy_buf_free(&b);
}

static void the_switch(void **s)
{
    (void)s;
    uint64_t calls = sy_alloc_calls();
    void *p[8];
    sy_alloc_fail_at(3, 0);
    for (int i = 0; i < 5; i++) assert_int_equal((p[i] = sy_malloc(10)) == NULL, i == 2);
    for (int i = 0; i < 5; i++) sy_free(p[i]);
    sy_alloc_fail_at(2, 1);
    p[0] = sy_calloc(3, 3);
    assert_non_null(p[0]);
    assert_null(sy_realloc(p[0], 100));              /* and p[0] is still ours */
    assert_null(sy_aligned(64, 100));
    assert_null(sy_strdup("x"));
    sy_alloc_fail_at(0, 0);
    sy_free(p[0]);
    sy_free(NULL);
    assert_int_equal(sy_alloc_calls() - calls, 9);
}

static void edges(void **s)
{
    (void)s;
    assert_null(sy_calloc(SIZE_MAX / 2, 4));
    assert_null(sy_calloc(SIZE_MAX / 4 + 2, 4));     /* wraps to 4 */
    assert_null(sy_realloc(NULL, SIZE_MAX / 2 + 1));
    assert_null(sy_malloc(SIZE_MAX));
    assert_null(sy_aligned(64, SIZE_MAX - 10));
    assert_int_equal(sy_mul_size(3, 4), 12);
    assert_true(sy_mul_size(SIZE_MAX, 2) == SIZE_MAX);
    assert_true(sy_mul_size(SIZE_MAX / 3, 3) == SIZE_MAX / 3 * 3);
    assert_int_equal(sy_mul_size(0, SIZE_MAX), 0);
    for (size_t align = 16; align <= 4096; align *= 2) {
        void *p = sy_aligned(align, 1);
        assert_int_equal((uintptr_t)p % align, 0);
        sy_free(p);
    }
    void *a = sy_malloc(0), *b = sy_aligned(64, 0);
    assert_true(a && b && a != b);
    sy_free(a);
    sy_free(b);
    char *t = sy_strdup("text");
    assert_string_equal(t, "text");
    sy_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(growth), cmocka_unit_test(failures_stick), cmocka_unit_test(the_switch), cmocka_unit_test(edges) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
