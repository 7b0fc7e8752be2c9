/* model/tokenizer_config.h - what lies beside a tokenizer.json: tokenizer_config.json, special_tokens_map.json, chat templates. Read as transformers 5 reads them:
 * add_bos_token and add_eos_token say nothing beside a tokenizer.json, whose post-processor counts; the map is read when the config lists no added tokens; a
 * file of templates stands instead of all templates of the config. */
#ifndef SY_TOKENIZER_CONFIG_H
#define SY_TOKENIZER_CONFIG_H

#include "core/arena.h"
#include "core/json.h"
#include "core/status.h"

typedef struct sy_beside {
    json_t *config;                     /* tokenizer_config.json as it stands; NULL: there is none */
    json_t *special;                    /* texts of the special tokens that have a name: {"bos_token": "<s>"}, or null */
    json_t *token;                      /* the same tokens as they stand there: texts, or objects as in added_tokens */
    json_t *extra;                      /* a list of special tokens without a name: texts, or objects as in added_tokens */
    char    file[1024];                 /* of the config */
} sy_beside;

/* Of a folder; without any of the files all is empty. */
sy_status sy_beside_read(sy_beside *b, const char *dir, sy_err *err);
void      sy_beside_free(sy_beside *b);
const char *sy_beside_text(const sy_beside *b, const char *name);    /* of the special token of that name; NULL: none */
/* The added tokens of a tokenizer.json with what the other files make of them, a new list: attributes of added_tokens_decoder count, tokens that have a name are
 * special, and those that are none yet become some. `vocab`: ids by text; `own`: how many ids the model has. */
sy_status sy_beside_added(const sy_beside *b, const json_t *list, const json_t *vocab, int own, json_t **out, sy_err *err);

/* Chat templates by name, {"default": text, "tool_use": text}; *out NULL: none. `config` may be NULL; `file` names it in sentences. */
sy_status sy_templates_read(json_t **out, const char *dir, const json_t *config, const char *file, sy_err *err);
/* The name of the file that holds a template: chat_template.jinja or additional_chat_templates/NAME.jinja. SY_EUNSUP: the name can be none. */
sy_status sy_template_file(char file[256], const char *name, sy_err *err);
bool      sy_is_template_file(const char *name);
/* The same of a GGUF file: tokenizer.chat_template and tokenizer.chat_template.NAME; ids of special tokens as texts. */
struct sy_gguf;
sy_status sy_templates_from_gguf(json_t **out, const struct sy_gguf *g, sy_err *err);
sy_status sy_special_from_gguf(json_t **out, const struct sy_gguf *g, sy_err *err);
/* Names of the files of a folder that belong to its tokenizer, but for tokenizer.json and what it was made of: relative to the folder, from the arena. */
sy_status sy_beside_files(const char *dir, sy_arena *a, const char ***names, int *n, sy_err *err);

#endif
