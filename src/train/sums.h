/* train/sums.h - checksums of a checkpoint's files, in the format of sha256sum. Private to train/. */
#ifndef SY_TRAIN_SUMS_H
#define SY_TRAIN_SUMS_H

#include "core/status.h"

/* Writes DIR/SHA256SUMS over all files that lie in DIR. */
sy_status sy__sums_write(const char *dir, sy_err *err);
/* SY_EFORMAT names the first file that is missing or differs from its checksum, or says that SHA256SUMS itself is damaged. A file
 * that SHA256SUMS does not list is nobody's business, but the `must` files (ended by NULL) have to be listed. */
sy_status sy__sums_check(const char *dir, const char *const *must, sy_err *err);

#endif
