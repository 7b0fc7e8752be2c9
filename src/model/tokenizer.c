/* model/tokenizer.c - text to ids and back.
 *
 * The way of a text: added tokens that are looked for in the text as it is, normalisation, added tokens that are looked for
 * after it; then what is left is cut into pieces, and the model makes ids of every piece. Most pieces need no work, because for every text
 * of the vocabulary it is known from the start whether it becomes just its id. At the end the post-processor may frame the ids. */
#include "model/tokenizer.h"

#include <stdio.h>

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
    t->byte_level = true;
    t->growth = 1;
    t->words.unk = -1;
    memset(t->words.byte_id, -1, sizeof t->words.byte_id);
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
    sy__texts_close(&t->texts);
    sy__bpe_close(&t->bpe);
    sy__words_close(&t->words);
    for (int i = 0; i < t->steps; i++) {
        sy__normal_close(&t->step[i].normal);
        sy__finder_close(t->step[i].find);
    }
    for (int i = 0; i < t->decodes; i++) sy__decode_close(&t->decode[i]);
    for (int i = 0; i < t->posts; i++) sy_free(t->post[i].id);
    sy_buf_free(&t->text);
    sy_buf_free(&t->shown);
    sy_buf_free(&t->extra);
    sy_buf_free(&t->source);
    sy_free(t->shown_at);
    sy_free(t->first);
    sy_free(t->mark);
    sy_free(t->whole);
    sy_free(t->added);
    for (int i = 0; i < t->n_kept; i++) {
        sy_free(t->kept[i].name);
        sy_buf_free(&t->kept[i].data);
    }
    sy_free(t->kept);
    sy_free(t->notes);
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
    bool chars = t->words.kind == SY__CHAR_BPE && !t->words.prefix && !t->words.suffix;
    if (t->text.failed) return sy_fail(err, SY_ENOMEM, "no memory for the texts of %d ids", t->vocab);
    SY_TRY(sy__texts_open(&t->texts, (size_t)t->model, text_at, t, err));
    for (int id = 0; id < t->model; id++) {
        size_t n;
        uint32_t cp;
        const char *text = sy__tokenizer_text(t, id, &n);
        if (t->byte_level ? t->mark[id] & SY__RAW : !n) continue;
        if (n == 1) t->bpe.byte_id[(unsigned char)*text] = id;
        if (n > t->longest) t->longest = n;
        SY_TRY(sy__texts_set(&t->texts, text, n, id, err));      /* of equal texts, which Unigram may have, the last one counts */
        if (chars && sy_utf8_next(text, n, &cp) == (int)n) SY_TRY(sy__words_char(&t->words, cp, id, err));
    }
    for (int b = 0; b < 256 && !t->byte_level; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        t->words.byte_id[b] = sy__texts_find(&t->texts, name, 6, sy__hash(name, 6));
    }
    t->words.texts = &t->texts;
    t->words.bpe = &t->bpe;
    return SY_OK;
}

void sy__tokenizer_gpt2(sy_tokenizer *t)
{
    t->step[t->steps++] = (sy__step){ .kind = SY__STEP_TOKENS };
    t->step[t->steps++] = (sy__step){ .kind = SY__STEP_BYTES, .cuts = true, .cut = sy__cut_gpt2 };
    t->decode[t->decodes++] = (sy__decode){ .kind = SY__DECODE_BYTES };
}

static bool spelled(const sy_tokenizer *t, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) if (t->bpe.byte_id[(unsigned char)s[i]] < 0) return false;
    return true;
}

