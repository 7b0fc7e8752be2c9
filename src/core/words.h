/* core/words.h - several words in one text, as one value of a config holds them: separated by blanks; in a word a blank is written "\ ",
 * a backslash "\\". */
#ifndef SY_WORDS_H
#define SY_WORDS_H

#include "core/arena.h"
#include "core/status.h"

/* The words as one text that splits into the same words; empty words are left out. From the arena; NULL without memory. */
char     *sy_words_join(sy_arena *a, const char *const *word, int n);
/* The words of a text, from the arena; a backslash before anything else stands for itself. */
sy_status sy_words_split(sy_arena *a, const char *text, const char *const **word, int *n, sy_err *err);

#endif
