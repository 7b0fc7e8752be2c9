/* cli/portrait.c - routing.json and samples.jsonl of a run. */
#include "cli/portrait.h"

#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "infer/generate.h"
#include "infer/routing.h"

enum { PROMPT_TOKENS = 24, TOP_TOKENS = 12, MAX_FILE = 1 << 28 };

typedef struct size { int texts, tokens; } size;
static const size last = { 8, 160 }, on_the_way = { 4, 64 };   /* one text a domain; what is written on the way must not hold training up */

/* Prose, code and numbers, so that it shows how experts part them. */
static const char sentence[] = "The library was written in 1998 and is free software.\nfor (int i = 0; i < n; i++)\n    printf(\"%d\\n\", total[i]);\n";

static bool stopping(void *arg) { return *((const sy_cli *)arg)->stop; }
static bool on_text(void *arg, const char *text, size_t n) { (void)text, (void)n; return !stopping(arg); }

/* The first tokens of the domain's held-out text; *n = 0 when it holds nothing out. They live in `a`. */
static sy_status prompt_of(const sy_data *d, int domain, int room, sy_arena *a, const int **id, int *n, sy_err *err)
{
    sy_eval it;
    sy_batch batch;
    bool more = false;
    *n = 0;
    if (!sy_data_domain(d, domain)->eval_tokens) return SY_OK;
    SY_TRY(sy_eval_start(&it, d, domain, 1, err));
    SY_TRY(sy_eval_next(&it, a, &batch, &more, err));
    if (!more) return SY_OK;
    *id = batch.id;
    int most = room / 2 < PROMPT_TOKENS ? room / 2 : PROMPT_TOKENS;
    while (*n < batch.T && *n < most && batch.seq[*n] == batch.seq[0]) ++*n;
    return SY_OK;
}

static sy_status sample(sy_cli *cli, sy_generator *g, const int *id, int n, int new_tokens, int64_t step, sy_buf *lines, sy_err *err)
{
    sy_generate_options o;
    sy_generation x = { .text = on_text, .arg = cli };
    sy_buf prompt = { 0 }, text = { 0 };
    sy_json j;
    sy_opt_defaults(sy_generate_opts, &o);
    o.max_new_tokens = new_tokens;
    sy_generator_rewind(g, 0);
    sy_status st = sy_tokenizer_decode(g->tok, id, (size_t)n, &prompt, err);
    if (st == SY_OK) st = sy_generator_feed(g, id, n, NULL, err);
    if (st == SY_OK) st = sy_generate(g, &o, &x, &text, err);
    if (st == SY_OK && x.ended == SY_STOP_ASKED) st = sy_fail(err, SY_ESTOP, "stopped while samples were written");
    if (st == SY_OK) {
        sy_json_open(&j, lines, 0);
        sy_json_begin(&j, '{');
        sy_json_key(&j, "step"), sy_json_int(&j, step);
        sy_json_key(&j, "prompt"), sy_json_bytes(&j, prompt.data ? prompt.data : "", prompt.n);
        sy_json_key(&j, "text"), sy_json_bytes(&j, text.data ? text.data : "", text.n);
        sy_json_end(&j, '}');
        sy_buf_put(lines, "\n", 1);
        if (lines->failed) st = sy_fail(err, SY_ENOMEM, "no memory for the samples");
    }
    sy_buf_free(&prompt);
    sy_buf_free(&text);
    return st;
}

/* Texts after the beginning of the held-out text of each domain, as lines of JSON. */
static sy_status samples(sy_cli *cli, sy_model *m, const sy_data *d, const sy_tokenizer *tok, size most, int64_t step, sy_buf *lines, sy_err *err)
{
    sy_generator g = { 0 };
    sy_arena a = { 0 };
    int room = m->spec.max_position_embeddings < PROMPT_TOKENS + most.tokens ? m->spec.max_position_embeddings : PROMPT_TOKENS + most.tokens, n, made = 0;
    SY_TRY(sy_generator_open(&g, m, tok, room, err));
    sy_status st = SY_OK;
    for (int i = 0; i < sy_data_domains(d) && made < most.texts && st == SY_OK; i++) {
        const int *id = NULL;
        st = prompt_of(d, i, room, &a, &id, &n, err);
        if (st != SY_OK || !n) continue;
        st = sample(cli, &g, id, n, most.tokens, step, lines, err);
        made++;
    }
    sy_generator_close(&g);
    sy_arena_free(&a);
    return st;
}

