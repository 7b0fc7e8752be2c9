/* tests/cli/test_cli.c - every command with input that is wrong: one sentence, exit code 1 (failed) or 2 (wrong use), no crash. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/file.h"
#include "core/json.h"
#include "model/checkpoint.h"

static char dir[300];                   /* holds: text.txt, "my text.txt", empty.txt, empty/, binary.bin, run/ and damaged copies of it */
static sy_buf said;

/* Runs a shell line in the test's folder; "$B" in it is the program. Both outputs go to `said`. */
static int shell(const char *line)
{
    char full[3000];
    snprintf(full, sizeof full, "cd '%s' && export B='%s' && unset SY_DATA SY_OUT SY_STEPS && (%s) 2>&1", dir, SY_BINARY, line);
    FILE *p = popen(full, "r");
    assert_non_null(p);
    sy_buf_clear(&said);
    for (int c; (c = getc(p)) != EOF; ) sy_buf_put(&said, &(char){ (char)c }, 1);
    sy_buf_put(&said, "", 0);
    int status = pclose(p);
    if (!WIFEXITED(status)) fail_msg("'%s' ends by signal %d", line, WTERMSIG(status));
    return WEXITSTATUS(status);
}

static const char *text(void) { return said.data ? said.data : ""; }

static void put(const char *name, const char *what, size_t n)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    sy_expect_ok(sy_file_write(path, what, n, err));
}

#define SMALL "--set seq_len=32 --set hidden_size=16 --set num_hidden_layers=2 --set layers=dense,sparse --set num_experts=4 --set intermediate_size=32 " \
              "--set max_position_embeddings=64 --set batch_size=2"

static int setup(void **state)
{
    (void)state;
    sy_buf b = { 0 };
    snprintf(dir, sizeof dir, "%s/cli", sy_test_dir());
    sy_expect_ok(sy_mkdirs(dir, err));
    for (int i = 0; i < 200; i++) sy_buf_printf(&b, "Line %d of a text about %d apples and %d pears.\n", i, i * 7 % 13, i * 5 % 11);
    put("text.txt", b.data, b.n);
    put("my text.txt", b.data, b.n);
    put("empty.txt", "", 0);
    put("binary.bin", "a\0b\0c\0d", 7);
    put("bad.jsonl", "{\"text\": \"fine\"}\n{broken\n", 25);
    put("bad.json", "{\"train\": {\"lrr\": 1}}", 21);
    put("q.jsonl", "{\"prompt\": \"Line\", \"choices\": [\" 1\", \" 2\"], \"answer\": 1}\n", 57);
    put("bad-q.jsonl", "{\"prompt\": \"Line\", \"choices\": [\" 1\", \" 2\"], \"answer\": 1}\n{\"prompt\": \"x\"}\n", 73);
    sy_buf_free(&b);
    if (shell("mkdir empty binary && cp binary.bin binary && $B train --data text.txt --out run --steps 4 -q " SMALL)) fail_msg("no run to test with: %s", text());
    if (shell("for i in cut flipped config loose; do cp -r run $i; done; truncate -s -100 cut/model.safetensors; printf '\\377\\377\\377\\377\\377\\377' | "
              "dd of=flipped/model.safetensors conv=notrunc status=none; echo '{' > config/config.json; sed -i 's/\"num_experts\": 4/\"num_experts\": 5/' loose/config.json"))
        fail_msg("no damaged copies: %s", text());
    return 0;
}

