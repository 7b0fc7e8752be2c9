/* data/data.c - opened corpora: domains, the split, rows in their order, held-out windows. */
#include "data/data.h"

#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/random.h"
#include "core/sha256.h"
#include "data/order.h"
#include "data/read.h"
#include "model/tokenizer.h"

const sy_opt sy_data_opts[] = {
    SY_INT (sy_data_options, seq_len, "context", 256, 1, 1048576, "most tokens of a row; longer documents are cut"),
    SY_REAL(sy_data_options, val_fraction, NULL, 0.1, 0, 0.9, "share of each source, from its end, that is held out for evaluation"),
    SY_BOOL(sy_data_options, shuffle, NULL, true, "shuffle documents and rows; false keeps the order of the sources"),
    SY_BOOL(sy_data_options, mask_prompt, NULL, true, "no loss on prompts and on what the user says"),
    SY_TEXT(sy_data_options, text_field, NULL, "text", "field of a JSON line that holds its text"),
    SY_TEXT(sy_data_options, messages_field, NULL, "messages", "field of a JSON line that holds a conversation"),
    SY_TEXT(sy_data_options, prompt_field, NULL, "prompt", "field of a JSON line that holds what comes before the answer"),
    SY_TEXT(sy_data_options, completion_field, NULL, "completion", "field of a JSON line that holds the answer"),
    SY_TEXT(sy_data_options, chat_template, NULL, "", "model folder, GGUF or .jinja file whose chat template writes conversations; empty: the tokenizer's own, else lines; none: lines"),
    SY_INT (sy_data_options, max_line_mb, NULL, 64, 1, 2047, "longest JSON line that is read, in MiB"),
    { 0 }
};

typedef struct domain {
    sy_domain info;
    sy__part *part;                     /* [parts] training parts first */
    int       parts, train_parts;
    sy__order order;
    int64_t   epoch_rows;               /* of epoch 0 */
} domain;

struct sy_data {
    sy_arena        arena;
    sy_data_options opt;                /* texts copied into the arena */
    const sy_tokenizer *tok;
    sy_chat        *chat;               /* while shards are made; NULL: conversations as lines */
    sy_specials    *specials;
    int             vocab, eot;
    uint64_t        seed;
    domain         *d;
    int             n, n_train;         /* domains; those that are trained on come first */
    double         *weight;             /* [n_train] */
    int64_t        *taken;              /* [n_train] rows of each domain before row `k` */
    int64_t         k;
    char            id[33];
    const char     *place;              /* what errors name: the folder of the shards */
};

/* ---- opening ---- */

static sy_status no_memory(sy_err *err) { return sy_fail(err, SY_ENOMEM, "no memory for the list of domains"); }

static int domain_at(sy_data *d, const char *name)
{
    for (int i = 0; i < d->n; i++)
        if (!strcmp(d->d[i].info.name, name)) return i;
    return -1;
}

/* Where the held-out end begins. A document is not cut for it when a border between documents lies near: the share that is held out
 * then stays between half and twice of what was asked for. */
static uint64_t split_at(const sy__shard *s, double fraction)
{
    uint64_t n = s->h.tokens, out = (uint64_t)((double)n * fraction), at = n - out, lo = 0, hi = s->h.docs;
    if (!out) return n;
    while (hi - lo > 1) {                            /* the document that holds token `at` */
        uint64_t mid = lo + (hi - lo) / 2;
        if (s->doc_token[mid] <= at) lo = mid;
        else hi = mid;
    }
    uint64_t border[2] = { s->doc_token[lo], s->doc_token[lo + 1] }, best = at, off = UINT64_MAX;
    for (int i = 0; i < 2; i++) {
        uint64_t kept = n - border[i], away = border[i] < at ? at - border[i] : border[i] - at;
        if (border[i] && kept >= (out + 1) / 2 && kept <= 2 * out && away < off) {
            best = border[i];
            off = away;
        }
    }
    return best;
}

