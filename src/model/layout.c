/* model/layout.c - places of parameters in files. */
#include "model/layout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sy_param_pieces(const sy_param *p) { return strstr(p->name, "{e}") ? p->w.dim[0] : 1; }

char *sy_piece_name(const sy_param *p, int e, const char *suffix, char *buf, size_t size)
{
    const char *hole = strstr(p->name, "{e}");
    if (hole) snprintf(buf, size, "%.*s%d%s%s", (int)(hole - p->name), p->name, e, hole + 3, suffix);
    else snprintf(buf, size, "%s%s", p->name, suffix);
    return buf;
}

/* --- names ----------------------------------------------------------------------------------------------------------------- */

/* Whether a row's own name is this parameter's; *layer gets the number under {l}. */
static bool is_own(const char *pattern, const char *name, int *layer)
{
    *layer = 0;
    while (*pattern && *name) {
        if (!strncmp(pattern, "{l}", 3) && *name >= '0' && *name <= '9') {
            char *end;
            *layer = (int)strtol(name, &end, 10);
            name = end;
            pattern += 3;
        } else if (*pattern++ != *name++) return false;
    }
    return !*pattern && !*name;
}

static void fill_in(const char *pattern, int layer, int e, char *buf, size_t size)
{
    size_t n = 0;
    *buf = 0;
    while (*pattern && n + 12 < size)
        if (!strncmp(pattern, "{l}", 3)) n += (size_t)snprintf(buf + n, size - n, "%d", layer), pattern += 3;
        else if (!strncmp(pattern, "{e}", 3)) n += (size_t)snprintf(buf + n, size - n, "%d", e), pattern += 3;
        else buf[n++] = *pattern++, buf[n] = 0;
}

bool sy_name_matches(const char *pattern, const char *name, int layers, int mtp_layers)
{
    for (; *pattern; pattern++, name++) {
        bool mtp = !strncmp(pattern, "{mtp}", 5);
        if (*pattern == '*') {
            do if (sy_name_matches(pattern + 1, name, layers, mtp_layers)) return true;
            while (*name++);
            return false;
        }
        if (mtp || !strncmp(pattern, "{l}", 3)) {
            char *end;
            if (*name < '0' || *name > '9') return false;
            long n = strtol(name, &end, 10);
            if (mtp && (n < layers || n >= (long)layers + mtp_layers)) return false;
            name = end - 1;
            pattern += mtp ? 4 : 2;
        } else if (*pattern != *name) return false;
    }
    return !*name;
}

/* --- places ---------------------------------------------------------------------------------------------------------------- */

/* The nth row for this parameter; NULL past the last. */
static const sy_family_part *nth_row(const sy_family *f, const sy_param *p, int n, int *layer)
{
    for (const sy_family_part *r = f ? f->parts : NULL; r && r->own; r++)
        if (is_own(r->own, p->name, layer) && !n--) return r;
    return NULL;
}

bool sy_place_of(sy_place *at, const sy_family *f, const sy_spec *s, const sy_param *p, int e, int n)
{
    int layer, each = strstr(p->name, "{e}") ? 1 : 0, nd = p->w.nd - each;
    const sy_family_part *r = nth_row(f, p, n, &layer);
    *at = (sy_place){ .rows = nd ? p->w.dim[each] : 1, .cols = 1 };
    for (int d = 1; d < nd; d++) at->cols *= p->w.dim[each + d];
    if (!r) {
        if (n) return false;
        sy_piece_name(p, e, "", at->name, sizeof at->name);
        at->nd = nd;
        for (int d = 0; d < nd; d++) at->dim[d] = p->w.dim[each + d];
        at->row_step = (size_t)at->cols, at->col_step = 1;
        at->block = at->block_step = at->rows;
        at->whole = true;
        return true;
    }
    int parts = r->parts ? r->parts : 1;
    bool stacked = each && !strstr(r->file, "{e}"), turned = r->layout & SY_LAY_TRANSPOSED;
    size_t R = (size_t)at->rows * (size_t)parts, K = (size_t)at->cols;
    fill_in(r->file, layer, e, at->name, sizeof at->name);
    at->layout = r->layout;
    if (stacked) at->dim[at->nd++] = p->w.dim[0];
    if (nd > 1 && turned) at->dim[at->nd++] = (int64_t)K, at->dim[at->nd++] = (int64_t)R;
    else {
        at->dim[at->nd++] = (int64_t)R;
        for (int d = 1; d < nd; d++) at->dim[at->nd++] = p->w.dim[each + d];
    }
    at->base = stacked ? (size_t)e * R * K : 0;
    at->row_step = nd > 1 && turned ? 1 : K;
    at->col_step = nd > 1 && turned ? R : 1;
    if (r->layout & SY_LAY_PAIRS) at->block = 1, at->block_step = parts, at->first = r->part;
    else if (r->layout & SY_LAY_HEADS) at->block = s->head_dim, at->block_step = parts * s->head_dim, at->first = r->part * s->head_dim;
    else at->block = at->block_step = at->rows, at->first = r->part * at->rows;
    at->whole = !stacked && parts == 1 && !(nd > 1 && turned) && !(r->layout & SY_LAY_MXFP4);
    return true;
}

