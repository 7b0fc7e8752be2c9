/* model/tokenizer_steps.c - the parts of a tokenizer.json around its model: normalizer, pre_tokenizer, post_processor, decoder.
 *
 * Each part is one component or a sequence of them; every component is known with all its fields, or refused by name. */
#include "core/alloc.h"
#include "core/utf8.h"
#include "model/tokenizer_read.h"
#include "model/years.h"

typedef sy_status read_one(sy__reader *r, json_t *o, const char *where, sy_err *err);
struct component { const char *type; const char *const *keys; read_one *read; const char *list; };   /* list: a sequence; the key of its members */

static const char *const type_only[] = { "type", NULL };
static const char *const byte_level_keys[] = { "type", "add_prefix_space", "trim_offsets", "use_regex", NULL };
#define KEYS(...) ((const char *const[]){ "type", __VA_ARGS__, NULL })

static sy_status new_step(sy__reader *r, sy__step_kind kind, const char *where, sy__step **x, sy_err *err)
{
    if (r->t->steps == SY__MAX_STEPS) return sy_fail(err, SY_EUNSUP, "%s: %s: more than %d steps", r->file, where, SY__MAX_STEPS);
    *x = &r->t->step[r->t->steps++];
    **x = (sy__step){ .kind = kind };
    return SY_OK;
}

/* {"String": text} or {"Regex": expression}. */
static sy_status read_pattern(sy__reader *r, json_t *o, const char *where, sy__finder **find, sy_err *err)
{
    char place[160];
    json_t *pattern, *text, *regex;
    SY_TRY(sy__get(r, o, where, "pattern", "{", &pattern, err));
    snprintf(place, sizeof place, "%s.pattern", where);
    SY_TRY(sy__only_keys(r, pattern, place, (const char *const[]){ "String", "Regex", NULL }, err));
    SY_TRY(sy__get(r, pattern, place, "String", "\"?", &text, err));
    SY_TRY(sy__get(r, pattern, place, "Regex", "\"?", &regex, err));
    if (!text == !regex) return sy_fail(err, SY_EFORMAT, "%s: %s must have one of \"String\" and \"Regex\"", r->file, place);
    if (text && !json_string_length(text)) return sy_fail(err, SY_EUNSUP, "%s: %s.String is empty; it would be found everywhere", r->file, place);
    sy_status st = text ? sy__finder_open_text(find, json_string_value(text), json_string_length(text), err) : sy__finder_open_regex(find, json_string_value(regex), err);
    return sy_within(err, st, "%s: %s.%s", r->file, place, text ? "String" : "Regex");
}

static sy_status one_character(sy__reader *r, json_t *o, const char *where, const char *key, char out[5], sy_err *err)
{
    json_t *v;
    uint32_t cp;
    SY_TRY(sy__get(r, o, where, key, "\"", &v, err));
    size_t n = json_string_length(v);
    if (!n || n > 4 || sy_utf8_next(json_string_value(v), n, &cp) != (int)n) return sy_fail(err, SY_EFORMAT, "%s: %s.%s must be one character", r->file, where, key);
    memcpy(out, json_string_value(v), n + 1);
    return SY_OK;
}

/* One of some words; *out is its place. */
static sy_status one_of(sy__reader *r, json_t *o, const char *where, const char *key, const char *const *words, int otherwise, int *out, sy_err *err)
{
    char text[64], all[160] = "";
    json_t *v;
    SY_TRY(sy__get(r, o, where, key, otherwise < 0 ? "\"" : "\"?", &v, err));
    *out = otherwise;
    if (!v) return SY_OK;
    for (*out = 0; words[*out] && strcmp(words[*out], json_string_value(v)); ++*out) snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", *all ? ", " : "", words[*out]);
    return words[*out] ? SY_OK : sy_fail(err, SY_EUNSUP, "%s: %s.%s is \"%s\"; known are %s", r->file, where, key, sy__shown(text, json_string_value(v)), all);
}

/* --- normalizers ------------------------------------------------------------------------------------------------------------------ */

