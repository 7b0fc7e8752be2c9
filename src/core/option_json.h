/* core/option_json.h - option tables and JSON: a value as the text that an option reads, and a table's fields as members of an object. */
#ifndef SY_OPTION_JSON_H
#define SY_OPTION_JSON_H

#include "core/json.h"
#include "core/option.h"

/* Text, number, truth value, or a list of texts (joined as words, see core/words.h) as sy_opt_set reads it; *out is from the arena. Other values are
 * SY_EFORMAT; `file` and `key` name them in the sentence. */
sy_status sy_opt_json_text(json_t *v, const char *file, const char *key, sy_arena *a, const char **out, sy_err *err);
/* All rows as members of the object that is open: numbers and truth values as such, enums by their word. */
void      sy_opt_json_write(const sy_opt *rows, const void *s, sy_json *j);

#endif
