/* model/tokenizer_json.c - tokenizer.json, read and written.
 *
 * Every field is known and either used, without influence on ids, or refused by name: a component that is passed over in silence
 * would give other ids than the model was trained with. */
#include <limits.h>
#include <math.h>

#include "core/alloc.h"
#include "core/sha256.h"
#include "core/utf8.h"
#include "model/tokenizer_config.h"
#include "model/tokenizer_read.h"

enum { MOST_IDS = 1 << 24 };

/* --- reading: the model -------------------------------------------------------------------------------------------------- */

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
    return !b->failed;
}

/* What BPE says about itself; `unk` is borrowed. */
static sy_status read_bpe(sy__reader *r, json_t *model, sy_err *err)
{
    static const char *const keys[] = { "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
                                        "ignore_merges", "vocab", "merges", NULL };
    sy_tokenizer *t = r->t;
    SY_TRY(sy__only_keys(r, model, "model", keys, err));
    json_t *v = json_object_get(model, "dropout");
    if (v && !json_is_null(v) && !(json_is_number(v) && json_number_value(v) == 0))
        return sy_fail(err, SY_EUNSUP, "%s: model.dropout makes ids random; set it to null", r->file);
    SY_TRY(sy__get_copy(r, model, "model", "continuing_subword_prefix", false, &t->words.prefix, err));
    SY_TRY(sy__get_copy(r, model, "model", "end_of_word_suffix", false, &t->words.suffix, err));
    SY_TRY(sy__get_bool(r, model, "model", "fuse_unk", false, &t->words.fuse_unk, err));
    SY_TRY(sy__get_bool(r, model, "model", "byte_fallback", false, &t->words.byte_fallback, err));
    SY_TRY(sy__get_bool(r, model, "model", "ignore_merges", false, &t->ignore_merges, err));
    t->byte_level = t->byte_level && !t->words.prefix && !t->words.suffix && !t->words.byte_fallback;
    t->words.kind = t->byte_level ? SY__BYTE_BPE : SY__CHAR_BPE;
    return SY_OK;
}

static sy_status read_unigram(sy__reader *r, json_t *model, sy_err *err)
{
    long long unk;
    json_t *vocab;
    SY_TRY(sy__only_keys(r, model, "model", (const char *const[]){ "type", "unk_id", "vocab", "byte_fallback", NULL }, err));
    SY_TRY(sy__get(r, model, "model", "vocab", "[", &vocab, err));
    SY_TRY(sy__get_int(r, model, "model", "unk_id", -1, -1, (long long)json_array_size(vocab) - 1, &unk, err));
    r->t->words.unk = (int32_t)unk;
    r->t->words.kind = SY__UNIGRAM;
    return sy__get_bool(r, model, "model", "byte_fallback", false, &r->t->words.byte_fallback, err);
}

static sy_status read_wordpiece(sy__reader *r, json_t *model, sy_err *err)
{
    long long most;
    SY_TRY(sy__only_keys(r, model, "model", (const char *const[]){ "type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab", NULL }, err));
    SY_TRY(sy__get_copy(r, model, "model", "continuing_subword_prefix", true, &r->t->words.prefix, err));
    SY_TRY(sy__get_int(r, model, "model", "max_input_chars_per_word", 100, 0, LLONG_MAX, &most, err));
    r->t->words.most_chars = (size_t)most;
    r->t->words.kind = SY__WORDPIECE;
    return SY_OK;
}

static sy_status read_wordlevel(sy__reader *r, json_t *model, sy_err *err)
{
    r->t->words.kind = SY__WORDLEVEL;
    return sy__only_keys(r, model, "model", (const char *const[]){ "type", "unk_token", "vocab", NULL }, err);
}

static const struct { const char *type; sy_status (*read)(sy__reader *r, json_t *model, sy_err *err); } models[] = {
    { "BPE", read_bpe }, { "Unigram", read_unigram }, { "WordLevel", read_wordlevel }, { "WordPiece", read_wordpiece },
};

