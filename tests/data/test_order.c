/* tests/data/test_order.c - pieces, rows, epochs and turns. Oracles: invariants counted token by token, and Tijdeman's bound. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "data/order.h"

enum { DOCS_MAX = 400 };

typedef struct bench {                  /* a shard made by hand */
    sy__shard_header h;
    uint64_t doc[DOCS_MAX + 1];
    uint8_t *mask;
    sy__part part;
    sy__order o;
    sy_arena arena;
} bench;

static void open_bench(bench *b, const int *len, int docs, int T, bool shuffle, bool eot, uint64_t split_back, bool masked)
{
    memset(b, 0, sizeof *b);
    for (int i = 0; i < docs; i++) b->doc[i + 1] = b->doc[i] + (uint64_t)len[i];
    b->h.docs = (uint64_t)docs;
    b->h.tokens = b->doc[docs];
    if (masked) {                                    /* of every document the second half counts */
        b->mask = sy_arena_zalloc(&b->arena, b->h.tokens / 8 + 1);
        for (int i = 0; i < docs; i++)
            for (uint64_t t = b->doc[i] + (uint64_t)len[i] / 2; t < b->doc[i + 1]; t++) b->mask[t / 8] |= (uint8_t)(1 << t % 8);
    }
    b->part = (sy__part){ .shard = { .h = b->h, .doc_token = b->doc, .mask = b->mask }, .split = b->h.tokens - split_back };
    b->o = (sy__order){ .part = &b->part, .parts = 1, .T = T, .shuffle = shuffle, .eot = eot, .seed = 7, .domain = 3 };
    sy_expect_ok(sy__order_open(&b->o, &b->arena, err));
}

/* Walks the epoch that is laid out: every label that counts is predicted exactly once, by the token before it; rows hold at most T tokens; what
 * fits into a row is never cut. */
static void check_epoch(const bench *b)
{
    const sy__order *o = &b->o;
    const sy__shard *s = &b->part.shard;
    uint8_t *seen = calloc(b->h.tokens + b->h.docs + 1, 1);
    int32_t pieces = 0;
    for (int32_t r = 0; r < o->rows; r++) {
        int fill = 0;
        assert_in_range(o->perm[r], 0, o->rows - 1);
        for (int32_t i = o->head[o->perm[r]]; i >= 0; i = o->next[i], pieces++) {
            const sy__piece *p = &o->piece[i];
            uint64_t doc = 0;
            while (b->doc[doc + 1] <= p->start) doc++;
            uint64_t end = b->doc[doc + 1] < b->part.split ? b->doc[doc + 1] : b->part.split;
            assert_true(p->len >= 1);
            assert_true(p->start + (uint64_t)p->len <= end);
            if (end - b->doc[doc] <= (uint64_t)o->T) assert_int_equal(p->start, b->doc[doc]);
            for (uint64_t t = p->start + 1; t <= p->start + (uint64_t)p->len; t++) {
                bool end_label = p->last && t == p->start + (uint64_t)p->len;
                if (end_label) assert_int_equal(t, b->doc[doc + 1]);
                else assert_true(t < end);
                seen[end_label ? b->h.tokens + doc : t]++;
            }
            fill += p->len;
        }
        assert_in_range(fill, 1, o->T);
    }
    assert_int_equal(pieces, o->pieces);
    for (uint64_t d = 0; d < b->h.docs; d++) {
        for (uint64_t t = b->doc[d] + 1; t < b->doc[d + 1]; t++)
            if (t < b->part.split && sy__shard_counts(s, t) && seen[t] != 1)
                fail_msg("token %llu is predicted %d times", (unsigned long long)t, seen[t]);
        if (o->eot && b->doc[d + 1] <= b->part.split && sy__shard_counts(s, b->doc[d + 1] - 1)) assert_int_equal(seen[b->h.tokens + d], 1);
    }
    for (uint64_t t = b->part.split; t < b->h.tokens; t++) assert_int_equal(seen[t], 0);
    free(seen);
}

