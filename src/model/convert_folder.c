/* model/convert_folder.c - a folder of Hugging Face's form as output: config.json, model.safetensors or shards of it, the tokenizer's files. */
#include "model/convert_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/json.h"
#include "model/gguf_tokenizer.h"
#include "model/pooling.h"
#include "model/shards.h"
#include "model/tokenizer_config.h"

enum { LOOK_BACK = 4096 };

typedef struct slot { const sy_param *p; int e; struct slot *next; } slot;     /* a piece that goes into a tensor */

typedef struct folder {
    sy__conversion  *c;
    const sy_family *f;                 /* NULL: own names */
    sy_st_out       *t;
    slot           **pieces;            /* of each tensor */
    int              n;
    int              pooling;           /* SY_POOL_: of a family it stands in files of its own, beside config.json */
} folder;

/* What goes along from folder to folder, with the files beside a tokenizer.json. */
static const char *const along[] = { "tokenizer.json", "generation_config.json", "tokenizer.model", "vocab.json", "merges.txt", "gguf_metadata.json", "modules.json", "1_Pooling/config.json",
                                     "sentence_bert_config.json" };

static sy_dtype dtype_of(sy_wtype t) { return t == SY_W_F16 ? SY_DT_F16 : t == SY_W_BF16 ? SY_DT_BF16 : SY_DT_F32; }
static sy_wtype wtype_of(sy_dtype t) { return t == SY_DT_F16 ? SY_W_F16 : t == SY_DT_BF16 ? SY_W_BF16 : SY_W_F32; }

/* --- planning ------------------------------------------------------------------------------------------------------------------- */

static sy_status add_piece(folder *o, const sy_param *p, int e, const sy__piece *piece, sy_err *err)
{
    sy__conversion *c = o->c;
    sy_place at;
    const char *note;
    sy_wtype type, stored = piece->type == SY_W_F16 || piece->type == SY_W_BF16 ? piece->type : SY_W_F32;
    int k = o->n;
    slot *s = sy_arena_zalloc(&c->a, sizeof *s);
    sy_place_of(&at, o->f, c->spec, p, e, 0);
    if (at.cols > SY__ROOM) return sy_fail(err, SY_EUNSUP, "%s: rows of %d values are longer than %d", p->name, at.cols, SY__ROOM);
    if (at.layout & SY_LAY_MXFP4) return sy_fail(err, SY_EUNSUP, "%s: family %s keeps it as MXFP4, which is not written; use --family switchyard", p->name, o->f->name);
    if (!s) return sy_fail(err, SY_ENOMEM, "no memory to plan %s", c->o->out);
    *s = (slot){ .p = p, .e = e };
    if (!at.whole) for (k = o->n - 1; k >= 0 && k > o->n - LOOK_BACK && strcmp(o->t[k].name, at.name); ) k--;
    if (k >= 0 && k < o->n && !strcmp(o->t[k].name, at.name)) {
        s->next = o->pieces[k];
        o->pieces[k] = s;
        return SY_OK;
    }
    SY_TRY(sy__type_for(c, at.name, at.nd, at.cols, stored, &type, &note, err));
    if (type > SY_W_BF16) return sy_fail(err, SY_EARG, "a folder holds f32, f16 or bf16, not %s; give a name that ends in .gguf, or another type", sy_wtype_name(type));
    if (!c->o->type && !c->o->n_only) type = stored;         /* nothing was asked for */
    k = o->n++;
    o->t[k] = (sy_st_out){ .name = sy_arena_strdup(&c->a, at.name), .type = dtype_of(type), .nd = at.nd };
    memcpy(o->t[k].dim, at.dim, sizeof o->t[k].dim);
    o->pieces[k] = s;
    return o->t[k].name ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to plan %s", c->o->out);
}

