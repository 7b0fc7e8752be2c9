/* model/checkpoint.c - config.json and tensors, in and out, with an account of each. */
#include "model/checkpoint.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "model/gguf_files.h"
#include "model/layout.h"
#include "model/safetensors.h"
#include "model/shards.h"
#include "model/sums.h"
#include "tensor/product.h"

enum { MAX_INDEX = 1 << 28, NAME = SY_TENSOR_NAME };

/* --- config.json --------------------------------------------------------------------------------------------------------- */

sy_status sy_spec_read(const char *path, sy_spec *s, sy_arena *a, sy_err *err)
{
    sy_card c;
    SY_TRY(sy_card_read(&c, path, a, NULL, err));
    *s = c.spec;
    return SY_OK;
}

static sy_status write_text(const char *dir, const char *name, sy_buf *b, sy_err *err)
{
    char path[1024];
    sy_status st = b->failed ? sy_fail(err, SY_ENOMEM, "no memory to write %s", name) : sy_path(path, sizeof path, dir, name, err);
    if (st == SY_OK) st = sy_file_write(path, b->data, b->n, err);
    sy_buf_free(b);
    return st;
}

static sy_status write_config(const sy_model *m, const sy_family *f, const char *dir, int eos, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_status st = sy_card_write(&m->spec, f, &m->eng->methods, eos, &b, err);
    if (st != SY_OK) sy_buf_free(&b);
    SY_TRY(st);
    SY_TRY(write_text(dir, "config.json", &b, err));
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "do_sample"), sy_json_bool(&j, true);
    sy_json_key(&j, "temperature"), sy_json_real(&j, 1);
    if (eos >= 0) sy_json_key(&j, "eos_token_id"), sy_json_int(&j, eos);
    sy_json_end(&j, '}');
    sy_buf_put(&b, "\n", 1);
    return write_text(dir, "generation_config.json", &b, err);
}

/* --- tensors of a model --------------------------------------------------------------------------------------------------- */

#ifdef SY_DOUBLE
enum { REAL_TYPE = SY_DT_F64 };
#else
enum { REAL_TYPE = SY_DT_F32 };
#endif

typedef struct outs { sy_st_out *t; int n; sy_arena a; } outs;

/* Adds the tensors of one array that has a parameter's shape, under the engine's names. False without memory. */
static bool add_array(outs *o, const sy_param *p, const char *suffix, const sy_real *data)
{
    char name[NAME];
    int k = sy_param_pieces(p), first = strstr(p->name, "{e}") ? 1 : 0;
    size_t each = p->n / (size_t)k;
    for (int e = 0; e < k; e++) {
        sy_st_out *t = &o->t[o->n++];
        *t = (sy_st_out){ .name = sy_arena_strdup(&o->a, sy_piece_name(p, e, suffix, name, sizeof name)), .type = (sy_dtype)REAL_TYPE, .nd = p->w.nd - first, .data = data + e * each };
        for (int d = 0; d < t->nd; d++) t->dim[d] = p->w.dim[d + first];
        if (!t->name) return false;
    }
    return true;
}

static bool outs_open(outs *o, const sy_model *m, int each)
{
    size_t n = 1;
    for (int i = 0; i < m->params.n; i++) n += (size_t)each * sy_param_pieces(m->params.p[i]);
    *o = (outs){ 0 };
    o->t = sy_arena_array(&o->a, n + (size_t)m->n_sparse, sizeof *o->t);
    return o->t != NULL;
}

/* The array of a tensor that several pieces share, among those from `from` on; made when it is not there yet. NULL without memory. */
static sy_real *shared_array(outs *o, int from, const sy_place *at, const char *name)
{
    size_t n = 1;
    for (int i = from; i < o->n; i++) if (!strcmp(o->t[i].name, name)) return (sy_real *)o->t[i].data;
    sy_st_out *t = &o->t[o->n++];
    *t = (sy_st_out){ .name = sy_arena_strdup(&o->a, name), .type = (sy_dtype)REAL_TYPE, .nd = at->nd };
    for (int d = 0; d < at->nd; d++) n = sy_mul_size(n, (size_t)(t->dim[d] = at->dim[d]));
    t->data = sy_arena_array(&o->a, n, sizeof(sy_real));
    return t->name ? (sy_real *)t->data : NULL;
}

/* How a file calls a stored format; SY_DTYPES: it has no name there. */
static sy_dtype dtype_of(sy_wtype t)
{
    return t == SY_W_REAL ? (sy_dtype)REAL_TYPE : t == SY_W_F32 ? SY_DT_F32 : t == SY_W_F16 ? SY_DT_F16 : t == SY_W_BF16 ? SY_DT_BF16 : SY_DTYPES;
}

static const void *piece_data(const sy_param *p, int e, size_t each)
{
    return p->w.part ? p->w.part[e] : (const char *)p->w.data + sy_wtype_bytes(p->w.type, (size_t)e * each);
}

/* A piece in a stored format becomes numbers in memory of `a`. */
static const sy_real *piece_values(const sy_param *p, const void *data, size_t n, sy_arena *a)
{
    if (p->w.type == SY_W_REAL) return data;
    sy_real *v = sy_arena_array(a, n, sizeof *v);
    if (v) sy_weight_read(p->w.type, data, 0, n, v);
    return v;
}

