/* cli/prompt.h - what a model is told: a conversation as ids, in the form of the model's chat template or, without one, in the form of training on
 * `messages`; and the settings that the model's files and the command line ask for. */
#ifndef SY_PROMPT_H
#define SY_PROMPT_H

#include "cli/cli.h"
#include "infer/settings.h"
#include "model/chat.h"

typedef struct sy_prompter {
    const sy_tokenizer *tok;            /* borrowed */
    sy_chat            *chat;           /* NULL: the model brings no template */
    sy_specials        *specials;
} sy_prompter;

/* `path`: of a model, a run or a GGUF file. */
sy_status sy_prompter_open(sy_prompter *p, const char *path, const sy_tokenizer *tok, sy_err *err);
void      sy_prompter_close(sy_prompter *p);
/* {role, content} of what was said. A model may have made bytes that are no UTF-8: they stay, or become U+FFFD where a template reads them. NULL without memory. */
json_t   *sy_prompter_message(const sy_prompter *p, const char *role, const char *text);
/* The ids of a conversation, from the arena: what the tokenizer puts in front of a text (bos) once, whether the template writes it or not. Without a template: "<|role|>\n" content "\n" for each message, then "<|assistant|>\n". */
sy_status sy_prompter_ids(const sy_prompter *p, const sy_conversation *q, sy_arena *a, int **id, size_t *n, sy_err *err);

/* Defaults, then what the model's generation_config.json says, then the KEY=VALUE of the command line; keys that are left out are told. */
sy_status sy_open_settings(sy_cli *cli, const char *path, const sy_list *set, bool greedy, sy_generate_options *o, sy_settings *s, sy_err *err);

#endif
