/* model/gguf_tokenizer.c - tokenizer.json and its neighbours as tokenizer.* keys, and back. */
#include "model/gguf_tokenizer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/json.h"
#include "core/utf8.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, UNUSED = 5, BYTE = 6, MAX_FILE = 1 << 29 };

#define GPT2_WORDS "'s|'t|'re|'ve|'m|'ll|'d"
#define LLAMA3(digits) "(?i:" GPT2_WORDS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K_TAIL "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K_END "(?i:" GPT2_WORDS ")?"

/* Rules that cut text into words before merging, and their names: one expression with ByteLevel behind it that has none of its own; NULL: the
 * expression of ByteLevel itself; "digits": each digit alone before that. The first name of a rule is written. */
static const struct { const char *rule, *pre; } rules[] = {
    { NULL, "gpt-2" }, { NULL, "mpt" }, { NULL, "olmo" }, { NULL, "jais" }, { NULL, "phi-2" }, { NULL, "roberta-bpe" },
    { "digits", "starcoder" }, { "digits", "refact" }, { "digits", "command-r" }, { "digits", "smollm" }, { "digits", "codeshell" }, { "digits", "exaone" }, { "digits", "minerva-7b" },
    { LLAMA3("\\p{N}{1,3}"), "llama-bpe" }, { LLAMA3("\\p{N}{1,3}"), "llama3" }, { LLAMA3("\\p{N}{1,3}"), "llama-v3" }, { LLAMA3("\\p{N}{1,3}"), "dbrx" }, { LLAMA3("\\p{N}{1,3}"), "smaug-bpe" },
    { LLAMA3("\\p{N}{1,3}"), "glm4" }, { LLAMA3("\\p{N}{1,3}"), "chatglm-bpe" }, { LLAMA3("\\p{N}{1,3}"), "falcon3" }, { LLAMA3("\\p{N}{1,3}"), "pixtral" },
    { LLAMA3("\\p{N}"), "qwen2" }, { LLAMA3("\\p{N}"), "deepseek-r1-qwen" }, { LLAMA3("\\p{N}"), "stablelm2" }, { LLAMA3("\\p{N}"), "megrez" }, { LLAMA3("\\p{N}"), "hunyuan" },
    { "[^\\r\\n\\p{L}\\p{N}]?" O200K_UPPER "*" O200K_LOWER "+" O200K_END "|[^\\r\\n\\p{L}\\p{N}]?" O200K_UPPER "+" O200K_LOWER "*" O200K_END O200K_TAIL, "gpt-4o" },
    { "[^\\r\\n\\p{L}\\p{N}]?" O200K_UPPER "*" O200K_LOWER "+" O200K_END "|[^\\r\\n\\p{L}\\p{N}]?" O200K_UPPER "+" O200K_LOWER "*" O200K_END O200K_TAIL, "llama4" },
};

/* --- from a folder --------------------------------------------------------------------------------------------------------------- */

typedef struct vocab { const char **text; int32_t *type; float *score; int n, size; sy_arena a; } vocab;     /* size: ids of the tokenizer */

static const char *text_at(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }

static sy_status put_id(vocab *v, const char *text, long long id, int type, const char *path, sy_err *err)
{
    if (id < 0 || id >= v->n) return sy_fail(err, SY_ESHAPE, "%s: '%.60s' has id %lld, the model's embedding has %d rows", path, text, id, v->n);
    if (v->text[id] && type == NORMAL) return sy_fail(err, SY_EFORMAT, "%s: id %lld is both '%.60s' and '%.60s'", path, id, v->text[id], text);
    v->text[id] = text;
    v->type[id] = type;
    if (id >= v->size) v->size = (int)id + 1;
    return SY_OK;
}

static bool is_byte(const char *text) { return strlen(text) == 6 && !strncmp(text, "<0x", 3) && text[5] == '>'; }