/* All parameters under a family's names. A tensor that is one piece is written from where it lies, as it is stored; the others are put together,
 * those of a layer beside each other, so that looking back over the last few finds them. */
static bool add_params(outs *o, const sy_model *m, const sy_family *f)
{
    int from = 0;
    for (int i = 0; i < m->params.n; i++) {
        const sy_param *p = m->params.p[i];
        int k = sy_param_pieces(p);
        size_t each = p->n / (size_t)k;
        for (int e = 0; e < k; e++) {
            sy_place at;
            const void *piece = piece_data(p, e, each);
            sy_place_of(&at, f, &m->spec, p, e, 0);
            if (!at.whole) {
                sy_real *array = shared_array(o, from, &at, at.name);
                const sy_real *v = piece_values(p, piece, each, &o->a);
                if (!array || !v) return false;
                sy_place_write(&at, v, array);
                continue;
            }
            sy_st_out *t = &o->t[o->n++];
            *t = (sy_st_out){ .name = sy_arena_strdup(&o->a, at.name), .type = dtype_of(p->w.type), .nd = at.nd, .data = piece };
            memcpy(t->dim, at.dim, sizeof t->dim);
            if (!t->name) return false;
        }
        if (o->n - from > 4096) from = o->n - 64;
    }
    return true;
}

typedef struct saving { const sy_model *m; const sy_st_out *t; } saving;

/* From where it lies, which may be a mapped file. */
static sy_status put_tensor(void *arg, int i, sy_writer *w, sy_err *err)
{
    const saving *s = arg;
    SY_TRY(sy_writer_put(w, s->t[i].data, sy_st_out_bytes(&s->t[i]), err));
    return sy_model_whole(s->m, err);
}

static sy_status save_weights(const sy_model *m, const sy_family *f, const char *dir, uint64_t most, sy_ledger *l, sy_err *err)
{
    static const char *const meta[] = { "format", "pt", NULL };
    outs o;
    int pieces = 0;
    bool fits = outs_open(&o, m, 1) && add_params(&o, m, f);
    sy_status st = fits ? sy_shards_write(dir, o.t, o.n, meta, most, put_tensor, &(saving){ m, o.t }, err) : sy_fail(err, SY_ENOMEM, "no memory to save the model");
    for (int i = 0; i < o.n && st == SY_OK; i++) {
        uint64_t n = 1;
        for (int d = 0; d < o.t[i].nd; d++) n *= (uint64_t)o.t[i].dim[d];
        st = sy_ledger_add(l, SY_L_SAVED, o.t[i].name, NULL, n, err);
    }
    for (int i = 0; i < m->params.n; i++) if (strstr(m->params.p[i]->name, ".experts.{e}.")) pieces += sy_param_pieces(m->params.p[i]);
    l->experts = pieces;                             /* matrices, also where a tensor holds several */
    sy_arena_free(&o.a);
    return st;
}

/* The family it came from when that still fits, else the first that accepts it, else none: an own model. */
static sy_status family_for(const sy_model *m, const sy_family **out, sy_err *err)
{
    const sy_methods *methods = &m->eng->methods;
    sy_status st = m->family ? sy_family_accepts(m->family, &m->spec, methods, false, err) : SY_EUNSUP;
    *out = m->family;
    for (const sy_family *const *f = sy_families; st == SY_EUNSUP && *f; f++) st = sy_family_accepts(*out = *f, &m->spec, methods, false, err);
    if (st == SY_EUNSUP) *out = NULL;
    return st == SY_EUNSUP ? SY_OK : st;
}

static sy_status note_family(const sy_model *m, const sy_family *f, bool forced, sy_ledger *l, sy_err *err)
{
    sy_err why = { 0 };
    char note[256];
    if (!f) {
        bool lost = m->family && sy_family_accepts(m->family, &m->spec, &m->eng->methods, false, &why) == SY_EUNSUP;
        snprintf(note, sizeof note, "switchyard: %.200s", lost ? why.text : "no family of published models says all of this one");
        return sy_ledger_add(l, SY_L_NOTE, "model_type", note, 0, err);
    }
    SY_TRY(sy_ledger_add(l, SY_L_NOTE, "model_type", f->name, 0, err));
    if (!forced || sy_family_accepts(f, &m->spec, &m->eng->methods, false, &why) == SY_OK) return SY_OK;
    snprintf(note, sizeof note, "lost for training on: %.200s", why.text);
    return sy_ledger_add(l, SY_L_NOTE, "config.json", note, 0, err);
}

