/* model/shards.c - cutting, writing one after the other, and leaving nothing of an older model behind. */
#include "model/shards.h"

#include <stdio.h>
#include <string.h>

#include "core/json.h"

static const char ONE[] = "model.safetensors", INDEX[] = "model.safetensors.index.json";

typedef struct shards { const sy_st_out *t; int n, shards; int *of; sy_st_fill fill; void *arg; int from; } shards;     /* of [n]: the shard of a tensor */

static char *name_of(int i, int n, char *buf, size_t size)
{
    snprintf(buf, size, "model-%05d-of-%05d.safetensors", i + 1, n);
    return buf;
}

bool sy_is_shard(const char *name)
{
    int i, n, end = 0;
    if (!strcmp(name, ONE) || !strcmp(name, INDEX)) return true;
    return sscanf(name, "model-%5d-of-%5d.safetensors%n", &i, &n, &end) == 2 && end && !name[end];
}

static void cut(shards *s, uint64_t most)
{
    uint64_t held = 0;
    int k = 0;
    for (int i = 0; i < s->n; i++) {
        uint64_t bytes = sy_st_out_bytes(&s->t[i]);
        if (held && bytes > most - held) k++, held = 0;          /* held is at most `most`, unless a larger tensor has a shard of its own */
        s->of[i] = k;
        held = bytes > most ? most : held + bytes;
    }
    s->shards = k + 1;
}

static sy_status fill_from(void *arg, int i, sy_writer *w, sy_err *err)
{
    const shards *s = arg;
    const sy_st_out *t = &s->t[s->from + i];
    return s->fill ? s->fill(s->arg, s->from + i, w, err) : sy_writer_put(w, t->data, sy_st_out_bytes(t), err);
}

static sy_status write_index(const shards *s, const char *path, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    char name[64];
    uint64_t bytes = 0;
    for (int i = 0; i < s->n; i++) bytes += sy_st_out_bytes(&s->t[i]);
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "metadata");
    sy_json_begin(&j, '{');
    sy_json_key(&j, "total_size"), sy_json_int(&j, (long long)bytes);
    sy_json_end(&j, '}');
    sy_json_key(&j, "weight_map");
    sy_json_begin(&j, '{');
    for (int i = 0; i < s->n; i++) sy_json_key(&j, s->t[i].name), sy_json_text(&j, name_of(s->of[i], s->shards, name, sizeof name));
    sy_json_end(&j, '}');
    sy_json_end(&j, '}');
    sy_buf_put(&b, "\n", 1);
    sy_status st = b.failed ? sy_fail(err, SY_ENOMEM, "no memory to write %s", path) : sy_file_write(path, b.data, b.n, err);
    sy_buf_free(&b);
    return st;
}

/* Files of tensors in the folder that are not of this set. */
static sy_status remove_others(const shards *s, const char *dir, sy_arena *a, sy_err *err)
{
    const char **names;
    char path[1024], own[64];
    int n;
    SY_TRY(sy_dir_list(dir, a, &names, &n, err));
    for (int i = 0; i < n; i++) {
        bool ours = s->shards == 1 ? !strcmp(names[i], ONE) : !strcmp(names[i], INDEX);
        for (int k = 0; k < s->shards && s->shards > 1 && !ours; k++) ours = !strcmp(names[i], name_of(k, s->shards, own, sizeof own));
        if (ours || !sy_is_shard(names[i])) continue;
        SY_TRY(sy_path(path, sizeof path, dir, names[i], err));
        SY_TRY(sy_remove_tree(path, err));
    }
    return SY_OK;
}

static sy_status write_all(shards *s, const char *dir, const char *const *meta, sy_err *err)
{
    char path[1024], name[64];
    SY_TRY(sy_path(path, sizeof path, dir, INDEX, err));
    if (s->shards > 1) SY_TRY(sy_remove_tree(path, err));        /* the shards that it names may be overwritten */
    for (int k = 0, to = 0; k < s->shards; k++) {
        s->from = to;
        while (to < s->n && s->of[to] == k) to++;
        SY_TRY(sy_path(path, sizeof path, dir, s->shards > 1 ? name_of(k, s->shards, name, sizeof name) : ONE, err));
        SY_TRY(sy_st_write_each(path, s->t + s->from, to - s->from, meta, fill_from, s, err));
    }
    SY_TRY(sy_path(path, sizeof path, dir, INDEX, err));
    return s->shards > 1 ? write_index(s, path, err) : sy_remove_tree(path, err);
}

sy_status sy_shards_write(const char *dir, const sy_st_out *t, int n, const char *const *meta, uint64_t most, sy_st_fill fill, void *arg, sy_err *err)
{
    sy_arena a = { 0 };
    shards s = { .t = t, .n = n, .fill = fill, .arg = arg, .of = sy_arena_array(&a, (size_t)n + 1, sizeof *s.of) };
    sy_status st = SY_OK;
    if (!s.of) st = sy_fail(err, SY_ENOMEM, "no memory for the list of %d tensors", n);
    else cut(&s, most ? most : SY_SHARD_BYTES);
    if (st == SY_OK && s.shards > 99999) st = sy_fail(err, SY_EARG, "%d shards are more than names of shards can count; let each hold more", s.shards);
    if (st == SY_OK) st = write_all(&s, dir, meta, err);
    if (st == SY_OK) st = remove_others(&s, dir, &a, err);
    sy_arena_free(&a);
    return st;
}
