/* data/read.c - files fed in pieces: plain or zstd, as one text or line by line. */
#include "data/read.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/buffer.h"
#include "core/file.h"
#include "core/utf8.h"
#include "core/zstd.h"

enum { BINARY_LOOK = 8192, READ_BLOCK = 1 << 17, EXPANDS_MOST = 1000 };

typedef struct reader {                 /* fed with pieces of any size; what it gives on does not depend on them */
    const sy__file        *f;
    const sy_data_options *o;
    const sy__sink        *sink;
    bool    json, binary, begun;        /* begun: the first bytes were looked at */
    sy_buf  buf;                        /* what is not given on yet */
    int64_t line;                       /* number of the line that `buf` begins with */
} reader;

static bool space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Where a block of n bytes of a longer text ends: after a line whose break stands alone, so that no tokenizer's word crosses it; else after
 * any line; else before a UTF-8 character. */
static size_t block_end(const char *t, size_t n)
{
    for (size_t i = n - 1; i > n / 2; i--)
        if (t[i - 1] == '\n' && !space(t[i]) && !space(t[i - 2])) return i;
    for (size_t i = n; i > n / 2; i--)
        if (t[i - 1] == '\n') return i;
    return n - sy_utf8_tail(t, n);
}

static void drop(sy_buf *b, size_t n)
{
    memmove(b->data, b->data + n, b->n - n);
    b->n -= n;
}

static sy_status keep(reader *r, const char *data, size_t n, sy_err *err)
{
    sy_buf_put(&r->buf, data, n);
    return r->buf.failed ? sy_fail(err, SY_ENOMEM, "no memory for %zu bytes of '%s'", r->buf.n + n, r->f->path) : SY_OK;
}

static sy_status feed_text(reader *r, const char *data, size_t n, sy_err *err)
{
    while (n) {
        size_t part = SY__TEXT_BLOCK - r->buf.n < n ? SY__TEXT_BLOCK - r->buf.n : n;
        SY_TRY(keep(r, data, part, err));
        data += part;
        n -= part;
        if (r->buf.n < SY__TEXT_BLOCK) break;
        size_t end = block_end(r->buf.data, r->buf.n);
        SY_TRY(r->sink->text(r->sink->arg, r->buf.data, end, true, err));
        drop(&r->buf, end);
    }
    return SY_OK;
}

static sy_status give_line(reader *r, const char *text, size_t n, sy_err *err)
{
    return sy__read_json_line(r->f->path, r->line++, text, n, r->o, r->sink, err);
}

static sy_status feed_lines(reader *r, const char *data, size_t n, sy_err *err)
{
    size_t limit = (size_t)r->o->max_line_mb << 20;
    while (n) {
        const char *end = memchr(data, '\n', n);
        size_t part = end ? (size_t)(end - data) : n;
        if (r->buf.n + part > limit)
            return sy_fail(err, SY_EFORMAT, "'%s' line %lld is longer than max_line_mb = %d MiB: raise it, or cut the line",
                           r->f->path, (long long)r->line, r->o->max_line_mb);
        if (!end || r->buf.n) SY_TRY(keep(r, data, part, err));         /* most lines lie in one piece and are not copied */
        if (!end) break;
        SY_TRY(r->buf.n ? give_line(r, r->buf.data, r->buf.n, err) : give_line(r, data, part, err));
        sy_buf_clear(&r->buf);
        data = end + 1;
        n -= part + 1;
    }
    return SY_OK;
}

/* Looks at the first bytes: a byte order mark goes, a zero byte ends it all (SY_ESTOP). */
static sy_status begin(reader *r, sy_err *err)
{
    sy_buf head = r->buf;
    size_t skip = head.n >= 3 && !memcmp(head.data, "\xEF\xBB\xBF", 3) ? 3 : 0;
    r->begun = true;
    r->buf = (sy_buf){ 0 };
    r->binary = !r->json && head.n && memchr(head.data, 0, head.n);
    sy_status status = r->binary ? SY_ESTOP : SY_OK;
    if (status == SY_OK && head.n > skip) status = (r->json ? feed_lines : feed_text)(r, head.data + skip, head.n - skip, err);
    sy_buf_free(&head);
    return status;
}

