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
#include "model/safetensors.h"

enum { MAX_CONFIG = 1 << 22, MAX_INDEX = 1 << 28, NAME = 256 };

/* --- config.json --------------------------------------------------------------------------------------------------------- */

/* Keys of Hugging Face that say nothing about the computation. */
static const char *const ignored[] = { "architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "use_cache", "bos_token_id", "eos_token_id",
                                       "pad_token_id", "switchyard_version", NULL };

static bool is_ignored(const char *key)
{
    for (const char *const *k = ignored; *k; k++) if (!strcmp(*k, key)) return true;
    return false;
}

/* A JSON value as the text that an option reads; arrays of texts are joined by blanks. */
static sy_status value_text(json_t *v, const char *key, const char *path, sy_buf *b, sy_err *err)
{
    sy_buf_clear(b);
    if (json_is_string(v)) sy_buf_text(b, json_string_value(v));
    else if (json_is_integer(v)) sy_buf_printf(b, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v)) sy_buf_printf(b, "%.17g", json_real_value(v));
    else if (json_is_boolean(v)) sy_buf_text(b, json_is_true(v) ? "true" : "false");
    else if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++) {
            const char *s = json_string_value(json_array_get(v, i));
            if (!s) return sy_fail(err, SY_EFORMAT, "%s: '%s' must be a list of texts", path, key);
            sy_buf_printf(b, "%s%s", i ? " " : "", s);
        }
        sy_buf_put(b, "", 0);
    } else return sy_fail(err, SY_EFORMAT, "%s: '%s' has no plain value", path, key);
    return b->failed ? sy_fail(err, SY_ENOMEM, "%s: no memory for '%s'", path, key) : SY_OK;
}

static sy_status spec_of(json_t *root, const char *path, sy_spec *s, sy_arena *a, sy_err *err)
{
    const char *type = json_string_value(json_object_get(root, "model_type")), *key;
    json_t *v;
    sy_buf b = { 0 };
    sy_status st = SY_OK;
    if (!json_is_object(root)) return sy_fail(err, SY_EFORMAT, "%s is not a JSON object", path);
    if (!type || strcmp(type, "switchyard"))
        return sy_fail(err, SY_EUNSUP, "%s: model_type is '%.60s'; this version opens models of type 'switchyard'", path, type ? type : "(none)");
    sy_spec_defaults(s);
    json_object_foreach(root, key, v) {
        if (is_ignored(key) || json_is_null(v)) continue;
        st = value_text(v, key, path, &b, err);
        if (st == SY_OK) st = sy_within(err, sy_opt_set(sy_spec_opts, s, key, b.data ? b.data : "", a, NULL, err), "%s", path);
        if (st != SY_OK) break;
    }
    sy_buf_free(&b);
    return st == SY_OK ? sy_within(err, sy_spec_check(s, err), "%s", path) : st;
}

sy_status sy_spec_read(const char *path, sy_spec *s, sy_arena *a, sy_err *err)
{
    json_t *root;
    SY_TRY(sy_json_read(&root, path, MAX_CONFIG, err));
    sy_status st = spec_of(root, path, s, a, err);
    json_decref(root);
    return st;
}

struct writing { sy_json *j; const sy_spec *s; };

static void write_key(const sy_opt *row, size_t at, int index, void *arg)
{
    (void)index;
    struct writing *w = arg;
    const char *f = (const char *)w->s + at;
    char buf[64];
    sy_json_key(w->j, row->name);
    switch (row->type) {
    case SY_OPT_INT: sy_json_int(w->j, *(const int *)f); break;
    case SY_OPT_REAL: sy_json_real(w->j, *(const double *)f); break;
    case SY_OPT_BOOL: sy_json_bool(w->j, *(const bool *)f); break;
    case SY_OPT_TEXT: sy_json_text(w->j, *(const char *const *)f); break;
    default: sy_json_text(w->j, sy_opt_print(row, w->s, at, buf, sizeof buf)); break;
    }
}

static sy_status write_json(const char *dir, const char *name, sy_buf *b, sy_err *err)
{
    char path[1024];
    sy_buf_put(b, "\n", 1);
    sy_status st = b->failed ? sy_fail(err, SY_ENOMEM, "no memory to write %s", name) : sy_path(path, sizeof path, dir, name, err);
    if (st == SY_OK) st = sy_file_write(path, b->data, b->n, err);
    sy_buf_free(b);
    return st;
}

