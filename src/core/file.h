/* core/file.h - files: read, written atomically, appended to, and the folders around them. Mapped ones: core/map.h.
 *
 * A file that is written appears whole or not at all: a temporary file beside it, fsync, rename, fsync of the folder. All system
 * calls go through one table, so that tests can make the n-th of them fail. */
#ifndef SY_FILE_H
#define SY_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/arena.h"
#include "core/buffer.h"
#include "core/map.h"
#include "core/status.h"

typedef struct sy_syscalls {            /* what touches the disk; sy_file_calls points at the real ones */
    int     (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*read)(int fd, void *buf, size_t n);
    ssize_t (*write)(int fd, const void *buf, size_t n);
    int     (*fsync)(int fd);
    int     (*close)(int fd);
    int     (*rename)(const char *from, const char *to);
    int     (*ftruncate)(int fd, off_t size);
} sy_syscalls;
extern const sy_syscalls *sy_file_calls;             /* replaced by tests only */

/* One sentence for errno, with what helps for the usual ones: "cannot VERB PATH: the disk is full (3.1 MB free); free some space and run again". */
sy_status sy_fail_io(sy_err *err, const char *verb, const char *path);

/* Opens a regular file for reading; a folder, FIFO or device is refused with what it is. Closed by sy_file_calls->close. */
sy_status sy_open_regular(const char *path, int *fd, size_t *size, sy_err *err);
/* Reads a whole regular file of at most `limit` bytes; the buffer is appended to. */
sy_status sy_file_read(const char *path, size_t limit, sy_buf *out, sy_err *err);
/* Reads a regular file to its end and hands it on in pieces of at most 128 KiB; a status other than SY_OK from fn ends it and is
 * returned. */
sy_status sy_file_each(const char *path, sy_status (*fn)(void *arg, const char *data, size_t n, sy_err *err), void *arg, sy_err *err);
bool      sy_file_exists(const char *path);
bool      sy_is_dir(const char *path);
int64_t   sy_file_size(const char *path);            /* -1: no regular file */
int64_t   sy_disk_free(const char *path);            /* bytes that a user may still write beside `path`; -1: not known */

typedef struct sy_writer {              /* one atomic write */
    char      path[1024], temp[1088];
    int       fd;
    sy_buf    pending;                  /* written in blocks */
    uint64_t  written;
} sy_writer;
/* A link is followed, the old file's permissions are kept; a folder, pipe or device in the place is SY_EARG. A killed process
 * leaves at most PATH.tmp.PID behind. */
sy_status sy_writer_open(sy_writer *w, const char *path, sy_err *err);
/* On failure the temporary file is removed and the old file stands; further puts fail too. */
sy_status sy_writer_put(sy_writer *w, const void *data, size_t n, sy_err *err);
sy_status sy_writer_close(sy_writer *w, sy_err *err);               /* the new file stands once this is SY_OK */
void      sy_writer_abandon(sy_writer *w);                          /* after any failure, or instead of close; twice is fine */
sy_status sy_file_write(const char *path, const void *data, size_t n, sy_err *err);

/* Adds to the end of a file (made when absent) in one write: a killed process leaves whole additions or a cut last one, a failure
 * (full disk) leaves the file as it was. Not synced. */
sy_status sy_file_append(const char *path, const void *data, size_t n, sy_err *err);
/* What was appended is on the disk once this is SY_OK. */
sy_status sy_file_sync(const char *path, sy_err *err);
/* Cuts a file back to `size`; SY_EFORMAT when it is shorter. */
sy_status sy_file_cut(const char *path, int64_t size, sy_err *err);

sy_status sy_mkdirs(const char *path, sy_err *err);                  /* with parents; fine when it is there */
/* Names in a folder, sorted by bytes, without . and .. ; from the arena. */
sy_status sy_dir_list(const char *path, sy_arena *a, const char ***names, int *n, sy_err *err);
sy_status sy_remove_tree(const char *path, sy_err *err);             /* removes links, never follows them; fine when absent */
sy_status sy_dir_publish(const char *from, const char *to, sy_err *err);  /* fsyncs the folder `from`, renames it, fsyncs the parent; `to` must not exist */
/* "a/b" into buf; SY_EARG when it does not fit. */
sy_status sy_path(char *buf, size_t size, const char *a, const char *b, sy_err *err);

#endif