/* Files of long ago leave the type out: what has merges is BPE. */
static sy_status read_model(sy__reader *r, json_t *model, sy_err *err)
{
    json_t *type;
    char text[64];
    SY_TRY(sy__get(r, model, "model", "type", json_object_get(model, "merges") ? "\"?" : "\"", &type, err));
    r->t->byte_level = false;
    for (size_t i = 0; i < SY_COUNT(models); i++) {
        if (type ? strcmp(models[i].type, json_string_value(type)) : i > 0) continue;
        r->t->byte_level = models[i].read == read_bpe;
        return models[i].read(r, model, err);
    }
    return sy_fail(err, SY_EUNSUP, "%s: a model of type \"%s\" is not supported; BPE, Unigram, WordLevel and WordPiece are", r->file, sy__shown(text, json_string_value(type)));
}

/* The texts of Unigram's vocab, which is a list of [text, score], by id. */
static sy_status list_vocab(sy__reader *r, json_t *vocab, const char **by_id, sy_err *err)
{
    size_t n = json_array_size(vocab);
    double *score = sy_malloc(sy_mul_size(n + 1, sizeof *score)), least = INFINITY;
    if (!score) return sy_fail(err, SY_ENOMEM, "%s: no memory for %zu scores", r->file, n);
    r->t->words.score = score;
    for (size_t i = 0; i < n; i++) {
        char where[64];
        json_t *pair = json_array_get(vocab, i), *text = json_array_get(pair, 0), *v = json_array_get(pair, 1);
        snprintf(where, sizeof where, "model.vocab[%zu]", i);
        SY_TRY(sy__expect(r, pair, "[", where, err));
        if (json_array_size(pair) != 2 || !json_is_string(text) || !json_is_number(v)) return sy_fail(err, SY_EFORMAT, "%s: %s must be a text and a score", r->file, where);
        if (json_string_length(text) > 2 * SY__TOKEN_MAX) return sy_fail(err, SY_EUNSUP, "%s: %s has a text of %zu bytes; %d is the most", r->file, where, json_string_length(text), 2 * SY__TOKEN_MAX);
        by_id[i] = json_string_value(text);
        score[i] = json_number_value(v);
        if (score[i] < least) least = score[i];
    }
    r->t->words.unk_score = least - 10;              /* of a character that the vocabulary does not have */
    return SY_OK;
}

/* The texts of model.vocab by id: 0 .. n-1, each once. */
static sy_status order_vocab(sy__reader *r, json_t *vocab, const char **by_id, sy_err *err)
{
    const char *key;
    json_t *v;
    char text[64], other[64];
    long long n = (long long)json_object_size(vocab);
    json_object_foreach(vocab, key, v) {
        if (!json_is_integer(v)) return sy_fail(err, SY_EFORMAT, "%s: model.vocab: the id of \"%s\" is %s; it must be a whole number", r->file, sy__shown(text, key), sy__json_type(v));
        long long id = json_integer_value(v);
        if (id < 0 || id >= n) return sy_fail(err, SY_EFORMAT, "%s: model.vocab: \"%s\" has id %lld, beyond the vocabulary of %lld (0 to %lld)", r->file, sy__shown(text, key), id, n, n - 1);
        if (by_id[id]) return sy_fail(err, SY_EFORMAT, "%s: model.vocab: \"%s\" and \"%s\" both have id %lld", r->file, sy__shown(other, by_id[id]), sy__shown(text, key), id);
        if (!*key) return sy_fail(err, SY_EFORMAT, "%s: model.vocab: id %lld is an empty text", r->file, id);
        if (strlen(key) > 2 * SY__TOKEN_MAX) return sy_fail(err, SY_EUNSUP, "%s: model.vocab: id %lld has a text of %zu bytes; %d is the most", r->file, id, strlen(key), 2 * SY__TOKEN_MAX);
        by_id[id] = key;
    }
    return SY_OK;
}

