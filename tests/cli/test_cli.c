/* tests/cli/test_cli.c - every command with input that is wrong: one sentence, exit code 1 (failed) or 2 (wrong use), no crash. */
#include "bed.h"

/* A line for bash in the folder that holds: text.txt, "my text.txt", empty.txt, empty/, binary.bin, run/ and damaged copies of it. */
static int here(const char *line) { return shell_in("cli", "%s", line); }

#define SMALL "--set seq_len=32 --set hidden_size=16 --set num_hidden_layers=2 --set layers=dense,sparse --set num_experts=4 --set intermediate_size=32 " \
              "--set max_position_embeddings=64 --set batch_size=2"

static int setup(void **state)
{
    (void)state;
    sy_buf b = { 0 };
    for (int i = 0; i < 200; i++) sy_buf_printf(&b, "Line %d of a text about %d apples and %d pears.\n", i, i * 7 % 13, i * 5 % 11);
    put_bytes("cli/text.txt", b.data, b.n);
    put_bytes("cli/my text.txt", b.data, b.n);
    put_bytes("cli/empty.txt", "", 0);
    put_bytes("cli/binary.bin", "a\0b\0c\0d", 7);
    put_bytes("cli/bad.jsonl", "{\"text\": \"fine\"}\n{broken\n", 25);
    put_bytes("cli/bad.json", "{\"train\": {\"lrr\": 1}}", 21);
    put_bytes("cli/q.jsonl", "{\"prompt\": \"Line\", \"choices\": [\" 1\", \" 2\"], \"answer\": 1}\n", 57);
    put_bytes("cli/bad-q.jsonl", "{\"prompt\": \"Line\", \"choices\": [\" 1\", \" 2\"], \"answer\": 1}\n{\"prompt\": \"x\"}\n", 73);
    sy_buf_free(&b);
    if (here("mkdir empty binary && cp binary.bin binary && $SY train --data text.txt --out run --steps 4 -q " SMALL)) fail_msg("no run to test with: %s", text());
    if (here("for i in cut flipped config loose; do cp -r run $i; done; truncate -s -100 cut/model.safetensors; printf '\\377\\377\\377\\377\\377\\377' | "
              "dd of=flipped/model.safetensors conv=notrunc status=none; echo '{' > config/config.json; sed -i -E 's/\"(n_routed_experts|num_local_experts|num_experts)\": 4/\"\\1\": 5/' loose/config.json"))
        fail_msg("no damaged copies: %s", text());
    return 0;
}