sy_status sy_model_save_as(const sy_model *m, const char *family, const char *dir, int eos, uint64_t most, sy_ledger *ledger, sy_err *err)
{
    sy_ledger own, *l = ledger ? ledger : &own;
    char path[1024];
    const sy_family *f = NULL;
    sy_status st = SY_OK;
    sy_ledger_open(l, "save", dir);
    for (int i = 0; i < m->params.n && st == SY_OK; i++)
        if (dtype_of(m->params.p[i]->w.type) == SY_DTYPES)
            st = sy_fail(err, SY_EUNSUP, "%s holds %s: a model whose weights stay in a GGUF file is not saved; switchyard convert makes a folder of the file", m->params.p[i]->name, sy_wtype_name(m->params.p[i]->w.type));
    if (st != SY_OK) { }
    else if (!family) st = family_for(m, &f, err);
    else if (strcmp(family, "switchyard")) {
        f = sy_family_find(family);
        if (!f) st = sy_fail(err, SY_ENOENT, "no family of models is called '%.60s'; switchyard inspect --help lists them", family);
        else st = sy_family_accepts(f, &m->spec, &m->eng->methods, true, err);
    }
    if (st == SY_OK) st = save_weights(m, f, dir, most, l, err);
    if (st == SY_OK) st = note_family(m, f, family != NULL, l, err);
    if (st == SY_OK) st = write_config(m, f, dir, eos, err);
    if (st == SY_OK) st = sy_path(path, sizeof path, dir, "ledger.json", err);
    if (st == SY_OK) st = sy_ledger_write(l, path, err);
    if (!ledger) sy_ledger_free(&own);
    return st;
}

sy_status sy_model_save(const sy_model *m, const char *dir, int eos, sy_ledger *ledger, sy_err *err) { return sy_model_save_as(m, NULL, dir, eos, 0, ledger, err); }

/* --- reading -------------------------------------------------------------------------------------------------------------- */

enum { MAX_SHARDS = 4096 };

typedef struct shard { const char *file; sy_map map; sy_st st; bool *taken; } shard;    /* taken [st.n]: tensors that found their place */
typedef struct files { shard *s; int n; bool whole; sy_arena a; } files;       /* whole: what does not fit into the address space is not read through windows */

static void files_close(files *f)
{
    for (int i = 0; i < f->n; i++) sy_map_close(&f->s[i].map);
    sy_arena_free(&f->a);
}

/* st, or SY_EIO when a file was cut short while it was read. */
static sy_status files_status(const files *f, sy_status st, sy_err *err)
{
    for (int i = 0; i < f->n; i++) {
        sy_status one = sy_map_status(&f->s[i].map, f->s[i].file, SY_OK, err);
        if (one != SY_OK) return one;
    }
    return st;
}

static sy_status parse_shard(shard *s, sy_arena *a, sy_err *err)
{
    SY_TRY(sy_st_open(&s->st, &s->map, s->file, a, err));
    s->taken = sy_arena_array(a, (size_t)s->st.n + 1, sizeof *s->taken);
    return s->taken ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to open %s", s->file);
}

static sy_status open_shard(files *f, const char *dir, const char *name, sy_err *err)
{
    char path[1024];
    shard *s = &f->s[f->n];
    SY_TRY(sy_path(path, sizeof path, dir, name, err));
    if (!(s->file = sy_arena_strdup(&f->a, path))) return sy_fail(err, SY_ENOMEM, "no memory to open %s", path);
    SY_TRY(f->whole ? sy_map_open(&s->map, path, err) : sy_map_open_windows(&s->map, path, err));
    f->n++;
    return parse_shard(s, &f->a, err);
}

/* The tensor of that name, marked as taken; *first: it was not yet. NULL when no shard has it. */
static const sy_st_tensor *take(const files *f, const char *name, bool *first)
{
    for (int i = 0; i < f->n; i++) {
        const sy_st_tensor *t = sy_st_find(&f->s[i].st, name);
        if (!t) continue;
        *first = !f->s[i].taken[t - f->s[i].st.t];
        f->s[i].taken[t - f->s[i].st.t] = true;
        return t;
    }
    return NULL;
}

static sy_status check_map(json_t *map, const files *f, const char *path, sy_err *err)
{
    const char *key;
    json_t *v;
    json_object_foreach(map, key, v) {
        const char *in = NULL;
        for (int i = 0; i < f->n; i++)
            if (sy_st_find(&f->s[i].st, key)) {
                if (in) return sy_fail(err, SY_EFORMAT, "%s: tensor '%.200s' stands in two shards; the files are of different models", path, key);
                in = strrchr(f->s[i].file, '/') + 1;
            }
        if (!in || strcmp(in, json_string_value(v))) return sy_fail(err, SY_EFORMAT, "%s: tensor '%.200s' should be in %s and is %s%s; the shards are of different models", path, key,
                                                                    json_string_value(v), in ? "in " : "nowhere", in ? in : "");
    }
    for (int i = 0; i < f->n; i++)
        for (int k = 0; k < f->s[i].st.n; k++)
            if (!json_object_get(map, f->s[i].st.t[k].name))
                return sy_fail(err, SY_EFORMAT, "%s does not name tensor '%.200s', which is in %s; the shards are of different models", path, f->s[i].st.t[k].name, strrchr(f->s[i].file, '/') + 1);
    return SY_OK;
}

