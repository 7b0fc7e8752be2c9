/* model/normal.c - steps of normalisation.
 *
 * The normal forms: a text falls into groups that begin at an ASCII character, since none of those changes or joins what stands before
 * it. A group is decomposed, its marks are ordered, for C and KC it is composed (UAX #15); every character carries along what became of
 * the old text, so that offsets can be told. */
#include "model/normal.h"

#include <string.h>
#include <utf8proc.h>

#include "core/alloc.h"
#include "core/utf8.h"
#include "model/pretoken.h"
#include "model/tokenizer_parts.h"
#include "model/years.h"

void sy__normal_close(sy__normal *op)
{
    sy__finder_close(op->find);
    sy_free(op->text);
    sy_free(op->map.unit);
    sy_free(op->map.text);
}

static uint32_t char_at(const char *s, size_t n, size_t *len)
{
    uint32_t cp;
    int k = sy_utf8_next(s, n, &cp);
    *len = (size_t)(k < 0 ? -k : k);
    return cp;
}

static bool is_ascii(const sy__piece *p)
{
    unsigned char any = 0;
    for (size_t i = 0; i < p->n; i++) any |= (unsigned char)p->s[i];
    return any < 128;
}

/* Nothing below U+0300 changes or combines in form C: a quick look that may say yes too often. */
static bool nfc_may_change(const sy__piece *p)
{
    unsigned char most = 0;
    for (size_t i = 0; i < p->n; i++) most = (unsigned char)p->s[i] > most ? (unsigned char)p->s[i] : most;
    return most >= 0xCC;                             /* the first byte of U+0300 */
}

/* --- normal forms ----------------------------------------------------------------------------------------------------------- */

typedef struct { uint32_t cp; int change; } letter;
typedef struct { letter *x, *spare; size_t n, room; } letters;
enum { MOST_PARTS = 18 };                            /* U+FDFA has the longest decomposition */

static bool letters_room(letters *l, size_t n)
{
    if (n <= l->room) return true;
    size_t room = l->room + l->room / 2 > n ? l->room + l->room / 2 : n + 64;
    letter *x = sy_malloc(sy_mul_size(room, 2 * sizeof *x));
    if (!x) return false;
    if (l->n) memcpy(x, l->x, l->n * sizeof *x);
    sy_free(l->x);
    l->x = x;
    l->spare = x + room;
    l->room = room;
    return true;
}

/* Stable counting sort of n marks by their combining class. */
static void order(letter *x, letter *spare, size_t n)
{
    size_t at[257] = { 0 };
    bool sorted = true;
    for (size_t i = 1; i < n && sorted; i++) sorted = sy__mark_class(x[i - 1].cp) <= sy__mark_class(x[i].cp);
    if (sorted) return;
    for (size_t i = 0; i < n; i++) at[sy__mark_class(x[i].cp) + 1]++;
    for (int c = 0; c < 256; c++) at[c + 1] += at[c];
    for (size_t i = 0; i < n; i++) spare[at[sy__mark_class(x[i].cp)]++] = x[i];
    memcpy(x, spare, n * sizeof *x);
}

static bool composed(uint32_t a, uint32_t b, uint32_t *out)
{
    utf8proc_int32_t two[2] = { (utf8proc_int32_t)a, (utf8proc_int32_t)b };
    bool vowel_or_end = b >= 0x1161 && b <= 0x11FF;  /* of Hangul, which is composed by rule; others have a place in the tables */
    if (b < 0x300 || (!vowel_or_end && utf8proc_get_property(two[1])->comb_index == UINT16_MAX) || sy__is_young_mark(b) || utf8proc_normalize_utf32(two, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE) != 1) return false;
    *out = (uint32_t)two[0];
    return true;
}

/* Composition: the last starter takes what follows it, unless a mark of the same or a higher class stands between; what it does not take
 * waits behind it (in l->spare). */
