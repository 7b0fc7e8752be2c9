/* tests/cli/test_cmd_corpus.c - switchyard corpus on a system that the test made: what is gathered, within which limits, and that a run trains on it. */
#include "bed.h"

#include "core/random.h"

/* Forty headers, shell scripts and Perl modules of 4000 bytes each, and a little Python. */
static int make_system(void **state)
{
    static const struct { const char *name, *head; int n; } kinds[] = { { "usr/include/h%d.h", "/* header */", 40 }, { "usr/bin/tool%d", "#!/bin/sh\n", 40 }, { "usr/share/perl5/M%d.pm", "package M;", 40 }, { "usr/lib/python3/m%d.py", "import m", 2 } };
    (void)state;
    for (size_t k = 0; k < SY_COUNT(kinds); k++)
        for (int i = 0; i < kinds[k].n; i++) {
            char name[200] = "root/", t[4001];
            uint64_t key = sy_key(7, SY_FOR_TEST, k, (uint64_t)i, 0);
            for (int c = 0; c < 4000; c++) t[c] = c % 60 == 59 ? '\n' : (char)('a' + sy_draw_below(key, (uint64_t)c, 0, 26));
            t[4000] = 0;
            memcpy(t, kinds[k].head, strlen(kinds[k].head));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(name + 5, sizeof name - 5, kinds[k].name, i);
#pragma GCC diagnostic pop
            put(name, t);
        }
    put("root/home/me/secret.h", "/* not for others */ 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
                                 "01234567890123456789012345678901234567890123456789012345678901234567890123456789\n");
    return 0;
}

static void test_gather(void **state)
{
    (void)state;
    const char *d = sy_test_dir();
    if (run_out("corpus --from-system %s/out --root %s/root --max-bytes 1e5 --min-kb 64 --json -q", d, d)) fail_msg("%s", text());
    json_t *v = said_json(), *one;
    size_t i, kept = 0;
    json_array_foreach(v, i, one) {
        const char *domain = json_string_value(json_object_get(one, "domain"));
        long long bytes = json_integer_value(json_object_get(one, "bytes")), found = json_integer_value(json_object_get(one, "found")), files = json_integer_value(json_object_get(one, "files"));
        bool is_kept = json_is_true(json_object_get(one, "kept"));
        sy_test_case("%s", domain);
        kept += is_kept;
        assert_true(bytes <= 100000 && bytes == files * 4000);
        if (!strcmp(domain, "python")) assert_true(!is_kept && found == 2);
        if (is_kept) assert_true(found == 40 && files == 25 && bytes == 100000);
        assert_int_equal(shell("test -e %s/out/%s/documents.jsonl", d, domain), !is_kept);
    }
    assert_int_equal(kept, 3);
    json_decref(v);
    assert_int_equal(shell("cat %s/out/*/documents.jsonl | grep -c secret", d), 1);
    sy_test_case("again: the same bytes; in plain words");
    if (run("corpus --from-system %s/again --root %s/root --max-bytes 1e5 --min-kb 64", d, d)) fail_msg("%s", text());
    expect_said("too little, left out");
    expect_said("Written to");
    assert_int_equal(shell("diff -r %s/out %s/again", d, d), 0);
    sy_test_case("a run trains on it");
    if (run("train --data %s/out --out %s/run --steps 2 -q -t 1 --no-report-data --set seq_len=32 --set hidden_size=16 --set num_hidden_layers=1 --set num_attention_heads=2 --set batch_size=2 "
            "--set max_position_embeddings=32 --set intermediate_size=16", d, d)) fail_msg("%s", text());
    assert_int_equal(shell("grep -q '\"perl\"' %s/run/metrics.jsonl && grep -q '\"shell\"' %s/run/metrics.jsonl", d, d), 0);
}

static void test_wrong_use(void **state)
{
    const char *d = sy_test_dir();
    (void)state;
    put("mine/notes.txt", "something of the user's");
    assert_int_equal(run("corpus --from-system %s/mine --root %s/root", d, d), 1);
    expect_said("holds 'notes.txt', which no gathering wrote");
    assert_int_equal(run("corpus --from-system %s/little --root %s/root --min-kb 1000 --max-bytes 2e6", d, d), 1);
    expect_said("only 0 domains came together");
    assert_int_equal(run("corpus --from-system %s/little --root %s/nowhere", d, d), 1);
    expect_said("nowhere is not a folder");
    assert_int_equal(run("corpus --from-system %s/little --root %s/root --min-kb 1000 --max-bytes 1e5", d, d), 2);
    expect_said("more than --max-bytes allows");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_gather), cmocka_unit_test(test_wrong_use) };
    return cmocka_run_group_tests(tests, make_system, NULL);
}