static sy_status fill_vocab(vocab *v, const json_t *root, const char *path, int rows, sy_err *err)
{
    const json_t *model = json_object_get(root, "model"), *words = json_object_get(model, "vocab"), *added = json_object_get(root, "added_tokens"), *t;
    const char *key, *unk = text_at(model, "unk_token");
    json_t *id;
    size_t i;
    v->n = rows;
    v->text = sy_arena_array(&v->a, (size_t)rows, sizeof *v->text);
    v->type = sy_arena_array(&v->a, (size_t)rows, sizeof *v->type);
    v->score = sy_arena_array(&v->a, (size_t)rows, sizeof *v->score);
    if (!v->text || !v->type || !v->score) return sy_fail(err, SY_ENOMEM, "no memory for a vocabulary of %d", rows);
    if (!json_is_object(words)) return sy_fail(err, SY_EFORMAT, "%s: model.vocab must be an object", path);
    json_object_foreach((json_t *)words, key, id) {
        if (!json_is_integer(id)) return sy_fail(err, SY_EFORMAT, "%s: '%.60s' has no whole number as id", path, key);
        SY_TRY(put_id(v, key, json_integer_value(id), NORMAL, path, err));
    }
    for (int k = 0; k < v->n; k++) if (v->text[k]) v->type[k] = unk && !strcmp(v->text[k], unk) ? UNKNOWN : is_byte(v->text[k]) && json_is_true(json_object_get(model, "byte_fallback")) ? BYTE : NORMAL;
    json_array_foreach(added, i, t) {
        const char *text = text_at(t, "content");
        const json_t *in = text ? json_object_get(words, text) : NULL;
        if (!text) return sy_fail(err, SY_EFORMAT, "%s: added token %zu has no content", path, i);
        if (!in) in = json_object_get(t, "id");
        if (!json_is_integer(in)) return sy_fail(err, SY_EFORMAT, "%s: added token '%.60s' has no id", path, text);
        long long n = json_integer_value(in);
        bool unknown = n >= 0 && n < v->n && v->type[n] == UNKNOWN;
        SY_TRY(put_id(v, text, n, unknown ? UNKNOWN : json_is_true(json_object_get(t, "special")) ? CONTROL : USER, path, err));
    }
    for (int k = 0; k < v->n; k++) {
        if (v->text[k]) continue;
        if (!(v->text[k] = sy_arena_printf(&v->a, "[PAD%d]", k))) return sy_fail(err, SY_ENOMEM, "no memory for a vocabulary of %d", rows);
        v->type[k] = UNUSED;
    }
    return SY_OK;
}

/* What cuts the text: its expression, "digits", NULL for ByteLevel's own; false: something else. */
static bool rule_of(const json_t *p, const char **rule, int *steps)
{
    const char *type = text_at(p, "type");
    const json_t *list = json_object_get(p, "pretokenizers"), *step;
    size_t i;
    if (!type) return false;
    if (!strcmp(type, "Sequence")) {
        json_array_foreach(list, i, step) if (!rule_of(step, rule, steps)) return false;
        return true;
    }
    ++*steps;
    if (!strcmp(type, "ByteLevel")) {
        bool own = !json_is_false(json_object_get(p, "use_regex"));
        if (json_is_true(json_object_get(p, "add_prefix_space"))) return false;
        return own ? !*rule || !strcmp(*rule, "digits") : *rule && strcmp(*rule, "digits");
    }
    if (*rule) return false;
    if (!strcmp(type, "Digits") && json_is_true(json_object_get(p, "individual_digits"))) { *rule = "digits"; return true; }
    const char *behaviour = text_at(p, "behavior");
    *rule = text_at(json_object_get(p, "pattern"), "Regex");
    return !strcmp(type, "Split") && *rule && behaviour && !strcmp(behaviour, "Isolated") && !json_is_true(json_object_get(p, "invert"));
}

static const char *pre_of(const json_t *root)
{
    const char *rule = NULL;
    int steps = 0;
    if (!rule_of(json_object_get(root, "pre_tokenizer"), &rule, &steps) || !steps) return NULL;
    for (size_t i = 0; i < SY_COUNT(rules); i++)
        if ((!rule && !rules[i].rule) || (rule && rules[i].rule && !strcmp(rule, rules[i].rule))) return rules[i].pre;
    return NULL;
}

