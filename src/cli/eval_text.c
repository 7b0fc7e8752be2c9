/* cli/eval_text.c - reads the text, runs the chunks, prints the table. */
#include "cli/eval_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/open.h"
#include "core/file.h"
#include "core/json.h"
#include "infer/perplexity.h"

typedef struct watch { sy_cli *cli; sy_progress bar; } watch;

static bool on_chunk(void *arg, int done, int chunks, double perplexity)
{
    watch *w = arg;
    char note[64];
    snprintf(note, sizeof note, "perplexity %.4f", perplexity);
    sy_progress_at(&w->bar, (double)done / chunks, note);
    return !*w->cli->stop;
}

static sy_status read_all(const sy_text_job *j, sy_buf *b, sy_err *err)
{
    for (int i = 0; i < j->files->n; i++) {
        const char *path = j->files->v[i];
        if (sy_is_dir(path)) return sy_fail(err, SY_EARG, "%s is a folder; --perplexity reads text files", path);
        SY_TRY(sy_file_read(path, (size_t)1 << 30, b, err));
    }
    return b->n ? SY_OK : sy_fail(err, SY_EARG, "there is no text in %s", j->files->v[0]);
}

static sy_status read_bos(const char *text, int *out, sy_err *err)
{
    char *end;
    *out = -1;
    if (!text) return SY_OK;
    long v = strtol(text, &end, 10);
    if (end == text || *end || v < 0 || v > 2147483647) return sy_fail(err, SY_EARG, "--bos: '%.40s' is no id", text);
    *out = (int)v;
    return SY_OK;
}

static sy_status print_json(const sy_perplexity *p, bool against, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "chunks"), sy_json_int(&j, p->chunks);
    sy_json_key(&j, "predictions"), sy_json_int(&j, p->n);
    sy_json_key(&j, "nats_per_token"), sy_json_real(&j, p->nats);
    sy_json_key(&j, "perplexity"), sy_json_real(&j, exp(p->nats));
    sy_json_key(&j, "perplexity_error"), sy_json_real(&j, p->error * exp(p->nats));
    if (against) {
        sy_json_key(&j, "reference_perplexity"), sy_json_real(&j, exp(p->ref_nats));
        sy_json_key(&j, "kl"), sy_json_begin(&j, '{');
        sy_json_key(&j, "mean"), sy_json_real(&j, p->kl);
        sy_json_key(&j, "error"), sy_json_real(&j, p->kl_error);
        sy_json_key(&j, "median"), sy_json_real(&j, p->median);
        sy_json_key(&j, "p90"), sy_json_real(&j, p->p90);
        sy_json_key(&j, "p99"), sy_json_real(&j, p->p99);
        sy_json_key(&j, "largest"), sy_json_real(&j, p->most);
        sy_json_end(&j, '}');
        sy_json_key(&j, "same_top"), sy_json_real(&j, p->same_top);
    }
    sy_json_end(&j, '}');
    if (!b.failed) puts(b.data);
    bool failed = b.failed;
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the result") : SY_OK;
}

static void print_lines(const sy_perplexity *p, bool against)
{
    printf("%-22s %12d\n%-22s %12lld\n", "chunks", p->chunks, "predictions", (long long)p->n);
    printf("%-22s %12.4f +- %.4f\n", "perplexity", exp(p->nats), p->error * exp(p->nats));
    if (!against) return;
    printf("%-22s %12.4f\n", "reference's", exp(p->ref_nats));
    printf("%-22s %12.6f +- %.6f\n%-22s %12.6f\n%-22s %12.6f\n%-22s %12.6f\n%-22s %12.6f\n", "KL divergence, mean", p->kl, p->kl_error, "  median", p->median, "  90 %", p->p90, "  99 %", p->p99,
           "  largest", p->most);
    printf("%-22s %11.3f %%\n", "same top token", 100 * p->same_top);
}

static sy_status run_chunks(sy_cli *cli, const sy_text_job *j, sy_model *against, const int *id, size_t n, sy_err *err)
{
    watch w = { .cli = cli };
    sy_perplexity p;
    sy_perplexity_job job = { .model = j->model, .against = against, .id = id, .n = (int64_t)n, .ctx = j->ctx, .most_chunks = j->chunks, .seen = on_chunk, .arg = &w };
    SY_TRY(read_bos(j->bos, &job.bos, err));
    sy_progress_open(&w.bar, stderr, "chunks", 1, cli->progress);
    sy_status st = sy_perplexity_run(&job, &p, err);
    sy_progress_close(&w.bar, NULL);
    if (st != SY_OK) return st;
    if (cli->json) return print_json(&p, against != NULL, err);
    print_lines(&p, against != NULL);
    return SY_OK;
}

sy_status sy_eval_text(sy_cli *cli, const sy_text_job *j, sy_err *err)
{
    sy_buf text = { 0 };
    sy_model *ref = NULL;
    sy_tokenizer *tok = NULL;
    size_t n = 0;
    int *id = NULL;
    sy_status st = read_all(j, &text, err);
    if (st == SY_OK && !(id = sy_arena_array(&cli->arena, sy_tokenizer_most(j->tok, text.n) + 1, sizeof *id))) st = sy_fail(err, SY_ENOMEM, "no memory for the ids of %zu bytes", text.n);
    if (st == SY_OK) st = sy_tokenizer_encode(j->tok, text.data, text.n, id, &n, err);
    sy_buf_free(&text);
    if (st == SY_OK && j->against) st = sy_within(err, sy_open_model(cli, j->against, &ref, &tok, err), "the reference");
    if (st == SY_OK && tok && strcmp(sy_tokenizer_id(tok), sy_tokenizer_id(j->tok)))
        st = sy_fail(err, SY_EUNSUP, "%s has another tokenizer; two models are compared on the same ids only", j->against);
    if (st == SY_OK) st = run_chunks(cli, j, ref, id, n, err);
    sy_tokenizer_close(tok);
    sy_model_free(ref);
    return st;
}