static const struct { const char *line; int code; const char *says; } cases[] = {
    { "$SY", 2, "usage: switchyard COMMAND" },
    { "$SY trian", 2, "did you mean 'train'" },
    { "$SY xyzzyx", 2, "switchyard --help lists them" },
    { "$SY train", 2, "give --out DIR" },
    { "$SY logits run", 2, "give --ids FILE" },
    { "$SY logits run --ids q.jsonl", 2, "give -o FILE" },
    { "$SY logits run --ids text.txt -o x.st", 1, "is no id" },
    { "$SY cmp text.txt text.txt", 1, "text.txt" },
    { "$SY eval run --data text.txt --ctx 8", 2, "belong to --perplexity" },
    { "$SY eval run --data text.txt --perplexity --ctx 100000", 1, "positions" },
    { "$SY generate run --messages text.txt", 1, "text.txt" },
    { "$SY generate run -p a --system b", 2, "give --chat, too" },
    { "$SY train --out a", 2, "no data" },
    { "$SY train --out a --data", 2, "--data needs a value" },
    { "$SY train --out a --data ''", 2, "a source is empty" },
    { "$SY train --out a --data nothing.txt", 1, "'nothing.txt' is not there" },
    { "$SY train --out a --data empty.txt", 2, "holds no text" },
    { "$SY train --out a --data empty", 2, "holds no files" },
    { "$SY train --out a --data binary", 2, "1 binary file" },
    { "$SY train --out a --data bad.jsonl", 1, "line 2" },
    { "$SY train --out a --data text.txt --set hiden_size=3", 2, "did you mean 'hidden_size'" },
    { "$SY train --out a --data text.txt --set hidden_size", 2, "write KEY=VALUE" },
    { "$SY train --out a --data text.txt --set hidden_size=33", 2, "33 is not a multiple" },
    { "$SY train --out a --data text.txt --set hidden_size=three", 2, "'three' is not a whole number" },
    { "$SY train --out a --data text.txt --set hidden_size=1048576 --set num_attention_heads=256", 2, "more than 1e12" },
    { "$SY train --out a --data text.txt --set hidden_size=131072 --set num_attention_heads=32", 1, "GB can be had" },
    { "$SY train --out a --data text.txt --set layers=foo", 2, "is not a pattern" },
    { "$SY train --out a --data text.txt --set vocab_size=100", 2, "set vocab_size=256 or more" },
    { "$SY train --out a --data text.txt --set seq_len=4096", 2, "exceeds max_position_embeddings" },
    { "$SY train --out a --data text.txt --set layers=sparse --router topkk", 1, "did you mean 'topk'" },
    { "$SY train --out a --data text.txt --set layers=sparse --router topk:k=2", 2, "unknown option 'k'" },
    { "$SY train --out a --data text.txt --router topk", 2, "set layers=sparse" },
    { "$SY train --out a --data text.txt --recipe shakespere", 1, "did you mean 'shakespeare'" },
    { "$SY train --out a --data text.txt --config nothing.json", 1, "nothing.json" },
    { "$SY train --out a --data text.txt --config empty.txt", 1, "is empty" },
    { "$SY train --out a --data text.txt --config bad.json", 2, "did you mean 'lr'" },
    { "$SY train --out a --data text.txt --steps x", 2, "'x' is not a whole number" },
    { "$SY train --out a --data text.txt --stesp 3", 2, "did you mean --steps" },
    { "$SY train --out a --data text.txt --resume", 1, "holds no run to resume" },
    { "$SY train --out a --data text.txt --from empty", 1, "holds no config.json" },
    { "$SY train --out a --data text.txt --quiet=yes", 2, "takes no value" },
    { "$SY train --out run --data text.txt", 1, "already holds a run" },
    { "$SY train --out run --data text.txt --resume --set hidden_size=32", 2, "" },
    { "$SY train --out empty.txt/x --data text.txt", 1, "empty.txt" },
    { "SY_STEPS=many $SY train --out a --data text.txt", 2, "'many'" },
    { "SY_QUIET=0 SY_OUT=run $SY train --data text.txt", 1, "run already holds a run" },
    { "SY_KERNELS=sse9 $SY eval run --data text.txt", 2, "SY_KERNELS" },
    { "SY_THREADS=two $SY eval run --data text.txt", 2, "'two' is not a whole number" },
    { "$SY eval", 2, "something is missing" },
    { "$SY eval run", 2, "--choices FILE" },
    { "$SY eval run --data text.txt --choices q.jsonl", 2, "one of them" },
    { "$SY eval run --choices bad-q.jsonl", 1, "bad-q.jsonl line 2" },
    { "$SY eval run --choices empty.txt", 1, "no question" },
    { "$SY eval nothing --data text.txt", 1, "is not a folder" },
    { "$SY eval text.txt --data text.txt", 1, "is not a folder" },
    { "$SY eval empty --data text.txt", 1, "holds no config.json" },
    { "$SY eval run --data nothing.txt", 1, "is not there" },
    { "$SY eval run --data text.txt --seq-len 1000", 2, "at most 64" },
    { "$SY eval run --data text.txt --threads 1000", 2, "outside 0 .. 256" },
    { "$SY eval cut --data text.txt", 1, "model.safetensors" },
    { "$SY eval flipped --data text.txt", 1, "not a safetensors file" },
    { "$SY eval config --data text.txt", 1, "config.json" },
    { "$SY eval loose --data text.txt", 1, "config.json gives it" },
    { "$SY generate run", 2, "give --prompt TEXT" },
    { "$SY generate run -p ''", 2, "the prompt is empty" },
    { "$SY generate run -p x --set temperature=0", 2, "outside" },
    { "$SY generate run -p x --set tempreature=1", 2, "did you mean 'temperature'" },
    { "$SY generate run -p x --context 100", 2, "1 .. 64" },
    { "$SY generate run -p 'much too long for a context of ten' --context 10", 1, "10 positions" },
    { "$SY generate run -p x y", 2, "too many words" },
    { "$SY generate cut -p x", 1, "model.safetensors" },
    { "$SY chat", 2, "something is missing" },
    { "$SY chat nothing < /dev/null", 1, "is not a folder" },
    { "$SY chat run --set top_p=2 < /dev/null", 2, "outside 0 .. 1" },
    { "$SY inspect nothing", 1, "does not exist" },
    { "$SY inspect text.txt", 1, "safetensors" },
    { "$SY inspect bad.json", 1, "bad.json" },
    { "$SY inspect cut", 1, "model.safetensors" },
    { "$SY inspect flipped/model.safetensors", 1, "not a safetensors file" },
    { "$SY inspect loose", 1, "config.json gives it" },
    { "$SY methods nothing", 2, "no kind is called 'nothing'" },
    { "$SY help nothing", 2, "no help on 'nothing'" },
    { "$SY help router nothing", 1, "no router is called" },
    { "$SY report empty", 1, "" },
    { "$SY doctor x", 2, "too many words" },
    /* a closed pipe and a full disk behind standard output */
    { "$SY help config > /dev/full", 1, "standard output cannot be written" },
    { "$SY eval run --data text.txt -q > /dev/full", 1, "standard output cannot be written" },
    { "$SY generate run -p x -q > /dev/full", 1, "standard output cannot be written" },
    { "$SY inspect run > /dev/full", 1, "standard output cannot be written" },
};