/* The two halves of a merge, however the file writes it. */
static bool halves(const json_t *m, sy_buf *b)
{
    sy_buf_clear(b);
    if (json_is_string(m)) sy_buf_text(b, json_string_value(m));
    else if (json_array_size(m) == 2 && json_is_string(json_array_get(m, 0)) && json_is_string(json_array_get(m, 1)))
        sy_buf_printf(b, "%s %s", json_string_value(json_array_get(m, 0)), json_string_value(json_array_get(m, 1)));
    else return false;
    return strchr(b->data ? b->data : "", ' ') != NULL;
}

static sy_status put_merges(sy_gguf_writer *w, const json_t *model, const char *path, sy_err *err)
{
    const json_t *merges = json_object_get(model, "merges"), *m;
    sy_buf b = { 0 };
    size_t i;
    sy_status st = SY_OK;
    sy_gguf_put_array(w, "tokenizer.ggml.merges", SY_GGUF_TEXT, json_array_size(merges));
    json_array_foreach(merges, i, m) {
        if (!halves(m, &b)) { st = sy_fail(err, SY_EFORMAT, "%s: merge %zu is no pair", path, i); break; }
        sy_gguf_elem_text(w, b.data, b.n);
    }
    if (st == SY_OK && b.failed) st = sy_fail(err, SY_ENOMEM, "no memory for the merges of %s", path);
    sy_buf_free(&b);
    return st;
}

/* SentencePiece merges by the score of what comes out: minus the rank of the first merge that makes it gives the same order. */
static sy_status scores_of(vocab *v, const json_t *model, const char *path, sy_err *err)
{
    const json_t *merges = json_object_get(model, "merges"), *words = json_object_get(model, "vocab"), *m;
    sy_buf b = { 0 };
    size_t i;
    sy_status st = SY_OK;
    for (int k = 0; k < v->n; k++) v->score[k] = v->type[k] == NORMAL ? -(float)json_array_size(merges) - 1 : 0;
    json_array_foreach(merges, i, m) {
        if (!halves(m, &b)) { st = sy_fail(err, SY_EFORMAT, "%s: merge %zu is no pair", path, i); break; }
        char *gap = strchr(b.data, ' ');
        memmove(gap, gap + 1, strlen(gap));
        const json_t *id = json_object_get(words, b.data);
        long long k = json_is_integer(id) ? json_integer_value(id) : -1;
        if (k >= 0 && k < v->n && v->score[k] < -(float)i) v->score[k] = -(float)i;
    }
    sy_buf_free(&b);
    return st;
}

static int id_of(const vocab *v, const char *text)
{
    for (int i = 0; text && i < v->n; i++) if (v->type[i] != UNUSED && !strcmp(v->text[i], text)) return i;
    return -1;
}

static json_t *read_json(const char *dir, const char *name)         /* NULL: not there, or not JSON: these files are extras */
{
    char path[1100];
    json_t *root = NULL;
    sy_err err;
    if (sy_path(path, sizeof path, dir, name, &err) != SY_OK || !sy_file_exists(path)) return NULL;
    return sy_json_read(&root, path, MAX_FILE, &err) == SY_OK ? root : NULL;
}

static const char *token_text(const json_t *config, const char *key)
{
    const json_t *t = json_object_get(config, key);
    return json_is_object(t) ? text_at(t, "content") : json_string_value(t);
}

static void put_special(sy_gguf_writer *w, const vocab *v, const char *dir)
{
    static const struct { const char *text, *id, *key; } special[] = {
        { "bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id" }, { "eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id" }, { "unk_token", NULL, "tokenizer.ggml.unknown_token_id" },
        { "pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id" } };
    json_t *config = read_json(dir, "tokenizer_config.json"), *generation = read_json(dir, "generation_config.json"), *model = read_json(dir, "config.json");
    for (size_t i = 0; i < SY_COUNT(special); i++) {
        int id = id_of(v, token_text(config, special[i].text));
        const json_t *from[2] = { generation, model };
        for (int k = 0; k < 2 && id < 0 && special[i].id; k++) {
            const json_t *n = json_object_get(from[k], special[i].id);
            if (json_is_array(n)) n = json_array_get(n, 0);
            if (json_is_integer(n) && json_integer_value(n) >= 0 && json_integer_value(n) < v->n) id = (int)json_integer_value(n);
        }
        if (id >= 0) sy_gguf_put_u32(w, special[i].key, (uint32_t)id);
    }
    const char *template = text_at(config, "chat_template");
    char path[1100];
    sy_buf b = { 0 };
    sy_err err;
    if (sy_path(path, sizeof path, dir, "chat_template.jinja", &err) == SY_OK && sy_file_exists(path) && sy_file_read(path, MAX_FILE, &b, &err) == SY_OK && b.n)
        sy_gguf_put_text(w, "tokenizer.chat_template", b.data, b.n);
    else if (template) sy_gguf_put_text(w, "tokenizer.chat_template", template, strlen(template));
    sy_buf_free(&b);
    json_decref(config);
    json_decref(generation);
    json_decref(model);
}

