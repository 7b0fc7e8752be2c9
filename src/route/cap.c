/* route/cap.c - expert capacity: how many rows an expert may take from a group of tokens, and whose slots are dropped.
 *
 * Papers: GShard (Lepikhin et al. 2020, arXiv:2006.16668), Switch (Fedus et al. 2021, arXiv:2101.03961), batch-prioritised order from V-MoE
 * (Riquelme et al. 2021, arXiv:2106.05974). N = valid tokens of the group, K = slots a token, E = real experts:
 *   switch   C = max(min_capacity, round(factor K N / E)), halves to the even integer
 *   gshard   C = max(min_capacity, floor(factor K ceil(N / E)))
 *   eval_capacity_fraction, where set, gives C = ceil(fraction N) in evaluation, whatever E.
 * Slots ask for a place in turn and one that comes when C are taken is dropped. The turn goes token by token, best slot first (token), or through
 * all first choices, then all second ones (rank); tokens in batch order, or by descending best score, ties to the earlier one. Counting a
 * place for dropped slots as well, as the papers' cumulative sums do, drops the same ones: a full expert stays full. */
#include <limits.h>
#include <math.h>

#include "route/router.h"

const sy_opt sy_cap_opts[] = {
    SY_REAL (sy_cap_rule, capacity_factor,        NULL, 0, 0, 1e6, "rows an expert may take in training, relative to an even share; 0 = no limit"),
    SY_REAL (sy_cap_rule, eval_capacity_factor,   NULL, 0, 0, 1e6, "the same in evaluation"),
    SY_REAL (sy_cap_rule, eval_capacity_fraction, NULL, 0, 0, 1,   "limit in evaluation as a share of the group's tokens (GShard); 0 = not used"),
    SY_ENUM_(sy_cap_rule, capacity_rule,          NULL, 0, "switch|gshard", "how the limit is rounded: of the share, or of the tokens an expert"),
    SY_INT  (sy_cap_rule, min_capacity,           NULL, 0, 0, 1 << 30, "the limit is never below this"),
    SY_INT  (sy_cap_rule, group_size,             NULL, 0, 0, 1 << 30, "tokens that share a limit, in batch order; 0 = the whole micro-batch"),
    SY_BOOL (sy_cap_rule, prioritised,            "batch_prioritized", false, "tokens with a high score are served first"),
    SY_ENUM_(sy_cap_rule, drop_order,             NULL, 0, "token|rank", "who asks first: token by token, or all first choices before all second ones"),
    { 0 }
};

sy_status sy_cap_check(const sy_cap_rule *r, sy_err *err)
{
    if (r->eval_capacity_factor > 0 && r->eval_capacity_fraction > 0)
        return sy_fail(err, SY_EARG, "eval_capacity_factor %g and eval_capacity_fraction %g exclude each other: set one of them to 0", r->eval_capacity_factor, r->eval_capacity_fraction);
    return SY_OK;
}

unsigned sy_cap_declares(const sy_cap_rule *r, int K)
{
    if (!(r->capacity_factor > 0) && !(r->eval_capacity_factor > 0) && !(r->eval_capacity_fraction > 0)) return 0;
    return SY_COUPLES | (r->prioritised || (r->drop_order == SY_BY_RANK && K > 1) ? SY_PEEKS : 0);
}

int sy_cap_rows(const sy_cap_rule *r, sy_mode mode, int N, int K, int E)
{
    double factor = mode == SY_EVAL ? r->eval_capacity_factor : r->capacity_factor, c;
    if (mode == SY_SERVE) return INT_MAX;
    if (mode == SY_EVAL && r->eval_capacity_fraction > 0) c = ceil(r->eval_capacity_fraction * N - 1e-9);
    else if (!(factor > 0)) return INT_MAX;
    else if (r->capacity_rule == SY_CAP_GSHARD) c = floor(factor * K * ceil((double)N / E) + 1e-9);      /* 1e-9: 0.29 * 100 is 29 */
    else c = rint(factor * K * N / E);
    if (c < r->min_capacity) c = r->min_capacity;
    return c < INT_MAX ? (int)c : INT_MAX;
}

/* Bottom-up merge sort of token numbers by descending key; stable, so equal keys keep batch order. */
static void sort_desc(int *a, int *tmp, int n, const sy_real *score, const int *first_slot)
{
    for (int w = 1; w < n; w *= 2) {
        for (int lo = 0; lo < n; lo += 2 * w) {
            int mid = lo + w < n ? lo + w : n, hi = mid + w < n ? mid + w : n, i = lo, j = mid;
            for (int o = lo; o < hi; o++)
                tmp[o] = j < hi && (i >= mid || score[first_slot[a[j]]] > score[first_slot[a[i]]]) ? a[j++] : a[i++];
        }
        for (int i = 0; i < n; i++) a[i] = tmp[i];
        if (w > n / 2) break;
    }
}

struct turn { const sy_cap_rule *rule; sy_route *r; int *fill; int cap; };

static void ask(const struct turn *q, int slot)
{
    int e = q->r->expert[slot];
    if (e >= q->r->E) return;
    if (q->fill[e] >= q->cap) q->r->expert[slot] = ~e;
    else q->fill[e]++;
}

static void serve_group(const struct turn *q, const int *token, int n)
{
    const int *first = q->r->first_slot;
    int most = 0;
    for (int e = 0; e < q->r->E; e++) q->fill[e] = 0;
    if (q->rule->drop_order == SY_BY_TOKEN) {
        for (int i = 0; i < n; i++)
            for (int s = first[token[i]]; s < first[token[i] + 1]; s++) ask(q, s);
        return;
    }
    for (int i = 0; i < n; i++) if (first[token[i] + 1] - first[token[i]] > most) most = first[token[i] + 1] - first[token[i]];
    for (int rank = 0; rank < most; rank++)
        for (int i = 0; i < n; i++)
            if (first[token[i]] + rank < first[token[i] + 1]) ask(q, first[token[i]] + rank);
}

void sy_cap(sy_tape *t, const sy_route_in *in, const sy_cap_rule *rule, int K, const sy_real *score, sy_route *io)
{
    if (t->status != SY_OK || in->again || sy_cap_rows(rule, in->mode, 1, K, io->E) == INT_MAX) return;
    int *fill = sy_tape_alloc(t, (size_t)io->E, sizeof *fill), *token = sy_tape_alloc(t, (size_t)in->T, sizeof *token), *tmp = sy_tape_alloc(t, (size_t)in->T, sizeof *tmp);
    if (!fill || !token || !tmp) return;
    int n = 0;
    for (int i = 0; i < in->T; i++) if (sy_valid(in, i)) token[n++] = i;
    int size = rule->group_size ? rule->group_size : n;
    for (int from = 0; from < n; from += size) {
        int N = n - from < size ? n - from : size;
        struct turn q = { rule, io, fill, sy_cap_rows(rule, in->mode, N, K, io->E) };
        if (rule->prioritised) sort_desc(token + from, tmp, N, score, io->first_slot);
        serve_group(&q, token + from, N);
    }
}
