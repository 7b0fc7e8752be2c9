/* infer/trace.c - collecting routes token by token, laying them out by layer, and the file. */
#include "infer/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "model/safetensors.h"

enum { NONE = 65535, MOST_LAYERS = 65536, MOST_DOMAINS = 4096 };

sy_status sy_trace_open_bare(sy_trace *t, int layers, int E, int Z, sy_err *err)
{
    sy_buf b = { 0 };
    *t = (sy_trace){ .E = E, .Z = Z, .K = 1 };
    if ((int64_t)E + Z > NONE) return sy_fail(err, SY_ESHAPE, "%d experts; a trace holds the numbers 0 to %d", E + Z, NONE - 1);
    for (int l = 0; l < layers; l++) sy_buf_printf(&b, "%s%d", l ? " " : "", l);
    t->numbers = sy_strdup(b.data ? b.data : "");
    t->layer = sy_calloc((size_t)layers + 1, sizeof *t->layer);
    bool failed = b.failed || !t->numbers || !t->layer;
    sy_buf_free(&b);
    if (failed) return sy_fail(err, SY_ENOMEM, "no memory for a trace of %d layers", layers);
    t->layers = layers;
    return SY_OK;
}

sy_status sy_trace_open(sy_trace *t, const sy_model *m, sy_err *err)
{
    sy_buf b = { 0 };
    SY_TRY(sy_trace_open_bare(t, m->n_sparse, m->spec.num_experts, m->spec.zero_experts, err));
    for (int l = 0; l < m->spec.num_hidden_layers; l++) if (m->layer[l].sparse) sy_buf_printf(&b, "%s%d", b.n ? " " : "", l);
    sy_free(t->numbers);
    t->numbers = b.failed ? NULL : sy_strdup(b.data ? b.data : "");
    sy_buf_free(&b);
    return t->numbers ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for a trace of %d layers", t->layers);
}

void sy_trace_close(sy_trace *t)
{
    for (int l = 0; l < t->layers; l++) {
        sy_buf_free(&t->layer[l].count);
        sy_buf_free(&t->layer[l].expert);
        sy_buf_free(&t->layer[l].weight);
    }
    sy_buf_free(&t->token);
    sy_free(t->layer);
    sy_free(t->numbers);
    sy_free(t->domains);
    *t = (sy_trace){ 0 };
}

sy_status sy_trace_name(sy_trace *t, const char *const *domain, int n, sy_err *err)
{
    sy_buf b = { 0 };
    for (int i = 0; i < n; i++) sy_buf_printf(&b, "%s%s", i ? " " : "", domain[i]);
    sy_free(t->domains);
    t->domains = b.failed ? NULL : sy_strdup(b.data ? b.data : "");
    sy_buf_free(&b);
    return t->domains ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for the names of %d domains", n);
}

static bool failed(const sy_trace *t)
{
    bool any = t->token.failed;
    for (int l = 0; l < t->layers; l++) any = any || t->layer[l].count.failed || t->layer[l].expert.failed || t->layer[l].weight.failed;
    return any;
}

static void add_slots(sy_trace *t, int l, const sy_route *r, int row)
{
    sy_trace_layer *to = &t->layer[l];
    int32_t count = 0;
    for (int s = r ? r->first_slot[row] : 0; r && s < r->first_slot[row + 1]; s++) {
        if (r->expert[s] < 0) continue;
        float w = (float)r->weight->x[s];
        sy_buf_put(&to->expert, &(int32_t){ r->expert[s] }, sizeof(int32_t));
        sy_buf_put(&to->weight, &w, sizeof w);
        count++;
    }
    sy_buf_put(&to->count, &count, sizeof count);
    if (count > t->K) t->K = count;
}

sy_status sy_trace_add(sy_trace *t, sy_route *const *routes, int row0, const int *id, int n, int pos0, int doc, int domain, sy_err *err)
{
    for (int i = 0; i < n; i++) {
        sy_buf_put(&t->token, &(sy_trace_token){ doc, pos0 + i, id[i], domain }, sizeof(sy_trace_token));
        for (int l = 0; l < t->layers; l++) add_slots(t, l, routes[l], row0 + i);
    }
    t->n += (size_t)n;
    return failed(t) ? sy_fail(err, SY_ENOMEM, "no memory for the routes of %zu tokens", t->n) : SY_OK;
}

