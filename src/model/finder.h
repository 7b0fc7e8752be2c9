/* model/finder.h - places in a text: characters of a set, literal texts, and the regular expressions of tokenizers.
 *
 * The expressions that published vocabularies are made with are scanners of their own, which take linear time whatever the text. Any other
 * expression is PCRE2's, under limits: a text on which it takes too long is refused, never waited for. The dialect is that of the
 * `tokenizers` package: Unicode classes, ^ and $ at every line. */
#ifndef SY_FINDER_H
#define SY_FINDER_H

#include "model/flow.h"

enum { SY__MOST_RANGES = 160 };
typedef struct sy__set {                /* of characters */
    uint64_t ascii[2];
    uint32_t categories;                /* bit 1 << utf8proc category; of characters beyond ASCII */
    bool     space, negated;            /* White_Space beyond ASCII belongs to it; everything that is not described does */
    bool   (*has)(uint32_t cp);         /* NULL, or says it of everything beyond ASCII */
    int      n;
    struct { uint32_t lo, hi; } range[SY__MOST_RANGES];              /* beyond ASCII, in order, apart from each other */
} sy__set;

enum { SY__CATEGORY_L = 0x3E, SY__CATEGORY_M = 0x1C0, SY__CATEGORY_N = 0xE00, SY__CATEGORY_P = 0x7F000, SY__CATEGORY_S = 0x780000, SY__CATEGORY_C = 0x3C000001 };
uint32_t sy__category(uint32_t cp);                                  /* 1 << category */
bool     sy__set_has(const sy__set *s, uint32_t cp);
bool     sy__set_range(sy__set *s, uint32_t lo, uint32_t hi);        /* false: no room */
void     sy__set_categories(sy__set *s, uint32_t categories);        /* ASCII among them included */
void     sy__set_spaces(sy__set *s);

typedef struct sy__finder sy__finder;
/* Each of them opens a finder; sy__finder_close(NULL) is fine. */
sy_status sy__finder_open_set(sy__finder **out, const sy__set *set, bool runs, sy_err *err);         /* single characters, or runs of them */
sy_status sy__finder_open_text(sy__finder **out, const char *text, size_t n, sy_err *err);           /* the text itself, not empty */
/* SY_EUNSUP: what PCRE2 would read otherwise than the package; SY_EFORMAT: no regular expression. The sentence begins with the pattern. */
sy_status sy__finder_open_regex(sy__finder **out, const char *regex, sy_err *err);
sy_status sy__finder_open_words(sy__finder **out, sy_err *err);      /* \w+|[^\w\s]+ */
void      sy__finder_close(sy__finder *f);
bool      sy__finder_may_be_empty(const sy__finder *f);              /* it may match nothing at all */
bool      sy__finder_slow(const sy__finder *f);                      /* it is PCRE2's, which takes nothing but UTF-8 */
size_t    (*sy__finder_cut(const sy__finder *f))(const char *s, size_t n);           /* the scanner, when it leaves no gaps between matches; else NULL */

/* What the expression leaves: s[*at .. *end) is the next match in s[from .. n). `*room` is working memory of one thread, NULL at first, given back by
 * sy__find_free. *found false: no more. SY_EUNSUP: the limits of PCRE2 were met. */
sy_status sy__find(const sy__finder *f, void **room, const char *s, size_t n, size_t from, size_t *at, size_t *end, bool *found, sy_err *err);
void      sy__find_free(void *room);

/* --- cutting at matches ------------------------------------------------------------------------------------------------------------- */

typedef enum { SY__REMOVED, SY__ISOLATED, SY__WITH_PREVIOUS, SY__WITH_NEXT, SY__CONTIGUOUS } sy__behavior;
typedef sy_status sy__take(void *arg, const sy__piece *p, sy_err *err);
/* Hands the pieces on, empty ones left out. `inverted`: what is between matches counts as match. */
sy_status sy__split(const sy__finder *f, void **room, sy__behavior behavior, bool inverted, const sy__piece *p, sy__take *take, void *arg, sy_err *err);

#endif
