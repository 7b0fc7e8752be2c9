/* model/tokenizer_gguf.c - the tokenizer of a GGUF file.
 *
 * It is written down as the tokenizer.json that does the same, and read as any other: what a model was opened with can be saved beside
 * it. Only SentencePiece's merging has no exact spelling there: of all neighbours whose joint text is a token the one of highest score goes first,
 * and equals from the left; merges in a tokenizer.json have an order of their own. So the merges get the order of their scores, and then
 * equal scores equal ranks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"
#include "core/utf8.h"
#include "model/gguf.h"
#include "model/gguf_rules.h"
#include "model/tokenizer_config.h"
#include "model/tokenizer_parts.h"

enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };           /* token types */
enum { MOST_IDS = 1 << 24 };
static const char MARK[] = "\xE2\x96\x81";           /* U+2581, a space in texts of tokens */

typedef struct source {
    const sy_gguf *g;
    sy_arena     *arena;
    const char   *model, *pre;
    int           n;                    /* tokens */
    const char  **text;                 /* [n] not ended by NUL */
    size_t       *len;
    signed char  *type;                 /* [n] */
    double       *score;                /* [n] */
    int64_t       bos, eos, unk, sep, cls;
    bool          add_bos, add_eos, add_sep, prefix, collapse;
    sy_json       j;
    sy_buf        out, piece;
    sy__texts     ids;                  /* by text */
} source;

static const char *text_at(const void *owner, int32_t id, size_t *n)
{
    const source *s = owner;
    *n = s->len[id];
    return s->text[id];
}

/* --- reading --------------------------------------------------------------------------------------------------------------------- */

static sy_status read_texts(source *s, sy_err *err)
{
    const sy_gguf_key *k = sy_gguf_key_find(s->g, "tokenizer.ggml.tokens");
    if (!k || k->type != SY_GGUF_ARRAY || k->elem != SY_GGUF_TEXT) return sy_fail(err, SY_EFORMAT, "tokenizer.ggml.tokens %s an array of texts", k ? "is not" : "is missing; it must be");
    if (!k->n || k->n > MOST_IDS) return sy_fail(err, SY_EUNSUP, "tokenizer.ggml.tokens has %llu texts; 1 to %d are supported", (unsigned long long)k->n, MOST_IDS);
    s->n = (int)k->n;
    s->text = sy_arena_array(s->arena, (size_t)s->n, sizeof *s->text);
    s->len = sy_arena_array(s->arena, (size_t)s->n, sizeof *s->len);
    s->type = sy_arena_array(s->arena, (size_t)s->n, sizeof *s->type);
    s->score = sy_arena_array(s->arena, (size_t)s->n, sizeof *s->score);
    if (!s->text || !s->len || !s->type || !s->score) return sy_fail(err, SY_ENOMEM, "no memory for %d tokens", s->n);
    SY_TRY(sy__texts_open(&s->ids, (size_t)s->n, text_at, s, err));
    const uint8_t *at = k->data;
    for (int i = 0; i < s->n; i++) {
        s->text[i] = sy_gguf_next_text(&at, &s->len[i]);
        s->type[i] = NORMAL;
        if (!s->len[i] || s->len[i] > SY__TOKEN_MAX) return sy_fail(err, SY_EUNSUP, "tokenizer.ggml.tokens[%d] has %zu bytes; 1 to %d are supported", i, s->len[i], SY__TOKEN_MAX);
        for (size_t b = 0; b < s->len[i]; ) {
            uint32_t cp;
            int len = sy_utf8_next(s->text[i] + b, s->len[i] - b, &cp);
            if (len < 0 || !cp) return sy_fail(err, SY_EFORMAT, "tokenizer.ggml.tokens[%d] is not UTF-8 without NUL, at byte %zu", i, b);
            b += (size_t)len;
        }
        uint64_t hash = sy__hash(s->text[i], s->len[i]);
        int32_t twin = sy__texts_find(&s->ids, s->text[i], s->len[i], hash);
        if (twin >= 0) return sy_fail(err, SY_EFORMAT, "tokenizer.ggml.tokens[%d] and [%d] are the same text", twin, i);
        SY_TRY(sy__texts_add(&s->ids, i, hash, err));
    }
    return SY_OK;
}

