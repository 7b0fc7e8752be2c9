/* tests/data/test_gather.c - domains from a made-up system, and the table of named data sets. Oracle: what was put there. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/file.h"
#include "data/data.h"
#include "data/gather.h"
#include "data/known.h"

static char root[300], out[300];

static void put(const char *path, const char *head, size_t n, int salt)
{
    char full[600], *text = malloc(n + 1);
    snprintf(full, sizeof full, "%s/%s", root, path);
    for (size_t i = 0; i < n; i++) text[i] = (char)(i % 40 == 39 ? '\n' : 'a' + (i * 7 + (size_t)salt * 11 + i / 40) % 26);
    memcpy(text, head, strlen(head));
    memcpy(text + 60, (char[]){ (char)('a' + salt / 26), (char)('a' + salt % 26) }, 2);
    *strrchr(full, '/') = 0;
    sy_expect_ok(sy_mkdirs(full, err));
    full[strlen(full)] = '/';
    sy_expect_ok(sy_file_write(full, text, n, err));
    free(text);
}

static int make_system(void **state)
{
    (void)state;
    char name[64];
    snprintf(root, sizeof root, "%s/root", sy_test_dir());
    snprintf(out, sizeof out, "%s/out", sy_test_dir());
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "usr/include/sys%d/h%d.h", i % 3, i);
        put(name, "", 3000, i);
        snprintf(name, sizeof name, "usr/bin/tool%d", i);
        put(name, i % 2 ? "#!/bin/sh\n" : "#! /usr/bin/perl -w\n", 3000, 100 + i);
    }
    put("usr/include/copy.h", "", 3000, 0);          /* as h0.h */
    put("usr/include/short.h", "", 100, 1);
    put("usr/include/long.h", "", 200000, 1);
    put("usr/include/latin.h", "\xE9t\xE9 ", 3000, 1);
    put("usr/bin/elf", "\177ELF", 3000, 3);
    put("home/me/secret.h", "", 3000, 4);
    put("etc/passwd.sh", "", 3000, 4);
    put("usr/lib/python3/a.py", "", 3000, 5);        /* too little for a domain */
    char link[600];
    snprintf(link, sizeof link, "%s/usr/include/loop", root);
    return symlink("..", link);
}

static struct { int calls, places; double last; int stop_at; } heard;
static sy_status on_progress(void *arg, const char *what, double share, sy_err *err)
{
    assert_ptr_equal(arg, &heard);
    assert_true(share >= heard.last && share <= 1);
    heard.last = share;
    heard.places += strchr(what, '/') != NULL;
    return ++heard.calls == heard.stop_at ? sy_fail(err, SY_ESTOP, "enough") : SY_OK;
}

static const sy_gather_options options = { .max_bytes = 60000, .min_bytes = 20000 };

static void test_gather(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_gathered *r;
    int n;
    sy_expect_ok(sy_gather_system(root, out, &options, &a, &r, &n, err));
    int kept = 0;
    for (int i = 0; i < n; i++) {
        sy_test_case("%s", r[i].domain);
        kept += r[i].kept;
        assert_true(r[i].bytes <= options.max_bytes);
        if (!strcmp(r[i].domain, "c")) {
            assert_int_equal(r[i].found, 32);        /* without the short and the long one, what homes hold, and what the loop leads to */
            assert_int_equal(r[i].files, 20);
            assert_int_equal(r[i].bytes, 60000);
        }
        if (!strcmp(r[i].domain, "shell") || !strcmp(r[i].domain, "perl")) assert_int_equal(r[i].files, 15);
        if (!strcmp(r[i].domain, "python")) assert_false(r[i].kept);
    }
    assert_int_equal(kept, 3);
    sy_gather_options wide = { .max_bytes = 1000000, .min_bytes = 20000 };
    sy_buf first = { 0 }, second = { 0 };
    char path[400];
    snprintf(path, sizeof path, "%s/c/documents.jsonl", out);
    sy_expect_ok(sy_gather_system(root, out, &wide, &a, &r, &n, err));
    assert_int_equal(r[0].files, 30);
    assert_int_equal(r[0].copies, 1);
    assert_int_equal(r[0].unfit, 1);
    sy_expect_ok(sy_file_read(path, 1 << 20, &first, err));
    sy_expect_ok(sy_gather_system(root, out, &wide, &a, &r, &n, err));
    sy_expect_ok(sy_file_read(path, 1 << 20, &second, err));
    assert_int_equal(first.n, second.n);
    assert_memory_equal(first.data, second.data, first.n);
    sy_buf_free(&first);
    sy_buf_free(&second);

    sy_tokenizer *tok;                               /* and it reads as data, a domain a folder */
    sy_data *d;
    sy_data_options o;
    const char *spec[] = { out };
    sy_opt_defaults(sy_data_opts, &o);
    sy_expect_ok(sy_tokenizer_open_bytes(&tok, true, err));
    sy_expect_ok(sy_data_open(&d, &(sy_sources){ .train = spec, .n_train = 1 }, &o, tok, 1, err));
    assert_int_equal(sy_data_domains(d), 3);
    assert_string_equal(sy_data_domain(d, 0)->name, "c");
    assert_int_equal(sy_data_domain(d, 0)->docs, 30);
    sy_data_close(d);
    sy_tokenizer_close(tok);
    sy_arena_free(&a);
}

