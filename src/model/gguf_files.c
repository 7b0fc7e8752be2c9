/* model/gguf_files.c - opening, finding pieces, and a model over the mapped rows. */
#include "model/gguf_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

enum { MAX_PARTS = 4096, NAME = 1024 };

bool sy_is_gguf(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".gguf");
}

/* --- files ------------------------------------------------------------------------------------------------------------------ */

static sy_status open_part(sy_gguf_files *f, const char *path, bool whole, sy_err *err)
{
    const char *own = sy_arena_strdup(&f->arena, path);
    if (!own) return sy_fail(err, SY_ENOMEM, "no memory to open %s", path);
    SY_TRY(whole ? sy_map_open(&f->map[f->n], path, err) : sy_map_open_windows(&f->map[f->n], path, err));
    int i = f->n++;
    SY_TRY(sy_gguf_open(&f->g[i], &f->map[i], own, &f->arena, err));
    f->taken[i] = sy_arena_array(&f->arena, (size_t)f->g[i].n + 1, sizeof **f->taken);
    return f->taken[i] ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to open %s", path);
}

/* The other files of a split model stand beside the first and are numbered. */
static sy_status open_others(sy_gguf_files *f, const char *path, bool whole, int64_t count, sy_err *err)
{
    char tail[64], other[NAME];
    size_t len = strlen(path), n = (size_t)snprintf(tail, sizeof tail, "-00001-of-%05lld.gguf", (long long)count);
    int64_t all = 0, no = 0, seen = 0;
    SY_TRY(sy_gguf_int(&f->g[0], "split.no", true, 0, MAX_PARTS, &no, err));
    if (no || len < n || strcmp(path + len - n, tail)) return sy_fail(err, SY_EARG, "%s is part %lld of %lld; give the first, whose name ends in %s", path, (long long)no + 1, (long long)count, tail);
    for (int64_t i = 1; i < count; i++) {
        if ((size_t)snprintf(other, sizeof other, "%.*s-%05lld-of-%05lld.gguf", (int)(len - n), path, (long long)i + 1, (long long)count) >= sizeof other)
            return sy_fail(err, SY_EARG, "the path %.80s... is too long", path);
        SY_TRY(open_part(f, other, whole, err));
        SY_TRY(sy_gguf_int(&f->g[i], "split.no", true, i, i, &no, err));
        SY_TRY(sy_gguf_int(&f->g[i], "split.count", true, count, count, &no, err));
    }
    SY_TRY(sy_gguf_int(&f->g[0], "split.tensors.count", false, 0, INT32_MAX, &all, err));
    for (int i = 0; i < f->n; i++) seen += f->g[i].n;
    return all && all != seen ? sy_fail(err, SY_EFORMAT, "%s claims %lld tensors in all, the %d files hold %lld; they are of different models", path, (long long)all, f->n, (long long)seen) : SY_OK;
}

static sy_status open_all(sy_gguf_files *f, const char *path, bool whole, sy_err *err)
{
    int64_t count = 1;
    SY_TRY(open_part(f, path, whole, err));
    SY_TRY(sy_gguf_int(&f->g[0], "split.count", false, 0, MAX_PARTS, &count, err));
    if (count > 1) SY_TRY(open_others(f, path, whole, count, err));
    return sy_gguf_join(&f->all, f->g, f->n, &f->arena, err);
}

sy_status sy_gguf_files_status(const sy_gguf_files *f, sy_status st, sy_err *err)
{
    for (int i = 0; i < f->n; i++) {
        sy_status one = sy_map_status(&f->map[i], f->g[i].file ? f->g[i].file : "a part of the model", SY_OK, err);
        if (one != SY_OK) return one;
    }
    return st;
}

sy_status sy_gguf_files_open(sy_gguf_files *f, const char *path, bool whole, sy_err *err)
{
    *f = (sy_gguf_files){ 0 };
    f->map = sy_arena_array(&f->arena, MAX_PARTS, sizeof *f->map);
    f->g = sy_arena_array(&f->arena, MAX_PARTS, sizeof *f->g);
    f->taken = sy_arena_array(&f->arena, MAX_PARTS, sizeof *f->taken);
    sy_status st = f->map && f->g && f->taken ? sy_gguf_files_status(f, open_all(f, path, whole, err), err) : sy_fail(err, SY_ENOMEM, "no memory to open %s", path);
    if (st != SY_OK) sy_gguf_files_close(f);
    return st;
}

