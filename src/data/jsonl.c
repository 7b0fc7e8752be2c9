/* data/jsonl.c - what one JSON line says: `text`, `messages`, or `prompt` and `completion`. */
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "data/read.h"

enum { ROLE_MAX = 64 };

typedef struct place { const char *path; int64_t line; const sy_data_options *o; const sy__sink *sink; } place;

static const char *type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a text";
    case JSON_INTEGER: case JSON_REAL: return "a number";
    case JSON_TRUE: case JSON_FALSE: return "true or false";
    case JSON_NULL: break;
    }
    return "null";
}

static sy_status give(const place *p, const json_t *v, bool counted, sy_err *err)
{
    size_t n = json_string_length(v);
    return n ? p->sink->text(p->sink->arg, json_string_value(v), n, counted, err) : SY_OK;
}

static sy_status need_text(const place *p, const char *field, const json_t *v, sy_err *err)
{
    if (json_is_string(v)) return SY_OK;
    return sy_fail(err, SY_EFORMAT, "'%s' line %lld: '%s' is %s, not a text", p->path, (long long)p->line, field, type_name(v));
}

/* By the chat template; the loss is on what an assistant makes. Cut where the loss begins and ends, as prompt and answer are in use. */
static sy_status give_rendered(const place *p, const sy_rendering *r, sy_err *err)
{
    for (size_t from = 0, to; from < r->text.n; from = to) {
        bool counted = r->mark.data[from] & SY_GENERATED;
        for (to = from; to < r->text.n && (!p->o->mask_prompt || !(r->mark.data[to] & SY_GENERATED) == !counted); to++) continue;
        SY_TRY(p->sink->marked(p->sink->arg, r->text.data, r->mark.data, from, to, counted || !p->o->mask_prompt, err));
    }
    return p->sink->end(p->sink->arg, err);
}

static sy_status give_conversation(const place *p, const json_t *line, const json_t *list, sy_err *err)
{
    sy_rendering r = { 0 };
    const json_t *tools = json_object_get(line, "tools"), *documents = json_object_get(line, "documents"), *extra = json_object_get(line, "chat_template_kwargs");
    sy_conversation q = { .messages = list, .tools = json_is_array(tools) ? tools : NULL, .documents = json_is_array(documents) ? documents : NULL, .extra = json_is_object(extra) ? extra : NULL };
    sy_status st = sy_within(err, sy_chat_render_answers(p->sink->chat, &q, &r, err), "'%s' line %lld", p->path, (long long)p->line);
    if (st == SY_OK) st = give_rendered(p, &r, err);
    sy_rendering_free(&r);
    return st;
}

/* "<|role|>\n" content "\n" for each message; the loss is on the assistant's content and the line break after it. */
static sy_status give_messages(const place *p, const json_t *list, sy_err *err)
{
    const char *field = p->o->messages_field;
    if (!json_is_array(list))
        return sy_fail(err, SY_EFORMAT, "'%s' line %lld: '%s' is %s, not a list of messages", p->path, (long long)p->line, field, type_name(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i), *role = json_object_get(m, "role"), *content = json_object_get(m, "content");
        if (!json_is_string(role) || !json_is_string(content))
            return sy_fail(err, SY_EFORMAT, "'%s' line %lld: message %zu of '%s' needs a 'role' and a 'content' that are texts",
                           p->path, (long long)p->line, i + 1, field);
        bool counted = !p->o->mask_prompt || !strcmp(json_string_value(role), "assistant");
        char head[ROLE_MAX + 8];                     /* in one piece, so that it is tokenised as one */
        if (json_string_length(role) > ROLE_MAX)
            return sy_fail(err, SY_EFORMAT, "'%s' line %lld: the role of message %zu has %zu bytes, at most %d are taken",
                           p->path, (long long)p->line, i + 1, json_string_length(role), ROLE_MAX);
        int n = snprintf(head, sizeof head, "<|%s|>\n", json_string_value(role));
        SY_TRY(p->sink->text(p->sink->arg, head, (size_t)n, !p->o->mask_prompt, err));
        SY_TRY(give(p, content, counted, err));
        SY_TRY(p->sink->text(p->sink->arg, "\n", 1, counted, err));
    }
    return p->sink->end(p->sink->arg, err);
}

/* The keys that are there, for a sentence that lets the user see what to name. */
static void key_list(const json_t *v, char *out, size_t size)
{
    size_t at = 0;
    out[0] = 0;
    for (void *it = json_object_iter((json_t *)v); it && at + 48 < size; it = json_object_iter_next((json_t *)v, it)) {
        int n = snprintf(out + at, size - at, "%s'%.32s'", at ? ", " : "", json_object_iter_key(it));
        at += (size_t)n;
    }
}

static sy_status give_document(const place *p, const json_t *v, sy_err *err)
{
    const sy_data_options *o = p->o;
    const json_t *text = json_object_get(v, o->text_field), *messages = json_object_get(v, o->messages_field);
    const json_t *prompt = json_object_get(v, o->prompt_field), *completion = json_object_get(v, o->completion_field);
    if (!json_is_object(v))
        return sy_fail(err, SY_EFORMAT, "'%s' line %lld is %s, not an object like {\"text\": \"...\"}", p->path, (long long)p->line, type_name(v));
    if (text) {
        SY_TRY(need_text(p, o->text_field, text, err));
        SY_TRY(give(p, text, true, err));
        return p->sink->end(p->sink->arg, err);
    }
    if (messages) return p->sink->chat ? give_conversation(p, v, messages, err) : give_messages(p, messages, err);
    if (prompt && completion) {
        SY_TRY(need_text(p, o->prompt_field, prompt, err));
        SY_TRY(need_text(p, o->completion_field, completion, err));
        SY_TRY(give(p, prompt, !o->mask_prompt, err));
        SY_TRY(give(p, completion, true, err));
        return p->sink->end(p->sink->arg, err);
    }
    char keys[400];
    key_list(v, keys, sizeof keys);
    return sy_fail(err, SY_EFORMAT, "'%s' line %lld has neither '%s' nor '%s' nor '%s' with '%s', but %s: name its fields by text_field, or by prompt_field and "
                   "completion_field", p->path, (long long)p->line, o->text_field, o->messages_field, o->prompt_field, o->completion_field,
                   *keys ? keys : "no field at all");
}

sy_status sy__read_json_line(const char *path, int64_t line, const char *text, size_t bytes, const sy_data_options *o, const sy__sink *sink,
                             sy_err *err)
{
    place p = { path, line, o, sink };
    size_t blank = 0;
    while (blank < bytes && (text[blank] == ' ' || text[blank] == '\t' || text[blank] == '\r')) blank++;
    if (blank == bytes) return SY_OK;
    json_t *v = NULL;
    SY_TRY(sy_within(err, sy_json_parse(&v, text, bytes, "JSON", err), "'%s' line %lld", path, (long long)line));
    sy_status status = give_document(&p, v, err);
    json_decref(v);
    return status;
}