static sy_status read_numbers(source *s, sy_err *err)
{
    static const char *const keys[] = { "tokenizer.ggml.token_type", "tokenizer.ggml.scores" };
    for (int which = 0; which < 2; which++) {
        const sy_gguf_key *k = sy_gguf_key_find(s->g, keys[which]);
        if (!k) continue;
        if (k->type != SY_GGUF_ARRAY || k->n != (uint64_t)s->n) return sy_fail(err, SY_EFORMAT, "%s has %llu values for %d tokens", keys[which], (unsigned long long)k->n, s->n);
        for (int i = 0; i < s->n; i++) {
            int64_t v;
            double x;
            if (which ? !sy_gguf_elem_real(k, (uint64_t)i, &x) || !isfinite(x) : !sy_gguf_elem_int(k, (uint64_t)i, &v) || v < 0 || v > BYTE)
                return sy_fail(err, SY_EFORMAT, "%s[%d] is no %s", keys[which], i, which ? "finite number" : "token type; 1 to 6 are");
            if (which) s->score[i] = x;
            else s->type[i] = (signed char)v;
        }
    }
    return SY_OK;
}

/* The id of a special token: -1 where the file says so by a number beyond the vocabulary, which writers use for "none". */
static sy_status special(const source *s, const char *name, int64_t otherwise, int64_t *out, sy_err *err)
{
    char key[96];
    snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", name);
    *out = otherwise < s->n ? otherwise : -1;
    int64_t v = *out;
    SY_TRY(sy_gguf_int(s->g, key, false, -1, UINT32_MAX, &v, err));
    if (v == UINT32_MAX) v = -1;
    if (v >= s->n) return sy_fail(err, SY_EFORMAT, "%s is %lld; ids go from 0 to %d", key, (long long)v, s->n - 1);
    *out = v;
    return SY_OK;
}

static bool is(const source *s, const char *model) { return !strcmp(s->model, model); }

static sy_status read_flags(source *s, sy_err *err)
{
    bool spm = is(s, "llama"), bert = is(s, "bert"), t5 = is(s, "t5"), llama3 = s->pre && !strcmp(s->pre, "llama-bpe");
    SY_TRY(special(s, "bos", spm ? 1 : bert ? 101 : t5 ? -1 : 11, &s->bos, err));
    SY_TRY(special(s, "eos", spm ? 2 : bert ? -1 : t5 ? 1 : 11, &s->eos, err));
    SY_TRY(special(s, "unknown", spm ? 0 : bert ? 100 : t5 ? 2 : -1, &s->unk, err));
    SY_TRY(special(s, "seperator", bert ? 102 : -1, &s->sep, err));
    SY_TRY(special(s, "cls", s->bos, &s->cls, err));
    s->add_bos = spm || bert || llama3;
    s->add_eos = t5;
    s->add_sep = bert;
    s->prefix = spm || t5;
    s->collapse = t5;
    SY_TRY(sy_gguf_bool(s->g, "tokenizer.ggml.add_bos_token", false, &s->add_bos, err));
    SY_TRY(sy_gguf_bool(s->g, "tokenizer.ggml.add_eos_token", false, &s->add_eos, err));
    SY_TRY(sy_gguf_bool(s->g, "tokenizer.ggml.add_sep_token", false, &s->add_sep, err));
    SY_TRY(sy_gguf_bool(s->g, "tokenizer.ggml.add_space_prefix", false, &s->prefix, err));
    return sy_gguf_bool(s->g, "tokenizer.ggml.remove_extra_whitespaces", false, &s->collapse, err);
}

