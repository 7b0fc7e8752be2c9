/* core/option.h - option tables: an option is written once.
 *
 * A table of rows describes the fields of a plain struct: name, other name, type, default, range, help. Defaults, command
 * line, config keys, help, documents, checkpoint metadata and test labels are all read from the row. The row macros check
 * the C type of the field when they are compiled. Table rows end with { 0 }. */
#ifndef SY_OPTION_H
#define SY_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/status.h"

typedef enum { SY_OPT_END, SY_OPT_INT, SY_OPT_REAL, SY_OPT_BOOL, SY_OPT_ENUM, SY_OPT_TEXT, SY_OPT_GROUP } sy_opt_type;

typedef struct sy_opt sy_opt;
struct sy_opt {
    sy_opt_type type;
    const char *name, *alias;           /* alias: another spelling, or NULL */
    size_t      at;                     /* offset of the field */
    double      def, lo, hi;            /* default and closed range; for booleans and enums def is the index */
    const char *text;                   /* default of a text; the words of an enum as "a|b|c" (field: int index) */
    const char *help;
    const sy_opt *group;                /* SY_OPT_GROUP: rows of an embedded struct, listed as if they stood here */
};

#define SY_AT(S, f, T) (offsetof(S, f) + 0 * sizeof(char[_Generic(((S *)0)->f, T: 1)]))
#define SY_INT(S, f, alias, def, lo, hi, help)  { SY_OPT_INT,  #f, alias, SY_AT(S, f, int), def, lo, hi, NULL, help, NULL }
#define SY_REAL(S, f, alias, def, lo, hi, help) { SY_OPT_REAL, #f, alias, SY_AT(S, f, double), def, lo, hi, NULL, help, NULL }
#define SY_BOOL(S, f, alias, def, help)         { SY_OPT_BOOL, #f, alias, SY_AT(S, f, bool), def, 0, 1, NULL, help, NULL }
#define SY_ENUM_(S, f, alias, def, words, help) { SY_OPT_ENUM, #f, alias, SY_AT(S, f, int), def, 0, 0, words, help, NULL }
#define SY_TEXT(S, f, alias, def, help)         { SY_OPT_TEXT, #f, alias, SY_AT(S, f, const char *), 0, 0, 0, def, help, NULL }
#define SY_OPTS(S, f, rows)                     { SY_OPT_GROUP, #f, NULL, offsetof(S, f), 0, 0, 0, NULL, NULL, rows }

/* Writes every default into the struct `s`. Texts point at the row's own default. */
void sy_opt_defaults(const sy_opt *rows, void *s);
/* Sets one option from text; numbers, words and ranges are checked, texts are copied into `a`. An unknown key is SY_EARG
 * and names the nearest one. Marks the option as given when `given` is not NULL (a bit per row, groups counted through). */
sy_status sy_opt_set(const sy_opt *rows, void *s, const char *key, const char *value, sy_arena *a, uint64_t *given, sy_err *err);
/* Sets options from "key=value,key=value"; a value that holds a comma or begins with a quote is quoted: 'a,b', and '' in it
 * stands for one quote. Empty text is fine. */
sy_status sy_opt_parse(const sy_opt *rows, void *s, const char *list, sy_arena *a, uint64_t *given, sy_err *err);
/* Looks a row up by name or alias; `at` gets the field's offset with those of its groups, `index` its bit. NULL if unknown. */
const sy_opt *sy_opt_find(const sy_opt *rows, const char *key, size_t *at, int *index);
/* Walks all rows, groups opened: calls fn(row, offset, index, arg). */
void sy_opt_each(const sy_opt *rows, void (*fn)(const sy_opt *row, size_t at, int index, void *arg), void *arg);
/* Prints the value of one field so that sy_opt_set reads back the same bits (a text longer than buf is cut); returns buf. */
char *sy_opt_print(const sy_opt *row, const void *s, size_t at, char *buf, size_t size);
/* "key=value,..." of all options, or only of those that differ from their default; from the arena, NULL without memory. */
char *sy_opt_list(const sy_opt *rows, const void *s, bool all, sy_arena *a);
/* The candidate nearest to `word` by edit distance, or NULL where none is near; names end with NULL. */
const char *sy_nearest(const char *word, const char *const *names);

#endif
