/* model/bpe.c - byte pair encoding of one word. */
#include "model/bpe.h"

#include "core/alloc.h"

/* --- byte strings to numbers --------------------------------------------------------------------------------------------- */

static bool texts_room(sy__texts *t, size_t slots)
{
    struct sy__text *slot = sy_malloc(sy_mul_size(slots, sizeof *slot));
    if (!slot) return false;
    for (size_t i = 0; i < slots; i++) slot[i].number = -1;
    for (size_t i = 0; t->slot && i <= t->mask; i++) {
        if (t->slot[i].number < 0) continue;
        size_t k = t->slot[i].hash & (slots - 1);
        while (slot[k].number >= 0) k = (k + 1) & (slots - 1);
        slot[k] = t->slot[i];
    }
    sy_free(t->slot);
    t->slot = slot;
    t->mask = slots - 1;
    return true;
}

sy_status sy__texts_open(sy__texts *t, size_t expected, const char *(*at)(const void *, int32_t, size_t *), const void *owner, sy_err *err)
{
    size_t slots = 64;
    while (slots < 2 * expected) slots *= 2;
    *t = (sy__texts){ .at = at, .owner = owner };
    return texts_room(t, slots) ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for a table of %zu texts", slots);
}

int32_t sy__texts_find(const sy__texts *t, const char *s, size_t n, uint64_t hash)
{
    for (size_t k = (uint32_t)hash & t->mask; t->slot[k].number >= 0; k = (k + 1) & t->mask) {
        if (t->slot[k].hash != (uint32_t)hash) continue;
        size_t len;
        const char *text = t->at(t->owner, t->slot[k].number, &len);
        if (len == n && !memcmp(text, s, n)) return t->slot[k].number;
    }
    return -1;
}

sy_status sy__texts_add(sy__texts *t, int32_t number, uint64_t hash, sy_err *err)
{
    if (2 * (t->n + 1) > t->mask && !texts_room(t, 2 * (t->mask + 1))) return sy_fail(err, SY_ENOMEM, "no memory for a table of %zu texts", t->n);
    size_t k = (uint32_t)hash & t->mask;
    while (t->slot[k].number >= 0) k = (k + 1) & t->mask;
    t->slot[k] = (struct sy__text){ (uint32_t)hash, number };
    t->n++;
    return SY_OK;
}

sy_status sy__texts_set(sy__texts *t, const char *s, size_t n, int32_t number, sy_err *err)
{
    uint64_t hash = sy__hash(s, n);
    int32_t old = sy__texts_find(t, s, n, hash);
    if (old < 0) return sy__texts_add(t, number, hash, err);
    size_t k = (uint32_t)hash & t->mask;
    while (t->slot[k].number != old) k = (k + 1) & t->mask;
    t->slot[k].number = number;
    return SY_OK;
}

void sy__texts_close(sy__texts *t) { sy_free(t->slot); }

/* --- merges -------------------------------------------------------------------------------------------------------------- */

static inline uint64_t key_of(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }
static inline size_t place_of(const sy__bpe *b, uint64_t key) { return (size_t)(key * 0x9E3779B97F4A7C15 >> b->shift); }

static void put_pair(sy__bpe *b, uint64_t key, int32_t rank, int32_t id)
{
    size_t k = place_of(b, key);
    while (b->pair[k].rank >= 0) k = (k + 1) & b->mask;
    b->pair[k] = (struct sy__pair){ key, rank, id };
}

static sy_status merge_room(sy__bpe *b, int bits, sy_err *err)
{
    size_t slots = (size_t)1 << bits;
    sy__merge *merge = sy_realloc(b->merge, slots / 2 * sizeof *merge);
    if (merge) b->merge = merge;
    struct sy__pair *pair = merge ? sy_malloc(sy_mul_size(slots, sizeof *pair)) : NULL;
    if (!pair) return sy_fail(err, SY_ENOMEM, "no memory for %zu merges", slots / 2);
    sy_free(b->pair);
    b->pair = pair;
    b->shift = 64 - bits;
    b->mask = slots - 1;
    for (size_t i = 0; i < slots; i++) pair[i].rank = -1;
    for (int i = 0; i < b->n_merges; i++) put_pair(b, key_of(b->merge[i].left, b->merge[i].right), i, b->merge[i].id);
    return SY_OK;
}