/* Whether encoding begins with a special token: a flag beside the tokenizer beats its post-processor. */
static bool adds(const json_t *root, const char *dir, const char *flag, bool end)
{
    json_t *config = read_json(dir, "tokenizer_config.json");
    const json_t *said = json_object_get(config, flag), *single = json_object_get(json_object_get(root, "post_processor"), "single");
    const json_t *list = json_object_get(json_object_get(root, "post_processor"), "processors"), *p;
    size_t i;
    json_array_foreach(list, i, p) if (json_object_get(p, "single")) single = json_object_get(p, "single");
    const json_t *at = json_array_get(single, end && json_array_size(single) ? json_array_size(single) - 1 : 0);
    bool yes = said && json_is_boolean(said) ? json_is_true(said) : json_object_get(at, "SpecialToken") != NULL;
    json_decref(config);
    return yes;
}

static bool has_prefix_space(const json_t *root)     /* Prepend, or Metaspace that is not "never" */
{
    char *text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
    bool yes = text && (strstr(text, "\"Prepend\"") || (strstr(text, "\"Metaspace\"") && !strstr(text, "\"prepend_scheme\":\"never\"") && !strstr(text, "\"add_prefix_space\":false")));
    sy_free(text);
    return yes;
}

static sy_status put_model(sy_gguf_writer *w, vocab *v, const json_t *root, const char *dir, const char *path, const char *pre, sy_ledger *l, sy_err *err)
{
    const json_t *model = json_object_get(root, "model");
    bool spm = json_is_true(json_object_get(model, "byte_fallback"));
    const char *own = pre_of(root), *kind = spm ? "llama" : "gpt2";
    if (!spm && !pre && !(pre = own))
        return sy_fail(err, SY_EUNSUP, "%s cuts text by a rule that has no name in GGUF files; give the nearest as --pre (gpt-2, llama-bpe, qwen2, ...) or --pre default", path);
    if (spm) pre = "default";
    sy_gguf_put_text(w, "tokenizer.ggml.model", kind, strlen(kind));
    sy_gguf_put_text(w, "tokenizer.ggml.pre", pre, strlen(pre));
    if (json_object_get(root, "normalizer") && !json_is_null(json_object_get(root, "normalizer")) && !spm)
        SY_TRY(sy_ledger_add(l, SY_L_NOTE, "tokenizer.normalizer", "llama.cpp does not normalise text for byte-level vocabularies", 0, err));
    sy_gguf_put_array(w, "tokenizer.ggml.tokens", SY_GGUF_TEXT, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) sy_gguf_elem_text(w, v->text[i], strlen(v->text[i]));
    if (spm) {
        SY_TRY(scores_of(v, model, path, err));
        sy_gguf_put_array(w, "tokenizer.ggml.scores", SY_GGUF_F32, (uint64_t)v->n);
        sy_gguf_elem(w, v->score, (size_t)v->n * sizeof *v->score);
    }
    sy_gguf_put_array(w, "tokenizer.ggml.token_type", SY_GGUF_I32, (uint64_t)v->n);
    sy_gguf_elem(w, v->type, (size_t)v->n * sizeof *v->type);
    if (!spm) SY_TRY(put_merges(w, model, path, err));
    else sy_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", has_prefix_space(root));
    put_special(w, v, dir);
    sy_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", adds(root, dir, "add_bos_token", false));
    sy_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", adds(root, dir, "add_eos_token", true));
    return SY_OK;
}

