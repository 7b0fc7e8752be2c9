/* fuzz/fuzz_jsonl.c - documents from hostile bytes. The first byte picks text or JSON lines, and how the rest is cut into pieces; what comes
 * out must not depend on the pieces. */
#include <stdlib.h>

#include "core/sha256.h"
#include "data/read.h"

typedef struct heard { sy_sha256 hash; uint64_t docs; } heard;

static sy_status on_text(void *arg, const char *text, size_t n, bool counted, sy_err *err)
{
    (void)err;
    heard *h = arg;
    sy_sha256_u64(&h->hash, counted);
    sy_sha256_add(&h->hash, text, n);
    return SY_OK;
}

static sy_status on_end(void *arg, sy_err *err)
{
    (void)err;
    heard *h = arg;
    sy_sha256_u64(&h->hash, ++h->docs);
    return SY_OK;
}

static sy_status listen(const char *name, const char *text, size_t n, size_t piece, unsigned char digest[32])
{
    heard h = { .docs = 0 };
    sy__sink sink = { .arg = &h, .text = on_text, .end = on_end };
    sy__file f = { name, (int64_t)n, 0 };
    sy_data_options o;
    sy_err err;
    bool binary = false;
    sy_opt_defaults(sy_data_opts, &o);
    o.max_line_mb = 1;
    sy_sha256_start(&h.hash);
    sy_status status = sy__read_bytes(&f, text, n, piece, &o, &sink, &binary, &err);
    sy_sha256_u64(&h.hash, binary);
    sy_sha256_end(&h.hash, digest);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    const char *name = data[0] & 1 ? "fuzz.txt" : "fuzz.jsonl", *text = (const char *)data + 1;
    size_t piece = (size_t)(data[0] >> 1) + 1, n = size - 1;
    unsigned char whole[32], cut[32];
    sy_status a = listen(name, text, n, n + 1, whole), b = listen(name, text, n, piece, cut);
    for (int i = 0; i < 32; i++)
        if (a != b || whole[i] != cut[i]) abort();
    return 0;
}
