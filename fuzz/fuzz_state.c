/* fuzz_state - any bytes as training_state.safetensors of a small model: taken whole, or refused with a sentence. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "methods.h"
#include "model/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Two layers, so that names have numbers; two experts, so that "{e}" has both. */
static sy_model *small(void)
{
    static sy_engine eng;
    sy_model *m;
    sy_spec s;
    sy_err err;
    sy_spec_defaults(&s);
    s.vocab_size = 3, s.hidden_size = 2, s.num_hidden_layers = 2, s.num_attention_heads = 1, s.num_key_value_heads = 1, s.intermediate_size = 2, s.tie_word_embeddings = true;
    s.layers = "dense,sparse", s.num_experts = 2, s.moe_intermediate_size = 1, s.router = "auxfree:top_k=1,norm_topk_prob=false", s.max_position_embeddings = 4;
    if (sy_engine_init(&eng, 1, "ref", &sy_builtin_methods, &err) != SY_OK || sy_model_new(&m, &eng, &s, SY_MODEL_TRAIN, 1, &err) != SY_OK) abort();
    return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = { "step", "row", "metrics_bytes" };
    static sy_model *m;
    static int fd = -1;
    char path[64];
    sy_err err = { 0 };
    sy_state_item item[3] = { { keys[0], -7 }, { keys[1], -7 }, { keys[2], -7 } };
    if (!m) m = small();
    if (fd < 0) fd = memfd_create("state", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size) abort();
    sy_status st = sy_state_load(m, path, item, 3, &err);
    if (st != SY_OK && (!*err.text || strchr(err.text, '\n'))) abort();
    for (int i = 0; i < 3; i++) if (item[i].key != keys[i]) abort();
    return 0;
}