sy_status sy_gguf_put_tokenizer(sy_gguf_writer *w, const char *dir, int rows, const char *pre, sy_ledger *l, sy_err *err)
{
    char path[1100];
    json_t *root = NULL;
    vocab v = { 0 };
    sy_buf b = { 0 };
    SY_TRY(sy_path(path, sizeof path, dir, "tokenizer.json", err));
    if (!sy_file_exists(path)) {
        sy_gguf_put_text(w, "tokenizer.ggml.model", "none", 4);
        return sy_ledger_add(l, SY_L_NOTE, "tokenizer.json", "there is none: the file has no tokenizer", 0, err);
    }
    sy_status st = sy_file_read(path, MAX_FILE, &b, err);
    if (st == SY_OK) st = sy_json_parse(&root, b.data ? b.data : "", b.n, path, err);
    const char *type = text_at(json_object_get(root, "model"), "type");
    if (st == SY_OK && (!type || strcmp(type, "BPE"))) {
        sy_gguf_put_text(w, "tokenizer.ggml.model", "none", 4);
        st = sy_ledger_add(l, SY_L_NOTE, "tokenizer.json", "not BPE: kept as tokenizer.huggingface.json alone, which llama.cpp does not read", 0, err);
    } else if (st == SY_OK) {
        st = fill_vocab(&v, root, path, rows, err);
        if (st == SY_OK) st = put_model(w, &v, root, dir, path, pre, l, err);
    }
    if (st == SY_OK) sy_gguf_put_text(w, "tokenizer.huggingface.json", b.data, b.n);
    json_decref(root);
    sy_buf_free(&b);
    sy_arena_free(&v.a);
    return st;
}

/* --- into a folder ------------------------------------------------------------------------------------------------------------------ */

static sy_status put_file(const char *dir, const char *name, sy_buf *b, sy_err *err)
{
    char path[1100];
    sy_status st = b->failed ? sy_fail(err, SY_ENOMEM, "no memory to write %s", name) : sy_path(path, sizeof path, dir, name, err);
    if (st == SY_OK) st = sy_file_write(path, b->data ? b->data : "", b->n, err);
    sy_buf_free(b);
    return st;
}

typedef struct tokens { const char **text; size_t *len; int32_t *type; double *score; uint64_t n; bool add_bos, add_space; int64_t bos, eos; const char *pre; sy_arena a; } tokens;

static sy_status read_tokens(tokens *t, const sy_gguf *g, sy_err *err)
{
    const sy_gguf_key *k = sy_gguf_key_find(g, "tokenizer.ggml.tokens"), *types = sy_gguf_key_find(g, "tokenizer.ggml.token_type"), *scores = sy_gguf_key_find(g, "tokenizer.ggml.scores");
    if (!k || k->type != SY_GGUF_ARRAY || k->elem != SY_GGUF_TEXT) return sy_fail(err, SY_EFORMAT, "%s: key 'tokenizer.ggml.tokens' must be an array of texts", g->file);
    if (types && types->n != k->n) return sy_fail(err, SY_EFORMAT, "%s: there are %llu tokens and %llu types of tokens", g->file, (unsigned long long)k->n, (unsigned long long)types->n);
    if (scores && scores->n != k->n) return sy_fail(err, SY_EFORMAT, "%s: there are %llu tokens and %llu scores", g->file, (unsigned long long)k->n, (unsigned long long)scores->n);
    t->n = k->n;
    t->text = sy_arena_array(&t->a, k->n + 1, sizeof *t->text);
    t->len = sy_arena_array(&t->a, k->n + 1, sizeof *t->len);
    t->type = sy_arena_array(&t->a, k->n + 1, sizeof *t->type);
    t->score = sy_arena_array(&t->a, k->n + 1, sizeof *t->score);
    if (!t->text || !t->len || !t->type || !t->score) return sy_fail(err, SY_ENOMEM, "%s: no memory for %llu tokens", g->file, (unsigned long long)k->n);
    const uint8_t *at = k->data;
    for (uint64_t i = 0; i < t->n; i++) {
        int64_t type = NORMAL;
        const char *p = sy_gguf_next_text(&at, &t->len[i]);
        char *copy = sy_arena_alloc(&t->a, t->len[i] + 1);
        if (!copy) return sy_fail(err, SY_ENOMEM, "%s: no memory for %llu tokens", g->file, (unsigned long long)k->n);
        memcpy(copy, p, t->len[i]);
        copy[t->len[i]] = 0;
        t->text[i] = copy;
        if (types && !sy_gguf_elem_int(types, i, &type)) return sy_fail(err, SY_EFORMAT, "%s: key 'tokenizer.ggml.token_type' must hold whole numbers", g->file);
        t->type[i] = (int32_t)type;
        if (scores && !sy_gguf_elem_real(scores, i, &t->score[i])) return sy_fail(err, SY_EFORMAT, "%s: key 'tokenizer.ggml.scores' must hold numbers", g->file);
    }
    return SY_OK;
}

