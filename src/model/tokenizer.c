/* model/tokenizer.c - text to ids and back.
 *
 * The way of a text: added tokens that are looked for in the text as it is, normalisation, added tokens that are looked for
 * after it; then what is left is cut into words, and every word becomes ids by BPE. Most words need no merges, because for every text
 * of the vocabulary it is known from the start whether the merges lead to just its id. */
#include "model/tokenizer.h"

#include "core/alloc.h"
#include "core/sha256.h"
#include "core/utf8.h"
#include "model/tokenizer_parts.h"

/* --- building ------------------------------------------------------------------------------------------------------------ */

uint32_t sy__byte_letter(int byte)
{
    bool itself = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    if (itself) return (uint32_t)byte;
    return 256u + (uint32_t)(byte <= 32 ? byte : byte <= 160 ? byte - 127 + 33 : 67);
}

int sy__letter_byte(uint32_t cp)
{
    if (cp < 256) return sy__byte_letter((int)cp) == cp ? (int)cp : -1;
    cp -= 256;
    return cp <= 32 ? (int)cp : cp <= 66 ? (int)cp - 33 + 127 : cp == 67 ? 173 : -1;
}

sy_status sy__tokenizer_new(sy_tokenizer **out, int most_ids, int most_merges, int most_added, sy_err *err)
{
    sy_tokenizer *t = sy_calloc(1, sizeof *t);
    if (!t) return sy_fail(err, SY_ENOMEM, "no memory for a tokenizer");
    t->eot = -1;
    t->first = sy_calloc((size_t)most_ids + 1, sizeof *t->first);
    t->mark = sy_calloc((size_t)most_ids + 1, 1);
    t->whole = sy_calloc((size_t)most_ids + 1, 1);
    t->added = sy_calloc((size_t)most_added + 1, sizeof *t->added);
    sy_status st = sy__bpe_open(&t->bpe, most_merges, err);
    if (!t->first || !t->mark || !t->whole || !t->added) st = sy_fail(err, SY_ENOMEM, "no memory for a tokenizer of %d ids", most_ids);
    if (st != SY_OK) { sy_tokenizer_close(t); return st; }
    *out = t;
    return SY_OK;
}

void sy_tokenizer_close(sy_tokenizer *t)
{
    if (!t) return;
    sy__matcher_close(&t->raw);
    sy__matcher_close(&t->normalized);
    sy__texts_close(&t->words);
    sy__bpe_close(&t->bpe);
    sy_buf_free(&t->text);
    sy_free(t->first);
    sy_free(t->mark);
    sy_free(t->whole);
    sy_free(t->added);
    sy_free(t);
}

void sy__tokenizer_add(sy_tokenizer *t, const char *bytes, size_t n, int marks, bool model)
{
    sy_buf_put(&t->text, bytes, n);
    sy_buf_put(&t->text, "", 1);
    t->mark[t->vocab++] = (unsigned char)marks;
    t->first[t->vocab] = t->text.n;
    t->model += model;
}

const char *sy__tokenizer_text(const sy_tokenizer *t, int id, size_t *n)
{
    *n = t->first[id + 1] - t->first[id] - 1;
    return t->text.data + t->first[id];
}

static const char *text_at(const void *owner, int32_t id, size_t *n) { return sy__tokenizer_text(owner, id, n); }

sy_status sy__tokenizer_index(sy_tokenizer *t, sy_err *err)
{
    if (t->text.failed) return sy_fail(err, SY_ENOMEM, "no memory for the texts of %d ids", t->vocab);
    SY_TRY(sy__texts_open(&t->words, (size_t)t->model, text_at, t, err));
    for (int id = 0; id < t->model; id++) {
        size_t n;
        const char *text = sy__tokenizer_text(t, id, &n);
        if (t->mark[id]) continue;
        if (n == 1) t->bpe.byte_id[(unsigned char)*text] = id;
        if (n > t->longest) t->longest = n;
        SY_TRY(sy__texts_add(&t->words, id, sy__hash(text, n), err));
    }
    return SY_OK;
}

static bool spelled(const sy_tokenizer *t, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) if (t->bpe.byte_id[(unsigned char)s[i]] < 0) return false;
    return true;
}