/* The slots of one layer, 4 bytes each, as [n,K]. */
static void lay_out(const sy_trace *t, int l, const sy_buf *from, uint32_t none, void *out)
{
    const int32_t *count = (const int32_t *)t->layer[l].count.data;
    const uint32_t *slot = (const uint32_t *)from->data;
    uint32_t *to = out;
    for (size_t i = 0; i < t->n; i++)
        for (int k = 0; k < t->K; k++) *to++ = k < count[i] ? *slot++ : none;
}

void sy_trace_experts(const sy_trace *t, int32_t none, int32_t *out)
{
    for (int l = 0; l < t->layers; l++) lay_out(t, l, &t->layer[l].expert, (uint32_t)none, out + (size_t)l * t->n * (size_t)t->K);
}

void sy_trace_weights(const sy_trace *t, float *out)
{
    for (int l = 0; l < t->layers; l++) lay_out(t, l, &t->layer[l].weight, 0, out + (size_t)l * t->n * (size_t)t->K);       /* 0 is 0.0f */
}

/* --- writing ---------------------------------------------------------------------------------------------------------------- */

enum { COLUMNS = 4 };
static const char *const column[COLUMNS] = { "doc", "pos", "id", "domain" };

typedef struct filling { const sy_trace *t; void *layer; } filling;        /* layer [n,K], 4 bytes a slot */

/* Tensors 0 .. 3 are the columns, then experts and weights, a layer at a time. */
static sy_status fill(void *arg, int i, sy_writer *w, sy_err *err)
{
    const filling *f = arg;
    const sy_trace *t = f->t;
    size_t slots = t->n * (size_t)t->K;
    for (size_t k = 0; k < t->n && i < COLUMNS; k++) SY_TRY(sy_writer_put(w, t->token.data + k * sizeof(sy_trace_token) + (size_t)i * sizeof(int32_t), sizeof(int32_t), err));
    for (int l = 0; l < t->layers && i >= COLUMNS; l++) {
        char *bytes = f->layer;
        bool experts = i == COLUMNS;
        lay_out(t, l, experts ? &t->layer[l].expert : &t->layer[l].weight, experts ? NONE : 0, f->layer);
        for (size_t k = 0; k < slots; k++) {         /* in place: what is written is never ahead of what is read */
            int32_t e;
            float x;
            memcpy(&e, bytes + k * sizeof e, sizeof e);
            memcpy(&x, &e, sizeof x);
            memcpy(bytes + k * sizeof(uint16_t), &(uint16_t){ experts ? (uint16_t)e : sy_f16_of(x) }, sizeof(uint16_t));
        }
        SY_TRY(sy_writer_put(w, bytes, slots * sizeof(uint16_t), err));
    }
    return SY_OK;
}

sy_status sy_trace_write(const sy_trace *t, const char *path, sy_err *err)
{
    char E[16], Z[16];
    sy_st_out out[COLUMNS + 2];
    filling f = { t, sy_malloc(sy_mul_size(t->n * (size_t)t->K + 1, sizeof(int32_t))) };
    const char *meta[] = { "layers", t->numbers, "num_experts", E, "zero_experts", Z, t->domains ? "domains" : NULL, t->domains, NULL };
    if (!f.layer) return sy_fail(err, SY_ENOMEM, "no memory for a trace of %zu tokens", t->n);
    snprintf(E, sizeof E, "%d", t->E);
    snprintf(Z, sizeof Z, "%d", t->Z);
    for (int i = 0; i < COLUMNS; i++) out[i] = (sy_st_out){ .name = column[i], .type = SY_DT_I32, .nd = 1, .dim = { (int64_t)t->n } };
    out[COLUMNS] = (sy_st_out){ .name = "experts", .type = SY_DT_U16, .nd = 3, .dim = { t->layers, (int64_t)t->n, t->K } };
    out[COLUMNS + 1] = (sy_st_out){ .name = "weights", .type = SY_DT_F16, .nd = 3, .dim = { t->layers, (int64_t)t->n, t->K } };
    sy_status st = sy_st_write_each(path, out, COLUMNS + 2, meta, fill, &f, err);
    sy_free(f.layer);
    return st;
}

/* --- reading ---------------------------------------------------------------------------------------------------------------- */

typedef struct file { const char *path; sy_st st; const sy_st_tensor *column[COLUMNS], *experts, *weights; } file;