static void added_tokens(sy_json *j, const tokens *t)
{
    sy_json_key(j, "added_tokens");
    sy_json_begin(j, '[');
    for (uint64_t i = 0; i < t->n; i++) {
        if (t->type[i] != CONTROL && t->type[i] != USER && t->type[i] != UNKNOWN) continue;
        sy_json_begin(j, '{');
        sy_json_key(j, "id"), sy_json_int(j, (long long)i);
        sy_json_key(j, "content"), sy_json_bytes(j, t->text[i], t->len[i]);
        sy_json_key(j, "single_word"), sy_json_bool(j, false);
        sy_json_key(j, "lstrip"), sy_json_bool(j, false);
        sy_json_key(j, "rstrip"), sy_json_bool(j, false);
        sy_json_key(j, "normalized"), sy_json_bool(j, false);
        sy_json_key(j, "special"), sy_json_bool(j, t->type[i] != USER);
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
}

static void byte_level(sy_json *j, bool regex)
{
    sy_json_begin(j, '{');
    sy_json_key(j, "type"), sy_json_text(j, "ByteLevel");
    sy_json_key(j, "add_prefix_space"), sy_json_bool(j, false);
    sy_json_key(j, "trim_offsets"), sy_json_bool(j, true);
    sy_json_key(j, "use_regex"), sy_json_bool(j, regex);
    sy_json_end(j, '}');
}

static void pre_tokenizer(sy_json *j, const char *rule)
{
    sy_json_key(j, "pre_tokenizer");
    if (!rule) { byte_level(j, true); return; }
    sy_json_begin(j, '{');
    sy_json_key(j, "type"), sy_json_text(j, "Sequence");
    sy_json_key(j, "pretokenizers");
    sy_json_begin(j, '[');
    sy_json_begin(j, '{');
    if (!strcmp(rule, "digits")) {
        sy_json_key(j, "type"), sy_json_text(j, "Digits");
        sy_json_key(j, "individual_digits"), sy_json_bool(j, true);
    } else {
        sy_json_key(j, "type"), sy_json_text(j, "Split");
        sy_json_key(j, "pattern"), sy_json_begin(j, '{'), sy_json_key(j, "Regex"), sy_json_text(j, rule), sy_json_end(j, '}');
        sy_json_key(j, "behavior"), sy_json_text(j, "Isolated");
        sy_json_key(j, "invert"), sy_json_bool(j, false);
    }
    sy_json_end(j, '}');
    byte_level(j, !strcmp(rule, "digits"));
    sy_json_end(j, ']');
    sy_json_end(j, '}');
}

static void post_processor(sy_json *j, const tokens *t)
{
    sy_json_key(j, "post_processor");
    if (!t->add_bos || t->bos < 0 || (uint64_t)t->bos >= t->n) { sy_json_null(j); return; }
    const char *bos = t->text[t->bos];
    sy_json_begin(j, '{');
    sy_json_key(j, "type"), sy_json_text(j, "TemplateProcessing");
    for (int pair = 0; pair < 2; pair++) {
        sy_json_key(j, pair ? "pair" : "single");
        sy_json_begin(j, '[');
        for (int k = 0; k <= pair; k++) {
            sy_json_begin(j, '{'), sy_json_key(j, "SpecialToken"), sy_json_begin(j, '{');
            sy_json_key(j, "id"), sy_json_text(j, bos), sy_json_key(j, "type_id"), sy_json_int(j, k);
            sy_json_end(j, '}'), sy_json_end(j, '}');
            sy_json_begin(j, '{'), sy_json_key(j, "Sequence"), sy_json_begin(j, '{');
            sy_json_key(j, "id"), sy_json_text(j, k ? "B" : "A"), sy_json_key(j, "type_id"), sy_json_int(j, k);
            sy_json_end(j, '}'), sy_json_end(j, '}');
        }
        sy_json_end(j, ']');
    }
    sy_json_key(j, "special_tokens"), sy_json_begin(j, '{'), sy_json_key(j, bos), sy_json_begin(j, '{');
    sy_json_key(j, "id"), sy_json_text(j, bos);
    sy_json_key(j, "ids"), sy_json_begin(j, '['), sy_json_int(j, t->bos), sy_json_end(j, ']');
    sy_json_key(j, "tokens"), sy_json_begin(j, '['), sy_json_text(j, bos), sy_json_end(j, ']');
    sy_json_end(j, '}'), sy_json_end(j, '}');
    sy_json_end(j, '}');
}

static void vocabulary(sy_json *j, const tokens *t)
{
    sy_json_key(j, "vocab");
    sy_json_begin(j, '{');
    for (uint64_t i = 0; i < t->n; i++) {
        if (t->type[i] == UNUSED) continue;
        sy_buf_reserve(j->b, t->len[i] + 16);
        sy_json_key(j, t->text[i]), sy_json_int(j, (long long)i);
    }
    sy_json_end(j, '}');
}

static sy_status gpt2_json(sy_buf *b, const tokens *t, const sy_gguf *g, sy_err *err)
{
    const sy_gguf_key *merges = sy_gguf_key_find(g, "tokenizer.ggml.merges");
    const char *rule = NULL;
    sy_json j;
    size_t i = 0;
    while (i < SY_COUNT(rules) && strcmp(rules[i].pre, t->pre)) i++;
    if (i == SY_COUNT(rules)) return sy_fail(err, SY_EUNSUP, "%s: the rule '%.40s' of tokenizer.ggml.pre cannot be written as a tokenizer.json", g->file, t->pre);
    if (!merges || merges->elem != SY_GGUF_TEXT) return sy_fail(err, SY_EFORMAT, "%s: key 'tokenizer.ggml.merges' must be an array of texts", g->file);
    rule = rules[i].rule;
    sy_json_open(&j, b, 0);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "version"), sy_json_text(&j, "1.0");
    sy_json_key(&j, "truncation"), sy_json_null(&j);
    sy_json_key(&j, "padding"), sy_json_null(&j);
    added_tokens(&j, t);
    sy_json_key(&j, "normalizer"), sy_json_null(&j);
    pre_tokenizer(&j, rule);
    post_processor(&j, t);
    sy_json_key(&j, "decoder"), byte_level(&j, true);
    sy_json_key(&j, "model"), sy_json_begin(&j, '{');
    sy_json_key(&j, "type"), sy_json_text(&j, "BPE");
    sy_json_key(&j, "dropout"), sy_json_null(&j);
    sy_json_key(&j, "unk_token"), sy_json_null(&j);
    sy_json_key(&j, "continuing_subword_prefix"), sy_json_null(&j);
    sy_json_key(&j, "end_of_word_suffix"), sy_json_null(&j);
    sy_json_key(&j, "fuse_unk"), sy_json_bool(&j, false);
    sy_json_key(&j, "byte_fallback"), sy_json_bool(&j, false);
    sy_json_key(&j, "ignore_merges"), sy_json_bool(&j, rule && strstr(rule, "{1,3}"));
    vocabulary(&j, t);
    sy_json_key(&j, "merges");
    sy_json_begin(&j, '[');
    const uint8_t *at = merges->data;
    for (uint64_t m = 0; m < merges->n; m++) {       /* split at the first blank after the first byte */
        size_t len;
        const char *p = sy_gguf_next_text(&at, &len), *gap = len > 1 ? memchr(p + 1, ' ', len - 1) : NULL;
        if (!gap) return sy_fail(err, SY_EFORMAT, "%s: merge %llu is no pair", g->file, (unsigned long long)m);
        sy_json_begin(&j, '['), sy_json_bytes(&j, p, (size_t)(gap - p)), sy_json_bytes(&j, gap + 1, (size_t)(p + len - gap - 1)), sy_json_end(&j, ']');
    }
    sy_json_end(&j, ']');
    sy_json_end(&j, '}');
    sy_json_end(&j, '}');
    return SY_OK;
}