/* --- writing it down ---------------------------------------------------------------------------------------------------------------- */

#define KEY(name) sy_json_key(&s->j, name)

static void key_text(source *s, const char *key, const char *text) { KEY(key); sy_json_text(&s->j, text); }
static void key_bool(source *s, const char *key, bool v) { KEY(key); sy_json_bool(&s->j, v); }

static void begin(source *s, const char *type)
{
    sy_json_begin(&s->j, '{');
    key_text(s, "type", type);
}

static void end(source *s) { sy_json_end(&s->j, '}'); }

static void begin_sequence(source *s, const char *list)
{
    begin(s, "Sequence");
    KEY(list), sy_json_begin(&s->j, '[');
}

static void end_sequence(source *s)
{
    sy_json_end(&s->j, ']');
    end(s);
}

static void put_replace(source *s, const char *pattern, bool regex, const char *content)
{
    begin(s, "Replace");
    KEY("pattern"), sy_json_begin(&s->j, '{');
    key_text(s, regex ? "Regex" : "String", pattern);
    end(s);
    key_text(s, "content", content);
    end(s);
}

static void put_split(source *s, const char *regex)
{
    begin(s, "Split");
    KEY("pattern"), sy_json_begin(&s->j, '{');
    key_text(s, "Regex", regex);
    end(s);
    key_text(s, "behavior", "Isolated");
    key_bool(s, "invert", false);
    end(s);
}

static void put_byte_level(source *s)
{
    begin(s, "ByteLevel");
    key_bool(s, "add_prefix_space", false);
    key_bool(s, "trim_offsets", true);
    key_bool(s, "use_regex", false);
    end(s);
}

/* "[PAD123]" with id 123: a row that fills the vocabulary up; old converters called it user-defined. */
static bool is_filler(const source *s, int id)
{
    char name[32];
    int n = snprintf(name, sizeof name, "[PAD%d]", id);
    return s->len[id] == (size_t)n && !memcmp(s->text[id], name, (size_t)n);
}

static void put_added(source *s)
{
    KEY("added_tokens"), sy_json_begin(&s->j, '[');
    for (int i = 0; i < s->n; i++) {
        bool control = s->type[i] == CONTROL || (s->type[i] == UNKNOWN && !is(s, "bert"));
        if (!control && (s->type[i] != USER || is_filler(s, i))) continue;
        sy_json_begin(&s->j, '{');
        KEY("id"), sy_json_int(&s->j, i);
        KEY("content"), sy_json_bytes(&s->j, s->text[i], s->len[i]);
        key_bool(s, "single_word", false);
        key_bool(s, "lstrip", false);
        key_bool(s, "rstrip", false);
        key_bool(s, "normalized", false);
        key_bool(s, "special", control);
        end(s);
    }
    sy_json_end(&s->j, ']');
}

/* The token's text in the vocabulary of the tokenizer.json: WordPiece marks what continues a word, not what begins one. */
static const char *spelled(source *s, int id, size_t *n)
{
    size_t mark = sizeof MARK - 1;
    *n = s->len[id];
    if (!is(s, "bert") || s->type[id] == CONTROL || s->type[id] == UNKNOWN) return s->text[id];
    if (*n > mark && !memcmp(s->text[id], MARK, mark)) {
        *n -= mark;
        return s->text[id] + mark;
    }
    sy_buf_clear(&s->piece);
    sy_buf_text(&s->piece, "##");
    sy_buf_put(&s->piece, s->text[id], *n);
    *n = s->piece.n;
    return s->piece.data ? s->piece.data : "";
}

static sy_status put_vocab(source *s, sy_err *err)
{
    sy_buf key = { 0 };
    KEY("vocab"), sy_json_begin(&s->j, '{');
    for (int i = 0; i < s->n; i++) {
        size_t n;
        const char *text = spelled(s, i, &n);
        sy_buf_clear(&key);
        sy_buf_put(&key, text, n);
        if (key.failed || s->piece.failed) break;
        sy_json_key(&s->j, key.data), sy_json_int(&s->j, i);
    }
    sy_json_end(&s->j, '}');
    bool failed = key.failed || s->piece.failed;
    sy_buf_free(&key);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the vocabulary") : SY_OK;
}

