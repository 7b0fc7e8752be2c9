/* tests/data/test_shard.c - cached tokens: found, made anew, damaged in every way, and a disk that fails. Oracle: the rows without a cache. */
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
#include "core/sha256.h"
#include "data/shard.h"

static sy_tokenizer *tok;
static char text_path[512], cache[512];

static void overwrite(const char *path, const void *data, size_t n)    /* no fsync: there are hundreds of these */
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

static sy_status open_text(sy_data **d, const char *dir, const char *opts, sy_err *err)
{
    sy_data_options o;
    sy_arena a = { 0 };
    const char *spec[] = { text_path };
    sy_opt_defaults(sy_data_opts, &o);
    sy_expect_ok(sy_opt_parse(sy_data_opts, &o, opts, &a, NULL, err));
    sy_status status = sy_data_open(d, &(sy_sources){ .train = spec, .n_train = 1, .cache_dir = dir }, &o, tok, 1, err);
    sy_arena_free(&a);
    return status;
}

/* The ids of the first rows; says whether the cache gave them. */
static bool first_ids(const char *dir, const char *opts, int ids[64])
{
    sy_data *d = NULL;
    sy_arena a = { 0 };
    sy_batch b;
    sy_expect_ok(open_text(&d, dir, opts, err));
    sy_expect_ok(sy_data_rows(d, 0, 4, &a, &b, err));
    memcpy(ids, b.id, 64 * sizeof *ids);
    bool cached = sy_data_domain(d, 0)->cached;
    sy_arena_free(&a);
    sy_data_close(d);
    return cached;
}

static int cache_files(char *first, size_t size)
{
    sy_arena a = { 0 };
    const char **name = NULL;
    int n = 0;
    sy_expect_ok(sy_dir_list(cache, &a, &name, &n, err));
    if (n && first) snprintf(first, size, "%s/%s", cache, name[0]);
    sy_arena_free(&a);
    return n;
}

static void fresh(void)
{
    sy_buf b = { 0 };
    snprintf(text_path, sizeof text_path, "%s/lines.jsonl", sy_test_dir());
    snprintf(cache, sizeof cache, "%s/cache/below", sy_test_dir());
    sy_expect_ok(sy_remove_tree(cache, err));
    for (int i = 0; i < 40; i++) sy_buf_printf(&b, "{\"prompt\": \"number %d is\", \"completion\": \" %d\"}\n", i, i * i);
    sy_expect_ok(sy_file_write(text_path, b.data, b.n, err));
    sy_buf_free(&b);
}

static void test_found(void **state)
{
    (void)state;
    int want[64], got[64];
    fresh();
    assert_false(first_ids(NULL, "seq_len=64", want));
    assert_false(first_ids(cache, "seq_len=64", got));
    sy_expect_ids("first time", got, want, 64);
    assert_true(first_ids(cache, "seq_len=64", got));
    sy_expect_ids("second time", got, want, 64);
    assert_int_equal(cache_files(NULL, 0), 1);
    assert_true(first_ids(cache, "seq_len=32,val_fraction=0.3", got));  /* neither changes the tokens */
    assert_false(first_ids(cache, "seq_len=64,mask_prompt=false", got));
    assert_int_equal(cache_files(NULL, 0), 2);
    sy_expect_ok(sy_file_append(text_path, "{\"text\":\"more\"}\n", 16, err));
    assert_false(first_ids(cache, "seq_len=64", got));                 /* another file now */
    assert_int_equal(cache_files(NULL, 0), 3);
}

/* Every byte of the header and a sample of the rest, flipped; every length up to the whole: made anew, the same rows, no crash. */
static void test_damaged(void **state)
{
    (void)state;
    int want[64], got[64];
    char path[1024];
    sy_buf good = { 0 };
    fresh();
    first_ids(cache, "seq_len=64", want);
    assert_int_equal(cache_files(path, sizeof path), 1);
    sy_expect_ok(sy_file_read(path, 1 << 20, &good, err));
    for (size_t at = 0; at < good.n; at += at < SY__SHARD_HEAD ? 3 : 61) {
        sy_test_case("byte %zu", at);
        bool spare = at >= sizeof(sy__shard_header) && at < SY__SHARD_HEAD;
        good.data[at] ^= 0x40;
        overwrite(path, good.data, good.n);
        good.data[at] ^= 0x40;
        assert_int_equal(first_ids(cache, "seq_len=64", got), spare);
        sy_expect_ids("rows", got, want, 64);
    }
    for (size_t n = 0; n < good.n; n += n < 300 ? 7 : 97) {
        sy_test_case("cut to %zu bytes", n);
        overwrite(path, good.data, n);
        assert_false(first_ids(cache, "seq_len=64", got));
        sy_expect_ids("rows", got, want, 64);
    }
    sy_expect_ok(sy_remove_tree(path, err));
    assert_int_equal(mkfifo(path, 0600), 0);         /* not even a FIFO in its place stops the run */
    assert_false(first_ids(cache, "seq_len=64", got));
    sy_expect_ids("rows", got, want, 64);
    sy_buf_free(&good);
}

