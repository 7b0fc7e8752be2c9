/* model/tokenizer.c - the tokenizer of bytes. */
#include "model/tokenizer.h"

#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"

#define EOT_TEXT "<|endoftext|>"

struct sy_tokenizer {
    bool eot;
    char byte[256];
};

sy_status sy_tokenizer_open_bytes(sy_tokenizer **out, bool eot, sy_err *err)
{
    sy_tokenizer *t = sy_calloc(1, sizeof *t);
    if (!t) return sy_fail(err, SY_ENOMEM, "no memory for a tokenizer");
    t->eot = eot;
    for (int i = 0; i < 256; i++) t->byte[i] = (char)i;
    *out = t;
    return SY_OK;
}

void sy_tokenizer_close(sy_tokenizer *t) { sy_free(t); }

int         sy_tokenizer_vocab(const sy_tokenizer *t) { return 256 + t->eot; }
int         sy_tokenizer_eot(const sy_tokenizer *t) { return t->eot ? 256 : -1; }
const char *sy_tokenizer_id(const sy_tokenizer *t) { return t->eot ? "b7e50000000000000000000000000257" : "b7e50000000000000000000000000256"; }
size_t      sy_tokenizer_most(const sy_tokenizer *t, size_t bytes) { (void)t; return bytes; }

sy_status sy_tokenizer_encode(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err)
{
    (void)t, (void)err;
    for (size_t i = 0; i < n; i++) id[i] = (unsigned char)text[i];
    *ids = n;
    return SY_OK;
}

sy_status sy_tokenizer_encode_special(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err)
{
    size_t k = 0, len = strlen(EOT_TEXT);
    if (!t->eot) return sy_tokenizer_encode(t, text, n, id, ids, err);
    for (size_t i = 0; i < n; )
        if (n - i >= len && !memcmp(text + i, EOT_TEXT, len)) { id[k++] = 256; i += len; }
        else id[k++] = (unsigned char)text[i++];
    *ids = k;
    return SY_OK;
}

const char *sy_tokenizer_piece(const sy_tokenizer *t, int id, size_t *n)
{
    *n = id >= 0 && id < 256;
    return *n ? &t->byte[id] : "";
}

int         sy_tokenizer_bytes(const sy_tokenizer *t, int id) { (void)t; return id >= 0 && id < 256; }
const char *sy_tokenizer_special(const sy_tokenizer *t, int id) { return t->eot && id == 256 ? EOT_TEXT : NULL; }
int         sy_tokenizer_find(const sy_tokenizer *t, const char *special) { return t->eot && !strcmp(special, EOT_TEXT) ? 256 : -1; }

sy_status sy_tokenizer_decode(const sy_tokenizer *t, const int32_t *id, size_t n, sy_buf *out, sy_err *err)
{
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *p = sy_tokenizer_piece(t, id[i], &len);
        sy_buf_put(out, p, len);
    }
    return out->failed ? sy_fail(err, SY_ENOMEM, "no memory to decode %zu tokens", n) : SY_OK;
}
