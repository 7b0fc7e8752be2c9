/* model/tokenizer_json.c - tokenizer.json, read and written.
 *
 * Every field is known and either used, without influence on ids, or refused by name: a component that is passed over in silence
 * would give other ids than the model was trained with. */
#include <limits.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"
#include "core/utf8.h"
#include "model/tokenizer_parts.h"

enum { MOST_BYTES = 256 << 20, MOST_IDS = 1 << 24 };

/* --- reading: helpers ---------------------------------------------------------------------------------------------------- */

struct reader {
    const char   *file;
    sy_tokenizer *t;
    sy_buf        b, c;                 /* texts that are being turned from letters into bytes */
};

/* A text of the file for a sentence: cut short, without control characters. */
static const char *shown(char out[64], const char *s)
{
    size_t n = strlen(s), k = 0;
    for (size_t i = 0; i < n && k < 48; ) {
        uint32_t cp;
        int len = sy_utf8_next(s + i, n - i, &cp);
        if (len < 0) len = -len;
        if (cp < 32 || cp == 127) out[k++] = '?';
        else { memcpy(out + k, s + i, (size_t)len); k += (size_t)len; }
        i += (size_t)len;
        if (k >= 48 && i < n) { memcpy(out + k, "...", 3); k += 3; }
    }
    out[k] = 0;
    return out;
}

static const char *type_name(const json_t *v)
{
    static const char *const name[] = { "an object", "an array", "a string", "a whole number", "a real number", "true", "false", "null" };
    return v ? name[json_typeof(v)] : "missing";
}

/* Is `v` of the wanted kind? '{' '[' '"' 'i' (whole number) 'b' (bool), with '?' behind: null or missing is fine, too. */
static sy_status expect(const struct reader *r, const json_t *v, const char *kind, const char *where, sy_err *err)
{
    static const struct { char kind; const char *name; } kinds[] =
        { { '{', "an object" }, { '[', "an array" }, { '"', "a string" }, { 'i', "a whole number" }, { 'b', "true or false" } };
    bool fits = (*kind == '{' && json_is_object(v)) || (*kind == '[' && json_is_array(v)) || (*kind == '"' && json_is_string(v))
             || (*kind == 'i' && json_is_integer(v)) || (*kind == 'b' && json_is_boolean(v)) || (kind[1] == '?' && (!v || json_is_null(v)));
    if (fits) return SY_OK;
    size_t k = 0;
    while (kinds[k].kind != *kind) k++;
    return sy_fail(err, SY_EFORMAT, "%s: %s is %s; it must be %s", r->file, where, type_name(v), kinds[k].name);
}

/* The value of a key, of that kind; `*out` is NULL for null and missing. */
static sy_status get(const struct reader *r, const json_t *o, const char *where, const char *key, const char *kind, json_t **out, sy_err *err)
{
    char place[128];
    json_t *v = json_object_get(o, key);
    snprintf(place, sizeof place, "%s%s%s", where, *where ? "." : "", key);
    SY_TRY(expect(r, v, kind, place, err));
    *out = json_is_null(v) ? NULL : v;
    return SY_OK;
}

static sy_status get_bool(const struct reader *r, const json_t *o, const char *where, const char *key, bool otherwise, bool *out, sy_err *err)
{
    json_t *v;
    SY_TRY(get(r, o, where, key, "b?", &v, err));
    *out = v ? json_is_true(v) : otherwise;
    return SY_OK;
}

static sy_status only_keys(const struct reader *r, json_t *o, const char *where, const char *const *keys, sy_err *err)
{
    const char *key;
    json_t *v;
    char text[64];
    json_object_foreach(o, key, v) {
        int k = 0;
        while (keys[k] && strcmp(keys[k], key)) k++;
        if (!keys[k]) return sy_fail(err, SY_EUNSUP, "%s: %s%sthe field \"%s\" is not known here, so its influence on ids is not, either", r->file, where, *where ? ": " : "", shown(text, key));
    }
    return SY_OK;
}

/* The bytes that byte-level letters spell; false: they are not all such letters. */
static bool unspell(sy_buf *b, const char *s)
{
    sy_buf_clear(b);
    for (size_t i = 0, n = strlen(s); i < n; ) {
        uint32_t cp;
        i += (size_t)sy_utf8_next(s + i, n - i, &cp);          /* Jansson lets nothing through that is not UTF-8 */
        int byte = sy__letter_byte(cp);
        if (byte < 0) return false;
        sy_buf_put(b, &(char){ (char)byte }, 1);
    }
    return true;
}

/* --- reading: normalizer, pre_tokenizer, decoder: tables of components ----------------------------------------------------- */

