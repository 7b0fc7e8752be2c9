/* model/tokenizer_decode.c - ids to text.
 *
 * A decoder turns a list of texts, one a token, into another list; the last list is joined. Byte-level BPE needs none of that: its texts are the
 * bytes. For one id after the other the whole is decoded with and without it, over the few ids that can still matter, and the
 * difference is what the id adds. */
#include <string.h>

#include "core/alloc.h"
#include "core/utf8.h"
#include "model/tokenizer_parts.h"

static const char REPLACEMENT[] = "\xEF\xBF\xBD";

void sy__decode_close(sy__decode *d)
{
    sy_free(d->text);
    sy_free(d->more);
    sy__finder_close(d->find);
}

/* --- lists of texts ---------------------------------------------------------------------------------------------------------- */

typedef struct list { sy_buf text; size_t *end, n, room; bool failed; } list;

/* Working memory, kept from one id to the next. */
typedef struct sy__decoding { list list[2]; sy_buf word, cleaned[2]; void *room; } decoding;

/* What was put behind the last text becomes one. */
static void end_text(list *l)
{
    if (l->n == l->room) {
        size_t room = 2 * l->room + 64, *end = sy_realloc(l->end, room * sizeof *end);
        if (!end) { l->failed = true; return; }
        l->end = end;
        l->room = room;
    }
    l->end[l->n++] = l->text.n;
}

static const char *text_of(const list *l, size_t i, size_t *n)
{
    size_t from = i ? l->end[i - 1] : 0;
    *n = l->end[i] - from;
    return l->text.data ? l->text.data + from : "";
}

/* --- decoders -------------------------------------------------------------------------------------------------------------------- */

static size_t char_len(const char *s, size_t n)
{
    uint32_t cp;
    int k = sy_utf8_next(s, n, &cp);
    return (size_t)(k < 0 ? -k : k);
}

static const char *bytes_of(const sy_buf *b) { return b->data ? b->data : ""; }

static void put_replaced(sy_buf *b, const char *s, size_t n, const char *from, const char *to)
{
    size_t len = strlen(from), done = 0;
    for (const char *hit; len && done < n && (hit = memmem(s + done, n - done, from, len)) != NULL; done = (size_t)(hit - s) + len) {
        sy_buf_put(b, s + done, (size_t)(hit - s) - done);
        sy_buf_text(b, to);
    }
    sy_buf_put(b, s + done, n - done);
}

/* English punctuation and contractions without the space before them; one rule after the other. What transformers does to a whole text leaves the rule of two
 * words out. The result is valid until the next call. */
static const sy_buf *cleaned(decoding *w, const char *s, size_t n, bool whole)
{
    static const char *const rule[][2] = { { " .", "." }, { " ?", "?" }, { " !", "!" }, { " ,", "," }, { " ' ", "'" }, { " n't", "n't" }, { " 'm", "'m" }, { " do not", " don't" },
                                           { " 's", "'s" }, { " 've", "'ve" }, { " 're", "'re" } };
    enum { TWO_WORDS = 7 };
    sy_buf *from = &w->cleaned[0], *to = &w->cleaned[1];
    sy_buf_clear(from);
    sy_buf_put(from, s, n);
    for (size_t i = 0; i < SY_COUNT(rule); i++) {
        if (whole && i == TWO_WORDS) continue;
        sy_buf_clear(to);
        put_replaced(to, bytes_of(from), from->n, rule[i][0], rule[i][1]);
        w->list[0].failed |= from->failed | to->failed;
        sy_buf *was = from;
        from = to;
        to = was;
    }
    return from;
}

/* Letters back to bytes; a text that holds anything else stays as it is. */
static void put_bytes(sy_buf *b, const char *s, size_t n)
{
    size_t before = b->n;
    for (size_t i = 0; i < n; ) {
        uint32_t cp;
        int len = sy_utf8_next(s + i, n - i, &cp), byte = len > 0 ? sy__letter_byte(cp) : -1;
        if (byte < 0) {
            b->n = before;
            sy_buf_put(b, s, n);
            return;
        }
        sy_buf_put(b, &(char){ (char)byte }, 1);
        i += (size_t)len;
    }
}

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; }

static int byte_of(const char *s, size_t n)          /* of "<0x1F>"; -1: it is something else */
{
    if (n != 6 || memcmp(s, "<0x", 3) || s[5] != '>' || hex_digit(s[3]) < 0 || hex_digit(s[4]) < 0) return -1;
    return hex_digit(s[3]) << 4 | hex_digit(s[4]);
}