static void put_pair(source *s, const char *a, size_t n, const char *b, size_t m)
{
    sy_json_begin(&s->j, '[');
    sy_json_bytes(&s->j, a, n);
    sy_json_bytes(&s->j, b, m);
    sy_json_end(&s->j, ']');
}

/* "left right": cut at the first space behind the first byte. */
static sy_status put_merges(source *s, sy_err *err)
{
    const sy_gguf_key *k = sy_gguf_key_find(s->g, "tokenizer.ggml.merges");
    if (!k || k->type != SY_GGUF_ARRAY || k->elem != SY_GGUF_TEXT) return sy_fail(err, SY_EFORMAT, "tokenizer.ggml.merges %s an array of texts", k ? "is not" : "is missing; it must be");
    if (k->n > MOST_IDS) return sy_fail(err, SY_EUNSUP, "tokenizer.ggml.merges has %llu texts; %d is the most", (unsigned long long)k->n, MOST_IDS);
    const uint8_t *at = k->data;
    KEY("merges"), sy_json_begin(&s->j, '[');
    for (uint64_t i = 0; i < k->n; i++) {
        size_t n;
        const char *text = sy_gguf_next_text(&at, &n), *space = n > 1 ? memchr(text + 1, ' ', n - 1) : NULL;
        if (!space) return sy_fail(err, SY_EFORMAT, "tokenizer.ggml.merges[%llu] must be two tokens with a space between them", (unsigned long long)i);
        put_pair(s, text, (size_t)(space - text), space + 1, (size_t)(text + n - space - 1));
    }
    sy_json_end(&s->j, ']');
    return SY_OK;
}

typedef struct split { double score; int32_t id; uint32_t at; } split;
static int by_score(const void *a, const void *b)
{
    const split *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->id != y->id ? (x->id > y->id) - (x->id < y->id) : (x->at > y->at) - (x->at < y->at);
}

/* All ways to put a token together from two others, by score. */
static sy_status put_scored_merges(source *s, sy_err *err)
{
    split *all = NULL;
    size_t n = 0, room = 0;
    sy_status st = SY_OK;
    for (int id = 0; id < s->n && st == SY_OK; id++)
        for (size_t at = 1; at < s->len[id]; at++) {
            const char *t = s->text[id];
            if (((unsigned char)t[at] & 0xC0) == 0x80 || sy__texts_find(&s->ids, t, at, sy__hash(t, at)) < 0
                || sy__texts_find(&s->ids, t + at, s->len[id] - at, sy__hash(t + at, s->len[id] - at)) < 0) continue;
            if (n == room) {
                split *more = n < 2 * (size_t)MOST_IDS ? sy_realloc(all, (room = 2 * room + 4096) * sizeof *all) : NULL;
                if (!more) { st = sy_fail(err, SY_ENOMEM, "no memory for %zu merges", room); break; }
                all = more;
            }
            all[n++] = (split){ s->score[id], id, (uint32_t)at };
        }
    if (st == SY_OK && n) qsort(all, n, sizeof *all, by_score);
    KEY("merges"), sy_json_begin(&s->j, '[');
    for (size_t i = 0; i < n && st == SY_OK; i++) put_pair(s, s->text[all[i].id], all[i].at, s->text[all[i].id] + all[i].at, s->len[all[i].id] - all[i].at);
    sy_json_end(&s->j, ']');
    sy_free(all);
    return st;
}

