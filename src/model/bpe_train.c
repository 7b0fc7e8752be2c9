/* model/bpe_train.c - learning a byte-level BPE vocabulary.
 *
 * All different words lie one after the other in one array of places, a symbol each; next and prev link the living symbols of a
 * word. Every place that begins a pair is in the list of that pair, and in no other; so a merge touches just the places where it
 * happens, counts are always exact, and the whole work is linear in the merges that happen. The most frequent pair comes from a
 * heap whose entries may be stale: counts that fall are corrected when an entry comes up, counts that rise get a new entry. */
#include "model/bpe_train.h"

#include <limits.h>
#include <stdlib.h>

#include "core/alloc.h"
#include "model/tokenizer_parts.h"

enum { NONE = -1, LEAST_COUNT = 2, MOST_IDS = 1 << 24 };

struct word { size_t at; uint32_t n; uint64_t count; };              /* text: spelling[at .. at+n) */

struct pair {
    int32_t  left, right;
    uint64_t count;                     /* over all words, each as often as it was fed */
    int32_t  head, tail;                /* places where it begins; NONE: nowhere */
    int32_t  joined;                    /* the id it became when it was chosen, NONE before */
    bool     touched;                   /* in the list of pairs whose count may have risen */
};

struct entry { uint64_t count; int32_t pair; };

struct sy_bpe_trainer {
    sy_buf       spelling;              /* different words of two bytes and more */
    struct word *word;
    size_t       words, word_room;
    sy__texts    known;                 /* words by their text */

    int32_t *symbol, *next, *prev;      /* [places]; next and prev NONE at the ends of a word */
    int32_t *in_pair, *after, *before;  /* [places] the pair that begins here, NONE: none; neighbours in its list */
    uint32_t *of_word;                  /* [places] */

    struct pair *pair;
    size_t       pairs, pair_room;
    int32_t     *pair_slot;             /* open addressing: pair numbers, NONE: empty */
    size_t       pair_mask;

    struct entry *heap;
    size_t        entries, heap_room;
    int32_t      *list;                 /* pairs that were touched, then places of a merge: working memory */
    size_t        listed, list_room;
};

static const char *word_at(const void *owner, int32_t number, size_t *n)
{
    const sy_bpe_trainer *b = owner;
    *n = b->word[number].n;
    return b->spelling.data + b->word[number].at;
}

sy_status sy_bpe_trainer_open(sy_bpe_trainer **out, sy_err *err)
{
    sy_bpe_trainer *b = sy_calloc(1, sizeof *b);
    if (!b) return sy_fail(err, SY_ENOMEM, "no memory to learn a vocabulary");
    sy_status st = sy__texts_open(&b->known, 1 << 15, word_at, b, err);
    if (st != SY_OK) { sy_bpe_trainer_close(b); return st; }
    *out = b;
    return SY_OK;
}

static void free_places(sy_bpe_trainer *b)
{
    void *all[] = { b->symbol, b->next, b->prev, b->in_pair, b->after, b->before, b->of_word, b->pair, b->pair_slot, b->heap, b->list };
    for (size_t i = 0; i < SY_COUNT(all); i++) sy_free(all[i]);
}

void sy_bpe_trainer_close(sy_bpe_trainer *b)
{
    if (!b) return;
    sy_buf_free(&b->spelling);
    sy_free(b->word);
    sy__texts_close(&b->known);
    free_places(b);
    sy_free(b);
}

/* Room for one more in an array that doubles. */
static bool grow(void **array, size_t n, size_t *room, size_t size)
{
    if (n < *room) return true;
    size_t more = *room ? 2 * *room : 1024;
    void *p = sy_realloc(*array, sy_mul_size(more, size));
    if (!p) return false;
    *array = p;
    *room = more;
    return true;
}

/* --- counting words ------------------------------------------------------------------------------------------------------ */

static sy_status no_memory(const sy_bpe_trainer *b, sy_err *err) { return sy_fail(err, SY_ENOMEM, "no memory to learn a vocabulary from %zu different words", b->words); }

