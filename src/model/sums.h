/* model/sums.h - checksums of a model folder's files, in the format of sha256sum. Weights have no redundancy that would show damage on a disk. */
#ifndef SY_SUMS_H
#define SY_SUMS_H

#include "core/status.h"

enum { SY_SUMS_MOST = 256 << 20 };      /* bytes of a folder that loading a model checks unasked */

/* Writes DIR/SHA256SUMS over those of `files` (ended by NULL) that lie in DIR; NULL: over all that lie there. */
sy_status sy_sums_write(const char *dir, const char *const *files, sy_err *err);
/* Takes DIR/SHA256SUMS away, before its files change; fine when there is none. */
sy_status sy_sums_remove(const char *dir, sy_err *err);
/* SY_EFORMAT names the first file that is missing or differs from its checksum, or says that SHA256SUMS itself is damaged. A file
 * that SHA256SUMS does not list is nobody's business, but the `must` files (ended by NULL) have to be listed. */
sy_status sy_sums_check(const char *dir, const char *const *must, sy_err *err);
/* What loading does: the same where SHA256SUMS is there and the files that it lists have SY_SUMS_MOST bytes at most; else nothing. */
sy_status sy_sums_check_small(const char *dir, sy_err *err);

#endif