static sy_status meta_number(const file *f, const char *key, bool must, int *out, sy_err *err)
{
    const char *text = sy_st_meta(&f->st, key);
    char *end;
    if (!text && !must) return SY_OK;
    if (!text) return sy_fail(err, SY_EFORMAT, "%s: the metadata has no %s, so it is no trace", f->path, key);
    long v = strtol(text, &end, 10);
    if (end == text || *end || v < 0 || v > NONE) return sy_fail(err, SY_EFORMAT, "%s: %s of the metadata is '%.40s', no number from 0 to %d", f->path, key, text, NONE);
    *out = (int)v;
    return SY_OK;
}

static sy_status find(const file *f, const char *name, sy_dtype type, int nd, const sy_st_tensor **out, sy_err *err)
{
    const sy_st_tensor *x = sy_st_find(&f->st, name);
    if (!x) return sy_fail(err, SY_EFORMAT, "%s: there is no tensor '%s', so it is no trace", f->path, name);
    if (x->type != type || x->nd != nd) return sy_fail(err, SY_EFORMAT, "%s: '%s' is %s with %d dimensions; a trace has %s with %d", f->path, name, sy_dtype_name(x->type), x->nd, sy_dtype_name(type), nd);
    *out = x;
    return SY_OK;
}

/* Words of a text with single blanks between. */
static int words(const char *text)
{
    int n = *text != 0;
    for (; *text; text++) n += *text == ' ';
    return n;
}

static sy_status shapes(file *f, sy_trace *t, sy_err *err)
{
    for (int i = 0; i < COLUMNS; i++) SY_TRY(find(f, column[i], SY_DT_I32, 1, &f->column[i], err));
    SY_TRY(find(f, "experts", SY_DT_U16, 3, &f->experts, err));
    SY_TRY(find(f, "weights", SY_DT_F16, 3, &f->weights, err));
    const int64_t *d = f->experts->dim, *w = f->weights->dim;
    for (int i = 0; i < COLUMNS; i++)
        if (f->column[i]->dim[0] != d[1]) return sy_fail(err, SY_EFORMAT, "%s: '%s' has %lld entries, 'experts' %lld tokens", f->path, column[i], (long long)f->column[i]->dim[0], (long long)d[1]);
    if (d[0] != w[0] || d[1] != w[1] || d[2] != w[2]) return sy_fail(err, SY_EFORMAT, "%s: 'weights' and 'experts' have different shapes", f->path);
    if (d[0] < 1 || d[0] > MOST_LAYERS || d[1] < 1 || d[1] > INT32_MAX || d[2] < 1 || d[2] > NONE) return sy_fail(err, SY_EFORMAT, "%s: 'experts' is [%lld,%lld,%lld], which is no trace of anything", f->path, (long long)d[0], (long long)d[1], (long long)d[2]);
    SY_TRY(meta_number(f, "num_experts", true, &t->E, err));
    SY_TRY(meta_number(f, "zero_experts", false, &t->Z, err));
    if (t->E < 1 || t->E + t->Z > NONE) return sy_fail(err, SY_EFORMAT, "%s: %d experts and %d zero-cost ones", f->path, t->E, t->Z);
    return SY_OK;
}

static int32_t int_at(const sy_st_tensor *x, size_t i)
{
    int32_t v;
    memcpy(&v, x->data + i * sizeof v, sizeof v);
    return v;
}

/* Documents stand one after the other, each of one domain, its positions ascending. */
static sy_status tokens(const file *f, sy_trace *t, int domains, sy_err *err)
{
    sy_trace_token before = { -1, -1, 0, 0 };
    for (size_t i = 0; i < t->n; i++) {
        sy_trace_token k = { int_at(f->column[0], i), int_at(f->column[1], i), int_at(f->column[2], i), int_at(f->column[3], i) };
        if (k.doc < 0 || k.pos < 0 || k.id < 0 || k.domain < 0) return sy_fail(err, SY_EFORMAT, "%s: token %zu has a negative document, position, id or domain", f->path, i);
        if (k.domain >= domains) return sy_fail(err, SY_EFORMAT, "%s: token %zu is of domain %d; there are %d", f->path, i, k.domain, domains);
        if (k.doc < before.doc) return sy_fail(err, SY_EFORMAT, "%s: token %zu goes back to document %d; documents stand one after the other", f->path, i, k.doc);
        if (k.doc == before.doc && (k.pos <= before.pos || k.domain != before.domain))
            return sy_fail(err, SY_EFORMAT, "%s: token %zu: positions of a document ascend, and it is of one domain", f->path, i);
        sy_buf_put(&t->token, &k, sizeof k);
        before = k;
    }
    return SY_OK;
}