sy_status sy__bpe_open(sy__bpe *b, int expected, sy_err *err)
{
    int bits = 4;
    while ((size_t)1 << bits < 2 * (size_t)expected) bits++;
    *b = (sy__bpe){ 0 };
    memset(b->byte_id, -1, sizeof b->byte_id);
    return merge_room(b, bits, err);
}

enum { NONE = INT32_MAX };                           /* the rank of a pair that is no merge */

static inline int32_t rank_of(const sy__bpe *b, int32_t left, int32_t right)
{
    uint64_t key = key_of(left, right);
    size_t k = place_of(b, key);
    for (; b->pair[k].rank >= 0; k = (k + 1) & b->mask)
        if (b->pair[k].key == key) return b->pair[k].rank;
    return NONE;
}

sy_status sy__bpe_add(sy__bpe *b, sy__merge m, int *twice, sy_err *err)
{
    int32_t rank = rank_of(b, m.left, m.right);
    *twice = rank == NONE ? -1 : rank;
    if (rank != NONE) return SY_OK;
    if (2 * (size_t)b->n_merges > b->mask) SY_TRY(merge_room(b, 64 - b->shift + 1, err));
    put_pair(b, key_of(m.left, m.right), b->n_merges, m.id);
    b->merge[b->n_merges++] = m;
    return SY_OK;
}

void sy__bpe_rerank(sy__bpe *b, const int32_t *rank)
{
    for (size_t i = 0; i <= b->mask; i++) if (b->pair[i].rank >= 0) b->pair[i].rank = rank[b->pair[i].rank];
    b->shared = true;
}

/* What the merge of that rank makes of the pair. */
static inline int32_t joined(const sy__bpe *b, int32_t rank, int32_t left, int32_t right)
{
    if (!b->shared) return b->merge[rank].id;
    uint64_t key = key_of(left, right);
    size_t k = place_of(b, key);
    while (b->pair[k].key != key || b->pair[k].rank < 0) k = (k + 1) & b->mask;
    return b->pair[k].id;
}

void sy__bpe_close(sy__bpe *b)
{
    sy_free(b->merge);
    sy_free(b->pair);
}

/* Words of few bytes: arrays that close up after each merge. rank[i] belongs to the pair (sym[i], sym[i+1]). */
enum { SHORT = 48 };
static size_t merge_short(const sy__bpe *b, int32_t *sym, uint32_t *start, size_t n)
{
    int32_t rank[SHORT];
    for (size_t i = 0; i + 1 < n; i++) rank[i] = rank_of(b, sym[i], sym[i + 1]);
    while (n > 1) {
        size_t at = 0;
        for (size_t i = 1; i + 1 < n; i++) if (rank[i] < rank[at]) at = i;
        if (rank[at] == NONE) break;
        sym[at] = joined(b, rank[at], sym[at], sym[at + 1]);
        n--;
        memmove(sym + at + 1, sym + at + 2, (n - at - 1) * sizeof *sym);
        if (start) memmove(start + at + 1, start + at + 2, (n - at - 1) * sizeof *start);
        if (at + 1 < n) memmove(rank + at + 1, rank + at + 2, (n - at - 2) * sizeof *rank);
        if (at > 0) rank[at - 1] = rank_of(b, sym[at - 1], sym[at]);
        if (at + 1 < n) rank[at] = rank_of(b, sym[at], sym[at + 1]);
    }
    return n;
}