/* Bytes of the text that tokens from .. to-1 stand for. */
static int64_t bytes_of(const sy_data *d, const sy__shard *s, uint64_t from, uint64_t to)
{
    int64_t sum = 0;
    for (uint64_t i = from; i < to; i++) {
        uint32_t id = sy__shard_id(s, i);
        sum += id < (uint32_t)d->vocab ? sy_tokenizer_bytes(d->tok, (int)id) : 0;
    }
    return sum;
}

static void count_part(const sy_data *d, sy_domain *info, const sy__part *p)
{
    const sy__shard *s = &p->shard;
    uint64_t doc = 0;
    info->files += (int64_t)s->h.files;
    info->skipped += (int64_t)s->h.skipped;
    info->docs += (int64_t)s->h.docs;
    info->empty += (int64_t)s->h.empty;
    info->cached = info->cached && s->cached;
    info->train_tokens += (int64_t)p->split;
    info->eval_tokens += (int64_t)(s->h.tokens - p->split);
    while (doc < s->h.docs && s->doc_token[doc + 1] <= p->split) doc++;
    int64_t head = (int64_t)s->doc_byte[doc] + bytes_of(d, s, s->doc_token[doc], p->split);
    info->train_bytes += head;
    info->eval_bytes += (int64_t)s->h.text_bytes - head;
    for (uint64_t i = 0; s->mask && i < p->split; i++) info->masked += !sy__shard_counts(s, i);
}

typedef struct opening {                /* what a source brought, while domains are put together */
    sy__groups groups;
    int        n_train;                 /* specs to train on; later ones are evaluated only */
    sy__shard *shard;                   /* [groups.n] */
} opening;

static sy_status read_groups(sy_data *d, opening *o, const sy_sources *src, sy_err *err)
{
    o->shard = sy_arena_array(&d->arena, (size_t)o->groups.n, sizeof *o->shard);
    if (!o->shard) return no_memory(err);
    for (int i = 0, from = 0; i < o->groups.n; i++) {
        const sy__group *g = &o->groups.g[i];
        sy__shard_job job = { g, &d->opt, d->tok, src->cache_dir, src->progress, src->arg, &d->arena, d->chat, d->specials };
        SY_TRY(sy__shard_open(&o->shard[i], &job, err));
        if (i + 1 < o->groups.n && o->groups.g[i + 1].source == g->source) continue;
        uint64_t docs = 0, skipped = 0, empty = 0;   /* that was the last group of this source */
        for (int j = from; j <= i; j++) {
            docs += o->shard[j].h.docs;
            skipped += o->shard[j].h.skipped;
            empty += o->shard[j].h.empty;
        }
        if (!docs) {
            const char *spec = g->source < o->n_train ? src->train[g->source] : src->eval[g->source - o->n_train];
            return sy_fail(err, SY_EARG, "data '%s' holds no text: %llu binary files, %llu empty documents; give a file or folder of plain text or JSON lines", spec, (unsigned long long)skipped,
                           (unsigned long long)empty);
        }
        from = i + 1;
    }
    return SY_OK;
}

/* Domains in the order in which sources name them; groups of one name become parts of one domain. A group without text is none. */
static sy_status join_domains(sy_data *d, const opening *o, bool held_out, sy_err *err)
{
    d->d = sy_arena_array(&d->arena, (size_t)o->groups.n, sizeof *d->d);
    if (!d->d) return no_memory(err);
    for (int i = 0; i < o->groups.n; i++) {
        const sy__group *g = &o->groups.g[i];
        bool train = g->source < o->n_train;
        if (!o->shard[i].h.docs) continue;
        int at = domain_at(d, g->domain);
        if (at < 0) {
            at = d->n++;
            d->d[at].info.name = g->domain;
            d->d[at].info.cached = true;
            d->d[at].part = sy_arena_array(&d->arena, (size_t)o->groups.n, sizeof *d->d[at].part);
            if (!d->d[at].part) return no_memory(err);
            d->n_train += train;
        }
        domain *m = &d->d[at];
        sy__part *p = &m->part[m->parts++];
        *p = (sy__part){ o->shard[i], train ? o->shard[i].h.tokens : 0, g->source };
        if (train && held_out) p->split = split_at(&p->shard, d->opt.val_fraction);
        m->train_parts += train;
        count_part(d, &m->info, p);
        if (m->parts > INT16_MAX) return sy_fail(err, SY_EARG, "domain '%s' has more than %d sources", g->domain, INT16_MAX);
    }
    for (int i = 0; i < o->groups.n; i++) {          /* what was left out is counted where the source has text */
        if (o->shard[i].h.docs) continue;
        int j = 0;
        while (o->groups.g[j].source != o->groups.g[i].source || !o->shard[j].h.docs) j++;
        sy_domain *info = &d->d[domain_at(d, o->groups.g[j].domain)].info;
        info->skipped += (int64_t)o->shard[i].h.skipped;
        info->empty += (int64_t)o->shard[i].h.empty;
    }
    return SY_OK;
}

