/* model/pooling.c - how a sentence encoder's folder says what a vector of a text is, read and written. */
#include "model/pooling.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/json.h"

enum { MAX_JSON = 1 << 20 };

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

static sy_status put(const char *dir, const char *name, const char *text, sy_err *err)
{
    char path[1200];
    SY_TRY(sy_path(path, sizeof path, dir, name, err));
    return sy_file_write(path, text, strlen(text), err);
}

sy_status sy_pooling_write(int how, const char *dir, sy_err *err)
{
    static const char modules[] =
        "[\n  {\"idx\": 0, \"name\": \"0\", \"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"},\n"
        "  {\"idx\": 1, \"name\": \"1\", \"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"},\n"
        "  {\"idx\": 2, \"name\": \"2\", \"path\": \"2_Normalize\", \"type\": \"sentence_transformers.models.Normalize\"}\n]\n";
    char sub[1100];
    SY_TRY(sy_path(sub, sizeof sub, dir, "1_Pooling", err));
    SY_TRY(sy_mkdirs(sub, err));
    SY_TRY(put(sub, "config.json", how == SY_POOL_CLS ? "{\n  \"pooling_mode_cls_token\": true,\n  \"pooling_mode_mean_tokens\": false\n}\n"
                                                      : "{\n  \"pooling_mode_cls_token\": false,\n  \"pooling_mode_mean_tokens\": true\n}\n", err));
    return put(dir, "modules.json", modules, err);
}