/* Each tensor of a GGUF file gets its line when its first piece is found. */
static sy_status account(folder *o, const sy_param *p, const sy__piece *piece, const sy_gguf_tensor **last, sy_err *err)
{
    int experts = o->c->l->experts;
    const sy_gguf_tensor *t = piece->g.t, *v = piece->g.v;
    if (!o->c->from_gguf || !t) return SY_OK;
    if (t != *last) SY_TRY(sy_ledger_add(o->c->l, piece->type <= SY_W_BF16 && !v ? SY_L_LOADED : SY_L_CONVERTED, t->name, sy_gguf_tensor_type(t->id), t->n, err));
    if (t != *last && v) SY_TRY(sy_ledger_add(o->c->l, SY_L_CONVERTED, v->name, sy_gguf_tensor_type(v->id), v->n, err));
    *last = t;
    o->c->l->experts = experts + (strstr(p->name, ".experts.{e}.") != NULL);
    return SY_OK;
}

static sy_status make_plan(folder *o, sy_err *err)
{
    sy__conversion *c = o->c;
    size_t pieces = 1;
    for (int i = 0; i < c->m->params.n; i++) pieces += (size_t)sy_param_pieces(c->m->params.p[i]);
    o->t = sy_arena_array(&c->a, pieces, sizeof *o->t);
    o->pieces = sy_arena_array(&c->a, pieces, sizeof *o->pieces);
    if (!o->t || !o->pieces) return sy_fail(err, SY_ENOMEM, "no memory to plan %s", c->o->out);
    for (int i = 0; i < c->m->params.n; i++) {
        const sy_param *p = c->m->params.p[i];
        const sy_gguf_tensor *last = NULL;
        for (int e = 0; e < sy_param_pieces(p); e++) {
            sy__piece piece;
            SY_TRY(sy__piece_find(c, p, e, &piece, err));
            SY_TRY(account(o, p, &piece, &last, err));
            SY_TRY(add_piece(o, p, e, &piece, err));
        }
        c->all += (double)p->n * 4;
    }
    int experts = c->l->experts;
    if (c->from_gguf) SY_TRY(sy_gguf_rest(&c->files, &c->gcard, c->l, err));
    SY_TRY(c->from_gguf ? sy_ledger_settle(c->l, err) : sy_pieces_settle(c->pieces, err));
    for (int i = 0; i < o->n; i++) {
        uint64_t n = 1;
        for (int d = 0; d < o->t[i].nd; d++) n *= (uint64_t)o->t[i].dim[d];
        SY_TRY(sy_ledger_add(c->l, SY_L_SAVED, o->t[i].name, sy_dtype_name(o->t[i].type), n, err));
    }
    c->l->experts = experts;
    return SY_OK;
}

static sy_status choose_family(folder *o, sy_err *err)
{
    sy__conversion *c = o->c;
    const char *ask = c->o->family ? c->o->family : c->family;
    const sy_methods *methods = &c->eng->methods;
    sy_err why = { 0 };
    if (ask && strcmp(ask, "switchyard")) {
        o->f = sy_family_find(ask);
        if (!o->f && c->o->family) return sy_fail(err, SY_ENOENT, "no family of models is called '%.60s'", ask);
        sy_status st = o->f ? sy_family_accepts(o->f, c->spec, methods, true, &why) : SY_EUNSUP;
        if (st != SY_OK && (c->o->family || st == SY_ENOMEM)) return sy_fail(err, st, "%s", why.text);
        if (st != SY_OK) o->f = NULL;
    }
    for (const sy_family *const *f = sy_families; !o->f && !c->o->family && c->family && *f; f++)     /* an own model stays one */
        if (sy_family_accepts(*f, c->spec, methods, true, &why) == SY_OK) o->f = *f;
    return sy_ledger_add(c->l, SY_L_NOTE, "model_type", o->f ? o->f->name : "switchyard", 0, err);
}

/* --- tensors --------------------------------------------------------------------------------------------------------------------- */