/* A weight is a share of the rows; all sources have one or none has. Without, domains get their share by their rows, so that one pass
 * over each ends at about the same time. */
static sy_status set_weights(sy_data *d, const opening *o, sy_err *err)
{
    const sy__group *with = NULL, *without = NULL;
    double total = 0;
    for (int i = 0; i < o->groups.n; i++) {
        const sy__group *g = &o->groups.g[i];
        if (g->source < o->n_train) *(g->weighted ? &with : &without) = g;
        else if (g->weighted) return sy_fail(err, SY_EARG, "source of domain '%s': what is only evaluated takes no weight", g->domain);
    }
    if (with && without)
        return sy_fail(err, SY_EARG, "domain '%s' has a weight and '%s' has none: give every source a weight, or none", with->domain, without->domain);
    for (int i = 0; i < d->n_train; i++) {
        if (!with) d->weight[i] = (double)d->d[i].epoch_rows;
        for (int j = 0; with && j < o->groups.n; j++) {
            const sy__group *g = &o->groups.g[j];
            if (g->source >= o->n_train || strcmp(g->domain, d->d[i].info.name) || !o->shard[j].h.docs) continue;
            double whole = 0;                        /* a folder's weight is shared among its domains by their tokens */
            for (int l = 0; l < o->groups.n; l++)
                if (o->groups.g[l].source == g->source) whole += (double)o->shard[l].h.tokens;
            d->weight[i] += g->weight * (double)o->shard[j].h.tokens / whole;
        }
        total += d->weight[i];
    }
    for (int i = 0; i < d->n_train; i++) d->d[i].info.weight = d->weight[i] /= total;
    return SY_OK;
}

static sy_status open_orders(sy_data *d, sy_err *err)
{
    for (int i = 0; i < d->n_train; i++) {
        domain *m = &d->d[i];
        m->order = (sy__order){ .part = m->part, .parts = m->train_parts, .T = d->opt.seq_len, .shuffle = d->opt.shuffle, .eot = d->eot >= 0,
                                .seed = d->seed, .domain = (uint64_t)i };
        SY_TRY(sy_within(err, sy__order_open(&m->order, &d->arena, err), "domain '%s'", m->info.name));
        m->epoch_rows = m->order.rows;
        if (!m->order.rows)
            return sy_fail(err, SY_EARG, "domain '%s' has nothing to train on: %lld tokens, %lld of them masked, %lld more held out", m->info.name,
                           (long long)m->info.train_tokens, (long long)m->info.masked, (long long)m->info.eval_tokens);
    }
    return SY_OK;
}

/* What decides the rows, and nothing else: the same id on another machine means the same stream. */
static void make_id(sy_data *d)
{
    sy_sha256 s;
    uint8_t digest[32];
    sy_sha256_start(&s);
    sy_sha256_text(&s, "rows 1");
    sy_sha256_u64(&s, (uint64_t)d->opt.seq_len);
    sy_sha256_u64(&s, d->opt.shuffle);
    sy_sha256_u64(&s, d->seed);
    sy_sha256_u64(&s, (uint64_t)(int64_t)d->eot);
    for (int i = 0; i < d->n; i++) {
        const domain *m = &d->d[i];
        sy_sha256_text(&s, m->info.name);
        sy_sha256_add(&s, &m->info.weight, sizeof m->info.weight);
        for (int p = 0; p < m->parts; p++) {
            sy_sha256_u64(&s, m->part[p].shard.h.sum);
            sy_sha256_u64(&s, m->part[p].shard.h.tokens);
            sy_sha256_u64(&s, m->part[p].split);
        }
    }
    sy_sha256_end(&s, digest);
    sy_hex(digest, 16, d->id);
}

