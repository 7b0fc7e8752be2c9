/* cli/cmd_data.c - switchyard data: what sources become (preview), and the data sets that go by a name (list). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/open.h"
#include "core/file.h"
#include "core/utf8.h"
#include "data/known.h"

typedef struct args { sy_list data, eval_data, set; const char *tokenizer, *data_dir; int rows, first, seq_len; bool check; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, data, "data", 'd', SY_FLAG_LIST, "SOURCE", "preview: file or folder, name=path, name=path@weight"),
    SY_FLAG(args, eval_data, "eval-data", 0, SY_FLAG_LIST, "SOURCE", "preview: held-out text of its own"),
    SY_FLAG(args, tokenizer, "tokenizer", 0, SY_FLAG_TEXT, "NAME", "preview: bytes, bytes+eot (default), or a tokenizer.json or folder"),
    SY_FLAG(args, seq_len, "seq-len", 0, SY_FLAG_INT, "N", "preview: most tokens of a row; default 256"),
    SY_FLAG_SET(args, set, "preview: an option of the data (switchyard help config)", sy_data_opts),
    SY_FLAG(args, first, "first", 0, SY_FLAG_INT, "K", "preview: first row of the data order; default 0"),
    SY_FLAG(args, rows, "rows", 0, SY_FLAG_INT, "N", "preview: rows to show; default 4"),
    SY_FLAG(args, data_dir, "data-dir", 0, SY_FLAG_TEXT, "DIR", "list: where data sets are looked for; then $SY_DATA"),
    SY_FLAG(args, check, "check", 0, SY_FLAG_ON, NULL, "list: read the files and compare their checksums"),
    { 0 }
};

static sy_status print_buf(sy_buf *b, sy_err *err)
{
    bool failed = b->failed;
    if (!failed && b->n) fwrite(b->data, 1, b->n, stdout);
    sy_buf_free(b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the output") : SY_OK;
}

/* --- list ------------------------------------------------------------------------------------------------------------------- */

static const char *state_of(const sy_known_file *f, const char *path, bool check, sy_err *why)
{
    why->text[0] = 0;
    if (!path) return "missing";
    if (check) return sy_known_check(f, path, why) == SY_OK ? "checked" : "differs";
    return sy_file_size(path) == f->bytes ? "present" : "differs";
}

