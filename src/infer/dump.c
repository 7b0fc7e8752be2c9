/* infer/dump.c - gathering, writing and comparing tensors by name. */
#include "infer/dump.h"

#include <assert.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "model/family.h"
#include "model/safetensors.h"

/* --- gathering ----------------------------------------------------------------------------------------------------------------- */

static sy_dump_item *item_of(sy_dumper *d, const char *name, int cols)
{
    for (int i = 0; i < d->n; i++) if (!strcmp(d->item[i].name, name)) return d->item[i].cols == cols ? &d->item[i] : NULL;
    if (d->n == d->room) {
        int room = d->room ? 2 * d->room : 64;
        sy_dump_item *more = room <= 2 * SY_DUMP_MOST ? sy_realloc(d->item, (size_t)room * sizeof *more) : NULL;
        if (!more) return NULL;
        d->item = more;
        d->room = room;
    }
    sy_dump_item *x = &d->item[d->n++];
    *x = (sy_dump_item){ .cols = cols };
    snprintf(x->name, sizeof x->name, "%.95s", name);
    return x;
}

/* Column c of x in a module that holds parts side by side, laid out as rows of a family's tensors are. */
static int column(const sy_dumper *d, const sy_module_name *m, int cols, int c)
{
    int hd = cols / d->model->spec.num_attention_heads;
    if (m->parts < 2) return c;
    if (m->layout & SY_LAY_HEADS) return (c / hd * m->parts + m->part) * hd + c % hd;
    return m->layout & SY_LAY_PAIRS ? c * m->parts + m->part : m->part * cols + c;
}

static void take_as(sy_dumper *d, const sy_module_name *m, const sy_tensor *x)
{
    int rows = sy_rows(x), cols = sy_cols(x), wide = m->parts > 1 ? m->parts * cols : cols;
    sy_dump_item *to = item_of(d, m->name, wide);
    size_t size = (size_t)rows * (size_t)wide * sizeof(float);
    if (!to || (m->part == 0 && !sy_buf_reserve(&to->values, size))) {
        d->st = SY_ENOMEM;
        return;
    }
    if (m->part == 0) {                                         /* the other parts follow in the same pass, and find their rows at the end */
        memset(to->values.data + to->values.n, 0, size);
        to->values.n += size;
    }
    assert(to->values.n >= size);
    float *out = (float *)(to->values.data + to->values.n - size);
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < cols; c++) out[(size_t)i * (size_t)wide + (size_t)column(d, m, cols, c)] = (float)x->x[(size_t)i * (size_t)cols + (size_t)c];
}

static void take(void *arg, const char *name, const sy_tensor *x)
{
    sy_dumper *d = arg;
    sy_module_name as[SY_MODULE_NAMES];
    for (int i = 0, n = sy_family_modules(d->model->family, name, as); i < n && d->st == SY_OK; i++) {
        for (int k = 0; k < 2; k++) {
            if (!*d->first[k]) snprintf(d->first[k], sizeof d->first[k], "%.95s", as[i].name);
            if (!strcmp(d->first[k], as[i].name)) break;
        }
        if (!fnmatch(d->pattern, as[i].name, 0)) take_as(d, &as[i], x);
    }
}

void sy_dumper_open(sy_dumper *d, const sy_model *m, const char *pattern)
{
    *d = (sy_dumper){ .model = m, .pattern = pattern };
    d->hook = (sy_dump){ take, d };
}

void sy_dumper_close(sy_dumper *d)
{
    for (int i = 0; i < d->n; i++) sy_buf_free(&d->item[i].values);
    sy_free(d->item);
    *d = (sy_dumper){ 0 };
}

sy_status sy_dumper_write(const sy_dumper *d, const char *path, sy_err *err)
{
    if (d->st != SY_OK) return sy_fail(err, d->st, "no memory for the tensors that match '%s'; choose fewer", d->pattern);
    if (!d->n) return sy_fail(err, SY_ENOENT, "no tensor is called '%s'; the first are %s and %s, '*' writes all", d->pattern, d->first[0], d->first[1]);
    sy_st_out *out = sy_calloc((size_t)d->n, sizeof *out);
    if (!out) return sy_fail(err, SY_ENOMEM, "no memory to write %d tensors", d->n);
    for (int i = 0; i < d->n; i++) {
        const sy_dump_item *x = &d->item[i];
        out[i] = (sy_st_out){ .name = x->name, .type = SY_DT_F32, .nd = 2, .dim = { (int64_t)(x->values.n / sizeof(float)) / x->cols, x->cols }, .data = x->values.data };
    }
    sy_status st = sy_st_write(path, out, d->n, NULL, err);
    sy_free(out);
    return st;
}

/* --- comparing ------------------------------------------------------------------------------------------------------------------- */