static sy_status feed(void *arg, const char *data, size_t n, sy_err *err)
{
    reader *r = arg;
    if (!r->begun) {
        size_t part = BINARY_LOOK - r->buf.n < n ? BINARY_LOOK - r->buf.n : n;
        SY_TRY(keep(r, data, part, err));
        if (r->buf.n < BINARY_LOOK) return SY_OK;
        SY_TRY(begin(r, err));
        data += part;
        n -= part;
    }
    return (r->json ? feed_lines : feed_text)(r, data, n, err);
}

static sy_status finish(reader *r, sy_err *err)
{
    if (!r->begun) SY_TRY(begin(r, err));
    if (r->json) return r->buf.n ? give_line(r, r->buf.data, r->buf.n, err) : SY_OK;
    if (r->buf.n) SY_TRY(r->sink->text(r->sink->arg, r->buf.data, r->buf.n, true, err));
    return r->sink->end(r->sink->arg, err);
}

static sy_status same_file(const sy__file *f, sy_err *err)
{
    struct stat st;
    if (stat(f->path, &st)) return sy_fail(err, SY_EIO, "'%s' went away while it was read: %s", f->path, strerror(errno));
    if (st.st_size != f->size || (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec != f->mtime_ns)
        return sy_fail(err, SY_EIO, "'%s' changed while it was read (%lld bytes, then %lld): run again when its writer is done",
                       f->path, (long long)f->size, (long long)st.st_size);
    return SY_OK;
}

/* Never reads more than the size that was listed, so that it cannot run after a file that grows. */
static sy_status feed_plain(reader *r, sy_err *err)
{
    int fd = sy_file_calls->open(r->f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0) return sy_fail_io(err, "open", r->f->path);
    char *block = sy_malloc(READ_BLOCK);
    sy_status status = block ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for reading '%s'", r->f->path);
    for (int64_t left = r->f->size; left > 0 && status == SY_OK; ) {
        ssize_t n = sy_file_calls->read(fd, block, left < READ_BLOCK ? (size_t)left : READ_BLOCK);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = sy_fail(err, SY_EIO, "reading '%s' failed with %lld bytes to go: %s", r->f->path, (long long)left, strerror(errno));
        else if (n == 0) status = sy_fail(err, SY_EIO, "'%s' ended %lld bytes early: run again when its writer is done", r->f->path, (long long)left);
        else status = feed(r, block, (size_t)n, err);
        left -= n;
    }
    sy_free(block);
    sy_file_calls->close(fd);
    return status;
}

static bool ends_with(const char *s, size_t n, const char *tail)
{
    size_t t = strlen(tail);
    return n > t && !memcmp(s + n - t, tail, t);
}

static reader reader_for(const sy__file *f, const sy_data_options *o, const sy__sink *sink, bool *zst)
{
    size_t n = strlen(f->path);
    *zst = ends_with(f->path, n, ".zst");
    if (*zst) n -= strlen(".zst");
    return (reader){ .f = f, .o = o, .sink = sink, .line = 1, .json = ends_with(f->path, n, ".jsonl") || ends_with(f->path, n, ".ndjson") };
}

/* After the last byte, or a failure on the way to it. */
static sy_status reader_close(reader *r, sy_status status, bool *binary, sy_err *err)
{
    if (status == SY_OK) status = finish(r, err);
    if (r->binary) status = SY_OK;
    sy_buf_free(&r->buf);
    *binary = r->binary;
    return status;
}

sy_status sy__read_file(const sy__file *f, const sy_data_options *o, const sy__sink *sink, bool *binary, sy_err *err)
{
    bool zst;
    reader r = reader_for(f, o, sink, &zst);
    SY_TRY(same_file(f, err));
    uint64_t limit = (uint64_t)f->size * EXPANDS_MOST + ((uint64_t)64 << 20);    /* more is no text but a bomb */
    sy_status status = zst ? sy_zstd_each(f->path, limit, feed, &r, err) : feed_plain(&r, err);
    SY_TRY(reader_close(&r, status, binary, err));
    return same_file(f, err);
}

sy_status sy__read_bytes(const sy__file *f, const char *text, size_t n, size_t piece, const sy_data_options *o, const sy__sink *sink, bool *binary, sy_err *err)
{
    bool zst;
    reader r = reader_for(f, o, sink, &zst);
    sy_status status = SY_OK;
    for (size_t at = 0; at < n && status == SY_OK; at += piece) status = feed(&r, text + at, n - at < piece ? n - at : piece, err);
    return reader_close(&r, status, binary, err);
}