static const struct { const char *line; int code; const char *says; } cases[] = {
    { "$B", 2, "usage: switchyard COMMAND" },
    { "$B trian", 2, "did you mean 'train'" },
    { "$B xyzzyx", 2, "switchyard --help lists them" },
    { "$B train", 2, "give --out DIR" },
    { "$B train --out a", 2, "no data" },
    { "$B train --out a --data", 2, "--data needs a value" },
    { "$B train --out a --data ''", 2, "a source is empty" },
    { "$B train --out a --data nothing.txt", 1, "'nothing.txt' is not there" },
    { "$B train --out a --data empty.txt", 2, "holds no text" },
    { "$B train --out a --data empty", 2, "holds no files" },
    { "$B train --out a --data binary", 2, "1 binary file" },
    { "$B train --out a --data bad.jsonl", 1, "line 2" },
    { "$B train --out a --data text.txt --set hiden_size=3", 2, "did you mean 'hidden_size'" },
    { "$B train --out a --data text.txt --set hidden_size", 2, "write KEY=VALUE" },
    { "$B train --out a --data text.txt --set hidden_size=33", 1, "33 is not a multiple" },
    { "$B train --out a --data text.txt --set hidden_size=three", 2, "'three' is not a whole number" },
    { "$B train --out a --data text.txt --set hidden_size=1048576", 1, "more than 1e12" },
    { "$B train --out a --data text.txt --set hidden_size=131072", 1, "this machine has" },
    { "$B train --out a --data text.txt --set layers=foo", 2, "is not a pattern" },
    { "$B train --out a --data text.txt --set vocab_size=100", 1, "set vocab_size=256 or more" },
    { "$B train --out a --data text.txt --set seq_len=4096", 2, "exceeds max_position_embeddings" },
    { "$B train --out a --data text.txt --set layers=sparse --router topkk", 1, "did you mean 'topk'" },
    { "$B train --out a --data text.txt --set layers=sparse --router topk:k=2", 2, "unknown option 'k'" },
    { "$B train --out a --data text.txt --router topk", 2, "set layers=sparse" },
    { "$B train --out a --data text.txt --recipe shakespere", 1, "did you mean 'shakespeare'" },
    { "$B train --out a --data text.txt --config nothing.json", 1, "nothing.json" },
    { "$B train --out a --data text.txt --config empty.txt", 1, "is empty" },
    { "$B train --out a --data text.txt --config bad.json", 2, "did you mean 'lr'" },
    { "$B train --out a --data text.txt --steps x", 2, "'x' is not a whole number" },
    { "$B train --out a --data text.txt --stesp 3", 2, "did you mean --steps" },
    { "$B train --out a --data text.txt --resume", 1, "holds no run to resume" },
    { "$B train --out a --data text.txt --from empty", 1, "holds no config.json" },
    { "$B train --out a --data text.txt --quiet=yes", 2, "takes no value" },
    { "$B train --out run --data text.txt", 1, "already holds a run" },
    { "$B train --out run --data text.txt --resume --set hidden_size=32", 2, "" },
    { "$B train --out empty.txt/x --data text.txt", 1, "empty.txt" },
    { "SY_STEPS=many $B train --out a --data text.txt", 2, "'many'" },
    { "SY_QUIET=0 SY_OUT=run $B train --data text.txt", 1, "run already holds a run" },
    { "SY_KERNELS=sse9 $B eval run --data text.txt", 2, "SY_KERNELS" },
    { "SY_THREADS=two $B eval run --data text.txt", 2, "'two' is not a whole number" },
    { "$B eval", 2, "something is missing" },
    { "$B eval run", 2, "--choices FILE" },
    { "$B eval run --data text.txt --choices q.jsonl", 2, "one of them" },
    { "$B eval run --choices bad-q.jsonl", 1, "bad-q.jsonl line 2" },
    { "$B eval run --choices empty.txt", 1, "no question" },
    { "$B eval nothing --data text.txt", 1, "is not a folder" },
    { "$B eval text.txt --data text.txt", 1, "is not a folder" },
    { "$B eval empty --data text.txt", 1, "holds no config.json" },
    { "$B eval run --data nothing.txt", 1, "is not there" },
    { "$B eval run --data text.txt --seq-len 1000", 2, "at most 64" },
    { "$B eval run --data text.txt --threads 1000", 2, "outside 0 .. 256" },
    { "$B eval cut --data text.txt", 1, "model.safetensors" },
    { "$B eval flipped --data text.txt", 1, "not a safetensors file" },
    { "$B eval config --data text.txt", 1, "config.json" },
    { "$B eval loose --data text.txt", 1, "config.json gives it" },
    { "$B generate run", 2, "give --prompt TEXT" },
    { "$B generate run -p ''", 2, "the prompt is empty" },
    { "$B generate run -p x --set temperature=0", 2, "outside" },
    { "$B generate run -p x --set tempreature=1", 2, "did you mean 'temperature'" },
    { "$B generate run -p x --context 100", 2, "1 .. 64" },
    { "$B generate run -p 'much too long for a context of ten' --context 10", 1, "10 positions" },
    { "$B generate run -p x y", 2, "too many words" },
    { "$B generate cut -p x", 1, "model.safetensors" },
    { "$B chat", 2, "something is missing" },
    { "$B chat nothing < /dev/null", 1, "is not a folder" },
    { "$B chat run --set top_p=2 < /dev/null", 2, "outside 0 .. 1" },
    { "$B inspect nothing", 1, "does not exist" },
    { "$B inspect text.txt", 1, "safetensors" },
    { "$B inspect bad.json", 1, "bad.json" },
    { "$B inspect cut", 1, "model.safetensors" },
    { "$B inspect flipped/model.safetensors", 1, "not a safetensors file" },
    { "$B inspect loose", 1, "config.json gives it" },
    { "$B methods nothing", 2, "no kind is called 'nothing'" },
    { "$B help nothing", 2, "no help on 'nothing'" },
    { "$B help router nothing", 1, "no router is called" },
    { "$B report empty", 1, "" },
    { "$B doctor x", 2, "too many words" },
    /* a closed pipe and a full disk behind standard output */
    { "$B help config > /dev/full", 1, "standard output cannot be written" },
    { "$B eval run --data text.txt -q > /dev/full", 1, "standard output cannot be written" },
    { "$B generate run -p x -q > /dev/full", 1, "standard output cannot be written" },
    { "$B inspect run > /dev/full", 1, "standard output cannot be written" },
};

