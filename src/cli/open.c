/* cli/open.c - opening tokenizers and data for the commands. */
#include "cli/open.h"

#include <math.h>
#include <string.h>

#include "core/words.h"

sy_status sy_set_sources(sy_cli *cli, const sy_list *l, const char **text, sy_err *err)
{
    for (int i = 0; i < l->n; i++) if (!*l->v[i]) return sy_fail(err, SY_EARG, "a source is empty; give a file or a folder of text");
    if (!(*text = sy_words_join(&cli->arena, l->v, l->n))) return sy_fail(err, SY_ENOMEM, "no memory for the list of sources");
    return SY_OK;
}

struct watch { sy_cli *cli; sy_progress bar; char domain[64]; bool open; };

static void on_read(void *arg, const char *domain, double share)
{
    struct watch *w = arg;
    if (!w->open || strcmp(w->domain, domain)) {
        if (w->open) sy_progress_close(&w->bar, NULL);
        snprintf(w->domain, sizeof w->domain, "%s", domain);
        sy_progress_open(&w->bar, stderr, w->domain, 1, w->cli->progress);
        w->open = true;
    }
    sy_progress_at(&w->bar, share, NULL);
}

sy_status sy_open_data(sy_cli *cli, const sy_config *c, const sy_tokenizer *tok, const char *cache, sy_data **out, sy_err *err)
{
    sy_sources src = { .cache_dir = cache };
    struct watch w = { .cli = cli };
    src.progress = on_read;
    src.arg = &w;
    SY_TRY(sy_words_split(&cli->arena, c->corpus.data, &src.train, &src.n_train, err));
    SY_TRY(sy_words_split(&cli->arena, c->corpus.eval_data, &src.eval, &src.n_eval, err));
    if (!src.n_train && !src.n_eval) return sy_fail(err, SY_EARG, "no data: give --data FILE-OR-FOLDER");
    sy_status st = sy_data_open(out, &src, &c->data, tok, (uint64_t)c->train.seed, err);
    if (w.open) sy_progress_close(&w.bar, NULL);
    return st;
}

sy_status sy_open_tokenizer(sy_cli *cli, const sy_config *c, sy_tokenizer **out, sy_err *err)
{
    (void)cli;
    const char *t = c->corpus.tokenizer;
    if (!strcmp(t, "bytes") || !strcmp(t, "bytes+eot")) return sy_tokenizer_open_bytes(out, t[5] != 0, err);
    return sy_tokenizer_load(out, t, err);
}

void sy_print_eval(FILE *to, const sy_evaluation *e)
{
    fprintf(to, "%-16s %12s %12s %10s %10s %10s %12s\n", "domain", "tokens", "bytes", "nats/byte", "bits/byte", "nats/token", "perplexity");
    for (int i = 0; i < e->lines; i++) {
        const sy_eval_line *l = &e->line[i];
        double b = sy_eval_per_byte(l), t = sy_eval_per_token(l);
        fprintf(to, "%-16s %12lld %12lld %10.4f %10.4f %10.4f %12.4g\n", l->name, (long long)l->tokens, (long long)l->bytes, b, b / log(2), t, exp(t));
    }
}