static void put_frame(source *s, int64_t before, int64_t behind)
{
    const int64_t id[2] = { before, behind };
    char name[2][16] = { "first", "last" };
    KEY("post_processor");
    if (before < 0 && behind < 0) { sy_json_null(&s->j); return; }
    begin(s, "TemplateProcessing");
    for (int pair = 0; pair < 2; pair++) {
        KEY(pair ? "pair" : "single"), sy_json_begin(&s->j, '[');
        for (int i = 0; i < 3 * (1 + pair); i++) {
            bool text = i % 3 == 1;
            if (!text && id[i % 3 / 2] < 0) continue;
            sy_json_begin(&s->j, '{');
            KEY(text ? "Sequence" : "SpecialToken"), sy_json_begin(&s->j, '{');
            key_text(s, "id", text ? i > 3 ? "B" : "A" : name[i % 3 / 2]);
            KEY("type_id"), sy_json_int(&s->j, i > 2);
            end(s);
            end(s);
        }
        sy_json_end(&s->j, ']');
    }
    KEY("special_tokens"), sy_json_begin(&s->j, '{');
    for (int i = 0; i < 2; i++) {
        if (id[i] < 0) continue;
        KEY(name[i]), sy_json_begin(&s->j, '{');
        key_text(s, "id", name[i]);
        KEY("ids"), sy_json_begin(&s->j, '['), sy_json_int(&s->j, id[i]), sy_json_end(&s->j, ']');
        KEY("tokens"), sy_json_begin(&s->j, '['), sy_json_bytes(&s->j, s->text[id[i]], s->len[id[i]]), sy_json_end(&s->j, ']');
        end(s);
    }
    end(s);
    end(s);
}

static void put_unk(source *s)
{
    KEY("unk_token");
    if (s->unk < 0) sy_json_null(&s->j);
    else sy_json_bytes(&s->j, s->text[s->unk], s->len[s->unk]);
}

/* --- the four models ------------------------------------------------------------------------------------------------------------------ */

static sy_status put_spm(source *s, sy_err *err)
{
    KEY("normalizer"), begin_sequence(s, "normalizers");
    if (s->prefix) {
        begin(s, "Prepend");
        key_text(s, "prepend", MARK);
        end(s);
    }
    put_replace(s, " ", false, MARK);
    end_sequence(s);
    KEY("pre_tokenizer"), sy_json_null(&s->j);
    put_frame(s, s->add_bos ? s->bos : -1, s->add_eos ? s->eos : -1);
    KEY("decoder"), begin_sequence(s, "decoders");
    put_replace(s, MARK, false, " ");
    begin(s, "ByteFallback"), end(s);
    begin(s, "Fuse"), end(s);
    if (s->prefix) {
        begin(s, "Strip");
        key_text(s, "content", " ");
        KEY("start"), sy_json_int(&s->j, 1);
        KEY("stop"), sy_json_int(&s->j, 0);
        end(s);
    }
    end_sequence(s);
    KEY("model"), begin(s, "BPE");
    KEY("dropout"), sy_json_null(&s->j);
    put_unk(s);
    key_bool(s, "fuse_unk", true);
    key_bool(s, "byte_fallback", true);
    SY_TRY(put_vocab(s, err));
    SY_TRY(put_scored_merges(s, err));
    end(s);
    return SY_OK;
}

static sy_status put_bytes(source *s, sy_err *err)
{
    const char *pre = s->pre ? s->pre : "default";
    const sy_gguf_rule *r = sy_gguf_rule_named(pre);
    if (!r) return sy_fail(err, SY_EUNSUP, "tokenizer.ggml.pre is \"%.60s\", a way to cut texts that is not known here, so the ids are not, either", pre);
    KEY("normalizer"), sy_json_null(&s->j);
    KEY("pre_tokenizer"), begin_sequence(s, "pretokenizers");
    for (int i = 0; r->regex[i]; i++) {
        sy_buf_clear(&s->piece);
        sy_gguf_rule_regex(r->regex[i], &s->piece);
        if (s->piece.failed) return sy_fail(err, SY_ENOMEM, "no memory for a pattern");
        put_split(s, s->piece.data);
    }
    put_byte_level(s);
    end_sequence(s);
    put_frame(s, s->add_bos ? s->bos : -1, s->add_eos ? s->eos : -1);
    KEY("decoder"), put_byte_level(s);
    KEY("model"), begin(s, "BPE");
    KEY("dropout"), sy_json_null(&s->j);
    KEY("unk_token"), sy_json_null(&s->j);
    key_bool(s, "ignore_merges", r->ignore_merges);
    SY_TRY(put_vocab(s, err));
    SY_TRY(put_merges(s, err));
    end(s);
    return SY_OK;
}