static void compose(letters *l, sy__edit *e)
{
    letter starter = { 0 };
    size_t waiting = 0;
    bool have = false;
    int last = -1;
    for (size_t i = 0; i < l->n; i++) {
        letter x = l->x[i];
        int class = sy__mark_class(x.cp);
        uint32_t one;
        if (!have) {
            if (class) sy__edit_put(e, x.cp, x.change);
            else starter = x, have = true;
            continue;
        }
        if (last < class && (last < 0 || class) && composed(starter.cp, x.cp, &one)) {
            starter = (letter){ one, starter.change + x.change - 1 };
            continue;
        }
        if (class) {
            l->spare[waiting++] = x;
            last = class;
            continue;
        }
        sy__edit_put(e, starter.cp, starter.change);
        for (size_t k = 0; k < waiting; k++) sy__edit_put(e, l->spare[k].cp, l->spare[k].change);
        waiting = 0;
        last = -1;
        starter = x;
    }
    if (have) sy__edit_put(e, starter.cp, starter.change);
    for (size_t k = 0; k < waiting; k++) sy__edit_put(e, l->spare[k].cp, l->spare[k].change);
}

static bool group(letters *l, const char *s, size_t n, bool compatible, bool compose_it, sy__edit *e)
{
    l->n = 0;
    for (size_t i = 0, len; i < n; i += len) {
        utf8proc_int32_t part[MOST_PARTS];
        int none = 0;
        uint32_t cp = char_at(s + i, n - i, &len);
        utf8proc_ssize_t k = utf8proc_decompose_char((utf8proc_int32_t)cp, part, MOST_PARTS, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatible ? UTF8PROC_COMPAT : 0), &none);
        if (k < 1 || k > MOST_PARTS) part[0] = (utf8proc_int32_t)cp, k = 1;
        if (!letters_room(l, l->n + (size_t)k)) return false;
        for (utf8proc_ssize_t j = 0; j < k; j++) l->x[l->n++] = (letter){ (uint32_t)part[j], j > 0 };
    }
    for (size_t i = 0, end; i < l->n; i = end + 1) {
        for (end = i; end < l->n && sy__mark_class(l->x[end].cp); end++) continue;
        order(l->x + i, l->spare, end - i);
    }
    if (compose_it) compose(l, e);
    else for (size_t i = 0; i < l->n; i++) sy__edit_put(e, l->x[i].cp, l->x[i].change);
    return true;
}

static sy_status normal_form(const sy__piece *in, bool compatible, bool compose_it, sy__flow *out, sy_err *err)
{
    letters l = { 0 };
    sy__edit e = { .in = in, .out = out };
    bool ok = true;
    for (size_t i = 0; ok && i < in->n; ) {
        size_t begin = i, ascii = i;
        while (i < in->n && (unsigned char)in->s[i] < 128) i++;
        if (i > begin) ascii = i < in->n ? i - 1 : i;            /* the last of them may take marks */
        sy__flow_copy(out, in, begin, ascii);
        e.at = ascii;
        uint32_t cp;
        int len = 0;
        while (i < in->n && (unsigned char)in->s[i] >= 128 && (len = sy_utf8_next(in->s + i, in->n - i, &cp)) > 0) i += (size_t)len;
        if (i > ascii) ok = group(&l, in->s + ascii, i - ascii, compatible, compose_it, &e);
        e.at = i;
        if (len < 0 && i < in->n) {                  /* malformed bytes stay what they are */
            sy__flow_copy(out, in, i, i + (size_t)-len);
            i += (size_t)-len;
        }
    }
    sy_free(l.x);
    return ok ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to normalise a text of %zu bytes", in->n);
}

/* --- characters that go, change or come -------------------------------------------------------------------------------------- */