/* A run of byte tokens is its characters, or as many U+FFFD as bytes. */
static void end_bytes(list *out, const sy_buf *run)
{
    bool fine = true;
    for (size_t i = 0; fine && i < run->n; ) {
        uint32_t cp;
        int len = sy_utf8_next(run->data + i, run->n - i, &cp);
        fine = len > 0;
        i += (size_t)(len < 0 ? -len : len);
    }
    if (fine && run->n) sy_buf_put(&out->text, run->data, run->n), end_text(out);
    for (size_t i = 0; !fine && i < run->n; i++) sy_buf_text(&out->text, REPLACEMENT), end_text(out);
}

static void byte_fallback(decoding *w, const list *in, list *out)
{
    sy_buf *run = &w->word;
    sy_buf_clear(run);
    for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *s = text_of(in, i, &n);
        int byte = byte_of(s, n);
        if (byte >= 0) { sy_buf_put(run, &(char){ (char)byte }, 1); continue; }
        end_bytes(out, run);
        out->failed |= run->failed;
        sy_buf_clear(run);
        sy_buf_put(&out->text, s, n);
        end_text(out);
    }
    end_bytes(out, run);
    out->failed |= run->failed;
}

static void strip(const sy__decode *d, const char *s, size_t n, sy_buf *b)
{
    size_t mark = strlen(d->text), from = 0, to = n;
    for (size_t k = 0; k < d->start && n - from >= mark && !memcmp(s + from, d->text, mark); k++) from += mark;
    for (size_t k = 0; k < d->stop && to - from >= mark && !memcmp(s + to - mark, d->text, mark); k++) to -= mark;
    sy_buf_put(b, s + from, to - from);
}

static sy_status replaced(const sy__decode *d, const char *s, size_t n, void **room, sy_buf *b, sy_err *err)
{
    size_t done = 0, at = 0, end = 0;
    for (bool found; done < n; done = end) {
        SY_TRY(sy__find(d->find, room, s, n, done, &at, &end, &found, err));
        if (!found || end == at) break;
        sy_buf_put(b, s + done, at - done);
        sy_buf_text(b, d->more);
    }
    sy_buf_put(b, s + done, n - done);
    return SY_OK;
}

static void put_metaspace(const sy__decode *d, const char *s, size_t n, bool first, sy_buf *b)
{
    size_t mark = strlen(d->text);
    for (size_t i = 0, len; i < n; i += len) {
        len = char_len(s + i, n - i);
        if (len != mark || memcmp(s + i, d->text, mark)) sy_buf_put(b, s + i, len);
        else if (!first || d->flag) sy_buf_put(b, " ", 1);
    }
}

static void put_wordpiece(decoding *w, const sy__decode *d, const char *s, size_t n, bool first, list *out)
{
    size_t prefix = strlen(d->text);
    const sy_buf *word = &w->word;
    sy_buf_clear(&w->word);
    if (!first && n >= prefix && !memcmp(s, d->text, prefix)) s += prefix, n -= prefix;
    else if (!first) sy_buf_put(&w->word, " ", 1);
    sy_buf_put(&w->word, s, n);
    if (d->flag) word = cleaned(w, bytes_of(word), word->n, false);
    sy_buf_put(&out->text, bytes_of(word), word->n);
    out->failed |= w->word.failed;
}

/* The pad token goes out of every text, with cleanup a delimiter becomes a space; a text like the one before is left out, so is an empty one. */
static void put_ctc(decoding *w, const sy__decode *d, const list *in, size_t i, list *out)
{
    size_t n, m, before = out->text.n;
    const char *s = text_of(in, i, &n), *t = i ? text_of(in, i - 1, &m) : NULL;
    if (t && m == n && !memcmp(s, t, n)) return;
    const sy_buf *word = &w->word;
    sy_buf_clear(&w->word);
    put_replaced(&w->word, s, n, d->text, "");
    if (d->flag) word = cleaned(w, bytes_of(word), word->n, false);
    put_replaced(&out->text, bytes_of(word), word->n, d->flag ? d->more : "", " ");
    out->failed |= w->word.failed;
    if (out->text.n > before) end_text(out);
}

