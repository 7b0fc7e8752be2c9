/* core/file.c - reading, atomic writing, folders. */
#include "core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/alloc.h"

static int real_open(const char *path, int flags, mode_t mode) { return open(path, flags | O_CLOEXEC, mode); }
static const sy_syscalls real = { real_open, read, write, fsync, close, rename, ftruncate };
const sy_syscalls *sy_file_calls = &real;

sy_status sy_fail_io(sy_err *err, const char *verb, const char *path)
{
    int e = errno;
    if (e == ENOSPC) {
        int64_t left = sy_disk_free(path);
        return sy_fail(err, SY_EIO, "cannot %s %s: the disk is full (%.1f MB free); free some space and run again", verb, path, left < 0 ? 0 : (double)left / 1e6);
    }
    if (e == EFAULT) return sy_fail(err, SY_EIO, "cannot %s %s: what is to be written lies in a file that was cut short while it was mapped; restore that file and run again", verb, path);
    if (e == EDQUOT) return sy_fail(err, SY_EIO, "cannot %s %s: your disk quota is used up; free some space and run again", verb, path);
    if (e == EMFILE || e == ENFILE) return sy_fail(err, SY_EIO, "cannot %s %s: too many files are open (raise ulimit -n)", verb, path);
    return sy_fail(err, e == ENOENT ? SY_ENOENT : e == EEXIST ? SY_EEXIST : SY_EIO, "cannot %s %s: %s", verb, path, strerror(e));
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

static int open_file(const char *path, int flags)
{
    int fd;
    do fd = sy_file_calls->open(path, flags | O_NOCTTY, 0644); while (fd < 0 && errno == EINTR);
    return fd;
}

static int sync_file(int fd)
{
    int r;
    do r = sy_file_calls->fsync(fd); while (r != 0 && errno == EINTR);
    return r;
}

/* The descriptor is gone in any case; an interrupted close is none that failed. */
static int close_file(int fd)
{
    int r = sy_file_calls->close(fd);
    return r != 0 && errno == EINTR ? 0 : r;
}

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

sy_status sy_open_regular(const char *path, int *fd, size_t *size, sy_err *err)
{
    struct stat s;
    if ((*fd = open_file(path, O_RDONLY | O_NONBLOCK)) < 0) return sy_fail_io(err, "open", path);   /* NONBLOCK: a FIFO must not hang us */
    if (fstat(*fd, &s) != 0) {
        sy_status st = sy_fail_io(err, "look at", path);
        close_file(*fd);
        return st;
    }
    if (!S_ISREG(s.st_mode)) {
        close_file(*fd);
        return sy_fail(err, SY_EARG, "%s is %s, not a file", path, kind_of(s.st_mode));
    }
    *size = (size_t)s.st_size;
    return SY_OK;
}

sy_status sy_file_read(const char *path, size_t limit, sy_buf *out, sy_err *err)
{
    int fd;
    size_t size;
    SY_TRY(sy_open_regular(path, &fd, &size, err));
    sy_status st = SY_OK;
    if (size > limit) st = sy_fail(err, SY_EFORMAT, "%s has %zu bytes; at most %zu are read", path, size, limit);
    for (size_t left = size; st == SY_OK && left; ) {
        if (!sy_buf_reserve(out, left)) { st = sy_fail(err, SY_ENOMEM, "no memory to read %s (%zu bytes)", path, size); break; }
        ssize_t n = sy_file_calls->read(fd, out->data + out->n, left);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) { st = sy_fail_io(err, "read", path); break; }
        if (n == 0) { st = sy_fail(err, SY_EIO, "%s became shorter while it was read", path); break; }
        out->n += (size_t)n;
        out->data[out->n] = 0;
        left -= (size_t)n;
    }
    close_file(fd);
    return st;
}

sy_status sy_file_each(const char *path, sy_status (*fn)(void *arg, const char *data, size_t n, sy_err *err), void *arg, sy_err *err)
{
    enum { PIECE = 1 << 17 };
    int fd;
    size_t size;
    SY_TRY(sy_open_regular(path, &fd, &size, err));
    char *piece = sy_malloc(PIECE);
    sy_status st = piece ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to read %s", path);
    while (st == SY_OK) {
        ssize_t n = sy_file_calls->read(fd, piece, PIECE);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) st = sy_fail_io(err, "read", path);
        else if (n == 0) break;
        else st = fn(arg, piece, (size_t)n, err);
    }
    sy_free(piece);
    close_file(fd);
    return st;
}