static void test_gather_refuses(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_gathered *r = NULL;
    int n;
    sy_err e, *err = &e;
    char other[400], empty[400];
    snprintf(other, sizeof other, "%s/other", sy_test_dir());
    snprintf(empty, sizeof empty, "%s/emptyroot", sy_test_dir());
    sy_expect_ok(sy_mkdirs(other, err));
    sy_expect_ok(sy_mkdirs(empty, err));
    snprintf(other, sizeof other, "%s/other/thesis.txt", sy_test_dir());
    sy_expect_ok(sy_file_write(other, "x", 1, err));
    *strrchr(other, '/') = 0;
    sy_expect_fail(sy_gather_system(root, other, &options, &a, &r, &n, err), SY_EEXIST, "holds 'thesis.txt'");
    sy_expect_fail(sy_gather_system(empty, out, &options, &a, &r, &n, err), SY_ENOENT, "only 0 domains");
    for (uint64_t at = 1; ; at++) {
        sy_alloc_fail_at(at, 0);
        sy_status status = sy_gather_system(root, out, &options, &a, &r, &n, err);
        sy_alloc_fail_at(0, 0);
        sy_arena_free(&a);
        if (status == SY_OK) break;
        if (status != SY_ENOMEM) fail_msg("allocation %llu: %s", (unsigned long long)at, e.text);
        assert_true(at < 1000);
    }
}

static void test_known(void **state)
{
    (void)state;
    const sy_known *k;
    sy_err e, *err = &e;
    sy_arena a = { 0 };
    const char *const *specs;
    int n;
    sy_expect_fail(sy_known_find("shakespear", &k, err), SY_ENOENT, "did you mean 'shakespeare'");
    for (int i = 1; sy_known_data[i].name; i++) assert_true(strcmp(sy_known_data[i - 1].name, sy_known_data[i].name) < 0);
    sy_expect_ok(sy_known_find("shakespeare", &k, err));
    const char *dirs[] = { NULL, sy_test_dir() };
    sy_expect_fail(sy_known_sources(k, dirs, 2, &a, &specs, &n, err), SY_ENOENT, "copy input.txt");
    sy_expect_fail(sy_known_sources(k, dirs, 1, &a, &specs, &n, err), SY_ENOENT, "none was named");
    char path[400];
    snprintf(path, sizeof path, "%s/shakespeare.txt", sy_test_dir());
    sy_expect_ok(sy_file_write(path, "short", 5, err));
    sy_expect_fail(sy_known_check(&k->file[0], path, err), SY_EFORMAT, "has 5 bytes, the published file 1115394");
    assert_null(sy_known_path(&k->file[0], dirs, 2, &a));               /* of that name, but not it */
    if (!sy_test_data()) printf("skipped: no folder of real data\n");
    else {
        dirs[0] = sy_test_data();
        for (k = sy_known_data; k->name; k++) {
            sy_test_case("%s", k->name);
            sy_expect_ok(sy_known_sources(k, dirs, 1, &a, &specs, &n, err));
            for (int i = 0; i < n; i++) sy_expect_ok(sy_known_check(&k->file[i], strchr(specs[i], '=') + 1, err));
        }
    }
    sy_arena_free(&a);
}

static void test_progress(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_gathered *r;
    sy_err e = { 0 }, *err = &e;
    int n;
    char where[340];
    snprintf(where, sizeof where, "%s/told", sy_test_dir());
    sy_gather_options o = options;
    o.progress = on_progress;
    o.arg = &heard;
    sy_expect_ok(sy_gather_system(root, where, &o, &a, &r, &n, err));
    assert_true(heard.calls > 60 && heard.places == 7 && heard.last > 0.9);
    int all = heard.calls;
    for (int at = 1; at <= all; at += 13) {
        heard.calls = heard.places = 0;
        heard.last = 0;
        heard.stop_at = at;
        sy_expect_fail(sy_gather_system(root, where, &o, &a, &r, &n, err), SY_ESTOP, "enough");
        assert_int_equal(heard.calls, at);
    }
    sy_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_gather), cmocka_unit_test(test_gather_refuses), cmocka_unit_test(test_progress), cmocka_unit_test(test_known) };
    return cmocka_run_group_tests(tests, make_system, NULL);
}
