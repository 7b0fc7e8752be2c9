/* model/imatrix.c - both forms, with every number checked. */
#include "model/imatrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "model/gguf.h"

enum { MAX_ENTRIES = 1 << 20, MAX_NAME = 255 };

typedef struct reading { sy_imatrix *m; sy_map map; } reading;

static int by_name(const void *a, const void *b) { return strcmp(((const sy_importance *)a)->name, ((const sy_importance *)b)->name); }

static sy_status check(const sy_imatrix *m, const sy_importance *e, size_t n, sy_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(e->value[i]) || e->value[i] < 0) return sy_fail(err, SY_EFORMAT, "%s: '%s' has %g as importance %zu; it must be a number of at least 0", m->file, e->name, (double)e->value[i], i);
    return SY_OK;
}

static sy_status settle(sy_imatrix *m, sy_err *err)
{
    if (m->n == 0) return sy_fail(err, SY_EFORMAT, "%s holds no importances", m->file);
    qsort(m->e, (size_t)m->n, sizeof *m->e, by_name);
    for (int i = 1; i < m->n; i++) if (!strcmp(m->e[i].name, m->e[i - 1].name)) return sy_fail(err, SY_EFORMAT, "%s: '%s' stands twice", m->file, m->e[i].name);
    return SY_OK;
}

/* --- as GGUF -------------------------------------------------------------------------------------------------------------------- */

static const char suffix[] = ".in_sum2";

static sy_status gguf_entry(sy_imatrix *m, const sy_gguf *g, const sy_gguf_tensor *t, sy_err *err)
{
    size_t stem = strlen(t->name) - (sizeof suffix - 1);
    char name[128];
    sy_importance *e = &m->e[m->n++];
    snprintf(name, sizeof name, "%.*s.counts", (int)stem, t->name);
    const sy_gguf_tensor *counts = sy_gguf_find(g, name);
    int64_t cols = t->dim[t->nd - 1], rows = (int64_t)t->n / cols;
    if (!counts) return sy_fail(err, SY_EFORMAT, "%s: '%s' has no tensor '%s' beside it", m->file, t->name, name);
    if (t->type != SY_W_F32 || counts->type != SY_W_F32) return sy_fail(err, SY_EFORMAT, "%s: '%s' and '%s' must be F32", m->file, t->name, name);
    if (cols > INT32_MAX || rows > INT32_MAX || counts->n != (size_t)rows) return sy_fail(err, SY_EFORMAT, "%s: '%s' has %lld rows, '%s' counts %zu", m->file, t->name, (long long)rows, name, counts->n);
    float *v = sy_arena_alloc(&m->arena, t->n * sizeof *v);
    if (!v || !(e->name = sy_arena_printf(&m->arena, "%.*s", (int)stem, t->name))) return sy_fail(err, SY_ENOMEM, "no memory for %s", m->file);
    memcpy(v, t->data, t->n * sizeof *v);
    for (int64_t r = 0; r < rows; r++) {
        float n;
        memcpy(&n, counts->data + 4 * r, 4);
        for (int64_t c = 0; c < cols; c++) v[r * cols + c] = n > 0 ? v[r * cols + c] / n : n == 0 ? 0 : NAN;
    }
    e->value = v, e->rows = (int)rows, e->cols = (int)cols;
    return check(m, e, t->n, err);
}

static sy_status read_gguf(reading *r, sy_err *err)
{
    sy_gguf g;
    const char *type = "";
    sy_imatrix *m = r->m;
    SY_TRY(sy_gguf_parse(&g, r->map.data, r->map.size, m->file, &m->arena, err));
    SY_TRY(sy_gguf_text(&g, "general.type", false, &m->arena, &type, err));
    if (strcmp(type, "imatrix")) return sy_fail(err, SY_EFORMAT, "%s is a GGUF file of type '%.40s', not an importance matrix", m->file, *type ? type : "(none)");
    if (!(m->e = sy_arena_array(&m->arena, (size_t)g.n + 1, sizeof *m->e))) return sy_fail(err, SY_ENOMEM, "no memory for %s", m->file);
    for (int i = 0; i < g.n; i++) {
        size_t n = strlen(g.t[i].name);
        if (n > sizeof suffix - 1 && !strcmp(g.t[i].name + n - (sizeof suffix - 1), suffix)) SY_TRY(gguf_entry(m, &g, &g.t[i], err));
    }
    return settle(m, err);
}

/* --- the older form ------------------------------------------------------------------------------------------------------------- */