static sy_status put_values(folder *o, sy_writer *w, const sy_st_out *t, const sy_real *x, size_t n, sy_err *err)
{
    sy__conversion *c = o->c;
    sy_wtype type = wtype_of(t->type);
    for (size_t at = 0; at < n; ) {
        size_t k = n - at < SY__ROOM ? n - at : SY__ROOM;
        const float *f = sizeof(sy_real) == sizeof(float) ? (const float *)x + at : c->x;
        if (sizeof(sy_real) != sizeof(float)) for (size_t i = 0; i < k; i++) c->x[i] = (float)x[at + i];
        SY_TRY(sy__encode(c, type, f, NULL, 1, (int)k, c->out, t->name, err));
        SY_TRY(sy_writer_put(w, c->out, k * (size_t)sy_dtype_size(t->type), err));
        at += k;
    }
    return sy__tell(c, 4.0 * (double)n, t->name, err);
}

/* A tensor that is one piece goes through a few rows at a time. */
static sy_status stream(folder *o, sy_writer *w, const sy_st_out *t, const sy__piece *piece, sy_err *err)
{
    const sy_place *at = &piece->at;
    int hd = o->c->spec->head_dim, step = SY__ROOM / at->cols;
    if (at->rows % hd == 0 && step >= hd) step = step / hd * hd;
    for (int from = 0; from < at->rows; from += step) {
        int n = at->rows - from < step ? at->rows - from : step;
        SY_TRY(sy__piece_rows(o->c, piece, from, n, NULL, err));
        SY_TRY(put_values(o, w, t, o->c->rows, (size_t)n * (size_t)at->cols, err));
    }
    return SY_OK;
}

/* One that several pieces share, or that can be read only whole, is put together first. */
static sy_status assemble(folder *o, sy_writer *w, int i, sy_err *err)
{
    const sy_st_out *t = &o->t[i];
    size_t n = 1, most = 0;
    for (int d = 0; d < t->nd; d++) n = sy_mul_size(n, (size_t)t->dim[d]);
    for (const slot *s = o->pieces[i]; s; s = s->next) if (s->p->n > most) most = s->p->n;
    sy_real *tensor = sy_malloc(sy_mul_size(n, sizeof *tensor)), *own = sy_malloc(sy_mul_size(most, sizeof *own));
    sy_status st = tensor && own ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for the %zu values of %s", n, t->name);
    for (const slot *s = o->pieces[i]; s && st == SY_OK; s = s->next) {
        sy__piece piece;
        sy_place at;
        st = sy__piece_find(o->c, s->p, s->e, &piece, err);
        if (st == SY_OK) st = sy__piece_rows(o->c, &piece, 0, piece.at.rows, own, err);
        sy_place_of(&at, o->f, o->c->spec, s->p, s->e, 0);
        if (st == SY_OK) sy_place_write(&at, own, tensor);
    }
    if (st == SY_OK) st = put_values(o, w, t, tensor, n, err);
    sy_free(own);
    sy_free(tensor);
    return st;
}

static sy_status fill(void *arg, int i, sy_writer *w, sy_err *err)
{
    folder *o = arg;
    sy__piece piece;
    sy_place at;
    const slot *s = o->pieces[i];
    int experts = o->c->l->experts;
    SY_TRY(sy__piece_find(o->c, s->p, s->e, &piece, err));
    o->c->l->experts = experts;
    sy_place_of(&at, o->f, o->c->spec, s->p, s->e, 0);
    sy_status st = at.whole && !piece.whole ? stream(o, w, &o->t[i], &piece, err) : assemble(o, w, i, err);
    o->c->l->experts = experts;
    return st;
}

/* --- the other files ---------------------------------------------------------------------------------------------------------------- */

static sy_status put_file(const char *dir, const char *name, sy_buf *b, sy_err *err)
{
    char path[1100];
    sy_status st = b->failed ? sy_fail(err, SY_ENOMEM, "no memory to write %s", name) : sy_path(path, sizeof path, dir, name, err);
    if (st == SY_OK) st = sy_file_write(path, b->data ? b->data : "", b->n, err);
    sy_buf_free(b);
    return st;
}