static sy_status put_bert(source *s, sy_err *err)
{
    KEY("normalizer"), begin(s, "BertNormalizer");
    key_bool(s, "clean_text", true);
    key_bool(s, "handle_chinese_chars", true);
    key_bool(s, "strip_accents", true);
    key_bool(s, "lowercase", true);
    end(s);
    KEY("pre_tokenizer"), begin(s, "BertPreTokenizer"), end(s);
    put_frame(s, s->add_bos ? s->cls : -1, s->add_sep ? s->sep : -1);
    KEY("decoder"), begin(s, "WordPiece");
    key_text(s, "prefix", "##");
    key_bool(s, "cleanup", true);
    end(s);
    if (s->unk < 0) return sy_fail(err, SY_EFORMAT, "tokenizer.ggml.unknown_token_id is missing; WordPiece needs one");
    KEY("model"), begin(s, "WordPiece");
    put_unk(s);
    key_text(s, "continuing_subword_prefix", "##");
    KEY("max_input_chars_per_word"), sy_json_int(&s->j, 1 << 30);
    SY_TRY(put_vocab(s, err));
    end(s);
    return SY_OK;
}

static sy_status put_charsmap(source *s, sy_err *err)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const sy_gguf_key *k = sy_gguf_key_find(s->g, "tokenizer.ggml.precompiled_charsmap");
    sy_buf b = { 0 };
    if (!k || !k->n) return SY_OK;
    if (k->type != SY_GGUF_ARRAY || (k->elem != SY_GGUF_U8 && k->elem != SY_GGUF_I8)) return sy_fail(err, SY_EFORMAT, "tokenizer.ggml.precompiled_charsmap is no array of bytes");
    for (uint64_t i = 0; i < k->n; i += 3) {
        uint32_t v = (uint32_t)k->data[i] << 16 | (i + 1 < k->n ? (uint32_t)k->data[i + 1] << 8 : 0) | (i + 2 < k->n ? k->data[i + 2] : 0);
        char four[4] = { digit[v >> 18], digit[v >> 12 & 63], i + 1 < k->n ? digit[v >> 6 & 63] : '=', i + 2 < k->n ? digit[v & 63] : '=' };
        sy_buf_put(&b, four, 4);
    }
    begin(s, "Precompiled");
    KEY("precompiled_charsmap"), sy_json_bytes(&s->j, b.data ? b.data : "", b.n);
    end(s);
    bool failed = b.failed;
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for precompiled_charsmap") : SY_OK;
}

static sy_status put_unigram(source *s, sy_err *err)
{
    KEY("normalizer"), begin_sequence(s, "normalizers");
    SY_TRY(put_charsmap(s, err));
    if (s->collapse) {
        put_replace(s, "^ +| +\\z", true, "");
        put_replace(s, " +", true, " ");
    }
    end_sequence(s);
    for (int decoder = 0; decoder < 2; decoder++) {
        KEY(decoder ? "decoder" : "pre_tokenizer"), begin(s, "Metaspace");
        key_text(s, "replacement", MARK);
        key_text(s, "prepend_scheme", s->prefix ? "always" : "never");
        key_bool(s, "split", false);
        end(s);
    }
    put_frame(s, s->add_bos ? s->bos : -1, s->add_eos ? s->eos : -1);
    KEY("model"), begin(s, "Unigram");
    KEY("unk_id");
    if (s->unk < 0) sy_json_null(&s->j);
    else sy_json_int(&s->j, s->unk);
    KEY("vocab"), sy_json_begin(&s->j, '[');
    for (int i = 0; i < s->n; i++) {
        sy_json_begin(&s->j, '[');
        sy_json_bytes(&s->j, s->text[i], s->len[i]);
        sy_json_real(&s->j, s->score[i]);
        sy_json_end(&s->j, ']');
    }
    sy_json_end(&s->j, ']');
    end(s);
    return SY_OK;
}

