/* tests/cli/test_cmd_analyse.c - routes as a user looks at them: tables, JSON, page, trace and checkpoints of a tiny run, and what is refused. Oracles: the run's own
 * routing.json, the trace of the same text, and what must be equal or zero (infer/test_analysis has the definitions). */
/* float only */
#include "bed.h"

#define SMALL "--set seq_len=32 --set hidden_size=16 --set num_hidden_layers=2 --set num_attention_heads=2 --set num_experts=4 --set intermediate_size=32 --set max_position_embeddings=64 --set batch_size=2 --set val_fraction=0.1"

static int here(const char *line) { return shell_in("a", "%s", line); }

static json_t *json_of(const char *line)
{
    if (here(line)) fail_msg("'%s' says:\n%s", line, text());
    return said_json();
}

static int setup(void **state)
{
    (void)state;
    sy_buf a = { 0 }, b = { 0 };
    for (int i = 0; i < 200; i++) sy_buf_printf(&a, "Line %d of a text about %d apples and %d pears.\n", i, i * 7 % 13, i * 5 % 11);
    for (int i = 0; i < 150; i++) sy_buf_printf(&b, "int f%d(int x) { return x * %d; }\n", i, i * i);
    put_bytes("a/prose.txt", a.data, a.n);
    put_bytes("a/code.txt", b.data, b.n);
    put_bytes("a/empty.txt", "", 0);
    put("a/en.txt", "a cat\ntwo dogs\nno one\nmany birds\n");
    put("a/de.txt", "ein Kater\nzwei Hunde\nniemand\nviele Voegel\n");
    put_bytes("a/less.txt", "eins\n", 5);
    sy_buf_free(&a);
    sy_buf_free(&b);
    if (here("$SY train --data prose.txt --data code.txt --out run --steps 6 -q --set checkpoint_every=2 --set keep=9 --set layers=dense,sparse --router topk:top_k=2 " SMALL)) fail_msg("no run to test with: %s", text());
    if (here("$SY train --data prose.txt --out dense --steps 1 -q --set layers=dense " SMALL " && mkdir bare && cp run/config.json run/model.safetensors bare")) fail_msg("no models to test with: %s", text());
    return 0;
}

static const struct { const char *line; int code; const char *says; } wrong[] = {
    { "$SY analyse", 2, "which model?" },
    { "$SY analyse run", 2, "on what text?" },
    { "$SY analyse run --checkpoints run --data prose.txt", 2, "in the place of MODEL" },
    { "$SY analyse --checkpoints run", 2, "compared on --data" },
    { "$SY analyse --checkpoints dense --data prose.txt", 2, "dense keeps 1 checkpoint;" },
    { "$SY analyse --checkpoints bare --data prose.txt", 1, "bare has no checkpoints" },
    { "$SY analyse dense --data prose.txt", 1, "dense is dense: its tokens choose no experts" },
    { "$SY analyse run --data empty.txt", 2, "holds no text" },
    { "$SY analyse run --data nothing.txt", 1, "is not there" },
    { "$SY analyse nothing --data prose.txt", 1, "nothing is not a folder" },
    { "$SY analyse bare --data prose.txt", 1, "needs --tokenizer" },
    { "$SY analyse run --data prose.txt --tokenizer prose.txt", 1, "prose.txt" },
    { "$SY analyse run --data prose.txt --tokenizer bytes+eot", 1, "the tokenizer has 257 ids, run 256" },
    { "$SY analyse run --data prose.txt --seq-len 65", 2, "1 to 64 positions" },
    { "$SY analyse run --data prose.txt --set bucket=3", 2, "did you mean 'buckets'" },
    { "$SY analyse run --data prose.txt --tau 2", 2, "belong to --parallel" },
    { "$SY analyse run --parallel en=en.txt", 2, "give at least two" },
    { "$SY analyse run --parallel en=en.txt --parallel de=less.txt", 1, "en.txt has 4 lines, less.txt 1" },
    { "$SY analyse run run --data prose.txt --trace t.safetensors", 2, "what one model did" },
    { "$SY analyse run/model.safetensors", 1, "so it is no trace" },
    { "$SY analyse run/model.safetensors --data prose.txt", 2, "a trace brings its tokens" },
    { "$SY analyse run --data prose.txt -q > /dev/full", 1, "standard output cannot be written" },
    { "$SY analyse run --data prose.txt -q --json > /dev/full", 1, "" },
    { "$SY analyse run --data prose.txt -q --page no/such/folder.html", 1, "no/such" },
};