/* The parts of names in the order in which a pass makes them; others come behind, by their letters, numbers by their value. */
static const char *const flow[] = {
    "wte", "wpe", "word_embeddings", "token_type_embeddings", "position_embeddings", "embed_in", "embed_tokens", "embed_types", "embed_positions", "embed_norm", "embeddings", "model", "transformer",
    "gpt_neox", "encoder", "h", "layers", "layer",
    "ln_1", "input_layernorm", "q_a_proj", "q_a_layernorm", "q_b_proj", "q_proj", "k_proj", "v_proj", "kv_a_proj_with_mqa", "kv_a_layernorm", "kv_b_proj", "c_attn", "query_key_value", "query", "key", "value",
    "q_norm", "k_norm", "context", "self", "o_proj", "self_attn", "attn", "attention", "ln_2", "post_attention_layernorm", "gate", "router", "shared_expert", "shared_experts", "shared_expert_gate",
    "gate_proj", "up_proj", "c_fc", "dense_h_to_4h", "act_fn", "intermediate_act_fn", "act", "intermediate", "down_proj", "c_proj", "dense_4h_to_h", "dense", "LayerNorm", "output", "mlp", "block_sparse_moe",
    "norm", "ln_f", "final_layer_norm", "lm_head", "experts", "weights", "logits",
};

static size_t place(const char *part, size_t n)
{
    for (size_t i = 0; i < SY_COUNT(flow); i++) if (strlen(flow[i]) == n && !memcmp(flow[i], part, n)) return i;
    bool number = n > 0 && n < 19;
    for (size_t i = 0; i < n; i++) number = number && part[i] >= '0' && part[i] <= '9';
    return SY_COUNT(flow) + number;
}

/* What a module gives stands behind what its parts give, so that the first name that differs is nearest to the cause. */
static int natural(const char *a, const char *b)
{
    for (;;) {
        size_t m = strcspn(a, "."), n = strcspn(b, "."), x = place(a, m), y = place(b, n);
        if (x != y) return x < y ? -1 : 1;
        if (x == SY_COUNT(flow) + 1) {
            long long i = strtoll(a, NULL, 10), k = strtoll(b, NULL, 10);
            if (i != k) return i < k ? -1 : 1;
        }
        int order = memcmp(a, b, m < n ? m : n);
        if (order || m != n) return order ? order : m < n ? -1 : 1;
        a += m;
        b += n;
        if (!*a || !*b) return *a ? -1 : *b ? 1 : 0;
        a++;
        b++;
    }
}

static int by_name(const void *a, const void *b) { return natural(((const sy_st_tensor *)a)->name, ((const sy_st_tensor *)b)->name); }

static bool same_shape(const sy_st_tensor *a, const sy_st_tensor *b)
{
    return a->nd == b->nd && !memcmp(a->dim, b->dim, (size_t)a->nd * sizeof *a->dim);
}

/* True: they agree. */
static sy_status compare_values(const sy_st_tensor *a, const sy_st_tensor *b, double atol, double rtol, sy_difference *out, bool *agree, sy_err *err)
{
    double x[256], y[256];
    *agree = true;
    for (size_t at = 0; at < a->n; at += 256) {
        size_t n = a->n - at < 256 ? a->n - at : 256;
        SY_TRY(sy_within(err, sy_st_read_f64(a, at, n, x, err), "%s", a->name));
        SY_TRY(sy_within(err, sy_st_read_f64(b, at, n, y, err), "%s", b->name));
        for (size_t i = 0; i < n; i++) {
            double gap = fabs(x[i] - y[i]);
            if (gap <= atol + rtol * fabs(y[i]) || x[i] == y[i]) continue;
            if (*agree) out->at = at + i, out->a = x[i], out->b = y[i], out->n = a->n;
            *agree = false;
            out->differing++;
            if (gap > out->most || gap != gap) out->most = gap;
        }
    }
    return SY_OK;
}

static void say(sy_difference *out, const char *name, const char *why)
{
    snprintf(out->name, sizeof out->name, "%s", name);
    out->why = why;
}

static sy_status compare(sy_st *a, sy_st *b, double atol, double rtol, sy_difference *out, sy_err *err)
{
    qsort(a->t, (size_t)a->n, sizeof *a->t, by_name);
    qsort(b->t, (size_t)b->n, sizeof *b->t, by_name);
    for (int i = 0, j = 0; i < a->n || j < b->n; i++, j++, out->same++) {
        int order = i == a->n ? 1 : j == b->n ? -1 : natural(a->t[i].name, b->t[j].name);
        bool agree = true;
        if (order) return say(out, order < 0 ? a->t[i].name : b->t[j].name, order < 0 ? "only in the first file" : "only in the second file"), SY_OK;
        if (!same_shape(&a->t[i], &b->t[j])) return say(out, a->t[i].name, "shape"), SY_OK;
        SY_TRY(compare_values(&a->t[i], &b->t[j], atol, rtol, out, &agree, err));
        if (!agree) return say(out, a->t[i].name, "values"), SY_OK;
    }
    return SY_OK;
}

sy_status sy_dump_compare(const char *a, const char *b, double atol, double rtol, sy_difference *out, sy_err *err)
{
    sy_map ma = { 0 }, mb = { 0 };
    sy_st sa, sb;
    sy_arena arena = { 0 };
    *out = (sy_difference){ 0 };
    SY_TRY(sy_map_open(&ma, a, err));
    sy_status st = sy_map_open(&mb, b, err);
    if (st == SY_OK) {
        st = sy_st_open(&sa, &ma, a, &arena, err);
        if (st == SY_OK) st = sy_st_open(&sb, &mb, b, &arena, err);
        if (st == SY_OK) st = compare(&sa, &sb, atol, rtol, out, err);
        st = sy_map_status(&mb, b, sy_map_status(&ma, a, st, err), err);
        sy_map_close(&mb);
    }
    sy_map_close(&ma);
    sy_arena_free(&arena);
    return st;
}