bool sy_file_exists(const char *path) { struct stat s; return stat(path, &s) == 0; }
bool sy_is_dir(const char *path) { struct stat s; return stat(path, &s) == 0 && S_ISDIR(s.st_mode); }
int64_t sy_file_size(const char *path) { struct stat s; return stat(path, &s) == 0 && S_ISREG(s.st_mode) ? (int64_t)s.st_size : -1; }

int64_t sy_disk_free(const char *path)
{
    char dir[1024];
    struct statvfs v;
    if ((size_t)snprintf(dir, sizeof dir, "%s", path) >= sizeof dir) return -1;
    char *slash = strrchr(dir, '/');
    if (slash) slash[slash == dir] = 0;
    return statvfs(slash ? dir : ".", &v) == 0 ? (int64_t)v.f_bavail * (int64_t)v.f_frsize : -1;
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

static sy_status write_all(int fd, const char *path, const char *data, size_t n, sy_err *err)
{
    while (n) {
        ssize_t k = sy_file_calls->write(fd, data, n);
        if (k < 0 && errno == EINTR) continue;
        if (k == 0) errno = EIO;                     /* no progress and no reason: do not try for ever */
        if (k <= 0) return sy_fail_io(err, "write", path);
        data += k;
        n -= (size_t)k;
    }
    return SY_OK;
}

static sy_status sync_parent(const char *path, sy_err *err)
{
    char dir[1024];
    if ((size_t)snprintf(dir, sizeof dir, "%s", path) >= sizeof dir) return sy_fail(err, SY_EARG, "the path %.80s... is too long", path);
    char *slash = strrchr(dir, '/');
    if (slash) slash[slash == dir] = 0;
    int fd = open_file(slash ? dir : ".", O_RDONLY | O_DIRECTORY);
    if (fd < 0) return sy_fail_io(err, "open the folder of", path);
    sy_status st = sync_file(fd) != 0 && errno != EINVAL ? sy_fail_io(err, "sync the folder of", path) : SY_OK;  /* EINVAL: a file system without it */
    close_file(fd);
    return st;
}

sy_status sy_writer_open(sy_writer *w, const char *path, sy_err *err)
{
    struct stat old;
    char real_path[PATH_MAX];
    bool there = stat(path, &old) == 0;
    *w = (sy_writer){ .fd = -1 };
    if (there && !S_ISREG(old.st_mode)) return sy_fail(err, SY_EARG, "%s is %s, it cannot be replaced by a file", path, kind_of(old.st_mode));
    if (there && realpath(path, real_path)) path = real_path;      /* through a link: the file is replaced, the link stays */
    size_t n = strlen(path);
    if (n >= sizeof w->path) return sy_fail(err, SY_EARG, "the path %.80s... is too long", path);
    memcpy(w->path, path, n + 1);
    snprintf(w->temp, sizeof w->temp, "%.*s.tmp.%ld", (int)sizeof w->path - 1, w->path, (long)getpid());
    unlink(w->temp);                                 /* of a killed process with our number; EXCL follows no planted link */
    w->fd = open_file(w->temp, O_WRONLY | O_CREAT | O_EXCL);
    if (w->fd < 0) return sy_fail_io(err, "write", w->temp);
    if (there && fchmod(w->fd, old.st_mode & 0777) != 0) {
        sy_status st = sy_fail_io(err, "set the permissions of", w->temp);
        sy_writer_abandon(w);
        return st;
    }
    return SY_OK;
}

void sy_writer_abandon(sy_writer *w)
{
    if (w->fd >= 0) {
        sy_file_calls->close(w->fd);
        unlink(w->temp);
    }
    w->fd = -1;
    sy_buf_free(&w->pending);
}

/* Ends a write that failed with `st`: the temporary file goes, and the sentence says what is left. */
static sy_status lost(sy_writer *w, sy_status st, sy_err *err)
{
    if (err) {
        sy_err why = *err;
        sy_fail(err, st, "%s (%.1f MB of it were written); what stood there before is untouched", why.text, (double)w->written / 1e6);
    }
    sy_writer_abandon(w);
    return st;
}

static sy_status flush(sy_writer *w, sy_err *err)
{
    SY_TRY(write_all(w->fd, w->path, w->pending.data, w->pending.n, err));
    w->written += w->pending.n;
    sy_buf_clear(&w->pending);
    return SY_OK;
}

sy_status sy_writer_put(sy_writer *w, const void *data, size_t n, sy_err *err)
{
    enum { BLOCK = 1 << 18 };
    if (w->fd < 0) return sy_fail(err, SY_EIO, "%s could not be written", w->path);
    sy_status st = SY_OK;
    if (n >= BLOCK) {                                /* large pieces go straight through */
        st = flush(w, err);
        if (st == SY_OK) st = write_all(w->fd, w->path, data, n, err);
        if (st == SY_OK) w->written += n;
    } else {
        sy_buf_put(&w->pending, data, n);
        if (w->pending.failed) st = sy_fail(err, SY_ENOMEM, "no memory to write %s", w->path);
        else if (w->pending.n >= BLOCK) st = flush(w, err);
    }
    return st == SY_OK ? SY_OK : lost(w, st, err);
}

sy_status sy_writer_close(sy_writer *w, sy_err *err)
{
    if (w->fd < 0) return sy_fail(err, SY_EIO, "%s could not be written", w->path);
    sy_status st = flush(w, err);
    if (st == SY_OK && sync_file(w->fd) != 0) st = sy_fail_io(err, "write", w->path);
    if (st != SY_OK) return lost(w, st, err);
    int closed = close_file(w->fd);
    w->fd = -1;
    if (closed != 0 || sy_file_calls->rename(w->temp, w->path) != 0) {
        st = sy_fail_io(err, "write", w->path);
        unlink(w->temp);
        return lost(w, st, err);
    }
    sy_buf_free(&w->pending);
    return sync_parent(w->path, err);
}

sy_status sy_file_write(const char *path, const void *data, size_t n, sy_err *err)
{
    sy_writer w;
    SY_TRY(sy_writer_open(&w, path, err));
    sy_status st = sy_writer_put(&w, data, n, err);
    if (st == SY_OK) st = sy_writer_close(&w, err);
    sy_writer_abandon(&w);
    return st;
}

sy_status sy_file_append(const char *path, const void *data, size_t n, sy_err *err)
{
    struct stat s;
    int fd = open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK);      /* NONBLOCK: a FIFO must not hang us */
    if (fd < 0) return sy_fail_io(err, "write", path);
    sy_status st = SY_OK;
    if (fstat(fd, &s) != 0) st = sy_fail_io(err, "look at", path);
    else if (!S_ISREG(s.st_mode)) st = sy_fail(err, SY_EARG, "%s is %s, not a file", path, kind_of(s.st_mode));
    else if ((st = write_all(fd, path, data, n, err)) != SY_OK && sy_file_calls->ftruncate(fd, s.st_size) != 0)
        sy_within(err, st, "%s now ends with a part of what was added", path);
    if (close_file(fd) != 0 && st == SY_OK) st = sy_fail_io(err, "write", path);
    return st;
}