/* Which texts of the vocabulary become their own id. */
static sy_status find_whole(sy_tokenizer *t, sy_err *err)
{
    sy__work w = { 0 };
    sy__ids ids = { .grows = true, .lenient = true };
    sy_status st = sy__ids_need(&ids, t->longest + 1, err);
    for (int id = 0; st == SY_OK && id < t->model; id++) {
        size_t n, k;
        const char *text = sy__tokenizer_text(t, id, &n);
        if (t->byte_level ? t->mark[id] & SY__RAW : !n) continue;
        if ((t->whole[id] = t->ignore_merges)) continue;
        ids.n = 0;
        if (t->byte_level) {
            if (!spelled(t, text, n)) continue;
            st = sy__bpe_word(&t->bpe, text, n, &w.merges, ids.id, &k, err);
            ids.n = k;
        } else if (t->words.unk >= 0 || t->words.kind == SY__CHAR_BPE) st = sy__words_encode(&t->words, &(sy__piece){ .s = text, .n = n }, &w, &ids, err);
        t->whole[id] = st == SY_OK && ids.n == 1 && ids.id[0] == id && !ids.dropped;
        ids.dropped = 0;
    }
    sy__work_free(&w);
    sy_free(ids.id);
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
        sy_sha256_u64(&s, (uint64_t)n << 8 | (t->mark[id] & SY__SPECIAL ? SY__SPECIAL : t->mark[id] & SY__RAW));
        sy_sha256_add(&s, text, n);
    }
    sy_sha256_u64(&s, (uint64_t)t->bpe.n_merges);
    for (int i = 0; i < t->bpe.n_merges; i++) sy_sha256_u64(&s, (uint64_t)t->bpe.merge[i].left << 32 | (uint32_t)t->bpe.merge[i].right);
    for (int i = 0; i < t->n_added; i++) {
        const sy__added *a = &t->added[i];
        sy_sha256_u64(&s, (uint64_t)a->id << 8 | (unsigned)(a->special | a->normalized << 1 | a->lstrip << 2 | a->rstrip << 3 | a->single_word << 4));
    }
    bool nfc = false, prefix = false;
    for (int i = 0; i < t->steps; i++) {
        nfc |= t->step[i].kind == SY__STEP_NORMAL;
        prefix |= t->step[i].prefix;
    }
    sy_sha256_u64(&s, (uint64_t)(t->ignore_merges | nfc << 1 | prefix << 2));
    for (int i = 0; i < t->steps; i++) if (t->step[i].cut) sy_sha256_text(&s, sy__cut_name(t->step[i].cut));
    if (t->extra.n) sy_sha256_add(&s, t->extra.data, t->extra.n);
    sy_sha256_u64(&s, (uint64_t)(int64_t)t->eot);
    sy_sha256_end(&s, out);
    sy_hex(out, 16, t->id);
}

static size_t times(size_t a, size_t b) { return a && b > SIZE_MAX / a ? SIZE_MAX : a * b; }

/* Ids that a text of a step can become at most. */
static size_t weight(const sy_tokenizer *t, const char *s, size_t n)
{
    size_t sum = 0;
    bool bytes = t->byte_level || t->words.byte_fallback;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        int k = sy_utf8_next(s + i, n - i, &cp);
        len = (size_t)(k < 0 ? -k : k);
        bool one = !bytes || (t->words.page && t->words.page[cp >> 8] && t->words.page[cp >> 8][cp & 255] >= 0);
        sum += one ? 1 : len;
    }
    return sum;
}

static void find_growth(sy_tokenizer *t)
{
    t->growth = 1 + (t->words.prefix ? strlen(t->words.prefix) : 0) + (t->words.suffix ? strlen(t->words.suffix) : 0);
    for (int i = 0; i < t->steps; i++) {
        const sy__step *x = &t->step[i];
        size_t put = x->normal.text ? weight(t, x->normal.text, x->normal.n) : 0;
        if (x->kind == SY__STEP_NORMAL) t->growth = times(t->growth, sy__normal_growth(&x->normal));
        if (x->kind == SY__STEP_NORMAL && x->normal.kind == SY__PREPEND) t->growth = times(t->growth, 1 + put);
        if (x->kind == SY__STEP_NORMAL && x->normal.kind == SY__REPLACE && put > 1) t->growth = times(t->growth, put);
        if (x->prefix || (x->kind == SY__STEP_METASPACE && x->scheme)) t->growth = times(t->growth, 2);
        if (x->kind == SY__STEP_METASPACE) t->growth = times(t->growth, weight(t, x->mark, strlen(x->mark)));
    }
}

/* Whether an id decodes to the text of a special token. */
static bool is_special(const sy_tokenizer *t, int id)
{
    size_t n, m;
    const char *text = sy__spelling(t, id, &n);
    for (int i = 0; i < t->n_added; i++) {
        const char *other = sy__tokenizer_text(t, t->added[i].id, &m);
        if (t->added[i].special && n == m && !memcmp(text, other, n)) return true;
    }
    return false;
}

