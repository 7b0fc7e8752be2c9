/* data/order.c - cutting, packing, shuffling.
 *
 * Packing is best fit over pieces of falling length (Johnson 1973), so that documents that fit into a row stay whole; among pieces of
 * equal length the order is the shuffled one. */
#include "data/order.h"

#include <string.h>

#include "core/random.h"

void sy__doc_inputs(const sy__shard *s, uint64_t doc, uint64_t from, uint64_t to, bool eot, uint64_t *begin, uint64_t *end, bool *last)
{
    uint64_t b = s->doc_token[doc], e = s->doc_token[doc + 1];
    *last = eot && e <= to;                          /* a document that is cut by the split has no end on this side */
    if (b < from) b = from;
    if (e > to) e = to;
    if (b > e) b = e;
    *begin = b;
    *end = *last || e == b ? e : e - 1;
}

bool sy__piece_counts(const sy__shard *s, const sy__piece *p)
{
    if (!s->mask) return true;
    uint64_t labels = (uint64_t)p->len - p->last;
    if (p->last && sy__shard_counts(s, p->start + labels)) return true;     /* the end counts when the last token does */
    for (uint64_t i = 1; i <= labels; i++)
        if (sy__shard_counts(s, p->start + i)) return true;
    return false;
}

static void add(sy__order *o, int part, uint64_t start, uint64_t len, bool last)
{
    sy__piece p = { start, (int32_t)len, (int16_t)part, last };
    if (sy__piece_counts(&o->part[part].shard, &p)) o->piece[o->pieces++] = p;
}

/* Cuts the documents; a long one at a phase of its own, so that borders move from epoch to epoch. */
static void cut(sy__order *o, bool phase)
{
    uint64_t T = (uint64_t)o->T, key = sy_key(o->seed, SY_FOR_SHUFFLE, o->domain, (uint64_t)o->epoch, 0), nth = 0;
    o->pieces = 0;
    for (int p = 0; p < o->parts; p++) {
        const sy__part *part = &o->part[p];
        const sy__shard *s = &part->shard;
        for (uint64_t d = 0; d < s->h.docs && s->doc_token[d] < part->split; d++, nth++) {
            uint64_t b, e;
            bool last;
            sy__doc_inputs(s, d, 0, part->split, o->eot, &b, &e, &last);
            if (b < e && e - b > T && phase) {
                uint64_t first = sy_draw_below(key, nth, 0, T);
                if (first) add(o, p, b, first, false);
                b += first;
            }
            for (; b < e; b += T) {
                uint64_t len = e - b < T ? e - b : T;
                add(o, p, b, len, last && b + len == e);
            }
        }
    }
}

static void shuffle(int32_t *v, int32_t n, uint64_t key)
{
    for (int32_t i = n - 1; i > 0; i--) {
        int32_t j = (int32_t)sy_draw_below(key, (uint64_t)i, 0, (uint64_t)i + 1), x = v[i];
        v[i] = v[j];
        v[j] = x;
    }
}

static void put_room(sy__order *o, int32_t row, int room)
{
    o->below[row] = o->top[room];
    o->top[room] = row;
    o->bits[room / 64] |= (uint64_t)1 << room % 64;
    o->summary[room / 4096] |= (uint64_t)1 << room / 64 % 64;
}

/* The row with the least room that is at least `len`, taken out of its list; -1 if none. *room: what it had. */
static int32_t take_room(sy__order *o, int len, int *room)
{
    int w = len / 64, words = o->T / 64 + 1;
    uint64_t bits = o->bits[w] & ~(uint64_t)0 << len % 64;
    if (!bits) {
        int s = ++w / 64;
        if (w >= words) return -1;
        uint64_t some = o->summary[s] & ~(uint64_t)0 << w % 64;
        while (!some && (s + 1) * 64 < words) some = o->summary[++s];
        if (!some) return -1;
        w = s * 64 + __builtin_ctzll(some);
        bits = o->bits[w];
    }
    *room = w * 64 + __builtin_ctzll(bits);
    int32_t row = o->top[*room];
    o->top[*room] = o->below[row];
    if (o->top[*room] < 0) {
        o->bits[w] &= ~((uint64_t)1 << *room % 64);
        if (!o->bits[w]) o->summary[w / 64] &= ~((uint64_t)1 << w % 64);
    }
    return row;
}

static int32_t new_row(sy__order *o, int32_t piece)
{
    o->head[o->rows] = o->tail[o->rows] = piece;
    return o->rows++;
}

