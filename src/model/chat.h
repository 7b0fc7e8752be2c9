/* model/chat.h - a conversation as the text and the ids that a model was trained on: the chat template that its files bring.
 *
 * It is read from chat_template.jinja and additional_chat_templates, tokenizer_config.json (chat_template) or a GGUF file (tokenizer.chat_template). What transformers does
 * around the template happens here: keys that are null are taken out of messages, a message's reasoning is given under all its names. Text of special tokens that came
 * with the conversation is encoded as text; only what the template itself writes becomes their ids. */
#ifndef SY_CHAT_H
#define SY_CHAT_H

#include "model/template.h"
#include "model/tokenizer.h"

typedef struct sy_chat sy_chat;

/* A model folder, a GGUF file, or a file with a template alone. *out = NULL, SY_OK: it brings no template. */
sy_status sy_chat_load(sy_chat **out, const char *path, sy_err *err);
/* From memory: the template and special texts like {"bos_token": "<s>"} (or NULL). */
sy_status sy_chat_new(sy_chat **out, const char *text, size_t n, const json_t *special, const char *name, sy_err *err);
void      sy_chat_close(sy_chat *c);                                 /* NULL is fine */
/* The templates of `path` go wherever the tokenizer is saved, instead of its own. "" and "none": they stay. SY_ENOENT: the path brings none. */
sy_status sy_chat_give(const char *path, sy_tokenizer *to, sy_err *err);
const char *sy_chat_id(const sy_chat *c);                            /* 32 hex digits over all that decides its text */

typedef struct sy_conversation {
    const json_t *messages;             /* a list of objects */
    const json_t *tools, *documents;    /* lists, or NULL */
    const json_t *extra;                /* an object with other names for the template, or NULL */
    bool          answer;               /* add_generation_prompt: the head of an answer stands at the end */
    int64_t       now;                  /* as in sy_template_input */
} sy_conversation;

/* SY_EFORMAT: no conversation, or the template refuses it. */
sy_status sy_chat_render(const sy_chat *c, const sy_conversation *q, sy_rendering *out, sy_err *err);
/* Puts SY_GENERATED on the bytes that an assistant would have made. A template with `generation` blocks says so itself; else each answer is
 * what the text up to its end has more than the prompt before it. SY_EUNSUP where one is no beginning of the other. */
sy_status sy_chat_render_answers(const sy_chat *c, const sy_conversation *q, sy_rendering *out, sy_err *err);

typedef struct sy_specials sy_specials;              /* the special tokens of a tokenizer, found by their text */
sy_status sy_specials_open(sy_specials **out, const sy_tokenizer *tok, sy_err *err);         /* tok is borrowed */
void      sy_specials_close(sy_specials *s);
/* Bytes from .. to-1 of the text to ids; `id` has room for sy_tokenizer_most(to - from). mark NULL: all of it came with the conversation. */
sy_status sy_specials_encode(const sy_specials *s, const char *text, const char *mark, size_t from, size_t to, int32_t *id, size_t *n, sy_err *err);

#endif
