/* model/chat.c - reading templates out of a model's files, and what happens around them. */
#include "model/chat.h"

#include <string.h>

#include "core/alloc.h"
#include "core/arena.h"
#include "core/file.h"
#include "core/sha256.h"
#include "model/gguf.h"

enum { MOST_TEMPLATE = 4 << 20, MOST_CONFIG = 64 << 20 };

struct sy_chat {
    sy_template *plain, *tools;         /* tools: of conversations with tools; often the same */
    json_t      *special;               /* bos_token, ... */
    char         id[33];
};

void sy_chat_close(sy_chat *c)
{
    if (!c) return;
    if (c->tools != c->plain) sy_template_close(c->tools);
    sy_template_close(c->plain);
    json_decref(c->special);
    sy_free(c);
}

const char *sy_chat_id(const sy_chat *c) { return c->id; }

/* --- opening ----------------------------------------------------------------------------------------------------------------- */

typedef struct source { const char *text; size_t n; } source;

static int hash_some(const char *text, size_t n, void *sha) { sy_sha256_add(sha, text, n); return 0; }

static sy_status digest(sy_chat *c, source plain, source tools, sy_err *err)
{
    unsigned char out[32];
    sy_sha256 s;
    sy_sha256_start(&s);
    sy_sha256_text(&s, "chat template, 1");
    sy_sha256_u64(&s, plain.n);
    sy_sha256_add(&s, plain.text, plain.n);
    sy_sha256_u64(&s, tools.n);
    if (tools.n) sy_sha256_add(&s, tools.text, tools.n);
    if (json_dump_callback(c->special, hash_some, &s, JSON_SORT_KEYS | JSON_COMPACT)) return sy_fail(err, SY_ENOMEM, "no memory for a chat template");
    sy_sha256_end(&s, out);
    sy_hex(out, 16, c->id);
    return SY_OK;
}

static sy_status open_chat(sy_chat **out, source plain, source tools, const json_t *special, const char *name, sy_err *err)
{
    sy_chat *c = sy_calloc(1, sizeof *c);
    if (!c) return sy_fail(err, SY_ENOMEM, "no memory for a chat template");
    c->special = special ? json_deep_copy(special) : sy_json_object();
    sy_status st = c->special ? sy_template_parse(&c->plain, plain.text, plain.n, name, err) : sy_fail(err, SY_ENOMEM, "no memory for a chat template");
    if (st == SY_OK && tools.text) st = sy_template_parse(&c->tools, tools.text, tools.n, name, err);
    if (st == SY_OK && !tools.text) c->tools = c->plain;
    if (st == SY_OK) st = digest(c, plain, tools, err);
    if (st != SY_OK) {
        sy_chat_close(c);
        return st;
    }
    *out = c;
    return SY_OK;
}

sy_status sy_chat_new(sy_chat **out, const char *text, size_t n, const json_t *special, const char *name, sy_err *err)
{
    return open_chat(out, (source){ text, n }, (source){ NULL, 0 }, special, name, err);
}

/* --- from a folder ------------------------------------------------------------------------------------------------------------ */

static const char *const special_names[] = { "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token" };

/* A special token is a text, or an object that holds one. */
static sy_status take_special(json_t *to, const json_t *config, const char *file, sy_err *err)
{
    for (size_t i = 0; i < SY_COUNT(special_names); i++) {
        json_t *v = json_object_get(config, special_names[i]);
        if (json_is_object(v)) v = json_object_get(v, "content");
        if (!v || json_is_null(v) || json_object_get(to, special_names[i])) continue;
        if (!json_is_string(v)) return sy_fail(err, SY_EFORMAT, "%s: '%s' is no text", file, special_names[i]);
        if (json_object_set(to, special_names[i], v)) return sy_fail(err, SY_ENOMEM, "no memory for %s", file);
    }
    return SY_OK;
}