/* The lines of samples.jsonl whose step is at most `step`; *all: that is the whole file. A missing file has no lines; a line that is none goes. */
static sy_status lines_until(const char *path, int64_t step, sy_buf *kept, bool *all, bool *has, sy_err *err)
{
    sy_buf b = { 0 };
    *all = true;
    *has = false;
    if (!sy_file_exists(path)) return SY_OK;
    sy_status st = sy_file_read(path, MAX_FILE, &b, err);
    for (size_t i = 0; st == SY_OK && i < b.n; ) {
        const char *p = b.data + i, *nl = memchr(p, '\n', b.n - i);
        size_t n = nl ? (size_t)(nl - p) : b.n - i;
        long long at = -1;
        sy_err ignored;
        json_t *line = NULL;
        bool good = nl && sy_json_parse(&line, p, n, path, &ignored) == SY_OK && sy_json_get_int(line, path, "step", true, 0, INT64_MAX, &at, &ignored) == SY_OK && at <= step;
        json_decref(line);
        if (good) sy_buf_put(kept, p, n + 1);
        *has |= good && at == step;
        *all &= good;
        i += n + 1;
    }
    sy_buf_free(&b);
    return st == SY_OK && kept->failed ? sy_fail(err, SY_ENOMEM, "no memory for %s", path) : st;
}

sy_status sy_samples_cut(const char *out, int64_t step, bool *has, sy_err *err)
{
    char path[1024];
    bool all;
    sy_buf kept = { 0 };
    SY_TRY(sy_path(path, sizeof path, out, "samples.jsonl", err));
    sy_status st = lines_until(path, step, &kept, &all, has, err);
    if (st == SY_OK && !all) st = sy_file_write(path, kept.data ? kept.data : "", kept.n, err);
    sy_buf_free(&kept);
    return st;
}

sy_status sy_samples_add(sy_cli *cli, sy_model *m, const sy_data *d, const sy_tokenizer *tok, const char *out, int64_t step, sy_err *err)
{
    char path[1024];
    sy_buf lines = { 0 };
    SY_TRY(sy_path(path, sizeof path, out, "samples.jsonl", err));
    sy_status st = samples(cli, m, d, tok, on_the_way, step, &lines, err);
    if (st == SY_OK && lines.n) st = sy_file_append(path, lines.data, lines.n, err);
    sy_buf_free(&lines);
    return st;
}

sy_status sy_portrait(sy_cli *cli, sy_model *m, const sy_data *d, const sy_tokenizer *tok, const char *out, int64_t step, int eval_rows, sy_err *err)
{
    char path[1024];
    bool held = false;
    for (int i = 0; i < sy_data_domains(d); i++) held |= sy_data_domain(d, i)->eval_tokens > 0;
    if (!held) return SY_OK;                            /* nothing is held out: nothing to look at */
    SY_TRY(sy_path(path, sizeof path, out, "routing.json", err));
    sy_routing_options o = { .rows = eval_rows, .top_tokens = TOP_TOKENS, .sentence = sentence, .stop = stopping, .arg = cli };
    SY_TRY(sy_routing_write(m, d, tok, &o, path, err));
    SY_TRY(sy_path(path, sizeof path, out, "samples.jsonl", err));
    sy_buf lines = { 0 };
    bool all, has;
    sy_status st = lines_until(path, step - 1, &lines, &all, &has, err);
    if (st == SY_OK) st = samples(cli, m, d, tok, last, step, &lines, err);
    if (st == SY_OK && lines.n) st = sy_file_write(path, lines.data, lines.n, err);
    sy_buf_free(&lines);
    return st;
}
