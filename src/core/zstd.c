/* core/zstd.c - libzstd's streaming decoder between sy_file_each and the caller. */
#define ZSTD_STATIC_LINKING_ONLY                     /* for a decoder that allocates through core/alloc.h */
#include "core/zstd.h"

#include <zstd.h>
#include <zstd_errors.h>

#include "core/alloc.h"
#include "core/file.h"

enum { PIECE = 1 << 17, WINDOW_LOG = 27 };

typedef struct state {
    ZSTD_DCtx  *z;
    const char *path;
    char       *piece;                               /* [PIECE] */
    uint64_t    in, out, limit;
    size_t      in_frame;                            /* what the decoder still wants: 0 between frames */
    sy_status (*fn)(void *arg, const char *data, size_t n, sy_err *err);
    void       *arg;
} state;

static sy_status damaged(const state *s, size_t code, sy_err *err)
{
    switch (ZSTD_getErrorCode(code)) {
    case ZSTD_error_prefix_unknown:
        return s->out ? sy_fail(err, SY_EFORMAT, "%s: what follows the first %llu decompressed bytes is not zstd data", s->path, (unsigned long long)s->out)
                      : sy_fail(err, SY_EFORMAT, "%s is not a zstd file", s->path);
    case ZSTD_error_frameParameter_windowTooLarge:
        return sy_fail(err, SY_EFORMAT, "%s needs a window above %d MiB; compress it again without --long or --ultra", s->path, 1 << (WINDOW_LOG - 20));
    case ZSTD_error_memory_allocation:
        return sy_fail(err, SY_ENOMEM, "%s: no memory to decompress it", s->path);
    default:
        return sy_fail(err, SY_EFORMAT, "%s is damaged after %llu decompressed bytes: %s", s->path, (unsigned long long)s->out, ZSTD_getErrorName(code));
    }
}

static sy_status feed(void *arg, const char *data, size_t n, sy_err *err)
{
    state *s = arg;
    ZSTD_inBuffer in = { data, n, 0 };
    s->in += n;
    for (;;) {
        ZSTD_outBuffer out = { s->piece, PIECE, 0 };
        size_t was = in.pos, r = ZSTD_decompressStream(s->z, &out, &in);
        if (ZSTD_isError(r)) return damaged(s, r, err);
        s->in_frame = r;
        if (out.pos > s->limit - s->out)
            return sy_fail(err, SY_EFORMAT, "%s decompresses to more than %llu bytes, which is the limit; split it if it is not a mistake", s->path,
                           (unsigned long long)s->limit);
        s->out += out.pos;
        if (out.pos) SY_TRY(s->fn(s->arg, s->piece, out.pos, err));
        if (in.pos == n && (r == 0 || out.pos < PIECE)) return SY_OK;       /* all is in, and all that it gave is out */
        if (in.pos == was && !out.pos) return sy_fail(err, SY_EFORMAT, "%s is damaged after %llu decompressed bytes", s->path, (unsigned long long)s->out);
    }
}

static void *z_alloc(void *opaque, size_t n) { (void)opaque; return sy_malloc(n); }
static void z_free(void *opaque, void *p) { (void)opaque; sy_free(p); }

sy_status sy_zstd_each(const char *path, uint64_t limit, sy_status (*fn)(void *arg, const char *data, size_t n, sy_err *err), void *arg, sy_err *err)
{
    state s = { .z = ZSTD_createDCtx_advanced((ZSTD_customMem){ z_alloc, z_free, NULL }), .path = path, .piece = sy_malloc(PIECE),
                .limit = limit, .in_frame = 1, .fn = fn, .arg = arg };
    sy_status st = SY_OK;
    if (!s.z || !s.piece) st = sy_fail(err, SY_ENOMEM, "%s: no memory to decompress it", path);
    if (st == SY_OK) ZSTD_DCtx_setParameter(s.z, ZSTD_d_windowLogMax, WINDOW_LOG);
    if (st == SY_OK) st = sy_file_each(path, feed, &s, err);
    if (st == SY_OK && s.in_frame)
        st = s.in ? sy_fail(err, SY_EFORMAT, "%s is cut short: it ends inside a frame, after %llu decompressed bytes", path, (unsigned long long)s.out)
                  : sy_fail(err, SY_EFORMAT, "%s is empty, not a zstd file", path);
    ZSTD_freeDCtx(s.z);
    sy_free(s.piece);
    return st;
}

typedef struct { sy_buf *out; const char *path; } sink;

static sy_status keep(void *arg, const char *data, size_t n, sy_err *err)
{
    sink *k = arg;
    sy_buf_put(k->out, data, n);
    return k->out->failed ? sy_fail(err, SY_ENOMEM, "%s: no memory for %zu decompressed bytes", k->path, k->out->n + n) : SY_OK;
}

sy_status sy_zstd_read(const char *path, size_t limit, sy_buf *out, sy_err *err)
{
    return sy_zstd_each(path, limit, keep, &(sink){ out, path }, err);
}
