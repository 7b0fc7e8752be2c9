/* model/words.c - pieces of text to ids, and the tries of whole vocabularies. */
#include "model/words.h"

#include <string.h>

#include "core/alloc.h"
#include "core/utf8.h"

/* --- ids ------------------------------------------------------------------------------------------------------------------- */

sy_status sy__ids_need(sy__ids *k, size_t more, sy_err *err)
{
    if (k->room - k->n >= more) return SY_OK;
    if (!k->grows) return sy_fail(err, SY_ESHAPE, "the text has more tokens than the %zu that were expected of it", k->room);
    size_t room = k->room + k->room / 2 > k->n + more ? k->room + k->room / 2 : k->n + more + 64;
    int32_t *id = sy_realloc(k->id, sy_mul_size(room, sizeof *id));
    if (id) k->id = id;
    bool spans = k->spans || k->span;                /* room is that of both, also when this call wants no spans */
    sy__at *span = spans && id ? sy_realloc(k->span, sy_mul_size(room, sizeof *span)) : NULL;
    if (span) k->span = span;
    if (!id || (spans && !span)) return sy_fail(err, SY_ENOMEM, "no memory for %zu tokens", room);
    k->room = room;
    return SY_OK;
}

/* --- tries ------------------------------------------------------------------------------------------------------------------ */

static bool trie_room(sy__trie *t, size_t slots)
{
    uint64_t *slot = sy_calloc(slots, sizeof *slot);
    if (!slot) return false;
    for (size_t i = 0; t->slot && i <= t->mask; i++) {
        if (!t->slot[i]) continue;
        size_t k = (t->slot[i] >> 24) * 0x9E3779B97F4A7C15 >> 20 & (slots - 1);
        while (slot[k]) k = (k + 1) & (slots - 1);
        slot[k] = t->slot[i];
    }
    sy_free(t->slot);
    t->slot = slot;
    t->mask = slots - 1;
    return true;
}

sy_status sy__trie_open(sy__trie *t, sy_err *err)
{
    *t = (sy__trie){ .nodes = 1, .room = 256 };
    t->value = sy_malloc(t->room * sizeof *t->value);
    if (t->value) t->value[0] = -1;
    return t->value && trie_room(t, 1024) ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for a tree of texts");
}

uint32_t sy__trie_step(const sy__trie *t, uint32_t node, unsigned char byte)
{
    if (!node) return t->root[byte];
    uint64_t key = (uint64_t)node << 8 | byte;
    for (size_t k = key * 0x9E3779B97F4A7C15 >> 20 & t->mask; t->slot[k]; k = (k + 1) & t->mask)
        if (t->slot[k] >> 24 == key) return (uint32_t)(t->slot[k] & 0xFFFFFF);
    return 0;
}

static sy_status trie_child(sy__trie *t, uint32_t node, unsigned char byte, uint32_t *child, sy_err *err)
{
    if (t->nodes > SY__TRIE_NODES) return sy_fail(err, SY_EUNSUP, "the texts of the vocabulary make more than %d different beginnings", SY__TRIE_NODES);
    if (t->nodes == t->room) {
        int32_t *value = sy_realloc(t->value, 2 * t->room * sizeof *value);
        if (!value) return sy_fail(err, SY_ENOMEM, "no memory for a tree of %zu beginnings", t->room);
        t->value = value;
        t->room *= 2;
    }
    *child = (uint32_t)t->nodes++;
    t->value[*child] = -1;
    if (!node) { t->root[byte] = *child; return SY_OK; }
    if (2 * t->nodes > t->mask && !trie_room(t, 2 * (t->mask + 1))) return sy_fail(err, SY_ENOMEM, "no memory for a tree of %zu beginnings", t->nodes);
    uint64_t key = (uint64_t)node << 8 | byte;
    size_t k = key * 0x9E3779B97F4A7C15 >> 20 & t->mask;
    while (t->slot[k]) k = (k + 1) & t->mask;
    t->slot[k] = key << 24 | *child;
    return SY_OK;
}

