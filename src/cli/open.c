/* cli/open.c - opening tokenizers and data for the commands. */
#include "cli/open.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/utf8.h"
#include "core/words.h"
#include "model/bpe_train.h"
#include "model/chat.h"

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

/* Without a word about it, conversations are written by the template that lies beside the tokenizer. */
static sy_status find_template(sy_cli *cli, const sy_config *c, sy_data_options *o, sy_err *err)
{
    const char *tok = c->corpus.tokenizer, *last = strrchr(tok, '/');
    sy_chat *chat = NULL;
    bool folder = sy_is_dir(tok);
    if (*o->chat_template || (!folder && (!last || !sy_file_exists(tok)))) return SY_OK;
    char *dir = folder ? sy_arena_strdup(&cli->arena, tok) : sy_arena_printf(&cli->arena, "%.*s", (int)(last - tok), tok);
    if (!dir) return sy_fail(err, SY_ENOMEM, "no memory for a path");
    SY_TRY(sy_chat_load(&chat, dir, err));
    if (chat) {
        o->chat_template = dir;
        sy_log_info(&cli->log, "conversations are written by the chat template of %s", dir);
    }
    sy_chat_close(chat);
    return SY_OK;
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
    sy_data_options o = c->data;
    SY_TRY(find_template(cli, c, &o, err));
    sy_status st = sy_data_open(out, &src, &o, tok, (uint64_t)c->train.seed, err);
    if (w.open) sy_progress_close(&w.bar, NULL);
    return st;
}

/* --- learning a vocabulary ---------------------------------------------------------------------------------------------- */

struct lesson {
    sy_cli         *cli;
    sy_bpe_trainer *bpe;
    sy_progress     bar;
    double          bytes, most;        /* of text so far; to be learned from */
};

static sy_status count_text(void *arg, const char *domain, const char *text, size_t n, sy_err *err)
{
    (void)domain, (void)text, (void)err;
    ((struct lesson *)arg)->bytes += (double)n;
    return SY_OK;
}

static sy_status on_learned(void *arg, double share, sy_err *err)
{
    struct lesson *l = arg;
    sy_progress_at(&l->bar, share, NULL);
    return *l->cli->stop ? sy_fail(err, SY_ESTOP, "stopped while the vocabulary was learned; nothing was written") : SY_OK;
}

static sy_status feed_text(void *arg, const char *domain, const char *text, size_t n, sy_err *err)
{
    struct lesson *l = arg;
    (void)domain;
    SY_TRY(sy_bpe_trainer_feed(l->bpe, text, n, err));
    l->bytes += (double)n;
    return on_learned(l, l->most > 0 ? fmin(1, l->bytes / l->most) : 1, err);
}

/* From what is trained on, never from what is held out: at most bpe_mb of it, the same share of every domain. */
static sy_status learn_vocabulary(struct lesson *l, const sy_config *c, sy_tokenizer **out, sy_err *err)
{
    const char *const *train, *const *eval;
    char line[200];
    int n, n_eval, want = c->corpus.bpe_vocab_size;
    SY_TRY(sy_words_split(&l->cli->arena, c->corpus.data, &train, &n, err));
    SY_TRY(sy_words_split(&l->cli->arena, c->corpus.eval_data, &eval, &n_eval, err));
    if (!n) return sy_fail(err, SY_EARG, "the tokenizer bpe is learned from the data: give --data FILE-OR-FOLDER");
    double share = n_eval ? 1 : 1 - c->data.val_fraction;
    SY_TRY(sy_text_each(train, n, &c->data, share, count_text, l, err));
    l->most = fmin(l->bytes, c->corpus.bpe_mb * 1048576);
    if (l->most < l->bytes) share *= l->most / l->bytes;
    l->bytes = 0;
    SY_TRY(sy_bpe_trainer_open(&l->bpe, err));
    sy_progress_open(&l->bar, stderr, "counting words", 1, l->cli->progress);
    SY_TRY(sy_text_each(train, n, &c->data, share, feed_text, l, err));
    sy_progress_close(&l->bar, NULL);
    sy_progress_open(&l->bar, stderr, "learning a vocabulary", 1, l->cli->progress);
    SY_TRY(sy_bpe_trainer_train(l->bpe, want, on_learned, l, out, err));
    int got = sy_tokenizer_vocab(*out);
    snprintf(line, sizeof line, "vocabulary: %d ids learned from %.1f MB%s", got, l->bytes / 1e6, got < want ? ", fewer than were asked for: no other pair occurs twice" : "");
    sy_progress_close(&l->bar, line);
    return SY_OK;
}