static void test_epochs(void **state)
{
    (void)state;
    static const struct { const char *what; int docs, least, most, T; } cases[] = {
        { "one document", 1, 1000, 1000, 64 },  { "one row exactly", 1, 64, 64, 64 },   { "short ones", 300, 1, 20, 64 },
        { "long ones", 20, 100, 900, 64 },      { "mixed", 200, 1, 150, 64 },           { "T = 1", 30, 1, 9, 1 },
        { "T = 4097", 50, 1, 9000, 4097 },      { "T above all", 100, 1, 100, 100000 },
    };
    static bench b;
    int len[DOCS_MAX];
    for (size_t c = 0; c < SY_COUNT(cases); c++)
        for (int bits = 0; bits < 16; bits++) {
            bool shuffle = bits & 1, eot = bits & 2, masked = bits & 4, split = bits & 8;
            sy_test_case("%s shuffle %d eot %d masked %d split %d", cases[c].what, shuffle, eot, masked, split);
            uint64_t key = sy_key(sy_test_seed(), SY_FOR_TEST, c, 0, 0);
            for (int i = 0; i < cases[c].docs; i++)
                len[i] = cases[c].least + (int)sy_draw_below(key, (uint64_t)i, 0, (uint64_t)(cases[c].most - cases[c].least) + 1);
            open_bench(&b, len, cases[c].docs, cases[c].T, shuffle, eot, split ? 37 : 0, masked);
            for (int e = 0; e < 4 && b.o.rows; e++) {
                assert_int_equal(b.o.epoch, e);
                check_epoch(&b);
                sy__order_row(&b.o, b.o.first + b.o.rows);              /* opens the next */
            }
            sy_arena_free(&b.arena);
        }
}

/* Any row may be asked for in any order, and rows differ from epoch to epoch. */
static void test_any_order(void **state)
{
    (void)state;
    static bench b;
    int len[100];
    for (int i = 0; i < 100; i++) len[i] = 5 + i * 7 % 90;
    open_bench(&b, len, 100, 64, true, true, 0, false);
    int64_t n = (int64_t)b.o.rows * 3;
    uint64_t *start = calloc((size_t)n, sizeof *start);
    int moved = 0;
    for (int64_t i = 0; i < n; i++) start[i] = b.o.piece[sy__order_row(&b.o, i)].start;
    for (int64_t i = 0; i < n; i++) {
        int64_t j = (int64_t)sy_draw_below(11, (uint64_t)i, 0, (uint64_t)n);
        assert_int_equal(b.o.piece[sy__order_row(&b.o, j)].start, start[j]);
        moved += i >= n / 3 && start[i] != start[i - n / 3];
    }
    assert_true(moved > n / 3);
    free(start);
    sy_arena_free(&b.arena);
}

/* Best fit wastes little: bounded by the longest rows that cannot be filled; 3 % is generous for 400 documents. */
static void test_fill(void **state)
{
    (void)state;
    static bench b;
    int len[DOCS_MAX], tokens = 0;
    for (int i = 0; i < DOCS_MAX; i++) tokens += len[i] = 10 + (int)sy_draw_below(5, (uint64_t)i, 0, 200);
    open_bench(&b, len, DOCS_MAX, 256, true, true, 0, false);
    int least = (tokens + 255) / 256;
    if (b.o.rows > least * 1.03 + 1) fail_msg("%d rows for %d tokens, %d would hold them", b.o.rows, tokens, least);
    sy_arena_free(&b.arena);
}

static void test_turns(void **state)
{
    (void)state;
    static const double cases[][6] = { { 1 }, { .5, .5 }, { .9, .1 }, { .5, .3, .2 }, { .97, .01, .01, .01 }, { .4, .3, .2, .05, .03, .02 },
                                       { 1 / 3., 1 / 3., 1 / 3. }, { .999999, .000001 }, { .25, 0, .75 } };
    for (size_t c = 0; c < SY_COUNT(cases); c++) {
        int64_t taken[6] = { 0 };
        sy_test_case("weights %zu", c);
        for (int64_t k = 0; k < 20000; k++) {
            taken[sy__turn(cases[c], taken, 6, k)]++;
            for (int d = 0; d < 6; d++) {
                double off = (double)taken[d] - cases[c][d] * (double)(k + 1);
                if (!(off < 1 && off > -1)) fail_msg("case %zu: after %lld rows domain %d is off by %g", c, (long long)k + 1, d, off);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_epochs), cmocka_unit_test(test_any_order), cmocka_unit_test(test_fill),
                                        cmocka_unit_test(test_turns) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