void sy_gguf_files_close(sy_gguf_files *f)
{
    for (int i = 0; i < f->n; i++) sy_map_close(&f->map[i]);
    sy_arena_free(&f->arena);
    *f = (sy_gguf_files){ 0 };
}

static const sy_gguf_tensor *find(const sy_gguf_files *f, const char *name, bool **taken)
{
    for (int i = 0; i < f->n; i++) {
        const sy_gguf_tensor *t = sy_gguf_find(&f->g[i], name);
        if (!t) continue;
        *taken = &f->taken[i][t - f->g[i].t];
        return t;
    }
    return NULL;
}

const sy_gguf_tensor *sy_gguf_files_find(const sy_gguf_files *f, const char *name)
{
    bool *taken;
    return find(f, name, &taken);
}

/* The keys may claim any size: before anything is made for it, there must be as many tensors as layers and about as many numbers. */
sy_status sy_gguf_files_card(const sy_gguf_files *f, sy_gguf_card *c, sy_arena *a, sy_ledger *l, sy_err *err)
{
    double want, have = 0;
    SY_TRY(sy_gguf_card_read(c, &f->all, a, l, err));
    sy_spec_size(&c->spec, 0, &want, NULL, NULL);
    for (int k = 0; k < f->all.n; k++) have += (double)f->all.t[k].n;
    if (c->spec.num_hidden_layers > f->all.n) return sy_fail(err, SY_ESHAPE, "%s: its keys describe %d layers, it holds %d tensors", f->all.file, c->spec.num_hidden_layers, f->all.n);
    if (want >= 1 << 26 && have < want / 8) return sy_fail(err, SY_ESHAPE, "%s: its keys describe %.3g parameters, it holds %.3g", f->all.file, want, have);
    return SY_OK;
}

/* --- pieces ----------------------------------------------------------------------------------------------------------------- */

/* Dimensions of 1 in front may be written or not. */
static bool same_shape(const sy_gguf_tensor *t, const sy_place *at)
{
    int a = 0, b = 0;
    while (a < t->nd - 1 && t->dim[a] == 1) a++;
    while (b < at->nd - 1 && at->dim[b] == 1) b++;
    if (t->nd - a != at->nd - b) return false;
    for (; a < t->nd; a++, b++) if (t->dim[a] != at->dim[b]) return false;
    return true;
}

static char *shape(const int64_t *dim, int nd, char *buf, size_t size)
{
    size_t n = 0;
    for (int d = 0; d < nd && n < size; d++) n += (size_t)snprintf(buf + n, size - n, "%s%lld", d ? " x " : "", (long long)dim[d]);
    return buf;
}

static sy_status check_shape(const sy_gguf_files *f, const sy_gguf_tensor *t, const sy_place *at, sy_err *err)
{
    char have[96], want[96];
    if (same_shape(t, at)) return SY_OK;
    return sy_fail(err, SY_ESHAPE, "%s: tensor '%s' is %s; the file's keys give it %s", f->g[0].file, t->name, shape(t->dim, t->nd, have, sizeof have), shape(at->dim, at->nd, want, sizeof want));
}