/* config.json with the type that most of the numbers have. */
static sy_status put_config(folder *o, const char *dir, sy_err *err)
{
    static const char real[] = "\"torch_dtype\": \"" SY_REAL_NAME "\"";
    double n[SY_DTYPES] = { 0 };
    sy_dtype best = SY_DT_F32;
    sy_buf b = { 0 }, out = { 0 };
    int64_t eos = -1;
    for (int i = 0; i < o->n; i++) {
        double k = 1;
        for (int d = 0; d < o->t[i].nd; d++) k *= (double)o->t[i].dim[d];
        n[o->t[i].type] += k;
    }
    for (int t = 0; t < SY_DTYPES; t++) if (n[t] > n[best]) best = (sy_dtype)t;
    if (o->c->from_gguf) SY_TRY(sy_gguf_int(&o->c->files.g[0], "tokenizer.ggml.eos_token_id", false, 0, INT32_MAX, &eos, err));
    sy_status st = sy_card_write(o->c->spec, o->f, &o->c->eng->methods, (int)eos, &b, err);
    if (st == SY_OK && b.data) {
        char *at = strstr(b.data, real);
        if (at) {
            sy_buf_put(&out, b.data, (size_t)(at - b.data));
            sy_buf_printf(&out, "\"torch_dtype\": \"%s\"", best == SY_DT_F16 ? "float16" : best == SY_DT_BF16 ? "bfloat16" : "float32");
            sy_buf_text(&out, at + sizeof real - 1);
        } else sy_buf_put(&out, b.data, b.n);
        out.failed |= b.failed;
    }
    sy_buf_free(&b);
    if (st == SY_OK) return put_file(dir, "config.json", &out, err);
    sy_buf_free(&out);
    return st;
}

static sy_status copy_file(const folder *o, const char *dir, const char *name, sy_err *err)
{
    char path[1100];
    sy_buf b = { 0 };
    SY_TRY(sy_path(path, sizeof path, o->c->dir, name, err));
    if (!sy_file_exists(path)) return SY_OK;
    SY_TRY(sy_path(path, sizeof path, dir, name, err));
    *strrchr(path, '/') = 0;
    SY_TRY(sy_mkdirs(path, err));                    /* some lie in a folder of their own */
    SY_TRY(sy_path(path, sizeof path, o->c->dir, name, err));
    sy_status st = sy_file_read(path, 1u << 30, &b, err);
    if (st == SY_OK) return put_file(dir, name, &b, err);
    sy_buf_free(&b);
    return st;
}

static sy_status copy_files(folder *o, const char *dir, sy_err *err)
{
    const char **beside;
    int n;
    for (size_t i = 0; i < SY_COUNT(along); i++) SY_TRY(copy_file(o, dir, along[i], err));
    SY_TRY(sy_beside_files(o->c->dir, &o->c->a, &beside, &n, err));
    for (int i = 0; i < n; i++) SY_TRY(copy_file(o, dir, beside[i], err));
    return SY_OK;
}

static void put_elem(sy_json *j, const sy_gguf_key *k, uint64_t i)
{
    int64_t whole;
    double real = 0;
    if (k->elem == SY_GGUF_BOOL) sy_json_bool(j, k->data[i]);
    else if (k->elem == SY_GGUF_F32 || k->elem == SY_GGUF_F64) sy_gguf_elem_real(k, i, &real), sy_json_real(j, real);
    else if (sy_gguf_elem_int(k, i, &whole)) sy_json_int(j, whole);
    else { uint64_t v; memcpy(&v, k->data + 8 * i, 8); sy_json_real(j, (double)v); }
}