static void pack_best(sy__order *o, uint64_t key)
{
    int T = o->T;
    for (int32_t i = 0; i < o->pieces; i++) o->perm[i] = i;             /* perm serves as scratch until rows are known */
    shuffle(o->perm, o->pieces, key);
    memset(o->count, 0, ((size_t)T + 2) * sizeof *o->count);            /* counting sort by falling length, stable */
    for (int32_t i = 0; i < o->pieces; i++) o->count[T - o->piece[i].len + 1]++;
    for (int l = 0; l < T; l++) o->count[l + 1] += o->count[l];
    for (int32_t i = 0; i < o->pieces; i++) o->by[o->count[T - o->piece[o->perm[i]].len]++] = o->perm[i];
    for (int l = 0; l <= T; l++) o->top[l] = -1;
    memset(o->bits, 0, ((size_t)T / 64 + 1) * 8);
    memset(o->summary, 0, ((size_t)T / 4096 + 1) * 8);
    for (int32_t i = 0; i < o->pieces; i++) {
        int32_t piece = o->by[i];
        int len = o->piece[piece].len, room = T;
        int32_t row = take_room(o, len, &room);
        if (row < 0) row = new_row(o, piece);
        else {
            o->next[o->tail[row]] = piece;
            o->tail[row] = piece;
        }
        if (room > len) put_room(o, row, room - len);
    }
}

static void pack_in_order(sy__order *o)
{
    int room = 0;
    for (int32_t i = 0; i < o->pieces; i++) {
        int len = o->piece[i].len;
        if (len > room) {
            new_row(o, i);
            room = o->T;
        } else {
            o->next[o->tail[o->rows - 1]] = i;
            o->tail[o->rows - 1] = i;
        }
        room -= len;
    }
}

static void lay_out(sy__order *o)
{
    cut(o, o->shuffle);
    if (!o->pieces && o->shuffle) cut(o, false);     /* masks may leave nothing at one phase and something at another */
    o->rows = 0;
    for (int32_t i = 0; i < o->pieces; i++) o->next[i] = -1;
    if (o->shuffle) pack_best(o, sy_key(o->seed, SY_FOR_SHUFFLE, o->domain, (uint64_t)o->epoch, 1));
    else pack_in_order(o);
    for (int32_t i = 0; i < o->rows; i++) o->perm[i] = i;
    if (o->shuffle) shuffle(o->perm, o->rows, sy_key(o->seed, SY_FOR_SHUFFLE, o->domain, (uint64_t)o->epoch, 2));
}

sy_status sy__order_open(sy__order *o, sy_arena *a, sy_err *err)
{
    uint64_t most = 0, T = (uint64_t)o->T;
    for (int p = 0; p < o->parts; p++) {
        const sy__shard *s = &o->part[p].shard;
        for (uint64_t d = 0; d < s->h.docs && s->doc_token[d] < o->part[p].split; d++) {
            uint64_t n = s->doc_token[d + 1] - s->doc_token[d];
            most += n <= T ? 1 : n / T + 2;          /* a phase adds one piece at most */
        }
    }
    if (most > INT32_MAX)
        return sy_fail(err, SY_ESHAPE, "%llu pieces of at most %d tokens are more than %d: raise seq_len, or split the domain",
                       (unsigned long long)most, o->T, INT32_MAX);
    o->room = (int32_t)most;
    size_t n = (size_t)most;
    o->piece = sy_arena_array(a, n, sizeof *o->piece);
    int32_t **lists[] = { &o->next, &o->head, &o->tail, &o->perm, &o->by, &o->below };
    for (size_t i = 0; i < SY_COUNT(lists); i++) *lists[i] = sy_arena_array(a, n, sizeof **lists[i]);
    o->count = sy_arena_array(a, (size_t)o->T + 2, sizeof *o->count);
    o->top = sy_arena_array(a, (size_t)o->T + 2, sizeof *o->top);
    o->bits = sy_arena_array(a, (size_t)o->T / 64 + 1, sizeof *o->bits);
    o->summary = sy_arena_array(a, (size_t)o->T / 4096 + 1, sizeof *o->summary);
    if (a->failed) return sy_fail(err, SY_ENOMEM, "no memory for the order of %llu pieces of text", (unsigned long long)most);
    o->epoch = o->first = 0;
    lay_out(o);
    return SY_OK;
}

int32_t sy__order_row(sy__order *o, int64_t i)
{
    if (i < o->first) {                              /* backwards: epochs are laid out from the first on, since each has its own number of rows */
        o->epoch = o->first = 0;
        lay_out(o);
    }
    while (i >= o->first + o->rows) {
        if (!o->rows) return -1;                     /* an epoch without rows: the tokens were lost under us, and the caller finds out */
        o->first += o->rows;
        o->epoch++;
        lay_out(o);
    }
    return o->head[o->perm[i - o->first]];
}

int sy__turn(const double *weight, const int64_t *taken, int n, int64_t k)
{
    double slack = n > 1 ? 1 - 1 / (2.0 * n - 2) : 1, soonest = 0, most = 0;
    int turn = -1, owed = 0;
    for (int d = 0; d < n; d++) {
        if (!(weight[d] > 0)) continue;
        double due = weight[d] * (double)(k + 1) - (double)taken[d];    /* what it is owed once this row is given */
        double by = ((double)taken[d] + slack) / weight[d];             /* the last k at which it can still get its next row in time */
        if (due >= 1 - slack && (turn < 0 || by < soonest)) {
            turn = d;
            soonest = by;
        }
        if (due > most) {
            most = due;
            owed = d;
        }
    }
    return turn < 0 ? owed : turn;                   /* rounding may leave nobody due by a hair: the one owed most */
}
