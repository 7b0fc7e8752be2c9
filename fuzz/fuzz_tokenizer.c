/* fuzz/fuzz_tokenizer.c - a hostile tokenizer.json or GGUF file, and hostile text through what it gave. Up to the first byte 0xFF the input is the file, behind it
 * the text; a GGUF file is the whole input. What is loaded must write itself so that the same tokenizer is read back; ids must be in range and few enough, offsets in
 * order and inside; where the tokenizer changes nothing, the bytes must come back; what is told id by id must not be more than what is told at once. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "model/gguf.h"
#include "model/tokenizer_parts.h"

static void require(bool fine) { if (!fine) abort(); }

static bool changes_nothing(const sy_tokenizer *t)
{
    bool exact = t->byte_level;
    for (int i = 0; i < t->steps; i++) exact = exact && t->step[i].kind != SY__STEP_NORMAL && !t->step[i].prefix && t->step[i].kind != SY__STEP_METASPACE && (t->step[i].kind != SY__STEP_SPLIT || t->step[i].behavior != SY__REMOVED);
    for (int i = 0; i < t->n_added; i++) exact = exact && !t->added[i].lstrip && !t->added[i].rstrip;
    return exact;
}

static void use(const sy_tokenizer *t, const char *text, size_t n, bool special)
{
    size_t most = sy_tokenizer_most(t, n), k;
    sy_buf out = { 0 };
    sy_err err;
    if (most > 1 << 24) return;
    int32_t *id = sy_malloc((most + 1) * sizeof *id);
    if (id && (special ? sy_tokenizer_encode_special : sy_tokenizer_encode)(t, text, n, id, &k, &err) == SY_OK) {
        require(k <= most);
        for (size_t i = 0; i < k; i++) require(id[i] >= 0 && id[i] < t->vocab);
        if (sy_tokenizer_decode(t, id, k, &out, &err) == SY_OK && !special && changes_nothing(t) && t->lossless) require(out.n == n && (!n || !memcmp(out.data, text, n)));
    }
    sy_buf_free(&out);
    sy_free(id);
}

static void use_all(const sy_tokenizer *t, const char *text, size_t n)
{
    sy_tokens k = { 0 };
    sy_decoder d;
    sy_buf out = { 0 };
    sy_err err;
    for (int flags = 4; flags < 16; flags += 3)
        if (sy_tokenizer_tokens(t, text, n, flags, &k, &err) == SY_OK)
            for (size_t i = 0; i < k.n; i++) {
                require(k.id[i] >= 0 && k.id[i] < t->vocab);
                if (flags & SY_TOKENS_SPANS && t->words.kind != SY__CHAR_BPE) require(k.span[i].end <= n && k.span[i].begin <= k.span[i].end);
            }
    if (sy_decoder_open(&d, t, k.id, k.n / 2, &err) == SY_OK)
        for (size_t i = k.n / 2; i < k.n; i++) if (sy_decoder_feed(&d, k.id[i], &out, &err) != SY_OK) break;
    sy_decoder_end(&d, &out, &err);
    sy_decoder_close(&d);
    sy_buf_free(&out);
    sy_tokens_free(&k);
}

static void run(const sy_tokenizer *t, const char *text, size_t n)
{
    sy_tokenizer *u;
    sy_buf again = { 0 };
    sy_err err;
    use(t, text, n, false);
    use(t, text, n, true);
    use_all(t, text, n);
    sy__tokenizer_write(t, &again);
    if (again.n < 1 << 20) {
        require(sy_tokenizer_from_memory(&u, again.data, again.n, "again", &err) == SY_OK);
        sy_tokenizer_close(u);
    }
    sy_buf_free(&again);
}

static int gguf(const uint8_t *data, size_t size)
{
    static const char text[] = "Hello <s> w\xC3\xB6rld's \xE4\xB8\xAD\xE2\x96\x81 12 \xFF\n\n  ab";
    sy_arena arena = { 0 };
    sy_gguf g;
    sy_tokenizer *t;
    sy_err err;
    if (sy_gguf_parse(&g, data, size, "vocab.gguf", &arena, &err) == SY_OK && sy_tokenizer_from_gguf(&t, &g, &err) == SY_OK) {
        run(t, text, sizeof text - 1);
        sy_tokenizer_close(t);
    } else require(*err.text && !strchr(err.text, '\n'));
    sy_arena_free(&arena);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size ? memchr(data, 0xFF, size) : NULL;
    size_t n = cut ? (size_t)(cut - data) : size;
    sy_tokenizer *t;
    sy_err err;
    if (size >= 4 && !memcmp(data, "GGUF", 4)) return gguf(data, size);
    if (sy_tokenizer_from_memory(&t, (const char *)data, n, "tokenizer.json", &err) != SY_OK) {
        require(*err.text && !strchr(err.text, '\n'));
        return 0;
    }
    run(t, cut ? (const char *)cut + 1 : "", cut ? size - n - 1 : 0);
    sy_tokenizer_close(t);
    return 0;
}
