/* model/convert.c - opening the input, pieces of it as numbers, types, and the order of the work. */
#include "model/convert_parts.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "model/pooling.h"

/* --- pieces ----------------------------------------------------------------------------------------------------------------- */

static sy_wtype stored_as(sy_dtype t)
{
    return t == SY_DT_F32 ? SY_W_F32 : t == SY_DT_F16 ? SY_W_F16 : t == SY_DT_BF16 ? SY_W_BF16 : SY_WTYPES;
}

sy_status sy__piece_find(sy__conversion *c, const sy_param *p, int e, sy__piece *piece, sy_err *err)
{
    *piece = (sy__piece){ .type = SY_WTYPES };
    if (c->from_gguf) {
        SY_TRY(sy_gguf_piece(&c->files, &c->gcard, p, e, &piece->at, &piece->g, err));
        if (!piece->g.t) return sy_ledger_add(c->l, SY_L_MISSING, piece->at.name, NULL, 0, err);
        piece->type = piece->g.t->type;
        return SY_OK;
    }
    SY_TRY(sy_pieces_find(c->pieces, p, e, &piece->at, &piece->from, err));
    if (!piece->from.t) return SY_OK;
    piece->type = piece->at.layout & SY_LAY_MXFP4 ? SY_W_MXFP4 : stored_as(piece->from.t->type);
    piece->whole = (piece->from.scale && !(piece->at.layout & SY_LAY_MXFP4)) || piece->at.layout & SY_LAY_TRANSPOSED;
    return SY_OK;
}

static sy_status read_rows(sy__conversion *c, const sy__piece *piece, int from, int n, sy_real *out, sy_err *err)
{
    sy_place at = piece->at;
    if (c->from_gguf) return sy_gguf_piece_rows(&at, &piece->g, c->spec, from, n, out, err);
    if (from || n != at.rows) sy_place_rows(&at, from, n);
    return sy_place_read(&at, &piece->from, out, &c->eng->scratch[0], err);
}

sy_status sy__piece_rows(sy__conversion *c, const sy__piece *piece, int from, int n, sy_real *out, sy_err *err)
{
    sy_status st = read_rows(c, piece, from, n, out ? out : c->rows, err);
    return c->from_gguf ? sy_gguf_files_status(&c->files, st, err) : sy_pieces_status(c->pieces, st, err);
}

/* --- numbers into bytes ------------------------------------------------------------------------------------------------------- */

typedef struct encoding { sy_wtype type; const float *x, *weight; int rows, cols; uint8_t *out; _Atomic size_t bad; } encoding;

static void encode_rows(void *arg, int from, int to, int worker)
{
    encoding *e = arg;
    size_t cols = (size_t)e->cols, bytes = sy_wtype_bytes(e->type, cols);
    (void)worker;
    for (int r = from; r < to; r++) {
        const float *x = e->x + (size_t)r * cols;
        size_t k = sy_wtype_fits(e->type, x, cols), at = (size_t)r * cols + k, bad = e->bad;
        while (k < cols && at < bad && !atomic_compare_exchange_weak(&e->bad, &bad, at)) { }
        if (k == cols) sy_wtype_write(e->type, x, e->weight, cols, e->out + (size_t)r * bytes);
    }
}

sy_status sy__encode(sy__conversion *c, sy_wtype type, const float *x, const float *weight, int rows, int cols, uint8_t *out, const char *tensor, sy_err *err)
{
    encoding e = { .type = type, .x = x, .weight = weight, .rows = rows, .cols = cols, .out = out, .bad = SIZE_MAX };
    sy_each(c->eng, rows, (type <= SY_W_BF16 ? 2.0 : 300.0) * cols, encode_rows, &e);
    if (e.bad == SIZE_MAX) return SY_OK;
    return sy_fail(err, SY_ENUM, "tensor '%s' holds %g, which %s cannot; choose another type for it (--only '%s=bf16') or repair the model", tensor, (double)x[e.bad], sy_wtype_name(type), tensor);
}

sy_status sy__tell(sy__conversion *c, double bytes, const char *tensor, sy_err *err)
{
    c->done += bytes;
    if (!c->o->progress || c->o->progress(c->o->arg, c->done, c->all, tensor)) return SY_OK;
    return sy_fail(err, SY_ESTOP, "stopped; nothing was written to %s", c->o->out);
}

/* --- types -------------------------------------------------------------------------------------------------------------------- */

static bool ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);
    return n >= k && !strcmp(name + n - k, end);
}

