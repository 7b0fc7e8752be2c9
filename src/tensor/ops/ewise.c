/* tensor/ops/ewise.c - value by value: sums, products, quotients, powers; a row or a column of factors; the gradient's end. */
#include <math.h>
#include <string.h>

#include "tensor/ops/span.h"

static sy_tensor *binary(sy_tape *t, const sy_op *op, sy_tensor *a, sy_tensor *b)
{
    if (!sy__same(t, op->name, SY_IN(a, b))) return &t->empty;
    sy_node *n = sy_node_new(t, op, SY_IN(a, b), SY_NOW);
    if (!n) return &t->empty;
    n->out = sy_new_like(t, a);
    return sy_apply(n);
}

/* Two leaves, or twice the same (variant 1): both gradients then go to one place. b stays away from zero. */
static sy_tensor *binary_sample(sy_tape *t, int variant, sy_tensor *(*op)(sy_tape *, sy_tensor *, sy_tensor *))
{
    if (variant > 1) return NULL;
    sy_tensor *a = sy_sample_leaf(t, 0.4, 2, SY_DIM(3, 5));
    return op(t, a, variant ? a : sy_sample_leaf(t, 0.5, 1.5, SY_DIM(3, 5)));
}

/* ---- a + b ---- */

static void add_values(const sy_span *s, size_t at, size_t n) { s->k->add(n, s->a + at, s->b + at, s->y + at); }
static void add_back(const sy_span *s, size_t at, size_t n)
{
    if (s->new_a) memcpy(s->da + at, s->dy + at, n * sizeof *s->da);
    else if (s->da) s->k->add(n, s->dy + at, s->da + at, s->da + at);
    if (s->new_b) memcpy(s->db + at, s->dy + at, n * sizeof *s->db);
    else if (s->db) s->k->add(n, s->dy + at, s->db + at, s->db + at);
}
static void add_f(sy_node *n) { sy__values_f(n, 1, add_values); }
static void add_b(sy_node *n) { sy__values_store(n, 2, add_back); }
static sy_tensor *add_sample(sy_tape *t, int variant) { return binary_sample(t, variant, sy_add); }
const sy_op sy_op_add = { "add", add_f, add_b, NULL, add_sample };
sy_tensor *sy_add(sy_tape *t, sy_tensor *a, sy_tensor *b) { return binary(t, &sy_op_add, a, b); }

/* ---- a - b ---- */

static void sub_values(const sy_span *s, size_t at, size_t n) { for (size_t i = at; i < at + n; i++) s->y[i] = s->a[i] - s->b[i]; }
static void sub_back(const sy_span *s, size_t at, size_t n)
{
    if (s->da) s->k->add(n, s->dy + at, s->da + at, s->da + at);
    if (s->db) s->k->axpy(n, -1, s->dy + at, s->db + at);
}
static void sub_f(sy_node *n) { sy__values_f(n, 1, sub_values); }
static void sub_b(sy_node *n) { sy__values_b(n, 2, sub_back); }
static sy_tensor *sub_sample(sy_tape *t, int variant) { return binary_sample(t, variant, sy_sub); }
const sy_op sy_op_sub = { "sub", sub_f, sub_b, NULL, sub_sample };
sy_tensor *sy_sub(sy_tape *t, sy_tensor *a, sy_tensor *b) { return binary(t, &sy_op_sub, a, b); }

/* ---- a b ---- */

static void mul_values(const sy_span *s, size_t at, size_t n) { s->k->mul(n, s->a + at, s->b + at, s->y + at); }
static void mul_back(const sy_span *s, size_t at, size_t n)
{
    if (s->da) s->k->muladd(n, s->dy + at, s->b + at, s->da + at);
    if (s->db) s->k->muladd(n, s->dy + at, s->a + at, s->db + at);
}
static void mul_f(sy_node *n) { sy__values_f(n, 1, mul_values); }
static void mul_b(sy_node *n) { sy__values_b(n, 2, mul_back); }
static sy_tensor *mul_sample(sy_tape *t, int variant) { return binary_sample(t, variant, sy_mul); }
const sy_op sy_op_mul = { "mul", mul_f, mul_b, NULL, mul_sample };
sy_tensor *sy_mul(sy_tape *t, sy_tensor *a, sy_tensor *b) { return binary(t, &sy_op_mul, a, b); }