static sy_status make_tokenizer(sy_cli *cli, const sy_config *c, sy_tokenizer **out, sy_err *err)
{
    const char *t = c->corpus.tokenizer;
    if (!strcmp(t, "bytes") || !strcmp(t, "bytes+eot")) return sy_tokenizer_open_bytes(out, t[5] != 0, err);
    if (strcmp(t, "bpe")) return sy_tokenizer_load(out, t, err);
    struct lesson l = { .cli = cli };
    sy_status st = learn_vocabulary(&l, c, out, err);
    if (st != SY_OK) sy_progress_close(&l.bar, NULL);
    sy_bpe_trainer_close(l.bpe);
    return st;
}

sy_status sy_open_tokenizer(sy_cli *cli, const sy_config *c, sy_tokenizer **out, sy_err *err)
{
    sy_tokenizer *t = NULL;
    SY_TRY(make_tokenizer(cli, c, &t, err));
    sy_status st = sy_chat_give(c->data.chat_template, t, err);
    if (st == SY_OK) *out = t;
    else sy_tokenizer_close(t);
    return st;
}

sy_status sy_open_model(sy_cli *cli, const char *path, sy_model **model, sy_tokenizer **tok, sy_err *err)
{
    char dir[1024], line[512];
    sy_ledger ledger = { 0 };
    sy_model *m = NULL;
    sy_tokenizer *t = NULL;
    SY_TRY(sy_checkpoint_find(path, dir, sizeof dir, err));
    sy_status st = sy_model_load(&m, &cli->eng, dir, cli->strict ? SY_MODEL_STRICT : 0, &ledger, err);
    if (st == SY_OK) sy_log_info(&cli->log, "%s", sy_ledger_summary(&ledger, line, sizeof line));
    if (st == SY_OK && ledger.count[SY_L_KEY])
        sy_log_warn(&cli->log, "%s: config.json has keys that its family does not know: %s; --strict refuses them", dir, sy_ledger_names(&ledger, SY_L_KEY, line, sizeof line));
    sy_ledger_free(&ledger);
    if (st == SY_OK && tok) st = sy_tokenizer_load(&t, dir, err);
    if (st == SY_OK && t && sy_tokenizer_notes(t)) sy_log_info(&cli->log, "%s", sy_tokenizer_notes(t));
    if (st == SY_OK && t) st = sy_tokenizer_fits(t, m->spec.vocab_size, dir, err);
    if (st != SY_OK) {
        sy_tokenizer_close(t);
        sy_model_free(m);
        return st;
    }
    *model = m;
    if (tok) *tok = t;
    return SY_OK;
}

sy_status sy_open_tokenizer_at(const char *path, sy_tokenizer **tok, sy_err *err)
{
    char dir[1024], file[1024];
    if (!sy_is_dir(path)) return sy_tokenizer_load(tok, path, err);
    SY_TRY(sy_path(file, sizeof file, path, "tokenizer.json", err));
    if (sy_file_exists(file)) return sy_tokenizer_load(tok, file, err);
    SY_TRY(sy_checkpoint_find(path, dir, sizeof dir, err));
    return sy_tokenizer_load(tok, dir, err);
}

static const sy_opt override_opts[] = {
    SY_INT (sy_override, k, NULL, 0, 1, 1 << 20, "experts a token"),
    SY_REAL(sy_override, threshold, NULL, 0, 0, 1, "sum of probabilities that a token's experts exceed"),
    { 0 }
};

sy_status sy_override_of(const char *text, sy_override *out, sy_err *err)
{
    char key[32];
    size_t n = strcspn(text, "=");
    if (!text[n] || n >= sizeof key) return sy_fail(err, SY_EARG, "--override '%.60s': give k=N or threshold=P", text);
    memcpy(key, text, n), key[n] = 0;
    return sy_within(err, sy_opt_set(override_opts, out, key, text + n + 1, NULL, NULL, err), "--override");
}

void sy_put_text(FILE *to, const char *text, size_t n)
{
    if (!isatty(fileno(to))) {
        fwrite(text, 1, n, to);
        return;
    }
    for (size_t i = 0; i < n; ) {
        uint32_t cp;
        int k = sy_utf8_next(text + i, n - i, &cp);
        if (k < 0 || (cp < 32 && cp != '\n' && cp != '\t') || (cp >= 127 && cp < 160)) putc('?', to);
        else fwrite(text + i, 1, (size_t)k, to);
        i += (size_t)(k < 0 ? -k : k);
    }
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
