/* model/convert_gguf.c - GGUF files as output: from a folder by the architecture's tables, or from another GGUF file name by name. */
#include "model/convert_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/json.h"
#include "model/gguf_tokenizer.h"

enum { PARTS = 4 };

typedef struct target {                 /* one tensor of the output */
    char     name[SY_TENSOR_NAME];
    sy_wtype type;
    int      nd;
    int64_t  dim[SY_GGUF_DIMS];
    int      parts;                     /* parameters whose rows follow each other in it */
    const sy_param *p[PARTS];
    sy_place at[PARTS];                 /* of their first piece */
} target;

typedef struct plan { target *t; int n; uint64_t values; } plan;

/* general.file_type: a label, by the type that most numbers have. */
static int file_type(sy_wtype t)
{
    static const struct { sy_wtype t; int label; } labels[] = {
        { SY_W_F32, 0 }, { SY_W_F16, 1 }, { SY_W_Q4_0, 2 }, { SY_W_Q4_1, 3 }, { SY_W_Q8_0, 7 }, { SY_W_Q5_0, 8 }, { SY_W_Q5_1, 9 }, { SY_W_Q2_K, 10 }, { SY_W_Q3_K, 11 }, { SY_W_Q4_K, 14 },
        { SY_W_Q5_K, 16 }, { SY_W_Q6_K, 18 }, { SY_W_IQ4_NL, 25 }, { SY_W_IQ4_XS, 30 }, { SY_W_BF16, 32 }, { SY_W_MXFP4, 38 } };
    for (size_t i = 0; i < SY_COUNT(labels); i++) if (labels[i].t == t) return labels[i].label;
    return 0;
}

/* --- from a folder --------------------------------------------------------------------------------------------------------------- */

/* The output's tensor that a parameter goes into, found or made; its type follows from its first parameter. */
static sy_status add_param(sy__conversion *c, plan *pl, const sy_gguf_card *to, const sy_param *p, sy_wtype stored, sy_err *err)
{
    sy_place at;
    const char *note;
    sy_place_of(&at, &to->names, c->spec, p, 0, 0);
    if (at.nd > SY_GGUF_DIMS || at.layout & ~(unsigned)SY_LAY_ROTARY || strlen(at.name) > 63)
        return sy_fail(err, SY_EUNSUP, "parameter %s has no place in a GGUF file of architecture %s", p->name, to->arch->arch);
    if (at.cols > SY__ROOM) return sy_fail(err, SY_EUNSUP, "%s: rows of %d values are longer than %d", p->name, at.cols, SY__ROOM);
    for (int i = pl->n; i-- > 0 && i > pl->n - 64; ) {
        target *t = &pl->t[i];
        if (strcmp(t->name, at.name)) continue;
        if (t->parts == PARTS) return sy_fail(err, SY_EUNSUP, "tensor %s would hold more than %d parameters", t->name, PARTS);
        int k = t->parts++;
        for (; k > 0 && t->at[k - 1].first > at.first; k--) t->p[k] = t->p[k - 1], t->at[k] = t->at[k - 1];
        t->p[k] = p, t->at[k] = at;
        return SY_OK;
    }
    target *t = &pl->t[pl->n++];
    *t = (target){ .nd = at.nd, .parts = 1, .p = { p }, .at = { at } };
    memcpy(t->name, at.name, sizeof t->name);
    memcpy(t->dim, at.dim, sizeof t->dim);
    while (t->nd > 1 && t->dim[0] == 1 && p->w.nd < 3) {     /* the gate of a shared expert is a vector there */
        memmove(t->dim, t->dim + 1, (size_t)--t->nd * sizeof *t->dim);
    }
    SY_TRY(sy__type_for(c, t->name, t->nd, (int)t->dim[t->nd - 1], stored, &t->type, &note, err));
    if (note) {
        char line[160];
        snprintf(line, sizeof line, "%s: %s", sy_wtype_name(t->type), note);
        SY_TRY(sy_ledger_add(c->l, SY_L_NOTE, t->name, line, 0, err));
    }
    return SY_OK;
}

