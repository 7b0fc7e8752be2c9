/* data/shard.c - making, checking and mapping tokenised shards. */
#include "data/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/sha256.h"
#include "data/read.h"
#include "model/tokenizer.h"

enum { SHARD_VERSION = 1, WRITE_BLOCK = 1 << 18 };
static const char shard_magic[8] = "SYSHARD\n";
static const uint64_t TOKENS_MAX = (uint64_t)1 << 44;        /* far above any disk; keeps sums of sizes from wrapping */

/* A checksum against accidents (bad disks, half-written files): four lanes, so that it runs at the speed of memory. */
static uint64_t checksum(const unsigned char *p, uint64_t n)
{
    static const uint64_t odd = 0x9E3779B97F4A7C15u;
    uint64_t lane[4] = { 1, 2, 3, 4 }, w;
    uint64_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int l = 0; l < 4; l++) {
            memcpy(&w, p + i + 8 * l, 8);
            w ^= lane[l];
            lane[l] = (w << 29 | w >> 35) * odd;
        }
    uint64_t sum = n;
    for (; i < n; i++) sum = (sum ^ p[i]) * odd;
    for (int l = 0; l < 4; l++) {
        sum = (sum ^ lane[l]) * odd;
        sum ^= sum >> 31;
    }
    return sum;
}

/* All that decides the bytes of a shard. */
static void make_key(const sy__shard_job *job, uint8_t key[32])
{
    const sy_data_options *o = job->options;
    char path[PATH_MAX];
    sy_sha256 s;
    sy_sha256_start(&s);
    sy_sha256_u64(&s, SHARD_VERSION);
    sy_sha256_text(&s, sy_tokenizer_id(job->tok));
    sy_sha256_text(&s, o->text_field);
    sy_sha256_text(&s, o->messages_field);
    sy_sha256_text(&s, o->prompt_field);
    sy_sha256_text(&s, o->completion_field);
    sy_sha256_u64(&s, o->mask_prompt);
    if (job->chat) sy_sha256_text(&s, sy_chat_id(job->chat));
    for (int i = 0; i < job->group->n; i++) {
        const sy__file *f = &job->group->file[i];
        sy_sha256_text(&s, realpath(f->path, path) ? path : f->path);
        sy_sha256_u64(&s, (uint64_t)f->size);
        sy_sha256_u64(&s, (uint64_t)f->mtime_ns);
    }
    sy_sha256_end(&s, key);
}

static void header_check(const sy__shard_header *h, uint8_t check[32])
{
    sy_sha256 s;
    sy_sha256_start(&s);
    sy_sha256_add(&s, h, offsetof(sy__shard_header, check));
    sy_sha256_end(&s, check);
}

static uint64_t up8(uint64_t n) { return (n + 7) & ~(uint64_t)7; }

static uint64_t file_bytes(const sy__shard_header *h)
{
    return SY__SHARD_HEAD + up8(h->tokens * h->id_bytes) + (h->docs + 1) * 16 + (h->masked ? up8((h->tokens + 7) / 8) : 0);
}

static bool rises(const uint64_t *v, uint64_t n, uint64_t last)
{
    if (v[0] || v[n] != last) return false;
    for (uint64_t i = 0; i < n; i++)
        if (v[i] > v[i + 1]) return false;
    return true;
}