static void test_wrong_input(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        int code = shell(cases[i].line);
        if (code != cases[i].code || !strstr(text(), cases[i].says))
            fail_msg("'%s' ends with code %d (want %d) and says:\n%s\n(want '%s' in it)", cases[i].line, code, cases[i].code, text(), cases[i].says);
        if (!i) continue;                            /* the overview has many lines */
        const char *last = strstr(text(), "switchyard");
        while (last && strstr(last + 1, "\nswitchyard ")) last = strstr(last + 1, "\nswitchyard ") + 1;
        const char *end = last ? strchr(last, '\n') : NULL;
        if (!end || end[1]) fail_msg("'%s' does not end with one sentence:\n%s", cases[i].line, text());
        if (strstr(cases[i].line, "--out a ") && shell("test ! -e a/run.json")) fail_msg("'%s' was refused and left a run behind", cases[i].line);
    }
}

static json_t *json_of(const char *line)
{
    json_t *v;
    int code = shell(line);
    if (code) fail_msg("'%s' ends with code %d: %s", line, code, text());
    sy_expect_ok(sy_json_parse(&v, text(), strlen(text()), line, err));
    return v;
}

static void test_right_input(void **state)
{
    (void)state;
    json_t *v = json_of("$B eval run --data 'my text.txt' --json -q");
    assert_true(json_real_value(json_object_get(json_object_get(v, "all"), "nats_per_byte")) > 0);
    json_decref(v);
    v = json_of("$B eval run --choices q.jsonl --json -q");
    assert_int_equal(json_integer_value(json_object_get(v, "questions")), 1);
    json_decref(v);
    v = json_of("$B generate run -p Line --set max_new_tokens=5 --json -q");
    assert_int_equal(json_integer_value(json_object_get(v, "tokens")), 5);
    json_decref(v);
    v = json_of("$B inspect run --tensors --json");
    assert_string_equal(json_string_value(json_object_get(v, "layers")), "ds");
    assert_int_equal(json_array_size(json_object_get(json_object_get(v, "ledger"), "missing")), 0);
    json_decref(v);
    v = json_of("$B doctor --json");
    assert_true(json_is_true(json_object_get(v, "works")));
    json_decref(v);
    assert_int_equal(shell("$B --version && $B --help && for c in $($B --help | sed -n 's/^  \\([a-z]*\\)  .*/\\1/p'); do $B $c --help || exit 9; done"), 0);
    assert_int_equal(shell("$B inspect run/tokenizer.json && $B inspect run/model.safetensors && $B inspect run/checkpoints/*"), 0);
    assert_int_equal(shell("$B help config | head -1; true"), 0);
}