static sy_status new_word(sy_bpe_trainer *b, const char *s, size_t n, uint64_t hash, sy_err *err)
{
    if (b->spelling.n + n > INT32_MAX) return sy_fail(err, SY_EARG, "the different words of the text have more than 2147483647 bytes; learn from less text");
    if (!grow((void **)&b->word, b->words, &b->word_room, sizeof *b->word)) return no_memory(b, err);
    b->word[b->words] = (struct word){ b->spelling.n, (uint32_t)n, 1 };
    sy_buf_put(&b->spelling, s, n);
    if (b->spelling.failed) return no_memory(b, err);
    SY_TRY(sy__texts_add(&b->known, (int32_t)b->words, hash, err));
    b->words++;
    return SY_OK;
}

sy_status sy_bpe_trainer_feed(sy_bpe_trainer *b, const char *text, size_t n, sy_err *err)
{
    for (size_t len; n; text += len, n -= len) {
        len = sy__cut_gpt2(text, n);
        if (len < 2) continue;                                       /* holds no pair */
        uint64_t hash = sy__hash(text, len);
        int32_t known = sy__texts_find(&b->known, text, len, hash);
        if (known >= 0) b->word[known].count++;
        else SY_TRY(new_word(b, text, len, hash, err));
    }
    return SY_OK;
}

/* --- pairs and where they are -------------------------------------------------------------------------------------------- */

static size_t slot_of(const sy_bpe_trainer *b, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15;
    size_t k = (size_t)(h >> 32) & b->pair_mask;
    while (b->pair_slot[k] != NONE && (b->pair[b->pair_slot[k]].left != left || b->pair[b->pair_slot[k]].right != right)) k = (k + 1) & b->pair_mask;
    return k;
}

static bool pair_slots(sy_bpe_trainer *b, size_t slots)
{
    int32_t *slot = sy_malloc(sy_mul_size(slots, sizeof *slot));
    if (!slot) return false;
    sy_free(b->pair_slot);
    b->pair_slot = slot;
    b->pair_mask = slots - 1;
    memset(slot, -1, slots * sizeof *slot);
    for (size_t i = 0; i < b->pairs; i++) slot[slot_of(b, b->pair[i].left, b->pair[i].right)] = (int32_t)i;
    return true;
}

static sy_status find_pair(sy_bpe_trainer *b, int32_t left, int32_t right, int32_t *number, sy_err *err)
{
    size_t k = slot_of(b, left, right);
    if (b->pair_slot[k] == NONE) {
        if (!grow((void **)&b->pair, b->pairs, &b->pair_room, sizeof *b->pair)) return no_memory(b, err);
        if (2 * b->pairs > b->pair_mask) {
            if (!pair_slots(b, 2 * (b->pair_mask + 1))) return no_memory(b, err);
            k = slot_of(b, left, right);
        }
        b->pair[b->pairs] = (struct pair){ .left = left, .right = right, .head = NONE, .tail = NONE, .joined = NONE };
        b->pair_slot[k] = (int32_t)b->pairs++;
    }
    *number = b->pair_slot[k];
    return SY_OK;
}

/* The pair that begins at `place` is counted, and noted as touched. */
static sy_status link_place(sy_bpe_trainer *b, int32_t place, sy_err *err)
{
    int32_t number = NONE;
    SY_TRY(find_pair(b, b->symbol[place], b->symbol[b->next[place]], &number, err));
    struct pair *p = &b->pair[number];
    b->in_pair[place] = number;
    b->before[place] = p->tail;
    b->after[place] = NONE;
    if (p->tail != NONE) b->after[p->tail] = place;
    else p->head = place;
    p->tail = place;
    p->count += b->word[b->of_word[place]].count;
    if (p->touched) return SY_OK;
    if (!grow((void **)&b->list, b->listed, &b->list_room, sizeof *b->list)) return no_memory(b, err);
    b->list[b->listed++] = number;
    p->touched = true;
    return SY_OK;
}

static void unlink_place(sy_bpe_trainer *b, int32_t place)
{
    struct pair *p = &b->pair[b->in_pair[place]];
    int32_t after = b->after[place], before = b->before[place];
    if (before != NONE) b->after[before] = after;
    else p->head = after;
    if (after != NONE) b->before[after] = before;
    else p->tail = before;
    p->count -= b->word[b->of_word[place]].count;
    b->in_pair[place] = NONE;
}