sy_status sy__trie_add(sy__trie *t, const char *s, size_t n, int32_t value, sy_err *err)
{
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t child = sy__trie_step(t, node, (unsigned char)s[i]);
        if (!child) SY_TRY(trie_child(t, node, (unsigned char)s[i], &child, err));
        node = child;
    }
    if (n) t->value[node] = value;
    return SY_OK;
}

void sy__trie_close(sy__trie *t)
{
    sy_free(t->slot);
    sy_free(t->value);
}

/* --- models -------------------------------------------------------------------------------------------------------------------- */

enum { PAGES = 0x1100 };

void sy__work_free(sy__work *w)
{
    sy_free(w->merges.p);
    sy_free(w->symbols.p);
    sy_buf_free(&w->text);
}

void sy__words_close(sy__words *m)
{
    for (int i = 0; m->page && i < PAGES; i++) sy_free(m->page[i]);
    sy_free(m->page);
    sy_free(m->prefix);
    sy_free(m->suffix);
    sy_free(m->score);
    sy__trie_close(&m->trie);
}

sy_status sy__words_char(sy__words *m, uint32_t cp, int32_t id, sy_err *err)
{
    if (!m->page) m->page = sy_calloc(PAGES, sizeof *m->page);
    if (m->page && !m->page[cp >> 8] && (m->page[cp >> 8] = sy_malloc(256 * sizeof **m->page)) != NULL)
        for (int i = 0; i < 256; i++) m->page[cp >> 8][i] = -1;
    if (!m->page || !m->page[cp >> 8]) return sy_fail(err, SY_ENOMEM, "no memory for the characters of a vocabulary");
    m->page[cp >> 8][cp & 255] = id;
    return SY_OK;
}

static void *room_of(sy__room *r, size_t bytes, sy_err *err)
{
    if (bytes <= r->bytes) return r->p;
    sy_free(r->p);
    *r = (sy__room){ .p = sy_malloc(bytes) };
    if (r->p) r->bytes = bytes;
    else sy_fail(err, SY_ENOMEM, "no memory to encode a piece of text: %zu bytes", bytes);
    return r->p;
}

static sy_status no_unknown(const sy__piece *p, size_t at, sy_err *err)
{
    uint32_t cp;
    sy_utf8_next(p->s + at, p->n - at, &cp);
    return sy_fail(err, SY_EUNSUP, "the text has a character U+%04X, which is no id of this tokenizer, and the tokenizer has no unknown token; take it out, or use another tokenizer", cp);
}

/* BPE: the symbols that a piece begins with. */
struct symbols { int32_t *id; uint32_t *at; size_t n; uint32_t end; };

static void add(struct symbols *y, int32_t id, size_t bytes)
{
    y->id[y->n] = id;
    y->at[y->n++] = y->end;
    y->end += (uint32_t)bytes;
}

/* The id of a character in its place, by the text that it has there; *text is that text. */
static sy_status char_id(const sy__words *m, const char *s, size_t n, bool first, bool last, sy_buf *b, const char **text, size_t *len, int32_t *id, sy_err *err)
{
    sy_buf_clear(b);
    if (!first && m->prefix) sy_buf_text(b, m->prefix);
    sy_buf_put(b, s, n);
    if (last && m->suffix) sy_buf_text(b, m->suffix);
    if (b->failed) return sy_fail(err, SY_ENOMEM, "no memory to encode a character");
    *text = b->data;
    *len = b->n;
    *id = sy__texts_find(m->texts, b->data, b->n, sy__hash(b->data, b->n));
    return SY_OK;
}

static bool all_bytes(const sy__words *m, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) if (m->byte_id[(unsigned char)s[i]] < 0) return false;
    return true;
}