/* Which texts of the vocabulary become their own id. */
static sy_status find_whole(sy_tokenizer *t, sy_err *err)
{
    sy__room room = { 0 };
    int32_t *ids = sy_malloc(sizeof *ids * (t->longest + 1));
    sy_status st = ids ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for a word of %zu bytes", t->longest);
    for (int id = 0; st == SY_OK && id < t->model; id++) {
        size_t n, k;
        const char *text = sy__tokenizer_text(t, id, &n);
        if (t->mark[id]) continue;
        t->whole[id] = t->ignore_merges;
        if (t->ignore_merges || !spelled(t, text, n)) continue;
        st = sy__bpe_word(&t->bpe, text, n, &room, ids, &k, err);
        t->whole[id] = st == SY_OK && k == 1;
    }
    sy_free(room.p);
    sy_free(ids);
    return st;
}

void sy__tokenizer_digest(sy_tokenizer *t)
{
    sy_sha256 s;
    unsigned char out[32];
    sy_sha256_start(&s);
    sy_sha256_text(&s, "byte-level BPE, 1");
    sy_sha256_u64(&s, (uint64_t)t->vocab);
    sy_sha256_u64(&s, (uint64_t)t->model);
    for (int id = 0; id < t->vocab; id++) {
        size_t n;
        const char *text = sy__tokenizer_text(t, id, &n);
        sy_sha256_u64(&s, (uint64_t)n << 8 | t->mark[id]);
        sy_sha256_add(&s, text, n);
    }
    sy_sha256_u64(&s, (uint64_t)t->bpe.n_merges);
    for (int i = 0; i < t->bpe.n_merges; i++) sy_sha256_u64(&s, (uint64_t)t->bpe.merge[i].left << 32 | (uint32_t)t->bpe.merge[i].right);
    for (int i = 0; i < t->n_added; i++) {
        const sy__added *a = &t->added[i];
        sy_sha256_u64(&s, (uint64_t)a->id << 8 | (unsigned)(a->special | a->normalized << 1 | a->lstrip << 2 | a->rstrip << 3 | a->single_word << 4));
    }
    sy_sha256_u64(&s, (uint64_t)(t->ignore_merges | t->nfc << 1 | t->prefix_space << 2));
    for (int i = 0; i < t->cuts; i++) sy_sha256_text(&s, sy__cut_name(t->cut[i]));
    sy_sha256_u64(&s, (uint64_t)(int64_t)t->eot);
    sy_sha256_end(&s, out);
    sy_hex(out, 16, t->id);
}

sy_status sy__tokenizer_seal(sy_tokenizer *t, sy_err *err)
{
    SY_TRY(find_whole(t, err));
    SY_TRY(sy__matcher_open(&t->raw, t, false, err));
    SY_TRY(sy__matcher_open(&t->normalized, t, true, err));
    for (int i = 0; i < t->normalized.n; i++) {
        const sy__pattern *p = &t->normalized.pattern[i], *q;
        size_t at;
        if ((q = sy__matcher_next(&t->raw, p->text, p->n, 0, &at)) != NULL && q->n == p->n)
            return sy_fail(err, SY_EFORMAT, "the added tokens with ids %d and %d are the same text", q->added->id, p->added->id);
    }
    t->plain = !t->bpe.n_merges && t->longest == 1 && !t->nfc && !t->prefix_space && !t->raw.ordinary && !t->normalized.ordinary;
    for (int b = 0; b < 256; b++) t->plain = t->plain && t->bpe.byte_id[b] >= 0;
    sy__tokenizer_digest(t);
    return SY_OK;
}

sy_status sy_tokenizer_open_bytes(sy_tokenizer **out, bool eot, sy_err *err)
{
    sy_tokenizer *t;
    SY_TRY(sy__tokenizer_new(&t, 257, 0, 1, err));
    for (int b = 0; b < 256; b++) sy__tokenizer_add(t, &(char){ (char)b }, 1, 0, true);
    if (eot) {
        t->eot = 256;
        t->added[t->n_added++] = (sy__added){ .id = 256, .special = true };
        sy__tokenizer_add(t, SY__EOT_TEXT, strlen(SY__EOT_TEXT), SY__SPECIAL, false);
    }
    sy_status st = sy__tokenizer_index(t, err);
    if (st == SY_OK) st = sy__tokenizer_seal(t, err);
    if (st != SY_OK) { sy_tokenizer_close(t); return st; }
    *out = t;
    return SY_OK;
}

/* --- text to ids --------------------------------------------------------------------------------------------------------- */

struct run {                            /* one call of encode */
    const sy_tokenizer *t;
    bool     special;                   /* special tokens in the text become their ids */
    int32_t *id;
    size_t   n;
    sy__room room;
};

