/* infer/settings.c - the keys of generation_config.json: honoured, neutral, or named as left out; the ends of texts that a GGUF file names. */
#include "infer/settings.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/number.h"
#include "model/gguf.h"

static const char *const honoured[] = { "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "max_new_tokens", NULL };

/* Notes of the file itself, and tokens that other places name. */
static const char *const silent[] = { "transformers_version", "_from_model_config", "bos_token_id", "pad_token_id", "decoder_start_token_id", "use_cache", "max_length", NULL };

/* Values that ask for nothing. */
static const struct { const char *key; double value; } neutral[] = {
    { "num_beams", 1 }, { "num_beam_groups", 1 }, { "num_return_sequences", 1 }, { "length_penalty", 1 }, { "min_length", 0 }, { "epsilon_cutoff", 0 },
    { "eta_cutoff", 0 }, { "encoder_repetition_penalty", 1 }, { "no_repeat_ngram_size", 0 }, { "encoder_no_repeat_ngram_size", 0 }, { "diversity_penalty", 0 },
    { "renormalize_logits", 0 }, { "early_stopping", 0 }, { "remove_invalid_values", 0 }, { "output_attentions", 0 }, { "output_hidden_states", 0 },
    { "output_scores", 0 }, { "output_logits", 0 }, { "return_dict_in_generate", 0 }, { "guidance_scale", 1 },
};

static bool among(const char *key, const char *const *list)
{
    for (; *list; list++) if (!strcmp(*list, key)) return true;
    return false;
}

static bool asks_for_nothing(const char *key, const json_t *v)
{
    if (json_is_null(v)) return true;
    double x = json_is_boolean(v) ? json_is_true(v) : json_is_number(v) ? json_number_value(v) : -1;
    for (size_t i = 0; i < SY_COUNT(neutral); i++) if (!strcmp(neutral[i].key, key)) return neutral[i].value == x;
    return false;
}

static sy_status take_eos(sy_settings *s, const json_t *v, const char *file, sy_err *err)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > SY_EOS_MOST) return sy_fail(err, SY_EFORMAT, "%s: 'eos_token_id' has %zu ids, at most %d are taken", file, n, SY_EOS_MOST);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > 2147483647)
            return sy_fail(err, SY_EFORMAT, "%s: 'eos_token_id' must be an id of 0 or more, or a list of them", file);
        s->eos[s->n_eos++] = (int)json_integer_value(id);
    }
    return SY_OK;
}

static sy_status take_option(sy_generate_options *o, const char *key, const json_t *v, uint64_t given, const char *file, sy_arena *a, sy_err *err)
{
    char text[64];
    int index = 0;
    size_t at;
    if (!sy_opt_find(sy_generate_opts, key, &at, &index) || given >> index & 1) return SY_OK;
    if (json_is_boolean(v)) snprintf(text, sizeof text, "%s", json_is_true(v) ? "true" : "false");
    else if (json_is_integer(v)) snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v)) sy_real_text(text, sizeof text, json_real_value(v));
    else return sy_fail(err, SY_EFORMAT, "%s: '%s' is no number", file, key);
    return sy_within(err, sy_opt_set(sy_generate_opts, o, key, text, a, NULL, err), "%s", file);
}

static sy_status take_all(const json_t *root, const char *file, sy_generate_options *o, uint64_t given, sy_settings *s, sy_arena *a, sy_err *err)
{
    const char *key;
    json_t *v;
    sy_buf rest = { 0 };
    sy_status st = SY_OK;
    if (!json_is_object(root)) return sy_fail(err, SY_EFORMAT, "%s is no JSON object", file);
    bool draws = json_is_true(json_object_get(root, "do_sample"));
    SY_TRY(take_option(o, "do_sample", draws ? json_true() : json_false(), given, file, a, err));
    json_object_foreach((json_t *)root, key, v) {
        if (json_is_null(v) || among(key, silent) || !strcmp(key, "do_sample")) continue;
        if (!strcmp(key, "eos_token_id")) st = take_eos(s, v, file, err);
        else if (among(key, honoured)) {
            if (draws || !strcmp(key, "repetition_penalty") || !strcmp(key, "max_new_tokens")) st = take_option(o, key, v, given, file, a, err);
        } else if (!asks_for_nothing(key, v)) sy_buf_printf(&rest, "%s%.60s", rest.n ? ", " : "", key);
        if (st != SY_OK) break;
    }
    if (st == SY_OK && rest.n && !(s->left_out = sy_arena_strdup(a, rest.data))) st = sy_fail(err, SY_ENOMEM, "no memory for the keys of %s", file);
    sy_buf_free(&rest);
    return st;
}

static sy_status from_keys(void *arg, const sy_gguf *g, sy_err *err)
{
    sy_settings *s = arg;
    return sy_gguf_ends(g, s->eos, &s->n_eos, err);
}

sy_status sy_settings_read(const char *path, sy_generate_options *o, uint64_t given, sy_settings *s, sy_arena *a, sy_err *err)
{
    char file[1024];
    json_t *root = NULL;
    bool gguf = false;
    *s = (sy_settings){ 0 };
    if (!sy_is_dir(path)) return sy_file_exists(path) ? sy_gguf_look(path, from_keys, s, &gguf, err) : SY_OK;
    SY_TRY(sy_path(file, sizeof file, path, "generation_config.json", err));
    if (!sy_file_exists(file)) return SY_OK;
    SY_TRY(sy_json_read(&root, file, 1 << 20, err));
    sy_status st = take_all(root, file, o, given, s, a, err);
    json_decref(root);
    return st;
}