static sy_status copy_options(sy_data *d, const sy_data_options *o, sy_err *err)
{
    d->opt = *o;
    const char **text[] = { &d->opt.text_field, &d->opt.messages_field, &d->opt.prompt_field, &d->opt.completion_field };
    for (size_t i = 0; i < SY_COUNT(text); i++)
        if (!(*text[i] = sy_arena_strdup(&d->arena, *text[i]))) return no_memory(err);
    return SY_OK;
}

/* st, or SY_EIO when a shard was cut short under us. */
static sy_status data_status(const sy_data *d, sy_status st, sy_err *err)
{
    for (int i = 0; i < d->n; i++)
        for (int p = 0; p < d->d[i].parts; p++) {
            sy_status one = sy_map_status(&d->d[i].part[p].shard.map, d->place, SY_OK, err);
            if (one != SY_OK) return one;
        }
    return st;
}

/* Puts domains, orders and weights together out of the shards. */
static sy_status join_all(sy_data *d, opening *o, bool held_out, sy_err *err)
{
    SY_TRY(join_domains(d, o, held_out, err));
    d->weight = sy_arena_array(&d->arena, (size_t)d->n_train, sizeof *d->weight);
    d->taken = sy_arena_array(&d->arena, (size_t)d->n_train, sizeof *d->taken);
    if (!d->weight || !d->taken) return no_memory(err);
    SY_TRY(open_orders(d, err));
    SY_TRY(set_weights(d, o, err));
    make_id(d);
    return SY_OK;
}

static sy_status open_all(sy_data *d, opening *o, const sy_sources *src, const sy_data_options *opt, sy_err *err)
{
    SY_TRY(copy_options(d, opt, err));
    o->groups.arena = &d->arena;
    o->n_train = src->n_train;
    for (int i = 0; i < src->n_train; i++) SY_TRY(sy__source_open(&o->groups, src->train[i], i, err));
    for (int i = 0; i < src->n_eval; i++) SY_TRY(sy__source_open(&o->groups, src->eval[i], src->n_train + i, err));
    if (!o->groups.n) return sy_fail(err, SY_EARG, "no data: name a file or a folder by --data");
    d->place = src->cache_dir ? sy_arena_printf(&d->arena, "a token cache in %s", src->cache_dir) : "the tokens in memory";
    if (!d->place) return no_memory(err);
    SY_TRY(read_groups(d, o, src, err));
    return data_status(d, join_all(d, o, !src->n_eval && opt->val_fraction > 0, err), err);
}

static sy_status open_chat(sy_data *d, const char *path, sy_err *err)
{
    if (!path || !*path || !strcmp(path, "none")) return SY_OK;
    SY_TRY(sy_within(err, sy_chat_load(&d->chat, path, err), "chat_template"));
    if (!d->chat) return sy_fail(err, SY_ENOENT, "chat_template: '%s' brings no chat template; give a model folder, a GGUF or a .jinja file that does", path);
    return sy_specials_open(&d->specials, d->tok, err);
}

sy_status sy_data_open(sy_data **out, const sy_sources *src, const sy_data_options *opt, const sy_tokenizer *tok, uint64_t seed, sy_err *err)
{
    sy_data *d = sy_calloc(1, sizeof *d);
    opening o = { 0 };
    if (!d) return sy_fail(err, SY_ENOMEM, "no memory for the data");
    d->tok = tok;
    d->vocab = sy_tokenizer_vocab(tok);
    d->eot = sy_tokenizer_eot(tok);
    d->seed = seed;
    sy_status status = open_chat(d, opt->chat_template, err);
    if (status == SY_OK) status = open_all(d, &o, src, opt, err);
    sy_specials_close(d->specials);                  /* the text is ids by now */
    sy_chat_close(d->chat);
    d->specials = NULL;
    d->chat = NULL;
    for (int i = 0; o.shard && i < o.groups.n; i++)  /* those with text belong to their domains once all is well */
        if (status != SY_OK || !o.shard[i].h.docs) sy__shard_close(&o.shard[i]);
    if (status != SY_OK) {
        sy_arena_free(&d->arena);
        sy_free(d);
        return status;
    }
    *out = d;
    return SY_OK;
}