/* What no product reads, or decides too much: vectors, norms, routers, positions. */
static bool stays_real(const char *name, int nd)
{
    static const char *const part[] = { "norm", "ffn_gate_inp", ".gate.weight", "shared_expert_gate", "position_embd", "token_types", "wpe.weight", ".router." };
    for (size_t i = 0; i < SY_COUNT(part); i++) if (strstr(name, part[i])) return true;
    return nd < 2 || ends_in(name, ".bias");
}

/* For rows that are no whole number of its blocks: the nearest type with shorter ones. */
static sy_wtype shorter(sy_wtype t)
{
    switch (t) {
    case SY_W_Q2_K: case SY_W_Q3_K: return SY_W_Q4_0;
    case SY_W_IQ4_XS: return SY_W_IQ4_NL;
    case SY_W_Q4_K: return SY_W_Q5_0;
    case SY_W_Q5_K: return SY_W_Q5_1;
    case SY_W_Q6_K: return SY_W_Q8_0;
    default: return SY_W_F16;
    }
}

static sy_status named(const char *text, sy_wtype *type, sy_err *err)
{
    sy_buf b = { 0 };
    *type = sy_wtype_named(text);
    if (*type != SY_WTYPES) return SY_OK;
    for (int t = SY_W_REAL + 1; t < SY_WTYPES; t++) sy_buf_printf(&b, "%s%s", b.n ? ", " : "", sy_wtype_name((sy_wtype)t));
    sy_fail(err, SY_EARG, "'%.40s' is no type of numbers; there are %s", text, b.data ? b.data : "none");
    sy_buf_free(&b);
    return SY_EARG;
}

sy_status sy__type_for(const sy__conversion *c, const char *name, int nd, int cols, sy_wtype stored, sy_wtype *type, const char **note, sy_err *err)
{
    const char *ask = NULL;
    *note = NULL;
    for (int i = 0; i < c->o->n_only && !ask; i++) {
        char pattern[256];
        const char *eq = strrchr(c->o->only[i], '=');
        if (!eq) return sy_fail(err, SY_EARG, "'%.100s' must be PATTERN=TYPE", c->o->only[i]);
        snprintf(pattern, sizeof pattern, "%.*s", (int)(eq - c->o->only[i]), c->o->only[i]);
        if (sy_name_matches(pattern, name, 0, 0)) ask = eq + 1;
    }
    if (!ask && stays_real(name, nd)) { *type = SY_W_F32; return SY_OK; }
    if (!ask) ask = c->o->type;
    *type = stored == SY_WTYPES ? SY_W_F32 : stored;
    if (ask) SY_TRY(named(ask, type, err));
    for (int tries = 0; cols % sy_wtype_block(*type) && tries < 3; tries++) {
        *type = shorter(*type);
        *note = "rows are no whole number of the blocks of the type asked for";
    }
    return SY_OK;
}

/* --- the work ------------------------------------------------------------------------------------------------------------------ */

/* What the folder of a sentence encoder says of its vectors beside config.json goes into the spec. */
static sy_status open_pooling(sy__conversion *c, sy_err *err)
{
    char path[1100];
    sy_pooling p;
    if (c->spec->causal || c->spec->lm_head) return SY_OK;
    SY_TRY(sy_path(path, sizeof path, c->dir, "modules.json", err));
    if (!sy_file_exists(path)) return SY_OK;
    SY_TRY(sy_pooling_read(&p, c->spec, c->dir, err));
    c->spec->pooling = p.how;
    if (!sy_is_gguf(c->o->out)) return SY_OK;        /* a folder keeps the files */
    if (p.most < c->spec->max_position_embeddings) SY_TRY(sy_ledger_add(c->l, SY_L_NOTE, "max_seq_length", "of the folder: a GGUF file has no key for it", 0, err));
    return p.unit ? SY_OK : sy_ledger_add(c->l, SY_L_NOTE, "modules.json", "vectors of any length: a GGUF file has no key for it", 0, err);
}

static sy_status open_folder(sy__conversion *c, sy_err *err)
{
    char path[1024];
    SY_TRY(sy_checkpoint_find(c->o->in, c->dir, sizeof c->dir, err));
    SY_TRY(sy_path(path, sizeof path, c->dir, "config.json", err));
    SY_TRY(sy_card_read(&c->card, path, &c->a, c->l, err));
    c->spec = &c->card.spec;
    c->family = c->card.family ? c->card.family->name : NULL;
    SY_TRY(open_pooling(c, err));
    SY_TRY(sy_within(err, sy_model_new(&c->m, c->eng, c->spec, SY_MODEL_BARE, 0, err), "%s", c->dir));
    return sy_pieces_open(&c->pieces, c->dir, &c->card, c->m, c->l, err);
}