/* blk.N.attn_kv_b of latent attention as two tensors: attn_k_b [H][kv_lora_rank][nope] and attn_v_b [H][v_head_dim][kv_lora_rank]. */
static sy_status find_halves(sy_gguf_files *f, const sy_gguf_card *c, const sy_place *at, sy_gguf_source *from, sy_err *err)
{
    const sy_spec *s = &c->spec;
    bool *k_taken, *v_taken;
    char name[SY_TENSOR_NAME];
    const char *stem = strstr(at->name, "attn_kv_b.weight");
    if (!stem || s->attention != SY_MLA) return SY_OK;
    snprintf(name, sizeof name, "%.*sattn_k_b.weight", (int)(stem - at->name), at->name);
    const sy_gguf_tensor *k = find(f, name, &k_taken);
    snprintf(name, sizeof name, "%.*sattn_v_b.weight", (int)(stem - at->name), at->name);
    const sy_gguf_tensor *v = find(f, name, &v_taken);
    if (!k || !v) return SY_OK;
    SY_TRY(check_shape(f, k, &(sy_place){ .nd = 3, .dim = { s->num_attention_heads, s->kv_lora_rank, s->qk_nope_head_dim } }, err));
    SY_TRY(check_shape(f, v, &(sy_place){ .nd = 3, .dim = { s->num_attention_heads, s->v_head_dim, s->kv_lora_rank } }, err));
    *k_taken = *v_taken = true;
    *from = (sy_gguf_source){ k, v };
    return SY_OK;
}

sy_status sy_gguf_piece(sy_gguf_files *f, const sy_gguf_card *c, const sy_param *p, int e, sy_place *at, sy_gguf_source *from, sy_err *err)
{
    bool *taken = NULL;
    *from = (sy_gguf_source){ 0 };
    for (int n = 0; !from->t && sy_place_of(at, &c->names, &c->spec, p, e, n); n++) from->t = find(f, at->name, &taken);
    if (!from->t) {
        sy_place_of(at, &c->names, &c->spec, p, e, 0);
        return find_halves(f, c, at, from, err);
    }
    SY_TRY(check_shape(f, from->t, at, err));
    *taken = true;
    return SY_OK;
}

size_t sy_gguf_row(const sy_place *at, int head_dim, int n)
{
    if (at->layout & SY_LAY_ROTARY) {                /* halves of a head alternate */
        int head = n / head_dim * head_dim, i = n % head_dim, half = head_dim / 2;
        n = head + (i < half ? 2 * i : 2 * (i - half) + 1);
    }
    return at->base / (size_t)at->cols + (size_t)(n / at->block) * (size_t)at->block_step + (size_t)(n % at->block) + (size_t)at->first;
}

static sy_status readable(const sy_gguf_tensor *t, size_t cols, sy_err *err)
{
    if (t->type != SY_WTYPES && (cols > 1 || sy_wtype_block(t->type) == 1)) return SY_OK;
    return sy_fail(err, SY_EUNSUP, "tensor '%s' is of type %s, which is not read", t->name, sy_gguf_tensor_type(t->id));
}

/* n values from `first`, both whole blocks. */
static sy_status read_values(const sy_gguf_tensor *t, size_t first, size_t n, sy_real *out, sy_err *err)
{
    const uint8_t *p = sy_gguf_bytes(t, sy_wtype_bytes(t->type, first), sy_wtype_bytes(t->type, n));
    if (!p) return sy_fail(err, SY_ENOMEM, "no address space for %zu values of '%s'", n, t->name);
    sy_weight_read(t->type, p, 0, n, out);
    return SY_OK;
}

/* Rows of kv_b from its halves: of each head first nope rows, columns of k's matrix of that head, then those of v. */
static sy_status read_halves(const sy_gguf_source *from, const sy_spec *s, int row, int n, sy_real *out, sy_err *err)
{
    size_t R = (size_t)s->kv_lora_rank, nope = (size_t)s->qk_nope_head_dim, wide = (size_t)s->v_head_dim, block = (size_t)sy_wtype_block(from->t->type);
    for (int i = 0; i < n; i++) {
        size_t head = (size_t)(row + i) / (nope + wide), k = (size_t)(row + i) % (nope + wide);
        if (k >= nope) SY_TRY(read_values(from->v, (head * wide + k - nope) * R, R, out + (size_t)i * R, err));
        else for (size_t c = 0; c < R; c++) {        /* one value of each row, from the block that holds it */
            sy_real part[SY_BLOCK_MAX];
            SY_TRY(read_values(from->t, (head * R + c) * nope + k / block * block, block, part, err));
            out[(size_t)i * R + c] = part[k % block];
        }
    }
    return SY_OK;
}

