/* model/tokenizer_read.c - reading the JSON of tokenizers. */
#include "model/tokenizer_read.h"

#include "core/alloc.h"
#include "core/utf8.h"

const char *sy__shown(char out[64], const char *s)
{
    size_t n = strlen(s), k = 0;
    for (size_t i = 0; i < n && k < 48; ) {
        uint32_t cp;
        int len = sy_utf8_next(s + i, n - i, &cp);
        if (len < 0) len = -len;
        if (cp < 32 || cp == 127) out[k++] = '?';
        else { memcpy(out + k, s + i, (size_t)len); k += (size_t)len; }
        i += (size_t)len;
        if (k >= 48 && i < n) { memcpy(out + k, "...", 3); k += 3; }
    }
    out[k] = 0;
    return out;
}

const char *sy__json_type(const json_t *v)
{
    static const char *const name[] = { "an object", "an array", "a string", "a whole number", "a real number", "true", "false", "null" };
    return v ? name[json_typeof(v)] : "missing";
}

sy_status sy__expect(const sy__reader *r, const json_t *v, const char *kind, const char *where, sy_err *err)
{
    static const struct { char kind; const char *name; } kinds[] =
        { { '{', "an object" }, { '[', "an array" }, { '"', "a string" }, { 'i', "a whole number" }, { 'n', "a number" }, { 'b', "true or false" } };
    bool fits = (*kind == '{' && json_is_object(v)) || (*kind == '[' && json_is_array(v)) || (*kind == '"' && json_is_string(v))
             || (*kind == 'i' && json_is_integer(v)) || (*kind == 'n' && json_is_number(v)) || (*kind == 'b' && json_is_boolean(v)) || (kind[1] == '?' && (!v || json_is_null(v)));
    if (fits) return SY_OK;
    size_t k = 0;
    while (kinds[k].kind != *kind) k++;
    return sy_fail(err, SY_EFORMAT, "%s: %s is %s; it must be %s", r->file, where, sy__json_type(v), kinds[k].name);
}

sy_status sy__get(const sy__reader *r, const json_t *o, const char *where, const char *key, const char *kind, json_t **out, sy_err *err)
{
    char place[128];
    json_t *v = json_object_get(o, key);
    snprintf(place, sizeof place, "%s%s%s", where, *where ? "." : "", key);
    SY_TRY(sy__expect(r, v, kind, place, err));
    *out = json_is_null(v) ? NULL : v;
    return SY_OK;
}

sy_status sy__get_bool(const sy__reader *r, const json_t *o, const char *where, const char *key, bool otherwise, bool *out, sy_err *err)
{
    json_t *v;
    SY_TRY(sy__get(r, o, where, key, "b?", &v, err));
    *out = v ? json_is_true(v) : otherwise;
    return SY_OK;
}

sy_status sy__only_keys(const sy__reader *r, json_t *o, const char *where, const char *const *keys, sy_err *err)
{
    const char *key;
    json_t *v;
    char text[64];
    json_object_foreach(o, key, v) {
        int k = 0;
        while (keys[k] && strcmp(keys[k], key)) k++;
        if (!keys[k]) return sy_fail(err, SY_EUNSUP, "%s: %s%sthe field \"%s\" is not known here, so its influence on ids is not, either", r->file, where, *where ? ": " : "", sy__shown(text, key));
    }
    return SY_OK;
}

sy_status sy__get_int(const sy__reader *r, const json_t *o, const char *where, const char *key, long long otherwise, long long lo, long long hi, long long *out, sy_err *err)
{
    json_t *v;
    SY_TRY(sy__get(r, o, where, key, "i?", &v, err));
    *out = v ? json_integer_value(v) : otherwise;
    return *out >= lo && *out <= hi ? SY_OK : sy_fail(err, SY_EFORMAT, "%s: %s.%s is %lld; it must be %lld to %lld", r->file, where, key, *out, lo, hi);
}

sy_status sy__get_copy(const sy__reader *r, const json_t *o, const char *where, const char *key, bool must, char **out, sy_err *err)
{
    json_t *v;
    SY_TRY(sy__get(r, o, where, key, must ? "\"" : "\"?", &v, err));
    *out = NULL;
    if (!v || !json_string_length(v)) return SY_OK;
    *out = sy_strdup(json_string_value(v));
    return *out ? SY_OK : sy_fail(err, SY_ENOMEM, "%s: no memory for %s.%s", r->file, where, key);
}