static const struct { const char *name; sy_status (*put)(source *s, sy_err *err); } models[] = {
    { "llama", put_spm }, { "gpt2", put_bytes }, { "bert", put_bert }, { "t5", put_unigram },
};

/* --- the whole ----------------------------------------------------------------------------------------------------------------------------- */

/* Merges to texts of equal score are equals. */
static sy_status share_ranks(const source *s, sy_tokenizer *t, sy_err *err)
{
    int n = t->bpe.n_merges;
    int32_t *rank = sy_malloc(((size_t)n + 1) * sizeof *rank);
    if (!rank) return sy_fail(err, SY_ENOMEM, "no memory for %d merges", n);
    for (int i = 0; i < n; i++) rank[i] = i && s->score[t->bpe.merge[i].id] == s->score[t->bpe.merge[i - 1].id] ? rank[i - 1] : i;
    sy__bpe_rerank(&t->bpe, rank);
    sy_free(rank);
    return SY_OK;
}

static sy_status write_down(source *s, sy_err *err)
{
    size_t m = 0;
    while (m < SY_COUNT(models) && !is(s, models[m].name)) m++;
    if (m == SY_COUNT(models)) return sy_fail(err, SY_EUNSUP, "tokenizer.ggml.model is \"%.60s\", which is not supported; llama, gpt2, bert and t5 are", s->model);
    SY_TRY(read_texts(s, err));
    SY_TRY(read_numbers(s, err));
    SY_TRY(read_flags(s, err));
    sy_json_open(&s->j, &s->out, 0);
    sy_json_begin(&s->j, '{');
    key_text(s, "version", "1.0");
    KEY("truncation"), sy_json_null(&s->j);
    KEY("padding"), sy_json_null(&s->j);
    put_added(s);
    SY_TRY(models[m].put(s, err));
    sy_json_end(&s->j, '}');
    return s->out.failed ? sy_fail(err, SY_ENOMEM, "no memory for a tokenizer of %d ids", s->n) : SY_OK;
}