/* chat_template is a text, or a list of {"name", "template"}: "default", and "tool_use" for conversations with tools. */
static sy_status take_templates(const json_t *config, const char *file, source *plain, source *tools, sy_err *err)
{
    json_t *v = json_object_get(config, "chat_template"), *one;
    size_t i;
    if (!v || json_is_null(v)) return SY_OK;
    if (json_is_string(v)) {
        *plain = (source){ json_string_value(v), json_string_length(v) };
        return SY_OK;
    }
    if (!json_is_array(v)) return sy_fail(err, SY_EFORMAT, "%s: 'chat_template' is neither a text nor a list", file);
    json_array_foreach(v, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        json_t *text = json_object_get(one, "template");
        if (!name || !json_is_string(text)) return sy_fail(err, SY_EFORMAT, "%s: entry %zu of 'chat_template' needs a name and a template", file, i);
        source s = { json_string_value(text), json_string_length(text) };
        if (!strcmp(name, "default")) *plain = s;
        if (!strcmp(name, "tool_use")) *tools = s;
    }
    if (!plain->text) *plain = *tools;
    return plain->text || !json_array_size(v) ? SY_OK : sy_fail(err, SY_EUNSUP, "%s: none of the %zu templates is called 'default' or 'tool_use'", file, json_array_size(v));
}

static sy_status read_config(const char *dir, const char *name, json_t **out, char *file, size_t size, sy_err *err)
{
    *out = NULL;
    SY_TRY(sy_path(file, size, dir, name, err));
    if (!sy_file_exists(file)) return SY_OK;
    SY_TRY(sy_json_read(out, file, MOST_CONFIG, err));
    return json_is_object(*out) ? SY_OK : sy_fail(err, SY_EFORMAT, "%s is no JSON object", file);
}

static sy_status read_template(const char *dir, const char *name, sy_buf *b, source *out, sy_err *err)
{
    char file[1024];
    SY_TRY(sy_path(file, sizeof file, dir, name, err));
    if (!sy_file_exists(file)) return SY_OK;
    SY_TRY(sy_file_read(file, MOST_TEMPLATE, b, err));
    *out = (source){ b->data ? b->data : "", b->n };
    return SY_OK;
}

static sy_status load_folder(sy_chat **out, const char *dir, sy_err *err)
{
    char file[1024], map[1024];
    json_t *config = NULL, *more = NULL, *special = sy_json_object();
    sy_buf a = { 0 }, b = { 0 };
    source plain = { NULL, 0 }, tools = { NULL, 0 };
    sy_status st = special ? read_config(dir, "tokenizer_config.json", &config, file, sizeof file, err) : sy_fail(err, SY_ENOMEM, "no memory for %s", dir);
    if (st == SY_OK && config) st = take_templates(config, file, &plain, &tools, err);
    if (st == SY_OK && config) st = take_special(special, config, file, err);
    if (st == SY_OK) st = read_config(dir, "special_tokens_map.json", &more, map, sizeof map, err);
    if (st == SY_OK && more) st = take_special(special, more, map, err);
    if (st == SY_OK) st = read_template(dir, "chat_template.jinja", &a, &plain, err);        /* the newer place wins */
    if (st == SY_OK) st = read_template(dir, "additional_chat_templates/tool_use.jinja", &b, &tools, err);
    if (st == SY_OK && plain.text) st = open_chat(out, plain, tools, special, a.data ? "chat_template.jinja" : "chat_template", err);
    json_decref(config);
    json_decref(more);
    json_decref(special);
    sy_buf_free(&a);
    sy_buf_free(&b);
    return st;
}

/* --- from GGUF ------------------------------------------------------------------------------------------------------------------ */

static sy_status gguf_special(const sy_gguf *g, json_t *to, sy_err *err)
{
    static const struct { const char *key, *name; } ids[] = {
        { "tokenizer.ggml.bos_token_id", "bos_token" }, { "tokenizer.ggml.eos_token_id", "eos_token" }, { "tokenizer.ggml.unknown_token_id", "unk_token" },
        { "tokenizer.ggml.padding_token_id", "pad_token" },
    };
    const sy_gguf_key *k = sy_gguf_key_find(g, "tokenizer.ggml.tokens");
    if (!k || k->type != SY_GGUF_ARRAY || k->elem != SY_GGUF_TEXT) return SY_OK;
    for (size_t i = 0; i < SY_COUNT(ids); i++) {
        int64_t id = -1;
        size_t n = 0;
        const char *text = NULL;
        const uint8_t *at = k->data;
        SY_TRY(sy_gguf_int(g, ids[i].key, false, 0, INT32_MAX, &id, err));
        if (id < 0 || (uint64_t)id >= k->n) continue;
        for (int64_t j = 0; j <= id; j++) text = sy_gguf_next_text(&at, &n);
        json_t *v = json_stringn(text, n);
        if (!v) continue;                            /* not UTF-8: no text for a template */
        if (json_object_set_new(to, ids[i].name, v)) return sy_fail(err, SY_ENOMEM, "no memory for the tokens of %s", g->file);
    }
    return SY_OK;
}

