/* cli/cmd_embed.c - switchyard embed: lines of text in, a vector for each out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/open.h"
#include "core/alloc.h"
#include "core/json.h"
#include "infer/embed.h"
#include "model/safetensors.h"

enum { BATCH = 256 };                                /* texts that are read before their vectors are made */

typedef struct args { const char *out; bool ids, cut; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, out, "out", 'o', SY_FLAG_TEXT, "FILE", "write one safetensors file, `embeddings` float32 [texts, width], instead of JSON lines"),
    SY_FLAG(args, ids, "ids", 0, SY_FLAG_ON, NULL, "lines are token ids separated by blanks, special tokens included"),
    SY_FLAG(args, cut, "cut", 0, SY_FLAG_ON, NULL, "cut longer texts to what the model reads; without it they are refused"),
    { 0 }
};

typedef struct embedding {
    sy_cli       *cli;
    const args   *a;
    sy_model     *m;
    sy_tokenizer *tok;
    sy_tape       tape;
    sy_pooling    pooling;
    sy_tokens     tokens;               /* of one line */
    sy_buf        id, first, all;       /* ids of the batch, where each text begins (int32), vectors of all texts (--out) */
    int           texts, line;          /* texts waiting; lines read */
    sy_real      *vector;               /* [BATCH,D] */
} embedding;

static sy_status put_ids(embedding *e, const int32_t *id, size_t n, sy_err *err)
{
    if (n > (size_t)e->pooling.most) {
        if (!e->a->cut) return sy_fail(err, SY_ESHAPE, "line %d has %zu tokens, the model reads %d; give --cut to leave the rest out", e->line, n, e->pooling.most);
        n = (size_t)e->pooling.most;
    }
    if (!n) return sy_fail(err, SY_EFORMAT, "line %d has no tokens; a text needs at least one", e->line);
    int32_t from = (int32_t)(e->id.n / sizeof *id);
    sy_buf_put(&e->first, (const char *)&from, sizeof from);
    sy_buf_put(&e->id, (const char *)id, n * sizeof *id);
    e->texts++;
    return e->id.failed || e->first.failed ? sy_fail(err, SY_ENOMEM, "no memory for the ids of line %d", e->line) : SY_OK;
}

static sy_status read_ids(embedding *e, const char *line, sy_err *err)
{
    int32_t *id = sy_malloc((strlen(line) / 2 + 1) * sizeof *id);
    size_t n = 0;
    sy_status st = id ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for the ids of line %d", e->line);
    for (const char *p = line + strspn(line, " \t"); st == SY_OK && *p; p += strspn(p, " \t")) {
        char *end;
        long v = strtol(p, &end, 10);
        if (end == p || (*end && *end != ' ' && *end != '\t') || v < 0 || v >= e->m->spec.vocab_size)
            st = sy_fail(err, SY_EFORMAT, "line %d: '%.20s' is not an id of 0 to %d", e->line, p, e->m->spec.vocab_size - 1);
        else id[n++] = (int32_t)v;
        p = end;
    }
    if (st == SY_OK) st = put_ids(e, id, n, err);
    sy_free(id);
    return st;
}

/* The tokens around a text ([CLS], [SEP]) count; what is cut off lies before the last of them. */
static sy_status read_text(embedding *e, const char *line, size_t n, sy_err *err)
{
    SY_TRY(sy_within(err, sy_tokenizer_tokens(e->tok, line, n, SY_TOKENS_FRAMED, &e->tokens, err), "line %d", e->line));
    size_t k = e->tokens.n, most = (size_t)e->pooling.most;
    if (e->a->cut && k > most) {
        e->tokens.id[most - 1] = e->tokens.id[k - 1];
        k = most;
    }
    return put_ids(e, e->tokens.id, k, err);
}

static sy_status print_vectors(const embedding *e, sy_err *err)
{
    size_t D = (size_t)e->m->spec.hidden_size;
    for (int i = 0; i < e->texts; i++) {
        sy_buf b = { 0 };
        sy_json j;
        sy_json_open(&j, &b, 0);
        sy_json_begin(&j, '[');
        for (size_t d = 0; d < D; d++) sy_json_real(&j, (double)e->vector[(size_t)i * D + d]);
        sy_json_end(&j, ']');
        bool failed = b.failed;
        if (!failed) puts(b.data);
        sy_buf_free(&b);
        if (failed) return sy_fail(err, SY_ENOMEM, "no memory for a vector of %zu values", D);
    }
    return ferror(stdout) ? sy_fail(err, SY_EIO, "cannot write the vectors: %s", strerror(errno)) : SY_OK;
}