static sy_status make_plan(sy__conversion *c, plan *pl, const sy_gguf_card *to, sy_err *err)
{
    pl->t = sy_arena_array(&c->a, (size_t)c->m->params.n + 1, sizeof *pl->t);
    if (!pl->t) return sy_fail(err, SY_ENOMEM, "no memory to plan %s", c->o->out);
    for (int i = 0; i < c->m->params.n; i++) {
        const sy_param *p = c->m->params.p[i];
        sy_wtype stored = SY_WTYPES;
        for (int e = 0; e < sy_param_pieces(p); e++) {
            sy__piece piece;
            SY_TRY(sy__piece_find(c, p, e, &piece, err));
            stored = piece.type;
        }
        SY_TRY(add_param(c, pl, to, p, stored, err));
        c->all += (double)p->n * 4;
    }
    SY_TRY(sy_pieces_settle(c->pieces, err));
    for (int i = 0; i < pl->n; i++) {
        uint64_t n = 1;
        for (int d = 0; d < pl->t[i].nd; d++) n *= (uint64_t)pl->t[i].dim[d];
        SY_TRY(sy_ledger_add(c->l, SY_L_SAVED, pl->t[i].name, sy_wtype_name(pl->t[i].type), n, err));
    }
    return SY_OK;
}

/* Rows from .. from+n-1 of own, encoded in c->out, go out in the order of the file. */
static sy_status put_rows(sy__conversion *c, sy_gguf_writer *w, const target *t, const sy_place *at, int n, sy_err *err)
{
    size_t row = sy_wtype_bytes(t->type, (size_t)at->cols);
    int hd = c->spec->head_dim;
    if (!(at->layout & SY_LAY_ROTARY)) return sy_gguf_writer_data(w, c->out, (size_t)n * row, err);
    for (int i = 0; i < n; i++) {                    /* i in the file: row i/2 of the first or of the second half */
        int own = i / hd * hd + i % hd / 2 + (i % 2 ? hd / 2 : 0);
        SY_TRY(sy_gguf_writer_data(w, c->out + (size_t)own * row, row, err));
    }
    return SY_OK;
}

static sy_status write_piece(sy__conversion *c, sy_gguf_writer *w, const target *t, int part, int e, sy_err *err)
{
    sy__piece piece;
    const sy_place *at = &t->at[part];
    const float *weight = NULL;
    int hd = c->spec->head_dim, step = SY__ROOM / at->cols, experts = c->l->experts;
    sy_real *whole = NULL;
    sy_status st = SY_OK;
    SY_TRY(sy__piece_find(c, t->p[part], e, &piece, err));
    c->l->experts = experts;                         /* they were counted when the work was planned */
    if (c->im.n && at->cols > 1) SY_TRY(sy_imatrix_row(&c->im, t->name, e, sy_param_pieces(t->p[part]), at->cols, &weight, err));
    if (at->rows % hd == 0 && step >= hd) step = step / hd * hd;
    if (piece.whole) {
        whole = sy_malloc(sy_mul_size((size_t)at->rows * (size_t)at->cols, sizeof *whole));
        st = whole ? sy__piece_rows(c, &piece, 0, at->rows, whole, err) : sy_fail(err, SY_ENOMEM, "no memory for the %d x %d values of %s", at->rows, at->cols, t->name);
    }
    for (int from = 0; from < at->rows && st == SY_OK; from += step) {
        int n = at->rows - from < step ? at->rows - from : step;
        size_t values = (size_t)n * (size_t)at->cols;
        const sy_real *x = whole ? whole + (size_t)from * (size_t)at->cols : c->rows;
        if (!whole) st = sy__piece_rows(c, &piece, from, n, NULL, err);
        const float *f = sizeof(sy_real) == sizeof(float) ? (const float *)x : c->x;
        if (sizeof(sy_real) != sizeof(float)) for (size_t i = 0; i < values; i++) c->x[i] = (float)x[i];
        if (st == SY_OK) st = sy__encode(c, t->type, f, weight, n, at->cols, c->out, t->name, err);
        if (st == SY_OK) st = put_rows(c, w, t, at, n, err);
        if (st == SY_OK) st = sy__tell(c, 4.0 * (double)values, t->name, err);
    }
    sy_free(whole);
    return st;
}