static sy_status old_entry(sy_imatrix *m, int i, const uint8_t **at, const uint8_t *end, sy_err *err)
{
    sy_importance *e = &m->e[m->n++];
    int32_t len, head[2];
    if (end - *at < 4) return sy_fail(err, SY_EFORMAT, "%s ends before entry %d; it is truncated", m->file, i);
    memcpy(&len, *at, 4);
    *at += 4;
    if (len < 1 || len > MAX_NAME || end - *at < len + 8) return sy_fail(err, SY_EFORMAT, "%s: entry %d has a name of %d bytes; the file is truncated or no importance matrix", m->file, i, len);
    for (int32_t k = 0; k < len; k++) if ((*at)[k] < 32 || (*at)[k] > 126) return sy_fail(err, SY_EFORMAT, "%s: the name of entry %d is no name of a tensor", m->file, i);
    if (!(e->name = sy_arena_printf(&m->arena, "%.*s", (int)len, (const char *)*at))) return sy_fail(err, SY_ENOMEM, "no memory for %s", m->file);
    memcpy(head, *at + len, 8);
    *at += len + 8;
    if (head[1] < 1 || (end - *at) / 4 < head[1]) return sy_fail(err, SY_EFORMAT, "%s: '%s' claims %d values, %td bytes are left", m->file, e->name, head[1], end - *at);
    float *v = sy_arena_alloc(&m->arena, (size_t)head[1] * sizeof *v);
    if (!v) return sy_fail(err, SY_ENOMEM, "no memory for %s", m->file);
    memcpy(v, *at, (size_t)head[1] * sizeof *v);
    *at += (size_t)head[1] * sizeof *v;
    e->value = v, e->cols = head[1];
    return check(m, e, (size_t)head[1], err);
}

static sy_status read_old(reading *r, sy_err *err)
{
    sy_imatrix *m = r->m;
    const uint8_t *at = r->map.data, *end = at + r->map.size;
    int32_t n;
    if (r->map.size < 4) return sy_fail(err, SY_EFORMAT, "%s: %zu bytes are too few for an importance matrix", m->file, r->map.size);
    memcpy(&n, at, 4);
    at += 4;
    if (n < 1 || n > MAX_ENTRIES || (size_t)n * 17 > r->map.size) return sy_fail(err, SY_EFORMAT, "%s claims %d entries; it is truncated or no importance matrix", m->file, n);
    if (!(m->e = sy_arena_array(&m->arena, (size_t)n, sizeof *m->e))) return sy_fail(err, SY_ENOMEM, "no memory for %s", m->file);
    for (int i = 0; i < n; i++) SY_TRY(old_entry(m, i, &at, end, err));
    return settle(m, err);                           /* what follows says which text was read; it changes nothing */
}

static sy_status read_it(reading *r, sy_err *err)
{
    return r->map.size >= 4 && !memcmp(r->map.data, "GGUF", 4) ? read_gguf(r, err) : read_old(r, err);
}

sy_status sy_imatrix_parse(sy_imatrix *m, const uint8_t *data, size_t size, const char *file, sy_err *err)
{
    reading r = { .m = m, .map = { .data = data, .size = size } };
    *m = (sy_imatrix){ 0 };
    if (!(m->file = sy_arena_strdup(&m->arena, file))) return sy_fail(err, SY_ENOMEM, "no memory for %s", file);
    sy_status st = read_it(&r, err);
    if (st != SY_OK) sy_imatrix_close(m);
    return st;
}

sy_status sy_imatrix_open(sy_imatrix *m, const char *path, sy_err *err)
{
    sy_map map;
    SY_TRY(sy_map_open(&map, path, err));
    sy_status st = sy_imatrix_parse(m, map.data, map.size, path, err), whole = sy_map_status(&map, path, st, err);
    if (whole != st) sy_imatrix_close(m);
    sy_map_close(&map);
    return whole;
}

void sy_imatrix_close(sy_imatrix *m)
{
    sy_arena_free(&m->arena);
    *m = (sy_imatrix){ 0 };
}

sy_status sy_imatrix_row(sy_imatrix *m, const char *name, int row, int rows, int cols, const float **out, sy_err *err)
{
    sy_importance key = { .name = name }, *e = m->n ? bsearch(&key, m->e, (size_t)m->n, sizeof *m->e, by_name) : NULL;
    *out = NULL;
    if (!e) return SY_OK;
    bool all = e->rows ? e->rows == rows && e->cols == cols : (int64_t)e->cols == (int64_t)rows * cols;
    bool one = e->rows <= 1 && e->cols == cols;      /* shared by the whole stack */
    if (!all && !one) return sy_fail(err, SY_ESHAPE, "%s: '%s' has %d x %d importances, the tensor wants %d x %d; it is of another model", m->file, name, e->rows ? e->rows : 1, e->cols, rows, cols);
    e->used = true;
    *out = e->value + (all ? (size_t)row * (size_t)cols : 0);
    return SY_OK;
}