/* Leaves out what does not stay: each character that stays swallows those behind it that go. */
static void filter(const sy__piece *in, bool (*stays)(uint32_t cp), sy__flow *out)
{
    sy__edit e = { .in = in, .out = out };
    uint32_t kept = 0;
    size_t gone = 0;
    bool any = false;
    for (size_t i = 0, len; i < in->n; i += len) {
        uint32_t cp = char_at(in->s + i, in->n - i, &len);
        if (!stays(cp)) { gone++; continue; }
        if (any) sy__edit_put(&e, kept, -(int)gone);
        else sy__edit_skip(&e, gone);
        any = true;
        kept = cp;
        gone = 0;
    }
    if (any) sy__edit_put(&e, kept, -(int)gone);
}

static bool any_of(const sy__piece *in, bool (*wanted)(uint32_t cp))
{
    for (size_t i = 0, len; i < in->n; i += len) if (wanted(char_at(in->s + i, in->n - i, &len))) return true;
    return false;
}

static void map(const sy__piece *in, uint32_t (*to)(uint32_t cp), sy__flow *out)
{
    sy__edit e = { .in = in, .out = out };
    for (size_t i = 0, len; i < in->n; i += len) sy__edit_put(&e, to(char_at(in->s + i, in->n - i, &len)), 0);
}

static bool no_mark(uint32_t cp) { return !sy__is_mark(cp); }
static bool no_nonspacing(uint32_t cp) { return !sy__is_nonspacing(cp); }

static bool line_blank(uint32_t cp) { return cp == '\t' || cp == '\n' || cp == '\r'; }
static bool clean(uint32_t cp) { return line_blank(cp) || (cp != 0xFFFD && !sy__is_control(cp)); }
static bool unclean(uint32_t cp) { return !clean(cp); }
static uint32_t blank_or_itself(uint32_t cp) { return sy__is_space(cp) ? ' ' : cp; }
static bool odd_blank(uint32_t cp) { return cp != ' ' && sy__is_space(cp); }

static bool nmt_stays(uint32_t cp) { return !((cp >= 1 && cp <= 8) || cp == 0xB || (cp >= 0xE && cp <= 0x1F) || cp == 0x7F || cp == 0x8F || cp == 0x9F); }
static bool nmt_goes(uint32_t cp) { return !nmt_stays(cp); }
static uint32_t nmt_blank(uint32_t cp)
{
    bool blank = line_blank(cp) || cp == 0xC || cp == 0x1680 || (cp >= 0x200B && cp <= 0x200F) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 || cp == 0xFEFF || cp == 0xFFFD;
    return blank ? ' ' : cp;
}
static bool nmt_changes(uint32_t cp) { return nmt_blank(cp) != cp; }

/* As BERT's authors coded it, with their hole between U+2B820 and U+2B91F. */
static bool is_han(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F)
        || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static void space_han(const sy__piece *in, sy__flow *out)
{
    sy__edit e = { .in = in, .out = out };
    for (size_t i = 0, len; i < in->n; i += len) {
        uint32_t cp = char_at(in->s + i, in->n - i, &len);
        bool han = is_han(cp);
        if (han) sy__edit_put(&e, ' ', 0);
        sy__edit_put(&e, cp, han);
        if (han) sy__edit_put(&e, ' ', 1);
    }
}

/* Two steps of one method: what stays, then what it becomes. False: nothing changes. */
static bool filter_and_map(const sy__piece *in, bool (*stays)(uint32_t), bool (*goes)(uint32_t), uint32_t (*to)(uint32_t), bool (*changes)(uint32_t), sy__flow *out, sy_err *err, sy_status *st)
{
    sy__flow between = { 0 };
    sy__piece p = *in;
    bool filtered = any_of(in, goes);
    *st = SY_OK;
    if (filtered) {
        filter(in, stays, &between);
        p = sy__flow_piece(&between, in);
        if (between.s.failed) *st = sy_fail(err, SY_ENOMEM, "no memory to normalise a text of %zu bytes", in->n);
    }
    bool mapped = *st == SY_OK && any_of(&p, changes);
    if (mapped) map(&p, to, out);
    else if (filtered && *st == SY_OK) sy__flow_copy(out, &p, 0, p.n);
    sy__flow_free(&between);
    return filtered || mapped;
}