static sy_status beside(const tokens *t, const sy_gguf *g, const char *dir, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    const char *template = NULL;
    SY_TRY(sy_gguf_text(g, "tokenizer.chat_template", false, (sy_arena *)&t->a, &template, err));
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "tokenizer_class"), sy_json_text(&j, "PreTrainedTokenizerFast");
    if (t->bos >= 0 && (uint64_t)t->bos < t->n) sy_json_key(&j, "bos_token"), sy_json_text(&j, t->text[t->bos]);
    if (t->eos >= 0 && (uint64_t)t->eos < t->n) sy_json_key(&j, "eos_token"), sy_json_text(&j, t->text[t->eos]);
    sy_json_key(&j, "add_bos_token"), sy_json_bool(&j, t->add_bos);
    sy_json_key(&j, "clean_up_tokenization_spaces"), sy_json_bool(&j, false);
    if (template) sy_json_key(&j, "chat_template"), sy_json_text(&j, template);
    sy_json_end(&j, '}');
    sy_buf_put(&b, "\n", 1);
    SY_TRY(put_file(dir, "tokenizer_config.json", &b, err));
    if (t->eos < 0) return SY_OK;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "eos_token_id"), sy_json_int(&j, t->eos);
    if (t->bos >= 0) sy_json_key(&j, "bos_token_id"), sy_json_int(&j, t->bos);
    sy_json_end(&j, '}');
    sy_buf_put(&b, "\n", 1);
    return put_file(dir, "generation_config.json", &b, err);
}