static sy_status decode_step(decoding *w, const sy__decode *d, const list *in, list *out, sy_err *err)
{
    if (d->kind == SY__DECODE_BYTE_FALLBACK) byte_fallback(w, in, out);
    else for (size_t i = 0; i < in->n; i++) {
        size_t n;
        const char *s = text_of(in, i, &n);
        switch (d->kind) {
        case SY__DECODE_BYTES:     put_bytes(&out->text, s, n); continue;
        case SY__DECODE_FUSE:      sy_buf_put(&out->text, s, n); continue;
        case SY__DECODE_CTC:       put_ctc(w, d, in, i, out); continue;
        case SY__DECODE_METASPACE: put_metaspace(d, s, n, !i, &out->text); break;
        case SY__DECODE_WORDPIECE: put_wordpiece(w, d, s, n, !i, out); break;
        case SY__DECODE_REPLACE:   SY_TRY(replaced(d, s, n, &w->room, &out->text, err)); break;
        case SY__DECODE_STRIP:     strip(d, s, n, &out->text); break;
        case SY__DECODE_SUFFIX:    put_replaced(&out->text, s, n, d->text, i + 1 < in->n ? " " : ""); break;
        case SY__DECODE_BYTE_FALLBACK: break;
        }
        end_text(out);
    }
    if (d->kind == SY__DECODE_BYTES || d->kind == SY__DECODE_FUSE) end_text(out);
    return SY_OK;
}

const char *sy__spelling(const sy_tokenizer *t, int id, size_t *n)
{
    for (int i = 0; t->mark[id] & SY__RESPELLED && i < t->normalized.all; i++)
        if (t->normalized.pattern[i].added->id == id) { *n = t->normalized.pattern[i].n; return t->normalized.pattern[i].text; }
    return sy__tokenizer_text(t, id, n);
}

static void empty(list *l)
{
    l->failed |= l->text.failed;                     /* which clearing forgets */
    sy_buf_clear(&l->text);
    l->n = 0;
}

static sy_status run_decoders(decoding *w, const sy_tokenizer *t, const int32_t *id, size_t n, bool special, sy_buf *out, sy_err *err)
{
    list *l = w->list;
    int at = 0;
    for (int i = 0; i < 2; i++) {
        empty(&l[i]);
        l[i].failed = false;
    }
    for (size_t i = 0; i < n; i++) {
        if (id[i] < 0 || id[i] >= t->vocab || (!special && t->mark[id[i]] & SY__HIDDEN)) continue;
        size_t len;
        const char *s = sy__spelling(t, id[i], &len);
        if (t->joined_by_spaces && l[0].n) sy_buf_put(&l[0].text, " ", 1);
        sy_buf_put(&l[0].text, s, len);
        end_text(&l[0]);
    }
    for (int i = 0; i < t->decodes && l[at].n; i++, at = !at) {
        empty(&l[!at]);
        SY_TRY(decode_step(w, &t->decode[i], &l[at], &l[!at], err));
    }
    if (l[at].n) sy_buf_put(out, bytes_of(&l[at].text), l[at].text.n);
    bool failed = l[0].failed || l[1].failed || l[0].text.failed || l[1].text.failed || out->failed;
    return failed ? sy_fail(err, SY_ENOMEM, "no memory to decode %zu tokens", n) : SY_OK;
}

static void free_decoding(decoding *w)
{
    for (int i = 0; i < 2; i++) {
        sy_buf_free(&w->list[i].text);
        sy_free(w->list[i].end);
        sy_buf_free(&w->cleaned[i]);
    }
    sy_buf_free(&w->word);
    sy__find_free(w->room);
}

static sy_status decode_raw(const sy_tokenizer *t, const int32_t *id, size_t n, bool special, sy_buf *out, sy_err *err)
{
    if (t->shown_at) {
        decoding w = { 0 };
        sy_status st = run_decoders(&w, t, id, n, special, out, err);
        free_decoding(&w);
        return st;
    }
    for (size_t i = 0; i < n; i++) {
        size_t len;
        if (id[i] < 0 || id[i] >= t->vocab || (!special && t->mark[id[i]] & SY__HIDDEN)) continue;
        const char *s = sy__spelling(t, id[i], &len);
        sy_buf_put(out, s, len);
    }
    return out->failed ? sy_fail(err, SY_ENOMEM, "no memory to decode %zu tokens", n) : SY_OK;
}

static sy_status put_cleaned(decoding *w, const char *s, size_t n, sy_buf *out, sy_err *err)
{
    w->list[0].failed = false;
    const sy_buf *b = cleaned(w, s, n, true);
    sy_buf_put(out, bytes_of(b), b->n);
    return w->list[0].failed || out->failed ? sy_fail(err, SY_ENOMEM, "no memory to decode a text of %zu bytes", n) : SY_OK;
}