/* What the file says beside the model and its tokenizer, so that the way back to GGUF keeps it. */
static sy_status keep_metadata(folder *o, const char *dir, sy_err *err)
{
    const sy_gguf *g = &o->c->files.g[0];
    sy_buf b = { 0 };
    sy_json j;
    int kept = 0;
    sy_json_open(&j, &b, 1);
    sy_json_begin(&j, '{');
    for (int i = 0; i < g->keys; i++) {
        const sy_gguf_key *k = &g->key[i];
        if (sy_gguf_card_knows(&o->c->gcard, k->key) || !strncmp(k->key, "tokenizer.", 10) || !strncmp(k->key, "split.", 6) || !strcmp(k->key, "general.alignment")) continue;
        kept++;
        sy_json_key(&j, k->key);
        sy_json_begin(&j, '{');
        sy_json_key(&j, "type"), sy_json_text(&j, sy_gguf_type_name(k->elem));
        sy_json_key(&j, "value");
        const uint8_t *at = k->data;
        if (k->type == SY_GGUF_ARRAY) sy_json_begin(&j, '[');
        for (uint64_t n = 0; n < k->n; n++) {
            size_t len;
            if (k->elem == SY_GGUF_TEXT) { const char *text = sy_gguf_next_text(&at, &len); sy_json_bytes(&j, text, len); }
            else put_elem(&j, k, n);
        }
        if (k->type == SY_GGUF_ARRAY) sy_json_end(&j, ']');
        sy_json_end(&j, '}');
    }
    sy_json_end(&j, '}');
    sy_buf_put(&b, "\n", 1);
    if (kept) return put_file(dir, "gguf_metadata.json", &b, err);
    sy_buf_free(&b);
    return SY_OK;
}

static sy_status write_folder(folder *o, const char *dir, sy_err *err)
{
    static const char *const meta[] = { "format", "pt", NULL };
    char path[1100];
    SY_TRY(sy_shards_write(dir, o->t, o->n, meta, o->c->o->shard, fill, o, err));
    SY_TRY(put_config(o, dir, err));
    if (!o->c->from_gguf) SY_TRY(copy_files(o, dir, err));
    else {
        SY_TRY(keep_metadata(o, dir, err));
        SY_TRY(sy_gguf_save_tokenizer(&o->c->files.g[0], dir, o->c->l, err));
    }
    SY_TRY(sy_path(path, sizeof path, dir, "modules.json", err));
    if (o->pooling != SY_POOL_NONE && o->f && !sy_file_exists(path)) SY_TRY(sy_pooling_write(o->pooling, dir, err));
    SY_TRY(sy_path(path, sizeof path, dir, "ledger.json", err));
    return sy_ledger_write(o->c->l, path, err);
}

/* The folder appears under its name when it is whole. */
static sy_status publish(const char *temp, const char *out, sy_err *err)
{
    char old[1100];
    if (!sy_is_dir(out)) return sy_dir_publish(temp, out, err);
    if (rmdir(out) == 0) return sy_dir_publish(temp, out, err);      /* an empty one */
    snprintf(old, sizeof old, "%.1000s.old.%ld", out, (long)getpid());
    if (rename(out, old) != 0) return sy_fail(err, SY_EIO, "cannot move %s away: %s", out, strerror(errno));
    sy_status st = sy_dir_publish(temp, out, err);
    if (st != SY_OK) { rename(old, out); return st; }
    return sy_remove_tree(old, err);
}

sy_status sy__to_folder(sy__conversion *c, sy_err *err)
{
    folder o = { .c = c };
    char temp[1100];
    size_t n = strlen(c->o->out);
    if (c->o->imatrix) return sy_fail(err, SY_EARG, "%s: importances serve the block types of a GGUF file; a folder has none", c->o->imatrix);
    o.pooling = c->spec->pooling;
    if (!c->spec->causal && !c->spec->lm_head) c->spec->pooling = SY_POOL_NONE;
    SY_TRY(choose_family(&o, err));
    if (!o.f) c->spec->pooling = o.pooling;
    SY_TRY(make_plan(&o, err));
    while (n > 1 && c->o->out[n - 1] == '/') n--;
    if (n > 1000) return sy_fail(err, SY_EARG, "the path %.80s... is too long", c->o->out);
    snprintf(temp, sizeof temp, "%.*s.tmp.%ld", (int)n, c->o->out, (long)getpid());
    SY_TRY(sy_remove_tree(temp, err));
    SY_TRY(sy_mkdirs(temp, err));
    sy_status st = write_folder(&o, temp, err);
    if (st == SY_OK) {
        char out[1100];
        snprintf(out, sizeof out, "%.*s", (int)n, c->o->out);
        st = publish(temp, out, err);
    }
    sy_err ignored;
    if (st != SY_OK) sy_remove_tree(temp, &ignored);
    return st;
}