static sy_status write_tensors(sy__conversion *c, sy_gguf_writer *w, const plan *pl, sy_err *err)
{
    for (int i = 0; i < pl->n; i++) {
        const target *t = &pl->t[i];
        int pieces = sy_param_pieces(t->p[0]);
        for (int e = 0; e < pieces; e++)
            for (int k = 0; k < t->parts; k++) SY_TRY(write_piece(c, w, t, k, e, err));
    }
    return SY_OK;
}

/* The last part of a path. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* --- metadata that a GGUF file brought and a folder kept (gguf_metadata.json) --- */

static bool written_anew(const sy_gguf_card *to, const char *key)
{
    static const char *const own[] = { "general.type", "general.name", "general.file_type", "general.quantization_version", "general.alignment" };
    for (size_t i = 0; i < SY_COUNT(own); i++) if (!strcmp(own[i], key)) return true;
    return sy_gguf_card_knows(to, key) || !strncmp(key, "tokenizer.", 10) || !strncmp(key, "split.", 6);
}

static void put_scalar(sy_gguf_writer *w, sy_gguf_type type, const json_t *v)
{
    int64_t whole = json_is_integer(v) ? json_integer_value(v) : 0;
    double real = json_number_value(v);
    const char *text = json_string_value(v);
    switch (type) {
    case SY_GGUF_TEXT: sy_gguf_elem_text(w, text ? text : "", text ? json_string_length(v) : 0); break;
    case SY_GGUF_BOOL: sy_gguf_elem(w, &(uint8_t){ json_is_true(v) }, 1); break;
    case SY_GGUF_F32: sy_gguf_elem(w, &(float){ (float)real }, 4); break;
    case SY_GGUF_F64: sy_gguf_elem(w, &real, 8); break;
    case SY_GGUF_U8: case SY_GGUF_I8: sy_gguf_elem(w, &whole, 1); break;       /* little-endian: the low bytes come first */
    case SY_GGUF_U16: case SY_GGUF_I16: sy_gguf_elem(w, &whole, 2); break;
    case SY_GGUF_U32: case SY_GGUF_I32: sy_gguf_elem(w, &whole, 4); break;
    default: sy_gguf_elem(w, &whole, 8); break;
    }
}

static sy_status put_kept(sy_gguf_writer *w, const sy_gguf_card *to, const json_t *kept, sy_err *err)
{
    const char *key;
    json_t *entry;
    json_object_foreach((json_t *)kept, key, entry) {
        const json_t *v = json_object_get(entry, "value"), *elem;
        const char *type = json_string_value(json_object_get(entry, "type"));
        size_t i;
        int t = 0;
        if (written_anew(to, key)) continue;
        while (type && t < SY_GGUF_TYPES && strcmp(sy_gguf_type_name((sy_gguf_type)t), type)) t++;
        if (!type || t == SY_GGUF_TYPES || t == SY_GGUF_ARRAY || !v) return sy_fail(err, SY_EFORMAT, "gguf_metadata.json: '%.100s' has no type and value that GGUF knows", key);
        if (json_is_array(v)) {
            sy_gguf_put_array(w, key, (sy_gguf_type)t, json_array_size(v));
            json_array_foreach(v, i, elem) put_scalar(w, (sy_gguf_type)t, elem);
        } else sy_gguf_put_one(w, key, (sy_gguf_type)t), put_scalar(w, (sy_gguf_type)t, v);
    }
    return SY_OK;
}