static size_t row_of(const sy_place *at, int n) { return (size_t)(n / at->block) * (size_t)at->block_step + (size_t)(n % at->block) + (size_t)at->first; }

void sy_place_rows(sy_place *at, int from, int n)
{
    at->first += at->block >= at->rows ? from : from / at->block * at->block_step;
    if (at->block >= at->rows && at->block > n) at->block = at->block_step = n;          /* they follow each other as before */
    at->whole &= from == 0 && n == at->rows;
    at->rows = n;
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

#ifdef SY_DOUBLE
static sy_status values(const sy_st_tensor *t, size_t from, size_t n, sy_real *out, sy_err *err) { return sy_st_read_f64(t, from, n, out, err); }
#else
static sy_status values(const sy_st_tensor *t, size_t from, size_t n, sy_real *out, sy_err *err) { return sy_st_read_f32(t, from, n, out, err); }
#endif

static char *shape(const int64_t *dim, int nd, char *buf, size_t size)
{
    size_t n = 0;
    snprintf(buf, size, "a single value");
    for (int d = 0; d < nd && n < size; d++) n += (size_t)snprintf(buf + n, size - n, "%s%lld", d ? " x " : "", (long long)dim[d]);
    return buf;
}

static sy_status check_shape(const char *name, const sy_st_tensor *t, int nd, const int64_t *dim, sy_err *err)
{
    char have[80], want[80];
    bool same = t->nd == nd;
    for (int d = 0; same && d < nd; d++) same = t->dim[d] == dim[d];
    if (same) return SY_OK;
    return sy_fail(err, SY_ESHAPE, "tensor '%s' is %s in the file; config.json gives it %s", name, shape(t->dim, t->nd, have, sizeof have), shape(dim, nd, want, sizeof want));
}

sy_status sy_place_check(const sy_place *at, const sy_source *from, sy_err *err)
{
    int64_t dim[SY_ST_DIMS];
    char name[SY_TENSOR_NAME + 16];
    if (!(at->layout & SY_LAY_MXFP4)) {
        SY_TRY(check_shape(at->name, from->t, at->nd, at->dim, err));
        if (!from->scale) return SY_OK;
        if (!at->whole || at->nd != 2) return sy_fail(err, SY_EUNSUP, "tensor '%s' is F8_E4M3 with scales; only whole matrices are read so", at->name);
        for (int d = 0; d < 2; d++) dim[d] = (at->dim[d] + from->block[d] - 1) / from->block[d];
        snprintf(name, sizeof name, "%s_scale_inv", at->name);
        return check_shape(name, from->scale, 2, dim, err);
    }
    if (at->cols % 32) return sy_fail(err, SY_ESHAPE, "'%s' has rows of %d values; MXFP4 packs 32 at a time", at->name, at->cols);
    memcpy(dim, at->dim, sizeof dim);
    dim[at->nd - 1] = at->cols / 32;
    dim[at->nd] = 16;
    snprintf(name, sizeof name, "%s_blocks", at->name);
    SY_TRY(check_shape(name, from->t, at->nd + 1, dim, err));
    snprintf(name, sizeof name, "%s_scales", at->name);
    SY_TRY(check_shape(name, from->scale, at->nd, dim, err));
    if (from->t->type == SY_DT_U8 && from->scale->type == SY_DT_U8) return SY_OK;
    return sy_fail(err, SY_EFORMAT, "tensors '%s_blocks' and '%s_scales' must be U8, they are %s and %s", at->name, at->name, sy_dtype_name(from->t->type), sy_dtype_name(from->scale->type));
}

/* Rows of a matrix in blocks that share a scale: value * scale[row / block 0][col / block 1]. */
static sy_status read_fp8(const sy_place *at, const sy_source *from, sy_real *out, sy_arena *a, sy_err *err)
{
    int rows = from->block[0], cols = from->block[1], across = (at->cols + cols - 1) / cols;
    sy_real *scale = sy_arena_array(a, from->scale->n, sizeof *scale);
    if (!scale) return sy_fail(err, SY_ENOMEM, "no memory for the scales of '%s'", at->name);
    SY_TRY(values(from->scale, 0, from->scale->n, scale, err));
    SY_TRY(values(from->t, 0, (size_t)at->rows * (size_t)at->cols, out, err));
    for (int n = 0; n < at->rows; n++)
        for (int k = 0; k < at->cols; k++) out[(size_t)n * (size_t)at->cols + (size_t)k] *= scale[n / rows * across + k / cols];
    return SY_OK;
}

/* 16 bytes hold 32 values, two in a byte, the low half first; a byte of scale is a power of two (OCP MX, 4-bit floats). */
static sy_status read_mxfp4(const sy_place *at, const sy_source *from, sy_real *out, sy_arena *a, sy_err *err)
{
    static const float four[16] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6 };
    size_t blocks = (size_t)(at->cols / 32);
    uint8_t *scale = sy_arena_alloc(a, blocks);      /* of a row; a copy, since both tensors may be seen through one window */
    if (!scale) return sy_fail(err, SY_ENOMEM, "no memory for a row of '%s'", at->name);
    for (int n = 0; n < at->rows; n++) {
        size_t first = (at->base / (size_t)at->cols + row_of(at, n)) * blocks;
        const uint8_t *q = sy_st_bytes(from->scale, first, blocks);
        if (q) memcpy(scale, q, blocks);
        if (!q || !(q = sy_st_bytes(from->t, first * 16, blocks * 16))) return sy_fail(err, SY_ENOMEM, "no address space for a row of '%s'", at->name);
        sy_real *y = out + (size_t)n * (size_t)at->cols;
        for (size_t b = 0; b < blocks; b++, q += 16, y += 32)
            for (int i = 0; i < 16; i++) {
                y[2 * i] = (sy_real)ldexp((double)four[q[i] & 15], scale[b] - 127);
                y[2 * i + 1] = (sy_real)ldexp((double)four[q[i] >> 4], scale[b] - 127);
            }
    }
    return SY_OK;
}