sy_status sy_file_sync(const char *path, sy_err *err)
{
    int fd = open_file(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return sy_fail_io(err, "open", path);
    sy_status st = sync_file(fd) != 0 ? sy_fail_io(err, "sync", path) : SY_OK;
    close_file(fd);
    return st;
}

sy_status sy_file_cut(const char *path, int64_t size, sy_err *err)
{
    int64_t have = sy_file_size(path);
    if (have < 0) return sy_fail(err, SY_ENOENT, "%s is missing; it must have at least %lld bytes", path, (long long)size);
    if (have < size) return sy_fail(err, SY_EFORMAT, "%s has %lld bytes, it must have at least %lld; it belongs to another run or was damaged", path, (long long)have, (long long)size);
    if (have == size) return SY_OK;
    int fd = open_file(path, O_WRONLY);
    if (fd < 0) return sy_fail_io(err, "open", path);
    sy_status st = sy_file_calls->ftruncate(fd, (off_t)size) != 0 || sync_file(fd) != 0 ? sy_fail_io(err, "cut", path) : SY_OK;
    close_file(fd);
    return st;
}

/* --- folders ------------------------------------------------------------------------------------------------------------ */

sy_status sy_path(char *buf, size_t size, const char *a, const char *b, sy_err *err)
{
    size_t n = strlen(a);
    const char *slash = n && a[n - 1] != '/' ? "/" : "";
    if ((size_t)snprintf(buf, size, "%s%s%s", a, slash, b) >= size) return sy_fail(err, SY_EARG, "the path %.80s/%.80s is too long", a, b);
    return SY_OK;
}

sy_status sy_mkdirs(const char *path, sy_err *err)
{
    char p[1024];
    if (!*path) return sy_fail(err, SY_EARG, "a folder is to be made, but its name is empty");
    if (strlen(path) >= sizeof p) return sy_fail(err, SY_EARG, "the path %.80s... is too long", path);
    snprintf(p, sizeof p, "%s", path);
    for (char *c = p + 1; ; c++) {
        if (*c && *c != '/') continue;
        char was = *c;
        *c = 0;
        if (mkdir(p, 0755) != 0 && errno != EEXIST) return sy_fail_io(err, "make the folder", p);
        *c = was;
        if (!was) break;
    }
    return sy_is_dir(path) ? SY_OK : sy_fail(err, SY_EEXIST, "%s is there and is not a folder", path);
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

sy_status sy_dir_list(const char *path, sy_arena *a, const char ***names, int *n, sy_err *err)
{
    DIR *d = opendir(path);
    if (!d) return sy_fail_io(err, "read the folder", path);
    const char **list = NULL;
    int count = 0, room = 0;
    sy_status st = SY_OK;
    errno = 0;
    for (struct dirent *e; st == SY_OK && (e = readdir(d)); errno = 0) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (count == room) {
            room = room ? 2 * room : 64;
            const char **more = sy_arena_array(a, (size_t)room, sizeof *more);
            if (more && count) memcpy(more, list, (size_t)count * sizeof *more);
            list = more;
        }
        if (!list || !(list[count++] = sy_arena_strdup(a, e->d_name))) st = sy_fail(err, SY_ENOMEM, "no memory for the names in %s", path);
    }
    if (st == SY_OK && errno) st = sy_fail_io(err, "read the folder", path);      /* the loop ended early */
    closedir(d);
    if (st != SY_OK) return st;
    if (count) qsort(list, (size_t)count, sizeof *list, by_text);
    *names = list;
    *n = count;
    return SY_OK;
}

sy_status sy_remove_tree(const char *path, sy_err *err)
{
    struct stat s;
    if (lstat(path, &s) != 0) return errno == ENOENT ? SY_OK : sy_fail_io(err, "remove", path);
    if (!S_ISDIR(s.st_mode)) return unlink(path) != 0 ? sy_fail_io(err, "remove", path) : SY_OK;
    sy_arena a = { 0 };
    const char **names;
    int n = 0;
    sy_status st = sy_dir_list(path, &a, &names, &n, err);
    for (int i = 0; i < n && st == SY_OK; i++) {
        char child[1024];
        st = sy_path(child, sizeof child, path, names[i], err);
        if (st == SY_OK) st = sy_remove_tree(child, err);
    }
    sy_arena_free(&a);
    if (st == SY_OK && rmdir(path) != 0) st = sy_fail_io(err, "remove", path);
    return st;
}

sy_status sy_dir_publish(const char *from, const char *to, sy_err *err)
{
    int fd = open_file(from, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return sy_fail_io(err, "open the folder", from);
    sy_status st = sync_file(fd) != 0 && errno != EINVAL ? sy_fail_io(err, "sync", from) : SY_OK;
    close_file(fd);
    if (st != SY_OK) return st;
    if (sy_file_exists(to)) return sy_fail(err, SY_EEXIST, "%s is already there", to);
    if (sy_file_calls->rename(from, to) != 0) return sy_fail_io(err, "rename to", to);
    return sync_parent(to, err);
}