static sy_status gguf_text(const sy_gguf *g, const char *key, sy_arena *a, source *out, sy_err *err)
{
    const char *text = NULL;
    SY_TRY(sy_gguf_text(g, key, false, a, &text, err));
    if (text) *out = (source){ text, strlen(text) };
    return SY_OK;
}

static sy_status from_gguf(sy_chat **out, sy_map *map, const char *path, json_t *special, sy_arena *a, sy_err *err)
{
    sy_gguf g;
    source plain = { NULL, 0 }, tools = { NULL, 0 };
    SY_TRY(sy_gguf_open(&g, map, path, a, err));
    SY_TRY(gguf_text(&g, "tokenizer.chat_template", a, &plain, err));
    SY_TRY(gguf_text(&g, "tokenizer.chat_template.tool_use", a, &tools, err));
    SY_TRY(gguf_special(&g, special, err));
    SY_TRY(sy_map_status(map, path, SY_OK, err));
    return plain.text ? open_chat(out, plain, tools, special, "tokenizer.chat_template", err) : SY_OK;
}

static sy_status load_gguf(sy_chat **out, const char *path, sy_err *err)
{
    sy_map map;
    sy_arena a = { 0 };
    json_t *special = sy_json_object();
    sy_status st = special ? sy_map_open(&map, path, err) : sy_fail(err, SY_ENOMEM, "no memory for %s", path);
    if (st == SY_OK) {
        st = from_gguf(out, &map, path, special, &a, err);
        sy_map_close(&map);
    }
    sy_arena_free(&a);
    json_decref(special);
    return st;
}

static sy_status load_file(sy_chat **out, const char *path, sy_err *err)
{
    sy_buf b = { 0 };
    sy_status st = sy_file_read(path, MOST_TEMPLATE, &b, err);
    if (st == SY_OK) st = sy_chat_new(out, b.data ? b.data : "", b.n, NULL, path, err);
    sy_buf_free(&b);
    return st;
}

sy_status sy_chat_load(sy_chat **out, const char *path, sy_err *err)
{
    size_t n = strlen(path);
    *out = NULL;
    if (sy_is_dir(path)) return sy_within(err, load_folder(out, path, err), "%s", path);
    bool gguf = n > 5 && !strcmp(path + n - 5, ".gguf");
    return gguf ? load_gguf(out, path, err) : load_file(out, path, err);
}

/* --- rendering ------------------------------------------------------------------------------------------------------------------- */

static sy_status no_memory(sy_err *err) { return sy_fail(err, SY_ENOMEM, "no memory for the conversation"); }

/* Reasoning goes by three names; a template may read any of two. */
static sy_status name_reasoning(json_t *m, sy_err *err)
{
    static const char *const names[] = { "reasoning_content", "thinking", "reasoning" };
    json_t *v = NULL;
    for (size_t i = 0; i < SY_COUNT(names) && !v; i++) v = json_object_get(m, names[i]);
    if (!v) return SY_OK;
    if (!json_object_get(m, "thinking") && json_object_set(m, "thinking", v)) return no_memory(err);
    return json_object_set(m, "reasoning_content", v) ? no_memory(err) : SY_OK;
}