static void test_wrong_input(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        int code = here(cases[i].line);
        if (code != cases[i].code || !strstr(text(), cases[i].says))
            fail_msg("'%s' ends with code %d (want %d) and says:\n%s\n(want '%s' in it)", cases[i].line, code, cases[i].code, text(), cases[i].says);
        if (!i) continue;                            /* the overview has many lines */
        const char *last = strstr(text(), "switchyard");
        while (last && strstr(last + 1, "\nswitchyard ")) last = strstr(last + 1, "\nswitchyard ") + 1;
        const char *end = last ? strchr(last, '\n') : NULL;
        if (!end || end[1]) fail_msg("'%s' does not end with one sentence:\n%s", cases[i].line, text());
        if (strstr(cases[i].line, "--out a ") && here("test ! -e a/run.json")) fail_msg("'%s' was refused and left a run behind", cases[i].line);
    }
}

static json_t *json_of(const char *line)
{
    int code = here(line);
    if (code) fail_msg("'%s' ends with code %d: %s", line, code, text());
    return said_json();
}

static void test_right_input(void **state)
{
    (void)state;
    json_t *v = json_of("$SY eval run --data 'my text.txt' --json -q");
    assert_true(json_real_value(json_object_get(json_object_get(v, "all"), "nats_per_byte")) > 0);
    json_decref(v);
    v = json_of("$SY eval run --choices q.jsonl --json -q");
    assert_int_equal(json_integer_value(json_object_get(v, "questions")), 1);
    json_decref(v);
    v = json_of("$SY generate run -p Line --set max_new_tokens=5 --json -q");
    assert_int_equal(json_integer_value(json_object_get(v, "tokens")), 5);
    json_decref(v);
    v = json_of("$SY inspect run --tensors --json");
    assert_string_equal(json_string_value(json_object_get(v, "layers")), "ds");
    assert_int_equal(json_array_size(json_object_get(json_object_get(v, "ledger"), "missing")), 0);
    json_decref(v);
    v = json_of("$SY doctor --json");
    assert_true(json_is_true(json_object_get(v, "works")));
    json_decref(v);
    assert_int_equal(here("$SY --version && $SY --help && for c in $($SY --help | sed -n 's/^  \\([a-z]*\\)  .*/\\1/p'); do $SY $c --help || exit 9; done"), 0);
    assert_int_equal(here("$SY inspect run/tokenizer.json && $SY inspect run/model.safetensors && $SY inspect run/checkpoints/*"), 0);
    assert_int_equal(here("$SY help config | head -1; true"), 0);
}