/* "model-00002-of-00005.safetensors" says how many there are; all must say the same, and be that many. */
static sy_status check_count(const files *f, const char *path, sy_err *err)
{
    for (int i = 0; i < f->n; i++) {
        const char *name = strrchr(f->s[i].file, '/') + 1, *of = strstr(name, "-of-");
        int n = of ? atoi(of + 4) : 0;
        if (n && n != f->n) return sy_fail(err, SY_EFORMAT, "%s names %d shards, but %.100s is one of %d; the shards are of different models", path, f->n, name, n);
    }
    return SY_OK;
}

static sy_status open_index(files *f, const char *dir, json_t *root, const char *path, sy_err *err)
{
    json_t *map = json_object_get(root, "weight_map"), *v;
    const char *key;
    if (!json_is_object(map)) return sy_fail(err, SY_EFORMAT, "%s has no weight_map", path);
    json_object_foreach(map, key, v) {
        const char *name = json_string_value(v);
        if (!name || !*name || strchr(name, '/') || strchr(name, '\\') || !strcmp(name, "..") || *name == '.')
            return sy_fail(err, SY_EFORMAT, "%s: '%.100s' is not the name of a shard in this folder", path, name ? name : "(none)");
        int i = 0;
        while (i < f->n && strcmp(strrchr(f->s[i].file, '/') + 1, name)) i++;
        if (i < f->n) continue;
        if (f->n == MAX_SHARDS) return sy_fail(err, SY_EUNSUP, "%s names more than %d shards", path, MAX_SHARDS);
        SY_TRY(sy_within(err, open_shard(f, dir, name, err), "%s", path));
    }
    SY_TRY(check_count(f, path, err));
    return check_map(map, f, path, err);
}

static sy_status files_open(files *f, const char *dir, bool whole, sy_err *err)
{
    char path[1024];
    *f = (files){ .whole = whole };
    f->s = sy_arena_array(&f->a, MAX_SHARDS, sizeof *f->s);
    if (!f->s) return sy_fail(err, SY_ENOMEM, "no memory to open %s", dir);
    SY_TRY(sy_path(path, sizeof path, dir, "model.safetensors.index.json", err));
    if (!sy_file_exists(path)) return open_shard(f, dir, "model.safetensors", err);
    json_t *root;
    SY_TRY(sy_json_read(&root, path, MAX_INDEX, err));
    sy_status st = open_index(f, dir, root, path, err);
    json_decref(root);
    return st;
}

typedef struct reading {
    sy_model      *m;
    const files   *f;
    sy_ledger     *l;
    const sy_card *c;
    sy_arena       scratch;
    bool           bare, all;           /* the parameters have no memory yet; all that can stay in the files do */
    int            mapped;              /* parameters that stay there */
    double         need, left;          /* bytes of the others so far; that are free */
} reading;

static sy_status missing(const reading *r, const char *name, sy_err *err)
{
    const sy_ledger *l = r->l;
    if (!l) return sy_fail(err, SY_EFORMAT, "%s has no tensor '%s'; it belongs to another run", r->f->s[0].file, name);
    if (l->n && l->line[l->n - 1].kind == SY_L_MISSING && !strcmp(l->line[l->n - 1].name, name)) return SY_OK;      /* of several pieces in one tensor */
    return sy_ledger_add(r->l, SY_L_MISSING, name, NULL, 0, err);
}

/* Fills one array of a parameter's shape from tensors NAME+suffix of our own; a missing one is an error. */
static sy_status read_array(reading *r, const sy_param *p, const char *suffix, sy_real *out, sy_err *err)
{
    int k = sy_param_pieces(p);
    size_t each = p->n / (size_t)k;
    for (int e = 0; e < k; e++) {
        sy_place at;
        bool first;
        sy_place_of(&at, NULL, &r->m->spec, p, e, 0);
        const sy_st_tensor *t = take(r->f, sy_piece_name(p, e, suffix, at.name, sizeof at.name), &first);
        if (!t) return missing(r, at.name, err);
        SY_TRY(sy_place_read(&at, &(sy_source){ .t = t }, out + e * each, &r->scratch, err));
    }
    return SY_OK;
}

/* By a family's name, or without the prefix that some files leave out. */
static const sy_st_tensor *take_named(const reading *r, const char *name, const char *suffix, bool *first)
{
    char full[NAME + 16];
    const char *prefix = r->c->family ? r->c->family->prefix : NULL;
    size_t n = prefix ? strlen(prefix) : 0;
    snprintf(full, sizeof full, "%s%s", name, suffix);
    const sy_st_tensor *t = take(r->f, full, first);
    return t || !n || strncmp(full, prefix, n) ? t : take(r->f, full + n, first);
}

/* The first place where the files have this piece; at is that of the first row when they have none. */
static const sy_st_tensor *find_piece(const reading *r, const sy_param *p, int e, sy_place *at, bool *first)
{
    for (int n = 0; sy_place_of(at, r->c->family, &r->m->spec, p, e, n); n++) {
        const sy_st_tensor *t = take_named(r, at->name, at->layout & SY_LAY_MXFP4 ? "_blocks" : "", first);
        if (t) return t;
    }
    sy_place_of(at, r->c->family, &r->m->spec, p, e, 0);
    return NULL;
}