/* Messages without the keys whose value is null, as a list of their own. */
static sy_status tidy(const json_t *messages, json_t *to, sy_err *err)
{
    size_t i;
    json_t *one, *v;
    const char *key;
    void *next;
    if (!json_is_array(messages) || !json_array_size(messages)) return sy_fail(err, SY_EFORMAT, "a conversation is a list of at least one message");
    json_array_foreach((json_t *)messages, i, one) {
        if (!json_is_object(one)) return sy_fail(err, SY_EFORMAT, "message %zu is no object like {\"role\": \"user\", \"content\": \"...\"}", i + 1);
        json_t *copy = json_copy(one);
        if (!copy || json_array_append_new(to, copy)) return no_memory(err);
        json_object_foreach_safe(copy, next, key, v) if (json_is_null(v)) json_object_del(copy, key);
        SY_TRY(name_reasoning(copy, err));
    }
    return SY_OK;
}

static int set_or_null(json_t *o, const char *key, const json_t *v) { return v ? json_object_set(o, key, (json_t *)v) : json_object_set_new(o, key, json_null()); }

/* The names that the template sees; the caller gives `given` back. */
static sy_status names(const sy_conversation *q, json_t *given, sy_err *err)
{
    json_t *list = sy_json_array(), *v;
    const char *key;
    if (!list || json_object_set_new(given, "messages", list)) return no_memory(err);
    SY_TRY(tidy(q->messages, list, err));
    if (set_or_null(given, "tools", q->tools) || set_or_null(given, "documents", q->documents) ||
        json_object_set_new(given, "add_generation_prompt", json_boolean(q->answer)))
        return no_memory(err);
    json_object_foreach((json_t *)q->extra, key, v) {
        if (json_object_get(given, key)) return sy_fail(err, SY_EARG, "the template's name '%.60s' is given by the conversation itself", key);
        if (json_object_set(given, key, v)) return no_memory(err);
    }
    return SY_OK;
}

sy_status sy_chat_render(const sy_chat *c, const sy_conversation *q, sy_rendering *out, sy_err *err)
{
    json_t *given = sy_json_object();
    if (!given) return no_memory(err);
    sy_status st = names(q, given, err);
    if (st == SY_OK) st = sy_template_render(q->tools ? c->tools : c->plain, &(sy_template_input){ .given = given, .own = c->special, .now = q->now }, out, err);
    json_decref(given);
    return st;
}

static bool begins_with(const sy_rendering *whole, const sy_rendering *part) { return whole->text.n >= part->text.n && !memcmp(whole->text.data, part->text.data, part->text.n); }

/* The first n messages, without or with the head of an answer. */
static sy_status render_first(const sy_chat *c, const sy_conversation *q, size_t n, bool answer, sy_rendering *out, sy_err *err)
{
    sy_conversation part = *q;
    json_t *list = sy_json_array();
    sy_status st = list ? SY_OK : no_memory(err);
    for (size_t i = 0; i < n && st == SY_OK; i++)
        if (json_array_append(list, json_array_get(q->messages, i))) st = no_memory(err);
    part.messages = list;
    part.answer = answer;
    if (st == SY_OK) st = sy_chat_render(c, &part, out, err);
    json_decref(list);
    return st;
}

static sy_status mark_answer(const sy_chat *c, const sy_conversation *q, size_t i, sy_rendering *part, sy_rendering *out, sy_err *err)
{
    size_t from = 0, to = 0;
    if (i) {
        SY_TRY(render_first(c, q, i, true, part, err));
        if (!begins_with(out, part))
            return sy_fail(err, SY_EUNSUP, "the prompt before message %zu is not how the whole conversation begins: the template needs {%% generation %%} around what counts", i + 1);
        from = part->text.n;
    }
    to = out->text.n;
    if (i + 1 < json_array_size(q->messages)) {
        SY_TRY(render_first(c, q, i + 1, false, part, err));
        if (!begins_with(out, part) || part->text.n < from)
            return sy_fail(err, SY_EUNSUP, "the text up to message %zu is not how the whole conversation begins: the template needs {%% generation %%} around what counts", i + 1);
        to = part->text.n;
    }
    for (size_t k = from; k < to; k++) out->mark.data[k] |= SY_GENERATED;
    return SY_OK;
}