/* ---- a / b ---- */

static void div_values(const sy_span *s, size_t at, size_t n) { for (size_t i = at; i < at + n; i++) s->y[i] = s->a[i] / s->b[i]; }
static void div_back(const sy_span *s, size_t at, size_t n)
{
    if (s->da) for (size_t i = at; i < at + n; i++) s->da[i] += s->dy[i] / s->b[i];
    if (s->db) for (size_t i = at; i < at + n; i++) s->db[i] -= s->dy[i] * s->y[i] / s->b[i];
}
static void div_f(sy_node *n) { sy__values_f(n, 2, div_values); }
static void div_b(sy_node *n) { sy__values_b(n, 5, div_back); }
static sy_tensor *div_sample(sy_tape *t, int variant) { return binary_sample(t, variant, sy_div); }
const sy_op sy_op_div = { "div", div_f, div_b, NULL, div_sample };
sy_tensor *sy_div(sy_tape *t, sy_tensor *a, sy_tensor *b) { return binary(t, &sy_op_div, a, b); }

/* ---- scale x + shift ---- */

struct affine { sy_real scale, shift; };

static void affine_values(const sy_span *s, size_t at, size_t n)
{
    const struct affine c = *(const struct affine *)s->n->arg;
    for (size_t i = at; i < at + n; i++) s->y[i] = c.scale * s->a[i] + c.shift;
}
static void affine_back(const sy_span *s, size_t at, size_t n)
{
    if (s->da) s->k->axpy(n, ((const struct affine *)s->n->arg)->scale, s->dy + at, s->da + at);
}
static void affine_f(sy_node *n) { sy__values_f(n, 1, affine_values); }
static void affine_b(sy_node *n) { sy__values_b(n, 1, affine_back); }
static sy_tensor *affine_sample(sy_tape *t, int variant) { return variant ? NULL : sy_affine(t, sy_sample_leaf(t, -1, 1, SY_DIM(3, 5)), -1.75, 0.5); }
const sy_op sy_op_affine = { "affine", affine_f, affine_b, NULL, affine_sample };
sy_tensor *sy_affine(sy_tape *t, sy_tensor *x, double scale, double shift)
{
    return sy__map(t, &sy_op_affine, x, &(struct affine){ (sy_real)scale, (sy_real)shift }, sizeof(struct affine));
}

/* ---- x^2, e^x, log x ---- */

static void square_values(const sy_span *s, size_t at, size_t n) { s->k->mul(n, s->a + at, s->a + at, s->y + at); }
static void square_back(const sy_span *s, size_t at, size_t n)
{
    if (s->da) for (size_t i = at; i < at + n; i++) s->da[i] += 2 * s->a[i] * s->dy[i];
}
static void square_f(sy_node *n) { sy__values_f(n, 1, square_values); }
static void square_b(sy_node *n) { sy__values_b(n, 1, square_back); }
static sy_tensor *square_sample(sy_tape *t, int variant) { return variant ? NULL : sy_square(t, sy_sample_leaf(t, -1, 1, SY_DIM(3, 5))); }
const sy_op sy_op_square = { "square", square_f, square_b, NULL, square_sample };
sy_tensor *sy_square(sy_tape *t, sy_tensor *x) { return sy__map(t, &sy_op_square, x, NULL, 0); }

static void exp_values(const sy_span *s, size_t at, size_t n) { s->k->exp(n, s->a + at, s->y + at); }
static void exp_back(const sy_span *s, size_t at, size_t n) { if (s->da) s->k->muladd(n, s->dy + at, s->y + at, s->da + at); }
static void exp_f(sy_node *n) { sy__values_f(n, 4, exp_values); }
static void exp_b(sy_node *n) { sy__values_b(n, 1, exp_back); }
static sy_tensor *exp_sample(sy_tape *t, int variant) { return variant ? NULL : sy_exp(t, sy_sample_leaf(t, -2, 2, SY_DIM(3, 5))); }
const sy_op sy_op_exp = { "exp", exp_f, exp_b, NULL, exp_sample };
sy_tensor *sy_exp(sy_tape *t, sy_tensor *x) { return sy__map(t, &sy_op_exp, x, NULL, 0); }