void sy_data_close(sy_data *d)
{
    if (!d) return;
    for (int i = 0; i < d->n; i++)
        for (int p = 0; p < d->d[i].parts; p++) sy__shard_close(&d->d[i].part[p].shard);
    sy_arena_free(&d->arena);
    sy_free(d);
}

int sy_data_domains(const sy_data *d) { return d->n; }
const sy_domain *sy_data_domain(const sy_data *d, int i) { return &d->d[i].info; }
int sy_data_find(const sy_data *d, const char *name) { return domain_at((sy_data *)d, name); }
const char *sy_data_id(const sy_data *d) { return d->id; }

int64_t sy_data_epoch_rows(const sy_data *d)
{
    int64_t sum = 0;
    for (int i = 0; i < d->n_train; i++) sum += d->d[i].epoch_rows;
    return sum;
}

/* ---- batches ---- */

typedef struct writer {                 /* a batch while it is filled */
    const sy_data *d;
    int       *id, *label, *pos, *seq, *domain;
    sy_segment *seg;
    uint64_t  *seq_no;
    int        T, n_seg, room;
} writer;

static sy_status writer_open(writer *w, const sy_data *d, int rows, sy_arena *a, sy_err *err)
{
    if (rows < 1 || rows > INT32_MAX / d->opt.seq_len)
        return sy_fail(err, SY_EARG, "%d rows of %d tokens are no batch", rows, d->opt.seq_len);
    *w = (writer){ .d = d, .room = rows * d->opt.seq_len };
    size_t n = (size_t)w->room;
    int **lists[] = { &w->id, &w->label, &w->pos, &w->seq, &w->domain };
    bool ok = true;
    for (size_t i = 0; i < SY_COUNT(lists); i++) ok = (*lists[i] = sy_arena_alloc(a, n * sizeof **lists[i])) && ok;
    w->seg = sy_arena_alloc(a, sy_mul_size(n, sizeof *w->seg));         /* a segment may be one token long: sized for the worst, touched as needed */
    w->seq_no = sy_arena_alloc(a, n * sizeof *w->seq_no);
    if (!ok || !w->seg || !w->seq_no) return sy_fail(err, SY_ENOMEM, "no memory for a batch of %d tokens", w->room);
    return SY_OK;
}

static void writer_close(const writer *w, sy_batch *b)
{
    *b = (sy_batch){ .T = w->T, .n_seg = w->n_seg, .id = w->id, .label = w->label, .pos = w->pos, .seq = w->seq, .domain = w->domain, .seg = w->seg,
                     .seq_no = w->seq_no };
}

static sy_status token(const sy_data *d, const sy__shard *s, uint64_t i, int *id, sy_err *err)
{
    uint32_t v = sy__shard_id(s, i);
    if (v >= (uint32_t)d->vocab)
        return sy_fail(err, SY_EFORMAT, "token %llu of the cache '%s' is %u, the vocabulary has %d: delete that file", (unsigned long long)i, s->path, v, d->vocab);
    *id = (int)v;
    return SY_OK;
}

static sy_status write_piece(writer *w, int domain, const sy__shard *s, const sy__piece *p, uint64_t seq_no, sy_err *err)
{
    int n = p->len, *id = w->id + w->T, *label = w->label + w->T;
    for (int i = 0; i < n; i++) {
        SY_TRY(token(w->d, s, p->start + (uint64_t)i, &id[i], err));
        w->pos[w->T + i] = i;
        w->seq[w->T + i] = w->n_seg;
        w->domain[w->T + i] = domain;
        if (i) label[i - 1] = sy__shard_counts(s, p->start + (uint64_t)i) ? id[i] : -1;
    }
    if (p->last) label[n - 1] = sy__shard_counts(s, p->start + (uint64_t)n - 1) ? w->d->eot : -1;
    else {
        int next;
        SY_TRY(token(w->d, s, p->start + (uint64_t)n, &next, err));
        label[n - 1] = sy__shard_counts(s, p->start + (uint64_t)n) ? next : -1;
    }
    w->seg[w->n_seg] = (sy_segment){ .row = w->T, .n = n };
    w->seq_no[w->n_seg++] = seq_no;
    w->T += n;
    return SY_OK;
}

