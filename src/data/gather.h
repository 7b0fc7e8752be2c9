/* data/gather.h - labelled domains of real text from what every Linux machine has, without a network.
 *
 * Looks at installed packages only (headers, scripts, modules, manuals, licences), never at homes or settings. A document is one
 * file of 200 bytes to 128 KiB of UTF-8; equal contents are taken once. Files come in an order made from their paths' hashes, so
 * that a capped domain and its held-out end are fair samples, and the same machine gives the same bytes. */
#ifndef SY_GATHER_H
#define SY_GATHER_H

#include <stdint.h>

#include "core/arena.h"
#include "core/status.h"

typedef struct sy_gather_options {
    int64_t max_bytes;                  /* most bytes of one domain */
    int64_t min_bytes;                  /* a domain with less is left out */
    /* Told what is looked at and the share that is done, 0 .. 1; a status other than SY_OK ends it and comes back. May be NULL. */
    sy_status (*progress)(void *arg, const char *what, double share, sy_err *err);
    void     *arg;
} sy_gather_options;

typedef struct sy_gathered {
    const char *domain, *what;
    int64_t files, bytes;               /* written */
    int64_t found, copies, unfit;       /* candidates; left out: of equal content; too short, too long, not UTF-8, not readable */
    bool    kept;                       /* false: less than min_bytes, nothing was written */
} sy_gathered;

/* Writes OUT/DOMAIN/documents.jsonl for every domain, each atomically; `root` is "/" but for tests. out_list [*n] lives in `a`. SY_EEXIST: OUT holds
 * something else. SY_ENOENT: fewer than two domains came together. */
sy_status sy_gather_system(const char *root, const char *out, const sy_gather_options *o, sy_arena *a, sy_gathered **list, int *n, sy_err *err);

#endif