static void wrong_input(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(wrong); i++) {
        int code = here(wrong[i].line);
        if (code != wrong[i].code || !strstr(text(), wrong[i].says)) fail_msg("'%s' ends with code %d (want %d) and says:\n%s\n(want '%s' in it)", wrong[i].line, code, wrong[i].code, text(), wrong[i].says);
    }
}

static double at(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }
static json_t *layer_of(const json_t *model, size_t l) { return json_array_get(json_object_get(model, "layers"), l); }

/* A trace of the same text gives the same numbers, but for the entropy of the router; every table stands in the text. */
static void tables_json_and_trace(void **state)
{
    (void)state;
    assert_int_equal(here("$SY analyse run --data prose.txt --data code.txt -q"), 0);
    static const char *const says[] = { "run: 1 sparse layers of 4 experts, 2 a token", "prose ", "code ", "What says which expert", "Spread", "Load: H(expert)", "What a capacity of 1 would drop", "Tokens with the most slots" };
    for (size_t i = 0; i < SY_COUNT(says); i++) expect_said(says[i]);
    assert_null(strchr(text(), '\033'));
    json_t *v = json_of("$SY analyse run --data prose.txt --data code.txt -q --json --trace t.safetensors --tokens 1000"), *m = json_array_get(json_object_get(v, "models"), 0), *l = layer_of(m, 0);
    json_t *w = json_of("$SY analyse t.safetensors -q --json"), *n = json_array_get(json_object_get(w, "models"), 0), *k = layer_of(n, 0);
    assert_true(at(m, "tokens") == 2000 && at(n, "tokens") == 2000 && at(l, "layer") == 1 && at(l, "slots") == 4000);
    static const char *const same[] = { "load", "by_domain", "by_position", "groups", "drop", "coactivation", "maxvio", "repeats", "top_pairs" };
    for (size_t i = 0; i < SY_COUNT(same); i++) if (!json_equal(json_object_get(l, same[i]), json_object_get(k, same[i]))) fail_msg("%s differs between the model and its trace", same[i]);
    assert_true(json_equal(json_object_get(m, "domains"), json_object_get(n, "domains")));
    assert_true(at(l, "entropy") > 0 && json_is_null(json_object_get(k, "entropy")));
    const json_t *u = json_object_get(json_object_get(l, "groups"), "token");
    assert_true(at(u, "u") > at(u, "u_corrected") && at(u, "u_corrected") > 0 && at(u, "u") <= 1);
    json_decref(v);
    json_decref(w);
    assert_int_equal(here("$SY generate run -p ab --trace g.safetensors --greedy --set max_new_tokens=20,ignore_eos=true -q > /dev/null && $SY analyse g.safetensors --tokenizer run -q"), 0);
    expect_said("22 tokens of ");
    expect_said("in 1 documents");
    assert_int_equal(here("$SY analyse bare --tokenizer bytes --data prose.txt -q"), 0);
    expect_said("bare: 1 sparse layers");
}