static sy_status write_config(const sy_model *m, const char *dir, int eos, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    struct writing w = { &j, &m->spec };
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "architectures"), sy_json_begin(&j, '['), sy_json_text(&j, "SwitchyardForCausalLM"), sy_json_end(&j, ']');
    sy_json_key(&j, "model_type"), sy_json_text(&j, "switchyard");
    sy_json_key(&j, "torch_dtype"), sy_json_text(&j, SY_REAL_NAME);
    sy_opt_each(sy_spec_opts, write_key, &w);
    sy_json_end(&j, '}');
    SY_TRY(write_json(dir, "config.json", &b, err));
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "do_sample"), sy_json_bool(&j, true);
    sy_json_key(&j, "temperature"), sy_json_real(&j, 1);
    if (eos >= 0) sy_json_key(&j, "eos_token_id"), sy_json_int(&j, eos);
    sy_json_end(&j, '}');
    return write_json(dir, "generation_config.json", &b, err);
}

/* --- tensors of a model --------------------------------------------------------------------------------------------------- */

/* A parameter is one tensor on disk, or one for each index of dimension 0 where its name holds "{e}". */
static int pieces(const sy_param *p) { return strstr(p->name, "{e}") ? p->w.dim[0] : 1; }

static char *piece_name(const sy_param *p, int e, const char *suffix, char *buf)
{
    const char *hole = strstr(p->name, "{e}");
    if (hole) snprintf(buf, NAME, "%.*s%d%s%s", (int)(hole - p->name), p->name, e, hole + 3, suffix);
    else snprintf(buf, NAME, "%s%s", p->name, suffix);
    return buf;
}

#ifdef SY_DOUBLE
enum { REAL_TYPE = SY_DT_F64 };
static sy_status read_real(const sy_st_tensor *t, size_t n, sy_real *out, sy_err *err) { return sy_st_read_f64(t, 0, n, out, err); }
#else
enum { REAL_TYPE = SY_DT_F32 };
static sy_status read_real(const sy_st_tensor *t, size_t n, sy_real *out, sy_err *err) { return sy_st_read_f32(t, 0, n, out, err); }
#endif

typedef struct outs { sy_st_out *t; int n; sy_arena a; } outs;

/* Adds the tensors of one array that has a parameter's shape. False without memory. */
static bool add_array(outs *o, const sy_param *p, const char *suffix, const sy_real *data)
{
    char name[NAME];
    int k = pieces(p), first = strstr(p->name, "{e}") ? 1 : 0;
    size_t each = p->n / (size_t)k;
    for (int e = 0; e < k; e++) {
        sy_st_out *t = &o->t[o->n++];
        *t = (sy_st_out){ .name = sy_arena_strdup(&o->a, piece_name(p, e, suffix, name)), .type = (sy_dtype)REAL_TYPE, .nd = p->w.nd - first, .data = data + e * each };
        for (int d = 0; d < t->nd; d++) t->dim[d] = p->w.dim[d + first];
        if (!t->name) return false;
    }
    return true;
}

static bool outs_open(outs *o, const sy_model *m, int each)
{
    size_t n = 1;
    for (int i = 0; i < m->params.n; i++) n += (size_t)each * pieces(m->params.p[i]);
    *o = (outs){ 0 };
    o->t = sy_arena_array(&o->a, n + (size_t)m->n_sparse, sizeof *o->t);
    return o->t != NULL;
}

static sy_status save_weights(const sy_model *m, const char *dir, sy_ledger *l, sy_err *err)
{
    static const char *const meta[] = { "format", "pt", NULL };
    char path[1024];
    outs o;
    bool fits = outs_open(&o, m, 1);
    for (int i = 0; i < m->params.n && fits; i++) fits = add_array(&o, m->params.p[i], "", m->params.p[i]->w.data);
    sy_status st = fits ? sy_path(path, sizeof path, dir, "model.safetensors", err) : sy_fail(err, SY_ENOMEM, "no memory to save the model");
    if (st == SY_OK) st = sy_st_write(path, o.t, o.n, meta, err);
    for (int i = 0; i < o.n && st == SY_OK; i++) {
        uint64_t n = 1;
        for (int d = 0; d < o.t[i].nd; d++) n *= (uint64_t)o.t[i].dim[d];
        st = sy_ledger_add(l, SY_L_SAVED, o.t[i].name, NULL, n, err);
    }
    sy_arena_free(&o.a);
    return st;
}

