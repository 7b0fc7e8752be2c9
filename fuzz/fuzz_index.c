/* fuzz_index - any bytes as model.safetensors.index.json beside two good shards: the model comes back bit for bit, or a sentence. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/file.h"
#include "methods.h"
#include "model/checkpoint.h"
#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/fuzz_index.XXXXXX";
static void clean(void) { sy_remove_tree(dir, NULL); }

static void must(bool ok) { if (!ok) abort(); }

/* Saves the model in two shards, cut in the middle of the sorted names: model-1.safetensors, model-2.safetensors. */
static void write_shards(const sy_model *m)
{
    char path[64];
    sy_err err;
    sy_map map;
    sy_st st;
    sy_arena a = { 0 };
    must(mkdtemp(dir) && sy_model_save(m, dir, -1, NULL, &err) == SY_OK);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    must(sy_map_open(&map, path, &err) == SY_OK && sy_st_parse(&st, map.data, map.size, path, &a, &err) == SY_OK);
    sy_st_out *out = sy_arena_array(&a, (size_t)st.n, sizeof *out);
    for (int i = 0; out && i < st.n; i++) {
        out[i] = (sy_st_out){ .name = st.t[i].name, .type = st.t[i].type, .nd = st.t[i].nd, .data = st.t[i].data };
        memcpy(out[i].dim, st.t[i].dim, sizeof out[i].dim);
    }
    for (int k = 0; out && k < 2; k++) {
        int from = k ? st.n / 2 : 0, to = k ? st.n : st.n / 2;
        snprintf(path, sizeof path, "%s/model-%d.safetensors", dir, k + 1);
        must(sy_st_write(path, out + from, to - from, NULL, &err) == SY_OK);
    }
    must(out != NULL);
    sy_map_close(&map);
    sy_arena_free(&a);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    unlink(path);
    atexit(clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sy_engine eng;
    static sy_model *good, *m;
    static int fd = -1;
    sy_err err = { 0 };
    if (!m) {
        char link[64], path[64];
        sy_spec s;
        sy_spec_defaults(&s);
        s.vocab_size = 3, s.hidden_size = 2, s.num_hidden_layers = 1, s.num_attention_heads = 1, s.num_key_value_heads = 1, s.max_position_embeddings = 4;
        s.layers = "sparse", s.num_experts = 2, s.moe_intermediate_size = 1;
        must(sy_engine_init(&eng, 1, "ref", &sy_builtin_methods, &err) == SY_OK && sy_model_new(&good, &eng, &s, 0, 1, &err) == SY_OK);
        must(sy_model_new(&m, &eng, &s, SY_MODEL_EMPTY, 1, &err) == SY_OK);
        write_shards(good);
        must((fd = memfd_create("index", 0)) >= 0);
        snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        must(symlink(link, path) == 0);
    }
    must(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    for (int i = 0; i < m->params.n; i++) memset(m->params.p[i]->w.data, 0, m->params.p[i]->n * sizeof(sy_real));
    if (sy_model_read(m, dir, NULL, &err) != SY_OK) {
        must(*err.text && !strchr(err.text, '\n'));
        return 0;
    }
    for (int i = 0; i < m->params.n; i++) must(!memcmp(m->params.p[i]->w.data, good->params.p[i]->w.data, m->params.p[i]->n * sizeof(sy_real)));
    return 0;
}