static sy_status fill_rows(sy_data *d, writer *w, int64_t first, int rows, sy_err *err)
{
    if (first < d->k) {
        memset(d->taken, 0, (size_t)d->n_train * sizeof *d->taken);
        d->k = 0;
    }
    for (; d->k < first; d->k++) d->taken[sy__turn(d->weight, d->taken, d->n_train, d->k)]++;
    for (int r = 0; r < rows; r++) {
        int turn = sy__turn(d->weight, d->taken, d->n_train, d->k);
        domain *m = &d->d[turn];
        uint64_t seq_no = (uint64_t)d->k++ * (uint64_t)d->opt.seq_len;
        for (int32_t i = sy__order_row(&m->order, d->taken[turn]++); i >= 0; i = m->order.next[i]) {
            const sy__piece *p = &m->order.piece[i];
            SY_TRY(write_piece(w, turn, &m->part[p->part].shard, p, seq_no, err));
            seq_no += (uint64_t)p->len;
        }
    }
    return SY_OK;
}

sy_status sy_data_rows(sy_data *d, int64_t first, int rows, sy_arena *a, sy_batch *batch, sy_err *err)
{
    writer w;
    if (!d->n_train) return sy_fail(err, SY_EARG, "there is no data to train on: it was opened for evaluation only");
    if (first < 0) return sy_fail(err, SY_EARG, "row %lld of the data order", (long long)first);
    SY_TRY(writer_open(&w, d, rows, a, err));
    sy_status st = data_status(d, fill_rows(d, &w, first, rows, err), err);
    if (st == SY_OK) writer_close(&w, batch);
    return st;
}

static sy_status count_ids(const sy_data *d, int64_t *count, sy_err *err)
{
    for (int i = 0; i < d->n_train; i++)
        for (int p = 0; p < d->d[i].train_parts; p++) {
            const sy__part *part = &d->d[i].part[p];
            for (uint64_t t = 0; t < part->split; t++) {
                int id = 0;
                SY_TRY(token(d, &part->shard, t, &id, err));
                count[id]++;
            }
        }
    return SY_OK;
}

sy_status sy_data_count_ids(const sy_data *d, int64_t *count, int vocab, sy_err *err)
{
    if (vocab < d->vocab) return sy_fail(err, SY_ESHAPE, "counts of %d ids, the tokenizer has %d", vocab, d->vocab);
    return data_status(d, count_ids(d, count, err), err);
}

/* ---- held-out text ---- */

sy_status sy_eval_start(sy_eval *it, const sy_data *d, int domain, int rows, sy_err *err)
{
    if (domain < 0 || domain >= d->n) return sy_fail(err, SY_EARG, "domain %d of %d", domain, d->n);
    if (!d->d[domain].info.eval_tokens)
        return sy_fail(err, SY_EARG, "domain '%s' has no held-out text: set val_fraction above 0 or give --eval-data", d->d[domain].info.name);
    *it = (sy_eval){ .data = d, .domain = domain, .rows = rows };
    return SY_OK;
}

/* The next window, or false at the end. */
static bool next_window(const sy_eval *it, int64_t *part, int64_t *doc, int64_t *at, sy__piece *p)
{
    const sy_data *d = it->data;
    const domain *m = &d->d[it->domain];
    for (; *part < m->parts; ++*part, *doc = *at = 0) {
        const sy__shard *s = &m->part[*part].shard;
        for (; (uint64_t)*doc < s->h.docs; ++*doc, *at = 0) {
            uint64_t b, e;
            bool last;
            sy__doc_inputs(s, (uint64_t)*doc, m->part[*part].split, s->h.tokens, d->eot >= 0, &b, &e, &last);
            for (b += (uint64_t)*at; b < e; ) {
                uint64_t len = e - b < (uint64_t)d->opt.seq_len ? e - b : (uint64_t)d->opt.seq_len;
                *p = (sy__piece){ b, (int32_t)len, (int16_t)*part, last && b + len == e };
                *at += (int64_t)len;
                if (sy__piece_counts(s, p)) return true;
                b += len;
            }
        }
    }
    return false;
}