sy_status sy_gguf_piece_rows(const sy_place *at, const sy_gguf_source *from, const sy_spec *s, int row, int n, sy_real *out, sy_err *err)
{
    size_t K = (size_t)at->cols;
    const sy_gguf_tensor *t = from->t;
    SY_TRY(readable(t, K, err));
    if (from->v) {
        SY_TRY(readable(from->v, K, err));
        return read_halves(from, s, row, n, out, err);
    }
    for (int i = 0; i < n; ) {                       /* rows that follow each other in the file are read together */
        size_t first = sy_gguf_row(at, s->head_dim, row + i);
        int run = 1;
        while (i + run < n && sy_gguf_row(at, s->head_dim, row + i + run) == first + (size_t)run) run++;
        SY_TRY(read_values(t, first * K, (size_t)run * K, out + (size_t)i * K, err));
        i += run;
    }
    return SY_OK;
}

sy_status sy_gguf_rest(const sy_gguf_files *f, const sy_gguf_card *c, sy_ledger *l, sy_err *err)
{
    for (int i = 0; i < f->n; i++)
        for (int k = 0; k < f->g[i].n; k++) {
            const char *name = f->g[i].t[k].name, *why = NULL;
            if (f->taken[i][k]) continue;
            int layers = c->spec.num_hidden_layers;
            bool far = c->spec.rope_type == SY_ROPE_LONGROPE && (!strcmp(name, "rope_factors_long.weight") || !strcmp(name, "rope_factors_short.weight"));
            if (far || !strcmp(name, "rope_freqs.weight")) why = "divisors of the rotation, kept as numbers of the config";
            else if (sy_name_matches("blk.{mtp}.*", name, layers, c->mtp_layers)) why = "a layer that predicts further tokens; serving has no use for it";
            SY_TRY(sy_ledger_add(l, why ? SY_L_SKIPPED : SY_L_UNKNOWN, name, why, 0, err));
        }
    return SY_OK;
}

/* --- a model ---------------------------------------------------------------------------------------------------------------- */

typedef struct loading { sy_model *m; sy_gguf_files *f; const sy_gguf_card *c; sy_ledger *l; } loading;

/* Only products and the embedding read these, so that they may stay as they are stored. */
static bool stays(const sy_param *p)
{
    static const char *const end[] = { "_proj.weight", "embed_tokens.weight", "lm_head.weight" };
    size_t n = strlen(p->name);
    if (strstr(p->name, "kv_b_proj")) return false;  /* its heads are taken apart when it is absorbed */
    for (size_t i = 0; i < SY_COUNT(end); i++) if (n >= strlen(end[i]) && !strcmp(p->name + n - strlen(end[i]), end[i])) return p->w.nd >= 2;
    return false;
}

static sy_status account(loading *ld, const sy_gguf_tensor *t, const sy_param *p, const char *how, sy_err *err)
{
    char note[96];
    int experts = ld->l->experts;
    snprintf(note, sizeof note, "%s%s", sy_gguf_tensor_type(t->id), how);
    SY_TRY(sy_ledger_add(ld->l, *how ? SY_L_CONVERTED : SY_L_LOADED, t->name, note, t->n, err));
    ld->l->experts = experts + (strstr(p->name, ".experts.{e}.") ? sy_param_pieces(p) : 0);
    return SY_OK;
}

/* All of a parameter in one tensor, stacked as the engine stacks it. */
static bool in_one(const loading *ld, const sy_param *p, const sy_place *at, const sy_gguf_tensor *t)
{
    int pieces = sy_param_pieces(p);
    (void)ld;
    return t->type != SY_WTYPES && t->n == p->n && at->block >= at->rows && at->first == 0 && !(at->layout & ~(unsigned)SY_LAY_ROTARY) && (pieces == 1 || at->nd == p->w.nd);
}

static sy_status keep(loading *ld, sy_param *p, const sy_place *at, const sy_gguf_tensor *t, sy_err *err)
{
    if (!(at->layout & SY_LAY_ROTARY)) {
        SY_TRY(sy_param_store(p, t->type, t->data, err));
        return account(ld, t, p, "", err);
    }
    size_t row = sy_wtype_bytes(t->type, (size_t)at->cols);
    uint8_t *copy = sy_arena_alloc(&ld->m->arena, t->bytes);
    if (!copy) return sy_fail(err, SY_ENOMEM, "no memory for the %zu bytes of '%s'", t->bytes, t->name);
    for (int n = 0; n < at->rows; n++) memcpy(copy + (size_t)n * row, t->data + sy_gguf_row(at, ld->m->spec.head_dim, n) * row, row);
    SY_TRY(sy_param_store(p, t->type, copy, err));
    return account(ld, t, p, ", rows put in order", err);
}