static sy_status normal(sy__reader *r, sy__normal_kind kind, const char *where, sy__normal **op, sy_err *err)
{
    sy__step *x = NULL;
    SY_TRY(new_step(r, SY__STEP_NORMAL, where, &x, err));
    x->normal.kind = kind;
    if (op) *op = &x->normal;
    return SY_OK;
}

#define PLAIN_NORMAL(name, kind) \
    static sy_status name(sy__reader *r, json_t *o, const char *where, sy_err *err) { (void)o; return normal(r, kind, where, NULL, err); }
PLAIN_NORMAL(read_nfc, SY__NFC)
PLAIN_NORMAL(read_nfd, SY__NFD)
PLAIN_NORMAL(read_nfkc, SY__NFKC)
PLAIN_NORMAL(read_nfkd, SY__NFKD)
PLAIN_NORMAL(read_lowercase, SY__LOWERCASE)
PLAIN_NORMAL(read_strip_accents, SY__STRIP_ACCENTS)
PLAIN_NORMAL(read_nmt, SY__NMT)
PLAIN_NORMAL(read_letters, SY__LETTERS)

static sy_status read_strip(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__normal *op = NULL;
    SY_TRY(normal(r, SY__STRIP, where, &op, err));
    SY_TRY(sy__get_bool(r, o, where, "strip_left", true, &op->left, err));
    return sy__get_bool(r, o, where, "strip_right", true, &op->right, err);
}

static sy_status read_prepend(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__normal *op = NULL;
    SY_TRY(normal(r, SY__PREPEND, where, &op, err));
    SY_TRY(sy__get_copy(r, o, where, "prepend", true, &op->text, err));
    op->n = op->text ? strlen(op->text) : 0;
    return SY_OK;
}

static sy_status read_replace(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__normal *op = NULL;
    SY_TRY(normal(r, SY__REPLACE, where, &op, err));
    SY_TRY(sy__get_copy(r, o, where, "content", true, &op->text, err));
    op->n = op->text ? strlen(op->text) : 0;
    SY_TRY(read_pattern(r, o, where, &op->find, err));
    if (sy__finder_may_be_empty(op->find)) return sy_fail(err, SY_EUNSUP, "%s: %s.pattern may match nothing, between any two characters; that is not supported", r->file, where);
    return SY_OK;
}

static sy_status read_precompiled(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__normal *op = NULL;
    json_t *v;
    SY_TRY(sy__get(r, o, where, "precompiled_charsmap", "\"", &v, err));
    SY_TRY(normal(r, SY__PRECOMPILED, where, &op, err));
    return sy_within(err, sy__charsmap_open(&op->map, json_string_value(v), json_string_length(v), err), "%s: %s", r->file, where);
}

static sy_status read_bert_normalizer(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    bool clean, han, lower, accents;
    SY_TRY(sy__get_bool(r, o, where, "clean_text", true, &clean, err));
    SY_TRY(sy__get_bool(r, o, where, "handle_chinese_chars", true, &han, err));
    SY_TRY(sy__get_bool(r, o, where, "lowercase", true, &lower, err));
    SY_TRY(sy__get_bool(r, o, where, "strip_accents", lower, &accents, err));
    if (clean) SY_TRY(normal(r, SY__CLEAN, where, NULL, err));
    if (han) SY_TRY(normal(r, SY__SPACED_HAN, where, NULL, err));
    if (accents) SY_TRY(normal(r, SY__NFD, where, NULL, err));
    if (accents) SY_TRY(normal(r, SY__STRIP_NONSPACING, where, NULL, err));
    return lower ? normal(r, SY__LOWERCASE, where, NULL, err) : SY_OK;
}