static sy_status check_map(sy__shard *out, const sy_map *map, const uint8_t key[32], uint32_t vocab, sy_err *err)
{
    sy__shard_header head, *h = &head;
    const uint64_t bytes = map->size;
    uint8_t check[32];
    if (bytes < SY__SHARD_HEAD) return sy_fail(err, SY_EFORMAT, "%llu bytes, a header has %d", (unsigned long long)bytes, SY__SHARD_HEAD);
    memcpy(h, map->data, sizeof *h);
    if (memcmp(h->magic, shard_magic, 8) || h->version != SHARD_VERSION)
        return sy_fail(err, SY_EFORMAT, "not a token cache of version %d", SHARD_VERSION);
    header_check(h, check);
    if (memcmp(check, h->check, 32)) return sy_fail(err, SY_EFORMAT, "the header's checksum is wrong");
    if (memcmp(key, h->key, 32)) return sy_fail(err, SY_EFORMAT, "made from other files or by another tokenizer");
    if ((h->id_bytes != 2 && h->id_bytes != 4) || h->vocab != vocab || h->tokens > TOKENS_MAX || h->docs > h->tokens || h->masked > h->tokens)
        return sy_fail(err, SY_EFORMAT, "impossible sizes: %llu tokens of %u bytes, %llu documents, %llu masked, vocabulary %u",
                       (unsigned long long)h->tokens, h->id_bytes, (unsigned long long)h->docs, (unsigned long long)h->masked, h->vocab);
    if (h->file_bytes != bytes || file_bytes(h) != bytes)
        return sy_fail(err, SY_EFORMAT, "%llu bytes, its header says %llu", (unsigned long long)bytes, (unsigned long long)file_bytes(h));
    const unsigned char *at = map->data + SY__SHARD_HEAD;
    if (checksum(at, bytes - SY__SHARD_HEAD) != h->sum) return sy_fail(err, SY_EFORMAT, "the checksum of its tokens is wrong");
    sy__shard s = { .map = *map, .h = head, .ids = at };
    at += up8(h->tokens * h->id_bytes);
    s.doc_token = (const uint64_t *)(const void *)at;
    s.doc_byte = s.doc_token + h->docs + 1;
    s.mask = h->masked ? (const uint8_t *)(s.doc_byte + h->docs + 1) : NULL;
    if (!rises(s.doc_token, h->docs, h->tokens) || !rises(s.doc_byte, h->docs, h->text_bytes))
        return sy_fail(err, SY_EFORMAT, "its documents are out of order");
    *out = s;
    return SY_OK;
}

sy_status sy__shard_check(sy__shard *out, const sy_map *map, const uint8_t key[32], uint32_t vocab, sy_err *err)
{
    return sy_map_status(map, "the token cache", check_map(out, map, key, vocab, err), err);
}

/* ---- making one ---- */

typedef struct builder {
    const sy__shard_job *job;
    const char *path;                   /* what errors name */
    int       fd;
    unsigned char *out;                 /* [WRITE_BLOCK] bytes not written yet */
    size_t    out_n;
    sy__shard_header h;
    uint64_t *doc_token, *doc_byte;     /* first token and byte of each document so far, and of the one to come */
    size_t    doc_room;
    uint8_t  *mask;
    size_t    mask_room;
    sy_tokens tokens;                   /* of one call of the tokenizer */
    int32_t  *id;                       /* of a piece that a template wrote */
    size_t    id_room;
    double    total, done;              /* bytes of all files, and those of files that are finished */
} builder;