static sy_status one_word(struct run *r, const char *s, size_t n, sy_err *err)
{
    const sy_tokenizer *t = r->t;
    if (n <= t->longest) {
        int32_t id = n == 1 ? t->bpe.byte_id[(unsigned char)*s] : sy__texts_find(&t->words, s, n, sy__hash(s, n));
        if (id >= 0 && t->whole[id]) { r->id[r->n++] = id; return SY_OK; }
    }
    for (size_t i = 0; i < n; i++)
        if (t->bpe.byte_id[(unsigned char)s[i]] < 0)
            return sy_fail(err, SY_EUNSUP, "the text has a byte 0x%02x, which is no id of this tokenizer; take out what is not UTF-8, or use a tokenizer that has all bytes", (unsigned char)s[i]);
    size_t k;
    SY_TRY(sy__bpe_word(&t->bpe, s, n, &r->room, r->id + r->n, &k, err));
    r->n += k;
    return SY_OK;
}

static sy_status prefixed(struct run *r, const char *s, size_t n, int step, sy_err *err);

/* Cuts number `step` and up. The space of add_prefix_space comes after the cuts that stand before ByteLevel's own, which is the last. */
static sy_status words(struct run *r, const char *s, size_t n, int step, bool byte_level, sy_err *err)
{
    const sy_tokenizer *t = r->t;
    bool last = step == t->cuts || t->cut[step] == sy__cut_gpt2;
    if (last && !byte_level && t->prefix_space && *s != ' ') return prefixed(r, s, n, step, err);
    if (step == t->cuts) return one_word(r, s, n, err);
    for (size_t len; n; s += len, n -= len) {
        len = t->cut[step](s, n);
        SY_TRY(last ? one_word(r, s, len, err) : words(r, s, len, step + 1, false, err));
    }
    return SY_OK;
}

static sy_status prefixed(struct run *r, const char *s, size_t n, int step, sy_err *err)
{
    char few[256], *p = n < sizeof few ? few : sy_malloc(n + 1);
    if (!p) return sy_fail(err, SY_ENOMEM, "no memory for a text of %zu bytes", n);
    *p = ' ';
    memcpy(p + 1, s, n);
    sy_status st = words(r, p, n + 1, step, true, err);
    if (p != few) sy_free(p);
    return st;
}

typedef sy_status part(struct run *r, const char *s, size_t n, sy_err *err);

static sy_status all_words(struct run *r, const char *s, size_t n, sy_err *err) { return n ? words(r, s, n, 0, false, err) : SY_OK; }

/* Start of the character that ends at `end`, or of the malformed byte there. */
static size_t char_before(const char *s, size_t end, uint32_t *cp)
{
    for (size_t k = 1; k <= 4 && k <= end; k++)
        if (((unsigned char)s[end - k] & 0xC0) != 0x80 && sy_utf8_next(s + end - k, k, cp) == (int)k) return end - k;
    *cp = 0xFFFD;
    return end - 1;
}

static bool ends_with_word(const char *s, size_t n)
{
    uint32_t cp;
    if (!n) return false;
    char_before(s, n, &cp);
    return sy__is_word(cp);
}

static bool starts_with_word(const char *s, size_t n)
{
    uint32_t cp;
    return n && sy_utf8_next(s, n, &cp) > 0 && sy__is_word(cp);
}

static size_t without_spaces_at_end(const char *s, size_t from, size_t end)
{
    uint32_t cp;
    for (size_t at; end > from; end = at) {
        at = char_before(s, end, &cp);
        if (!sy__is_space(cp)) break;
    }
    return end;
}

static size_t behind_spaces(const char *s, size_t at, size_t n)
{
    uint32_t cp;
    for (int len; at < n && (len = sy_utf8_next(s + at, n - at, &cp)) > 0 && sy__is_space(cp); at += (size_t)len) continue;
    return at;
}

/* Emits the tokens that the matcher finds and hands what lies between them to `rest`. As in the `tokenizers` package a special token that is
 * not wanted still hides ordinary ones inside its text. A token that lies in spaces which rstrip took is gone with them. */