static sy_status fill_windows(sy_eval *to, writer *w, sy_err *err)
{
    for (;;) {
        int64_t part = to->part, doc = to->doc, at = to->at;
        sy__piece p;
        if (!next_window(to, &part, &doc, &at, &p)) break;
        if (p.len > w->room - w->T) break;       /* it opens the next batch */
        SY_TRY(write_piece(w, to->domain, &to->data->d[to->domain].part[p.part].shard, &p, (uint64_t)to->index, err));
        to->index += p.len;
        to->part = part;
        to->doc = doc;
        to->at = at;
    }
    return SY_OK;
}

sy_status sy_eval_next(sy_eval *it, sy_arena *a, sy_batch *batch, bool *more, sy_err *err)
{
    const sy_data *d = it->data;
    sy_eval to = *it;                                /* moves on only when all went well */
    writer w;
    SY_TRY(writer_open(&w, d, it->rows, a, err));
    SY_TRY(data_status(d, fill_windows(&to, &w, err), err));
    for (int i = 0; i < w.T; i++) {
        if (w.label[i] < 0) continue;
        to.tokens++;
        to.bytes += sy_tokenizer_bytes(d->tok, w.label[i]);
    }
    *more = w.T > 0;
    if (*more) writer_close(&w, batch);
    *it = to;
    return SY_OK;
}

/* ---- text without tokens ---- */

typedef struct text_walk {
    const char *domain;
    sy_status (*fn)(void *, const char *, const char *, size_t, sy_err *);
    void  *arg;
    double room;                        /* bytes of this domain that may still be given */
    bool   full;
} text_walk;

static sy_status text_take(void *arg, const char *text, size_t bytes, bool counted, sy_err *err)
{
    (void)counted;
    text_walk *w = arg;
    if (w->room < (double)bytes) {
        bytes = w->room > 0 ? (size_t)w->room : 0;
        w->full = true;
    }
    w->room -= (double)bytes;
    return bytes ? w->fn(w->arg, w->domain, text, bytes, err) : SY_OK;
}

static sy_status text_end(void *arg, sy_err *err)
{
    (void)arg, (void)err;
    return SY_OK;
}

static sy_status text_count(void *arg, const char *text, size_t bytes, bool counted, sy_err *err)
{
    (void)text, (void)counted, (void)err;
    *(double *)arg += (double)bytes;
    return SY_OK;
}

static sy_status text_group(const sy__group *g, const sy_data_options *opt, double share, text_walk *w, sy_err *err)
{
    double bytes = 0;
    bool binary;
    sy__sink count = { .arg = &bytes, .text = text_count, .end = text_end }, give = { .arg = w, .text = text_take, .end = text_end };
    for (int i = 0; i < g->n; i++) SY_TRY(sy__read_file(&g->file[i], opt, &count, &binary, err));
    w->domain = g->domain;
    w->room = bytes * share;
    w->full = false;
    for (int i = 0; i < g->n && !w->full; i++) SY_TRY(sy__read_file(&g->file[i], opt, &give, &binary, err));
    return SY_OK;
}

sy_status sy_text_each(const char *const *specs, int n, const sy_data_options *opt, double share,
                       sy_status (*fn)(void *arg, const char *domain, const char *text, size_t bytes, sy_err *err), void *arg, sy_err *err)
{
    sy_arena arena = { 0 };
    sy__groups groups = { .arena = &arena };
    text_walk w = { .fn = fn, .arg = arg };
    sy_status status = SY_OK;
    for (int i = 0; i < n && status == SY_OK; i++) status = sy__source_open(&groups, specs[i], i, err);
    for (int i = 0; i < groups.n && status == SY_OK; i++) status = text_group(&groups.g[i], opt, share, &w, err);
    sy_arena_free(&arena);
    return status;
}