static bool lowered(const sy__piece *in, sy__flow *out)
{
    sy__edit e = { .in = in, .out = out };
    size_t i = 0;
    while (i < in->n && (unsigned char)in->s[i] < 128 && !(in->s[i] >= 'A' && in->s[i] <= 'Z')) i++;
    if (i == in->n) return false;
    for (size_t k = 0, len; k < in->n; k += len) {
        uint32_t cp = char_at(in->s + k, in->n - k, &len);
        if (cp < 128) sy__edit_put(&e, cp >= 'A' && cp <= 'Z' ? cp | 32 : cp, 0);
        else if (cp == 0x130) sy__edit_put(&e, 'i', 0), sy__edit_put(&e, 0x307, 1);      /* the one letter that becomes two */
        else sy__edit_put(&e, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp), 0);
    }
    return true;
}

static bool stripped(const sy__normal *op, const sy__piece *in, sy__flow *out)
{
    size_t from = 0, to = in->n, len;
    if (op->left) while (from < in->n && sy__is_space(char_at(in->s + from, in->n - from, &len))) from += len;
    while (op->right && to > from) {
        size_t k = to - 1;
        while (k > from && ((unsigned char)in->s[k] & 0xC0) == 0x80) k--;
        if (!sy__is_space(char_at(in->s + k, to - k, &len)) || k + len != to) break;
        to = k;
    }
    if (!from && to == in->n) return false;
    sy__flow_copy(out, in, from, to);
    return true;
}

static void prepend(const sy__normal *op, const sy__piece *in, sy__flow *out)
{
    sy__flow_put(out, op->text, op->n, in->at);      /* shares the origin of the first character */
    sy__flow_copy(out, in, 0, in->n);
}

static sy_status replace(const sy__normal *op, void **room, const sy__piece *in, sy__flow *out, bool *changed, sy_err *err)
{
    size_t done = 0, at = 0, end = 0;
    bool found;
    sy__at start = { in->begin, in->begin };
    for (;;) {
        SY_TRY(sy__find(op->find, room, in->s, in->n, done, &at, &end, &found, err));
        if (!found || end == at) break;              /* patterns that may match nothing are refused when a file is read */
        sy__flow_copy(out, in, done, at);
        sy__flow_put(out, op->text, op->n, in->at ? (end ? &in->at[end - 1] : &start) : NULL);
        done = end;
        *changed = true;
    }
    if (*changed) sy__flow_copy(out, in, done, in->n);
    return SY_OK;
}

static void letters_of_bytes(const sy__piece *in, sy__flow *out)
{
    for (size_t i = 0; i < in->n; i++) {
        char utf8[4];
        int n = sy_utf8_put(sy__byte_letter((unsigned char)in->s[i]), utf8);
        sy__flow_put(out, utf8, (size_t)n, in->at ? &in->at[i] : NULL);
    }
}

/* --- the tables of SentencePiece ------------------------------------------------------------------------------------------------ */

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static sy_status from_base64(const char *s, size_t n, sy_buf *out, sy_err *err)
{
    uint32_t bits = 0;
    int have = 0;
    while (n && s[n - 1] == '=') n--;
    for (size_t i = 0; i < n; i++) {
        int d = base64_digit(s[i]);
        if (d < 0) return sy_fail(err, SY_EFORMAT, "precompiled_charsmap is no base64: byte 0x%02x at %zu", (unsigned char)s[i], i);
        bits = bits << 6 | (uint32_t)d;
        if ((have += 6) >= 8) sy_buf_put(out, &(char){ (char)(bits >> (have -= 8)) }, 1);
    }
    return out->failed ? sy_fail(err, SY_ENOMEM, "no memory for precompiled_charsmap") : SY_OK;
}