typedef sy_status read_step(struct reader *r, json_t *o, const char *where, sy_err *err);
struct component { const char *type; const char *const *keys; read_step *read; const char *list; };   /* list: a sequence; the key of its members */

static sy_status read_nfc(struct reader *r, json_t *o, const char *where, sy_err *err)
{
    (void)o, (void)where, (void)err;
    r->t->nfc = true;
    return SY_OK;
}

static sy_status add_cut(struct reader *r, sy__cut *cut, const char *where, sy_err *err)
{
    if (r->t->cuts == SY__MAX_CUTS) return sy_fail(err, SY_EUNSUP, "%s: %s: more than %d steps", r->file, where, SY__MAX_CUTS);
    r->t->cut[r->t->cuts++] = cut;
    return SY_OK;
}

static sy_status read_digits(struct reader *r, json_t *o, const char *where, sy_err *err)
{
    bool alone;
    SY_TRY(get_bool(r, o, where, "individual_digits", false, &alone, err));
    return add_cut(r, alone ? sy__cut_digit : sy__cut_digits, where, err);
}

static const struct { const char *regex; sy__cut *cut; } splits[] = { { SY__PATTERN_GPT4, sy__cut_gpt4 }, { SY__PATTERN_QWEN, sy__cut_qwen } };

/* The patterns match everywhere, so cutting around matches and dropping what is no match are the same. */
static sy_status read_split(struct reader *r, json_t *o, const char *where, sy_err *err)
{
    static const char *const keys[] = { "Regex", NULL };
    json_t *pattern, *regex, *behavior;
    bool invert;
    char text[64], place[160];
    SY_TRY(get(r, o, where, "pattern", "{", &pattern, err));
    SY_TRY(get(r, o, where, "behavior", "\"", &behavior, err));
    SY_TRY(get_bool(r, o, where, "invert", false, &invert, err));
    snprintf(place, sizeof place, "%s.pattern", where);
    SY_TRY(only_keys(r, pattern, place, keys, err));
    SY_TRY(get(r, pattern, place, "Regex", "\"", &regex, err));
    if (strcmp(json_string_value(behavior), invert ? "Removed" : "Isolated"))
        return sy_fail(err, SY_EUNSUP, "%s: %s.behavior \"%s\" with invert %s is not supported; Isolated without and Removed with it are", r->file, where, shown(text, json_string_value(behavior)), invert ? "true" : "false");
    for (size_t i = 0; i < SY_COUNT(splits); i++)
        if (!strcmp(splits[i].regex, json_string_value(regex))) return add_cut(r, splits[i].cut, where, err);
    return sy_fail(err, SY_EUNSUP, "%s: %s.Regex is \"%s\", a pattern that is not supported; those of GPT-2, GPT-4, Llama 3 and Qwen are", r->file, place, shown(text, json_string_value(regex)));
}

static sy_status read_byte_level(struct reader *r, json_t *o, const char *where, sy_err *err)
{
    bool regex, trim;
    SY_TRY(get_bool(r, o, where, "add_prefix_space", true, &r->t->prefix_space, err));
    SY_TRY(get_bool(r, o, where, "trim_offsets", true, &trim, err));          /* of offsets, which are not asked for here */
    SY_TRY(get_bool(r, o, where, "use_regex", true, &regex, err));
    return regex ? add_cut(r, sy__cut_gpt2, where, err) : SY_OK;
}

static sy_status read_bytes_back(struct reader *r, json_t *o, const char *where, sy_err *err)
{
    static const char *const flag[] = { "add_prefix_space", "trim_offsets", "use_regex" };   /* none changes what a decoder does */
    for (size_t i = 0; i < SY_COUNT(flag); i++) {
        bool unused;
        SY_TRY(get_bool(r, o, where, flag[i], true, &unused, err));
    }
    return SY_OK;
}

static const char *const type_only[] = { "type", NULL };
static const char *const byte_level_keys[] = { "type", "add_prefix_space", "trim_offsets", "use_regex", NULL };
static const char *const digits_keys[] = { "type", "individual_digits", NULL };

static const struct component normalizers[] = {
    { "NFC", type_only, read_nfc, NULL },
    { "Sequence", (const char *const[]){ "type", "normalizers", NULL }, NULL, "normalizers" },
    { 0 }
};
static const struct component pre_tokenizers[] = {
    { "ByteLevel", byte_level_keys, read_byte_level, NULL },
    { "Digits", digits_keys, read_digits, NULL },
    { "Sequence", (const char *const[]){ "type", "pretokenizers", NULL }, NULL, "pretokenizers" },
    { "Split", (const char *const[]){ "type", "pattern", "behavior", "invert", NULL }, read_split, NULL },
    { 0 }
};
static const struct component post_processors[] = {              /* ByteLevel moves offsets only */
    { "ByteLevel", byte_level_keys, read_bytes_back, NULL },
    { 0 }
};
static const struct component decoders[] = {
    { "ByteLevel", byte_level_keys, read_bytes_back, NULL },
    { "Sequence", (const char *const[]){ "type", "decoders", NULL }, NULL, "decoders" },
    { 0 }
};