static sy_status spell(const sy__words *m, const sy__piece *p, struct symbols *y, sy__work *w, sy__ids *out, sy_err *err)
{
    size_t unknown = 0, len;                         /* bytes of unknown characters that wait to be one symbol */
    for (size_t i = 0; i < p->n; i += len) {
        uint32_t cp;
        int k = sy_utf8_next(p->s + i, p->n - i, &cp);
        len = (size_t)(k < 0 ? -k : k);
        const char *text = p->s + i;
        size_t bytes = len;
        int32_t id = -1;
        if (m->prefix || m->suffix) SY_TRY(char_id(m, p->s + i, len, !i, i + len == p->n, &w->text, &text, &bytes, &id, err));
        else if (m->page && m->page[cp >> 8]) id = m->page[cp >> 8][cp & 255];
        if (id >= 0) {
            if (unknown) add(y, m->unk, unknown);
            unknown = 0;
            add(y, id, len);
        } else if (m->byte_fallback && all_bytes(m, text, bytes)) {
            for (size_t b = 0; b < bytes; b++) add(y, m->byte_id[(unsigned char)text[b]], 1);
        } else if (m->unk >= 0) {
            if (unknown && !m->fuse_unk) add(y, m->unk, unknown), unknown = 0;
            unknown += len;
        } else if (out->lenient) out->dropped += len;
        else return no_unknown(p, i, err);
    }
    if (unknown) add(y, m->unk, unknown);
    return SY_OK;
}

static sy_status by_merges(const sy__words *m, const sy__piece *p, sy__work *w, sy__ids *out, sy_err *err)
{
    size_t most = m->prefix || m->suffix ? p->n * (1 + (m->prefix ? strlen(m->prefix) : 0)) + (m->suffix ? strlen(m->suffix) : 0) : p->n, k = 0;
    if (most > UINT32_MAX) return sy_fail(err, SY_EUNSUP, "a piece of %zu bytes without a place to cut; 4294967295 is the most", p->n);
    int32_t *id = room_of(&w->symbols, sy_mul_size(most, sizeof(int32_t) + sizeof(uint32_t)), err);
    if (!id) return SY_ENOMEM;
    struct symbols y = { id, (uint32_t *)(id + most), 0, 0 };
    SY_TRY(spell(m, p, &y, w, out, err));
    if (y.n) SY_TRY(sy__bpe_join(m->bpe, y.id, y.at, y.n, &w->merges, &k, err));
    SY_TRY(sy__ids_need(out, k, err));
    for (size_t i = 0; i < k; i++) sy__ids_put(out, p, y.id[i], y.at[i], i + 1 < k ? y.at[i + 1] : y.end);
    return SY_OK;
}

/* Unigram: best[i] is the best way to split the first i bytes; characters without a text of their own may be unknown. */
struct way { double score; int32_t id; uint32_t from; };
enum { NOWHERE = UINT32_MAX };

static void offer(struct way *w, double score, int32_t id, size_t from)
{
    if (w->from == NOWHERE || score > w->score) *w = (struct way){ score, id, (uint32_t)from };
}

static sy_status find_ways(const sy__words *m, const sy__piece *p, struct way *best, sy_err *err)
{
    for (size_t i = 1; i <= p->n; i++) best[i].from = NOWHERE;
    best[0] = (struct way){ 0, 0, 0 };
    for (size_t i = 0, len; i < p->n; i += len) {
        uint32_t cp, node = 0;
        bool alone = false;
        int k = sy_utf8_next(p->s + i, p->n - i, &cp);
        len = (size_t)(k < 0 ? -k : k);
        for (size_t j = i; j < p->n && (node = sy__trie_step(&m->trie, node, (unsigned char)p->s[j])) != 0; j++) {
            int32_t id = m->trie.value[node];
            if (id < 0) continue;
            offer(&best[j + 1], m->score[id] + best[i].score, id, i);
            if (j + 1 == i + len) alone = true;
        }
        if (alone) continue;
        if (m->unk < 0) return no_unknown(p, i, err);
        offer(&best[i + len], m->unk_score + best[i].score, m->unk, i);
    }
    return SY_OK;
}