/* Against itself a model has everything in common; the report shows what --save wrote. */
static void models_compared_and_saved(void **state)
{
    (void)state;
    json_t *v = json_of("$SY analyse run bare --tokenizer bytes --data prose.txt -q --json --set min_count=20 --page two.html"), *list = json_object_get(v, "models");
    assert_int_equal(json_array_size(list), 2);
    json_t *o = json_array_get(json_object_get(json_array_get(list, 1), "overlap"), 0);
    assert_true(at(o, "same") == 1 && at(o, "overlap") > 0.999999 && at(o, "frequent") > 5 && at(o, "same_chance") < 1);
    assert_null(json_object_get(json_array_get(list, 0), "overlap"));
    json_decref(v);
    assert_int_equal(here("grep -q 'The routes of bare over' two.html && grep -q '\"analysed\":true' two.html"), 0);
    assert_int_equal(here("$SY analyse run --data prose.txt -q --save && test -e run/analysis.json && $SY report run -o with.html && grep -q '\"ceiling\":' with.html && $SY report run --json | grep -q '\"analysed\":false'"), 0);
}

static void checkpoints_of_a_run(void **state)
{
    (void)state;
    assert_int_equal(here("$SY analyse --checkpoints run --data prose.txt -q"), 0);
    expect_said("Learning: means over the layers");
    expect_said("\n        2 |");
    json_t *v = json_of("$SY analyse --checkpoints run --data prose.txt -q --json --set min_count=20"), *list = json_object_get(v, "models"), *steps = json_object_get(json_array_get(list, 0), "learning");
    assert_int_equal(json_array_size(list), 1);
    assert_int_equal(json_array_size(steps), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *step = json_array_get(steps, i), *l = layer_of(step, 0);
        assert_true(at(step, "step") == (double)(2 * (i + 1)) && at(l, "same") >= 0 && at(l, "same") <= 1 && at(l, "u_token") > 0);
        if (i == 2) assert_true(at(l, "same") == 1 && at(l, "overlap") > 0.999999);
    }
    json_decref(v);
}

static void languages_side_by_side(void **state)
{
    (void)state;
    assert_int_equal(here("$SY analyse run --parallel en=en.txt --parallel de=de.txt --parallel en2=en.txt -q"), 0);
    expect_said("4 parallel sentences in 3 languages");
    json_t *v = json_of("$SY analyse run --parallel en=en.txt --parallel de=de.txt --parallel en2=en.txt -q --json"), *x = json_object_get(json_array_get(json_object_get(v, "models"), 0), "languages");
    const json_t *d = json_array_get(json_object_get(x, "divergence"), 0);
    assert_true(at(x, "sentences") == 4 && json_number_value(json_array_get(d, 1)) > 0 && json_number_value(json_array_get(d, 2)) == 0);
    json_decref(v);
}

/* Lines of experts: one a token where there is no terminal; on one, no wider than it, with colours unless that is not wanted. */
static void routes_in_a_terminal(void **state)
{
    (void)state;
    assert_int_equal(here("$SY generate run -p ab --routes --greedy --set max_new_tokens=3,ignore_eos=true -q > lines; test $(wc -l < lines) = 6 && cat lines"), 0);
    expect_said("  token / layer    | 1\n  a                | ");
    expect_said("\n> ");
    assert_null(strchr(text(), '\033'));
    if (here("command -v script")) skip();
    assert_int_equal(here("script -qec \"stty cols 24; $SY generate run -p ab --routes --greedy --set max_new_tokens=3,ignore_eos=true -q\" /dev/null < /dev/null | tr -d '\\r' > shown; "
                          "grep -q $'\\033\\[' shown && sed 's/\\x1b\\[[0-9;]*m//g' shown | awk '{ if (length($0) > 24) exit 1 }'"), 0);
    assert_int_equal(here("NO_COLOR=1 script -qec \"$SY generate run -p ab --routes --greedy --set max_new_tokens=3,ignore_eos=true -q\" /dev/null < /dev/null > shown; ! grep -q $'\\033\\[' shown"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(wrong_input), cmocka_unit_test(tables_json_and_trace), cmocka_unit_test(models_compared_and_saved), cmocka_unit_test(checkpoints_of_a_run),
                                        cmocka_unit_test(languages_side_by_side), cmocka_unit_test(routes_in_a_terminal) };
    return cmocka_run_group_tests(tests, setup, NULL);
}