static sy_status put_general(sy__conversion *c, sy_gguf_writer *w, const sy_gguf_card *to, sy_wtype main, sy_err *err)
{
    const char *name = base_name(c->dir), *arch = to->arch->arch;
    char path[1100];
    json_t *kept = NULL;
    SY_TRY(sy_path(path, sizeof path, c->dir, "gguf_metadata.json", err));
    if (sy_file_exists(path)) SY_TRY(sy_json_read(&kept, path, 1 << 28, err));
    const char *old = json_string_value(json_object_get(json_object_get(kept, "general.name"), "value"));
    if (old) name = old;
    sy_gguf_put_text(w, "general.architecture", arch, strlen(arch));
    sy_gguf_put_text(w, "general.type", "model", 5);
    sy_gguf_put_text(w, "general.name", name, strlen(name));
    sy_gguf_put_u32(w, "general.file_type", (uint32_t)file_type(main));
    sy_gguf_put_u32(w, "general.quantization_version", 2);
    sy_status st = put_kept(w, to, kept, err);
    json_decref(kept);
    return st;
}

/* The type of most numbers. */
static sy_wtype main_type(const plan *pl)
{
    double n[SY_WTYPES] = { 0 };
    int best = SY_W_F32;
    for (int i = 0; i < pl->n; i++) {
        double k = 1;
        for (int d = 0; d < pl->t[i].nd; d++) k *= (double)pl->t[i].dim[d];
        n[pl->t[i].type] += k;
    }
    for (int t = SY_W_F32; t < SY_WTYPES; t++) if (n[t] > n[best]) best = t;
    return (sy_wtype)best;
}

static sy_status unused_importances(sy__conversion *c, sy_err *err)
{
    int used = 0;
    for (int i = 0; i < c->im.n; i++) used += c->im.e[i].used;
    if (c->im.n && !used) return sy_fail(err, SY_ESHAPE, "%s names none of this model's tensors ('%s' for one); it is of another model", c->o->imatrix, c->im.e[0].name);
    for (int i = 0; i < c->im.n; i++)
        if (!c->im.e[i].used) SY_TRY(sy_ledger_add(c->l, SY_L_NOTE, c->im.e[i].name, "has importances, and no tensor of the output has that name", 0, err));
    return SY_OK;
}

static sy_status keep_ledger(sy__conversion *c, sy_err *err)
{
    char path[1100];
    snprintf(path, sizeof path, "%.1000s.ledger.json", c->o->out);
    return sy_ledger_write(c->l, path, err);
}

static sy_status write_file(sy__conversion *c, sy_gguf_writer *w, const plan *pl, const sy_gguf_card *to, sy_err *err)
{
    int rot = sy_spec_rotary(c->spec) / 2;
    float *freqs = sy_arena_array(&c->a, (size_t)rot + 1, sizeof *freqs);
    const char *name;
    if (!freqs) return sy_fail(err, SY_ENOMEM, "no memory to write %s", c->o->out);
    SY_TRY(put_general(c, w, to, main_type(pl), err));
    SY_TRY(sy_gguf_card_write(w, to->arch, c->spec, &c->eng->methods, err));
    SY_TRY(sy_gguf_put_tokenizer(w, c->dir, c->spec->vocab_size, c->o->pre, c->l, err));
    for (int n = 0; (name = sy_gguf_divisors(c->spec, n, freqs)); n++) SY_TRY(sy_gguf_put_tensor(w, name, 0, 1, (int64_t[]){ rot }, err));
    for (int i = 0; i < pl->n; i++) SY_TRY(sy_gguf_put_tensor(w, pl->t[i].name, (uint32_t)sy_wtype_gguf(pl->t[i].type), pl->t[i].nd, pl->t[i].dim, err));
    SY_TRY(sy_gguf_writer_begin(w, err));
    for (int n = 0; sy_gguf_divisors(c->spec, n, freqs); n++) SY_TRY(sy_gguf_writer_data(w, freqs, (size_t)rot * 4, err));
    SY_TRY(write_tensors(c, w, pl, err));
    SY_TRY(unused_importances(c, err));
    SY_TRY(keep_ledger(c, err));
    return sy_gguf_writer_close(w, err);
}

