/* fuzz_config - any bytes as config.json: a spec or a sentence; a spec's sizes are within their rules and its pattern covers the layers. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    char path[64];
    sy_arena a = { 0 };
    sy_err err = { 0 };
    sy_spec s;
    if (fd < 0) fd = memfd_create("config", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size) abort();
    if (sy_spec_read(path, &s, &a, &err) != SY_OK) {
        if (!*err.text || strchr(err.text, '\n')) abort();
    } else {
        double total, active, madds;
        int sparse = 0;
        for (int l = 0; l < s.num_hidden_layers; l++) sparse += sy_spec_sparse(&s, l);
        sy_spec_size(&s, 1, &total, &active, &madds);
        if (sparse != sy_spec_n_sparse(&s) || !(total > 0 && total <= 1e12) || !isfinite(active) || !isfinite(madds)) abort();
        if (s.num_attention_heads % s.num_key_value_heads || s.head_dim < 1 || sy_spec_act(&s) < 0) abort();
    }
    sy_arena_free(&a);
    return 0;
}