static sy_status load_param(loading *ld, sy_param *p, sy_err *err)
{
    int pieces = sy_param_pieces(p);
    size_t each = p->n / (size_t)pieces;
    sy_place at;
    sy_gguf_source from;
    const sy_gguf_tensor *t, *last = NULL;
    SY_TRY(sy_gguf_piece(ld->f, ld->c, p, 0, &at, &from, err));
    t = from.t;
    if (t && stays(p) && in_one(ld, p, &at, t) && at.cols % sy_wtype_block(t->type) == 0) return keep(ld, p, &at, t, err);
    if (!sy_param_own(p, &ld->m->arena)) return sy_fail(err, SY_ENOMEM, "no memory for %s", p->name);
    for (int e = 0; e < pieces; e++) {
        SY_TRY(sy_gguf_piece(ld->f, ld->c, p, e, &at, &from, err));
        t = from.t;
        if (!t) {
            SY_TRY(sy_ledger_add(ld->l, SY_L_MISSING, at.name, NULL, 0, err));
            if (at.nd == p->w.nd) return SY_OK;      /* a stack: the same tensor for every piece */
            continue;
        }
        SY_TRY(sy_gguf_piece_rows(&at, &from, &ld->m->spec, 0, at.rows, (sy_real *)p->w.data + (size_t)e * each, err));
        if (t != last) SY_TRY(account(ld, t, p, t->type == SY_W_F32 ? "" : ", as numbers", err));
        if (from.v) SY_TRY(account(ld, from.v, p, ", as numbers", err));
        last = t;
    }
    return SY_OK;
}

static sy_status load_all(loading *ld, sy_err *err)
{
    for (int i = 0; i < ld->m->params.n; i++) SY_TRY(load_param(ld, ld->m->params.p[i], err));
    SY_TRY(sy_gguf_rest(ld->f, ld->c, ld->l, err));
    return sy_ledger_settle(ld->l, err);
}

static sy_status files_whole(const void *files, sy_err *err) { return sy_gguf_files_status(files, SY_OK, err); }

static void close_files(void *files)
{
    sy_gguf_files_close(files);
    sy_free(files);
}

sy_status sy_gguf_model_load(sy_model **out, sy_engine *eng, const char *path, unsigned how, sy_ledger *ledger, sy_err *err)
{
    sy_ledger own, *l = ledger ? ledger : &own;
    sy_gguf_card c;
    sy_model *m = NULL;
    sy_arena a = { 0 };
    sy_gguf_files *f = sy_calloc(1, sizeof *f);
    sy_ledger_open(l, "load", path);
    sy_status st = f ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to open %s", path);
    if (st == SY_OK && how & SY_MODEL_TRAIN) st = sy_fail(err, SY_EUNSUP, "%s: the weights of a GGUF file are read where they lie and cannot be trained; convert it to a folder first", path);
    if (st == SY_OK) st = sy_gguf_files_open(f, path, true, err);
    if (st == SY_OK) st = sy_gguf_files_card(f, &c, &a, l, err);
    if (st == SY_OK) st = sy_within(err, sy_model_new(&m, eng, &c.spec, SY_MODEL_BARE, 0, err), "%s", path);
    if (st == SY_OK) st = sy_gguf_files_status(f, load_all(&(loading){ m, f, &c, l }, err), err);
    sy_arena_free(&a);
    if (!ledger) sy_ledger_free(&own);
    if (st != SY_OK) {
        sy_model_free(m);
        if (f) close_files(f);
        return st;
    }
    m->family = sy_family_find(c.arch->family);
    m->held = f;
    m->let_go = close_files;
    m->whole = files_whole;
    *out = m;
    return SY_OK;
}