sy_status sy__charsmap_open(sy__charsmap *m, const char *base64, size_t n, sy_err *err)
{
    sy_buf b = { 0 };
    uint32_t trie = 0;
    sy_status st = from_base64(base64, n, &b, err);
    if (st == SY_OK && b.n >= 4) memcpy(&trie, b.data, 4);
    if (st == SY_OK && (b.n < 8 || trie % 4 || !trie || trie > b.n - 4))
        st = sy_fail(err, SY_EFORMAT, "precompiled_charsmap has %zu bytes and gives its trie %u; it must be a multiple of 4 inside", b.n, trie);
    if (st == SY_OK) {
        m->units = trie / 4;
        m->n = b.n - 4 - trie;
        m->unit = sy_malloc(trie);
        m->text = sy_malloc(m->n + 1);
        if (!m->unit || !m->text) st = sy_fail(err, SY_ENOMEM, "no memory for precompiled_charsmap");
        else {
            memcpy(m->unit, b.data + 4, trie);
            memcpy(m->text, b.data + 4 + trie, m->n);
            m->text[m->n] = 0;
        }
    }
    sy_buf_free(&b);
    return st;
}

static size_t unit_offset(uint32_t unit) { return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6); }

/* What the shortest key that s begins with becomes; NULL: no key, or a table that leads out of itself. */
static const char *charsmap_find(const sy__charsmap *m, const char *s, size_t n)
{
    size_t node = unit_offset(m->unit[0]);
    for (size_t i = 0; i < n && s[i]; i++) {
        unsigned char c = (unsigned char)s[i];
        node ^= c;
        if (node >= m->units || (m->unit[node] & (1u << 31 | 0xFF)) != c) return NULL;
        uint32_t unit = m->unit[node];
        node ^= unit_offset(unit);
        if (unit >> 8 & 1) {
            size_t value = node < m->units ? m->unit[node] & ~(1u << 31) : SIZE_MAX;
            return value < m->n ? m->text + value : NULL;
        }
    }
    return NULL;
}

static size_t characters(const char *s, size_t n)
{
    size_t count = 0, len;
    for (size_t i = 0; i < n; i += len, count++) char_at(s + i, n - i, &len);
    return count;
}

/* `old` characters become the text: one for one, what is more is new, what is less is swallowed by the last one of the text so far. An edit is
 * therefore held back until the next is known. */
struct mapping { sy__edit e; uint32_t cp; int change; bool held; };

static void mapping_put(struct mapping *m, uint32_t cp, int change)
{
    if (m->held) sy__edit_put(&m->e, m->cp, m->change);
    m->cp = cp;
    m->change = change;
    m->held = true;
}

static void mapping_replace(struct mapping *m, size_t old, const char *text)
{
    size_t n = strlen(text), new = characters(text, n), len, k = 0;
    for (size_t i = 0; i < n; i += len, k++) {
        uint32_t cp = char_at(text + i, n - i, &len);
        mapping_put(m, cp, new > old && k >= old);
    }
    if (new < old && m->held) m->change -= (int)(old - new);
}

static bool precompiled(const sy__normal *op, const sy__piece *in, sy__flow *out)
{
    struct mapping m = { .e = { .in = in, .out = out } };
    bool changed = false;
    for (size_t i = 0, end; i < in->n; i = end) {    /* by graphemes */
        size_t len;
        int32_t state = 0;
        uint32_t cp = char_at(in->s + i, in->n - i, &len);
        end = i + len;
        while (end < in->n) {
            uint32_t next = char_at(in->s + end, in->n - end, &len);
            bool ascii = cp < 128 && next < 128 && !(cp == '\r' && next == '\n');
            if (ascii || utf8proc_grapheme_break_stateful((utf8proc_int32_t)cp, (utf8proc_int32_t)next, &state)) break;
            cp = next;
            end += len;
        }
        const char *text = end - i < 6 ? charsmap_find(&op->map, in->s + i, end - i) : NULL;
        if (text) {
            mapping_replace(&m, characters(in->s + i, end - i), text);
            changed = true;
            continue;
        }
        for (size_t k = i; k < end; k += len) {
            cp = char_at(in->s + k, end - k, &len);
            text = charsmap_find(&op->map, in->s + k, len);
            if (text) mapping_replace(&m, 1, text), changed = true;
            else mapping_put(&m, cp, 0);
        }
    }
    if (m.held) sy__edit_put(&m.e, m.cp, m.change);
    return changed;
}

