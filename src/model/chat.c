/* model/chat.c - reading templates out of a model's files, and what happens around them. */
#include "model/chat.h"

#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/sha256.h"
#include "model/gguf.h"
#include "model/tokenizer_config.h"
#include "model/tokenizer_parts.h"

enum { MOST_TEMPLATE = 4 << 20 };

struct sy_chat {
    sy_template *plain, *tools;         /* tools: of conversations with tools; often the same */
    json_t      *templates;             /* their texts, by name */
    json_t      *special;               /* bos_token, ... */
    char         id[33];
};

void sy_chat_close(sy_chat *c)
{
    if (!c) return;
    if (c->tools != c->plain) sy_template_close(c->tools);
    sy_template_close(c->plain);
    json_decref(c->templates);
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

static source template_named(const json_t *templates, const char *name)
{
    const json_t *v = json_object_get(templates, name);
    return (source){ json_string_value(v), json_string_length(v) };
}

/* Takes over `templates`. `name` stands in sentences. */
static sy_status open_chat(sy_chat **out, json_t *templates, const json_t *special, const char *name, sy_err *err)
{
    source plain = template_named(templates, "default"), tools = template_named(templates, "tool_use");
    sy_chat *c = sy_calloc(1, sizeof *c);
    if (!c) {
        json_decref(templates);
        return sy_fail(err, SY_ENOMEM, "no memory for a chat template");
    }
    c->templates = templates;
    if (!plain.text) plain = tools;
    c->special = special ? json_deep_copy(special) : sy_json_object();
    sy_status st = c->special && templates ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for a chat template");
    if (st == SY_OK && !plain.text) st = sy_fail(err, SY_EUNSUP, "%s: none of the %zu templates is called 'default' or 'tool_use'", name, json_object_size(templates));
    if (st == SY_OK) st = sy_template_parse(&c->plain, plain.text, plain.n, name, err);
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
    json_t *all = sy_json_object(), *v = json_stringn(text, n);
    if (all && !v) {
        json_decref(all);
        return sy_fail(err, SY_EFORMAT, "%s is not UTF-8", name);
    }
    if (json_object_set_new(all, "default", v)) {
        json_decref(all);
        return sy_fail(err, SY_ENOMEM, "no memory for a chat template");
    }
    return open_chat(out, all, special, name, err);
}

/* --- from a model's files ----------------------------------------------------------------------------------------------------- */

static sy_status load_folder(sy_chat **out, const char *dir, sy_err *err)
{
    char file[1024];
    sy_beside b;
    json_t *templates = NULL;
    SY_TRY(sy_path(file, sizeof file, dir, "chat_template.jinja", err));
    SY_TRY(sy_beside_read(&b, dir, err));
    sy_status st = sy_templates_read(&templates, dir, b.config, b.file, err);
    if (st == SY_OK && templates) st = open_chat(out, templates, b.special, sy_file_exists(file) ? "chat_template.jinja" : "chat_template", err);
    sy_beside_free(&b);
    return st;
}

static sy_status from_gguf(void *arg, const sy_gguf *g, sy_err *err)
{
    json_t *templates = NULL, *special = NULL;
    SY_TRY(sy_special_from_gguf(&special, g, err));
    sy_status st = sy_templates_from_gguf(&templates, g, err);
    if (st == SY_OK && templates) st = open_chat(arg, templates, special, "tokenizer.chat_template", err);
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
    bool gguf;
    *out = NULL;
    if (sy_is_dir(path)) return sy_within(err, load_folder(out, path, err), "%s", path);
    sy_chat *c = NULL;
    sy_status st = sy_gguf_look(path, from_gguf, &c, &gguf, err);
    if (st != SY_OK) {
        sy_chat_close(c);
        return st;
    }
    *out = c;
    return gguf ? SY_OK : load_file(out, path, err);
}

sy_status sy_chat_give(const char *path, sy_tokenizer *to, sy_err *err)
{
    sy_chat *c;
    if (!*path || !strcmp(path, "none")) return SY_OK;
    SY_TRY(sy_within(err, sy_chat_load(&c, path, err), "chat_template"));
    if (!c) return sy_fail(err, SY_ENOENT, "chat_template: '%s' brings no chat template; give a model folder, a GGUF or a .jinja file that does", path);
    sy_status st = sy__tokenizer_keep_templates(to, c->templates, err);
    sy_chat_close(c);
    return st;
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