static sy_status flush(builder *b, sy_err *err)
{
    for (size_t at = 0; at < b->out_n; ) {
        ssize_t n = sy_file_calls->write(b->fd, b->out + at, b->out_n - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return sy_fail(err, SY_EIO, "writing the token cache '%s' failed: %s: free some space, or name another place by --cache-dir",
                           b->path, strerror(n < 0 ? errno : ENOSPC));
        at += (size_t)n;
    }
    b->out_n = 0;
    return SY_OK;
}

static sy_status put(builder *b, const void *data, size_t n, sy_err *err)
{
    for (const unsigned char *p = data; n; ) {
        size_t room = WRITE_BLOCK - b->out_n, part = n < room ? n : room;
        memcpy(b->out + b->out_n, p, part);
        b->out_n += part;
        p += part;
        n -= part;
        if (b->out_n == WRITE_BLOCK) SY_TRY(flush(b, err));
    }
    return SY_OK;
}

static sy_status pad8(builder *b, uint64_t written, sy_err *err)
{
    static const unsigned char zero[8];
    return put(b, zero, up8(written) - written, err);
}

/* Room for n elements in a heap array that doubles. */
static sy_status need(void **array, size_t *room, size_t n, size_t size, sy_err *err)
{
    if (n <= *room) return SY_OK;
    size_t more = *room ? *room : 1024;
    while (more < n) more *= 2;
    void *p = sy_realloc(*array, sy_mul_size(more, size));
    if (!p) return sy_fail(err, SY_ENOMEM, "no memory for the tokens of a text (%zu entries of %zu bytes)", more, size);
    *array = p;
    *room = more;
    return SY_OK;
}

/* n ids, which stand for so many bytes. */
static sy_status take_ids(builder *b, const int32_t *ids, size_t n, size_t bytes, bool counted, sy_err *err)
{
    SY_TRY(need((void **)&b->mask, &b->mask_room, (b->h.tokens + n + 7) / 8, 1, err));
    for (size_t i = 0; i < n; i++) {
        uint64_t at = b->h.tokens++;
        if (at % 8 == 0) b->mask[at / 8] = 0;
        if (counted) b->mask[at / 8] |= (uint8_t)(1u << at % 8);
        uint32_t id = (uint32_t)ids[i];
        uint16_t half = (uint16_t)id;
        SY_TRY(b->h.id_bytes == 2 ? put(b, &half, 2, err) : put(b, &id, 4, err));
    }
    b->h.masked += counted ? 0 : n;
    b->h.text_bytes += bytes;
    if (b->job->progress && b->total > 0) b->job->progress(b->job->arg, b->job->group->domain, b->done / b->total);
    return SY_OK;
}

static sy_status take_text(void *arg, const char *text, size_t bytes, bool counted, sy_err *err)
{
    builder *b = arg;
    SY_TRY(sy_tokenizer_tokens(b->job->tok, text, bytes, 0, &b->tokens, err));
    return take_ids(b, b->tokens.id, b->tokens.n, bytes, counted, err);
}

static sy_status take_marked(void *arg, const char *text, const char *mark, size_t from, size_t to, bool counted, sy_err *err)
{
    builder *b = arg;
    size_t n = 0;
    SY_TRY(need((void **)&b->id, &b->id_room, sy_tokenizer_most(b->job->tok, to - from), sizeof *b->id, err));
    SY_TRY(sy_specials_encode(b->job->specials, text, mark, from, to, b->id, &n, err));
    return take_ids(b, b->id, n, to - from, counted, err);
}

static sy_status take_end(void *arg, sy_err *err)
{
    builder *b = arg;
    size_t n = (size_t)b->h.docs + 2;
    if (b->h.tokens == b->doc_token[b->h.docs]) {
        b->h.empty++;
        return SY_OK;
    }
    size_t room = b->doc_room;
    SY_TRY(need((void **)&b->doc_token, &room, n, sizeof *b->doc_token, err));
    room = b->doc_room;
    SY_TRY(need((void **)&b->doc_byte, &room, n, sizeof *b->doc_byte, err));
    b->doc_room = room;
    b->h.docs++;
    b->doc_token[b->h.docs] = b->h.tokens;
    b->doc_byte[b->h.docs] = b->h.text_bytes;
    return SY_OK;
}

static sy_status write_all(builder *b, const uint8_t key[32], sy_err *err)
{
    static const unsigned char blank[SY__SHARD_HEAD];
    const sy__group *g = b->job->group;
    sy__sink sink = { .arg = b, .text = take_text, .end = take_end, .chat = b->job->chat, .marked = take_marked };
    memcpy(b->h.magic, shard_magic, 8);
    memcpy(b->h.key, key, 32);
    b->h.version = SHARD_VERSION;
    b->h.vocab = (uint32_t)sy_tokenizer_vocab(b->job->tok);
    b->h.id_bytes = b->h.vocab <= 65536 ? 2 : 4;
    if (!(b->out = sy_malloc(WRITE_BLOCK))) return sy_fail(err, SY_ENOMEM, "no memory for writing '%s'", b->path);
    size_t room = 0;
    SY_TRY(need((void **)&b->doc_byte, &room, 1, sizeof *b->doc_byte, err));
    SY_TRY(need((void **)&b->doc_token, &b->doc_room, 1, sizeof *b->doc_token, err));
    b->doc_token[0] = b->doc_byte[0] = 0;
    SY_TRY(put(b, blank, sizeof blank, err));
    for (int i = 0; i < g->n; i++) b->total += (double)g->file[i].size;
    for (int i = 0; i < g->n; i++) {
        bool binary;
        SY_TRY(sy__read_file(&g->file[i], b->job->options, &sink, &binary, err));
        b->h.skipped += binary;
        b->h.files += !binary;
        b->done += (double)g->file[i].size;
    }
    if (b->job->progress) b->job->progress(b->job->arg, g->domain, 1);
    SY_TRY(pad8(b, b->h.tokens * b->h.id_bytes, err));
    SY_TRY(put(b, b->doc_token, ((size_t)b->h.docs + 1) * 8, err));
    SY_TRY(put(b, b->doc_byte, ((size_t)b->h.docs + 1) * 8, err));
    if (b->h.masked) {
        SY_TRY(put(b, b->mask, (size_t)(b->h.tokens + 7) / 8, err));
        SY_TRY(pad8(b, (b->h.tokens + 7) / 8, err));
    }
    SY_TRY(flush(b, err));
    b->h.file_bytes = file_bytes(&b->h);
    return SY_OK;
}

static sy_status map_fd(int fd, const char *path, sy_map *map, sy_err *err)
{
    struct stat st;
    if (fstat(fd, &st)) return sy_fail(err, SY_EIO, "cannot look at '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size < SY__SHARD_HEAD) return sy_fail(err, SY_EFORMAT, "'%s' is not a token cache", path);
    return sy_map_fd(map, fd, (size_t)st.st_size, path, err);
}

/* The header is written last, with the checksum of what the file really holds. */
static sy_status finish(builder *b, const uint8_t key[32], sy__shard *out, sy_err *err)
{
    sy_map map;
    SY_TRY(map_fd(b->fd, b->path, &map, err));
    b->h.sum = checksum(map.data + SY__SHARD_HEAD, map.size - SY__SHARD_HEAD);
    header_check(&b->h, b->h.check);
    sy_status status = SY_OK;
    if (pwrite(b->fd, &b->h, sizeof b->h, 0) != (ssize_t)sizeof b->h)
        status = sy_fail(err, SY_EIO, "writing the token cache '%s' failed: %s", b->path, strerror(errno));
    if (status == SY_OK) status = sy_within(err, sy__shard_check(out, &map, key, b->h.vocab, err), "'%s', just written", b->path);
    if (status != SY_OK) sy_map_close(&map);
    return status;
}

static sy_status build(sy__shard *out, const sy__shard_job *job, const char *path, const uint8_t key[32], sy_err *err)
{
    builder b = { .job = job, .path = *path ? path : "tokens in memory" };
    char *temp = *path ? sy_arena_printf(job->arena, "%s.XXXXXX", path) : NULL;
    if (*path && !temp) return sy_fail(err, SY_ENOMEM, "no memory for the name of a cache file");
    b.fd = temp ? mkostemp(temp, O_CLOEXEC) : memfd_create("switchyard tokens", MFD_CLOEXEC);
    if (b.fd < 0) return sy_fail(err, SY_EIO, "cannot write the token cache '%s': %s: name another place by --cache-dir", b.path, strerror(errno));
    sy_status status = write_all(&b, key, err);
    if (status == SY_OK) status = finish(&b, key, out, err);
    if (status == SY_OK && temp && (fchmod(b.fd, 0644) || sy_file_calls->fsync(b.fd) || sy_file_calls->rename(temp, path))) {
        status = sy_fail(err, SY_EIO, "writing the token cache '%s' failed: %s", path, strerror(errno));
        sy__shard_close(out);
    }
    if (status != SY_OK && temp) unlink(temp);
    close(b.fd);
    sy_free(b.out);
    sy_free(b.doc_token);
    sy_free(b.doc_byte);
    sy_free(b.mask);
    sy_tokens_free(&b.tokens);
    sy_free(b.id);
    return status;
}

sy_status sy__shard_open(sy__shard *out, const sy__shard_job *job, sy_err *err)
{
    uint8_t key[32];
    char hex[33];
    const char *path = "";
    make_key(job, key);
    if (job->cache_dir) {
        SY_TRY(sy_within(err, sy_mkdirs(job->cache_dir, err), "the cache folder (--cache-dir names another)"));
        path = sy_arena_printf(job->arena, "%s/%s-%s.tokens", job->cache_dir, job->group->domain, sy_hex(key, 16, hex));
        if (!path) return sy_fail(err, SY_ENOMEM, "no memory for the name of a cache file");
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0) {
            sy_map map;
            sy_err why;                              /* a damaged cache is no failure: it is made anew */
            sy_status status = map_fd(fd, path, &map, &why);
            close(fd);
            if (status == SY_OK) {
                status = sy__shard_check(out, &map, key, (uint32_t)sy_tokenizer_vocab(job->tok), &why);
                if (status != SY_OK) sy_map_close(&map);
            }
            if (status == SY_OK) {
                out->cached = true;
                out->path = path;
                return SY_OK;
            }
        }
    }
    SY_TRY(build(out, job, path, key, err));
    out->path = path;
    return SY_OK;
}

void sy__shard_close(sy__shard *s)
{
    sy_map_close(&s->map);
    *s = (sy__shard){ 0 };
}