/* One line for one tensor of the file, however many pieces are read from it. */
static sy_status account(const reading *r, const sy_st_tensor *t, const sy_place *at, sy_err *err)
{
    bool same = (int)t->type == (int)REAL_TYPE;
    char note[96];
    snprintf(note, sizeof note, "%s%s%s", same ? "" : sy_dtype_name(t->type), same || at->whole ? "" : ", ",
             at->whole ? "" : at->layout & SY_LAY_MXFP4 ? "unpacked" : at->layout & SY_LAY_TRANSPOSED ? "transposed" : "taken apart");
    return sy_ledger_add(r->l, same && at->whole ? SY_L_LOADED : SY_L_CONVERTED, t->name, *note ? note : NULL, t->n, err);
}

/* Where a piece lies, with its scales; from->t is NULL when the files have none of it, which the ledger says. */
static sy_status locate(reading *r, const sy_param *p, int e, sy_place *at, sy_source *from, sy_err *err)
{
    bool first, scale_first;
    int experts = r->l->experts;
    const sy_st_tensor *t = find_piece(r, p, e, at, &first);
    *from = (sy_source){ .block = { r->c->fp8_block[0], r->c->fp8_block[1] } };
    if (!t) return missing(r, at->name, err);
    bool packed = at->layout & SY_LAY_MXFP4, fp8 = t->type == SY_DT_F8_E4M3 && r->c->family && r->c->family->fp8;
    if (packed || fp8) {
        char name[NAME + 16];
        from->scale = take_named(r, at->name, packed ? "_scales" : "_scale_inv", &scale_first);
        snprintf(name, sizeof name, "%s%s", at->name, packed ? "_scales" : "_scale_inv");
        if (!from->scale) return missing(r, name, err);
        if (scale_first) SY_TRY(sy_ledger_add(r->l, SY_L_CONVERTED, from->scale->name, "scales of packed weights", 0, err));
    }
    from->t = t;
    if (first) SY_TRY(account(r, t, at, err));
    r->l->experts = experts + (strstr(p->name, ".experts.{e}.") != NULL);            /* matrices, also where a tensor holds several, or one their scales */
    return SY_OK;
}

static sy_status read_param(reading *r, const sy_param *p, sy_err *err)
{
    int k = sy_param_pieces(p);
    size_t each = p->n / (size_t)k;
    for (int e = 0; e < k; e++) {
        sy_place at;
        sy_source from;
        SY_TRY(locate(r, p, e, &at, &from, err));
        if (from.t) SY_TRY(sy_place_read(&at, &from, (sy_real *)p->w.data + (size_t)e * each, &r->scratch, err));
    }
    return SY_OK;
}

/* --- weights that stay in their files -------------------------------------------------------------------------------------- */

enum { MAP_FROM = 1 << 20 };            /* bytes of a parameter from which on it is used where it lies */

static sy_wtype stored_as(const sy_source *from)
{
    if (from->scale) return SY_WTYPES;
    return from->t->type == SY_DT_F32 ? SY_W_F32 : from->t->type == SY_DT_F16 ? SY_W_F16 : from->t->type == SY_DT_BF16 ? SY_W_BF16 : SY_WTYPES;
}

/* Whether only products and the embedding read it, which take every stored format. */
static bool only_multiplied(const sy_param *p)
{
    size_t n = strlen(p->name);
    return (n > 12 && !strcmp(p->name + n - 12, "_proj.weight")) || !strcmp(p->name, "model.embed_tokens.weight") || !strcmp(p->name, "lm_head.weight");
}

/* The one format in which all pieces lie in runs, SY_WTYPES without; their places to where [k]. */
static sy_wtype lies(const sy_param *p, const sy_place *at, const sy_source *from, int k, const void **where)
{
    sy_wtype type = from[0].t ? stored_as(&from[0]) : SY_WTYPES;
    bool aligned = true;
    for (int e = 0; e < k && type != SY_WTYPES; e++) {
        bool run = at[e].block >= at[e].rows && (at[e].col_step == 1 || at[e].cols == 1);
        if (!from[e].t || stored_as(&from[e]) != type || !run) return SY_WTYPES;
        where[e] = from[e].t->data + sy_wtype_bytes(type, at[e].base + (size_t)at[e].first * at[e].row_step);
        aligned &= (uintptr_t)where[e] % sizeof(sy_real) == 0;
    }
    return type == SY_WTYPES || only_multiplied(p) || (type == SY_W_F32 && aligned) ? type : SY_WTYPES;
}

static sy_status stay(reading *r, sy_param *p, sy_wtype type, const void **where, int k, sy_err *err)
{
    size_t each = sy_wtype_bytes(type, p->n / (size_t)k);
    bool run = true;
    for (int e = 1; e < k; e++) run &= (const char *)where[e] == (const char *)where[0] + (size_t)e * each;
    r->mapped++;
    return run ? sy_param_store(p, type, where[0], err) : sy_param_store_parts(p, type, where, err);
}