/* One component or a sequence of them. *bytes: how many were ByteLevel; in a row of steps it comes last, because what follows would
 * see letters that stand for bytes. */
static sy_status read_component(struct reader *r, json_t *o, const char *where, const struct component *table, int depth, int *bytes, sy_err *err)
{
    char text[64], place[128], known[128] = "";
    json_t *type, *list;
    SY_TRY(expect(r, o, "{", where, err));
    SY_TRY(get(r, o, where, "type", "\"", &type, err));
    const struct component *c = table;
    while (c->type && strcmp(c->type, json_string_value(type))) c++;
    if (!c->type) {
        for (c = table; c->type; c++) snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", *known ? ", " : "", c->type);
        return sy_fail(err, SY_EUNSUP, "%s: %s of type \"%s\" is not supported; known are %s", r->file, where, shown(text, json_string_value(type)), known);
    }
    if (*bytes) return sy_fail(err, SY_EUNSUP, "%s: %s (%s) comes after ByteLevel, which must be the last step", r->file, where, c->type);
    SY_TRY(only_keys(r, o, where, c->keys, err));
    if (!c->list) {
        *bytes += c->keys == byte_level_keys;
        return c->read(r, o, where, err);
    }
    if (depth == 4) return sy_fail(err, SY_EUNSUP, "%s: %s: sequences inside sequences, %d deep", r->file, where, depth);
    SY_TRY(get(r, o, where, c->list, "[", &list, err));
    for (size_t i = 0; i < json_array_size(list); i++) {
        snprintf(place, sizeof place, "%s.%s[%zu]", where, c->list, i);
        SY_TRY(read_component(r, json_array_get(list, i), place, table, depth + 1, bytes, err));
    }
    return SY_OK;
}

static sy_status read_components(struct reader *r, json_t *root, sy_err *err)
{
    static const struct { const char *key; const struct component *table; bool needed; } part[] = {
        { "normalizer", normalizers, false }, { "pre_tokenizer", pre_tokenizers, true },
        { "post_processor", post_processors, false }, { "decoder", decoders, true },
    };
    for (size_t i = 0; i < SY_COUNT(part); i++) {
        json_t *o = json_object_get(root, part[i].key);
        int bytes = 0;
        if (o && !json_is_null(o)) SY_TRY(read_component(r, o, part[i].key, part[i].table, 0, &bytes, err));
        if (part[i].needed && !bytes) return sy_fail(err, SY_EUNSUP, "%s: %s has no ByteLevel; only byte-level BPE is supported", r->file, part[i].key);
    }
    return SY_OK;
}

/* --- reading: the model -------------------------------------------------------------------------------------------------- */

static sy_status read_flags(struct reader *r, json_t *model, sy_err *err)
{
    static const char *const keys[] = { "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
                                        "ignore_merges", "vocab", "merges", NULL };
    json_t *v;
    char text[64];
    bool flag;
    SY_TRY(only_keys(r, model, "model", keys, err));
    SY_TRY(get(r, model, "model", "type", "\"", &v, err));
    if (strcmp(json_string_value(v), "BPE")) return sy_fail(err, SY_EUNSUP, "%s: a model of type \"%s\" is not supported; BPE is", r->file, shown(text, json_string_value(v)));
    v = json_object_get(model, "dropout");
    if (v && !json_is_null(v) && !(json_is_number(v) && json_number_value(v) == 0))
        return sy_fail(err, SY_EUNSUP, "%s: model.dropout makes ids random; set it to null", r->file);
    SY_TRY(get(r, model, "model", "unk_token", "\"?", &v, err));              /* bytes without a symbol are refused when they are met */
    for (int i = 3; i <= 4; i++) {
        SY_TRY(get(r, model, "model", keys[i], "\"?", &v, err));
        if (v && *json_string_value(v)) return sy_fail(err, SY_EUNSUP, "%s: model.%s is \"%s\"; byte-level BPE with one is not supported", r->file, keys[i], shown(text, json_string_value(v)));
    }
    SY_TRY(get_bool(r, model, "model", "fuse_unk", false, &flag, err));
    SY_TRY(get_bool(r, model, "model", "byte_fallback", false, &flag, err));
    if (flag) return sy_fail(err, SY_EUNSUP, "%s: model.byte_fallback is true; it is supported with bytes as letters (ByteLevel) only, where it must be false", r->file);
    return get_bool(r, model, "model", "ignore_merges", false, &r->t->ignore_merges, err);
}

