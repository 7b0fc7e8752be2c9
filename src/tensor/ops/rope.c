/* tensor/ops/rope.c - rotary position embedding, Su et al., arXiv:2104.09864.
 *
 * Angles are position times frequency in double, so a position far out is as exact as the first. The rotation is orthogonal up
 * to its scale: backward turns by the same angles the other way. */
#include "tensor/ops/span.h"

#include <math.h>
#include <string.h>

struct rope { int hd; const int *pos; sy_rope r; };

/* aux: cosines and sines of every position that occurs, one line [rot/2] cos, [rot/2] sin a position; or one a row where positions are sparse. */
struct turns { sy_real *cs; int first, lines; bool by_row; };

struct fill { const struct rope *a; const struct turns *t; };

static void fill_lines(void *arg, int from, int to, int worker)
{
    (void)worker;
    const struct fill *f = arg;
    int half = f->a->r.rot / 2;
    for (int l = from; l < to; l++) {
        sy_real *c = f->t->cs + (size_t)l * (size_t)f->a->r.rot;
        const sy_rope *r = &f->a->r;
        double pos = f->t->by_row ? f->a->pos[l] : f->t->first + l, scale = r->set ? r->set_scale[r->set[l]] : r->scale;
        const double *freq = r->set ? r->inv_freq + (size_t)r->set[l] * (size_t)half : r->inv_freq;
        for (int i = 0; i < half; i++) {
            double angle = pos * freq[i];
            c[i] = (sy_real)(cos(angle) * scale);
            c[half + i] = (sy_real)(sin(angle) * scale);
        }
    }
}

static const sy_real *line_of(const sy_span *s, size_t row)
{
    const struct rope *a = s->n->arg;
    const struct turns *t = s->n->aux;
    return t->cs + (t->by_row ? row : (size_t)(a->pos[row] - t->first)) * (size_t)a->r.rot;
}

/* y = x turned by (c, s) for one head; y may be x. */
static void turn(const sy_kernels *k, const sy_rope *r, const sy_real *c, const sy_real *s, const sy_real *x, sy_real *y)
{
    int half = r->rot / 2;
    if (!r->interleaved) { k->rope(half, c, s, x, y); return; }
    for (int i = 0; i < half; i++) {
        sy_real a = x[2 * i], b = x[2 * i + 1];
        y[2 * i]     = a * c[i] - b * s[i];
        y[2 * i + 1] = b * c[i] + a * s[i];
    }
}

/* What does not turn of one head. */
static void keep(const struct rope *a, const sy_real *x, sy_real *y)
{
    size_t from = (size_t)a->r.at + (size_t)a->r.rot;
    memcpy(y, x, (size_t)a->r.at * sizeof *y);
    memcpy(y + from, x + from, ((size_t)a->hd - from) * sizeof *y);
}

static void rope_rows(const sy_span *s, size_t at, size_t n)
{
    const struct rope *a = s->n->arg;
    size_t hd = (size_t)a->hd, rot = (size_t)a->r.rot, skip = (size_t)a->r.at;
    for (size_t r = at; r < at + n; r++) {
        const sy_real *c = line_of(s, r);
        for (size_t o = r * (size_t)s->cols, end = o + (size_t)s->cols; o < end; o += hd) {
            turn(s->k, &a->r, c, c + rot / 2, s->a + o + skip, s->y + o + skip);
            keep(a, s->a + o, s->y + o);
        }
    }
}

static void rope_back(const sy_span *s, size_t at, size_t n)
{
    const struct rope *a = s->n->arg;
    size_t hd = (size_t)a->hd, rot = (size_t)a->r.rot, skip = (size_t)a->r.at;
    sy_real *minus = s->tmp, *turned = s->tmp + hd;
    for (size_t r = at; s->da && r < at + n; r++) {
        const sy_real *c = line_of(s, r);
        s->k->scale(rot / 2, -1, c + rot / 2, minus);
        for (size_t o = r * (size_t)s->cols, end = o + (size_t)s->cols; o < end; o += hd) {
            sy_real *to = s->new_a ? s->da + o : turned;
            turn(s->k, &a->r, c, minus, s->dy + o + skip, to + skip);
            keep(a, s->dy + o, to);
            if (!s->new_a) s->k->add(hd, turned, s->da + o, s->da + o);
        }
    }
}

static void rope_apply_f(sy_node *n)
{
    const struct rope *a = n->arg;
    int T = sy_rows(n->out), low = T ? a->pos[0] : 0, high = low;
    for (int i = 1; i < T; i++) {
        if (a->pos[i] < low) low = a->pos[i];
        if (a->pos[i] > high) high = a->pos[i];
    }
    struct turns *t = n->aux = sy_tape_alloc(n->tape, 1, sizeof *t);
    if (!t) return;
    t->first = low;
    t->by_row = a->r.set || (int64_t)high - low >= T;
    t->lines = t->by_row || !T ? T : high - low + 1;
    t->cs = sy_tape_alloc(n->tape, (size_t)t->lines * (size_t)a->r.rot, sizeof *t->cs);
    if (!t->cs) return;
    sy_each(n->tape->eng, t->lines, 20.0 * a->r.rot, fill_lines, &(struct fill){ a, t });
    sy__rows_f(n, 2 * sy_cols(n->out), 0, rope_rows);
}

static void rope_apply_b(sy_node *n) { sy__rows_store(n, 3 * sy_cols(n->out), 2 * (size_t)((const struct rope *)n->arg)->hd, rope_back); }

static sy_tensor *rope_apply_sample(sy_tape *t, int variant)
{
    static const int near[] = { 0, 1, 2, 0, 1 }, far[] = { 5, 90000, 3, 7, 1 };
    static const double freq[] = { 1, 0.1, 0.01, 0.7, 0.05, 0.004 }, factor[] = { 1, 1.5 };
    static const int set[] = { 0, 0, 0, 1, 1 };
    static const struct { const int *pos; sy_rope r; } cases[] = {
        { near, { 6, freq, 1, .interleaved = false } }, { near, { 6, freq, 1, .interleaved = true } }, { far, { 4, freq, 1.25, .interleaved = false } }, { near, { 4, freq, 0.5, .interleaved = true } }, { near, { 0, freq, 1, .interleaved = false } },
        { near, { 4, freq, 1, .at = 2 } }, { far, { 2, freq, 1.5, .at = 3, .interleaved = true } },
        { near, { 6, freq, .set = set, .set_scale = factor } },
    };
    if (variant >= (int)SY_COUNT(cases)) return NULL;
    return sy_rope_apply(t, sy_sample_leaf(t, -1, 1, SY_DIM(5, 12)), 6, cases[variant].pos, &cases[variant].r);
}

const sy_op sy_op_rope_apply = { "rope_apply", rope_apply_f, rope_apply_b, NULL, rope_apply_sample };

sy_tensor *sy_rope_apply(sy_tape *t, sy_tensor *x, int head_dim, const int *pos, const sy_rope *r)
{
    if (t->status == SY_OK && (head_dim < 1 || sy_cols(x) % head_dim || r->rot < 0 || r->at < 0 || r->at > head_dim || r->rot > head_dim - r->at || r->rot % 2))
        return sy_tape_fail(t, SY_ESHAPE, "rope_apply: %d columns in heads of %d, of which %d values from %d on turn (an even number, within the head)", sy_cols(x), head_dim, r->rot, r->at);
    return sy__map(t, &sy_op_rope_apply, x, &(struct rope){ head_dim, pos, *r }, sizeof(struct rope));
}