static void ln_values(const sy_span *s, size_t at, size_t n) { for (size_t i = at; i < at + n; i++) s->y[i] = (sy_real)log((double)s->a[i]); }
static void ln_back(const sy_span *s, size_t at, size_t n)
{
    if (s->da) for (size_t i = at; i < at + n; i++) s->da[i] += s->dy[i] / s->a[i];
}
static void ln_f(sy_node *n) { sy__values_f(n, 10, ln_values); }
static void ln_b(sy_node *n) { sy__values_b(n, 2, ln_back); }
static sy_tensor *ln_sample(sy_tape *t, int variant) { return variant ? NULL : sy_ln(t, sy_sample_leaf(t, 0.5, 3, SY_DIM(3, 5))); }
const sy_op sy_op_ln = { "ln", ln_f, ln_b, NULL, ln_sample };
sy_tensor *sy_ln(sy_tape *t, sy_tensor *x) { return sy__map(t, &sy_op_ln, x, NULL, 0); }

/* ---- a value within limits, and one that nears a limit ---- */

struct clamp { sy_real low, high; };

static void clamp_values(const sy_span *s, size_t at, size_t n)
{
    const struct clamp c = *(const struct clamp *)s->n->arg;
    for (size_t i = at; i < at + n; i++) {
        sy_real x = s->a[i];
        s->y[i] = x < c.low ? c.low : x > c.high ? c.high : x;          /* NaN stays */
    }
}
static void clamp_back(const sy_span *s, size_t at, size_t n)
{
    const struct clamp c = *(const struct clamp *)s->n->arg;
    for (size_t i = at; s->da && i < at + n; i++)
        if (s->a[i] >= c.low && s->a[i] <= c.high) s->da[i] += s->dy[i];
}
static void clamp_f(sy_node *n) { sy__values_f(n, 1, clamp_values); }
static void clamp_b(sy_node *n) { sy__values_b(n, 1, clamp_back); }
static sy_tensor *clamp_sample(sy_tape *t, int variant)
{
    static const double limit[][2] = { { -0.4, 0.5 }, { -INFINITY, 0.25 }, { -0.25, INFINITY } };
    return variant >= (int)SY_COUNT(limit) ? NULL : sy_clamp(t, sy_sample_leaf(t, -1, 1, SY_DIM(3, 5)), limit[variant][0], limit[variant][1]);
}
const sy_op sy_op_clamp = { "clamp", clamp_f, clamp_b, NULL, clamp_sample };
sy_tensor *sy_clamp(sy_tape *t, sy_tensor *x, double low, double high)
{
    if (t->status == SY_OK && !(low <= high)) return sy_tape_fail(t, SY_EARG, "clamp: limits %g and %g; the first must not exceed the second", low, high);
    return sy__map(t, &sy_op_clamp, x, &(struct clamp){ (sy_real)low, (sy_real)high }, sizeof(struct clamp));
}

struct softcap { double cap; };