sy_status sy__to_gguf(sy__conversion *c, sy_err *err)
{
    plan pl = { 0 };
    sy_gguf_card to;
    sy_gguf_writer w;
    SY_TRY(sy_gguf_card_for(&to, c->family, c->spec, &c->eng->methods, err));
    SY_TRY(sy_ledger_add(c->l, SY_L_NOTE, "general.architecture", to.arch->arch, 0, err));
    SY_TRY(make_plan(c, &pl, &to, err));
    sy_status st = sy_gguf_writer_open(&w, c->o->out, err);
    if (st == SY_OK) st = write_file(c, &w, &pl, &to, err);
    sy_gguf_writer_abandon(&w);
    return st;
}

/* --- from a GGUF file ------------------------------------------------------------------------------------------------------------- */

static sy_status copy_tensor(sy__conversion *c, sy_gguf_writer *w, const sy_gguf_tensor *t, sy_err *err)
{
    enum { STEP = 4 << 20 };
    for (size_t at = 0; at < t->bytes; at += STEP) {
        size_t n = t->bytes - at < STEP ? t->bytes - at : STEP;
        const uint8_t *bytes = sy_gguf_bytes(t, at, n);
        if (!bytes) return sy_fail(err, SY_ENOMEM, "no address space for %zu bytes of '%s'", n, t->name);
        memcpy(c->out, bytes, n);                    /* here and not in the system call, which would call a page that is lost an error of writing */
        SY_TRY(sy_gguf_files_status(&c->files, SY_OK, err));
        SY_TRY(sy_gguf_writer_data(w, c->out, n, err));
        SY_TRY(sy__tell(c, 4.0 * (double)t->n * (double)n / (double)t->bytes, t->name, err));
    }
    return SY_OK;
}

static sy_status requantise(sy__conversion *c, sy_gguf_writer *w, const sy_gguf_tensor *t, sy_wtype type, sy_err *err)
{
    int cols = (int)t->dim[t->nd - 1], stack = t->nd > 2 ? (int)t->dim[0] : 1, step = SY__ROOM / cols;
    size_t rows = t->n / (size_t)cols, each = rows / (size_t)stack;
    for (int e = 0; e < stack; e++) {
        const float *weight = NULL;
        if (c->im.n) SY_TRY(sy_imatrix_row(&c->im, t->name, e, stack, cols, &weight, err));
        for (size_t from = 0; from < each; from += (size_t)step) {
            size_t n = each - from < (size_t)step ? each - from : (size_t)step, first = ((size_t)e * each + from) * (size_t)cols;
            const uint8_t *bytes = sy_gguf_bytes(t, sy_wtype_bytes(t->type, first), sy_wtype_bytes(t->type, n * (size_t)cols));
            if (!bytes) return sy_fail(err, SY_ENOMEM, "no address space for %zu rows of '%s'", n, t->name);
            sy_wtype_read(t->type, bytes, n * (size_t)cols, c->x);
            SY_TRY(sy_gguf_files_status(&c->files, SY_OK, err));
            SY_TRY(sy__encode(c, type, c->x, weight, (int)n, cols, c->out, t->name, err));
            SY_TRY(sy_gguf_writer_data(w, c->out, n * sy_wtype_bytes(type, (size_t)cols), err));
            SY_TRY(sy__tell(c, 4.0 * (double)n * cols, t->name, err));
        }
    }
    return SY_OK;
}