static sy_status by_tokens(struct run *r, const sy__matcher *m, const char *s, size_t n, part *rest, sy_err *err)
{
    size_t done = 0, look = 0, at;
    if (!m->n || (!r->special && !m->ordinary)) return rest(r, s, n, err);
    for (const sy__pattern *p; (p = sy__matcher_next(m, s, n, look, &at)) != NULL; ) {
        const sy__added *a = p->added;
        size_t end = look = at + p->n;
        if (at < done || (a->special && !r->special)) continue;
        if (a->single_word && (ends_with_word(s, at) || starts_with_word(s + end, n - end))) continue;
        if (a->lstrip) at = without_spaces_at_end(s, done, at);
        if (a->rstrip) end = behind_spaces(s, end, n);
        if (at > done) SY_TRY(rest(r, s + done, at - done, err));
        r->id[r->n++] = a->id;
        done = end;
    }
    return done < n ? rest(r, s + done, n - done, err) : SY_OK;
}

static sy_status after_normal(struct run *r, const char *s, size_t n, sy_err *err) { return by_tokens(r, &r->t->normalized, s, n, all_words, err); }

static sy_status normalise(struct run *r, const char *s, size_t n, sy_err *err)
{
    sy_buf b = { 0 };
    if (!r->t->nfc || !sy__nfc_may_change(s, n)) return after_normal(r, s, n, err);
    sy_status st = sy__nfc(s, n, &b, err);
    if (st == SY_OK) st = after_normal(r, b.data, b.n, err);
    sy_buf_free(&b);
    return st;
}

static sy_status encode(const sy_tokenizer *t, const char *text, size_t n, bool special, int32_t *id, size_t *ids, sy_err *err)
{
    if (t->plain && (!special || !(t->raw.n + t->normalized.n))) {
        for (size_t i = 0; i < n; i++) id[i] = t->bpe.byte_id[(unsigned char)text[i]];
        *ids = n;
        return SY_OK;
    }
    struct run r = { .t = t, .special = special, .id = id };
    sy_status st = n ? by_tokens(&r, &t->raw, text, n, normalise, err) : SY_OK;
    sy_free(r.room.p);
    *ids = r.n;
    return st;
}

sy_status sy_tokenizer_encode(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err)
{
    return encode(t, text, n, false, id, ids, err);
}

sy_status sy_tokenizer_encode_special(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err)
{
    return encode(t, text, n, true, id, ids, err);
}

size_t sy_tokenizer_most(const sy_tokenizer *t, size_t bytes)
{
    return sy_mul_size(bytes, (t->nfc ? SY__NFC_GROWTH : 1) * (t->prefix_space ? 2 : 1));     /* a prefix space per piece of at least a byte */
}

/* --- ids to text, and what is asked of a tokenizer ------------------------------------------------------------------------ */

int         sy_tokenizer_vocab(const sy_tokenizer *t) { return t->vocab; }
int         sy_tokenizer_eot(const sy_tokenizer *t) { return t->eot; }
const char *sy_tokenizer_id(const sy_tokenizer *t) { return t->id; }

const char *sy_tokenizer_piece(const sy_tokenizer *t, int id, size_t *n)
{
    *n = 0;
    return id >= 0 && id < t->vocab && !(t->mark[id] & SY__SPECIAL) ? sy__tokenizer_text(t, id, n) : "";
}

int sy_tokenizer_bytes(const sy_tokenizer *t, int id)
{
    size_t n;
    sy_tokenizer_piece(t, id, &n);
    return (int)n;
}

const char *sy_tokenizer_special(const sy_tokenizer *t, int id)
{
    return id >= 0 && id < t->vocab && t->mark[id] & SY__SPECIAL ? t->text.data + t->first[id] : NULL;
}

int sy_tokenizer_find(const sy_tokenizer *t, const char *special)
{
    for (int i = 0; i < t->n_added; i++)
        if (t->added[i].special && !strcmp(t->text.data + t->first[t->added[i].id], special)) return t->added[i].id;
    return -1;
}

int sy_tokenizer_lookup(const sy_tokenizer *t, const char *bytes, size_t n)
{
    int id = n ? sy__texts_find(&t->words, bytes, n, sy__hash(bytes, n)) : -1;
    for (int i = 0; id < 0 && i < t->n_added; i++) {
        size_t len;
        const char *text = sy_tokenizer_piece(t, t->added[i].id, &len);
        if (len && len == n && !memcmp(text, bytes, n)) id = t->added[i].id;
    }
    return id;
}

sy_status sy_tokenizer_decode(const sy_tokenizer *t, const int32_t *id, size_t n, sy_buf *out, sy_err *err)
{
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *p = sy_tokenizer_piece(t, id[i], &len);
        sy_buf_put(out, p, len);
    }
    return out->failed ? sy_fail(err, SY_ENOMEM, "no memory to decode %zu tokens", n) : SY_OK;
}
