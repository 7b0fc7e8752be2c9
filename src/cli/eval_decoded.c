/* cli/eval_decoded.c - runs it, prints the table. */
#include "cli/eval_decoded.h"

#include "core/json.h"

typedef struct watch { sy_cli *cli; sy_progress bar; } watch;

static bool on_window(void *arg, const sy_decoded *d)
{
    watch *w = arg;
    char note[96];
    snprintf(note, sizeof note, "%.4f nats/token, %.4f alone", sy_decoded_nats(d, &d->method), sy_decoded_nats(d, &d->plain));
    sy_progress_at(&w->bar, (double)d->windows, note);
    return !*w->cli->stop;
}

static void side_json(sy_json *j, const char *key, const sy_decoded *d, const sy_decoded_side *s)
{
    sy_json_key(j, key), sy_json_begin(j, '{');
    sy_json_key(j, "nats_per_token"), sy_json_real(j, sy_decoded_nats(d, s));
    sy_json_key(j, "excluded"), sy_json_real(j, (double)s->excluded / (double)d->tokens);
    sy_json_key(j, "accuracy"), sy_json_real(j, (double)s->hits / (double)d->tokens);
    sy_json_key(j, "multiply_adds_per_token"), sy_json_real(j, (double)s->madds / (double)d->tokens);
    sy_json_end(j, '}');
}

static sy_status print_json(const char *method, const sy_decoded *d, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "method"), sy_json_text(&j, method);
    sy_json_key(&j, "windows"), sy_json_int(&j, d->windows);
    sy_json_key(&j, "tokens"), sy_json_int(&j, d->tokens);
    side_json(&j, "model", d, &d->plain);
    side_json(&j, "decoded", d, &d->method);
    sy_json_end(&j, '}');
    if (!b.failed) puts(b.data);
    bool failed = b.failed;
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the result") : SY_OK;
}

sy_status sy_eval_decoded(sy_cli *cli, sy_decoded_job *j, sy_err *err)
{
    watch w = { .cli = cli };
    sy_decoded d;
    j->seen = on_window;
    j->arg = &w;
    sy_progress_open(&w.bar, stderr, "windows", 0, cli->progress);
    sy_status st = sy_decoded_run(j, &d, err);
    sy_progress_close(&w.bar, NULL);
    if (st != SY_OK) return st;
    if (cli->json) return print_json(j->method, &d, err);
    double n = (double)d.tokens;
    printf("%lld windows, %lld tokens predicted behind %d read\n%-26s %14s %14s\n", (long long)d.windows, (long long)d.tokens, j->prefix, "", "model alone", "with --decode");
    printf("%-26s %14.4f %14.4f\n", "nats/token", sy_decoded_nats(&d, &d.plain), sy_decoded_nats(&d, &d.method));
    printf("%-26s %14.4f %14.4f\n", "accuracy", (double)d.plain.hits / n, (double)d.method.hits / n);
    printf("%-26s %14.4f %14.4f\n", "excluded (no nats)", (double)d.plain.excluded / n, (double)d.method.excluded / n);
    printf("%-26s %14.4g %14.4g\n", "multiply-adds/token", (double)d.plain.madds / n, (double)d.method.madds / n);
    return SY_OK;
}