/* The texts of model.vocab by id: 0 .. n-1, each once. */
static sy_status order_vocab(struct reader *r, json_t *vocab, const char **by_id, sy_err *err)
{
    const char *key;
    json_t *v;
    char text[64], other[64];
    long long n = (long long)json_object_size(vocab);
    json_object_foreach(vocab, key, v) {
        if (!json_is_integer(v)) return sy_fail(err, SY_EFORMAT, "%s: model.vocab: the id of \"%s\" is %s; it must be a whole number", r->file, shown(text, key), type_name(v));
        long long id = json_integer_value(v);
        if (id < 0 || id >= n) return sy_fail(err, SY_EFORMAT, "%s: model.vocab: \"%s\" has id %lld, beyond the vocabulary of %lld (0 to %lld)", r->file, shown(text, key), id, n, n - 1);
        if (by_id[id]) return sy_fail(err, SY_EFORMAT, "%s: model.vocab: \"%s\" and \"%s\" both have id %lld", r->file, shown(other, by_id[id]), shown(text, key), id);
        if (!*key) return sy_fail(err, SY_EFORMAT, "%s: model.vocab: id %lld is an empty text", r->file, id);
        if (strlen(key) > 2 * SY__TOKEN_MAX) return sy_fail(err, SY_EUNSUP, "%s: model.vocab: id %lld has a text of %zu bytes; %d is the most", r->file, id, strlen(key), 2 * SY__TOKEN_MAX);
        by_id[id] = key;
    }
    return SY_OK;
}

/* What an entry of added_tokens says; `content` is borrowed from the JSON. */
static sy_status read_added(struct reader *r, json_t *list, size_t i, sy__added *a, const char **content, sy_err *err)
{
    static const char *const keys[] = { "id", "content", "single_word", "lstrip", "rstrip", "normalized", "special", NULL };
    char where[64];
    json_t *o = json_array_get(list, i), *id, *text;
    snprintf(where, sizeof where, "added_tokens[%zu]", i);
    SY_TRY(expect(r, o, "{", where, err));
    SY_TRY(only_keys(r, o, where, keys, err));
    SY_TRY(get(r, o, where, "id", "i", &id, err));
    SY_TRY(get(r, o, where, "content", "\"", &text, err));
    SY_TRY(get_bool(r, o, where, "special", false, &a->special, err));
    SY_TRY(get_bool(r, o, where, "normalized", !a->special, &a->normalized, err));
    SY_TRY(get_bool(r, o, where, "lstrip", false, &a->lstrip, err));
    SY_TRY(get_bool(r, o, where, "rstrip", false, &a->rstrip, err));
    SY_TRY(get_bool(r, o, where, "single_word", false, &a->single_word, err));
    size_t n = json_string_length(text);
    if (!n) return sy_fail(err, SY_EFORMAT, "%s: %s.content is empty; it would be found everywhere", r->file, where);
    if (n > SY__TOKEN_MAX) return sy_fail(err, SY_EUNSUP, "%s: %s.content has %zu bytes; %d is the most", r->file, where, n, SY__TOKEN_MAX);
    json_int_t number = json_integer_value(id);
    if (number < 0 || number >= MOST_IDS) return sy_fail(err, SY_EFORMAT, "%s: %s.id is %lld; ids go from 0 to %d", r->file, where, (long long)number, MOST_IDS - 1);
    a->id = (int)number;
    *content = json_string_value(text);
    return SY_OK;
}

/* Added tokens that are in the vocabulary have their id there; the others follow it, in order and without gaps, as the `tokenizers`
 * package numbers them whatever the file says. */
static sy_status place_added(struct reader *r, json_t *vocab, size_t i, const sy__added *a, const char *content, int next, sy_err *err)
{
    char text[64];
    json_t *known = json_object_get(vocab, content);
    if (known && json_integer_value(known) != a->id)
        return sy_fail(err, SY_EFORMAT, "%s: added_tokens[%zu] gives \"%s\" the id %d, model.vocab %lld", r->file, i, shown(text, content), a->id, (long long)json_integer_value(known));
    if (known || a->id == next) return SY_OK;
    if (a->id < next) return sy_fail(err, SY_EFORMAT, "%s: added_tokens[%zu] (\"%s\") has the id %d of another token; the next free one is %d", r->file, i, shown(text, content), a->id, next);
    return sy_fail(err, SY_EFORMAT, "%s: added_tokens[%zu] (\"%s\") has id %d, beyond the vocabulary; the next free one is %d", r->file, i, shown(text, content), a->id, next);
}

