/* core/method.h - the descriptor of a method, and the list that looks one up by kind and key.
 *
 * A method is one source file that defines one sy_method. Lower floors know a method only through its kind's hooks. The
 * order of SY_KIND_LIST is the order of the documents. */
#ifndef SY_METHOD_H
#define SY_METHOD_H

#include "core/option.h"

#define SY_KIND_LIST(X)                                                                   \
    X(ROUTER,    "router",    "which experts a token goes to, and with what weights")      \
    X(EDIT,      "edit",      "changes the logits or the gates of any router")             \
    X(BALANCE,   "balance",   "one loss of one sparse layer, from its route and counts")   \
    X(EXPERT,    "expert",    "what runs the rows that were packed for an expert")         \
    X(OBJECTIVE, "objective", "a loss over layers and passes")                             \
    X(LAYER,     "layer",     "stands where an FFN or an attention stands")                \
    X(DEPTH,     "depth",     "which tokens run, skip or repeat a block")                  \
    X(ADAPTER,   "adapter",   "attaches to a linear layer or an FFN of a frozen model")    \
    X(TRANSFORM, "transform", "model in, model out, with calibration data")                \
    X(DECODE,    "decode",    "the next token from one or more forward passes")            \
    X(ANALYSIS,  "analysis",  "statistics, sweeps and tools")                              \
    X(PARALLEL,  "parallel",  "places work on nodes and devices")                          \
    X(FLEET,     "fleet",     "routes between whole models")                               \
    X(MIX,       "mix",       "mixes data for training")                                   \
    X(STREAM,    "stream",    "learns from a stream")                                      \
    X(SHIFT,     "shift",     "adapts to another domain")

typedef enum {
#define X(name, word, what) SY_##name,
    SY_KIND_LIST(X)
#undef X
    SY_KINDS
} sy_kind;

typedef struct sy_method {
    sy_kind       kind;
    const char   *name;                 /* the key that a user types */
    const char   *title, *paper;        /* paper: "arXiv:1701.06538", or where it is defined; NULL for plain parts */
    const char   *summary;              /* one line: what it does */
    const char   *when, *cost;          /* for the manual entry: when to use it, what it costs; whole sentences; may be NULL */
    const char   *example;              /* a command line; may be NULL */
    const sy_opt *opts;                 /* NULL: it takes none */
    size_t        size;                 /* bytes of its state: options first, then what hooks store; zeroed before defaults */
    const char   *neutral;              /* options at which it equals its base bit for bit, or NULL */
    /* Rules between options and with the place it stands in (kind's own type), e.g. sy_site for routers; may be NULL. */
    sy_status   (*check)(const void *state, const void *site, sy_err *err);
    const void   *hooks;                /* the kind's struct of hooks */
} sy_method;

typedef struct sy_preset {              /* a paper that only sets values: one line of src/presets.def */
    sy_kind kind;
    const char *name, *method, *values;
    const char *with;                   /* balance terms that go with a router in the paper, blank-separated; "" or NULL: none */
    const char *paper;
} sy_preset;

typedef struct sy_methods {             /* the tables, and what a user registered; borrowed by whoever looks up */
    const sy_method *const *list;       /* ends with NULL */
    const sy_preset *presets;           /* ends with a NULL name */
    const sy_method *const *extra;      /* registered from outside the tree; ends with NULL; NULL if none */
} sy_methods;

const char *sy_kind_word(sy_kind kind);
/* Method by key or by preset (then *preset is set, else NULL); SY_ENOENT names the nearest key. */
sy_status sy_method_find(const sy_methods *m, sy_kind kind, const char *key, const sy_method **method, const sy_preset **preset, sy_err *err);
/* "key" or "key:a=1,b=2" (or a preset's name): finds the method, makes its state in `a` (defaults, preset, given values). */
sy_status sy_method_make(const sy_methods *m, sy_kind kind, const char *text, sy_arena *a, const sy_method **method, void **state, sy_err *err);
/* "key:a=1" with all options that differ from their defaults (all: every one): reads back to the same state. NULL without memory. */
char *sy_method_text(const sy_method *method, const void *state, bool all, sy_arena *a);

#endif