/* A path with blanks goes through run.json and back. */
static void test_blanks(void **state)
{
    (void)state;
    assert_int_equal(shell("$B train --data 'd=my text.txt' --data text.txt --eval-data 'my text.txt' --out 'a run' --steps 2 -q --no-report-data " SMALL), 0);
    assert_int_equal(shell("test ! -e 'a run/routing.json' && rm -r 'a run/checkpoints' && $B train --resume --out 'a run' -q"), 0);
    assert_int_equal(shell("test -e run/routing.json && test -e run/samples.jsonl"), 0);
}

static void test_chat(void **state)
{
    (void)state;
    assert_int_equal(shell("printf 'hello\\n\\n/set max_new_tokens=3\\nagain\\n/reset\\n//slash\\n/quit\\nnever\\n' | $B chat run --json -q --set max_new_tokens=6 --set ignore_eos=true"), 0);
    int lines = 0;
    for (const char *c = text(); *c; c++) lines += *c == '\n';
    sy_test_case("answers: %s", text());
    sy_expect_near("answers", lines, 3, 0, 0);
    assert_non_null(strstr(text(), "\"role\":\"assistant\""));
    assert_non_null(strstr(text(), "\"tokens\":3"));
    assert_int_equal(shell("printf '/sett\\n/set bogus=1\\n/set\\n/help\\n' | $B chat run -q"), 0);
    assert_non_null(strstr(text(), "did you mean /set"));
    assert_non_null(strstr(text(), "unknown option 'bogus'"));
    assert_non_null(strstr(text(), "max_new_tokens=200"));
    assert_non_null(strstr(text(), "forget the conversation"));
    assert_int_equal(shell("(seq 100 | tr '\\n' ' '; echo; echo short) | $B chat run -q --set max_new_tokens=4"), 0);
    assert_non_null(strstr(text(), "write less"));   /* the conversation goes on behind it */
    assert_int_equal(shell("for i in 1 2 3 4 5 6; do echo message $i; done | $B chat run --set max_new_tokens=8"), 0);
    assert_non_null(strstr(text(), "are left out from here on"));
    assert_int_equal(shell("echo hi | $B chat run -q > /dev/full"), 1);
}

/* SIGINT ends an answer that would take minutes, and the next message is answered. */
static void test_interrupt(void **state)
{
    (void)state;
    assert_int_equal(shell("$B train --data text.txt --out slow --steps 1 -q --no-report-data " SMALL " --set max_position_embeddings=200000"), 0);
    assert_int_equal(shell("mkfifo lines && ($B chat slow --json -q --set max_new_tokens=190000 --set ignore_eos=true < lines > answers 2> errors & p=$!; exec 3> lines; "
                           "echo one >&3; sleep 1; kill -INT $p; printf '/set max_new_tokens=2\n/reset\ntwo\n' >&3; exec 3>&-; wait $p) && cat answers"), 0);
    const char *first = strstr(text(), "\"ended\":\"stopped\""), *second = strstr(text(), "\"tokens\":2,");
    if (!first || !second || first > second) fail_msg("the answers are:\n%.2000s", text());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_input), cmocka_unit_test(test_right_input), cmocka_unit_test(test_blanks), cmocka_unit_test(test_chat), cmocka_unit_test(test_interrupt),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