static sy_status read_tokens(struct reader *r, json_t *vocab, json_t *list, const char **by_id, sy_err *err)
{
    sy_tokenizer *t = r->t;
    int n = (int)json_object_size(vocab);
    unsigned char *special = t->whole;                           /* free until the tokenizer is sealed */
    SY_TRY(order_vocab(r, vocab, by_id, err));
    for (size_t i = 0; i < json_array_size(list); i++) {         /* first a look at which texts of the vocabulary are special */
        sy__added *a = &t->added[t->n_added];
        const char *content = NULL;
        SY_TRY(read_added(r, list, i, a, &content, err));
        SY_TRY(place_added(r, vocab, i, a, content, n, err));
        if (a->id == n) by_id[n++] = content;
        special[a->id] = a->special;
        t->n_added++;
    }
    for (int id = 0; id < n; id++) {
        bool model = id < (int)json_object_size(vocab), bytes = model && !special[id] && unspell(&r->b, by_id[id]);
        if (bytes) sy__tokenizer_add(t, r->b.data, r->b.n, 0, true);
        else sy__tokenizer_add(t, by_id[id], strlen(by_id[id]), (special[id] ? SY__SPECIAL : 0) | (model && !special[id] ? SY__RAW : 0), model);
        special[id] = 0;
    }
    for (int i = 0; i < t->n_added; i++) {
        char text[64];
        size_t len;
        const char *s = sy__tokenizer_text(t, t->added[i].id, &len);
        if (!r->b.failed && !t->text.failed && strcmp(s, by_id[t->added[i].id]))
            return sy_fail(err, SY_EUNSUP, "%s: added_tokens[%d] (\"%s\") is in model.vocab, too, where it spells other bytes", r->file, i, shown(text, by_id[t->added[i].id]));
    }
    return r->b.failed ? sy_fail(err, SY_ENOMEM, "%s: no memory for its vocabulary", r->file) : sy__tokenizer_index(t, err);
}

/* The two sides of merge i: "left right" or ["left", "right"], as copies in r->b with a NUL between. */
static sy_status sides(struct reader *r, const json_t *m, size_t i, const char **left, const char **right, sy_err *err)
{
    const char *space = NULL, *s = json_string_value(m);
    sy_buf_clear(&r->c);
    if (s && (space = strchr(s, ' ')) != NULL && space != s && space[1] && !strchr(space + 1, ' ')) {
        sy_buf_put(&r->c, s, strlen(s));
        if (r->c.failed) return sy_fail(err, SY_ENOMEM, "%s: no memory for its merges", r->file);
        r->c.data[space - s] = 0;
        *left = r->c.data;
        *right = r->c.data + (space - s) + 1;
        return SY_OK;
    }
    *left = json_string_value(json_array_get(m, 0));
    *right = json_string_value(json_array_get(m, 1));
    if (json_array_size(m) == 2 && *left && *right) return SY_OK;
    return sy_fail(err, SY_EFORMAT, "%s: model.merges[%zu] must be two tokens: \"left right\" or [\"left\", \"right\"]", r->file, i);
}

static sy_status find_side(struct reader *r, const char *s, size_t i, int32_t *id, sy_err *err)
{
    char text[64];
    *id = unspell(&r->b, s) && r->b.n ? sy__texts_find(&r->t->words, r->b.data, r->b.n, sy__hash(r->b.data, r->b.n)) : -1;
    if (*id >= 0 || r->b.failed) return r->b.failed ? sy_fail(err, SY_ENOMEM, "%s: no memory for its merges", r->file) : SY_OK;
    return sy_fail(err, SY_EFORMAT, "%s: model.merges[%zu] names \"%s\", which is no byte-level token of model.vocab", r->file, i, shown(text, s));
}