static sy_status decode(const sy_tokenizer *t, const int32_t *id, size_t n, bool special, sy_buf *out, sy_err *err)
{
    if (!t->cleans) return decode_raw(t, id, n, special, out, err);
    decoding w = { 0 };
    sy_buf raw = { 0 };
    sy_status st = decode_raw(t, id, n, special, &raw, err);
    if (st == SY_OK) st = put_cleaned(&w, bytes_of(&raw), raw.n, out, err);
    sy_buf_free(&raw);
    free_decoding(&w);
    return st;
}

sy_status sy_tokenizer_decode(const sy_tokenizer *t, const int32_t *id, size_t n, sy_buf *out, sy_err *err) { return decode(t, id, n, false, out, err); }
sy_status sy_tokenizer_decode_special(const sy_tokenizer *t, const int32_t *id, size_t n, sy_buf *out, sy_err *err) { return decode(t, id, n, true, out, err); }

/* --- what an id adds in the middle of a text ------------------------------------------------------------------------------------------- */

/* An id that shows something of its own and is no byte: what comes behind it is not first. */
static int find_probe(const sy_tokenizer *t)
{
    for (int id = 0; id < t->model; id++) {
        size_t n;
        const char *s = sy__tokenizer_text(t, id, &n);
        if (!t->mark[id] && n && n < 16 && ((s[0] | 32) >= 'a' && (s[0] | 32) <= 'z') && ((s[n - 1] | 32) >= 'a' && (s[n - 1] | 32) <= 'z')) return id;
    }
    return -1;
}

sy_status sy__find_shown(sy_tokenizer *t, sy_err *err)
{
    if (t->byte_level) return SY_OK;
    sy_buf alone = { 0 }, both = { 0 };
    decoding w = { 0 };
    int probe = find_probe(t);
    bool bytes = false;
    sy_status st = SY_OK;
    for (int i = 0; i < t->decodes; i++) bytes |= t->decode[i].kind == SY__DECODE_BYTE_FALLBACK;
    t->shown_at = sy_calloc((size_t)t->vocab + 1, sizeof *t->shown_at);
    if (!t->shown_at) return sy_fail(err, SY_ENOMEM, "no memory for the texts of %d ids", t->vocab);
    if (probe >= 0) st = run_decoders(&w, t, (int32_t[]){ probe }, 1, false, &alone, err);
    for (int id = 0; st == SY_OK && id < t->vocab; id++) {
        size_t n;
        const char *s = sy__tokenizer_text(t, id, &n);
        int byte = bytes ? byte_of(s, n) : -1;
        sy_buf_clear(&both);
        if (byte >= 0) sy_buf_put(&both, &(char){ (char)byte }, 1);
        else {
            st = run_decoders(&w, t, (int32_t[]){ probe, id }, 2, false, &both, err);         /* a probe of -1 is left out */
            size_t k = both.n >= alone.n && (!alone.n || !memcmp(both.data, alone.data, alone.n)) ? alone.n : 0;
            if (k) memmove(both.data, both.data + k, both.n - k), both.n -= k;
        }
        if (both.failed) break;
        sy_buf_put(&t->shown, both.data ? both.data : "", both.n);
        sy_buf_put(&t->shown, "", 1);
        t->shown_at[id + 1] = t->shown.n;
    }
    if (st == SY_OK && (t->shown.failed || both.failed || alone.failed)) st = sy_fail(err, SY_ENOMEM, "no memory for the texts of %d ids", t->vocab);
    free_decoding(&w);
    sy_buf_free(&alone);
    sy_buf_free(&both);
    return st;
}

/* --- one id after the other --------------------------------------------------------------------------------------------------------------- */

enum { CONTEXT = 60, HELD_BACK = 16 };               /* ids that are remembered of what came before; that may be bytes of one character */

sy_status sy_decoder_open(sy_decoder *d, const sy_tokenizer *t, const int32_t *context, size_t n, sy_err *err)
{
    *d = (sy_decoder){ .tok = t };
    if (!t->shown_at && !t->cleans) return SY_OK;
    d->work = sy_calloc(1, sizeof *d->work);
    if (!d->work) return sy_fail(err, SY_ENOMEM, "no memory to decode");
    if (!t->shown_at) return SY_OK;
    d->room = 64;
    d->id = sy_malloc(d->room * sizeof *d->id);
    if (!d->id || !sy_buf_reserve(&d->before, 512) || !sy_buf_reserve(&d->now, 512)) return sy_fail(err, SY_ENOMEM, "no memory to decode");
    size_t take = 0, len;
    while (take < n && take < CONTEXT) {             /* back to a token that is more than a byte */
        int32_t id = context[n - ++take];
        const char *s = sy_tokenizer_text(t, id, &len);
        if (s && byte_of(s, len) < 0 && !(t->mark[id] & SY__SPECIAL)) break;
    }
    if (take) memcpy(d->id, context + n - take, take * sizeof *d->id);
    d->n = d->shown = take;
    return run_decoders(d->work, t, d->id, d->n, false, &d->before, err);
}