static void softcap_values(const sy_span *s, size_t at, size_t n)
{
    double cap = ((const struct softcap *)s->n->arg)->cap;
    for (size_t i = at; i < at + n; i++) s->y[i] = (sy_real)(cap * tanh((double)s->a[i] / cap));
}
static void softcap_back(const sy_span *s, size_t at, size_t n)
{
    double cap = ((const struct softcap *)s->n->arg)->cap;
    for (size_t i = at; s->da && i < at + n; i++) s->da[i] += (sy_real)((double)s->dy[i] * (1 - (double)s->y[i] / cap * ((double)s->y[i] / cap)));
}
static void softcap_f(sy_node *n) { sy__values_f(n, 20, softcap_values); }
static void softcap_b(sy_node *n) { sy__values_b(n, 4, softcap_back); }
static sy_tensor *softcap_sample(sy_tape *t, int variant) { return variant ? NULL : sy_softcap(t, sy_sample_leaf(t, -3, 3, SY_DIM(3, 5)), 1.5); }
const sy_op sy_op_softcap = { "softcap", softcap_f, softcap_b, NULL, softcap_sample };
sy_tensor *sy_softcap(sy_tape *t, sy_tensor *x, double cap)
{
    if (t->status == SY_OK && !(cap > 0)) return sy_tape_fail(t, SY_EARG, "softcap: a cap of %g; it must be positive", cap);
    return sy__map(t, &sy_op_softcap, x, &(struct softcap){ cap }, sizeof(struct softcap));
}

/* ---- x c, c constant ---- */

struct constant { const sy_real *c; };

static void mul_const_values(const sy_span *s, size_t at, size_t n) { s->k->mul(n, s->a + at, ((const struct constant *)s->n->arg)->c + at, s->y + at); }
static void mul_const_back(const sy_span *s, size_t at, size_t n)
{
    if (s->da) s->k->muladd(n, s->dy + at, ((const struct constant *)s->n->arg)->c + at, s->da + at);
}
static void mul_const_f(sy_node *n) { sy__values_f(n, 1, mul_const_values); }
static void mul_const_b(sy_node *n) { sy__values_b(n, 1, mul_const_back); }
static sy_tensor *mul_const_sample(sy_tape *t, int variant)
{
    static const sy_real c[] = { 1, 0, -2, 0.5, 3, -0.25 };
    return variant ? NULL : sy_mul_const(t, sy_sample_leaf(t, -1, 1, SY_DIM(2, 3)), c);
}
const sy_op sy_op_mul_const = { "mul_const", mul_const_f, mul_const_b, NULL, mul_const_sample };
sy_tensor *sy_mul_const(sy_tape *t, sy_tensor *x, const sy_real *c) { return sy__map(t, &sy_op_mul_const, x, &(struct constant){ c }, sizeof(struct constant)); }

/* ---- a matrix and a vector of its columns (add_bias, mul_cols) or of its rows (mul_rows, div_rows) ---- */

static sy_tensor *with_vector(sy_tape *t, const sy_op *op, sy_tensor *x, sy_tensor *s, bool of_rows)
{
    if (t->status != SY_OK) return &t->empty;
    size_t want = (size_t)(of_rows ? sy_rows(x) : sy_cols(x));
    if (!x->x || !s->x || sy_numel(s) != want)
        return sy_tape_fail(t, SY_ESHAPE, "%s: input is %d x %d real values, so the vector must have %zu real values; it has %zu", op->name, sy_rows(x), sy_cols(x), want, s->x ? sy_numel(s) : 0);
    sy_node *n = sy_node_new(t, op, SY_IN(x, s), SY_NOW);
    if (!n) return &t->empty;
    n->out = sy_new_like(t, x);
    return sy_apply(n);
}

static sy_tensor *vector_sample(sy_tape *t, int variant, sy_tensor *(*op)(sy_tape *, sy_tensor *, sy_tensor *), int n)
{
    if (variant) return NULL;
    sy_tensor *x = sy_sample_leaf(t, -1, 1, SY_DIM(3, 5));
    return op(t, x, sy_sample_leaf(t, 0.5, 1.5, SY_DIM(n)));
}

#define EACH_ROW(r, o) for (size_t r = at, o = at * (size_t)s->cols; r < at + n; r++, o += (size_t)s->cols)