/* A parameter without memory is used where it lies, when it is large enough (all: whatever its size), else it gets memory and is read. */
static sy_status place_param(reading *r, sy_param *p, bool all, sy_err *err)
{
    int k = sy_param_pieces(p);
    size_t each = p->n / (size_t)k;
    sy_mark mark = sy_arena_mark(&r->scratch);
    sy_place *at = sy_arena_array(&r->scratch, (size_t)k, sizeof *at);
    sy_source *from = sy_arena_array(&r->scratch, (size_t)k, sizeof *from);
    const void **where = sy_arena_array(&r->m->arena, (size_t)k, sizeof *where);
    if (!at || !from || !where) return sy_fail(err, SY_ENOMEM, "no memory to open %s", p->name);
    for (int e = 0; e < k; e++) {
        SY_TRY(locate(r, p, e, &at[e], &from[e], err));
        if (from[e].t) SY_TRY(sy_place_check(&at[e], &from[e], err));
    }
    sy_wtype type = lies(p, at, from, k, where);
    if (type != SY_WTYPES && (all || sy_wtype_bytes(type, p->n) >= MAP_FROM)) return stay(r, p, type, where, k, err);
    r->need += (double)p->n * sizeof(sy_real);
    if (r->need > r->left) return sy_fail(err, SY_ENOMEM, "the weights that must be unpacked need more than the %.1f GB that are free", r->left / 1e9);
    if (!sy_param_own(p, &r->m->arena)) return sy_fail(err, SY_ENOMEM, "no memory for %s", p->name);
    for (int e = 0; e < k; e++)
        if (from[e].t) SY_TRY(sy_place_read(&at[e], &from[e], (sy_real *)p->w.data + (size_t)e * each, &r->scratch, err));
    sy_arena_release(&r->scratch, mark);
    return SY_OK;
}

static sy_status files_whole(const void *held, sy_err *err) { return files_status(held, SY_OK, err); }

static void let_go(void *held)
{
    files_close(held);
    sy_free(held);
}

/* The rule that leaves a tensor out, or NULL. */
static const char *rule_for(const reading *r, const sy_st_tensor *t)
{
    const sy_family *f = r->c->family;
    const sy_spec *s = &r->m->spec;
    sy_place head;
    static const sy_param lm_head = { .name = "lm_head.weight", .w = { .nd = 2, .dim = { 1, 1 } } };
    if (s->tie_word_embeddings && sy_place_of(&head, f, s, &lm_head, 0, 0) && !strcmp(head.name, t->name)) return "the head is tied to the embedding";
    for (const sy_family_skip *k = f ? f->skips : NULL; k && k->file; k++) {
        bool mask = t->nd == 4 && t->dim[0] == 1 && t->dim[1] == 1 && t->dim[2] == t->dim[3];
        if ((!k->square || mask) && sy_name_matches(k->file, t->name, s->num_hidden_layers, r->c->mtp_layers)) return k->why;
    }
    return NULL;
}

/* What no parameter took, then the account. */
static sy_status settle(const reading *r, sy_err *err)
{
    for (int i = 0; i < r->f->n; i++)
        for (int k = 0; k < r->f->s[i].st.n; k++) {
            const sy_st_tensor *t = &r->f->s[i].st.t[k];
            if (r->f->s[i].taken[k]) continue;
            const char *why = rule_for(r, t);
            SY_TRY(sy_ledger_add(r->l, why ? SY_L_SKIPPED : SY_L_UNKNOWN, t->name, why, 0, err));
        }
    return sy_ledger_settle(r->l, err);
}

static sy_status read_all(reading *r, sy_err *err)
{
    for (int i = 0; i < r->m->params.n; i++) SY_TRY(r->bare ? place_param(r, r->m->params.p[i], r->all, err) : read_param(r, r->m->params.p[i], err));
    return settle(r, err);
}

/* how: SY_MODEL_BARE for a model without memory, whose weights may stay in the files; SY_MODEL_MAPPED for all of them. The files are the model's then,
 * or closed. */
static sy_status read_tensors(sy_model *m, const sy_card *c, files *f, const char *dir, unsigned how, sy_ledger *l, sy_err *err)
{
    files *held = NULL;
    reading r = { .m = m, .f = f, .l = l, .c = c, .bare = how & SY_MODEL_BARE, .all = how & SY_MODEL_MAPPED, .left = sy_memory_left() };
    sy_status st = files_status(f, read_all(&r, err), err);
    if (st == SY_OK && r.mapped && !(held = sy_malloc(sizeof *held))) st = sy_fail(err, SY_ENOMEM, "no memory to open %s", dir);
    if (held) {
        *held = *f;
        m->held = held;
        m->let_go = let_go;
        m->whole = files_whole;
    } else files_close(f);
    *f = (files){ 0 };
    sy_arena_free(&r.scratch);
    m->family = c->family;
    return st;
}

struct sy_pieces { files f; reading r; };

sy_status sy_pieces_open(sy_pieces **out, const char *dir, const sy_card *c, sy_model *m, sy_ledger *l, sy_err *err)
{
    sy_pieces *p = sy_calloc(1, sizeof *p);
    if (!p) return sy_fail(err, SY_ENOMEM, "no memory to open %s", dir);
    sy_status st = files_open(&p->f, dir, false, err);
    p->r = (reading){ .m = m, .f = &p->f, .l = l, .c = c };
    if (st != SY_OK) { sy_pieces_close(p); return st; }
    *out = p;
    return SY_OK;
}

