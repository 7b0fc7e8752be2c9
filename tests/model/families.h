/* tests/model/families.h - the fixtures of families: a folder made from its config.json and its list of tensors, whose values follow from a seed
 * (tests/ref/families.py). One folder's tensors at a time. */
#ifndef SY_TEST_FAMILIES_H
#define SY_TEST_FAMILIES_H

#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/random.h"
#include "model/safetensors.h"

enum { PROMPT = 64, FURTHER = 32, T = PROMPT + FURTHER, MOST = 512 };

static inline char *in_dir(const char *name)
{
    static char path[8][1024];
    static int at;
    char *p = path[at++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", sy_test_dir(), name);
    return p;
}

static inline char *join(const char *dir, const char *name)
{
    static char path[8][1100];
    static int at;
    char *p = path[at++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static inline void write_text(const char *path, const char *text) { sy_expect_ok(sy_file_write(path, text, strlen(text), err)); }

/* --- a model made from its list of tensors ------------------------------------------------------------------------------------ */

typedef struct fixture { sy_map map; sy_st st; sy_arena a; } fixture;

static inline void fixture_open(fixture *f, const char *family)
{
    char path[256];
    memset(f, 0, sizeof *f);
    const char *dir = getenv("SY_FAMILIES_IN");          /* others, made in the same way */
    snprintf(path, sizeof path, "%s/%s.safetensors", dir ? dir : "tests/fixtures/families", family);
    sy_expect_ok(sy_map_open(&f->map, path, err));
    sy_expect_ok(sy_st_parse(&f->st, f->map.data, f->map.size, path, &f->a, err));
}

static inline void fixture_close(fixture *f)
{
    sy_map_close(&f->map);
    sy_arena_free(&f->a);
}

static inline const char *meta(const fixture *f, int i, const char *key)
{
    char name[32];
    snprintf(name, sizeof name, "%d.%s", i, key);
    const char *text = sy_st_meta(&f->st, name);
    if (!text) fail_msg("the fixture says nothing of %s", name);
    return text;
}

static inline int models(const fixture *f)
{
    char name[32];
    int n = 0;
    do snprintf(name, sizeof name, "%d.config", n++); while (sy_st_meta(&f->st, name));
    return n - 1;
}

static inline const sy_st_tensor *tensor(const fixture *f, int i, const char *key)
{
    char name[32];
    snprintf(name, sizeof name, "%d.%s", i, key);
    return sy_st_find(&f->st, name);
}

typedef struct tensors { sy_st_out t[MOST]; float *f32[MOST]; int n; sy_arena a; } tensors;

static inline const void *stored(sy_dtype type, const float *v, uint8_t *byte, uint16_t *half, size_t n)
{
    for (size_t k = 0; k < n && type != SY_DT_F32; k++) {
        if (type == SY_DT_BF16) half[k] = sy_bf16_of(v[k]);
        else if (type == SY_DT_F16) half[k] = sy_f16_of(v[k]);
        else byte[k] = (uint8_t)v[k];
        if (type == SY_DT_F8_E4M3 && (byte[k] & 127) == 127) byte[k]--;          /* no number */
    }
    return type == SY_DT_F32 ? (const void *)v : type == SY_DT_BF16 || type == SY_DT_F16 ? (const void *)half : byte;
}

/* "name|type|dims|base|scale": base + scale * (uniform in -1 .. 1 of the name's stream); of U8 and F8_E4M3 the byte itself, rounded down. */
static inline void tensor_add(tensors *x, const char *line, uint64_t seed)
{
    char name[256], type[16], dims[64];
    double base, scale;
    size_t n = 1;
    sy_st_out *t = &x->t[x->n];
    assert_true(x->n < MOST);
    assert_int_equal(sscanf(line, "%255[^|]|%15[^|]|%63[^|]|%lf|%lf", name, type, dims, &base, &scale), 5);
    *t = (sy_st_out){ .name = sy_arena_strdup(&x->a, name), .type = SY_DT_F32 };
    for (sy_dtype d = 0; d < SY_DTYPES; d++) if (!strcmp(type, sy_dtype_name(d))) t->type = d;
    for (char *d = strtok(dims, ","); d; d = strtok(NULL, ",")) n *= (size_t)(t->dim[t->nd++] = atoll(d));
    uint64_t h = 1469598103934665603u;
    for (const char *c = name; *c; c++) h = (h ^ (unsigned char)*c) * 1099511628211u;
    uint64_t key = sy_key(seed, SY_FOR_TEST, h, 0, 0);
    float *v = x->f32[x->n++] = sy_arena_array(&x->a, n, sizeof *v);
    bool bytes = t->type == SY_DT_U8 || t->type == SY_DT_F8_E4M3;
    for (size_t k = 0; k < n; k++) {
        double value = base + scale * (2 * sy_draw(key, k, 0) - 1);
        v[k] = (float)(bytes ? floor(value) : value);
    }
    t->data = stored(t->type, v, sy_arena_array(&x->a, n, 1), sy_arena_array(&x->a, n, sizeof(uint16_t)), n);
}

static inline void tensors_of(tensors *x, const fixture *f, int i)
{
    const char *line = meta(f, i, "tensors");
    uint64_t seed = strtoull(meta(f, i, "seed"), NULL, 10);
    x->n = 0;
    x->a = (sy_arena){ 0 };
    while (line && *line) {
        tensor_add(x, line, seed);
        line = strchr(line, '\n');
        if (line) line++;
    }
}

static tensors all;

/* A folder with model i of a fixture. */
static inline const char *folder_of(const fixture *f, int i, const char *name)
{
    const char *dir = in_dir(name);
    sy_expect_ok(sy_remove_tree(dir, err));
    sy_expect_ok(sy_mkdirs(dir, err));
    write_text(join(dir, "config.json"), meta(f, i, "config"));
    sy_arena_free(&all.a);
    tensors_of(&all, f, i);
    sy_expect_ok(sy_st_write(join(dir, "model.safetensors"), all.t, all.n, NULL, err));
    return dir;
}

#endif