/* --- one step -------------------------------------------------------------------------------------------------------------------- */

static sy_status apply(const sy__normal *op, void **room, const sy__piece *in, sy__flow *out, bool *changed, sy_err *err)
{
    sy_status st = SY_OK;
    *changed = true;
    switch (op->kind) {
    case SY__NFC:
        *changed = nfc_may_change(in);
        return *changed ? normal_form(in, false, true, out, err) : SY_OK;
    case SY__NFD: case SY__NFKC: case SY__NFKD:
        *changed = !is_ascii(in);
        return *changed ? normal_form(in, op->kind != SY__NFD, op->kind == SY__NFKC, out, err) : SY_OK;
    case SY__LOWERCASE: *changed = lowered(in, out); break;
    case SY__STRIP: *changed = stripped(op, in, out); break;
    case SY__STRIP_ACCENTS: if ((*changed = any_of(in, sy__is_mark))) filter(in, no_mark, out); break;
    case SY__STRIP_NONSPACING: if ((*changed = any_of(in, sy__is_nonspacing))) filter(in, no_nonspacing, out); break;
    case SY__REPLACE: *changed = false; return replace(op, room, in, out, changed, err);
    case SY__PREPEND: if ((*changed = in->n > 0)) prepend(op, in, out); break;
    case SY__NMT: *changed = filter_and_map(in, nmt_stays, nmt_goes, nmt_blank, nmt_changes, out, err, &st); break;
    case SY__CLEAN: *changed = filter_and_map(in, clean, unclean, blank_or_itself, odd_blank, out, err, &st); break;
    case SY__SPACED_HAN: if ((*changed = any_of(in, is_han))) space_han(in, out); break;
    case SY__PRECOMPILED: *changed = precompiled(op, in, out); break;
    case SY__LETTERS: letters_of_bytes(in, out); break;
    }
    return st;
}

sy_status sy__normal_apply(const sy__normal *op, void **room, const sy__piece *in, sy__flow *out, bool *changed, sy_err *err)
{
    sy__flow_clear(out);
    *changed = false;
    if (!in->n) return SY_OK;
    SY_TRY(apply(op, room, in, out, changed, err));
    return out->s.failed ? sy_fail(err, SY_ENOMEM, "no memory to normalise a text of %zu bytes", in->n) : SY_OK;
}

bool sy__normal_keeps_begin(const sy__normal *op)
{
    return op->kind <= SY__LOWERCASE || op->kind == SY__PREPEND || op->kind == SY__SPACED_HAN || op->kind == SY__LETTERS;
}

size_t sy__normal_growth(const sy__normal *op)
{
    switch (op->kind) {
    case SY__NFC: return 3;
    case SY__NFD: return 4;
    case SY__NFKC: case SY__NFKD: return 11;
    case SY__LOWERCASE: case SY__SPACED_HAN: case SY__LETTERS: case SY__CLEAN: case SY__NMT: return 2;
    case SY__PRECOMPILED: {
        size_t most = 1;
        for (size_t i = 0, len; i < op->map.n; i += len + 1) {
            len = strlen(op->map.text + i);          /* the texts lie one behind the other, each with its end */
            if (len > most) most = len;
        }
        return most;
    }
    default: return 1;
    }
}