static sy_status open_matchers(sy_tokenizer *t, sy_err *err)
{
    SY_TRY(sy__matcher_open(&t->raw, t, false, err));
    SY_TRY(sy__matcher_open(&t->normalized, t, true, err));
    for (int i = 0; i < t->normalized.n; i++) {
        const sy__pattern *p = &t->normalized.pattern[i], *q;
        size_t at;
        if ((q = sy__matcher_next(&t->raw, p->text, p->n, 0, &at)) != NULL && q->n == p->n && t->byte_level)
            return sy_fail(err, SY_EFORMAT, "the added tokens with ids %d and %d are the same text", q->added->id, p->added->id);
    }
    for (int i = 0; i < t->normalized.all; i++) {
        const sy__pattern *p = &t->normalized.pattern[i];
        size_t n;
        const char *text = sy__tokenizer_text(t, p->added->id, &n);
        if (n != p->n || memcmp(text, p->text, n)) t->mark[p->added->id] |= SY__RESPELLED;
    }
    for (int i = 0; i < t->n_added; i++) {
        int id = t->added[i].id;
        if (t->mark[id] & SY__RESPELLED ? is_special(t, id) : t->mark[id] & SY__SPECIAL) t->mark[id] |= SY__HIDDEN;
    }
    return SY_OK;
}

sy_status sy__tokenizer_seal(sy_tokenizer *t, sy_err *err)
{
    bool moves = false, first = false, simple = true;
    t->lossless = t->byte_level;
    for (int i = 0; i < t->steps; i++) {
        const sy__step *x = &t->step[i];
        bool normal = x->kind == SY__STEP_NORMAL;
        t->lossless &= (!normal || x->normal.kind == SY__NFC) && !(x->find && sy__finder_slow(x->find));
        moves |= normal && !sy__normal_keeps_begin(&x->normal);
        first |= x->kind == SY__STEP_METASPACE && x->scheme == SY__FIRST;
        simple &= x->kind == SY__STEP_TOKENS || x->kind == SY__STEP_CUT || (x->kind == SY__STEP_BYTES && !x->prefix);
    }
    t->origins = moves && first;
    SY_TRY(find_whole(t, err));
    SY_TRY(open_matchers(t, err));
    SY_TRY(sy__find_shown(t, err));
    find_growth(t);
    if (!t->own) t->own = t->vocab;
    t->plain = t->byte_level && !t->bpe.n_merges && t->longest == 1 && simple && !t->raw.ordinary && !t->normalized.ordinary;
    for (int b = 0; b < 256; b++) t->plain = t->plain && t->bpe.byte_id[b] >= 0;
    if (t->text.failed || t->extra.failed || t->source.failed) return sy_fail(err, SY_ENOMEM, "no memory for a tokenizer of %d ids", t->vocab);
    sy__tokenizer_digest(t);
    return SY_OK;
}

