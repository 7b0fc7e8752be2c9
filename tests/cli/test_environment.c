/* tests/cli/test_environment.c - the program in odd surroundings: nothing in the environment, another locale and time zone, folders that are not there, few
 * file descriptors, standard streams closed or full. Oracle: the weights of the same run in ordinary surroundings; where it fails, the sentence. */
#include "cli/bed.h"

#define RUN "$SY train --data text.txt --steps 4 -q --set seq_len=32 --set hidden_size=16 --set num_hidden_layers=2 --set layers=sparse --set num_experts=4 " \
            "--set intermediate_size=32 --set max_position_embeddings=64 --set batch_size=2 "

static int setup(void **state)
{
    (void)state;
    sy_buf b = { 0 };
    for (int i = 0; i < 200; i++) sy_buf_printf(&b, "Line %d of a text about %d apples and %d pears.\n", i, i * 7 % 13, i * 5 % 11);
    put_bytes("text.txt", b.data, b.n);
    sy_buf_free(&b);
    if (shell_in("", RUN "--out plain")) fail_msg("no run to compare with: %s", text());
    return 0;
}

static const struct { const char *line; int code; const char *says; } cases[] = {
    { "env -i " RUN "--out x", 0, "" },
    { "LC_ALL=de_DE.UTF-8 LANG=tr_TR.UTF-8 " RUN "--out x", 0, "" },
    { "TZ=:/no/such/zone " RUN "--out x", 0, "" },
    { "HOME=/no/such/home TMPDIR=/no/such/folder TERM= " RUN "--out x", 0, "" },
    { "ulimit -n 16; " RUN "--out x", 0, "" },
    { RUN "--out x <&-", 0, "" },
    { RUN "--out x >&-", 1, "standard output cannot be written" },        /* said after the model was saved */
    { RUN "--out x >/dev/full", 1, "standard output cannot be written" },
    { RUN "--out x <&- >&- 2>&-", 1, "" },                                /* no file of the run may take the place of a closed stream */
    { RUN "--out x 2>/dev/full", 0, "" },
    { RUN "--out x | true", 0, "" },
};

static void same_weights(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s", cases[i].line);
        shell_in("", "rm -rf x");
        int code = shell_in("", "%s", cases[i].line);
        if (code != cases[i].code) fail_msg("exit code %d: %s", code, text());
        expect_said(cases[i].says);
        if (shell_in("", "cmp plain/model.safetensors x/model.safetensors && cmp <(cut -d, -f1-5 plain/metrics.jsonl) <(cut -d, -f1-5 x/metrics.jsonl)")) fail_msg("another run: %s", text());
    }
}

/* What cannot be opened is said with what helps; one more file, and it works. */
static void few_descriptors(void **state)
{
    (void)state;
    int code = 1, refused = 0;
    for (int n = 4; n < 24 && code; n++) {
        code = shell_in("", "ulimit -n %d; $SY eval plain --data text.txt -q", n);
        if (code == 127) continue;                           /* the loader of shared libraries ran out first */
        if (code) expect_said("too many files are open (raise ulimit -n)");
        refused += code == 1;
    }
    assert_int_equal(code, 0);
    assert_true(refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_weights), cmocka_unit_test(few_descriptors) };
    return cmocka_run_group_tests(tests, setup, NULL);
}