/* What the ids add to what was shown. */
static bool addition(const sy_decoder *d, const char **s, size_t *n)
{
    size_t k = d->before.n;
    if (d->now.n <= k || (k && memcmp(d->now.data, d->before.data, k))) return false;
    *s = d->now.data + k;
    *n = d->now.n - k;
    return true;
}

static bool unfinished(const char *s, size_t n)
{
    return sy_utf8_tail(s, n) || (n >= 3 && !memcmp(s + n - 3, REPLACEMENT, 3));
}

static sy_status tell(sy_decoder *d, const char *s, size_t n, sy_buf *out, sy_err *err)
{
    sy_buf_put(out, s, n);
    d->n -= d->shown;                                /* what was told before this cannot matter any more; it ends with a whole character */
    memmove(d->id, d->id + d->shown, d->n * sizeof *d->id);
    d->shown = d->n;
    sy_buf_clear(&d->before);
    return run_decoders(d->work, d->tok, d->id, d->n, false, &d->before, err);
}

static sy_status feed_raw(sy_decoder *d, int32_t id, sy_buf *out, sy_err *err)
{
    const char *s;
    size_t n;
    if (!d->tok->shown_at) return decode_raw(d->tok, &id, 1, false, out, err);
    if (d->n == d->room) {
        int32_t *more = sy_realloc(d->id, 2 * d->room * sizeof *more);
        if (!more) return sy_fail(err, SY_ENOMEM, "no memory to decode");
        d->id = more;
        d->room *= 2;
    }
    d->id[d->n++] = id;
    sy_buf_clear(&d->now);
    SY_TRY(run_decoders(d->work, d->tok, d->id, d->n, false, &d->now, err));
    if (!addition(d, &s, &n) || (unfinished(s, n) && d->n - d->shown < HELD_BACK)) return SY_OK;
    return tell(d, s, n, out, err);
}

static sy_status end_raw(sy_decoder *d, sy_buf *out, sy_err *err)
{
    const char *s;
    size_t n;
    if (!d->tok->shown_at || d->n == d->shown || !addition(d, &s, &n)) return SY_OK;
    return tell(d, s, n, out, err);
}

/* Bytes at the front that what follows cannot change: each rule begins with a space, and even where one rule feeds another at most 7 bytes are taken. */
static size_t settled(const char *s, size_t n)
{
    size_t at = n > 6 ? n - 6 : 0;
    while (at < n && s[at] != ' ') at++;
    while (at < n && at) {                           /* a rule may reach over a space inside of it */
        if (s[at - 1] == ' ') at--;
        else if (at > 1 && s[at - 2] == ' ' && (s[at - 1] == '\'' || s[at - 1] == 'n')) at -= 2;
        else break;
    }
    return at;
}

static sy_status tell_cleaned(sy_decoder *d, size_t n, sy_buf *out, sy_err *err)
{
    if (d->raw.failed) return sy_fail(err, SY_ENOMEM, "no memory to decode");
    if (!n) return SY_OK;
    SY_TRY(put_cleaned(d->work, d->raw.data, n, out, err));
    memmove(d->raw.data, d->raw.data + n, d->raw.n - n);
    d->raw.n -= n;
    return SY_OK;
}

sy_status sy_decoder_feed(sy_decoder *d, int32_t id, sy_buf *out, sy_err *err)
{
    if (!d->tok->cleans) return feed_raw(d, id, out, err);
    SY_TRY(feed_raw(d, id, &d->raw, err));
    return tell_cleaned(d, settled(bytes_of(&d->raw), d->raw.n), out, err);
}

sy_status sy_decoder_end(sy_decoder *d, sy_buf *out, sy_err *err)
{
    if (!d->tok->cleans) return end_raw(d, out, err);
    SY_TRY(end_raw(d, &d->raw, err));
    return tell_cleaned(d, d->raw.n, out, err);
}

void sy_decoder_close(sy_decoder *d)
{
    if (d->work) free_decoding(d->work);
    sy_free(d->work);
    sy_free(d->id);
    sy_buf_free(&d->before);
    sy_buf_free(&d->now);
    sy_buf_free(&d->raw);
    *d = (sy_decoder){ 0 };
}