static void add_bias_rows(const sy_span *s, size_t at, size_t n) { EACH_ROW(r, o) s->k->add((size_t)s->cols, s->a + o, s->b, s->y + o); }
static void add_bias_back(const sy_span *s, size_t at, size_t n) { EACH_ROW(r, o) s->k->add((size_t)s->cols, s->dy + o, s->da + o, s->da + o); }
static void add_bias_f(sy_node *n) { sy__rows_f(n, sy_cols(n->out), 0, add_bias_rows); }
static void add_bias_b(sy_node *n)
{
    sy_real *db = sy_grad(n, 1);
    if (sy_grad(n, 0)) sy__rows_b(n, sy_cols(n->out), 0, add_bias_back);
    if (db) sy__col_sums(n->tape->eng, sy_rows(n->out), sy_cols(n->out), n->out->dx, NULL, NULL, db);
}
static sy_tensor *add_bias_sample(sy_tape *t, int variant) { return vector_sample(t, variant, sy_add_bias, 5); }
const sy_op sy_op_add_bias = { "add_bias", add_bias_f, add_bias_b, NULL, add_bias_sample };
sy_tensor *sy_add_bias(sy_tape *t, sy_tensor *x, sy_tensor *b) { return with_vector(t, &sy_op_add_bias, x, b, false); }

/* Rows packed by expert, each expert's with its own bias. */
struct add_grouped { const int *first; int E; };

static void add_bias_grouped_rows(const sy_span *s, size_t at, size_t n)
{
    const struct add_grouped *g = s->n->arg;
    int e = 0;
    EACH_ROW(r, o) {
        while (r >= (size_t)g->first[e + 1]) e++;
        s->k->add((size_t)s->cols, s->a + o, s->b + (size_t)e * (size_t)s->cols, s->y + o);
    }
}
static void add_bias_grouped_f(sy_node *n) { sy__rows_f(n, sy_cols(n->out), 0, add_bias_grouped_rows); }
static void add_bias_grouped_b(sy_node *n)
{
    const struct add_grouped *g = n->arg;
    size_t N = (size_t)sy_cols(n->out);
    sy_real *db = sy_grad(n, 1);
    if (sy_grad(n, 0)) sy__rows_b(n, sy_cols(n->out), 0, add_bias_back);
    for (int e = 0; db && e < g->E; e++)
        sy__col_sums(n->tape->eng, g->first[e + 1] - g->first[e], (int)N, n->out->dx + (size_t)g->first[e] * N, NULL, NULL, db + (size_t)e * N);
}
static sy_tensor *add_bias_grouped_sample(sy_tape *t, int variant)
{
    static const int first[][5] = { { 0, 3, 3, 4, 9 }, { 0, 0, 0, 9, 9 } };
    if (variant >= (int)SY_COUNT(first)) return NULL;
    sy_tensor *x = sy_sample_leaf(t, -1, 1, SY_DIM(9, 3));
    return sy_add_bias_grouped(t, x, sy_sample_leaf(t, -1, 1, SY_DIM(4, 3)), first[variant]);
}
const sy_op sy_op_add_bias_grouped = { "add_bias_grouped", add_bias_grouped_f, add_bias_grouped_b, NULL, add_bias_grouped_sample };
sy_tensor *sy_add_bias_grouped(sy_tape *t, sy_tensor *x, sy_tensor *b, const int *first)
{
    if (t->status != SY_OK) return &t->empty;
    int E = sy_rows(b);
    if (!x->x || !b->x || sy_cols(x) != sy_cols(b) || first[0] || first[E] != sy_rows(x))
        return sy_tape_fail(t, SY_ESHAPE, "add_bias_grouped: input is %d x %d, biases are %d x %d, packed rows run from %d to %d", sy_rows(x), sy_cols(x), E, sy_cols(b), first[0], first[E]);
    sy_node *n = sy_node_new(t, &sy_op_add_bias_grouped, SY_IN(x, b), SY_NOW);
    if (!n || !sy_node_arg(n, &(struct add_grouped){ first, E }, sizeof(struct add_grouped))) return &t->empty;
    n->out = sy_new_like(t, x);
    return sy_apply(n);
}