static sy_status lay_out(sy_bpe_trainer *b, sy_err *err)
{
    size_t places = b->spelling.n;
    int32_t **all[] = { &b->symbol, &b->next, &b->prev, &b->in_pair, &b->after, &b->before, (int32_t **)&b->of_word };
    for (size_t i = 0; i < SY_COUNT(all); i++)
        if (!(*all[i] = sy_malloc(sy_mul_size(places, sizeof(int32_t))))) return no_memory(b, err);
    if (!pair_slots(b, 1 << 16)) return no_memory(b, err);
    for (size_t w = 0; w < b->words; w++) {
        int32_t first = (int32_t)b->word[w].at, end = first + (int32_t)b->word[w].n;
        for (int32_t i = first; i < end; i++) {
            b->symbol[i] = (unsigned char)b->spelling.data[i];
            b->prev[i] = i > first ? i - 1 : NONE;
            b->next[i] = i + 1 < end ? i + 1 : NONE;
            b->of_word[i] = (uint32_t)w;
            b->in_pair[i] = NONE;
        }
        for (int32_t i = first; i + 1 < end; i++) SY_TRY(link_place(b, i, err));
    }
    return SY_OK;
}

/* --- the most frequent pair ---------------------------------------------------------------------------------------------- */

static bool comes_first(const sy_bpe_trainer *b, struct entry x, struct entry y)
{
    const struct pair *p = &b->pair[x.pair], *q = &b->pair[y.pair];
    if (x.count != y.count) return x.count > y.count;
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static sy_status push(sy_bpe_trainer *b, int32_t pair, sy_err *err)
{
    if (!grow((void **)&b->heap, b->entries, &b->heap_room, sizeof *b->heap)) return no_memory(b, err);
    struct entry e = { b->pair[pair].count, pair };
    size_t i = b->entries++;
    for (; i && comes_first(b, e, b->heap[(i - 1) / 2]); i = (i - 1) / 2) b->heap[i] = b->heap[(i - 1) / 2];
    b->heap[i] = e;
    return SY_OK;
}

static struct entry pop(sy_bpe_trainer *b)
{
    struct entry top = b->heap[0], e = b->heap[--b->entries];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < b->entries; i = child) {
        if (child + 1 < b->entries && comes_first(b, b->heap[child + 1], b->heap[child])) child++;
        if (!comes_first(b, b->heap[child], e)) break;
        b->heap[i] = b->heap[child];
    }
    b->heap[i] = e;
    return top;
}

static size_t length_of(const sy_tokenizer *t, int32_t id)
{
    size_t n;
    sy__tokenizer_text(t, id, &n);
    return n;
}

/* Touched pairs that may be chosen go into the heap; the list is empty then. */
static sy_status push_touched(sy_bpe_trainer *b, const sy_tokenizer *t, sy_err *err)
{
    for (size_t i = 0; i < b->listed; i++) {
        struct pair *p = &b->pair[b->list[i]];
        p->touched = false;
        if (p->count < LEAST_COUNT || length_of(t, p->left) + length_of(t, p->right) > SY__TOKEN_MAX) continue;
        SY_TRY(push(b, b->list[i], err));
    }
    b->listed = 0;
    return SY_OK;
}

/* The pair of the largest count, NONE: none is frequent enough. */
static sy_status choose(sy_bpe_trainer *b, int32_t *chosen, sy_err *err)
{
    for (*chosen = NONE; b->entries && *chosen == NONE; ) {
        struct entry top = pop(b);
        uint64_t count = b->pair[top.pair].count;
        if (top.count == count) *chosen = top.pair;
        else if (count >= LEAST_COUNT) SY_TRY(push(b, top.pair, err));
    }
    return SY_OK;
}

/* --- merging ------------------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Joins a pair everywhere to `id`, from left to right, so that of three equal symbols the first two are joined. */
static sy_status join(sy_bpe_trainer *b, int32_t number, int32_t id, sy_err *err)
{
    size_t n = 0, room = 0;
    int32_t *place = NULL;
    bool sorted = true;
    sy_status st = SY_OK;
    for (int32_t i = b->pair[number].head; i != NONE && st == SY_OK; i = b->after[i]) {
        if (!grow((void **)&place, n, &room, sizeof *place)) { st = no_memory(b, err); break; }
        sorted = sorted && (!n || place[n - 1] < i);
        place[n++] = i;
    }
    if (!sorted) qsort(place, n, sizeof *place, ascending);
    for (size_t i = 0; i < n && st == SY_OK; i++) {
        int32_t at = place[i];
        if (b->in_pair[at] != number) continue;                      /* its left symbol went into the join before */
        int32_t gone = b->next[at], left = b->prev[at], right = b->next[gone];
        unlink_place(b, at);
        if (left != NONE) unlink_place(b, left);
        if (right != NONE) unlink_place(b, gone);
        b->symbol[at] = id;
        b->next[at] = right;
        if (right != NONE) b->prev[right] = at;
        if (left != NONE) st = link_place(b, left, err);
        if (right != NONE && st == SY_OK) st = link_place(b, at, err);
    }
    sy_free(place);
    return st;
}