/* What an entry of added_tokens says; `content` is borrowed from the JSON. */
static sy_status read_added(sy__reader *r, json_t *list, size_t i, sy__added *a, const char **content, sy_err *err)
{
    static const char *const keys[] = { "id", "content", "single_word", "lstrip", "rstrip", "normalized", "special", NULL };
    char where[64];
    json_t *o = json_array_get(list, i), *id, *text;
    snprintf(where, sizeof where, "added_tokens[%zu]", i);
    SY_TRY(sy__expect(r, o, "{", where, err));
    SY_TRY(sy__only_keys(r, o, where, keys, err));
    SY_TRY(sy__get(r, o, where, "id", "i", &id, err));
    SY_TRY(sy__get(r, o, where, "content", "\"", &text, err));
    SY_TRY(sy__get_bool(r, o, where, "special", false, &a->special, err));
    SY_TRY(sy__get_bool(r, o, where, "normalized", !a->special, &a->normalized, err));
    SY_TRY(sy__get_bool(r, o, where, "lstrip", false, &a->lstrip, err));
    SY_TRY(sy__get_bool(r, o, where, "rstrip", false, &a->rstrip, err));
    SY_TRY(sy__get_bool(r, o, where, "single_word", false, &a->single_word, err));
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
static sy_status place_added(sy__reader *r, json_t *vocab, size_t i, const sy__added *a, const char *content, int next, sy_err *err)
{
    char text[64];
    json_t *known = json_object_get(vocab, content);
    if (known && json_integer_value(known) != a->id)
        return sy_fail(err, SY_EFORMAT, "%s: added_tokens[%zu] gives \"%s\" the id %d, model.vocab %lld", r->file, i, sy__shown(text, content), a->id, (long long)json_integer_value(known));
    if (known || a->id == next) return SY_OK;
    if (a->id < next) return sy_fail(err, SY_EFORMAT, "%s: added_tokens[%zu] (\"%s\") has the id %d of another token; the next free one is %d", r->file, i, sy__shown(text, content), a->id, next);
    return sy_fail(err, SY_EFORMAT, "%s: added_tokens[%zu] (\"%s\") has id %d, beyond the vocabulary; the next free one is %d", r->file, i, sy__shown(text, content), a->id, next);
}

/* A vocabulary by text, as it is for the other models; of equal texts the last one counts. */
static json_t *ids_of(const char **by_id, int n)
{
    json_t *o = json_object();
    for (int i = 0; o && i < n; i++) {
        json_t *v = json_integer(i);
        if (v && json_object_set_new_nocheck(o, by_id[i], v) == 0) continue;
        json_decref(o);
        o = NULL;
    }
    return o;
}

static sy_status read_tokens(sy__reader *r, json_t *vocab, json_t *list, const char **by_id, sy_err *err)
{
    sy_tokenizer *t = r->t;
    bool list_of_pairs = json_is_array(vocab);
    const int own = (int)(list_of_pairs ? json_array_size(vocab) : json_object_size(vocab));
    int n = own;
    unsigned char *special = t->whole;                           /* free until the tokenizer is sealed */
    SY_TRY(list_of_pairs ? list_vocab(r, vocab, by_id, err) : order_vocab(r, vocab, by_id, err));
    json_t *ids = list_of_pairs ? ids_of(by_id, own) : json_incref(vocab);
    if (!ids) return sy_fail(err, SY_ENOMEM, "%s: no memory for its vocabulary", r->file);
    sy_status st = SY_OK;
    for (size_t i = 0; i < json_array_size(list); i++) {         /* first a look at which texts of the vocabulary are special */
        sy__added *a = &t->added[t->n_added];
        const char *content = NULL;
        if ((st = read_added(r, list, i, a, &content, err)) != SY_OK || (st = place_added(r, ids, i, a, content, n, err)) != SY_OK) break;
        if (a->id == n) by_id[n++] = content;
        special[a->id] = a->special ? 1 : 2;
        t->n_added++;
    }
    json_decref(ids);
    SY_TRY(st);
    for (int id = 0; id < n; id++) {
        bool model = id < own, bytes = t->byte_level && model && unspell(&r->b, by_id[id]);
        if (bytes && special[id] && strcmp(r->b.data, by_id[id])) bytes = false;             /* an added token is its text, not bytes that it may spell */
        int marks = (special[id] == 1 ? SY__SPECIAL : 0) | (t->byte_level && model && !bytes ? SY__RAW : 0);
        if (bytes) sy__tokenizer_add(t, r->b.data, r->b.n, marks, true);
        else sy__tokenizer_add(t, by_id[id], strlen(by_id[id]), marks, model);
        special[id] = 0;
    }
    return r->b.failed ? sy_fail(err, SY_ENOMEM, "%s: no memory for its vocabulary", r->file) : sy__tokenizer_index(t, err);
}

/* The two sides of merge i: "left right" or ["left", "right"], as copies in r->b with a NUL between. */
static sy_status sides(sy__reader *r, const json_t *m, size_t i, const char **left, const char **right, sy_err *err)
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

static sy_status find_side(sy__reader *r, const char *s, size_t i, int32_t *id, sy_err *err)
{
    char text[64];
    size_t n = strlen(s);
    if (r->t->byte_level) *id = unspell(&r->b, s) && r->b.n ? sy__texts_find(&r->t->texts, r->b.data, r->b.n, sy__hash(r->b.data, r->b.n)) : -1;
    else *id = n ? sy__texts_find(&r->t->texts, s, n, sy__hash(s, n)) : -1;
    if (*id >= 0 || r->b.failed) return r->b.failed ? sy_fail(err, SY_ENOMEM, "%s: no memory for its merges", r->file) : SY_OK;
    return sy_fail(err, SY_EFORMAT, "%s: model.merges[%zu] names \"%s\", which is no %stoken of model.vocab", r->file, i, sy__shown(text, s), r->t->byte_level ? "byte-level " : "");
}

static sy_status read_merges(sy__reader *r, const json_t *merges, sy_err *err)
{
    sy_tokenizer *t = r->t;
    char a[64], b[64];
    size_t prefix = t->words.prefix ? strlen(t->words.prefix) : 0;
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const char *line = json_string_value(json_array_get(merges, i));
        if (line && !strncmp(line, "#version", 8)) continue;
        const char *left = NULL, *right = NULL, *text;
        size_t n;
        sy__merge m;
        int twice;
        SY_TRY(sides(r, json_array_get(merges, i), i, &left, &right, err));
        SY_TRY(find_side(r, left, i, &m.left, err));
        SY_TRY(find_side(r, right, i, &m.right, err));
        sy_buf_clear(&r->b);
        text = sy__tokenizer_text(t, m.left, &n), sy_buf_put(&r->b, text, n);
        text = sy__tokenizer_text(t, m.right, &n);
        if (n < prefix) return sy_fail(err, SY_EFORMAT, "%s: model.merges[%zu]: \"%s\" is shorter than the prefix of what continues a word", r->file, i, sy__shown(b, right));
        sy_buf_put(&r->b, text + prefix, n - prefix);
        if (r->b.failed) return sy_fail(err, SY_ENOMEM, "%s: no memory for its merges", r->file);
        m.id = sy__texts_find(&t->texts, r->b.data, r->b.n, sy__hash(r->b.data, r->b.n));
        if (m.id < 0) return sy_fail(err, SY_EFORMAT, "%s: model.merges[%zu] joins \"%s\" and \"%s\" to a text that is no token of model.vocab", r->file, i, sy__shown(a, left), sy__shown(b, right));
        SY_TRY(sy__bpe_add(&t->bpe, m, &twice, err));
        if (twice >= 0) return sy_fail(err, SY_EFORMAT, "%s: model.merges[%zu] (\"%s\" and \"%s\") is model.merges[%d] again", r->file, i, sy__shown(a, left), sy__shown(b, right), twice);
    }
    return SY_OK;
}

