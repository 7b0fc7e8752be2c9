/* route/plan.c - packing by expert: which row each kept slot gets. */
#include "route/route.h"

/* Row ranges by expert from counts, then one pass that deals the rows out in slot order: a stable counting sort. */
sy_plan *sy_plan_build(sy_tape *t, const sy_route *r, int null_from)
{
    int cols = r->E + r->Z;
    sy_plan *p = sy_tape_alloc(t, 1, sizeof *p);
    int *first = sy_tape_alloc(t, (size_t)cols + 1, sizeof *first), *next = sy_tape_alloc(t, (size_t)cols, sizeof *next);
    int *row = sy_tape_alloc(t, (size_t)r->n, sizeof *row);
    if (!p || !first || !next || !row) return NULL;
    for (int s = 0; s < r->n; s++)
        if (r->expert[s] >= 0 && r->expert[s] < null_from) first[r->expert[s] + 1]++;
    for (int e = 0; e < cols; e++) first[e + 1] += first[e];
    for (int e = 0; e < cols; e++) next[e] = first[e];
    int n = first[cols], *slot = sy_tape_alloc(t, (size_t)n, sizeof *slot), *token = sy_tape_alloc(t, (size_t)n, sizeof *token);
    if (!slot || !token) return NULL;
    for (int i = 0; i < r->T; i++)
        for (int s = r->first_slot[i]; s < r->first_slot[i + 1]; s++) {
            int e = r->expert[s];
            row[s] = -1;
            if (e < 0 || e >= null_from) continue;
            row[s] = next[e]++;
            slot[row[s]] = s;
            token[row[s]] = i;
        }
    *p = (sy_plan){ .n = n, .T = r->T, .E = cols, .first = first, .slot = slot, .token = token, .row = row, .first_slot = r->first_slot };
    return p;
}
