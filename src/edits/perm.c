/* edits/perm.c - a learned order of the experts: local search around any router.
 *
 * Paper: Ibrahim et al. 2023, arXiv:2306.02824 (COMET+): a router that has settled on a bad division cannot leave it by gradient; renaming experts can.
 *   R [E,E] uniform in +-0.05;  while step < perm_steps, with f = step / perm_steps:  tau = tau_max (tau_min / tau_max)^f,  n = round(20 + 130 f)
 *     Pi = exp of n rounds of (minus log-sum-exp of rows, minus log-sum-exp of columns) on (R + noise_factor Gumbel) / tau
 *     g'[t,l] = sum over e of g[t,e] Pi[e,l], scaled so that the token's weights keep their sum;  every g' > 0 is a slot
 *     loss = perm_entropy_reg (sum of -Pi ln(Pi + 1e-6) + the same of Pi with its rows divided by their sums)
 *   afterwards, and in evaluation and serving always: expert e becomes order[e], the assignment of largest sum of R (Hungarian method), which Pi goes to as tau falls
 * After perm_steps R is frozen and the order is kept as a buffer. The paper's option of one matrix for each of COMET's trees needs the inside of that router and is not here.
 * One step of learning costs n E^2 exponentials and lets a token run all E experts where Pi is soft. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "route/router.h"

typedef struct {
    int       perm_steps;
    double    tau_max, tau_min, perm_entropy_reg, noise_factor;
    sy_param *R, *order;
} perm_state;

static const sy_opt perm_opts[] = {
    SY_INT (perm_state, perm_steps,       "perm_epochs", 1000, 0, 1 << 30, "steps in which the order is learned; a tenth to a third of the run"),
    SY_REAL(perm_state, tau_max,          NULL, 1e-3, 1e-9, 1e3, "temperature at first"),
    SY_REAL(perm_state, tau_min,          NULL, 1e-7, 1e-12, 1e3, "temperature at perm_steps"),
    SY_REAL(perm_state, perm_entropy_reg, NULL, 1e-4, 0, 1e6, "weight of the entropy of Pi"),
    SY_REAL(perm_state, noise_factor,     NULL, 0, 0, 1e3, "Gumbel noise of this size on R while it is learned"),
    { 0 }
};

static sy_status perm_check(const void *state, const void *site, sy_err *err)
{
    const perm_state *s = state;
    const sy_site *at = site;
    if (at->Z) return sy_fail(err, SY_EUNSUP, "%d zero-cost experts: they have no place in an order of experts; leave them out", at->Z);
    if (s->tau_min > s->tau_max) return sy_fail(err, SY_EARG, "tau_min %g exceeds tau_max %g: the temperature falls", s->tau_min, s->tau_max);
    return SY_OK;
}

static sy_status perm_params(void *state, const sy_site *at, sy_own *own, sy_err *err)
{
    perm_state *s = state;
    (void)err;
    if (!(s->R = sy_own_param(own, "order_logits", SY_NODECAY, false, 0, SY_DIM(at->E, at->E)))) return own->err->status;
    if (!(s->order = sy_own_param(own, "order", SY_BUFFER, false, 0, SY_DIM(at->E)))) return own->err->status;
    sy_param_uniform(s->R, own->seed, 0.05);
    if (s->order->fresh) sy_param_fill(s->order, -1);
    return SY_OK;
}

/* --- the best assignment ------------------------------------------------------------------------------------------------------------ */

/* Rows to columns of w [n,n] with the largest sum: shortest augmenting paths (Kuhn, Munkres), O(n^3). room: 3 (n+1) doubles, 3 (n+1) ints. Ties go the same way always. */
static void best_order(const sy_real *w, int n, int *order, double *room, int *ints)
{
    double *u = room, *v = room + n + 1, *least = room + 2 * (n + 1);
    int *row = ints, *way = ints + n + 1, *used = ints + 2 * (n + 1);       /* row[j]: the row that column j has; 0 = none */
    memset(room, 0, 3 * ((size_t)n + 1) * sizeof *room);
    memset(ints, 0, 3 * ((size_t)n + 1) * sizeof *ints);
    for (int i = 1; i <= n; i++) {
        int j0 = 0;
        row[0] = i;
        for (int j = 0; j <= n; j++) least[j] = INFINITY, used[j] = 0;
        do {
            int j1 = 0;
            double delta = INFINITY;
            used[j0] = 1;
            for (int j = 1; j <= n; j++) {
                if (used[j]) continue;
                double cost = -(double)w[(size_t)(row[j0] - 1) * n + j - 1] - u[row[j0]] - v[j];
                if (cost < least[j]) least[j] = cost, way[j] = j0;
                if (!j1 || least[j] < delta) delta = least[j], j1 = j;
            }
            for (int j = 0; j <= n; j++) {
                if (used[j]) u[row[j]] += delta, v[j] -= delta;
                else least[j] -= delta;
            }
            j0 = j1;
        } while (row[j0]);
        for (; j0; j0 = way[j0]) row[j0] = row[way[j0]];
    }
    for (int j = 1; j <= n; j++) order[row[j] - 1] = j - 1;
}