/* The unknown token, which need not be a token of the vocabulary as long as nothing is unknown. */
static sy_status read_unknown(sy__reader *r, json_t *model, sy_err *err)
{
    json_t *v;
    sy__words *w = &r->t->words;
    if (w->kind == SY__UNIGRAM) return SY_OK;
    SY_TRY(sy__get(r, model, "model", "unk_token", w->kind == SY__WORDPIECE || w->kind == SY__WORDLEVEL ? "\"" : "\"?", &v, err));
    if (!v || r->t->byte_level) return SY_OK;
    const char *s = json_string_value(v);
    w->unk = sy__texts_find(&r->t->texts, s, strlen(s), sy__hash(s, strlen(s)));
    return SY_OK;
}

/* Tries of what the model looks for. */
static sy_status plant(sy_tokenizer *t, sy_err *err)
{
    sy__words *w = &t->words;
    if (w->kind != SY__UNIGRAM && w->kind != SY__WORDPIECE) return SY_OK;
    SY_TRY(sy__trie_open(&w->trie, err));
    for (int id = 0; id < t->model; id++) {
        size_t n;
        const char *s = sy__tokenizer_text(t, id, &n);
        SY_TRY(sy__trie_add(&w->trie, s, n, id, err));
    }
    for (const char *s = w->prefix; s && *s; s++) if (!(w->inside = sy__trie_step(&w->trie, s == w->prefix ? 0 : w->inside, (unsigned char)*s))) break;
    return SY_OK;
}

