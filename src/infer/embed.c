/* infer/embed.c - texts side by side through an encoder, and their vectors. */
#include "infer/embed.h"

#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/json.h"

enum { MAX_JSON = 1 << 20, TOKENS = 2048 };          /* tokens of a pass, when there is more than one text */

/* --- what a folder says ------------------------------------------------------------------------------------------------- */

static bool flag(const json_t *root, const char *key) { return json_is_true(json_object_get(root, key)); }

static sy_status read_pooling(sy_pooling *p, const char *dir, const char *name, sy_err *err)
{
    char path[1200], sub[1100];
    static const char *const others[] = { "pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken" };
    json_t *root;
    SY_TRY(sy_path(sub, sizeof sub, dir, name, err));
    SY_TRY(sy_path(path, sizeof path, sub, "config.json", err));
    SY_TRY(sy_json_read(&root, path, MAX_JSON, err));
    const char *mode = json_string_value(json_object_get(root, "pooling_mode"));
    bool cls = flag(root, "pooling_mode_cls_token") || (mode && !strcmp(mode, "cls")), mean = flag(root, "pooling_mode_mean_tokens") || (mode && !strcmp(mode, "mean"));
    const char *other = mode && !cls && !mean ? mode : NULL;
    for (size_t i = 0; i < SY_COUNT(others); i++) if (flag(root, others[i])) other = others[i];
    p->how = cls ? SY_POOL_CLS : SY_POOL_MEAN;
    sy_status st = SY_OK;
    if (other || cls == mean) st = sy_fail(err, SY_EUNSUP, "%s: %.60s; vectors are made by the mean or by the first token, one of the two", path, other ? other : "says neither mean nor cls, or both");
    json_decref(root);
    return st;
}

static sy_status read_modules(sy_pooling *p, const char *dir, const json_t *list, const char *path, sy_err *err)
{
    bool pools = false;
    p->unit = false;
    if (!json_is_array(list)) return sy_fail(err, SY_EFORMAT, "%s is not a list of modules", path);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *type = json_string_value(json_object_get(json_array_get(list, i), "type")), *at = json_string_value(json_object_get(json_array_get(list, i), "path"));
        const char *dot = type ? strrchr(type, '.') : NULL, *word = dot ? dot + 1 : type;
        if (!word || !at) return sy_fail(err, SY_EFORMAT, "%s: module %zu has no type or no path", path, i);
        if (!strcmp(word, "Transformer")) continue;
        if (!strcmp(word, "Normalize")) { p->unit = true; continue; }
        if (strcmp(word, "Pooling")) return sy_fail(err, SY_EUNSUP, "%s: module '%.60s' is not computed; known are Transformer, Pooling and Normalize", path, type);
        if (strchr(at, '/') || strstr(at, "..")) return sy_fail(err, SY_EFORMAT, "%s: the pooling's path '%.60s' is not a folder beside it", path, at);
        SY_TRY(read_pooling(p, dir, at, err));
        pools = true;
    }
    return pools ? SY_OK : sy_fail(err, SY_EUNSUP, "%s has no pooling: this model makes a vector for each token, not for a text", path);
}

sy_status sy_pooling_read(sy_pooling *p, const sy_spec *s, const char *dir, sy_err *err)
{
    char path[1100];
    json_t *root;
    long long most = s->max_position_embeddings;
    *p = (sy_pooling){ .how = s->pooling == SY_POOL_CLS ? SY_POOL_CLS : SY_POOL_MEAN, .unit = true };
    if (s->causal || s->lm_head) return sy_fail(err, SY_EUNSUP, "%s holds a language model; vectors of texts come from encoders (BERT and its kind)", dir);
    SY_TRY(sy_path(path, sizeof path, dir, "modules.json", err));
    if (access(path, F_OK) == 0) {
        SY_TRY(sy_json_read(&root, path, MAX_JSON, err));
        sy_status st = read_modules(p, dir, root, path, err);
        json_decref(root);
        SY_TRY(st);
    }
    SY_TRY(sy_path(path, sizeof path, dir, "sentence_bert_config.json", err));
    if (access(path, F_OK) == 0) {
        SY_TRY(sy_json_read(&root, path, MAX_JSON, err));
        sy_status st = sy_json_get_int(root, path, "max_seq_length", false, 1, 1 << 24, &most, err);
        json_decref(root);
        SY_TRY(st);
    }
    p->most = most < s->max_position_embeddings ? (int)most : s->max_position_embeddings;
    return SY_OK;
}

/* --- texts to vectors --------------------------------------------------------------------------------------------------- */

static void pool(const sy_pooling *p, const sy_kernels *k, const sy_real *h, int n, size_t D, sy_real *out)
{
    memcpy(out, h, D * sizeof *out);
    for (int i = 1; i < n && p->how == SY_POOL_MEAN; i++) k->add(D, h + (size_t)i * D, out, out);
    if (p->how == SY_POOL_MEAN) k->scale(D, 1 / (sy_real)n, out, out);
    double length = sqrt((double)k->dot(D, out, out));
    if (p->unit && length > 0) k->scale(D, (sy_real)(1 / length), out, out);
}

/* Texts from .. to-1 in one pass. */
static sy_status one_pass(sy_model *m, sy_tape *t, const sy_pooling *p, const int *id, const int *first, int from, int to, sy_real *out, sy_err *err)
{
    int T = first[to] - first[from], n = to - from;
    size_t D = (size_t)m->spec.hidden_size;
    sy_tape_reset(t);
    int *pos = sy_tape_alloc(t, (size_t)T, sizeof *pos), *seq = sy_tape_alloc(t, (size_t)T, sizeof *seq);
    sy_segment *seg = sy_tape_alloc(t, (size_t)n, sizeof *seg);
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < n; i++) {
        seg[i] = (sy_segment){ .row = first[from + i] - first[from], .n = first[from + i + 1] - first[from + i] };
        for (int j = 0; j < seg[i].n; j++) {
            pos[seg[i].row + j] = j;
            seq[seg[i].row + j] = i;
        }
    }
    sy_batch b = { .T = T, .n_seg = n, .id = id + first[from], .pos = pos, .seq = seq, .seg = seg };
    sy_tensor *h = sy_model_hidden(m, t, &b, &(sy_run){ .mode = SY_EVAL });
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < n; i++) pool(p, m->eng->k, h->x + (size_t)seg[i].row * D, seg[i].n, D, out + (size_t)(from + i) * D);
    return SY_OK;
}

sy_status sy_embed_texts(sy_model *m, sy_tape *t, const sy_pooling *p, const int *id, const int *first, int n, sy_real *out, sy_err *err)
{
    for (int i = 0; i < n; i++) {
        int have = first[i + 1] - first[i];
        if (have < 1 || have > p->most) return sy_fail(err, SY_EARG, "text %d has %d tokens; this model reads 1 to %d", i, have, p->most);
    }
    for (int from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && first[to + 1] - first[from] <= TOKENS; to++) { }
        SY_TRY(one_pass(m, t, p, id, first, from, to, out, err));
    }
    return SY_OK;
}