static sy_status save(tokens *t, const sy_gguf *g, const char *model, const char *dir, sy_ledger *l, sy_err *err)
{
    const sy_gguf_key *whole = sy_gguf_key_find(g, "tokenizer.huggingface.json");
    sy_buf b = { 0 };
    t->bos = t->eos = -1;
    t->pre = "default";
    if (strcmp(model, "none")) SY_TRY(read_tokens(t, g, err));
    SY_TRY(sy_gguf_int(g, "tokenizer.ggml.bos_token_id", false, 0, INT32_MAX, &t->bos, err));
    SY_TRY(sy_gguf_int(g, "tokenizer.ggml.eos_token_id", false, 0, INT32_MAX, &t->eos, err));
    SY_TRY(sy_gguf_text(g, "tokenizer.ggml.pre", false, &t->a, &t->pre, err));
    t->add_bos = !strcmp(t->pre, "llama-bpe") || !strcmp(t->pre, "llama3");
    SY_TRY(sy_gguf_bool(g, "tokenizer.ggml.add_bos_token", false, &t->add_bos, err));
    if (whole && whole->type == SY_GGUF_TEXT) {
        const uint8_t *at = whole->data;
        size_t n;
        const char *text = sy_gguf_next_text(&at, &n);
        sy_buf_put(&b, text, n);
    } else if (!strcmp(model, "gpt2")) {
        sy_status st = gpt2_json(&b, t, g, err);
        if (st != SY_OK) { sy_buf_free(&b); return st; }
    } else {
        char note[96];
        snprintf(note, sizeof note, "of kind '%.20s': not written as a tokenizer.json", model);
        return sy_ledger_add(l, SY_L_NOTE, "tokenizer.ggml.model", note, 0, err);
    }
    SY_TRY(put_file(dir, "tokenizer.json", &b, err));
    return beside(t, g, dir, err);
}

sy_status sy_gguf_save_tokenizer(const sy_gguf *g, const char *dir, sy_ledger *l, sy_err *err)
{
    tokens t = { 0 };
    const char *model = "none";
    sy_status st = sy_gguf_text(g, "tokenizer.ggml.model", false, &t.a, &model, err);
    if (st == SY_OK) st = save(&t, g, model, dir, l, err);
    sy_arena_free(&t.a);
    return st;
}