static sy_status read_merges(struct reader *r, const json_t *merges, sy_err *err)
{
    sy_tokenizer *t = r->t;
    char a[64], b[64];
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const char *left = NULL, *right = NULL, *text;
        size_t n;
        sy__merge m;
        int twice;
        SY_TRY(sides(r, json_array_get(merges, i), i, &left, &right, err));
        SY_TRY(find_side(r, left, i, &m.left, err));
        SY_TRY(find_side(r, right, i, &m.right, err));
        sy_buf_clear(&r->b);
        text = sy__tokenizer_text(t, m.left, &n), sy_buf_put(&r->b, text, n);
        text = sy__tokenizer_text(t, m.right, &n), sy_buf_put(&r->b, text, n);
        if (r->b.failed) return sy_fail(err, SY_ENOMEM, "%s: no memory for its merges", r->file);
        m.id = sy__texts_find(&t->words, r->b.data, r->b.n, sy__hash(r->b.data, r->b.n));
        if (m.id < 0) return sy_fail(err, SY_EFORMAT, "%s: model.merges[%zu] joins \"%s\" and \"%s\" to a text that is no token of model.vocab", r->file, i, shown(a, left), shown(b, right));
        SY_TRY(sy__bpe_add(&t->bpe, m, &twice, err));
        if (twice >= 0) return sy_fail(err, SY_EFORMAT, "%s: model.merges[%zu] (\"%s\" and \"%s\") is model.merges[%d] again", r->file, i, shown(a, left), shown(b, right), twice);
    }
    return SY_OK;
}

/* --- reading: the whole -------------------------------------------------------------------------------------------------- */

static sy_status fill(struct reader *r, json_t *root, json_t *vocab, json_t *merges, json_t *list, sy_err *err)
{
    size_t ids = json_object_size(vocab) + json_array_size(list);
    const char **by_id = sy_calloc(ids + 1, sizeof *by_id);
    if (!by_id) return sy_fail(err, SY_ENOMEM, "%s: no memory for %zu tokens", r->file, ids);
    sy_status st = read_components(r, root, err);
    if (st == SY_OK) st = read_flags(r, json_object_get(root, "model"), err);
    if (st == SY_OK) st = read_tokens(r, vocab, list, by_id, err);
    if (st == SY_OK) st = read_merges(r, merges, err);
    sy_free(by_id);
    if (st != SY_OK) return st;
    r->t->eot = sy_tokenizer_find(r->t, SY__EOT_TEXT);
    return sy_within(err, sy__tokenizer_seal(r->t, err), "%s", r->file);
}

static sy_status from_json(sy_tokenizer **out, json_t *root, const char *file, sy_err *err)
{
    static const char *const keys[] = { "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model", NULL };
    struct reader r = { .file = file };
    json_t *model, *vocab, *merges, *list, *v;
    char text[64];
    SY_TRY(expect(&r, root, "{", "the file", err));
    SY_TRY(only_keys(&r, root, "", keys, err));
    SY_TRY(get(&r, root, "", "version", "\"?", &v, err));
    if (v && strcmp(json_string_value(v), "1.0")) return sy_fail(err, SY_EUNSUP, "%s: version \"%s\" is not known; 1.0 is", file, shown(text, json_string_value(v)));
    for (int i = 1; i <= 2; i++)
        if ((v = json_object_get(root, keys[i])) != NULL && !json_is_null(v))
            return sy_fail(err, SY_EUNSUP, "%s: %s is set; the engine never cuts or pads what it encodes: set it to null", file, keys[i]);
    SY_TRY(get(&r, root, "", "added_tokens", "[?", &list, err));
    SY_TRY(get(&r, root, "", "model", "{", &model, err));
    SY_TRY(get(&r, model, "model", "vocab", "{", &vocab, err));
    SY_TRY(get(&r, model, "model", "merges", "[", &merges, err));
    if (json_object_size(vocab) + json_array_size(list) > MOST_IDS || json_array_size(merges) > MOST_IDS)
        return sy_fail(err, SY_EUNSUP, "%s: %zu tokens and %zu merges; %d is the most", file, json_object_size(vocab) + json_array_size(list), json_array_size(merges), MOST_IDS);
    SY_TRY(sy__tokenizer_new(&r.t, (int)(json_object_size(vocab) + json_array_size(list)), (int)json_array_size(merges), (int)json_array_size(list), err));
    sy_status st = fill(&r, root, vocab, merges, list, err);
    sy_buf_free(&r.b);
    sy_buf_free(&r.c);
    if (st != SY_OK) { sy_tokenizer_close(r.t); return st; }
    *out = r.t;
    return SY_OK;
}

sy_status sy_tokenizer_from_memory(sy_tokenizer **out, const char *json, size_t n, const char *name, sy_err *err)
{
    json_t *root;
    SY_TRY(sy_json_parse(&root, json, n, name, err));
    sy_status st = from_json(out, root, name, err);
    json_decref(root);
    return st;
}