static sy_status open_file(sy__conversion *c, sy_err *err)
{
    SY_TRY(sy_gguf_files_open(&c->files, c->o->in, false, err));
    if (sy_is_gguf(c->o->out)) return SY_OK;         /* names stay: no need to know the model */
    SY_TRY(sy_gguf_files_card(&c->files, &c->gcard, &c->a, c->l, err));
    c->spec = &c->gcard.spec;
    c->family = c->gcard.arch->family;
    return sy_within(err, sy_model_new(&c->m, c->eng, c->spec, SY_MODEL_BARE, 0, err), "%s", c->o->in);
}

static sy_status work(void *arg, sy_err *err)
{
    sy__conversion *c = arg;
    if (!sy_is_gguf(c->o->out)) return sy__to_folder(c, err);
    return c->from_gguf ? sy__gguf_again(c, err) : sy__to_gguf(c, err);
}

static sy_status buffers(sy__conversion *c, sy_err *err)
{
    c->rows = sy_arena_array(&c->a, SY__ROOM, sizeof *c->rows);
    c->out = sy_arena_alloc(&c->a, SY__ROOM * sizeof(float));
    c->x = sizeof(sy_real) == sizeof(float) ? (float *)c->rows : sy_arena_array(&c->a, SY__ROOM, sizeof *c->x);
    return c->rows && c->out && c->x ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for the rows of a conversion");
}

static sy_status refuse_existing(const sy_convert *o, sy_err *err)
{
    if (!strcmp(o->in, o->out)) return sy_fail(err, SY_EARG, "%s cannot be converted into itself", o->in);
    if (sy_is_gguf(o->out) ? sy_is_dir(o->out) : sy_file_exists(o->out) && !sy_is_dir(o->out)) return sy_fail(err, SY_EARG, "%s is there and of another kind", o->out);
    char config[1100];
    const char **name;
    int n = 0;
    sy_arena a = { 0 };
    SY_TRY(sy_path(config, sizeof config, o->out, "config.json", err));
    if (!sy_is_gguf(o->out) && sy_is_dir(o->out)) SY_TRY(sy_dir_list(o->out, &a, &name, &n, err));
    sy_arena_free(&a);
    if (n && o->replace && !sy_file_exists(config)) return sy_fail(err, SY_EARG, "%s holds %d files and no config.json: it is no model folder and is not replaced", o->out, n);
    if (!o->replace && (sy_is_gguf(o->out) ? sy_file_exists(o->out) : n > 0)) return sy_fail(err, SY_EEXIST, "%s is there already; give --replace or another name", o->out);
    return SY_OK;
}

sy_status sy_convert_run(sy_engine *eng, const sy_convert *o, sy_ledger *ledger, sy_err *err)
{
    sy__conversion c = { .eng = eng, .o = o, .l = ledger, .from_gguf = sy_is_gguf(o->in) && !sy_is_dir(o->in) };
    sy_wtype ignored;
    sy_ledger_open(ledger, "convert", o->in);
    sy_status st = refuse_existing(o, err);
    if (st == SY_OK && o->type) st = named(o->type, &ignored, err);
    if (st == SY_OK && o->shard && sy_is_gguf(o->out)) st = sy_fail(err, SY_EARG, "shards are files of a folder; %s is one GGUF file", o->out);
    for (int i = 0; i < o->n_only && st == SY_OK; i++) {
        const char *eq = strrchr(o->only[i], '=');
        st = eq ? named(eq + 1, &ignored, err) : sy_fail(err, SY_EARG, "'%.100s' must be PATTERN=TYPE", o->only[i]);
    }
    if (st == SY_OK) st = buffers(&c, err);
    if (st == SY_OK && o->imatrix) st = sy_imatrix_open(&c.im, o->imatrix, err);
    if (st == SY_OK) st = c.from_gguf ? open_file(&c, err) : open_folder(&c, err);
    if (st == SY_OK) st = work(&c, err);
    sy_imatrix_close(&c.im);
    sy_pieces_close(c.pieces);
    sy_gguf_files_close(&c.files);
    sy_model_free(c.m);
    sy_arena_free(&c.a);
    return st;
}
