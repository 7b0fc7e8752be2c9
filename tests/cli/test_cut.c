/* float only */
/* A file that loses its end while the program works with it: one sentence and exit code 1 from chat, eval and train, whichever thread reads the lost
 * page. A line for bash waits until the process has the file among its maps, cuts it, and lets the process go on. */
#include "cli/bed.h"

#include "methods.h"
#include "model/checkpoint.h"
#include "model/tokenizer.h"

static char dir[400], data[400];

static int make_model(void **state)
{
    sy_engine eng;
    sy_model *m;
    sy_spec s;
    sy_tokenizer *tok;
    sy_arena a = { 0 };
    sy_buf b = { 0 };
    (void)state;
    snprintf(dir, sizeof dir, "%s/model", sy_test_dir());
    snprintf(data, sizeof data, "%s/text.txt", sy_test_dir());
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    sy_spec_defaults(&s);
    s.vocab_size = 257, s.hidden_size = 256, s.num_hidden_layers = 2, s.num_attention_heads = 4, s.intermediate_size = 2048, s.max_position_embeddings = 512;
    sy_expect_ok(sy_opt_parse(sy_spec_opts, &s, "layers=dense", &a, NULL, err));
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, 5, err));
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_model_save_as(m, "llama", dir, 256, 0, NULL, err));
    sy_expect_ok(sy_tokenizer_open_bytes(&tok, true, err));
    sy_expect_ok(sy_tokenizer_save(tok, dir, err));
    for (int i = 0; i < 200000; i++) sy_buf_printf(&b, "%d ", i * 7 % 1013);
    sy_expect_ok(sy_file_write(data, b.data, b.n, err));
    sy_buf_free(&b);
    sy_tokenizer_close(tok);
    sy_model_free(m);
    sy_engine_uninit(&eng);
    sy_arena_free(&a);
    return 0;
}

/* Runs `command` (bash, in the test's folder) with its input from a pipe; once it has mapped a file whose path ends with `part`, that file keeps 4096 bytes, and
 * the process gets a line. Its exit code. */
static int cut_under(const char *part, const char *command)
{
    return shell_in("", "rm -f line; mkfifo line; { %s; } < line > said 2>&1 & p=$!; exec 7> line; "
                        "for i in $(seq 400); do f=$(cat /proc/$(pgrep -P $p | head -1)/maps /proc/$p/maps 2>/dev/null | grep -o '/.*%s$' | head -1); [ -n \"$f\" ] && break; sleep 0.01; done; "
                        "[ -n \"$f\" ] || { echo 'never mapped'; cat said; exit 98; }; truncate -s 4096 \"$f\"; trap '' PIPE; echo 'Once upon a time' >&7; exec 7>&-; wait $p; s=$?; cat said; exit $s", command, part);
}

static void expect_cut(const char *what, int code)
{
    sy_test_case("%s", what);
    if (code != 1) fail_msg("%s ended with %d:\n%s", what, code, text());
    expect_said("was cut short");
}

static void make_again(void)
{
    if (shell_in("", "rm -rf model model.gguf; cp -r whole model && $SY convert model model.gguf --pre gpt-2")) fail_msg("%s", text());
}

static void cut_in_use(void **state)
{
    char line[1200];
    (void)state;
    assert_int_equal(shell_in("", "cp -r model whole"), 0);
    static const char *const models[] = { "model", "model.gguf" };
    for (int i = 0; i < 2; i++) {
        make_again();
        snprintf(line, sizeof line, "exec $SY chat %s --threads 3", models[i]);
        expect_cut("chat", cut_under(i ? "model.gguf" : "model.safetensors", line));
        make_again();
        snprintf(line, sizeof line, "exec $SY eval %s --data text.txt --threads 3", models[i]);
        expect_cut("eval", cut_under(i ? "model.gguf" : "model.safetensors", line));
    }
    expect_cut("train", cut_under("[.]tokens", "exec $SY train --data text.txt --out run --set hidden_size=32 --set num_hidden_layers=1 --set steps=1000000 --set max_minutes=1 --threads 2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(cut_in_use) };
    return cmocka_run_group_tests(tests, make_model, NULL);
}