static const struct component normalizers[] = {
    { "BertNormalizer", KEYS("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), read_bert_normalizer, NULL },
    { "ByteLevel", type_only, read_letters, NULL },
    { "Lowercase", type_only, read_lowercase, NULL },
    { "NFC", type_only, read_nfc, NULL }, { "NFD", type_only, read_nfd, NULL }, { "NFKC", type_only, read_nfkc, NULL }, { "NFKD", type_only, read_nfkd, NULL },
    { "Nmt", type_only, read_nmt, NULL },
    { "Precompiled", KEYS("precompiled_charsmap"), read_precompiled, NULL },
    { "Prepend", KEYS("prepend"), read_prepend, NULL },
    { "Replace", KEYS("pattern", "content"), read_replace, NULL },
    { "Sequence", KEYS("normalizers"), NULL, "normalizers" },
    { "Strip", KEYS("strip_left", "strip_right"), read_strip, NULL },
    { "StripAccents", type_only, read_strip_accents, NULL },
    { 0 }
};

/* --- pre-tokenizers ------------------------------------------------------------------------------------------------------------------ */

static const char *const behaviors[] = { "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous", NULL };      /* by sy__behavior */

static sy_status cut(sy__reader *r, sy__cut *by, const char *where, sy_err *err)
{
    sy__step *x = NULL;
    SY_TRY(new_step(r, SY__STEP_CUT, where, &x, err));
    x->cut = by;
    return SY_OK;
}

static sy_status split_at(sy__reader *r, const sy__set *set, sy__behavior behavior, const char *where, sy_err *err)
{
    sy__step *x = NULL;
    SY_TRY(new_step(r, SY__STEP_SPLIT, where, &x, err));
    x->behavior = behavior;
    return sy_within(err, sy__finder_open_set(&x->find, set, false, err), "%s: %s", r->file, where);
}

static sy__set spaces(void)
{
    sy__set s = { 0 };
    sy__set_spaces(&s);
    return s;
}

static sy__set punctuation(void)
{
    sy__set s = { .has = sy__is_punctuation };
    for (uint32_t c = 0; c < 128; c++) if (sy__is_punctuation(c)) sy__set_range(&s, c, c);
    return s;
}

static sy_status read_digits(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    bool alone;
    SY_TRY(sy__get_bool(r, o, where, "individual_digits", false, &alone, err));
    return cut(r, alone ? sy__cut_digit : sy__cut_digits, where, err);
}

static sy_status read_split(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__step *x = NULL;
    int behavior;
    bool inverted;
    SY_TRY(one_of(r, o, where, "behavior", behaviors, -1, &behavior, err));
    SY_TRY(sy__get_bool(r, o, where, "invert", false, &inverted, err));
    SY_TRY(new_step(r, SY__STEP_SPLIT, where, &x, err));
    x->behavior = (sy__behavior)behavior;
    x->inverted = inverted;
    SY_TRY(read_pattern(r, o, where, &x->find, err));
    if (sy__finder_cut(x->find) && (inverted ? behavior == SY__REMOVED : behavior == SY__ISOLATED)) {       /* it matches everywhere: no gaps to look for */
        x->kind = SY__STEP_CUT;
        x->cut = sy__finder_cut(x->find);
    }
    return SY_OK;
}

static sy_status read_byte_level(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    bool prefix, trim, regex;
    sy__step *x = NULL;
    SY_TRY(sy__get_bool(r, o, where, "add_prefix_space", true, &prefix, err));
    SY_TRY(sy__get_bool(r, o, where, "trim_offsets", true, &trim, err));      /* the post-processor's business */
    SY_TRY(sy__get_bool(r, o, where, "use_regex", true, &regex, err));
    SY_TRY(new_step(r, SY__STEP_BYTES, where, &x, err));
    x->prefix = prefix;
    x->cuts = regex;
    x->cut = regex ? sy__cut_gpt2 : NULL;
    return r->t->byte_level ? SY_OK : normal(r, SY__LETTERS, where, NULL, err);
}

static sy_status read_metaspace(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    static const char *const schemes[] = { "never", "first", "always", NULL };
    json_t *old;
    sy__step *x = NULL;
    int scheme;
    bool prefix;
    SY_TRY(new_step(r, SY__STEP_METASPACE, where, &x, err));
    SY_TRY(one_character(r, o, where, "replacement", x->mark, err));
    SY_TRY(sy__get_bool(r, o, where, "add_prefix_space", true, &prefix, err));
    SY_TRY(one_of(r, o, where, "prepend_scheme", schemes, prefix ? SY__ALWAYS : SY__NEVER, &scheme, err));
    if (!prefix && scheme) return sy_fail(err, SY_EFORMAT, "%s: %s: add_prefix_space is false, prepend_scheme is \"%s\"", r->file, where, schemes[scheme]);
    SY_TRY(sy__get(r, o, where, "str_rep", "\"?", &old, err));
    x->scheme = (sy__scheme)scheme;
    return sy__get_bool(r, o, where, "split", true, &x->cuts, err);
}

static sy_status read_punctuation(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    int behavior;
    sy__set s = punctuation();
    SY_TRY(one_of(r, o, where, "behavior", behaviors, SY__ISOLATED, &behavior, err));
    return split_at(r, &s, (sy__behavior)behavior, where, err);
}

static sy_status read_words(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__step *x = NULL;
    (void)o;
    SY_TRY(new_step(r, SY__STEP_SPLIT, where, &x, err));
    x->behavior = SY__REMOVED;
    x->inverted = true;
    return sy_within(err, sy__finder_open_words(&x->find, err), "%s: %s", r->file, where);
}

static sy_status read_at_spaces(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__set s = spaces();
    (void)o;
    return split_at(r, &s, SY__REMOVED, where, err);
}

static sy_status read_bert(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__set s = punctuation();
    SY_TRY(read_at_spaces(r, o, where, err));
    return split_at(r, &s, SY__ISOLATED, where, err);
}

static sy_status read_delimiter(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    char c[5];
    uint32_t cp;
    sy__set s = { 0 };
    SY_TRY(one_character(r, o, where, "delimiter", c, err));
    sy_utf8_next(c, strlen(c), &cp);
    sy__set_range(&s, cp, cp);
    return split_at(r, &s, SY__REMOVED, where, err);
}

static sy_status read_chunks(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    long long length;
    sy__step *x = NULL;
    SY_TRY(sy__get_int(r, o, where, "length", 5, 1, 1 << 20, &length, err));
    SY_TRY(new_step(r, SY__STEP_CHUNKS, where, &x, err));
    x->length = (size_t)length;
    return SY_OK;
}

static const struct component pre_tokenizers[] = {
    { "BertPreTokenizer", type_only, read_bert, NULL },
    { "ByteLevel", byte_level_keys, read_byte_level, NULL },
    { "CharDelimiterSplit", KEYS("delimiter"), read_delimiter, NULL },
    { "Digits", KEYS("individual_digits"), read_digits, NULL },
    { "FixedLength", KEYS("length"), read_chunks, NULL },
    { "Metaspace", KEYS("replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"), read_metaspace, NULL },
    { "Punctuation", KEYS("behavior"), read_punctuation, NULL },
    { "Sequence", KEYS("pretokenizers"), NULL, "pretokenizers" },
    { "Split", KEYS("pattern", "behavior", "invert"), read_split, NULL },
    { "Whitespace", type_only, read_words, NULL },
    { "WhitespaceSplit", type_only, read_at_spaces, NULL },
    { 0 }
};

/* --- decoders ------------------------------------------------------------------------------------------------------------------------ */

static sy_status new_decode(sy__reader *r, sy__decode_kind kind, const char *where, sy__decode **d, sy_err *err)
{
    if (r->t->decodes == SY__MAX_DECODES) return sy_fail(err, SY_EUNSUP, "%s: %s: more than %d decoders", r->file, where, SY__MAX_DECODES);
    *d = &r->t->decode[r->t->decodes++];
    **d = (sy__decode){ .kind = kind };
    return SY_OK;
}

/* A text of a decoder; one that is missing or empty is "", which nothing matches. */
static sy_status decode_text(sy__reader *r, json_t *o, const char *where, const char *key, const char *otherwise, char **out, sy_err *err)
{
    json_t *v;
    SY_TRY(sy__get(r, o, where, key, otherwise ? "\"?" : "\"", &v, err));
    *out = sy_strdup(v ? json_string_value(v) : otherwise);
    return *out ? SY_OK : sy_fail(err, SY_ENOMEM, "%s: no memory for %s", r->file, where);
}

static sy_status read_bytes_back(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    static const char *const flag[] = { "add_prefix_space", "trim_offsets", "use_regex" };   /* none changes what a decoder does */
    sy__decode *d = NULL;
    for (size_t i = 0; i < SY_COUNT(flag); i++) {
        bool unused;
        SY_TRY(sy__get_bool(r, o, where, flag[i], true, &unused, err));
    }
    return new_decode(r, SY__DECODE_BYTES, where, &d, err);
}

static sy_status read_metaspace_back(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    static const char *const schemes[] = { "never", "first", "always", NULL };
    char c[5];
    int scheme;
    bool prefix, split;
    json_t *old;
    sy__decode *d = NULL;
    SY_TRY(new_decode(r, SY__DECODE_METASPACE, where, &d, err));
    SY_TRY(one_character(r, o, where, "replacement", c, err));
    SY_TRY(sy__get_bool(r, o, where, "add_prefix_space", true, &prefix, err));
    SY_TRY(sy__get_bool(r, o, where, "split", true, &split, err));            /* of pre-tokenizers */
    SY_TRY(sy__get(r, o, where, "str_rep", "\"?", &old, err));
    SY_TRY(one_of(r, o, where, "prepend_scheme", schemes, prefix ? SY__ALWAYS : SY__NEVER, &scheme, err));
    d->flag = scheme == SY__NEVER;
    d->text = sy_strdup(c);
    return d->text ? SY_OK : sy_fail(err, SY_ENOMEM, "%s: no memory for %s", r->file, where);
}

static sy_status read_wordpiece_back(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__decode *d = NULL;
    SY_TRY(new_decode(r, SY__DECODE_WORDPIECE, where, &d, err));
    SY_TRY(decode_text(r, o, where, "prefix", "##", &d->text, err));
    return sy__get_bool(r, o, where, "cleanup", true, &d->flag, err);
}

static sy_status read_byte_fallback(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__decode *d = NULL;
    (void)o;
    return new_decode(r, SY__DECODE_BYTE_FALLBACK, where, &d, err);
}

static sy_status read_fuse(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__decode *d = NULL;
    (void)o;
    return new_decode(r, SY__DECODE_FUSE, where, &d, err);
}

static sy_status read_replace_back(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__decode *d = NULL;
    SY_TRY(new_decode(r, SY__DECODE_REPLACE, where, &d, err));
    SY_TRY(decode_text(r, o, where, "content", NULL, &d->more, err));
    SY_TRY(read_pattern(r, o, where, &d->find, err));
    if (sy__finder_may_be_empty(d->find)) return sy_fail(err, SY_EUNSUP, "%s: %s.pattern may match nothing, between any two characters; that is not supported", r->file, where);
    return SY_OK;
}

static sy_status read_strip_back(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    char c[5];
    long long start, stop;
    sy__decode *d = NULL;
    SY_TRY(new_decode(r, SY__DECODE_STRIP, where, &d, err));
    SY_TRY(one_character(r, o, where, "content", c, err));
    SY_TRY(sy__get_int(r, o, where, "start", 0, 0, 1 << 20, &start, err));
    SY_TRY(sy__get_int(r, o, where, "stop", 0, 0, 1 << 20, &stop, err));
    d->start = (size_t)start;
    d->stop = (size_t)stop;
    d->text = sy_strdup(c);
    return d->text ? SY_OK : sy_fail(err, SY_ENOMEM, "%s: no memory for %s", r->file, where);
}

static sy_status read_suffix_back(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__decode *d = NULL;
    SY_TRY(new_decode(r, SY__DECODE_SUFFIX, where, &d, err));
    return decode_text(r, o, where, "suffix", "</w>", &d->text, err);
}

static sy_status read_ctc(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__decode *d = NULL;
    SY_TRY(new_decode(r, SY__DECODE_CTC, where, &d, err));
    SY_TRY(decode_text(r, o, where, "pad_token", "<pad>", &d->text, err));
    SY_TRY(decode_text(r, o, where, "word_delimiter_token", "|", &d->more, err));
    return sy__get_bool(r, o, where, "cleanup", true, &d->flag, err);
}

static const struct component decoders[] = {
    { "BPEDecoder", KEYS("suffix"), read_suffix_back, NULL },
    { "ByteFallback", type_only, read_byte_fallback, NULL },
    { "ByteLevel", byte_level_keys, read_bytes_back, NULL },
    { "CTC", KEYS("pad_token", "word_delimiter_token", "cleanup"), read_ctc, NULL },
    { "Fuse", type_only, read_fuse, NULL },
    { "Metaspace", KEYS("replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"), read_metaspace_back, NULL },
    { "Replace", KEYS("pattern", "content"), read_replace_back, NULL },
    { "Sequence", KEYS("decoders"), NULL, "decoders" },
    { "Strip", KEYS("content", "start", "stop"), read_strip_back, NULL },
    { "WordPiece", KEYS("prefix", "cleanup"), read_wordpiece_back, NULL },
    { 0 }
};

/* --- post-processors --------------------------------------------------------------------------------------------------------------------- */

static sy_status new_post(sy__reader *r, sy__post_kind kind, const char *where, sy__post **p, sy_err *err)
{
    if (r->t->posts == SY__MAX_POSTS) return sy_fail(err, SY_EUNSUP, "%s: %s: more than %d post-processors", r->file, where, SY__MAX_POSTS);
    *p = &r->t->post[r->t->posts++];
    **p = (sy__post){ .kind = kind };
    return SY_OK;
}

static sy_status read_trim(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    bool trim, prefix, regex;
    sy__post *p = NULL;
    SY_TRY(sy__get_bool(r, o, where, "add_prefix_space", true, &prefix, err));
    SY_TRY(sy__get_bool(r, o, where, "trim_offsets", true, &trim, err));
    SY_TRY(sy__get_bool(r, o, where, "use_regex", true, &regex, err));
    if (!trim) return SY_OK;
    SY_TRY(new_post(r, SY__POST_TRIM, where, &p, err));
    p->prefix = prefix;
    return SY_OK;
}

static sy_status put_id(sy__reader *r, sy__post *p, bool behind, json_t *id, const char *where, sy_err *err)
{
    json_int_t v = json_integer_value(id);
    SY_TRY(sy__expect(r, id, "i", where, err));
    if (v < 0 || v >= r->t->vocab) return sy_fail(err, SY_EFORMAT, "%s: %s is %lld; ids go from 0 to %d", r->file, where, (long long)v, r->t->vocab - 1);
    int32_t *more = sy_realloc(p->id, (size_t)(p->before + p->after + 1) * sizeof *more);
    if (!more) return sy_fail(err, SY_ENOMEM, "%s: no memory for %s", r->file, where);
    p->id = more;
    p->id[p->before + p->after] = (int32_t)v;
    if (behind) p->after++;
    else p->before++;
    return SY_OK;
}

/* The ids of a name in special_tokens. */
static sy_status put_named(sy__reader *r, json_t *o, const char *where, const char *name, sy__post *p, bool behind, sy_err *err)
{
    char place[160], text[64];
    json_t *all, *one, *ids, *tokens;
    SY_TRY(sy__get(r, o, where, "special_tokens", "{", &all, err));
    one = json_object_get(all, name);
    snprintf(place, sizeof place, "%s.special_tokens.%s", where, sy__shown(text, name));
    SY_TRY(sy__expect(r, one, "{", place, err));
    SY_TRY(sy__only_keys(r, one, place, (const char *const[]){ "id", "ids", "tokens", NULL }, err));
    SY_TRY(sy__get(r, one, place, "ids", "[", &ids, err));
    SY_TRY(sy__get(r, one, place, "tokens", "[?", &tokens, err));
    if (json_array_size(ids) > 64) return sy_fail(err, SY_EUNSUP, "%s: %s.ids has %zu ids; 64 is the most", r->file, place, json_array_size(ids));
    strcat(place, ".ids");
    for (size_t i = 0; i < json_array_size(ids); i++) SY_TRY(put_id(r, p, behind, json_array_get(ids, i), place, err));
    return SY_OK;
}

static sy_status read_template(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    json_t *single, *pair, *id;
    sy__post *p = NULL;
    bool text = false;
    SY_TRY(sy__get(r, o, where, "single", "[", &single, err));
    SY_TRY(sy__get(r, o, where, "pair", "[?", &pair, err));                   /* one text is encoded at a time */
    SY_TRY(new_post(r, SY__POST_TEMPLATE, where, &p, err));
    if (json_array_size(single) > 64) return sy_fail(err, SY_EUNSUP, "%s: %s.single has %zu pieces; 64 is the most", r->file, where, json_array_size(single));
    for (size_t i = 0; i < json_array_size(single); i++) {
        char place[128];
        json_t *piece = json_array_get(single, i), *token, *sequence;
        snprintf(place, sizeof place, "%s.single[%zu]", where, i);
        SY_TRY(sy__expect(r, piece, "{", place, err));
        SY_TRY(sy__only_keys(r, piece, place, (const char *const[]){ "SpecialToken", "Sequence", NULL }, err));
        SY_TRY(sy__get(r, piece, place, "SpecialToken", "{?", &token, err));
        SY_TRY(sy__get(r, piece, place, "Sequence", "{?", &sequence, err));
        if (!token == !sequence) return sy_fail(err, SY_EFORMAT, "%s: %s must have one of \"SpecialToken\" and \"Sequence\"", r->file, place);
        SY_TRY(sy__get(r, token ? token : sequence, place, "id", "\"", &id, err));
        if (token) SY_TRY(put_named(r, o, where, json_string_value(id), p, text, err));
        else if (text || strcmp(json_string_value(id), "A")) return sy_fail(err, SY_EUNSUP, "%s: %s: the text stands in a template once, as sequence A", r->file, place);
        else text = true;
    }
    if (!text) return sy_fail(err, SY_EUNSUP, "%s: %s.single leaves the text out; sequence A must stand in it", r->file, where);
    return SY_OK;
}

/* "cls" and "sep": [text, id]. */
static sy_status put_pair(sy__reader *r, json_t *o, const char *where, const char *key, sy__post *p, bool behind, sy_err *err)
{
    char place[160];
    json_t *v;
    SY_TRY(sy__get(r, o, where, key, "[", &v, err));
    snprintf(place, sizeof place, "%s.%s[1]", where, key);
    return put_id(r, p, behind, json_array_get(v, 1), place, err);
}

static sy_status read_cls_sep(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    sy__post *p = NULL;
    SY_TRY(new_post(r, SY__POST_TEMPLATE, where, &p, err));
    SY_TRY(put_pair(r, o, where, "cls", p, false, err));
    return put_pair(r, o, where, "sep", p, true, err);
}

static sy_status read_roberta(sy__reader *r, json_t *o, const char *where, sy_err *err)
{
    SY_TRY(read_trim(r, o, where, err));
    return read_cls_sep(r, o, where, err);
}

static const struct component post_processors[] = {
    { "BertProcessing", KEYS("sep", "cls"), read_cls_sep, NULL },
    { "ByteLevel", byte_level_keys, read_trim, NULL },
    { "RobertaProcessing", KEYS("sep", "cls", "trim_offsets", "add_prefix_space"), read_roberta, NULL },
    { "Sequence", KEYS("processors"), NULL, "processors" },
    { "TemplateProcessing", KEYS("single", "pair", "special_tokens"), read_template, NULL },
    { 0 }
};

/* --- parts -------------------------------------------------------------------------------------------------------------------------------- */

/* One component or a sequence of them. */
static sy_status read_component(sy__reader *r, json_t *o, const char *where, const struct component *table, int depth, sy_err *err)
{
    char text[64], place[128], known[256] = "";
    json_t *type, *list;
    SY_TRY(sy__expect(r, o, "{", where, err));
    SY_TRY(sy__get(r, o, where, "type", "\"", &type, err));
    const struct component *c = table;
    while (c->type && strcmp(c->type, json_string_value(type))) c++;
    if (!c->type) {
        for (c = table; c->type; c++) snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", *known ? ", " : "", c->type);
        return sy_fail(err, SY_EUNSUP, "%s: %s of type \"%s\" is not supported; known are %s", r->file, where, sy__shown(text, json_string_value(type)), known);
    }
    SY_TRY(sy__only_keys(r, o, where, c->keys, err));
    if (!c->list) return c->read(r, o, where, err);
    if (depth == 4) return sy_fail(err, SY_EUNSUP, "%s: %s: sequences inside sequences, %d deep", r->file, where, depth);
    SY_TRY(sy__get(r, o, where, c->list, "[", &list, err));
    for (size_t i = 0; i < json_array_size(list); i++) {
        snprintf(place, sizeof place, "%s.%s[%zu]", where, c->list, i);
        SY_TRY(read_component(r, json_array_get(list, i), place, table, depth + 1, err));
    }
    return SY_OK;
}

static sy_status read_part(sy__reader *r, json_t *root, const char *key, const struct component *table, sy_err *err)
{
    json_t *o = json_object_get(root, key);
    return o && !json_is_null(o) ? read_component(r, o, key, table, 0, err) : SY_OK;
}

sy_status sy__read_steps(sy__reader *r, json_t *root, sy_err *err)
{
    sy__step *x = NULL;
    SY_TRY(read_part(r, root, "normalizer", normalizers, err));
    SY_TRY(new_step(r, SY__STEP_TOKENS, "normalizer", &x, err));
    SY_TRY(read_part(r, root, "pre_tokenizer", pre_tokenizers, err));
    SY_TRY(read_part(r, root, "decoder", decoders, err));
    json_t *o = json_object_get(root, "decoder");
    r->t->joined_by_spaces = !o || json_is_null(o);
    return SY_OK;
}

sy_status sy__read_posts(sy__reader *r, json_t *root, sy_err *err) { return read_part(r, root, "post_processor", post_processors, err); }

static bool is_bytes(json_t *o, const char *list, bool alone)
{
    for (int depth = 0; depth < 5 && json_is_object(o); depth++) {
        const char *type = json_string_value(json_object_get(o, "type"));
        json_t *members = json_object_get(o, list);
        size_t n = json_array_size(members);
        if (type && !strcmp(type, "ByteLevel")) return true;
        if (!type || strcmp(type, "Sequence") || !n || (alone && n > 1)) return false;
        for (size_t i = 0; i + 1 < n; i++) {         /* ByteLevel in the midst: what follows sees letters */
            const char *other = json_string_value(json_object_get(json_array_get(members, i), "type"));
            if (other && (!strcmp(other, "ByteLevel") || !strcmp(other, "Sequence"))) return false;
        }
        o = json_array_get(members, n - 1);
    }
    return false;
}

static bool mentions_bytes(json_t *o, int depth)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    json_t *members = json_object_get(o, "normalizers"), *m;
    size_t i;
    if (type && !strcmp(type, "ByteLevel")) return true;
    json_array_foreach(members, i, m) if (depth < 5 && mentions_bytes(m, depth + 1)) return true;
    return false;
}

bool sy__bytes_at_both_ends(json_t *root)
{
    return is_bytes(json_object_get(root, "pre_tokenizer"), "pretokenizers", false) && is_bytes(json_object_get(root, "decoder"), "decoders", true)
        && !mentions_bytes(json_object_get(root, "normalizer"), 0);
}

bool sy__steps_are_plain(const sy_tokenizer *t)
{
    for (int i = 0; i < t->steps; i++) {
        const sy__step *x = &t->step[i];
        bool old = x->cut == sy__cut_gpt4 || x->cut == sy__cut_qwen || x->cut == sy__cut_digit || x->cut == sy__cut_digits;
        if (x->kind == SY__STEP_NORMAL ? x->normal.kind != SY__NFC : x->kind == SY__STEP_CUT ? !old : x->kind != SY__STEP_TOKENS && x->kind != SY__STEP_BYTES) return false;
    }
    for (int i = 0; i < t->posts; i++) if (t->post[i].kind == SY__POST_TEMPLATE) return false;
    return t->byte_level;
}