/* tokenizer_config.json beside it says which token ends a text; without one it is <|endoftext|>, where there is such a token. */
static sy_status read_config(sy_tokenizer *t, const char *path, sy_err *err)
{
    struct reader r = { .file = path, .t = t };
    json_t *root, *eos;
    char text[64];
    SY_TRY(sy_json_read(&root, path, MOST_BYTES, err));
    sy_status st = expect(&r, root, "{", "the file", err);
    eos = json_object_get(root, "eos_token");
    if (json_is_object(eos)) eos = json_object_get(eos, "content");
    if (st == SY_OK && json_object_get(root, "eos_token")) {
        st = expect(&r, eos, "\"?", "eos_token", err);
        t->eot = json_is_string(eos) ? sy_tokenizer_find(t, json_string_value(eos)) : -1;
        if (st == SY_OK && json_is_string(eos) && t->eot < 0)
            st = sy_fail(err, SY_EFORMAT, "%s: eos_token \"%s\" is no special token of the tokenizer.json beside it", path, shown(text, json_string_value(eos)));
    }
    json_decref(root);
    return st;
}

sy_status sy_tokenizer_load(sy_tokenizer **out, const char *path, sy_err *err)
{
    char file[1024], config[1024];
    json_t *root;
    sy_tokenizer *t;
    if (sy_is_dir(path)) {
        SY_TRY(sy_path(file, sizeof file, path, "tokenizer.json", err));
        path = file;
    }
    SY_TRY(sy_json_read(&root, path, MOST_BYTES, err));
    sy_status st = from_json(&t, root, path, err);
    json_decref(root);
    if (st != SY_OK) return st;
    const char *slash = strrchr(path, '/');
    snprintf(config, sizeof config, "%.*s", slash ? (int)(slash - path + 1) : 0, path);
    if (strlen(config) + sizeof "tokenizer_config.json" <= sizeof config) strcat(config, "tokenizer_config.json");
    if (sy_file_exists(config)) {
        st = read_config(t, config, err);
        sy__tokenizer_digest(t);
    }
    if (st != SY_OK) { sy_tokenizer_close(t); return st; }
    *out = t;
    return SY_OK;
}

/* --- writing ------------------------------------------------------------------------------------------------------------- */

static sy_status put_file(const char *dir, const char *name, const sy_buf *b, sy_err *err)
{
    char path[1024];
    SY_TRY(sy_path(path, sizeof path, dir, name, err));
    if (b->failed) return sy_fail(err, SY_ENOMEM, "no memory to write %s", path);
    return sy_file_write(path, b->data, b->n, err);
}

static void put_byte_level(sy_json *j, const sy_tokenizer *t)
{
    sy_json_begin(j, '{');
    sy_json_key(j, "type"), sy_json_text(j, "ByteLevel");
    sy_json_key(j, "add_prefix_space"), sy_json_bool(j, t->prefix_space);
    sy_json_key(j, "trim_offsets"), sy_json_bool(j, true);
    sy_json_key(j, "use_regex"), sy_json_bool(j, t->cuts && t->cut[t->cuts - 1] == sy__cut_gpt2);
    sy_json_end(j, '}');
}

static void put_cut(sy_json *j, sy__cut *cut)
{
    size_t k = 0;
    while (k < SY_COUNT(splits) && splits[k].cut != cut) k++;
    sy_json_begin(j, '{');
    sy_json_key(j, "type"), sy_json_text(j, k < SY_COUNT(splits) ? "Split" : "Digits");
    if (k < SY_COUNT(splits)) {
        sy_json_key(j, "pattern"), sy_json_begin(j, '{');
        sy_json_key(j, "Regex"), sy_json_text(j, splits[k].regex);
        sy_json_end(j, '}');
        sy_json_key(j, "behavior"), sy_json_text(j, "Isolated");
        sy_json_key(j, "invert"), sy_json_bool(j, false);
    } else sy_json_key(j, "individual_digits"), sy_json_bool(j, cut == sy__cut_digit);
    sy_json_end(j, '}');
}

static void put_pre_tokenizer(sy_json *j, const sy_tokenizer *t)
{
    bool sequence = t->cuts && t->cut[0] != sy__cut_gpt2;
    if (sequence) {
        sy_json_begin(j, '{');
        sy_json_key(j, "type"), sy_json_text(j, "Sequence");
        sy_json_key(j, "pretokenizers"), sy_json_begin(j, '[');
    }
    for (int i = 0; i < t->cuts && t->cut[i] != sy__cut_gpt2; i++) put_cut(j, t->cut[i]);
    put_byte_level(j, t);
    if (sequence) {
        sy_json_end(j, ']');
        sy_json_end(j, '}');
    }
}