/* A path with blanks goes through run.json and back. */
static void test_blanks(void **state)
{
    (void)state;
    assert_int_equal(here("$SY train --data 'd=my text.txt' --data text.txt --eval-data 'my text.txt' --out 'a run' --steps 2 -q --no-report-data " SMALL), 0);
    assert_int_equal(here("test ! -e 'a run/routing.json' && rm -r 'a run/checkpoints' && $SY train --resume --out 'a run' -q"), 0);
    assert_int_equal(here("test -e run/routing.json && test -e run/samples.jsonl"), 0);
}

/* What scripts use: logits, cmp, perplexity, routes. */
static void test_scripts(void **state)
{
    (void)state;
    assert_int_equal(here("echo 72,101,108,108,111 > ids.txt && $SY logits run --ids ids.txt -o a.st --routes -q --dump 'model.layers.1*:inner-a.st' && "
                          "$SY logits run --ids ids.txt -o b.st --routes --prefill 2 -q --dump 'model.layers.1*:inner-b.st' && $SY cmp a.st b.st && $SY cmp inner-a.st inner-b.st"), 0);
    assert_non_null(strstr(text(), "3 tensors agree"));
    assert_int_equal(here("echo 72 101 108 108 112 > other.txt && $SY logits run --ids other.txt -o c.st -q --dump 'model.layers.1*:inner-c.st' && $SY cmp inner-a.st inner-c.st"), 1);
    assert_non_null(strstr(text(), "model.layers.1.input_layernorm differs first"));
    json_t *v = json_of("$SY eval run --perplexity --data text.txt --ctx 32 --chunks 5 --against run -q --json");
    assert_int_equal(json_integer_value(json_object_get(v, "predictions")), 5 * 15);
    assert_true(json_number_value(json_object_get(v, "same_top")) == 1 && json_number_value(json_object_get(json_object_get(v, "kl"), "largest")) < 1e-9);
    json_decref(v);
    assert_int_equal(here("$SY generate run -p ab --routes --trace t.safetensors --greedy --set max_new_tokens=3,ignore_eos=true -q && $SY inspect t.safetensors --tensors"), 0);
    assert_non_null(strstr(text(), "experts"));
    assert_int_equal(here("$SY generate run -p ab --routes --greedy --set max_new_tokens=3,ignore_eos=true -q --json | wc -l | grep -qx 5"), 0);    /* a and b, three made; each is fed */
}

/* A template that the model brings, and a conversation from a file. */
static void test_template(void **state)
{
    (void)state;
    assert_int_equal(here("cp -r run with && rm -rf with/checkpoints && printf '%s' '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if messages|length > 1 %}{{ raise_exception(\"one at a time\") }}{% endif %}' "
                          "> with/chat_template.jinja && $SY generate with --chat -p hello --greedy --set max_new_tokens=2 -q"), 0);
    assert_int_equal(here("echo '[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"user\", \"content\": \"b\"}]' > m.json; $SY generate with --messages m.json -q"), 1);
    assert_non_null(strstr(text(), "refuses the conversation: one at a time"));
    assert_int_equal(here("echo hi | $SY chat with -q --set max_new_tokens=2"), 0);
}