void sy_pieces_close(sy_pieces *p)
{
    if (!p) return;
    files_close(&p->f);
    sy_arena_free(&p->r.scratch);
    sy_free(p);
}

sy_status sy_pieces_find(sy_pieces *p, const sy_param *param, int e, sy_place *at, sy_source *from, sy_err *err) { return locate(&p->r, param, e, at, from, err); }
sy_status sy_pieces_settle(sy_pieces *p, sy_err *err) { return settle(&p->r, err); }
sy_status sy_pieces_status(const sy_pieces *p, sy_status st, sy_err *err) { return files_status(&p->f, st, err); }

static sy_status read_card(sy_card *c, const char *dir, sy_arena *a, sy_ledger *l, sy_err *err)
{
    char path[1024];
    SY_TRY(sy_path(path, sizeof path, dir, "config.json", err));
    return sy_card_read(c, path, a, l, err);
}

sy_status sy_model_read(sy_model *m, const char *dir, sy_ledger *ledger, sy_err *err)
{
    sy_ledger own, *l = ledger ? ledger : &own;
    sy_arena a = { 0 };
    sy_card c;
    files f = { 0 };
    sy_ledger_open(l, "load", dir);
    sy_status st = read_card(&c, dir, &a, l, err);
    if (st == SY_OK && m->held) st = sy_fail(err, SY_EARG, "the weights of this model lie in files that are only read; open it for training to read others into it");
    if (st == SY_OK) st = files_open(&f, dir, false, err);
    if (st == SY_OK) st = read_tensors(m, &c, &f, dir, 0, l, err);
    files_close(&f);
    sy_arena_free(&a);
    if (!ledger) sy_ledger_free(&own);
    return st;
}

/* A config.json may claim any size: before memory is taken for it, the files must hold at least an eighth of the numbers that a large model of that
 * spec has (a spec's size counts three matrices for each expert; kinds with fewer are smaller). */
static sy_status check_size(const sy_spec *spec, const files *f, const char *dir, sy_err *err)
{
    double want, have = 0;
    sy_spec_size(spec, 0, &want, NULL, NULL);
    if (want < 1 << 26) return SY_OK;
    for (int i = 0; i < f->n; i++) for (int k = 0; k < f->s[i].st.n; k++) have += (double)f->s[i].st.t[k].n;
    if (have < want / 8) return sy_fail(err, SY_ESHAPE, "%s: config.json describes %.3g parameters, the files hold %.3g; they are of different models", dir, want, have);
    return SY_OK;
}

sy_status sy_model_load(sy_model **out, sy_engine *eng, const char *dir, unsigned how, sy_ledger *ledger, sy_err *err)
{
    char found[1024];
    sy_ledger own, *l = ledger ? ledger : &own;
    sy_arena a = { 0 };
    sy_card c;
    files f = { 0 };
    sy_model *m = NULL;
    if (sy_is_gguf(dir) && !sy_is_dir(dir)) return sy_gguf_model_load(out, eng, dir, how, ledger, err);
    sy_ledger_open(l, "load", dir);
    l->strict = how & SY_MODEL_STRICT;
    sy_status st = sy_checkpoint_find(dir, found, sizeof found, err);
    if (st == SY_OK) st = read_card(&c, found, &a, l, err);
    /* Methods of the families know parameters without memory; a build of doubles has no use for floats where they lie. */
    bool stays = st == SY_OK && c.family && !(how & SY_MODEL_TRAIN) && sizeof(sy_real) == sizeof(float);
    unsigned kind = stays ? SY_MODEL_BARE | (how & SY_MODEL_MAPPED) : SY_MODEL_EMPTY | (how & SY_MODEL_TRAIN);
    if (st == SY_OK) st = files_open(&f, found, stays, err);
    if (st == SY_OK) st = check_size(&c.spec, &f, found, err);
    if (st == SY_OK) st = sy_within(err, sy_model_new(&m, eng, &c.spec, kind, 0, err), "%s", found);
    if (st == SY_OK) st = read_tensors(m, &c, &f, found, kind, l, err);
    files_close(&f);
    if (st == SY_OK) st = sy_sums_check_small(found, err);
    sy_arena_free(&a);
    if (!ledger) sy_ledger_free(&own);
    if (st != SY_OK) { sy_model_free(m); return st; }
    *out = m;
    return SY_OK;
}

/* --- training state ------------------------------------------------------------------------------------------------------- */

static char *counts_name(const sy_block *b, char *buf) { snprintf(buf, NAME, "model.layers.%d.mlp.gate.last_counts", b->site.layer); return buf; }