sy_status sy_model_save(const sy_model *m, const char *dir, int eos, sy_ledger *ledger, sy_err *err)
{
    sy_ledger own, *l = ledger ? ledger : &own;
    char path[1024];
    sy_ledger_open(l, "save", dir);
    sy_status st = save_weights(m, dir, l, err);
    if (st == SY_OK) st = write_config(m, dir, eos, err);
    if (st == SY_OK) st = sy_path(path, sizeof path, dir, "ledger.json", err);
    if (st == SY_OK) st = sy_ledger_write(l, path, err);
    if (!ledger) sy_ledger_free(&own);
    return st;
}

/* --- reading -------------------------------------------------------------------------------------------------------------- */

enum { MAX_SHARDS = 4096 };

typedef struct shard { const char *file; sy_map map; sy_st st; bool *taken; } shard;    /* taken [st.n]: tensors that found their place */
typedef struct files { shard *s; int n; sy_arena a; } files;

static void files_close(files *f)
{
    for (int i = 0; i < f->n; i++) sy_map_close(&f->s[i].map);
    sy_arena_free(&f->a);
}

static sy_status parse_shard(shard *s, sy_arena *a, sy_err *err)
{
    SY_TRY(sy_st_parse(&s->st, s->map.data, s->map.size, s->file, a, err));
    s->taken = sy_arena_array(a, (size_t)s->st.n + 1, sizeof *s->taken);
    return s->taken ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to open %s", s->file);
}

static sy_status open_shard(files *f, const char *dir, const char *name, sy_err *err)
{
    char path[1024];
    shard *s = &f->s[f->n];
    SY_TRY(sy_path(path, sizeof path, dir, name, err));
    if (!(s->file = sy_arena_strdup(&f->a, path))) return sy_fail(err, SY_ENOMEM, "no memory to open %s", path);
    SY_TRY(sy_map_open(&s->map, path, err));
    f->n++;
    return parse_shard(s, &f->a, err);
}