static sy_status type_again(sy__conversion *c, const sy_gguf_tensor *t, sy_wtype *type, sy_err *err)
{
    const char *note;
    int64_t cols = t->dim[t->nd - 1];
    *type = t->type;
    if (t->type == SY_WTYPES) {
        SY_TRY(sy_ledger_add(c->l, SY_L_LOADED, t->name, sy_gguf_tensor_type(t->id), t->n, err));
        return sy_ledger_add(c->l, SY_L_NOTE, t->name, "of a type that is not read: copied as it is", 0, err);
    }
    SY_TRY(sy__type_for(c, t->name, t->nd, (int)(cols > INT32_MAX ? 1 : cols), t->type, type, &note, err));
    if (!c->o->type && !c->o->n_only) *type = t->type;       /* nothing was asked for: a copy */
    if (*type == SY_W_F32 && t->nd < 2) *type = t->type;
    if (*type != t->type && cols > SY__ROOM) return sy_fail(err, SY_EUNSUP, "%s: rows of %lld values are longer than %d", t->name, (long long)cols, SY__ROOM);
    SY_TRY(sy_ledger_add(c->l, *type == t->type ? SY_L_LOADED : SY_L_CONVERTED, t->name, sy_gguf_tensor_type(t->id), t->n, err));
    SY_TRY(sy_ledger_add(c->l, SY_L_SAVED, t->name, sy_wtype_name(*type), 0, err));
    return note ? sy_ledger_add(c->l, SY_L_NOTE, t->name, note, 0, err) : SY_OK;
}

static bool of_a_split(const char *key) { return !strcmp(key, "split.no") || !strcmp(key, "split.count") || !strcmp(key, "split.tensors.count"); }

static sy_status write_again(sy__conversion *c, sy_gguf_writer *w, sy_err *err)
{
    const sy_gguf_files *f = &c->files;
    double n[SY_WTYPES + 1] = { 0 };
    int tensors = 0, at = 0, best = SY_W_F32;
    for (int i = 0; i < f->n; i++) tensors += f->g[i].n;
    sy_wtype *type = sy_arena_array(&c->a, (size_t)tensors + 1, sizeof *type);
    if (!type) return sy_fail(err, SY_ENOMEM, "no memory to plan %s", c->o->out);
    for (int i = 0; i < f->n; i++)
        for (int t = 0; t < f->g[i].n; t++, at++) {
            SY_TRY(type_again(c, &f->g[i].t[t], &type[at], err));
            n[type[at]] += (double)f->g[i].t[t].n;
            c->all += 4.0 * (double)f->g[i].t[t].n;
        }
    for (int t = SY_W_F32; t < SY_WTYPES; t++) if (n[t] > n[best]) best = t;
    for (int k = 0; k < f->g[0].keys; k++) {
        const sy_gguf_key *key = &f->g[0].key[k];
        if (!strcmp(key->key, "general.alignment") || of_a_split(key->key)) continue;        /* of the old file */
        if (!strcmp(key->key, "general.file_type") && c->o->type) sy_gguf_put_u32(w, key->key, (uint32_t)file_type((sy_wtype)best));
        else sy_gguf_put_key(w, key);
    }
    at = 0;
    for (int i = 0; i < f->n; i++)
        for (int t = 0; t < f->g[i].n; t++, at++) {
            const sy_gguf_tensor *x = &f->g[i].t[t];
            SY_TRY(sy_gguf_put_tensor(w, x->name, type[at] == SY_WTYPES ? x->id : (uint32_t)sy_wtype_gguf(type[at]), x->nd, x->dim, err));
        }
    SY_TRY(sy_gguf_writer_begin(w, err));
    at = 0;
    for (int i = 0; i < f->n; i++)
        for (int t = 0; t < f->g[i].n; t++, at++) {
            const sy_gguf_tensor *x = &f->g[i].t[t];
            SY_TRY(type[at] == x->type ? copy_tensor(c, w, x, err) : requantise(c, w, x, type[at], err));
        }
    SY_TRY(unused_importances(c, err));
    SY_TRY(sy_ledger_settle(c->l, err));
    SY_TRY(keep_ledger(c, err));
    return sy_gguf_writer_close(w, err);
}

sy_status sy__gguf_again(sy__conversion *c, sy_err *err)
{
    sy_gguf_writer w;
    sy_status st = sy_gguf_writer_open(&w, c->o->out, err);
    if (st == SY_OK) st = write_again(c, &w, err);
    sy_gguf_writer_abandon(&w);
    return st;
}