static void list_json(sy_json *j, const sy_known *k, const char *const *dirs, bool check, sy_arena *a)
{
    sy_json_begin(j, '{');
    sy_json_key(j, "name"), sy_json_text(j, k->name);
    sy_json_key(j, "what"), sy_json_text(j, k->what);
    sy_json_key(j, "source"), sy_json_text(j, k->source);
    sy_json_key(j, "licence"), sy_json_text(j, k->licence);
    sy_json_key(j, "get"), sy_json_text(j, k->get);
    sy_json_key(j, "options"), sy_json_text(j, k->options);
    sy_json_key(j, "files");
    sy_json_begin(j, '[');
    for (const sy_known_file *f = k->file; f->path; f++) {
        sy_err why;
        const char *path = sy_known_path(f, dirs, 2, a);
        sy_json_begin(j, '{');
        sy_json_key(j, "file"), sy_json_text(j, f->path);
        sy_json_key(j, "domain"), sy_json_text(j, f->domain);
        sy_json_key(j, "bytes"), sy_json_int(j, f->bytes);
        sy_json_key(j, "sha256"), sy_json_text(j, f->sha256);
        sy_json_key(j, "state"), sy_json_text(j, state_of(f, path, check, &why));
        sy_json_key(j, "path"), sy_json_text(j, path);
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
    sy_json_end(j, '}');
}

static void list_text(sy_buf *b, const sy_known *k, const char *const *dirs, bool check, sy_arena *a)
{
    bool whole = true;
    sy_buf_printf(b, "%-12s %s\n             from %s (%s)\n", k->name, k->what, k->source, k->licence);
    for (const sy_known_file *f = k->file; f->path; f++) {
        sy_err why;
        const char *path = sy_known_path(f, dirs, 2, a), *state = state_of(f, path, check, &why);
        whole = whole && path;
        sy_buf_printf(b, "             %-8s %-32s %9lld bytes  sha256 %.16s%s%s\n", state, f->path, (long long)f->bytes, f->sha256, *why.text ? "\n             " : "...",
                      why.text);
    }
    if (!whole) sy_buf_printf(b, "             to have it: %s\n", k->get);
    if (*k->options) sy_buf_printf(b, "             read it with --set %s\n", k->options);
}

static sy_status list(sy_cli *cli, const args *arg, sy_err *err)
{
    const char *dirs[2] = { arg->data_dir, getenv("SY_DATA") };
    sy_buf b = { 0 };
    sy_json j;
    if (cli->json) {
        sy_json_open(&j, &b, 2);
        sy_json_begin(&j, '[');
        for (const sy_known *k = sy_known_data; k->name; k++) list_json(&j, k, dirs, arg->check, &cli->arena);
        sy_json_end(&j, ']');
        sy_buf_text(&b, "\n");
    } else {
        for (const sy_known *k = sy_known_data; k->name; k++) list_text(&b, k, dirs, arg->check, &cli->arena);
        if (!dirs[0] && !dirs[1]) sy_buf_text(&b, "\nNo folder was looked into: name it by --data-dir or in SY_DATA.\n");
    }
    return print_buf(&b, err);
}

/* --- preview ---------------------------------------------------------------------------------------------------------------- */

typedef struct painter {                /* "" everywhere unless standard output is a terminal that wants colour */
    const char *token[2], *masked, *end, *head, *off;
} painter;

static painter painter_for_stdout(void)
{
    const char *term = getenv("TERM"), *no = getenv("NO_COLOR");
    if (!isatty(STDOUT_FILENO) || (no && *no) || !term || !strcmp(term, "dumb")) return (painter){ { "", "" }, "", "", "", "" };
    return (painter){ { "\033[36m", "\033[33m" }, "\033[2m", "\033[1;31m", "\033[1m", "\033[0m" };
}

/* Text for a terminal: line breaks, tabs, controls and bytes that are not UTF-8 are written out. */
static void put_visible(sy_buf *b, const char *t, size_t n)
{
    for (size_t i = 0; i < n; ) {
        uint32_t cp;
        int len = sy_utf8_next(t + i, n - i, &cp);
        if (t[i] == '\n') sy_buf_text(b, "\\n");
        else if (t[i] == '\t') sy_buf_text(b, "\\t");
        else if (len > 0 && cp >= 32 && cp != 127 && !(cp >= 0x80 && cp < 0xA0) && !(cp >= 0x200B && cp <= 0x200F) && !(cp >= 0x2028 && cp <= 0x202E) &&
                 !(cp >= 0x2066 && cp <= 0x2069)) sy_buf_put(b, t + i, (size_t)len);
        else for (int k = 0; k < (len < 0 ? -len : len); k++) sy_buf_printf(b, "\\x%02X", (unsigned char)t[i + (size_t)k]);
        i += (size_t)(len < 0 ? -len : len);
    }
}

/* Pieces of bytes that share one look are put out together, so that characters of several byte tokens stay whole. */
static void put_tokens(sy_buf *b, const sy_tokenizer *tok, const int *id, const int *label, int n, const painter *p, bool bytes)
{
    sy_buf run = { 0 };
    for (int i = 0; i < n; i++) {
        bool masked = label[i] < 0, edge = i + 1 == n || (label[i + 1] < 0) != masked;
        size_t len;
        const char *text = sy_tokenizer_piece(tok, id[i], &len), *special = sy_tokenizer_special(tok, id[i]);
        sy_buf_put(&run, special ? special : text, special ? strlen(special) : len);
        if (bytes && !edge) continue;
        sy_buf_text(b, masked ? p->masked : p->token[bytes ? 0 : i % 2]);
        if (masked && !*p->off && (i == 0 || bytes || label[i - 1] >= 0)) sy_buf_text(b, "[[");
        put_visible(b, run.data ? run.data : "", run.n);
        if (masked && !*p->off && edge) sy_buf_text(b, "]]");
        else if (!bytes && !*p->off && i + 1 < n) sy_buf_text(b, "|");
        sy_buf_text(b, p->off);
        b->failed = b->failed || run.failed;
        sy_buf_clear(&run);
    }
    sy_buf_free(&run);
}

static void text_rows(sy_buf *b, const sy_data *d, const sy_tokenizer *tok, const sy_batch *batch, int seq_len)
{
    painter p = painter_for_stdout();
    int eot = sy_tokenizer_eot(tok);
    bool bytes = sy_tokenizer_vocab(tok) <= 257;
    for (int s = 0; s < batch->n_seg; s++) {
        const sy_segment *g = &batch->seg[s];
        const int *label = batch->label + g->row;
        uint64_t row = batch->seq_no[s] / (uint64_t)seq_len;
        int masked = 0;
        bool ends = eot >= 0 && label[g->n - 1] == eot;
        if (s == 0 || batch->seq_no[s - 1] / (uint64_t)seq_len != row)
            sy_buf_printf(b, "%srow %llu, domain %s%s\n", p.head, (unsigned long long)row, sy_data_domain(d, batch->domain[g->row])->name, p.off);
        for (int i = 0; i < g->n; i++) masked += label[i] < 0;
        sy_buf_printf(b, "  %d tokens, %d without a loss, %s\n  ", g->n, masked, ends ? "then the document ends" : "the document goes on or its end is not predicted");
        put_tokens(b, tok, batch->id + g->row, label, g->n, &p, bytes);
        sy_buf_printf(b, "%s%s%s\n", p.end, ends ? "<end>" : ">", p.off);
    }
}

static void json_rows(sy_json *j, const sy_data *d, const sy_batch *batch, int seq_len)
{
    sy_json_key(j, "segments");
    sy_json_begin(j, '[');
    for (int s = 0; s < batch->n_seg; s++) {
        const sy_segment *g = &batch->seg[s];
        sy_json_begin(j, '{');
        sy_json_key(j, "row"), sy_json_int(j, (long long)(batch->seq_no[s] / (uint64_t)seq_len));
        sy_json_key(j, "seq_no"), sy_json_int(j, (long long)batch->seq_no[s]);
        sy_json_key(j, "domain"), sy_json_text(j, sy_data_domain(d, batch->domain[g->row])->name);
        for (int what = 0; what < 2; what++) {
            sy_json_key(j, what ? "labels" : "ids");
            sy_json_begin(j, '[');
            for (int i = 0; i < g->n; i++) sy_json_int(j, (what ? batch->label : batch->id)[g->row + i]);
            sy_json_end(j, ']');
        }
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
}

static void text_domains(sy_buf *b, const sy_data *d)
{
    sy_buf_printf(b, "%-20s %6s %7s %8s %8s %7s %12s %10s %11s %12s\n", "domain", "weight", "files", "binary", "texts", "empty", "train tokens", "bytes/tok", "no loss",
                  "held out");
    for (int i = 0; i < sy_data_domains(d); i++) {
        const sy_domain *m = sy_data_domain(d, i);
        int64_t tokens = m->train_tokens + m->eval_tokens, bytes = m->train_bytes + m->eval_bytes;
        sy_buf_printf(b, "%-20s %6.3f %7lld %8lld %8lld %7lld %12lld %10.2f %11lld %12lld\n", m->name, m->weight, (long long)m->files, (long long)m->skipped, (long long)m->docs,
                      (long long)m->empty, (long long)m->train_tokens, tokens ? (double)bytes / (double)tokens : 0, (long long)m->masked, (long long)m->eval_tokens);
    }
}

static void json_domains(sy_json *j, const sy_data *d)
{
    sy_json_key(j, "domains");
    sy_json_begin(j, '[');
    for (int i = 0; i < sy_data_domains(d); i++) {
        const sy_domain *m = sy_data_domain(d, i);
        const struct { const char *key; int64_t v; } field[] = {
            { "files", m->files }, { "binary", m->skipped }, { "texts", m->docs }, { "empty", m->empty }, { "train_tokens", m->train_tokens },
            { "train_bytes", m->train_bytes }, { "eval_tokens", m->eval_tokens }, { "eval_bytes", m->eval_bytes }, { "masked", m->masked },
        };
        sy_json_begin(j, '{');
        sy_json_key(j, "name"), sy_json_text(j, m->name);
        sy_json_key(j, "weight"), sy_json_real(j, m->weight);
        for (size_t f = 0; f < SY_COUNT(field); f++) sy_json_key(j, field[f].key), sy_json_int(j, field[f].v);
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
}

static sy_status show(sy_cli *cli, const args *arg, const sy_config *c, const sy_tokenizer *tok, sy_data *d, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_batch batch = { 0 };
    bool train = sy_data_epoch_rows(d) > 0;
    if (train) SY_TRY(sy_data_rows(d, arg->first, arg->rows ? arg->rows : 4, &cli->arena, &batch, err));
    if (cli->json) {
        sy_json_open(&j, &b, 0);
        sy_json_begin(&j, '{');
        sy_json_key(&j, "id"), sy_json_text(&j, sy_data_id(d));
        sy_json_key(&j, "epoch_rows"), sy_json_int(&j, sy_data_epoch_rows(d));
        json_domains(&j, d);
        json_rows(&j, d, &batch, c->data.seq_len);
        sy_json_end(&j, '}');
        sy_buf_text(&b, "\n");
    } else {
        text_domains(&b, d);
        sy_buf_printf(&b, "\n%lld rows of at most %d tokens pass once over all that is trained on; data id %s\n\n", (long long)sy_data_epoch_rows(d), c->data.seq_len, sy_data_id(d));
        text_rows(&b, d, tok, &batch, c->data.seq_len);
    }
    return print_buf(&b, err);
}

static sy_status preview(sy_cli *cli, const args *arg, sy_err *err)
{
    sy_config c;
    sy_tokenizer *tok = NULL;
    sy_data *d = NULL;
    sy_config_defaults(&c);
    SY_TRY(sy_set_sources(cli, &arg->data, &c.corpus.data, err));
    SY_TRY(sy_set_sources(cli, &arg->eval_data, &c.corpus.eval_data, err));
    c.corpus.tokenizer = arg->tokenizer ? arg->tokenizer : "bytes+eot";
    if (arg->seq_len) c.data.seq_len = arg->seq_len;
    for (int i = 0; i < arg->set.n; i++) SY_TRY(sy_within(err, sy_opt_parse(sy_data_opts, &c.data, arg->set.v[i], &cli->arena, NULL, err), "--set %s", arg->set.v[i]));
    SY_TRY(sy_open_tokenizer(cli, &c, &tok, err));
    sy_status st = sy_open_data(cli, &c, tok, NULL, &d, err);
    if (st == SY_OK) st = show(cli, arg, &c, tok, d, err);
    sy_data_close(d);
    sy_tokenizer_close(tok);
    return st;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)n;
    if (!strcmp(words[0], "list")) return list(cli, a, err);
    if (!strcmp(words[0], "preview")) return preview(cli, a, err);
    return sy_fail(err, SY_EARG, "data %.40s: it is data preview or data list", words[0]);
}

const sy_command sy_cmd_data = {
    .name = "data", .summary = "look at data as a model sees it; list the data sets that go by a name", .usage = "preview --data SOURCE ... | list [--data-dir DIR]",
    .text = "preview reads sources as train does and shows their domains and the first rows: tokens in turning colours, dim (or in [[ ]]) what has no\n"
            "loss, and where documents end. A row holds documents that do not see each other; one that is longer than a row is cut.\n"
            "list shows each named data set with its licence, where it comes from, and whether its files are in --data-dir or $SY_DATA.",
    .example = "switchyard data preview --data prose=book.txt@3 --data qa.jsonl@1 --seq-len 128\nswitchyard data list --data-dir ~/data --check",
    .flags = flags, .size = sizeof(args), .min_words = 1, .max_words = 1, .run = run,
};
