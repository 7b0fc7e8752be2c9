/* core/zstd.h - reading .zst files, piece by piece, with a limit on what comes out. */
#ifndef SY_ZSTD_H
#define SY_ZSTD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

/* Decompresses a file and hands on what comes out in pieces of at most 128 KiB; a status other than SY_OK from fn ends it and is
 * returned. All frames of the file are read, one after the other. SY_EFORMAT: no zstd data, damaged, ending inside a frame, a
 * window above 128 MiB, or more than `limit` bytes. */
sy_status sy_zstd_each(const char *path, uint64_t limit, sy_status (*fn)(void *arg, const char *data, size_t n, sy_err *err), void *arg, sy_err *err);
/* The same into a buffer, which is appended to. */
sy_status sy_zstd_read(const char *path, size_t limit, sy_buf *out, sy_err *err);

#endif