static sy_status perm_before(void *state, const sy_site *at, const sy_step *st, sy_err *err)
{
    perm_state *s = state;
    sy_real *order = s->order->w.data;
    int n = at->E;
    if (st->step < s->perm_steps) return SY_OK;
    s->R->flags |= SY_FROZEN;
    if (order[0] >= 0) return SY_OK;
    double *room = sy_calloc(3 * ((size_t)n + 1), sizeof *room);            /* once in a run */
    int *ints = sy_calloc(4 * ((size_t)n + 1), sizeof *ints), *to = ints ? ints + 3 * (n + 1) : NULL;
    if (room && ints) {
        best_order(s->R->w.data, n, to, room, ints);
        for (int e = 0; e < n; e++) order[e] = (sy_real)to[e];
    }
    bool ok = room && ints;
    sy_free(room), sy_free(ints);
    return ok ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for an order of %d experts", n);
}

/* --- Sinkhorn's rounds ------------------------------------------------------------------------------------------------------------------ */

struct sinkhorn { double tau; int rounds; double *log; };       /* log [2 rounds][n,n]: after each half round, for the way back */

/* log -= log-sum-exp over each row, or each column. */
static void half(double *log_p, const double *from, int n, bool rows)
{
    for (int i = 0; i < n; i++) {
        size_t at = rows ? (size_t)i * n : (size_t)i, step = rows ? 1 : (size_t)n;
        double most = -INFINITY, sum = 0;
        for (int j = 0; j < n; j++) most = fmax(most, from[at + j * step]);
        for (int j = 0; j < n; j++) sum += exp(from[at + j * step] - most);
        for (int j = 0; j < n; j++) log_p[at + j * step] = from[at + j * step] - most - log(sum);
    }
}

static void sinkhorn_f(sy_node *node)
{
    const struct sinkhorn *a = node->arg;
    int n = sy_cols(node->in[0]);
    size_t size = (size_t)n * n;
    double *first = a->log + 2 * (size_t)a->rounds * size;
    for (size_t i = 0; i < size; i++) first[i] = (double)node->in[0]->x[i] / a->tau;
    for (int k = 0; k < 2 * a->rounds; k++) half(a->log + k * size, k ? a->log + (k - 1) * size : first, n, k % 2 == 0);
    for (size_t i = 0; i < size; i++) node->out->x[i] = (sy_real)exp(a->log[(2 * (size_t)a->rounds - 1) * size + i]);
}

/* Through L' = L - lse(L): dL = dL' - exp(L') sum dL'. */
static void sinkhorn_b(sy_node *node)
{
    const struct sinkhorn *a = node->arg;
    int n = sy_cols(node->in[0]);
    size_t size = (size_t)n * n;
    sy_real *dr = sy_grad(node, 0);
    double *d = sy_tape_alloc(node->tape, size, sizeof *d);
    if (!dr || !d) return;
    for (size_t i = 0; i < size; i++) d[i] = (double)node->out->dx[i] * (double)node->out->x[i];
    for (int k = 2 * a->rounds - 1; k >= 0; k--)
        for (int i = 0; i < n; i++) {
            size_t at = k % 2 == 0 ? (size_t)i * n : (size_t)i, step = k % 2 == 0 ? 1 : (size_t)n;
            double sum = 0;
            for (int j = 0; j < n; j++) sum += d[at + j * step];
            for (int j = 0; j < n; j++) d[at + j * step] -= exp(a->log[k * size + at + j * step]) * sum;
        }
    for (size_t i = 0; i < size; i++) dr[i] += (sy_real)(d[i] / a->tau);
}

static const sy_op op_sinkhorn = { .name = "sinkhorn", .fwd = sinkhorn_f, .bwd = sinkhorn_b };

static sy_tensor *soft_order(perm_state *s, sy_tape *t, const sy_route_in *in, int n)
{
    double f = (double)in->step / s->perm_steps;
    struct sinkhorn a = { s->tau_max * pow(s->tau_min / s->tau_max, f), (int)rint(20 + 130 * f), NULL };
    sy_tensor *r = &s->R->leaf;
    if (s->noise_factor > 0) {
        sy_tensor *noise = sy_new(t, SY_DIM(n, n));
        for (size_t i = 0; t->status == SY_OK && i < sy_numel(noise); i++) noise->x[i] = (sy_real)(s->noise_factor * -log(-log(sy_draw(in->batch_key, i, 77))));
        r = sy_add(t, r, noise);
    }
    a.log = sy_tape_alloc(t, (2 * (size_t)a.rounds + 1) * (size_t)n * (size_t)n, sizeof(double));
    sy_node *node = a.log ? sy_node_new(t, &op_sinkhorn, SY_IN(r), SY_NOW) : NULL;
    if (!node || !sy_node_arg(node, &a, sizeof a)) return &t->empty;
    node->out = sy_new(t, SY_DIM(n, n));
    return t->status == SY_OK ? sy_apply(node) : &t->empty;
}