/* Vectors of the texts that wait. */
static sy_status flush(embedding *e, sy_err *err)
{
    int32_t end = (int32_t)(e->id.n / sizeof end);
    if (!e->texts) return SY_OK;
    sy_buf_put(&e->first, (const char *)&end, sizeof end);
    if (e->first.failed) return sy_fail(err, SY_ENOMEM, "no memory for %d texts", e->texts);
    SY_TRY(sy_embed_texts(e->m, &e->tape, &e->pooling, (const int *)e->id.data, (const int *)e->first.data, e->texts, e->vector, err));
    size_t n = (size_t)e->texts * (size_t)e->m->spec.hidden_size;
    if (!e->a->out) SY_TRY(print_vectors(e, err));
    for (size_t i = 0; e->a->out && i < n; i++) {
        float v = (float)e->vector[i];
        sy_buf_put(&e->all, (const char *)&v, sizeof v);
    }
    e->texts = 0;
    sy_buf_clear(&e->id);
    sy_buf_clear(&e->first);
    return e->all.failed ? sy_fail(err, SY_ENOMEM, "no memory for the vectors; without --out they are printed as they come") : SY_OK;
}

static sy_status each_line(embedding *e, sy_err *err)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    sy_status st = SY_OK;
    while (st == SY_OK && (n = getline(&line, &room, stdin)) >= 0) {
        if (n && line[n - 1] == '\n') line[--n] = 0;
        if (n && line[n - 1] == '\r') line[--n] = 0;
        e->line++;
        st = e->a->ids ? read_ids(e, line, err) : read_text(e, line, (size_t)n, err);
        if (st == SY_OK && e->texts == BATCH) st = flush(e, err);
        if (*e->cli->stop) break;
    }
    free(line);
    return st == SY_OK ? flush(e, err) : st;
}

static sy_status embed(embedding *e, sy_err *err)
{
    size_t D = (size_t)e->m->spec.hidden_size;
    e->vector = sy_arena_array(&e->cli->arena, BATCH * D, sizeof *e->vector);
    if (!e->vector) return sy_fail(err, SY_ENOMEM, "no memory for vectors of %zu values", D);
    SY_TRY(each_line(e, err));
    if (!e->a->out) return SY_OK;
    sy_st_out t = { .name = "embeddings", .type = SY_DT_F32, .nd = 2, .dim = { (int64_t)(e->all.n / sizeof(float) / D), (int64_t)D }, .data = e->all.data };
    return sy_st_write(e->a->out, &t, 1, NULL, err);
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)n;
    embedding e = { .cli = cli, .a = a };
    char dir[1024];
    SY_TRY(sy_cli_engine(cli, err));
    SY_TRY(sy_checkpoint_find(words[0], dir, sizeof dir, err));
    SY_TRY(sy_open_model(cli, words[0], &e.m, e.a->ids ? NULL : &e.tok, err));
    sy_tape_init(&e.tape, &cli->eng, false);
    sy_status st = sy_pooling_read(&e.pooling, &e.m->spec, dir, err);
    if (st == SY_OK) st = embed(&e, err);
    sy_tape_free(&e.tape);
    sy_tokens_free(&e.tokens);
    sy_buf_free(&e.id);
    sy_buf_free(&e.first);
    sy_buf_free(&e.all);
    sy_tokenizer_close(e.tok);
    sy_model_free(e.m);
    return st;
}

const sy_command sy_cmd_embed = {
    .name = "embed", .summary = "vectors of texts from a sentence encoder", .usage = "MODEL [--ids] [--out FILE]",
    .text = "MODEL is the folder of an encoder (BERT, MiniLM). Every line of standard input is a text; every line of the output is its vector as a JSON\n"
            "list. Pooling and length follow modules.json and 1_Pooling/config.json; without them the mean of the tokens, of length one.",
    .example = "echo \"a line of text\" | switchyard embed all-MiniLM-L6-v2", .flags = flags, .size = sizeof(args), .min_words = 1, .max_words = 1, .run = run,
};