/* The id of a chosen pair: the one it had, that of a token with the same text, or a new one; the latter two make a merge. */
static sy_status id_of(sy_bpe_trainer *b, sy_tokenizer *t, int32_t number, sy_buf *joined, int32_t *id, sy_err *err)
{
    struct pair *p = &b->pair[number];
    size_t n;
    if ((*id = p->joined) != NONE) return SY_OK;
    sy_buf_clear(joined);
    const char *text = sy__tokenizer_text(t, p->left, &n);
    sy_buf_put(joined, text, n);
    text = sy__tokenizer_text(t, p->right, &n);
    sy_buf_put(joined, text, n);
    if (joined->failed) return no_memory(b, err);
    uint64_t hash = sy__hash(joined->data, joined->n);
    if ((*id = sy__texts_find(&t->texts, joined->data, joined->n, hash)) < 0) {
        *id = t->vocab;
        sy__tokenizer_add(t, joined->data, joined->n, 0, true);
        if (t->text.failed) return no_memory(b, err);
        SY_TRY(sy__texts_add(&t->texts, *id, hash, err));
        if (joined->n > t->longest) t->longest = joined->n;
    }
    p->joined = *id;
    int twice;
    return sy__bpe_add(&t->bpe, (sy__merge){ p->left, p->right, *id }, &twice, err);
}

static sy_status learn(sy_bpe_trainer *b, sy_tokenizer *t, int model, sy_status (*progress)(void *, double, sy_err *), void *arg, sy_err *err)
{
    sy_buf joined = { 0 };
    sy_status st = lay_out(b, err);
    for (int said = 0; st == SY_OK && t->model < model; ) {
        int32_t number, id;
        if ((st = push_touched(b, t, err)) != SY_OK || (st = choose(b, &number, err)) != SY_OK || number == NONE) break;
        if ((st = id_of(b, t, number, &joined, &id, err)) == SY_OK) st = join(b, number, id, err);
        int share = (int)(100LL * (t->model - 256) / (model - 256));
        if (progress && st == SY_OK && share > said) st = progress(arg, (said = share) / 100.0, err);
    }
    sy_buf_free(&joined);
    return st;
}

sy_status sy_bpe_trainer_train(sy_bpe_trainer *b, int vocab_size, sy_status (*progress)(void *arg, double share, sy_err *err), void *arg,
                               sy_tokenizer **out, sy_err *err)
{
    sy_tokenizer *t;
    if (vocab_size < 257 || vocab_size > MOST_IDS) return sy_fail(err, SY_EARG, "a vocabulary of %d ids; bytes and <|endoftext|> alone are 257, and %d is the most", vocab_size, MOST_IDS);
    if (b->symbol) return sy_fail(err, SY_EARG, "this trainer has learned its vocabulary; open another");
    SY_TRY(sy__tokenizer_new(&t, vocab_size, vocab_size, 1, err));
    for (int i = 0; i < 256; i++) sy__tokenizer_add(t, &(char){ (char)i }, 1, 0, true);
    sy__tokenizer_gpt2(t);
    sy_status st = sy__tokenizer_index(t, err);
    if (st == SY_OK) st = learn(b, t, vocab_size - 1, progress, arg, err);
    if (st == SY_OK) {
        t->eot = t->vocab;
        t->added[t->n_added++] = (sy__added){ .id = t->eot, .special = true };
        sy__tokenizer_add(t, SY__EOT_TEXT, strlen(SY__EOT_TEXT), SY__SPECIAL, false);
        st = t->text.failed ? no_memory(b, err) : sy__tokenizer_seal(t, err);
    }
    if (st != SY_OK) { sy_tokenizer_close(t); return st; }
    *out = t;
    return SY_OK;
}