static void put_added(sy_json *j, const sy_tokenizer *t)
{
    sy_json_begin(j, '[');
    for (int i = 0; i < t->n_added; i++) {
        const sy__added *a = &t->added[i];
        size_t n;
        const char *text = sy__tokenizer_text(t, a->id, &n);
        sy_json_begin(j, '{');
        sy_json_key(j, "id"), sy_json_int(j, a->id);
        sy_json_key(j, "content"), sy_json_bytes(j, text, n);
        sy_json_key(j, "single_word"), sy_json_bool(j, a->single_word);
        sy_json_key(j, "lstrip"), sy_json_bool(j, a->lstrip);
        sy_json_key(j, "rstrip"), sy_json_bool(j, a->rstrip);
        sy_json_key(j, "normalized"), sy_json_bool(j, a->normalized);
        sy_json_key(j, "special"), sy_json_bool(j, a->special);
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
}

/* The text of a token as tokenizer.json spells it, appended. */
static void spell(sy_buf *b, const sy_tokenizer *t, int id)
{
    size_t n;
    const char *s = sy__tokenizer_text(t, id, &n);
    if (t->mark[id]) { sy_buf_put(b, s, n); return; }
    for (size_t i = 0; i < n; i++) {
        char utf8[4];
        sy_buf_put(b, utf8, (size_t)sy_utf8_put(sy__byte_letter((unsigned char)s[i]), utf8));
    }
}

/* `word` is working memory. */
static void put_model(sy_json *j, const sy_tokenizer *t, sy_buf *word)
{
    static const char *const none[] = { "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix" };
    sy_json_begin(j, '{');
    sy_json_key(j, "type"), sy_json_text(j, "BPE");
    for (size_t i = 0; i < SY_COUNT(none); i++) sy_json_key(j, none[i]), sy_json_null(j);
    sy_json_key(j, "fuse_unk"), sy_json_bool(j, false);
    sy_json_key(j, "byte_fallback"), sy_json_bool(j, false);
    sy_json_key(j, "ignore_merges"), sy_json_bool(j, t->ignore_merges);
    sy_json_key(j, "vocab"), sy_json_begin(j, '{');
    for (int id = 0; id < t->model && !word->failed; id++) {
        sy_buf_clear(word);
        spell(word, t, id);
        sy_json_key(j, word->failed ? "" : word->data), sy_json_int(j, id);
    }
    sy_json_end(j, '}');
    sy_json_key(j, "merges"), sy_json_begin(j, '[');
    for (int i = 0; i < t->bpe.n_merges && !word->failed; i++) {  /* "left right", which old readers know, too: a space is spelled otherwise */
        sy_buf_clear(word);
        spell(word, t, t->bpe.merge[i].left);
        sy_buf_put(word, " ", 1);
        spell(word, t, t->bpe.merge[i].right);
        sy_json_text(j, word->failed ? "" : word->data);
    }
    sy_json_end(j, ']');
    sy_json_end(j, '}');
}

void sy__tokenizer_write(const sy_tokenizer *t, sy_buf *b)
{
    sy_json j;
    sy_buf word = { 0 };
    sy_json_open(&j, b, 1);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "version"), sy_json_text(&j, "1.0");
    sy_json_key(&j, "truncation"), sy_json_null(&j);
    sy_json_key(&j, "padding"), sy_json_null(&j);
    sy_json_key(&j, "added_tokens"), put_added(&j, t);
    sy_json_key(&j, "normalizer");
    if (t->nfc) {
        sy_json_begin(&j, '{');
        sy_json_key(&j, "type"), sy_json_text(&j, "NFC");
        sy_json_end(&j, '}');
    } else sy_json_null(&j);
    sy_json_key(&j, "pre_tokenizer"), put_pre_tokenizer(&j, t);
    sy_json_key(&j, "post_processor"), sy_json_null(&j);
    sy_json_key(&j, "decoder"), put_byte_level(&j, t);
    sy_json_key(&j, "model"), put_model(&j, t, &word);
    sy_json_end(&j, '}');
    sy_buf_text(b, "\n");
    b->failed = b->failed || word.failed;
    sy_buf_free(&word);
}

sy_status sy_tokenizer_save(const sy_tokenizer *t, const char *dir, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy__tokenizer_write(t, &b);
    sy_status st = put_file(dir, "tokenizer.json", &b, err);
    sy_buf_clear(&b);
    if (st == SY_OK) {
        sy_json_open(&j, &b, 2);
        sy_json_begin(&j, '{');
        sy_json_key(&j, "tokenizer_class"), sy_json_text(&j, "PreTrainedTokenizerFast");
        sy_json_key(&j, "eos_token"), sy_json_text(&j, sy_tokenizer_special(t, t->eot));
        sy_json_key(&j, "clean_up_tokenization_spaces"), sy_json_bool(&j, false);
        sy_json_end(&j, '}');
        sy_buf_text(&b, "\n");
        st = put_file(dir, "tokenizer_config.json", &b, err);
    }
    sy_buf_free(&b);
    return st;
}