/* A header that is consistent in itself and lies: refused before anything outside the map is touched. */
static void test_lies(void **state)
{
    (void)state;
    char path[1024];
    sy_buf good = { 0 };
    sy_err e, *err = &e;
    fresh();
    int ids[64];
    first_ids(cache, "seq_len=64", ids);
    cache_files(path, sizeof path);
    sy_expect_ok(sy_file_read(path, 1 << 20, &good, err));
    sy__shard_header *h = (sy__shard_header *)(void *)good.data, was = *h;
    const sy_map map = { .data = (const uint8_t *)good.data, .size = good.n };
    sy__shard s;
    sy_expect_ok(sy__shard_check(&s, &map, was.key, was.vocab, err));
    static const uint64_t lies[] = { 0, 1, 255, 1u << 31, (uint64_t)1 << 44, (uint64_t)1 << 62, UINT64_MAX };
    for (int field = 0; field < 6; field++)
        for (size_t i = 0; i < SY_COUNT(lies); i++) {
            *h = was;
            uint64_t old = 0;
            switch (field) {
            case 0: old = h->tokens, h->tokens = lies[i]; break;
            case 1: old = h->docs, h->docs = lies[i]; break;
            case 2: old = h->masked > 0, h->masked = lies[i], old = lies[i] && lies[i] <= h->tokens ? lies[i] : old; break;    /* only whether there is a mask matters */
            case 3: old = h->text_bytes, h->text_bytes = lies[i]; break;
            case 4: old = h->id_bytes, h->id_bytes = (uint32_t)lies[i]; break;
            case 5: old = h->file_bytes, h->file_bytes = lies[i]; break;
            }
            if (old == lies[i]) continue;
            sy_sha256 hash;
            sy_sha256_start(&hash);
            sy_sha256_add(&hash, h, offsetof(sy__shard_header, check));
            sy_sha256_end(&hash, h->check);
            sy_test_case("field %d = %llu", field, (unsigned long long)lies[i]);
            assert_int_equal(sy__shard_check(&s, &map, was.key, was.vocab, err), SY_EFORMAT);
        }
    *h = was;
    sy_expect_fail(sy__shard_check(&s, &map, was.key, was.vocab + 1, err), SY_EFORMAT, "vocabulary");
    sy_expect_fail(sy__shard_check(&s, &(sy_map){ .data = map.data, .size = 100 }, was.key, was.vocab, err), SY_EFORMAT, "100 bytes");
    was.key[5] ^= 1;
    sy_expect_fail(sy__shard_check(&s, &map, was.key, was.vocab, err), SY_EFORMAT, "other files");
    sy_buf_free(&good);
}

static const sy_syscalls *real_calls;
static int left, which;
static ssize_t bad_write(int fd, const void *buf, size_t n)
{
    if (which == 0 && left-- <= 0) { errno = ENOSPC; return -1; }
    return real_calls->write(fd, buf, n > 100 ? n / 2 : n);             /* short writes, too */
}
static int bad_fsync(int fd)
{
    if (which == 1) { errno = EIO; return -1; }
    return real_calls->fsync(fd);
}
static int bad_rename(const char *from, const char *to)
{
    if (which == 2) { errno = EROFS; return -1; }
    return real_calls->rename(from, to);
}

static void test_disk_fails(void **state)
{
    (void)state;
    static const char *const part[] = { "No space left", "Input/output error", "Read-only file system" };
    int ids[64];
    real_calls = sy_file_calls;
    sy_syscalls bad = *sy_file_calls;
    bad.write = bad_write;
    bad.fsync = bad_fsync;
    bad.rename = bad_rename;
    for (which = 0; which < 3; which++) {
        sy_err e = { 0 };
        sy_data *d = NULL;
        fresh();
        sy_test_case("%s", part[which]);
        sy_file_calls = &bad;
        left = 1;
        sy_status status = open_text(&d, cache, "seq_len=64", &e);
        sy_file_calls = real_calls;
        assert_int_equal(status, SY_EIO);
        assert_non_null(strstr(e.text, part[which]));
        assert_int_equal(cache_files(NULL, 0), 0);   /* nothing half-written stays */
        assert_false(first_ids(cache, "seq_len=64", ids));
    }
    fresh();
    sy_err e, *err = &e;
    sy_data *d = NULL;
    sy_expect_fail(open_text(&d, text_path, "seq_len=64", err), SY_EEXIST, "--cache-dir");
}

int main(void)
{
    sy_expect_ok(sy_tokenizer_open_bytes(&tok, true, err));
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_found), cmocka_unit_test(test_damaged), cmocka_unit_test(test_lies),
                                        cmocka_unit_test(test_disk_fails) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sy_tokenizer_close(tok);
    return failed;
}