/* The tensor of that name, marked as taken; NULL when no shard has it. */
static const sy_st_tensor *take(const files *f, const char *name)
{
    for (int i = 0; i < f->n; i++) {
        const sy_st_tensor *t = sy_st_find(&f->s[i].st, name);
        if (!t) continue;
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
    return check_map(map, f, path, err);
}

static sy_status files_open(files *f, const char *dir, sy_err *err)
{
    char path[1024];
    *f = (files){ 0 };
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

static bool same_shape(const sy_st_tensor *t, const sy_param *p)
{
    int first = strstr(p->name, "{e}") ? 1 : 0;
    if (t->nd != p->w.nd - first) return false;
    for (int d = 0; d < t->nd; d++) if (t->dim[d] != p->w.dim[d + first]) return false;
    return true;
}

typedef struct reading { sy_model *m; const files *f; sy_ledger *l; } reading;

/* Fills one array of a parameter's shape from tensors NAME+suffix; a missing one is noted in the ledger, or an error without one. */
static sy_status read_array(const reading *r, const sy_param *p, const char *suffix, sy_real *out, sy_err *err)
{
    char name[NAME];
    int k = pieces(p);
    size_t each = p->n / (size_t)k;
    for (int e = 0; e < k; e++) {
        const sy_st_tensor *t = take(r->f, piece_name(p, e, suffix, name));
        if (!t && r->l) { SY_TRY(sy_ledger_add(r->l, SY_L_MISSING, name, NULL, 0, err)); continue; }
        if (!t) return sy_fail(err, SY_EFORMAT, "%s has no tensor '%s'; it belongs to another run", r->f->s[0].file, name);
        if (!same_shape(t, p)) {
            char have[64] = "";
            for (int d = 0, at = 0; d < t->nd && at < 40; d++) at += snprintf(have + at, sizeof have - (size_t)at, "%s%lld", d ? " x " : "", (long long)t->dim[d]);
            return sy_fail(err, SY_ESHAPE, "tensor '%s' is %s in the file; config.json gives it %zu values", name, have, each);
        }
        SY_TRY(read_real(t, each, out + e * each, err));
        if (r->l) SY_TRY(sy_ledger_add(r->l, (int)t->type == (int)REAL_TYPE ? SY_L_LOADED : SY_L_CONVERTED, name, (int)t->type == (int)REAL_TYPE ? NULL : sy_dtype_name(t->type), each, err));
    }
    return SY_OK;
}

static sy_status read_all(void *arg, sy_err *err)
{
    reading *r = arg;
    for (int i = 0; i < r->m->params.n; i++) SY_TRY(read_array(r, r->m->params.p[i], "", r->m->params.p[i]->w.data, err));
    for (int i = 0; i < r->f->n; i++)
        for (int k = 0; k < r->f->s[i].st.n; k++) {
            const char *name = r->f->s[i].st.t[k].name;
            if (r->f->s[i].taken[k]) continue;
            if (r->m->spec.tie_word_embeddings && !strcmp(name, "lm_head.weight")) SY_TRY(sy_ledger_add(r->l, SY_L_SKIPPED, name, "the head is tied to the embedding", 0, err));
            else SY_TRY(sy_ledger_add(r->l, SY_L_UNKNOWN, name, NULL, 0, err));
        }
    return sy_ledger_settle(r->l, err);
}

sy_status sy_model_read(sy_model *m, const char *dir, sy_ledger *ledger, sy_err *err)
{
    sy_ledger own, *l = ledger ? ledger : &own;
    files f;
    sy_ledger_open(l, "load", dir);
    sy_status st = files_open(&f, dir, err);
    reading r = { m, &f, l };
    if (st == SY_OK) st = sy_map_guard(dir, read_all, &r, err);
    files_close(&f);
    if (!ledger) sy_ledger_free(&own);
    return st;
}

/* A config.json may claim any size: before memory is taken for it, the files must hold at least an eighth of the numbers that a large model of that
 * spec has (a spec's size counts three matrices for each expert; kinds with fewer are smaller). */
static sy_status check_size(const sy_spec *spec, const char *dir, sy_err *err)
{
    double want, have = 0;
    files f;
    sy_spec_size(spec, 0, &want, NULL, NULL);
    if (want < 1 << 26) return SY_OK;
    sy_status st = files_open(&f, dir, err);
    for (int i = 0; i < f.n && st == SY_OK; i++) for (int k = 0; k < f.s[i].st.n; k++) have += (double)f.s[i].st.t[k].n;
    files_close(&f);
    if (st == SY_OK && have < want / 8) return sy_fail(err, SY_ESHAPE, "%s: config.json describes %.3g parameters, the files hold %.3g; they are of different models", dir, want, have);
    return st;
}

sy_status sy_model_load(sy_model **out, sy_engine *eng, const char *dir, unsigned how, sy_ledger *ledger, sy_err *err)
{
    char found[1024], path[1024];
    sy_spec spec;
    sy_arena a = { 0 };
    sy_model *m = NULL;
    if (ledger) sy_ledger_open(ledger, "load", dir);
    SY_TRY(sy_checkpoint_find(dir, found, sizeof found, err));
    sy_status st = sy_path(path, sizeof path, found, "config.json", err);
    if (st == SY_OK) st = sy_spec_read(path, &spec, &a, err);
    if (st == SY_OK) st = check_size(&spec, found, err);
    if (st == SY_OK) st = sy_within(err, sy_model_new(&m, eng, &spec, how | SY_MODEL_EMPTY, 0, err), "%s", found);
    if (st == SY_OK) st = sy_model_read(m, found, ledger, err);
    if (ledger) ledger->where = dir;                 /* `found` dies here */
    sy_arena_free(&a);
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

static sy_status read_state(void *arg, sy_err *err)
{
    struct state_reading *s = arg;
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
        const sy_st_tensor *t = take(s->r.f, counts_name(b, name));
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
    struct state_reading r = { { m, &f, NULL }, item, n };
    if (st == SY_OK) st = sy_map_guard(path, read_state, &r, err);
    files_close(&f);
    return st;
}

/* --- run folders ---------------------------------------------------------------------------------------------------------- */

sy_status sy_checkpoint_find(const char *dir, char *out, size_t size, sy_err *err)
{
    char path[1024], steps[1024];
    if (!sy_is_dir(dir)) return sy_fail(err, SY_ENOENT, "%s is not a folder; give the folder of a model or of a training run", dir);
    SY_TRY(sy_path(path, sizeof path, dir, "config.json", err));
    if (sy_file_exists(path)) {
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
