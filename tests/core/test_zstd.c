/* Reading .zst. Oracle: what was compressed with libzstd itself. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "core/alloc.h"
#include "core/random.h"
#include "core/zstd.h"

enum { N = 500000 };
static char plain[N];
static char packed[2 * N];
static char path[600];

static void fill(void)
{
    uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, 4, 0, 0);
    for (size_t i = 0; i < N; i++) plain[i] = (char)('a' + sy_draw_below(key, i / 3, 0, 20));
    snprintf(path, sizeof path, "%s/text.zst", sy_test_dir());
}

/* Not atomic and not synced: this runs a thousand times. */
static void put(const void *data, size_t n)
{
    unlink(path);                                    /* a file that is truncated and written again is flushed by some file systems */
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Writes the first `plain_n` bytes in `frames` frames; gives the size of the file. */
static size_t compress(size_t plain_n, int frames, int level)
{
    size_t n = 0;
    fill();
    for (int f = 0; f < frames; f++) {
        size_t from = plain_n * (size_t)f / (size_t)frames, to = plain_n * (size_t)(f + 1) / (size_t)frames;
        size_t r = ZSTD_compress(packed + n, sizeof packed - n, plain + from, to - from, level);
        assert_false(ZSTD_isError(r));
        n += r;
    }
    put(packed, n);
    return n;
}

static void whole_files(void **s)
{
    (void)s;
    static const struct { size_t n; int frames, level; } cases[] = { { N, 1, 3 }, { N, 7, 1 }, { N, 1, 19 }, { 0, 1, 3 }, { 1, 1, 3 }, { 5, 5, 3 }, { 131072, 1, 3 }, { 262144, 2, 3 } };
    for (size_t c = 0; c < SY_COUNT(cases); c++) {
        sy_test_case("%zu bytes in %d frames", cases[c].n, cases[c].frames);
        compress(cases[c].n, cases[c].frames, cases[c].level);
        sy_buf b = { 0 };
        sy_buf_text(&b, "before");
        sy_expect_ok(sy_zstd_read(path, cases[c].n, &b, err));
        assert_int_equal(b.n, cases[c].n + 6);
        assert_memory_equal(b.data, "before", 6);
        if (cases[c].n) sy_expect_same("text", b.data + 6, plain, cases[c].n);
        sy_buf_free(&b);
    }
}

static void a_frame_to_be_skipped(void **s)
{
    (void)s;
    size_t n = compress(1000, 1, 3);
    char file[3000];
    memcpy(file, "\x50\x2A\x4D\x18\x04\0\0\0abcd", 12);
    memcpy(file + 12, packed, n);
    memcpy(file + 12 + n, file, 12);
    put(file, n + 24);
    sy_buf b = { 0 };
    sy_expect_ok(sy_zstd_read(path, 1000, &b, err));
    assert_int_equal(b.n, 1000);
    sy_buf_free(&b);
}

static sy_status count(void *arg, const char *data, size_t n, sy_err *err)
{
    (void)data;
    assert_true(n > 0 && n <= 131072);
    return (*(size_t *)arg += n) > 200000 ? sy_fail(err, SY_ESTOP, "that will do") : SY_OK;
}

static void bombs_and_limits(void **s)
{
    (void)s;
    sy_err e = { 0 }, *err = &e;
    sy_buf b = { 0 };
    size_t got = 0;
    compress(N, 1, 3);
    sy_expect_fail(sy_zstd_read(path, N - 1, &b, err), SY_EFORMAT, "more than 499999 bytes");
    assert_true(b.n < N);
    sy_expect_fail(sy_zstd_read(path, 0, &b, err), SY_EFORMAT, "more than 0 bytes");
    sy_expect_fail(sy_zstd_each(path, UINT64_MAX, count, &got, err), SY_ESTOP, "that will do");
    sy_buf_free(&b);

    enum { ZEROS = 64 << 20 };                       /* ten thousand times larger than the file */
    char *zeros = calloc(1, ZEROS);
    size_t n = ZSTD_compress(packed, sizeof packed, zeros, ZEROS, 3);
    free(zeros);
    assert_true(n < ZEROS / 5000);
    put(packed, n);
    sy_expect_fail(sy_zstd_read(path, 1 << 20, &b, err), SY_EFORMAT, "more than 1048576 bytes, which is the limit");
    assert_true(b.room <= 4 << 20);                  /* and no memory was taken for what it claims */
    sy_buf_free(&b);
}

static void cut_anywhere(void **s)
{
    (void)s;
    size_t n = compress(2000, 1, 3);
    for (size_t k = 0; k < n; k++) {
        sy_err e = { 0 }, *err = &e;
        sy_buf b = { 0 };
        sy_test_case("cut at %zu of %zu", k, n);
        put(packed, k);
        sy_expect_fail(sy_zstd_read(path, N, &b, err), SY_EFORMAT, k ? "is cut short" : "is empty");
        sy_buf_free(&b);
    }
    size_t two = compress(2000, 2, 3), first = ZSTD_findFrameCompressedSize(packed, two);
    sy_err e = { 0 }, *err = &e;
    sy_buf b = { 0 };
    put(packed, first + 3);
    sy_expect_fail(sy_zstd_read(path, N, &b, err), SY_EFORMAT, "after 1000 decompressed bytes");
    sy_buf_free(&b);
}

static void damaged_anywhere(void **s)               /* with a checksum in the frame nothing wrong gets through */
{
    (void)s;
    fill();
    ZSTD_CCtx *z = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
    size_t n = ZSTD_compress2(z, packed, sizeof packed, plain, 3000);
    ZSTD_freeCCtx(z);
    for (size_t k = 0; k < n; k++) {
        sy_err e = { 0 };
        sy_buf b = { 0 };
        packed[k] ^= (char)(1 << k % 8);
        put(packed, n);
        packed[k] ^= (char)(1 << k % 8);
        sy_status st = sy_zstd_read(path, N, &b, &e);
        if (st == SY_OK) assert_true(b.n == 3000 && !memcmp(b.data, plain, 3000));     /* a bit of the header that means nothing */
        else assert_true((st == SY_EFORMAT || st == SY_ENOMEM) && strstr(e.text, path));
        sy_buf_free(&b);
    }
}

static void what_is_no_zstd(void **s)
{
    (void)s;
    sy_err e = { 0 }, *err = &e;
    sy_buf b = { 0 };
    fill();
    put(plain, 1000);
    sy_expect_fail(sy_zstd_read(path, N, &b, err), SY_EFORMAT, "is not a zstd file");
    size_t n = compress(1000, 1, 3);
    memcpy(packed + n, "garbage", 7);
    put(packed, n + 7);
    sy_buf_clear(&b);
    sy_expect_fail(sy_zstd_read(path, N, &b, err), SY_EFORMAT, "what follows the first 1000 decompressed bytes");
    sy_expect_fail(sy_zstd_read(sy_test_dir(), N, &b, err), SY_EARG, "is a folder");
    sy_expect_fail(sy_zstd_read("/no/such/file", N, &b, err), SY_ENOENT, "cannot open");
    /* a frame that wants a window of 2 GiB: magic, no single segment, window descriptor 0xA8 (exponent 21 + 10) */
    put("\x28\xB5\x2F\xFD\x00\xA8\x01\x00\x00", 9);
    sy_expect_fail(sy_zstd_read(path, N, &b, err), SY_EFORMAT, "window above 128 MiB");
    sy_buf_free(&b);
}

static void without_memory(void **s)
{
    (void)s;
    compress(N, 2, 3);
    for (int sticky = 0; sticky < 2; sticky++)
        for (uint64_t n = 1; ; n++) {
            sy_test_case("allocation %llu fails", (unsigned long long)n);
            uint64_t before = sy_alloc_calls();
            sy_err e = { 0 }, *err = &e;
            sy_buf b = { 0 };
            sy_alloc_fail_at(n, sticky);
            sy_status st = sy_zstd_read(path, N, &b, err);
            sy_alloc_fail_at(0, 0);
            bool reached = sy_alloc_calls() - before >= n;
            if (reached) sy_expect_fail(st, SY_ENOMEM, "no memory");
            else assert_int_equal(st, SY_OK);
            sy_buf_free(&b);
            if (!reached) break;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_files), cmocka_unit_test(a_frame_to_be_skipped), cmocka_unit_test(bombs_and_limits), cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(damaged_anywhere), cmocka_unit_test(what_is_no_zstd), cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