/* Several templates are a list, as older writers of the file have it. */
static void put_templates(sy_json *j, const json_t *templates)
{
    const char *key;
    json_t *v, *alone = json_object_size(templates) == 1 ? json_object_get(templates, "default") : NULL;
    sy_json_key(j, "chat_template");
    if (alone) { sy_json_bytes(j, json_string_value(alone), json_string_length(alone)); return; }
    sy_json_begin(j, '[');
    json_object_foreach((json_t *)templates, key, v) {
        sy_json_begin(j, '{');
        sy_json_key(j, "name"), sy_json_text(j, key);
        sy_json_key(j, "template"), sy_json_bytes(j, json_string_value(v), json_string_length(v));
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
}

/* A name makes a token special, so only those get one that are it anyway. */
static bool keeps_ids(const sy_tokenizer *t, const char *text) { return !t || sy_tokenizer_find(t, text) >= 0; }

sy_status sy__gguf_config(const sy_gguf *g, const sy_tokenizer *t, sy_buf *out, sy_err *err)
{
    static const char *const flags[] = { "add_bos_token", "add_eos_token" };
    json_t *special = NULL, *templates = NULL, *v;
    const char *key;
    bool on[2] = { false, false };
    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "tokenizer.ggml.%s", flags[i]);
        SY_TRY(sy_gguf_bool(g, name, false, &on[i], err));
    }
    SY_TRY(sy_templates_from_gguf(&templates, g, err));
    sy_status st = sy_special_from_gguf(&special, g, err);
    if (st == SY_OK) {
        sy_json j;
        sy_json_open(&j, out, 2);
        sy_json_begin(&j, '{');
        sy_json_key(&j, "tokenizer_class"), sy_json_text(&j, "PreTrainedTokenizerFast");
        const char *end = t ? sy_tokenizer_special(t, t->eot) : json_string_value(json_object_get(special, "eos_token"));
        sy_json_key(&j, "eos_token"), sy_json_text(&j, end);
        json_object_foreach(special, key, v)
            if (strcmp(key, "eos_token") && keeps_ids(t, json_string_value(v))) sy_json_key(&j, key), sy_json_text(&j, json_string_value(v));
        for (int i = 0; i < 2; i++) sy_json_key(&j, flags[i]), sy_json_bool(&j, on[i]);
        sy_json_key(&j, "clean_up_tokenization_spaces"), sy_json_bool(&j, false);
        if (templates) put_templates(&j, templates);
        sy_json_end(&j, '}');
        sy_buf_text(out, "\n");
        if (out->failed) st = sy_fail(err, SY_ENOMEM, "%s: no memory for what lies beside its tokenizer", g->file);
    }
    json_decref(templates);
    json_decref(special);
    return st;
}

static sy_status keep_config(sy_tokenizer *t, const sy_gguf *g, sy_err *err)
{
    sy_buf b = { 0 };
    sy_status st = sy__gguf_config(g, t, &b, err);
    if (st == SY_OK) st = sy__tokenizer_keep(t, "tokenizer_config.json", b.data, b.n, err);
    sy_buf_free(&b);
    return st;
}

static sy_status look(void *arg, const sy_gguf *g, sy_err *err) { return sy_tokenizer_from_gguf(arg, g, err); }

sy_status sy__tokenizer_load_gguf(sy_tokenizer **out, const char *path, bool *is, sy_err *err)
{
    sy_tokenizer *t = NULL;
    sy_status st = sy_gguf_look(path, look, &t, is, err);
    if (st != SY_OK) sy_tokenizer_close(t);
    else if (*is) *out = t;
    return st;
}

sy_status sy_tokenizer_from_gguf(sy_tokenizer **out, const sy_gguf *g, sy_err *err)
{
    sy_arena arena = { 0 };
    source s = { .g = g, .arena = &arena, .model = "", .pre = NULL };
    sy_tokenizer *t = NULL;
    sy_status st = sy_gguf_text(g, "tokenizer.ggml.model", true, &arena, &s.model, err);
    if (st == SY_OK) st = sy_gguf_text(g, "tokenizer.ggml.pre", false, &arena, &s.pre, err);
    if (st == SY_OK) st = sy_within(err, write_down(&s, err), "%s", g->file);
    if (st == SY_OK) st = sy_tokenizer_from_memory(&t, s.out.data, s.out.n, g->file, err);
    if (st == SY_OK && is(&s, "llama")) st = share_ranks(&s, t, err);
    if (st == SY_OK && is(&s, "gpt2") && !s.pre && (t->notes = sy_strdup("tokenizer.ggml.pre is missing; texts are cut as llama.cpp's default does, other than the model may have been trained")) == NULL)
        st = sy_fail(err, SY_ENOMEM, "%s: no memory for notes", g->file);
    if (st == SY_OK) {
        t->eot = (int)s.eos;
        sy__tokenizer_digest(t);
        st = keep_config(t, g, err);
    }
    if (st == SY_OK) *out = t;
    else sy_tokenizer_close(t);
    sy__texts_close(&s.ids);
    sy_buf_free(&s.out);
    sy_buf_free(&s.piece);
    sy_arena_free(&arena);
    return st;
}