/* Long words: a linked list of symbols and a heap of (rank, place). An entry holds while rank[place] is still its own. Every merge takes
 * one entry that holds and adds two at most, so 2n entries are room enough. */
static void heap_up(uint64_t *heap, size_t i)
{
    for (uint64_t v = heap[i]; ; i = (i - 1) / 2) {
        if (!i || heap[(i - 1) / 2] <= v) { heap[i] = v; return; }
        heap[i] = heap[(i - 1) / 2];
    }
}

static void heap_down(uint64_t *heap, size_t n, size_t i)
{
    uint64_t v = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (v <= heap[child]) break;
        heap[i] = heap[child];
    }
    heap[i] = v;
}

static size_t merge_long(const sy__bpe *b, int32_t *sym, uint32_t *start, size_t n, uint64_t *heap, int32_t *rank, int32_t *prev, int32_t *next)
{
    size_t entries = 0;
    for (size_t i = 0; i < n; i++) {
        prev[i] = (int32_t)i - 1;
        next[i] = i + 1 < n ? (int32_t)i + 1 : -1;
        rank[i] = i + 1 < n ? rank_of(b, sym[i], sym[i + 1]) : NONE;
        if (rank[i] != NONE) heap[entries++] = (uint64_t)rank[i] << 32 | i;
    }
    for (size_t i = entries / 2; i-- > 0; ) heap_down(heap, entries, i);
    while (entries) {
        int32_t at = (int32_t)(uint32_t)heap[0], r = (int32_t)(heap[0] >> 32), gone = next[at];
        heap[0] = heap[--entries];
        heap_down(heap, entries, 0);
        if (rank[at] != r) continue;
        sym[at] = joined(b, r, sym[at], sym[gone]);
        next[at] = next[gone];
        rank[gone] = NONE;
        if (next[gone] >= 0) prev[next[gone]] = at;
        int32_t changed[2] = { at, prev[at] };       /* the pairs that begin at these places are new */
        for (int k = 0; k < 2; k++) {
            int32_t p = changed[k];
            if (p < 0) continue;
            rank[p] = next[p] >= 0 ? rank_of(b, sym[p], sym[next[p]]) : NONE;
            if (rank[p] == NONE) continue;
            heap[entries] = (uint64_t)rank[p] << 32 | (uint32_t)p;
            heap_up(heap, entries++);
        }
    }
    size_t k = 0;
    for (int32_t p = 0; p >= 0; p = next[p]) {
        if (start) start[k] = start[p];
        sym[k++] = sym[p];
    }
    return k;
}

sy_status sy__bpe_join(const sy__bpe *b, int32_t *sym, uint32_t *at, size_t n, sy__room *room, size_t *left, sy_err *err)
{
    if (n <= SHORT) { *left = merge_short(b, sym, at, n); return SY_OK; }
    if (n > INT32_MAX) return sy_fail(err, SY_EUNSUP, "a word of %zu symbols without a place to cut; 2147483647 is the most", n);
    size_t bytes = n * (2 * sizeof(uint64_t) + 3 * sizeof(int32_t));
    if (bytes > room->bytes) {
        sy_free(room->p);
        *room = (sy__room){ .p = sy_malloc(bytes) };
        if (!room->p) return sy_fail(err, SY_ENOMEM, "no memory to encode a word of %zu symbols", n);
        room->bytes = bytes;
    }
    uint64_t *heap = room->p;
    int32_t *rank = (int32_t *)(heap + 2 * n);
    *left = merge_long(b, sym, at, n, heap, rank, rank + n, rank + 2 * n);
    return SY_OK;
}

sy_status sy__bpe_word(const sy__bpe *b, const char *s, size_t n, sy__room *room, int32_t *out, size_t *ids, sy_err *err)
{
    for (size_t i = 0; i < n; i++) out[i] = b->byte_id[(unsigned char)s[i]];
    return sy__bpe_join(b, out, NULL, n, room, ids, err);
}