static sy_status slots(const file *f, sy_trace *t, int l, int32_t *seen, sy_err *err)
{
    sy_trace_layer *to = &t->layer[l];
    size_t K = (size_t)f->experts->dim[2];
    for (size_t i = 0; i < t->n; i++) {
        int32_t count = 0;
        bool ended = false;
        for (size_t k = 0; k < K; k++) {
            uint16_t e;
            size_t at = ((size_t)l * t->n + i) * K + k;
            float w;
            memcpy(&e, f->experts->data + at * sizeof e, sizeof e);
            if (e == NONE) { ended = true; continue; }
            if (ended || e >= t->E + t->Z) return sy_fail(err, SY_EFORMAT, ended ? "%s: layer %d, token %zu: an expert stands behind an empty slot" : "%s: layer %d, token %zu: expert %d; there are %d", f->path, l, i, e, t->E + t->Z);
            if (seen[e] == (int32_t)i + 1) return sy_fail(err, SY_EFORMAT, "%s: layer %d, token %zu: expert %d twice", f->path, l, i, e);
            seen[e] = (int32_t)i + 1;
            SY_TRY(sy_st_read_f32(f->weights, at, 1, &w, err));
            sy_buf_put(&to->expert, &(int32_t){ e }, sizeof(int32_t));
            sy_buf_put(&to->weight, &w, sizeof w);
            count++;
        }
        sy_buf_put(&to->count, &count, sizeof count);
        if (count > t->K) t->K = count;
    }
    return SY_OK;
}

static sy_status read_all(file *f, sy_trace *t, sy_err *err)
{
    sy_trace head = { 0 };
    const char *numbers = sy_st_meta(&f->st, "layers"), *domains = sy_st_meta(&f->st, "domains");
    SY_TRY(shapes(f, &head, err));
    int layers = (int)f->experts->dim[0];
    if (!numbers || words(numbers) != layers || strspn(numbers, "0123456789 ") != strlen(numbers)) return sy_fail(err, SY_EFORMAT, "%s: `layers` of the metadata does not number %d layers", f->path, layers);
    if (domains && words(domains) > MOST_DOMAINS) return sy_fail(err, SY_EFORMAT, "%s: %d domains", f->path, words(domains));
    SY_TRY(sy_trace_open_bare(t, layers, head.E, head.Z, err));
    sy_free(t->numbers);
    t->numbers = sy_strdup(numbers);
    t->domains = domains ? sy_strdup(domains) : NULL;
    t->n = (size_t)f->experts->dim[1];
    int32_t *seen = sy_malloc((size_t)(t->E + t->Z) * sizeof *seen);
    sy_status st = t->numbers && (t->domains || !domains) && seen ? tokens(f, t, domains ? words(domains) : MOST_DOMAINS, err) : sy_fail(err, SY_ENOMEM, "no memory for %s", f->path);
    for (int l = 0; l < layers && st == SY_OK; l++) {
        memset(seen, 0, (size_t)(t->E + t->Z) * sizeof *seen);
        st = slots(f, t, l, seen, err);
    }
    sy_free(seen);
    return st != SY_OK ? st : failed(t) ? sy_fail(err, SY_ENOMEM, "no memory for the routes of %zu tokens", t->n) : SY_OK;
}

sy_status sy_trace_read(sy_trace *t, const char *path, sy_err *err)
{
    sy_buf bytes = { 0 };
    sy_arena a = { 0 };
    sy_trace got = { 0 };
    file f = { .path = path };
    sy_status st = sy_file_read(path, (size_t)1 << 36, &bytes, err);
    if (st == SY_OK) st = sy_st_parse(&f.st, (const uint8_t *)(bytes.data ? bytes.data : ""), bytes.n, path, &a, err);
    if (st == SY_OK) st = read_all(&f, &got, err);
    if (st == SY_OK) *t = got;
    else sy_trace_close(&got);
    sy_buf_free(&bytes);
    sy_arena_free(&a);
    return st;
}
