/* fuzz_gguf - any bytes as a GGUF file: parsed or refused with a sentence; what is parsed lies inside, and every value and the ends of every
 * tensor can be read. Its keys make a model's sizes, or a sentence. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_card.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at_key(const sy_gguf *g, const sy_gguf_key *k, const uint8_t *data, size_t size)
{
    int64_t whole;
    double real;
    sy_err err = { 0 };
    if (k->raw < data || k->bytes > (size_t)(data + size - k->raw) || sy_gguf_key_find(g, k->key) != k) abort();
    if (k->elem == SY_GGUF_TEXT) {
        const uint8_t *at = k->data;
        for (uint64_t i = 0; i < k->n; i++) {
            size_t n;
            const char *text = sy_gguf_next_text(&at, &n);
            if ((const uint8_t *)text + n != at || at > data + size) abort();
        }
        if (at != k->raw + k->bytes) abort();
    } else if (k->n) {
        sy_gguf_elem_int(k, k->n - 1, &whole);
        sy_gguf_elem_real(k, k->n - 1, &real);
    }
    sy_arena a = { 0 };
    const char *text = NULL;
    bool yes;
    if (sy_gguf_int(g, k->key, true, -5, 1 << 20, &whole, &err) != SY_OK && !*err.text) abort();
    if (sy_gguf_real(g, k->key, true, -1, 1e6, &real, &err) != SY_OK && !*err.text) abort();
    if (sy_gguf_bool(g, k->key, true, &yes, &err) != SY_OK && !*err.text) abort();
    if (sy_gguf_text(g, k->key, true, &a, &text, &err) == SY_OK && strlen(text) > size) abort();
    sy_arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sy_arena a = { 0 };
    sy_err err = { 0 };
    sy_gguf g;
    sy_status s = sy_gguf_parse(&g, data, size, "input", &a, &err);
    if (s != SY_OK && !*err.text) abort();
    for (int i = 0; s == SY_OK && i < g.keys; i++) look_at_key(&g, &g.key[i], data, size);
    for (int i = 0; s == SY_OK && i < g.n; i++) {
        const sy_gguf_tensor *t = &g.t[i];
        float v[SY_BLOCK_MAX];
        if (t->data < data || t->bytes > (size_t)(data + size - t->data) || (t->data - data) % g.alignment || sy_gguf_find(&g, t->name) != t) abort();
        if (t->type == SY_WTYPES) continue;
        size_t block = (size_t)sy_wtype_block(t->type);
        if (sy_wtype_bytes(t->type, t->n) != t->bytes) abort();
        sy_wtype_read(t->type, t->data, block, v);
        sy_wtype_read(t->type, t->data + t->bytes - sy_wtype_bytes(t->type, block), block, v);
    }
    sy_gguf_card card;
    if (s == SY_OK && sy_gguf_card_read(&card, &g, &a, NULL, &err) != SY_OK && !*err.text) abort();
    sy_arena_free(&a);
    return 0;
}