/* Bytes from .. to-1 that no single text gave: one id, if the vocabulary has them all the same, else their bytes, else unknown. */
static sy_status put_unknown(const sy__words *m, const sy__piece *p, size_t from, size_t to, sy__ids *out, sy_err *err)
{
    const char *s = p->s + from;
    size_t n = to - from;
    int32_t id = sy__texts_find(m->texts, s, n, sy__hash(s, n));
    bool bytes = id < 0 && m->byte_fallback && all_bytes(m, s, n);
    SY_TRY(sy__ids_need(out, bytes ? n : 1, err));
    if (!bytes) sy__ids_put(out, p, id < 0 ? m->unk : id, from, to);
    else for (size_t i = 0; i < n; i++) sy__ids_put(out, p, m->byte_id[(unsigned char)s[i]], from, to);
    return SY_OK;
}

static sy_status by_score(const sy__words *m, const sy__piece *p, sy__work *w, sy__ids *out, sy_err *err)
{
    if (p->n >= NOWHERE) return sy_fail(err, SY_EUNSUP, "a piece of %zu bytes without a place to cut; %u is the most", p->n, NOWHERE - 1);
    struct way *best = room_of(&w->symbols, sy_mul_size(p->n + 1, sizeof *best + sizeof(uint32_t)), err);
    if (!best) return SY_ENOMEM;
    uint32_t *next = (uint32_t *)(best + p->n + 1);
    SY_TRY(find_ways(m, p, best, err));
    for (size_t i = p->n; i; i = best[i].from) next[best[i].from] = (uint32_t)i;
    for (size_t i = 0, end; i < p->n; i = end) {
        end = next[i];
        SY_TRY(sy__ids_need(out, 1, err));
        if (best[end].id != m->unk) { sy__ids_put(out, p, best[end].id, i, end); continue; }
        while (end < p->n && best[next[end]].id == m->unk) end = next[end];
        SY_TRY(put_unknown(m, p, i, end, out, err));
    }
    return SY_OK;
}

static size_t characters(const sy__piece *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) n += ((unsigned char)p->s[i] & 0xC0) != 0x80;
    return n;
}

static sy_status all_unknown(const sy__words *m, const sy__piece *p, sy__ids *out, sy_err *err)
{
    if (m->unk < 0) return no_unknown(p, 0, err);
    SY_TRY(sy__ids_need(out, 1, err));
    sy__ids_put(out, p, m->unk, 0, p->n);
    return SY_OK;
}

static sy_status by_longest(const sy__words *m, const sy__piece *p, sy__ids *out, sy_err *err)
{
    size_t before = out->n;
    if (p->n > m->most_chars && characters(p) > m->most_chars) return all_unknown(m, p, out, err);
    SY_TRY(sy__ids_need(out, characters(p), err));
    for (size_t i = 0, end = 0; i < p->n; i = end) {
        uint32_t node = i && m->prefix ? m->inside : 0;
        int32_t id = -1;
        bool lost = i && m->prefix && !node;         /* no text of the vocabulary continues a word */
        for (size_t j = i; !lost && j < p->n && (node = sy__trie_step(&m->trie, node, (unsigned char)p->s[j])) != 0; j++)
            if (m->trie.value[node] >= 0) id = m->trie.value[node], end = j + 1;
        if (id < 0) {
            out->n = before;
            return all_unknown(m, p, out, err);
        }
        sy__ids_put(out, p, id, i, end);
    }
    return SY_OK;
}

static sy_status whole(const sy__words *m, const sy__piece *p, sy__ids *out, sy_err *err)
{
    int32_t id = sy__texts_find(m->texts, p->s, p->n, sy__hash(p->s, p->n));
    if (id < 0) return all_unknown(m, p, out, err);
    SY_TRY(sy__ids_need(out, 1, err));
    sy__ids_put(out, p, id, 0, p->n);
    return SY_OK;
}

sy_status sy__words_encode(const sy__words *m, const sy__piece *p, sy__work *w, sy__ids *out, sy_err *err)
{
    switch (m->kind) {
    case SY__UNIGRAM:   return by_score(m, p, w, out, err);
    case SY__WORDPIECE: return by_longest(m, p, out, err);
    case SY__WORDLEVEL: return whole(m, p, out, err);
    default:            return by_merges(m, p, w, out, err);
    }
}