static void mul_cols_rows(const sy_span *s, size_t at, size_t n) { EACH_ROW(r, o) s->k->mul((size_t)s->cols, s->a + o, s->b, s->y + o); }
static void mul_cols_back(const sy_span *s, size_t at, size_t n) { EACH_ROW(r, o) s->k->muladd((size_t)s->cols, s->dy + o, s->b, s->da + o); }
static void mul_cols_f(sy_node *n) { sy__rows_f(n, sy_cols(n->out), 0, mul_cols_rows); }
static void mul_cols_b(sy_node *n)
{
    sy_real *ds = sy_grad(n, 1);
    if (sy_grad(n, 0)) sy__rows_b(n, sy_cols(n->out), 0, mul_cols_back);
    if (ds) sy__col_sums(n->tape->eng, sy_rows(n->out), sy_cols(n->out), n->out->dx, n->in[0]->x, NULL, ds);
}
static sy_tensor *mul_cols_sample(sy_tape *t, int variant) { return vector_sample(t, variant, sy_mul_cols, 5); }
const sy_op sy_op_mul_cols = { "mul_cols", mul_cols_f, mul_cols_b, NULL, mul_cols_sample };
sy_tensor *sy_mul_cols(sy_tape *t, sy_tensor *x, sy_tensor *s) { return with_vector(t, &sy_op_mul_cols, x, s, false); }

static void mul_rows_rows(const sy_span *s, size_t at, size_t n) { EACH_ROW(r, o) s->k->scale((size_t)s->cols, s->b[r], s->a + o, s->y + o); }
static void mul_rows_back(const sy_span *s, size_t at, size_t n)
{
    EACH_ROW(r, o) {
        if (s->da) s->k->axpy((size_t)s->cols, s->b[r], s->dy + o, s->da + o);
        if (s->db) s->db[r] += s->k->dot((size_t)s->cols, s->dy + o, s->a + o);
    }
}
static void mul_rows_f(sy_node *n) { sy__rows_f(n, sy_cols(n->out), 0, mul_rows_rows); }
static void mul_rows_b(sy_node *n) { sy__rows_b(n, 2 * sy_cols(n->out), 0, mul_rows_back); }
static sy_tensor *mul_rows_sample(sy_tape *t, int variant) { return vector_sample(t, variant, sy_mul_rows, 3); }
const sy_op sy_op_mul_rows = { "mul_rows", mul_rows_f, mul_rows_b, NULL, mul_rows_sample };
sy_tensor *sy_mul_rows(sy_tape *t, sy_tensor *x, sy_tensor *s) { return with_vector(t, &sy_op_mul_rows, x, s, true); }

static void div_rows_rows(const sy_span *s, size_t at, size_t n) { EACH_ROW(r, o) for (int c = 0; c < s->cols; c++) s->y[o + (size_t)c] = s->a[o + (size_t)c] / s->b[r]; }
static void div_rows_back(const sy_span *s, size_t at, size_t n)
{
    EACH_ROW(r, o) {
        if (s->da) s->k->axpy((size_t)s->cols, 1 / s->b[r], s->dy + o, s->da + o);
        if (s->db) s->db[r] -= s->k->dot((size_t)s->cols, s->dy + o, s->y + o) / s->b[r];
    }
}
static void div_rows_f(sy_node *n) { sy__rows_f(n, 4 * sy_cols(n->out), 0, div_rows_rows); }
static void div_rows_b(sy_node *n) { sy__rows_b(n, 2 * sy_cols(n->out), 0, div_rows_back); }
static sy_tensor *div_rows_sample(sy_tape *t, int variant) { return vector_sample(t, variant, sy_div_rows, 3); }
const sy_op sy_op_div_rows = { "div_rows", div_rows_f, div_rows_b, NULL, div_rows_sample };
sy_tensor *sy_div_rows(sy_tape *t, sy_tensor *x, sy_tensor *s) { return with_vector(t, &sy_op_div_rows, x, s, true); }

/* Not an op: the same memory under a tensor that wants no gradient, so nothing behind it is recorded. */
sy_tensor *sy_stop(sy_tape *t, sy_tensor *x)
{
    sy_tensor *y = sy_tape_alloc(t, 1, sizeof *y);
    if (!y) return &t->empty;
    *y = *x;
    y->dx = NULL;
    y->wants = false;
    return y;
}