static sy_status read_plain(const sy_place *at, const sy_source *from, sy_real *out, sy_arena *a, sy_err *err)
{
    size_t K = (size_t)at->cols;
    if (at->col_step == 1 || K == 1) {
        bool run = at->block >= at->rows;                    /* the rows follow each other */
        int step = run ? at->rows : 1;
        for (int n = 0; n < at->rows; n += step) SY_TRY(values(from->t, at->base + row_of(at, n) * at->row_step, (size_t)step * K, out + (size_t)n * K, err));
        return SY_OK;
    }
    sy_real *line = sy_arena_alloc(a, at->col_step * sizeof *line);      /* the tensor's own rows are [cols][all rows] */
    if (!line) return sy_fail(err, SY_ENOMEM, "no memory for a row of '%s'", at->name);
    for (int k = 0; k < at->cols; k++) {
        SY_TRY(values(from->t, at->base + (size_t)k * at->col_step, at->col_step, line, err));
        for (int n = 0; n < at->rows; n++) out[(size_t)n * K + (size_t)k] = line[row_of(at, n)];
    }
    return SY_OK;
}

sy_status sy_place_read(const sy_place *at, const sy_source *from, sy_real *out, sy_arena *a, sy_err *err)
{
    sy_mark mark = sy_arena_mark(a);
    SY_TRY(sy_place_check(at, from, err));
    sy_status st = at->layout & SY_LAY_MXFP4 ? read_mxfp4(at, from, out, a, err) : from->scale ? read_fp8(at, from, out, a, err) : read_plain(at, from, out, a, err);
    sy_arena_release(a, mark);
    return st;
}

void sy_place_write(const sy_place *at, const sy_real *piece, sy_real *tensor)
{
    for (int n = 0; n < at->rows; n++)
        for (int k = 0; k < at->cols; k++)
            tensor[at->base + row_of(at, n) * at->row_step + (size_t)k * at->col_step] = piece[(size_t)n * (size_t)at->cols + (size_t)k];
}
