/* infer/trace.c - collecting routes token by token, and laying them out by layer. */
#include "infer/trace.h"

#include <string.h>

#include "core/alloc.h"
#include "model/safetensors.h"

void sy_trace_open(sy_trace *t, int layers) { *t = (sy_trace){ .layers = layers, .K = 1 }; }

void sy_trace_close(sy_trace *t)
{
    sy_buf_free(&t->token);
    sy_buf_free(&t->count);
    sy_buf_free(&t->expert);
    sy_buf_free(&t->weight);
    *t = (sy_trace){ 0 };
}

static void add_slots(sy_trace *t, const sy_route *r, int row)
{
    int32_t count = 0;
    for (int s = r ? r->first_slot[row] : 0; r && s < r->first_slot[row + 1]; s++) {
        if (r->expert[s] < 0) continue;
        float w = (float)r->weight->x[s];
        sy_buf_put(&t->expert, &(int32_t){ r->expert[s] }, sizeof(int32_t));
        sy_buf_put(&t->weight, &w, sizeof w);
        count++;
    }
    sy_buf_put(&t->count, &count, sizeof count);
    if (count > t->K) t->K = count;
}

sy_status sy_trace_add(sy_trace *t, sy_route *const *routes, const int *id, int T, int pos0, int doc, int domain, sy_err *err)
{
    for (int i = 0; i < T; i++) {
        int32_t token[4] = { doc, pos0 + i, id[i], domain };
        sy_buf_put(&t->token, token, sizeof token);
        for (int l = 0; l < t->layers; l++) add_slots(t, routes[l], i);
    }
    t->n += (size_t)T;
    return t->token.failed || t->count.failed || t->expert.failed || t->weight.failed ? sy_fail(err, SY_ENOMEM, "no memory for the routes of %zu tokens", t->n) : SY_OK;
}

/* Walks all slots: token i, layer l, slot k of the output, number s of the collected ones. */
typedef struct walk { size_t i, s; int l, k, count; } walk;

static bool next_slot(const sy_trace *t, walk *w, size_t *to)
{
    for (w->k++; w->k >= w->count; ) {
        if (++w->l == t->layers) w->l = 0, w->i++;
        if (w->i == t->n) return false;
        memcpy(&w->count, t->count.data + (w->i * (size_t)t->layers + (size_t)w->l) * sizeof(int32_t), sizeof(int32_t));
        w->k = 0;
    }
    *to = ((size_t)w->l * t->n + w->i) * (size_t)t->K + (size_t)w->k;
    w->s++;
    return true;
}

static walk first_slot(void) { return (walk){ .l = -1, .k = -1, .count = 0 }; }

void sy_trace_experts(const sy_trace *t, int32_t none, int32_t *out)
{
    size_t all = (size_t)t->layers * t->n * (size_t)t->K, to;
    walk w = first_slot();
    for (size_t i = 0; i < all; i++) out[i] = none;
    while (t->layers && next_slot(t, &w, &to)) memcpy(&out[to], t->expert.data + (w.s - 1) * sizeof(int32_t), sizeof(int32_t));
}

void sy_trace_weights(const sy_trace *t, float *out)
{
    size_t all = (size_t)t->layers * t->n * (size_t)t->K, to;
    walk w = first_slot();
    for (size_t i = 0; i < all; i++) out[i] = 0;
    while (t->layers && next_slot(t, &w, &to)) memcpy(&out[to], t->weight.data + (w.s - 1) * sizeof(float), sizeof(float));
}

typedef struct arrays { int32_t *column, *wide; float *real; uint16_t *expert, *weight; } arrays;

static void free_arrays(arrays *a)
{
    sy_free(a->column);
    sy_free(a->wide);
    sy_free(a->real);
    sy_free(a->expert);
    sy_free(a->weight);
}

static void layer_names(const sy_model *m, sy_buf *b)
{
    for (int l = 0; l < m->spec.num_hidden_layers; l++) if (m->layer[l].sparse) sy_buf_printf(b, "%s%d", b->n ? " " : "", l);
}

sy_status sy_trace_write(const sy_trace *t, const sy_model *m, const char *path, sy_err *err)
{
    static const char *const names[] = { "doc", "pos", "id", "domain" };
    size_t n = t->n, all = (size_t)t->layers * n * (size_t)t->K;
    arrays a = { sy_malloc((4 * n + 1) * sizeof(int32_t)), sy_malloc((all + 1) * sizeof(int32_t)), sy_malloc((all + 1) * sizeof(float)), sy_malloc(2 * all + 2), sy_malloc(2 * all + 2) };
    sy_buf layers = { 0 };
    sy_st_out out[6];
    sy_status st = SY_OK;
    layer_names(m, &layers);
    if (!a.column || !a.wide || !a.real || !a.expert || !a.weight || layers.failed) st = sy_fail(err, SY_ENOMEM, "no memory for a trace of %zu tokens", n);
    for (size_t i = 0; i < 4 && st == SY_OK; i++) {
        for (size_t k = 0; k < n; k++) memcpy(&a.column[i * n + k], t->token.data + (4 * k + i) * sizeof(int32_t), sizeof(int32_t));
        out[i] = (sy_st_out){ .name = names[i], .type = SY_DT_I32, .nd = 1, .dim = { (int64_t)n }, .data = a.column + i * n };
    }
    if (st == SY_OK) {
        sy_trace_experts(t, 65535, a.wide);
        sy_trace_weights(t, a.real);
    }
    for (size_t i = 0; i < all && st == SY_OK; i++) {
        if (a.wide[i] > 65535) st = sy_fail(err, SY_ESHAPE, "expert %d: a trace holds numbers up to 65534", a.wide[i]);
        a.expert[i] = (uint16_t)a.wide[i];
        a.weight[i] = sy_f16_of(a.real[i]);
    }
    if (st == SY_OK) {
        out[4] = (sy_st_out){ .name = "experts", .type = SY_DT_U16, .nd = 3, .dim = { t->layers, (int64_t)n, t->K }, .data = a.expert };
        out[5] = (sy_st_out){ .name = "weights", .type = SY_DT_F16, .nd = 3, .dim = { t->layers, (int64_t)n, t->K }, .data = a.weight };
        st = sy_st_write(path, out, 6, (const char *const[]){ "layers", layers.data ? layers.data : "", NULL }, err);
    }
    free_arrays(&a);
    sy_buf_free(&layers);
    return st;
}