/* What a tokenizer puts in front of a text (here the letter B) stands in front of a conversation once, whether the template writes it or not. */
static void test_front(void **state)
{
    (void)state;
    static const char count[] = "$SY generate front --chat -p ab --routes --greedy --set max_new_tokens=1,ignore_eos=true -q --json | wc -l";
    assert_int_equal(here("cp -r run front && rm -rf front/checkpoints && sed -i 's/\"post_processor\": null/\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"B\", "
                          "\"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\": {\"B\": {\"id\": \"B\", \"ids\": [66], \"tokens\": [\"B\"]}}}/' front/tokenizer.json && "
                          "grep -q TemplateProcessing front/tokenizer.json && rm -f front/SHA256SUMS"), 0);
    static const struct { const char *template; int lines; } cases[] = { { "{{ messages[0].content }}", 4 }, { "B{{ messages[0].content }}", 4 }, { "C{{ messages[0].content }}", 5 } };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        char line[300];
        sy_test_case("%s", cases[i].template);
        snprintf(line, sizeof line, "printf '%%s' '%s' > front/chat_template.jinja && %s | grep -qx %d", cases[i].template, count, cases[i].lines);
        assert_int_equal(here(line), 0);
    }
    sy_test_case("without a template");              /* <|user|>, ab, <|assistant|> with line ends: 9 + 3 + 14 bytes, the letter in front, and one made */
    assert_int_equal(here("rm front/chat_template.jinja && $SY generate front --chat -p ab --routes --greedy --set max_new_tokens=1,ignore_eos=true -q --json | wc -l | grep -qx 28"), 0);
    assert_int_equal(here("echo hi | $SY chat front -q --set max_new_tokens=2"), 0);
}

static void test_chat(void **state)
{
    (void)state;
    assert_int_equal(here("printf 'hello\\n\\n/set max_new_tokens=3\\nagain\\n/reset\\n//slash\\n/quit\\nnever\\n' | $SY chat run --json -q --set max_new_tokens=6 --set ignore_eos=true"), 0);
    int lines = 0;
    for (const char *c = text(); *c; c++) lines += *c == '\n';
    sy_test_case("answers: %s", text());
    sy_expect_near("answers", lines, 3, 0, 0);
    assert_non_null(strstr(text(), "\"role\":\"assistant\""));
    assert_non_null(strstr(text(), "\"tokens\":3"));
    assert_int_equal(here("printf '/sett\\n/set bogus=1\\n/set\\n/help\\n' | $SY chat run -q"), 0);
    assert_non_null(strstr(text(), "did you mean /set"));
    assert_non_null(strstr(text(), "unknown option 'bogus'"));
    assert_non_null(strstr(text(), "max_new_tokens=200"));
    assert_non_null(strstr(text(), "forget the conversation"));
    assert_int_equal(here("(seq 100 | tr '\\n' ' '; echo; echo short) | $SY chat run -q --set max_new_tokens=4"), 0);
    assert_non_null(strstr(text(), "write less"));   /* the conversation goes on behind it */
    assert_int_equal(here("for i in 1 2 3 4 5 6; do echo message $i; done | $SY chat run --set max_new_tokens=8"), 0);
    assert_non_null(strstr(text(), "are left out from here on"));
    assert_int_equal(here("echo hi | $SY chat run -q > /dev/full"), 1);
}

/* SIGINT ends an answer that would take minutes, and the next message is answered. */
static void test_interrupt(void **state)
{
    (void)state;
    assert_int_equal(here("$SY train --data text.txt --out slow --steps 1 -q --no-report-data " SMALL " --set max_position_embeddings=200000"), 0);
    assert_int_equal(here("mkfifo lines && ($SY chat slow --json -q --set max_new_tokens=190000 --set ignore_eos=true < lines > answers 2> errors & p=$!; exec 3> lines; "
                           "echo one >&3; sleep 1; kill -INT $p; printf '/set max_new_tokens=2\n/reset\ntwo\n' >&3; exec 3>&-; wait $p) && cat answers"), 0);
    const char *first = strstr(text(), "\"ended\":\"stopped\""), *second = strstr(text(), "\"tokens\":2,");
    if (!first || !second || first > second) fail_msg("the answers are:\n%.2000s", text());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_input), cmocka_unit_test(test_right_input), cmocka_unit_test(test_blanks), cmocka_unit_test(test_scripts), cmocka_unit_test(test_template), cmocka_unit_test(test_front), cmocka_unit_test(test_chat), cmocka_unit_test(test_interrupt),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