/* Byte-level BPE without an id for a byte that UTF-8 has, but with an unknown token: such bytes are unknown, so texts stay letters. */
static bool lacks_bytes(json_t *model, json_t *vocab)
{
    if (!json_is_string(json_object_get(model, "unk_token"))) return false;
    for (int b = 0; b < 0xF5; b++) {
        char letter[5] = "";
        if (b == 0xC0 || b == 0xC1) continue;
        letter[sy_utf8_put(sy__byte_letter(b), letter)] = 0;
        if (!json_object_get(vocab, letter)) return true;
    }
    return false;
}

static int put_text(const char *s, size_t n, void *b)
{
    sy_buf_put(b, s, n);
    return ((sy_buf *)b)->failed ? -1 : 0;
}

/* What decides ids beside texts, merges and cuts, in an order of its own. */
static sy_status put_extra(sy__reader *r, json_t *root, json_t *model, sy_err *err)
{
    static const char *const parts[] = { "normalizer", "pre_tokenizer", "post_processor", "decoder" };
    const char *key;
    json_t *v;
    sy_buf *b = &r->t->extra;
    if (sy__steps_are_plain(r->t)) return SY_OK;
    for (size_t i = 0; i < SY_COUNT(parts); i++) {
        v = json_object_get(root, parts[i]);
        sy_buf_printf(b, "%s:", parts[i]);
        if (v) json_dump_callback(v, put_text, b, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    }
    json_object_foreach(model, key, v) {
        bool list = !strcmp(key, "merges") || (!strcmp(key, "vocab") && json_is_object(v));       /* which the digest has anyway */
        if (list || json_is_null(v)) continue;
        sy_buf_printf(b, "%s:", key);
        json_dump_callback(v, put_text, b, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    }
    if (b->failed) return sy_fail(err, SY_ENOMEM, "%s: no memory for its parts", r->file);
    sy_sha256 sum;                                   /* a vocabulary of scores is megabytes */
    unsigned char hash[32];
    sy_sha256_start(&sum);
    sy_sha256_add(&sum, b->data, b->n);
    sy_sha256_end(&sum, hash);
    sy_buf_free(b);
    *b = (sy_buf){ 0 };
    sy_buf_put(b, hash, sizeof hash);
    return b->failed ? sy_fail(err, SY_ENOMEM, "%s: no memory for its parts", r->file) : SY_OK;
}

static sy_status fill(sy__reader *r, json_t *root, json_t *vocab, json_t *merges, json_t *list, sy_err *err)
{
    json_t *model = json_object_get(root, "model");
    size_t ids = json_object_size(vocab) + json_array_size(vocab) + json_array_size(list);
    const char **by_id = sy_calloc(ids + 1, sizeof *by_id);
    if (!by_id) return sy_fail(err, SY_ENOMEM, "%s: no memory for %zu tokens", r->file, ids);
    sy_status st = read_model(r, model, err);
    if (r->t->byte_level && (!sy__bytes_at_both_ends(root) || lacks_bytes(model, vocab))) r->t->byte_level = false, r->t->words.kind = SY__CHAR_BPE;
    if (st == SY_OK) st = sy__read_steps(r, root, err);
    if (st == SY_OK) st = read_tokens(r, vocab, list, by_id, err);
    if (st == SY_OK) st = read_merges(r, merges, err);
    if (st == SY_OK) st = read_unknown(r, model, err);
    if (st == SY_OK) st = plant(r->t, err);
    if (st == SY_OK) st = sy__read_posts(r, root, err);
    if (st == SY_OK) st = put_extra(r, root, model, err);
    sy_free(by_id);
    if (st != SY_OK) return st;
    r->t->eot = sy_tokenizer_find(r->t, SY__EOT_TEXT);
    return sy_within(err, sy__tokenizer_seal(r->t, err), "%s", r->file);
}

/* Truncation and padding are for batches of a fixed shape, which are not made here. */
static sy_status note(sy__reader *r, json_t *root, sy_err *err)
{
    static const char *const part[] = { "truncation", "padding" };
    sy_buf b = { 0 };
    for (size_t i = 0; i < SY_COUNT(part); i++) {
        json_t *v = json_object_get(root, part[i]), *n = json_object_get(v, "max_length");
        if (!v || json_is_null(v)) continue;
        if (!json_is_object(v)) { sy_buf_free(&b); return sy__expect(r, v, "{?", part[i], err); }
        sy_buf_printf(&b, "%s%s", b.n ? " and " : "", part[i]);
        if (json_is_integer(n)) sy_buf_printf(&b, " (max_length %lld)", (long long)json_integer_value(n));
    }
    if (b.n) sy_buf_text(&b, " of the tokenizer.json left out: texts are never cut or padded");
    bool failed = b.failed || (b.n && !(r->t->notes = sy_strdup(b.data)));
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "%s: no memory for notes", r->file) : SY_OK;
}

/* The vocabulary by text, whatever the model keeps it as. */
static json_t *by_text(json_t *vocab)
{
    if (json_is_object(vocab)) return json_incref(vocab);
    json_t *o = sy_json_object(), *pair;
    size_t i;
    json_array_foreach(vocab, i, pair) {
        const char *text = json_string_value(json_array_get(pair, 0));       /* what is no pair is told later */
        if (!o || (text && json_object_set_new_nocheck(o, text, json_integer((json_int_t)i)))) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

/* The added tokens, with what the files beside the tokenizer.json say of them; the caller gives the list back. */
static sy_status added_tokens(json_t *root, json_t *vocab, const sy_beside *b, const char *file, json_t **out, sy_err *err)
{
    json_t *list = json_object_get(root, "added_tokens");
    if (!b || (!json_object_size(b->special) && !json_array_size(b->extra) && !json_object_get(b->config, "added_tokens_decoder"))) {
        *out = json_incref(list);
        return SY_OK;
    }
    size_t own = json_object_size(vocab) + json_array_size(vocab);
    json_t *ids = own <= MOST_IDS ? by_text(vocab) : sy_json_object();       /* too many are refused later */
    sy_status st = ids ? sy_beside_added(b, list, ids, (int)(own <= MOST_IDS ? own : 0), out, err) : sy_fail(err, SY_ENOMEM, "%s: no memory for its vocabulary", file);
    json_decref(ids);
    return st;
}

/* Ids of the file itself: added tokens that the vocabulary does not have follow it. */
static int own_ids(json_t *root, json_t *vocab, const json_t *list)
{
    json_t *own = json_object_get(root, "added_tokens");
    size_t more = json_array_size(list) - json_array_size(own), ids = json_object_size(vocab) + json_array_size(vocab);
    for (size_t i = 0; i + more < json_array_size(list); i++) ids += json_integer_value(json_object_get(json_array_get(list, i), "id")) >= (json_int_t)ids;
    return (int)ids;
}

static sy_status build(sy_tokenizer **out, json_t *root, json_t *vocab, json_t *merges, json_t *list, const char *file, sy_err *err)
{
    sy__reader r = { .file = file };
    size_t ids = json_object_size(vocab) + json_array_size(vocab) + json_array_size(list);
    if (ids > MOST_IDS || json_array_size(merges) > MOST_IDS)
        return sy_fail(err, SY_EUNSUP, "%s: %zu tokens and %zu merges; %d is the most", file, ids, json_array_size(merges), MOST_IDS);
    SY_TRY(sy__tokenizer_new(&r.t, (int)ids, (int)json_array_size(merges), (int)json_array_size(list), err));
    r.t->own = own_ids(root, vocab, list);
    sy_status st = note(&r, root, err);
    if (st == SY_OK) st = fill(&r, root, vocab, merges, list, err);
    sy_buf_free(&r.b);
    sy_buf_free(&r.c);
    if (st != SY_OK) { sy_tokenizer_close(r.t); return st; }
    *out = r.t;
    return SY_OK;
}

static sy_status from_json(sy_tokenizer **out, json_t *root, const char *file, const sy_beside *beside, sy_err *err)
{
    static const char *const keys[] = { "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model", NULL };
    sy__reader r = { .file = file };
    json_t *model, *vocab, *merges, *list, *v;
    char text[64];
    SY_TRY(sy__expect(&r, root, "{", "the file", err));
    SY_TRY(sy__only_keys(&r, root, "", keys, err));
    SY_TRY(sy__get(&r, root, "", "version", "\"?", &v, err));
    if (v && strcmp(json_string_value(v), "1.0")) return sy_fail(err, SY_EUNSUP, "%s: version \"%s\" is not known; 1.0 is", file, sy__shown(text, json_string_value(v)));
    SY_TRY(sy__get(&r, root, "", "added_tokens", "[?", &list, err));
    SY_TRY(sy__get(&r, root, "", "model", "{", &model, err));
    const char *type = json_string_value(json_object_get(model, "type"));
    bool unigram = type && !strcmp(type, "Unigram"), bpe = !type || !strcmp(type, "BPE");
    SY_TRY(sy__get(&r, model, "model", "vocab", unigram ? "[" : "{", &vocab, err));
    SY_TRY(sy__get(&r, model, "model", "merges", bpe ? "[" : "[?", &merges, err));
    SY_TRY(added_tokens(root, vocab, beside, file, &list, err));
    sy_status st = build(out, root, vocab, merges, list, file, err);
    json_decref(list);
    return st;
}

sy_status sy__tokenizer_parse(sy_tokenizer **out, const char *json, size_t n, const char *name, const sy_beside *beside, sy_err *err)
{
    json_t *root;
    sy_tokenizer *t = NULL;
    SY_TRY(sy_json_parse(&root, json, n, name, err));
    sy_status st = from_json(&t, root, name, beside, err);
    json_decref(root);
    SY_TRY(st);
    sy_buf_put(&t->source, json, n);
    if (t->source.failed) {
        sy_tokenizer_close(t);
        return sy_fail(err, SY_ENOMEM, "%s: no memory for %zu bytes", name, n);
    }
    *out = t;
    return SY_OK;
}

sy_status sy_tokenizer_from_memory(sy_tokenizer **out, const char *json, size_t n, const char *name, sy_err *err)
{
    return sy__tokenizer_parse(out, json, n, name, NULL, err);
}

/* --- writing ------------------------------------------------------------------------------------------------------------- */

/* ByteLevel as what is made here needs it: GPT-2's cut, or none. */
static void put_byte_level(sy_json *j, const sy_tokenizer *t)
{
    bool cuts = false;
    for (int i = 0; i < t->steps; i++) cuts |= t->step[i].cuts;
    sy_json_begin(j, '{');
    sy_json_key(j, "type"), sy_json_text(j, "ByteLevel");
    sy_json_key(j, "add_prefix_space"), sy_json_bool(j, false);
    sy_json_key(j, "trim_offsets"), sy_json_bool(j, true);
    sy_json_key(j, "use_regex"), sy_json_bool(j, cuts);
    sy_json_end(j, '}');
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
    if (t->source.n) {                               /* as it was read: nothing that others may need is lost */
        sy_buf_put(b, t->source.data, t->source.n);
        return;
    }
    sy_json_open(&j, b, 1);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "version"), sy_json_text(&j, "1.0");
    sy_json_key(&j, "truncation"), sy_json_null(&j);
    sy_json_key(&j, "padding"), sy_json_null(&j);
    sy_json_key(&j, "added_tokens"), put_added(&j, t);
    sy_json_key(&j, "normalizer"), sy_json_null(&j);
    sy_json_key(&j, "pre_tokenizer"), put_byte_level(&j, t);
    sy_json_key(&j, "post_processor"), sy_json_null(&j);
    sy_json_key(&j, "decoder"), put_byte_level(&j, t);
    sy_json_key(&j, "model"), put_model(&j, t, &word);
    sy_json_end(&j, '}');
    sy_buf_text(b, "\n");
    b->failed = b->failed || word.failed;
    sy_buf_free(&word);
}