sy_status sy_chat_render_answers(const sy_chat *c, const sy_conversation *q, sy_rendering *out, sy_err *err)
{
    sy_rendering part = { 0 };
    sy_status st = SY_OK;
    SY_TRY(sy_chat_render(c, q, out, err));
    if (sy_template_generates(q->tools ? c->tools : c->plain)) return SY_OK;
    for (size_t i = 0; i < json_array_size(q->messages) && st == SY_OK; i++) {
        const char *role = json_string_value(json_object_get(json_array_get(q->messages, i), "role"));
        if (role && !strcmp(role, "assistant")) st = mark_answer(c, q, i, &part, out, err);
    }
    sy_rendering_free(&part);
    return st;
}

/* --- text to ids ------------------------------------------------------------------------------------------------------------------- */

struct sy_specials {
    const sy_tokenizer *tok;
    int   n;
    int  *first[256];                   /* ids whose text begins with this byte, ended by -1; NULL: none */
    int  *list;
};

void sy_specials_close(sy_specials *s)
{
    if (!s) return;
    sy_free(s->list);
    sy_free(s);
}

sy_status sy_specials_open(sy_specials **out, const sy_tokenizer *tok, sy_err *err)
{
    sy_specials *s = sy_calloc(1, sizeof *s);
    int count[256] = { 0 }, V = sy_tokenizer_vocab(tok), all = 0;
    if (!s) return sy_fail(err, SY_ENOMEM, "no memory for the special tokens");
    s->tok = tok;
    for (int id = 0; id < V; id++) {
        const char *text = sy_tokenizer_special(tok, id);
        if (text && *text) count[(unsigned char)*text]++, s->n++;
    }
    for (int b = 0; b < 256; b++) all += count[b] ? count[b] + 1 : 0;
    if (!(s->list = sy_malloc(((size_t)all + 1) * sizeof *s->list))) {
        sy_specials_close(s);
        return sy_fail(err, SY_ENOMEM, "no memory for %d special tokens", s->n);
    }
    for (int b = 0, at = 0; b < 256; b++) {
        if (!count[b]) continue;
        s->first[b] = s->list + at;
        at += count[b] + 1;
        s->first[b][count[b]] = -1;
        count[b] = 0;
    }
    for (int id = 0; id < V; id++) {
        const char *text = sy_tokenizer_special(tok, id);
        if (text && *text) s->first[(unsigned char)*text][count[(unsigned char)*text]++] = id;
    }
    *out = s;
    return SY_OK;
}

/* Bytes of the longest special token at s; 0: none. */
static size_t special_at(const sy_specials *p, const char *s, size_t n)
{
    size_t longest = 0;
    for (const int *id = p->first[(unsigned char)*s]; id && *id >= 0; id++) {
        const char *text = sy_tokenizer_special(p->tok, *id);
        size_t k = strlen(text);
        if (k <= n && k > longest && !memcmp(text, s, k)) longest = k;
    }
    return longest;
}

static bool from_input(const char *mark, size_t from, size_t n)
{
    for (size_t i = from; mark && i < from + n; i++) if (mark[i] & SY_FROM_INPUT) return true;
    return !mark;
}

static sy_status add(const sy_specials *s, const char *text, size_t n, bool special, int32_t *id, size_t *ids, sy_err *err)
{
    size_t k = 0;
    if (!n) return SY_OK;
    SY_TRY((special ? sy_tokenizer_encode_special : sy_tokenizer_encode)(s->tok, text, n, id + *ids, &k, err));
    *ids += k;
    return SY_OK;
}

/* The text goes through in one piece, as training saw it; only where it holds a special token that somebody wrote is it cut, around that. */
sy_status sy_specials_encode(const sy_specials *s, const char *text, const char *mark, size_t from, size_t to, int32_t *id, size_t *n, sy_err *err)
{
    size_t done = from;
    *n = 0;
    for (size_t at = from; at < to; ) {
        size_t k = special_at(s, text + at, to - at);
        if (k && from_input(mark, at, k)) {
            SY_TRY(add(s, text + done, at - done, true, id, n, err));
            SY_TRY(add(s, text + at, k, false, id, n, err));
            done = at + k;
        }
        at += k ? k : 1;
    }
    return add(s, text + done, to - done, true, id, n, err);
}
