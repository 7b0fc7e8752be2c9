/* fuzz/fuzz_tokenizer.c - a hostile tokenizer.json, and hostile text through what it gave. Up to the first byte 0xFF the input is the file, behind it
 * the text. What is loaded must write itself so that the same tokenizer is read back; ids must be in range and few enough; where the
 * tokenizer changes nothing, the bytes must come back. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "model/tokenizer_parts.h"

static void require(bool fine) { if (!fine) abort(); }

static void use(const sy_tokenizer *t, const char *text, size_t n, bool special)
{
    size_t most = sy_tokenizer_most(t, n), k;
    sy_buf out = { 0 };
    sy_err err;
    int32_t *id = sy_malloc((most + 1) * sizeof *id);
    bool exact = !special && !t->nfc && !t->prefix_space;
    for (int i = 0; i < t->n_added; i++) exact = exact && !t->added[i].lstrip && !t->added[i].rstrip;
    if (id && (special ? sy_tokenizer_encode_special : sy_tokenizer_encode)(t, text, n, id, &k, &err) == SY_OK) {
        require(k <= most);
        for (size_t i = 0; i < k; i++) require(id[i] >= 0 && id[i] < t->vocab);
        require(sy_tokenizer_decode(t, id, k, &out, &err) == SY_OK);
        require(!exact || (out.n == n && (!n || !memcmp(out.data, text, n))));
    }
    sy_buf_free(&out);
    sy_free(id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size ? memchr(data, 0xFF, size) : NULL;
    size_t n = cut ? (size_t)(cut - data) : size;
    const char *text = cut ? (const char *)cut + 1 : "";
    sy_tokenizer *t, *u;
    sy_err err;
    if (sy_tokenizer_from_memory(&t, (const char *)data, n, "tokenizer.json", &err) != SY_OK) {
        require(*err.text && !strchr(err.text, '\n'));
        return 0;
    }
    use(t, text, cut ? size - n - 1 : 0, false);
    use(t, text, cut ? size - n - 1 : 0, true);
    sy_buf again = { 0 };
    sy__tokenizer_write(t, &again);
    require(sy_tokenizer_from_memory(&u, again.data, again.n, "again", &err) == SY_OK && !strcmp(sy_tokenizer_id(t), sy_tokenizer_id(u)));
    sy_tokenizer_close(u);
    sy_tokenizer_close(t);
    sy_buf_free(&again);
    return 0;
}