sy_status sy_state_save(const sy_model *m, const char *path, const sy_state_item *item, int n, sy_err *err)
{
    outs o;
    bool fits = outs_open(&o, m, 2);
    const char **meta = fits ? sy_arena_array(&o.a, 2 * (size_t)n + 1, sizeof *meta) : NULL;
    fits = meta != NULL;
    for (int i = 0; i < n && fits; i++) {
        meta[2 * i] = item[i].key;
        fits = (meta[2 * i + 1] = sy_arena_printf(&o.a, "%lld", (long long)item[i].value)) != NULL;
    }
    for (int i = 0; i < m->params.n && fits; i++) {
        const sy_param *p = m->params.p[i];
        if (p->m) fits = add_array(&o, p, ".m", p->m) && add_array(&o, p, ".v", p->v);
    }
    for (int l = 0; l < m->spec.num_hidden_layers && fits; l++) {
        char name[NAME];
        const sy_block *b = &m->layer[l].block;
        if (!m->layer[l].sparse) continue;
        sy_st_out *t = &o.t[o.n++];
        *t = (sy_st_out){ .name = sy_arena_strdup(&o.a, counts_name(b, name)), .type = SY_DT_I64, .nd = 1, .dim = { b->site.E + b->site.Z }, .data = b->counts.prev };
        fits = t->name != NULL;
    }
    sy_status st = fits ? sy_st_write(path, o.t, o.n, meta, err) : sy_fail(err, SY_ENOMEM, "no memory to save the training state");
    sy_arena_free(&o.a);
    return st;
}

struct state_reading { reading r; sy_state_item *item; int n; };

static sy_status read_state(struct state_reading *s, sy_err *err)
{
    const shard *f = &s->r.f->s[0];
    for (int i = 0; i < s->n; i++) {
        const char *v = sy_st_meta(&f->st, s->item[i].key);
        char *end;
        if (!v) return sy_fail(err, SY_EFORMAT, "%s says nothing of '%s'; it is no training state of this version", f->file, s->item[i].key);
        errno = 0;
        s->item[i].value = strtoll(v, &end, 10);
        if (end == v || *end || errno) return sy_fail(err, SY_EFORMAT, "%s: '%s' is not a whole number", f->file, s->item[i].key);
    }
    for (int i = 0; i < s->r.m->params.n; i++) {
        const sy_param *p = s->r.m->params.p[i];
        if (!p->m) continue;
        SY_TRY(read_array(&s->r, p, ".m", p->m, err));
        SY_TRY(read_array(&s->r, p, ".v", p->v, err));
    }
    for (int l = 0; l < s->r.m->spec.num_hidden_layers; l++) {
        char name[NAME];
        sy_block *b = &s->r.m->layer[l].block;
        if (!s->r.m->layer[l].sparse) continue;
        bool first;
        const sy_st_tensor *t = take(s->r.f, counts_name(b, name), &first);
        if (!t || t->type != SY_DT_I64 || t->n != (size_t)(b->site.E + b->site.Z)) return sy_fail(err, SY_EFORMAT, "%s: tensor '%s' is missing or has another size", f->file, name);
        memcpy(b->counts.prev, t->data, t->bytes);
    }
    for (int k = 0; k < f->st.n; k++)
        if (!f->taken[k]) return sy_fail(err, SY_EFORMAT, "%s: tensor '%s' has no place in this model; the state belongs to another run", f->file, f->st.t[k].name);
    return SY_OK;
}

sy_status sy_state_load(sy_model *m, const char *path, sy_state_item *item, int n, sy_err *err)
{
    files f = { 0 };
    shard s = { .file = path };
    f.s = &s;
    f.n = 1;
    SY_TRY(sy_map_open(&s.map, path, err));
    sy_status st = parse_shard(&s, &f.a, err);
    struct state_reading r = { { .m = m, .f = &f }, item, n };
    if (st == SY_OK) st = files_status(&f, read_state(&r, err), err);
    files_close(&f);
    sy_arena_free(&r.r.scratch);
    return st;
}

/* --- run folders ---------------------------------------------------------------------------------------------------------- */

sy_status sy_checkpoint_find(const char *dir, char *out, size_t size, sy_err *err)
{
    char path[1024], steps[1024];
    bool file = sy_is_gguf(dir) && sy_file_exists(dir) && !sy_is_dir(dir);
    if (!file && !sy_is_dir(dir)) return sy_fail(err, SY_ENOENT, "%s is not a folder; give the folder of a model or of a training run, or a GGUF file", dir);
    SY_TRY(sy_path(path, sizeof path, dir, "config.json", err));
    if (file || sy_file_exists(path)) {
        if (strlen(dir) >= size) return sy_fail(err, SY_EARG, "the path %.80s... is too long", dir);
        snprintf(out, size, "%s", dir);
        return SY_OK;
    }
    SY_TRY(sy_path(steps, sizeof steps, dir, "checkpoints", err));
    sy_arena a = { 0 };
    const char **names, *best = NULL;
    int n = 0;
    sy_status st = sy_is_dir(steps) ? sy_dir_list(steps, &a, &names, &n, err) : SY_OK;
    for (int i = 0; i < n; i++)
        if (!strncmp(names[i], "step-", 5)) best = names[i];     /* sorted, zero-padded: the last is the newest */
    if (st == SY_OK) st = best ? sy_path(out, size, steps, best, err) : sy_fail(err, SY_ENOENT, "%s holds no config.json and no checkpoints; is it the folder of a model?", dir);
    sy_arena_free(&a);
    return st;
}