/* --- the edit ----------------------------------------------------------------------------------------------------------------------------- */

static double entropy(double q, double eps) { return q > 0 ? -q * log(q + eps) : 0; }
static double entropy_slope(double q, double eps) { return -log(q + eps) - q / (q + eps); }

/* The route's weights as a matrix [T,E]; dropped slots are 0. */
static sy_tensor *dense(sy_tape *t, const sy_route *r)
{
    int n = 0, *slot = sy_tape_alloc(t, (size_t)r->n, sizeof *slot), *place = sy_tape_alloc(t, (size_t)r->n, sizeof *place);
    if (!slot || !place) return &t->empty;
    for (int i = 0; i < r->T; i++)
        for (int k = r->first_slot[i]; k < r->first_slot[i + 1]; k++) {
            if (r->expert[k] < 0) continue;
            slot[n] = k;
            place[n++] = i * r->E + r->expert[k];
        }
    sy_tensor *w = sy_rows_gather(t, sy_reshape(t, r->weight, SY_DIM(r->n, 1)), slot, n);
    return sy_reshape(t, sy_rows_scatter(t, w, place, r->T * r->E), SY_DIM(r->T, r->E));
}

static sy_status soft(perm_state *s, sy_tape *t, const sy_route_in *in, sy_route *io, sy_err *err)
{
    int E = io->E;
    sy_tensor *pi = soft_order(s, t, in, E), *g = dense(t, io), *moved = sy_matmul_nn(t, g, pi);
    sy_tensor *scale = sy_div(t, sy_sum_cols(t, g), sy_affine(t, sy_sum_cols(t, moved), 1, 1e-20));
    if (io->probs) io->probs = sy_matmul_nn(t, io->probs, pi);
    SY_TRY(sy_slots_dense(t, in, sy_mul_rows(t, moved, scale), io, err));
    if (s->perm_entropy_reg > 0) {
        const sy_curve h = { entropy, entropy_slope, 1e-6 };
        sy_tensor *sum = sy_add(t, sy_sum(t, sy_along(t, &h, pi)), sy_sum(t, sy_along(t, &h, sy_div_rows(t, pi, sy_sum_cols(t, pi)))));
        sy_route_loss(t, in, io, "perm.entropy", sy_affine(t, sum, s->perm_entropy_reg, 0));
    }
    return sy_tape_status(t, err);
}

static sy_status hard(perm_state *s, sy_tape *t, sy_route *io, sy_err *err)
{
    int E = io->E, *order = sy_tape_alloc(t, (size_t)E, sizeof *order);
    const sy_real *kept = s->order->w.data;
    SY_TRY(sy_tape_status(t, err));
    if (kept[0] >= 0) for (int e = 0; e < E; e++) order[e] = (int)kept[e];
    else {
        double *room = sy_tape_alloc(t, 3 * ((size_t)E + 1), sizeof *room);
        int *ints = sy_tape_alloc(t, 3 * ((size_t)E + 1), sizeof *ints);
        SY_TRY(sy_tape_status(t, err));
        best_order(s->R->w.data, E, order, room, ints);
    }
    for (int i = 0; i < io->n; i++) io->expert[i] = io->expert[i] < 0 ? ~order[~io->expert[i]] : order[io->expert[i]];
    if (!io->probs) return SY_OK;
    sy_tensor *pi = sy_new(t, SY_DIM(E, E));
    SY_TRY(sy_tape_status(t, err));
    for (int e = 0; e < E; e++) for (int l = 0; l < E; l++) pi->x[(size_t)e * E + l] = order[e] == l;
    io->probs = sy_matmul_nn(t, io->probs, pi);
    return sy_tape_status(t, err);
}

static sy_status perm_gates(void *state, sy_tape *t, const sy_route_in *in, sy_route *io, sy_err *err)
{
    perm_state *s = state;
    bool learning = (in->mode == SY_TRAIN || in->mode == SY_COUNT_PASS) && in->step < s->perm_steps;
    return learning ? soft(s, t, in, io, err) : hard(s, t, io, err);
}

const sy_method sy_edit_perm = {
    .kind = SY_EDIT, .name = "perm", .title = "learned order of experts (COMET's local search)", .paper = "arXiv:2306.02824",
    .summary = "learns in the first steps which expert should stand in the place of which, by Sinkhorn's rounds, then keeps that order; goes with any router",
    .when = "With gates that cannot leave a bad start: hash tables, top-k, and gates of bits or trees. Let it learn for a tenth to a third of the run.",
    .cost = "All experts for every token, and some tens of E^2 exponentials, while the order is learned; nothing afterwards.",
    .example = "switchyard train --recipe lm-tiny --data text --router comet --edit perm:perm_steps=200 --set balance= --out run",
    .opts = perm_opts, .size = sizeof(perm_state), .check = perm_check,
    .hooks = &(const sy_edit_hooks){ SY_ROUTER_ABI, .params = perm_params, .before = perm_before, .gates = perm_gates },
};
