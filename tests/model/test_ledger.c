/* The account: counts, sentences, its file, and many lines. Oracle: what was entered. */
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"
#include "model/ledger.h"

static void counts(void **state)
{
    (void)state;
    sy_ledger l;
    char buf[256];
    sy_ledger_open(&l, "load", "folder");
    sy_expect_ok(sy_ledger_add(&l, SY_L_LOADED, "model.norm.weight", NULL, 8, err));
    sy_expect_ok(sy_ledger_add(&l, SY_L_LOADED, "model.layers.0.mlp.experts.0.up_proj.weight", NULL, 3000000, err));
    sy_expect_ok(sy_ledger_add(&l, SY_L_CONVERTED, "model.layers.0.mlp.experts.1.up_proj.weight", "BF16", 200000, err));
    sy_expect_ok(sy_ledger_add(&l, SY_L_SKIPPED, "lm_head.weight", "the head is tied", 77, err));
    assert_string_equal(sy_ledger_summary(&l, buf, sizeof buf), "load: 3 tensors (2 expert matrices), 3.2 M values; 1 converted; 1 left out by rule");
    assert_true(l.values == 3200008 && l.experts == 2 && l.n == 4);
    for (size_t room = 1; room < 90; room++) {       /* a short buffer gets a short, ended text */
        sy_ledger_summary(&l, buf, room);
        assert_true(strlen(buf) < room);
    }
    sy_expect_ok(sy_ledger_settle(&l, err));
    sy_ledger_free(&l);
    sy_ledger_free(&l);
}

static void settling(void **state)
{
    static const struct { int missing, unknown; const char *has[4], *lacks; } cases[] = {
        { 1, 0, { "missing m0;" }, "unknown" },
        { 0, 1, { "unknown u0;" }, "missing" },
        { 3, 0, { "missing m0, m1, m2;" }, "more" },
        { 5, 4, { "missing m0, m1, m2 and 2 more; unknown u0, u1, u2 and 1 more;", "inspect" }, NULL },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_err e = { 0 }, *err = &e;
        sy_ledger l;
        char name[16];
        sy_test_case("%d missing, %d unknown", cases[i].missing, cases[i].unknown);
        sy_ledger_open(&l, "load", "the/folder");
        for (int k = 0; k < cases[i].missing; k++) {
            snprintf(name, sizeof name, "m%d", k);
            sy_expect_ok(sy_ledger_add(&l, SY_L_MISSING, name, NULL, 9, err));
        }
        for (int k = 0; k < cases[i].unknown; k++) {
            snprintf(name, sizeof name, "u%d", k);
            sy_expect_ok(sy_ledger_add(&l, SY_L_UNKNOWN, name, NULL, 9, err));
        }
        sy_expect_fail(sy_ledger_settle(&l, err), SY_ELEDGER, "load the/folder: ");
        for (int k = 0; cases[i].has[k]; k++) sy_expect_fail(sy_ledger_settle(&l, err), SY_ELEDGER, cases[i].has[k]);
        if (cases[i].lacks && strstr(e.text, cases[i].lacks)) fail_msg("'%s' speaks of '%s'", e.text, cases[i].lacks);
        assert_true(l.values == 0 && l.experts == 0);
        sy_ledger_free(&l);
    }
}

static void long_names(void **state)
{
    sy_err e = { 0 }, *err = &e;
    sy_ledger l;
    char name[2000];
    (void)state;
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    sy_ledger_open(&l, "load", "x");
    for (int i = 0; i < 5; i++) sy_expect_ok(sy_ledger_add(&l, i % 2 ? SY_L_MISSING : SY_L_UNKNOWN, name, name, 1, err));
    sy_expect_fail(sy_ledger_settle(&l, err), SY_ELEDGER, "not every tensor");
    sy_ledger_free(&l);
}

static void file(void **state)
{
    enum { N = 5000 };
    (void)state;
    sy_ledger l;
    json_t *root;
    char path[512], name[64];
    snprintf(path, sizeof path, "%s/ledger.json", sy_test_dir());
    sy_ledger_open(&l, "save", "a \"folder\"");
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.up_proj.weight", i / 64, i % 64);
        sy_expect_ok(sy_ledger_add(&l, i % 1000 ? SY_L_SAVED : SY_L_SKIPPED, name, i % 1000 ? NULL : "a rule", 10, err));
    }
    sy_expect_ok(sy_ledger_write(&l, path, err));
    sy_expect_ok(sy_json_read(&root, path, 1 << 24, err));
    assert_string_equal(json_string_value(json_object_get(root, "where")), "a \"folder\"");
    assert_int_equal(json_integer_value(json_object_get(root, "values")), 10 * (N - 5));
    assert_int_equal(json_integer_value(json_object_get(root, "saved")), N - 5);
    assert_int_equal(json_integer_value(json_object_get(root, "left out by rule")), 5);
    json_t *list = json_object_get(root, "tensors");
    assert_int_equal(json_array_size(list), N);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 4999), "name")), "model.layers.78.mlp.experts.7.up_proj.weight");
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 1000), "note")), "a rule");
    json_decref(root);
    sy_ledger_free(&l);
}

static void out_of_memory(void **state)
{
    char path[512];
    (void)state;
    snprintf(path, sizeof path, "%s/memory.json", sy_test_dir());
    sy_status st = SY_ENOMEM;
    for (uint64_t n = 1; st != SY_OK; n++) {
        sy_err e = { 0 };
        sy_ledger l;
        sy_test_case("allocation %llu", (unsigned long long)n);
        sy_ledger_open(&l, "save", "x");
        sy_alloc_fail_at(n, 0);
        st = SY_OK;
        for (int i = 0; i < 3000 && st == SY_OK; i++) st = sy_ledger_add(&l, SY_L_SAVED, "a.name.of.some.length", "a note", 1, &e);
        if (st == SY_OK) st = sy_ledger_write(&l, path, &e);
        sy_alloc_fail_at(0, 0);
        if (st != SY_OK) sy_expect_fail_(st, SY_ENOMEM, &e, "memory", "ledger");
        sy_ledger_free(&l);
        assert_true(n < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(counts), cmocka_unit_test(settling), cmocka_unit_test(long_names), cmocka_unit_test(file), cmocka_unit_test(out_of_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
