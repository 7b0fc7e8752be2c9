/* model/ledger.h - the account of a model's tensors: what came in, went out, was converted, left out by rule, unknown, missing.
 *
 * Whatever reads, writes, converts, merges or prunes a model keeps one, prints its summary, stores ledger.json beside the result, and
 * refuses by default when something is unaccounted for. */
#ifndef SY_LEDGER_H
#define SY_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/status.h"

#define SY_LEDGER_LIST(X)                                                        \
    X(LOADED,    "loaded")                      /* taken as it is */             \
    X(CONVERTED, "converted")                   /* taken, its type changed */    \
    X(SAVED,     "saved")                                                        \
    X(SKIPPED,   "left out by rule")            /* note says which rule */       \
    X(UNKNOWN,   "unknown")                     /* in the file, no place for it */ \
    X(MISSING,   "missing")                     /* the model wants it, no file has it */ \
    X(KEY,       "config keys not known")       /* of a family's config.json; refused when strict */ \
    X(NOTE,      "notes")                       /* a default that was taken, a value that was converted */

typedef enum {
#define X(name, text) SY_L_##name,
    SY_LEDGER_LIST(X)
#undef X
    SY_L_KINDS
} sy_ledger_kind;

typedef struct sy_ledger_line { sy_ledger_kind kind; const char *name, *note; } sy_ledger_line;

typedef struct sy_ledger {
    const char     *what, *where;       /* "load", "save"; the file or folder */
    bool            strict;             /* settling refuses config keys that are not known */
    sy_arena        arena;
    sy_ledger_line *line;
    int             n, room, count[SY_L_KINDS];
    int             experts;            /* expert matrices among loaded, converted or saved */
    uint64_t        values;             /* numbers in them */
} sy_ledger;

void      sy_ledger_open(sy_ledger *l, const char *what, const char *where);       /* texts are borrowed */
void      sy_ledger_free(sy_ledger *l);
/* Name and note are copied. */
sy_status sy_ledger_add(sy_ledger *l, sy_ledger_kind kind, const char *name, const char *note, uint64_t values, sy_err *err);
/* SY_ELEDGER when something is unknown or missing (strict: a key of config.json too): one sentence with the first names and what to do. */
sy_status sy_ledger_settle(const sy_ledger *l, sy_err *err);
/* "load: 57 tensors (48 expert matrices), 3.2 M values; 2 left out by rule" into buf; returns buf. */
char     *sy_ledger_summary(const sy_ledger *l, char *buf, size_t size);
/* "a, b, c and 2 more": the first names of one kind into buf; returns buf. */
char     *sy_ledger_names(const sy_ledger *l, sy_ledger_kind kind, char *buf, size_t size);
/* Writes the whole account as JSON, atomically. */
sy_status sy_ledger_write(const sy_ledger *l, const char *path, sy_err *err);

#endif