sy_status sy_tokenizer_open_bytes(sy_tokenizer **out, bool eot, sy_err *err)
{
    sy_tokenizer *t;
    SY_TRY(sy__tokenizer_new(&t, 257, 0, 1, err));
    for (int b = 0; b < 256; b++) sy__tokenizer_add(t, &(char){ (char)b }, 1, 0, true);
    t->step[t->steps++] = (sy__step){ .kind = SY__STEP_TOKENS };
    t->step[t->steps++] = (sy__step){ .kind = SY__STEP_BYTES };
    t->decode[t->decodes++] = (sy__decode){ .kind = SY__DECODE_BYTES };
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

typedef struct fringe { size_t token; uint32_t before, behind; } fringe;

struct run {                            /* one call of encode */
    const sy_tokenizer *t;
    bool      special;                  /* special tokens in the text become their ids */
    sy__ids   ids;
    sy__work  work;
    void     *find[SY__MAX_STEPS];      /* working memory of finders */
    sy__flow  flow[SY__MAX_STEPS];      /* what each step has written last; in use until the steps behind it are done */
    fringe   *fringe;                   /* [fringes] blanks around added tokens, with offsets */
    size_t    fringes, fringe_room;
};

static sy_status run_step(struct run *r, int step, const sy__piece *p, sy_err *err);

static sy_status one_piece(struct run *r, const sy__piece *p, sy_err *err)
{
    const sy_tokenizer *t = r->t;
    if (p->n <= t->longest) {
        int32_t id = p->n == 1 && t->byte_level ? t->bpe.byte_id[(unsigned char)*p->s] : sy__texts_find(&t->texts, p->s, p->n, sy__hash(p->s, p->n));
        if (id >= 0 && t->whole[id]) {
            SY_TRY(sy__ids_need(&r->ids, 1, err));
            sy__ids_put(&r->ids, p, id, 0, p->n);
            return SY_OK;
        }
    }
    if (!t->byte_level) return sy__words_encode(&t->words, p, &r->work, &r->ids, err);
    SY_TRY(sy__ids_need(&r->ids, p->n, err));
    int32_t *id = r->ids.id + r->ids.n;
    size_t n = 0, k, at = 0;
    for (size_t i = 0; i < p->n; i++) {
        if ((id[n] = t->bpe.byte_id[(unsigned char)p->s[i]]) >= 0) n++;
        else if (r->ids.lenient) r->ids.dropped++;
        else return sy_fail(err, SY_EUNSUP, "the text has a byte 0x%02x, which is no id of this tokenizer; take out what is not UTF-8, or use a tokenizer that has all bytes", (unsigned char)p->s[i]);
    }
    if (!n) return SY_OK;
    SY_TRY(sy__bpe_join(&t->bpe, id, NULL, n, &r->work.merges, &k, err));
    if (!r->ids.spans) { r->ids.n += k; return SY_OK; }
    for (size_t i = 0; i < k; i++) {
        int32_t one = id[i];
        size_t len;
        sy__tokenizer_text(t, one, &len);
        sy__ids_put(&r->ids, p, one, at, at + len);
        at += len;
    }
    return SY_OK;
}

/* --- added tokens --- */

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

enum { LETTER_OF_SPACE = 0x120 };       /* how byte-level letters spell a space */

/* Blanks at both ends of a token's text, as ByteLevel's post-processor counts them. */
static void blanks_of(const char *s, size_t n, bool bytes, uint32_t *before, uint32_t *behind)
{
    uint32_t cp;
    size_t i = 0, end = n;
    *before = *behind = 0;
    for (int len; i < n; i += (size_t)len, ++*before) {
        len = bytes ? 1 : sy_utf8_next(s + i, n - i, &cp);
        if (bytes ? s[i] != ' ' : len < 0 || !(cp == LETTER_OF_SPACE || sy__is_space(cp))) break;
    }
    for (size_t at; end; end = at, ++*behind) {
        at = bytes ? end - 1 : char_before(s, end, &cp);
        if (bytes ? s[at] != ' ' : !(cp == LETTER_OF_SPACE || sy__is_space(cp))) break;
    }
}

static sy_status put_added(struct run *r, const sy__piece *p, int id, size_t from, size_t to, sy_err *err)
{
    SY_TRY(sy__ids_need(&r->ids, 1, err));
    if (r->ids.spans && r->t->posts) {
        if (r->fringes == r->fringe_room) {
            size_t room = 2 * r->fringe_room + 16;
            fringe *f = sy_realloc(r->fringe, room * sizeof *f);
            if (!f) return sy_fail(err, SY_ENOMEM, "no memory for %zu added tokens", room);
            r->fringe = f;
            r->fringe_room = room;
        }
        fringe *f = &r->fringe[r->fringes++];
        f->token = r->ids.n;
        blanks_of(p->s + from, to - from, false, &f->before, &f->behind);
    }
    sy__ids_put(&r->ids, p, id, from, to);
    return SY_OK;
}

/* Emits the tokens that the matcher finds and hands what lies between them to the steps from `next` on. As in the `tokenizers` package a special
 * token that is not wanted still hides ordinary ones inside its text, and a token that begins in blanks which rstrip took before it is a token all the
 * same: what lies behind it goes on from its own end. */
static sy_status by_tokens(struct run *r, const sy__matcher *m, const sy__piece *p, int next, sy_err *err)
{
    const char *s = p->s;
    size_t done = 0, look = 0, at, n = p->n;
    sy__piece rest;
    if (!m->n || (!r->special && !m->ordinary)) return run_step(r, next, p, err);
    for (const sy__pattern *f; (f = sy__matcher_next(m, s, n, look, &at)) != NULL; ) {
        const sy__added *a = f->added;
        size_t end = look = at + f->n;
        if (a->special && !r->special) continue;
        if (a->single_word && (ends_with_word(s, at) || starts_with_word(s + end, n - end))) continue;
        if (a->lstrip) at = at > done ? without_spaces_at_end(s, done, at) : done;
        if (a->rstrip) end = behind_spaces(s, end, n);
        if (at >= end) {                             /* all of it was taken; where less than nothing is left, the package gives up */
            if (at == end) done = end;
            continue;
        }
        if (at > done) {
            rest = sy__part(p, done, at);
            SY_TRY(run_step(r, next, &rest, err));
        }
        SY_TRY(put_added(r, p, a->id, at, end, err));
        done = end;
    }
    if (done == n) return SY_OK;
    rest = sy__part(p, done, n);
    return run_step(r, next, &rest, err);
}

/* --- steps --- */

struct onward { struct run *r; int step; };

static sy_status go_on(void *arg, const sy__piece *p, sy_err *err)
{
    struct onward *o = arg;
    return run_step(o->r, o->step, p, err);
}

static sy_status cut_up(struct run *r, sy__cut *cut, const sy__piece *p, int next, sy_err *err)
{
    for (size_t i = 0, len; i < p->n; i += len) {
        len = cut(p->s + i, p->n - i);
        sy__piece part = sy__part(p, i, i + len);
        SY_TRY(run_step(r, next, &part, err));
    }
    return SY_OK;
}

static sy_status no_memory(const sy__piece *p, sy_err *err) { return sy_fail(err, SY_ENOMEM, "no memory for a text of %zu bytes", p->n); }

static sy_status byte_step(struct run *r, const sy__step *x, const sy__piece *p, int next, sy_err *err)
{
    sy__flow *f = &r->flow[next - 1];
    sy__piece q = *p;
    if (x->prefix && *p->s != ' ') {
        sy__flow_clear(f);
        sy__flow_put(f, " ", 1, p->at);
        sy__flow_copy(f, p, 0, p->n);
        if (f->s.failed) return no_memory(p, err);
        q = sy__flow_piece(f, p);
    }
    return x->cuts ? cut_up(r, x->cut, &q, next, err) : run_step(r, next, &q, err);
}

/* Spaces become marks, one may come in front, and every mark begins a piece. */
static sy_status metaspace(struct run *r, const sy__step *x, const sy__piece *p, int next, sy_err *err)
{
    sy__flow *f = &r->flow[next - 1];
    size_t mark = strlen(x->mark), done = 0;
    bool front = (x->scheme == SY__ALWAYS || (x->scheme == SY__FIRST && !p->begin)) && *p->s != ' ' && (p->n < mark || memcmp(p->s, x->mark, mark));
    sy__flow_clear(f);
    if (front) sy__flow_put(f, x->mark, mark, p->at);
    for (size_t i = 0; i < p->n; i++) {
        if (p->s[i] != ' ') continue;
        sy__flow_copy(f, p, done, i);
        sy__flow_put(f, x->mark, mark, p->at ? &p->at[i] : NULL);
        done = i + 1;
    }
    sy__flow_copy(f, p, done, p->n);
    if (f->s.failed) return no_memory(p, err);
    sy__piece q = sy__flow_piece(f, p);
    if (!x->cuts) return run_step(r, next, &q, err);
    for (size_t i = 0, end; i < q.n; i = end) {
        const char *hit = q.n - i > mark ? memmem(q.s + i + 1, q.n - i - 1, x->mark, mark) : NULL;
        end = hit ? (size_t)(hit - q.s) : q.n;
        sy__piece part = sy__part(&q, i, end);
        SY_TRY(run_step(r, next, &part, err));
    }
    return SY_OK;
}

static sy_status chunks(struct run *r, const sy__step *x, const sy__piece *p, int next, sy_err *err)
{
    for (size_t i = 0, end; i < p->n; i = end) {
        size_t k = 0;
        end = i;
        for (uint32_t cp; end < p->n && k < x->length; k++) {
            int len = sy_utf8_next(p->s + end, p->n - end, &cp);
            end += (size_t)(len < 0 ? -len : len);
        }
        sy__piece part = sy__part(p, i, end);
        SY_TRY(run_step(r, next, &part, err));
    }
    return SY_OK;
}

static sy_status run_step(struct run *r, int step, const sy__piece *p, sy_err *err)
{
    if (!p->n) return SY_OK;
    if (step == r->t->steps) return one_piece(r, p, err);
    const sy__step *x = &r->t->step[step];
    switch (x->kind) {
    case SY__STEP_NORMAL: {
        bool changed;
        SY_TRY(sy__normal_apply(&x->normal, &r->find[step], p, &r->flow[step], &changed, err));
        sy__piece q = changed ? sy__flow_piece(&r->flow[step], p) : *p;
        return run_step(r, step + 1, &q, err);
    }
    case SY__STEP_TOKENS: return by_tokens(r, &r->t->normalized, p, step + 1, err);
    case SY__STEP_SPLIT:  return sy__split(x->find, &r->find[step], x->behavior, x->inverted, p, go_on, &(struct onward){ r, step + 1 }, err);
    case SY__STEP_CUT:    return cut_up(r, x->cut, p, step + 1, err);
    case SY__STEP_BYTES:  return byte_step(r, x, p, step + 1, err);
    case SY__STEP_METASPACE: return metaspace(r, x, p, step + 1, err);
    case SY__STEP_CHUNKS: return chunks(r, x, p, step + 1, err);
    }
    return SY_OK;
}

/* --- before and behind --- */

static bool is_utf8(const char *s, size_t n)
{
    uint32_t cp;
    for (size_t i = 0; i < n; ) {
        if ((unsigned char)s[i] < 128) { i++; continue; }
        int len = sy_utf8_next(s + i, n - i, &cp);
        if (len < 0) return false;
        i += (size_t)len;
    }
    return true;
}

/* The text with U+FFFD for what is not UTF-8, and the origin of its bytes: in `f`, where it is needed. */
static sy_status lay_out(const sy_tokenizer *t, const char *text, size_t n, bool replace, bool origins, sy__flow *f, sy__piece *p, sy_err *err)
{
    uint32_t count = 0;
    *p = (sy__piece){ .s = text, .n = n };
    if (origins && n > UINT32_MAX / 2) return sy_fail(err, SY_EUNSUP, "offsets in a text of %zu bytes; %u is the most", n, UINT32_MAX / 2);
    replace = (replace || !t->lossless) && !is_utf8(text, n);
    if (!replace && !origins) return SY_OK;
    for (size_t i = 0, len; i < n; i += len, count++) {
        uint32_t cp;
        char utf8[4];
        int k = sy_utf8_next(text + i, n - i, &cp);
        len = (size_t)(k < 0 ? -k : k);
        bool broken = k < 0 && replace;
        sy__flow_put(f, broken ? utf8 : text + i, broken ? (size_t)sy_utf8_put(cp, utf8) : len, origins ? &(sy__at){ count, count + 1 } : NULL);
    }
    *p = (sy__piece){ f->s.data ? f->s.data : "", f->s.n, origins ? f->at : NULL, 0 };
    return f->s.failed ? no_memory(p, err) : SY_OK;
}

/* Takes the blanks at both ends out of the offsets, as the package's ByteLevel does: a blank is a character of the token's text, wherever in the
 * text it came from. */
static void trim(const struct run *r, const sy__post *post)
{
    size_t next = 0;
    for (size_t i = 0; i < r->ids.n; i++) {
        sy__at *x = &r->ids.span[i];
        uint32_t before, behind;
        if (next < r->fringes && r->fringe[next].token == i) before = r->fringe[next].before, behind = r->fringe[next].behind, next++;
        else {
            size_t n;
            const char *s = sy__tokenizer_text(r->t, r->ids.id[i], &n);
            blanks_of(s, n, r->t->byte_level && !r->t->mark[r->ids.id[i]], &before, &behind);
        }
        if (before && (!i || !x->begin) && post->prefix && before == 1) before = 0;
        if (before) x->begin = x->begin + before < x->end ? x->begin + before : x->end;
        if (behind && x->end >= behind) x->end = x->end - behind > x->begin ? x->end - behind : x->begin;
    }
}

static sy_status frame(struct run *r, const sy__post *post, sy_err *err)
{
    size_t before = (size_t)post->before, behind = (size_t)post->after, n = r->ids.n;
    SY_TRY(sy__ids_need(&r->ids, before + behind, err));
    sy__ids *k = &r->ids;
    memmove(k->id + before, k->id, n * sizeof *k->id);
    if (before) memcpy(k->id, post->id, before * sizeof *k->id);
    if (behind) memcpy(k->id + before + n, post->id + before, behind * sizeof *k->id);
    k->n = before + n + behind;
    if (!k->spans) return SY_OK;
    memmove(k->span + before, k->span, n * sizeof *k->span);
    for (size_t i = 0; i < k->n; i++) if (i < before || i >= before + n) k->span[i] = (sy__at){ 0, 0 };
    for (size_t i = 0; i < r->fringes; i++) r->fringe[i].token += before;
    return SY_OK;
}

static sy_status encode(const sy_tokenizer *t, const char *text, size_t n, int flags, sy__ids *ids, sy_err *err)
{
    bool special = flags & SY_TOKENS_SPECIAL;
    if (t->plain && (!special || !(t->raw.n + t->normalized.n)) && !(flags & (SY_TOKENS_SPANS | SY_TOKENS_FRAMED | SY_TOKENS_AS_PACKAGE))) {
        SY_TRY(sy__ids_need(ids, n, err));
        for (size_t i = 0; i < n; i++) ids->id[ids->n++] = t->bpe.byte_id[(unsigned char)text[i]];
        return SY_OK;
    }
    struct run r = { .t = t, .special = special, .ids = *ids };
    sy__flow f = { 0 };
    sy__piece p;
    r.ids.spans = flags & SY_TOKENS_SPANS;
    r.ids.lenient = flags & SY_TOKENS_AS_PACKAGE;
    sy_status st = lay_out(t, text, n, flags & SY_TOKENS_AS_PACKAGE, t->origins || r.ids.spans, &f, &p, err);
    if (st == SY_OK && n) st = by_tokens(&r, &t->raw, &p, 0, err);
    for (int i = 0; i < t->posts && st == SY_OK; i++) {
        if (t->post[i].kind == SY__POST_TRIM && r.ids.spans) trim(&r, &t->post[i]);
        if (t->post[i].kind == SY__POST_TEMPLATE && flags & SY_TOKENS_FRAMED) st = frame(&r, &t->post[i], err);
    }
    for (int i = 0; i < t->steps; i++) {
        sy__flow_free(&r.flow[i]);
        sy__find_free(r.find[i]);
    }
    sy__flow_free(&f);
    sy__work_free(&r.work);
    sy_free(r.fringe);
    *ids = r.ids;
    return st;
}

static sy_status encode_into(const sy_tokenizer *t, const char *text, size_t n, int flags, int32_t *id, size_t *ids, sy_err *err)
{
    sy__ids k = { .id = id, .room = sy_tokenizer_most(t, n) };
    sy_status st = encode(t, text, n, flags, &k, err);
    *ids = k.n;
    return st;
}

sy_status sy_tokenizer_encode(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err)
{
    return encode_into(t, text, n, 0, id, ids, err);
}

sy_status sy_tokenizer_encode_special(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err)
{
    return encode_into(t, text, n, SY_TOKENS_SPECIAL, id, ids, err);
}

sy_status sy_tokenizer_tokens(const sy_tokenizer *t, const char *text, size_t n, int flags, sy_tokens *out, sy_err *err)
{
    _Static_assert(sizeof(sy_span) == sizeof(sy__at), "a span is what the pipeline carries");
    bool spans = flags & SY_TOKENS_SPANS;
    sy__ids k = { .id = out->id, .span = (sy__at *)out->span, .room = spans && !out->span ? 0 : out->room, .grows = true };
    sy_status st = encode(t, text, n, flags, &k, err);
    *out = (sy_tokens){ .id = k.id, .span = (sy_span *)k.span, .n = st == SY_OK ? k.n : 0, .room = k.room, .dropped = k.dropped };
    return st;
}

void sy_tokens_free(sy_tokens *k)
{
    sy_free(k->id);
    sy_free(k->span);
    *k = (sy_tokens){ 0 };
}

sy_status sy__normalise(const sy_tokenizer *t, const char *s, size_t n, sy_buf *out, sy_err *err)
{
    sy__flow f[2] = { 0 };
    sy__piece p = { .s = s, .n = n };
    sy_status st = SY_OK;
    for (int i = 0, k = 0; i < t->steps && st == SY_OK && t->step[i].kind == SY__STEP_NORMAL; i++) {
        bool changed;
        void *find = NULL;
        st = sy__normal_apply(&t->step[i].normal, &find, &p, &f[k], &changed, err);
        sy__find_free(find);
        if (st == SY_OK && changed) p = sy__flow_piece(&f[k], &p), k = !k;
    }
    if (st == SY_OK) sy_buf_put(out, p.s, p.n);
    sy__flow_free(&f[0]);
    sy__flow_free(&f[1]);
    return st;
}

size_t sy_tokenizer_most(const sy_tokenizer *t, size_t bytes)
{
    return t->lossless ? times(bytes, t->growth) : times(bytes, times(t->growth, 3));     /* a byte that is not UTF-8 becomes a character of three */
}

/* --- what is asked of a tokenizer ------------------------------------------------------------------------------------------ */

int         sy_tokenizer_vocab(const sy_tokenizer *t) { return t->vocab; }
int         sy_tokenizer_eot(const sy_tokenizer *t) { return t->eot; }
const char *sy_tokenizer_id(const sy_tokenizer *t) { return t->id; }
const char *sy_tokenizer_notes(const sy_tokenizer *t) { return t->notes; }

const char *sy_tokenizer_kind(const sy_tokenizer *t)
{
    static const char *const name[] = { "byte-level BPE", "BPE", "Unigram", "WordPiece", "WordLevel" };
    return t->plain ? "bytes" : name[t->words.kind];
}

const int32_t *sy_tokenizer_before(const sy_tokenizer *t, size_t *n)
{
    *n = 0;
    for (int i = t->posts; i-- > 0; )
        if (t->post[i].kind == SY__POST_TEMPLATE) { *n = (size_t)t->post[i].before; return t->post[i].id; }
    return NULL;
}

size_t sy_tokenizer_front(const sy_tokenizer *t)
{
    size_t n;
    sy_tokenizer_before(t, &n);
    return n + 1;
}

sy_status sy_tokenizer_prompt(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err)
{
    size_t before, own;
    const int32_t *first = sy_tokenizer_before(t, &before);
    if (before) memcpy(id, first, before * sizeof *id);
    SY_TRY(sy_tokenizer_encode(t, text, n, id + before, &own, err));
    *ids = before + own;
    if (!*ids && t->eot >= 0) id[(*ids)++] = t->eot;
    return SY_OK;
}

sy_status sy_tokenizer_fits(const sy_tokenizer *t, int rows, const char *file, sy_err *err)
{
    int last = t->vocab - 1;
    while (last >= 0 && t->mark[last] & SY__SPECIAL && last >= t->own) last--;
    if (t->eot > last) last = t->eot;
    for (int i = 0; i < t->posts; i++)
        for (int k = 0; k < t->post[i].before + t->post[i].after; k++) if (t->post[i].id[k] > last) last = t->post[i].id[k];
    return last < rows ? SY_OK : sy_fail(err, SY_ESHAPE, "%s: the tokenizer has %d ids, the model %d", file, last + 1, rows);
}

const char *sy_tokenizer_text(const sy_tokenizer *t, int id, size_t *n)
{
    return id >= 0 && id < t->vocab ? sy__tokenizer_text(t, id, n) : NULL;
}

const char *sy_tokenizer_piece(const sy_tokenizer *t, int id, size_t *n)
{
    *n = 0;
    if (id < 0 || id >= t->vocab || t->mark[id] & SY__HIDDEN) return "";
    if (!t->shown_at) return sy__spelling(t, id, n);
    *n = t->shown_at[id + 1] - t->shown_at[id] - 1;
    return t->shown.data + t->shown_at[id];
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
    int id = n && t->byte_level ? sy__texts_find(&t->texts, bytes, n, sy__hash(bytes, n)) : -1;
    if (id >= 0 && t->mark[id] & SY__SPECIAL) id = -1;
    for (int i = 0; id < 0 && n && i < (t->byte_level ? t->n_added : t->vocab); i++) {
        size_t len;
        int at = t->byte_level ? t->added[i].id : i;
        const char *text = sy_tokenizer_piece(t, at, &len);
        if (len == n && !memcmp(text, bytes, n)) id = at;
    }
    return id;
}
