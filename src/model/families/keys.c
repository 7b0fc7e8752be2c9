/* model/families/keys.c - groups of keys that several families share. */
#include "model/families/keys.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const sy_family_part sy__modules_shared[] = { { "model.layers.{l}.mlp.shared_expert", "model.layers.{l}.mlp.shared_experts", 0, 0, 0 }, SY_PARTS_END };
const sy_family_part sy__modules_router[] = { { "model.layers.{l}.mlp.gate", "model.layers.{l}.mlp.router", 0, 0, 0 }, SY_PARTS_END };
const sy_family_skip sy__skip_rotary[] = { SY_SKIP_ROTARY, SY_SKIPS_END };

static sy_status no_memory(const sy_config_reading *r, sy_err *err) { return sy_fail(err, SY_ENOMEM, "%s: no memory for its layers", r->path); }

static bool *layer_flags(sy_config_reading *r) { return sy_arena_array(r->a, (size_t)r->c->spec.num_hidden_layers, sizeof(bool)); }

static sy_status get_int(const sy_config_reading *r, const char *key, long long lo, long long hi, long long *v, sy_err *err)
{
    return sy_json_get_int(r->root, r->path, key, false, lo, hi, v, err);
}

static bool is_there(const sy_config_reading *r, const char *key) { return json_object_get(r->root, key) != NULL; }

/* --- rotation -------------------------------------------------------------------------------------------------------------- */

static const char *const rope_types[] = { "default", "linear", "dynamic", "llama3", "yarn", "longrope", NULL };      /* by SY_ROPE_ */
static const char *const rope_known[] = { "rope_theta", "rope_type", "type", "factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow",
                                          "attention_factor", "mscale", "mscale_all_dim", "truncate", "short_factor", "long_factor", "partial_rotary_factor", NULL };
static const char *const rope_mscales[] = { "short_mscale", "long_mscale", NULL };

static bool among(const char *const *list, const char *word)
{
    while (*list && strcmp(*list, word)) list++;
    return *list;
}

static sy_status factors(sy_config_reading *r, const json_t *p, const char *key, const char **out, sy_err *err)
{
    const json_t *list = json_object_get(p, key);
    sy_buf b = { 0 };
    if (!json_is_array(list)) return sy_fail(err, SY_EFORMAT, "%s: rope type longrope needs %s, a list of numbers", r->path, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_number(v)) { sy_buf_free(&b); return sy_fail(err, SY_EFORMAT, "%s: %s must be a list of numbers", r->path, key); }
        sy_buf_printf(&b, "%s%.17g", i ? " " : "", json_number_value(v));
    }
    *out = b.failed ? NULL : sy_arena_strdup(r->a, b.data ? b.data : "");
    sy_buf_free(&b);
    return *out ? SY_OK : no_memory(r, err);
}

/* The numbers of a stretched rotation. A zero or null is as good as absent, as in transformers. */
static sy_status read_stretch(sy_config_reading *r, const json_t *p, sy_err *err)
{
    sy_spec *s = &r->c->spec;
    const struct { const char *key; double *to; bool llama3; } real[] = {
        { "low_freq_factor", &s->rope_low_freq_factor, true }, { "high_freq_factor", &s->rope_high_freq_factor, true }, { "attention_factor", &s->rope_attention_factor, false },
        { "mscale", &s->rope_mscale, false }, { "mscale_all_dim", &s->rope_mscale_all_dim, false },
    };
    double fast = 0, slow = 0, factor = 0;
    long long original = 0;
    for (size_t i = 0; i < SY_COUNT(real); i++) SY_TRY(sy_json_get_real(p, r->path, real[i].key, real[i].llama3 && s->rope_type == SY_ROPE_LLAMA3, 0, 1e6, real[i].to, err));
    if (json_is_number(json_object_get(p, "attention_factor")) && !(s->rope_attention_factor > 0))
        return sy_fail(err, SY_EUNSUP, "%s: attention_factor is 0, which takes all positions out of the scores; leave it out, or give a number above 0", r->path);
    SY_TRY(sy_json_get_real(p, r->path, "beta_fast", false, 0, 1e6, &fast, err));
    SY_TRY(sy_json_get_real(p, r->path, "beta_slow", false, 0, 1e6, &slow, err));
    if (fast > 0) s->rope_beta_fast = fast;
    if (slow > 0) s->rope_beta_slow = slow;
    s->rope_truncate = true;                         /* what a family has of its own belongs to its own stretch */
    SY_TRY(sy_json_get_bool(p, r->path, "truncate", false, &s->rope_truncate, err));
    bool scaled = s->rope_type == SY_ROPE_LLAMA3 || s->rope_type == SY_ROPE_YARN || s->rope_type == SY_ROPE_LONGROPE;
    SY_TRY(sy_json_get_int(p, r->path, "original_max_position_embeddings", false, 1, 1 << 24, &original, err));
    if (scaled && !r->c->family->rope_mscales) SY_TRY(get_int(r, "original_max_position_embeddings", 1, 1 << 24, &original, err));      /* at the top it wins */
    else if (scaled && !original && is_there(r, "original_max_position_embeddings"))
        return sy_fail(err, SY_EUNSUP, "%s: original_max_position_embeddings stands at the top, where family %s does not read it; put it beside short_mscale", r->path, r->c->family->name);
    s->original_max_position_embeddings = scaled ? original ? (int)original : s->max_position_embeddings : 0;
    bool ratio = s->rope_type == SY_ROPE_YARN || s->rope_type == SY_ROPE_LONGROPE;                       /* may go without */
    SY_TRY(sy_json_get_real(p, r->path, "factor", !ratio, 1e-3, 1e6, &factor, err));
    s->rope_factor = factor > 0 ? factor : (double)s->max_position_embeddings / s->original_max_position_embeddings;
    if (s->rope_type != SY_ROPE_LONGROPE) return SY_OK;
    if (r->c->family->rope_mscales) {
        SY_TRY(sy_json_get_real(p, r->path, rope_mscales[0], true, 1e-6, 1e6, &s->rope_short_mscale, err));
        SY_TRY(sy_json_get_real(p, r->path, rope_mscales[1], true, 1e-6, 1e6, &s->rope_long_mscale, err));
    }
    SY_TRY(factors(r, p, "short_factor", &s->rope_short_factor, err));
    return factors(r, p, "long_factor", &s->rope_long_factor, err);
}

const json_t *sy__rope_object(const sy_config_reading *r, const char **name)
{
    const json_t *p = json_object_get(r->root, *name = "rope_scaling");
    return json_object_size(p) || (p && !json_is_null(p) && !json_is_object(p)) ? p : json_object_get(r->root, *name = "rope_parameters");
}

static sy_status read_rope(sy_config_reading *r, sy_err *err)
{
    const char *name, *type = "default", *key;
    const json_t *p = sy__rope_object(r, &name);
    sy_spec *s = &r->c->spec;
    const sy_family *f = r->c->family;
    double partial = f->partial_rotary_factor > 0 ? f->partial_rotary_factor : 1;
    json_t *v;
    if (p && !json_is_null(p) && !json_is_object(p)) return sy_fail(err, SY_EFORMAT, "%s: %s must be an object", r->path, name);
    json_object_foreach((json_t *)p, key, v) {
        if (json_is_object(v)) return sy_fail(err, SY_EUNSUP, "%s: %s has a rotation for layers of kind '%.40s'; family %s is computed with one rotation for all layers", r->path, name, key, f->name);
        char line[96];
        snprintf(line, sizeof line, "%s.%.60s", name, key);
        if (!among(rope_known, key) && !(f->rope_mscales && among(rope_mscales, key)) && r->l) SY_TRY(sy_ledger_add(r->l, SY_L_KEY, line, NULL, 0, err));
    }
    s->rope_theta = f->rope_theta;
    SY_TRY(sy_json_get_real(r->root, r->path, "rope_theta", false, 1, 1e12, &s->rope_theta, err));
    SY_TRY(sy_json_get_real(r->root, r->path, "partial_rotary_factor", false, 1e-3, 1, &partial, err));
    if (p && !json_is_null(p)) {
        SY_TRY(sy_json_get_text(p, r->path, "type", false, &type, err));
        SY_TRY(sy_json_get_text(p, r->path, "rope_type", false, &type, err));
        SY_TRY(sy_json_get_real(p, r->path, "rope_theta", false, 1, 1e12, &s->rope_theta, err));
        SY_TRY(sy_json_get_real(p, r->path, "partial_rotary_factor", false, 1e-3, 1, &partial, err));
    }
    if (!is_there(r, "rope_theta") && !(p && json_object_get(p, "rope_theta"))) SY_TRY(sy__note(r, err, "rope_theta", "not in config.json: %g, as the family has it by default", s->rope_theta));
    bool own = json_object_size(p) == 0 && s->rope_type != SY_ROPE_DEFAULT;        /* the family's own stretch, from its base */
    if (own) SY_TRY(sy__note(r, err, "rope_scaling", "not in config.json: %s, as the family has it by default", rope_types[s->rope_type]));
    if (partial != 1 && !(f->partial_rotary_factor > 0))
        return sy_fail(err, SY_EUNSUP, "%s: partial_rotary_factor is %g; family %s rotates whole heads", r->path, partial, f->name);
    s->partial_rotary_factor = partial;
    if (own) return SY_OK;
    if (!strcmp(type, "su")) type = "longrope";
    s->rope_type = 0;
    while (rope_types[s->rope_type] && strcmp(rope_types[s->rope_type], type)) s->rope_type++;
    if (!rope_types[s->rope_type]) return sy_fail(err, SY_EUNSUP, "%s: %s has the type '%.40s'; known are default, linear, dynamic, llama3, yarn and longrope", r->path, name, type);
    if (f->rope_mscales && s->rope_type != SY_ROPE_DEFAULT && s->rope_type != SY_ROPE_LONGROPE)
        return sy_fail(err, SY_EUNSUP, "%s: %s has the type '%s'; family %s turns by default or longrope", r->path, name, type, f->name);
    return s->rope_type == SY_ROPE_DEFAULT ? SY_OK : sy_within(err, read_stretch(r, p, err), "%s", name);
}

static void put_real(sy_json *j, const char *key, double v, bool wanted) { if (wanted) sy_json_key(j, key), sy_json_real(j, v); }

static void put_factors(sy_json *j, const char *key, const char *list)
{
    char *end;
    sy_json_key(j, key);
    sy_json_begin(j, '[');
    for (const char *p = list; *(p += strspn(p, " ")); p = end) sy_json_real(j, strtod(p, &end));
    sy_json_end(j, ']');
}

/* In the spelling of transformers 4, which 5 reads too. */
static void write_rope(sy_config_writing *w)
{
    const sy_spec *s = w->s;
    sy_json *j = &w->j;
    bool yarn = s->rope_type == SY_ROPE_YARN, longrope = s->rope_type == SY_ROPE_LONGROPE, llama3 = s->rope_type == SY_ROPE_LLAMA3;
    sy_json_key(j, "rope_theta"), sy_json_real(j, s->rope_theta);
    put_real(j, "partial_rotary_factor", s->partial_rotary_factor, w->f->partial_rotary_factor > 0);
    sy_json_key(j, "rope_scaling");
    if ((s->rope_type == SY_ROPE_DEFAULT && !(w->f->base && strstr(w->f->base, "rope_type="))) || s->rope_type == SY_ROPE_NONE) { sy_json_null(j); return; }
    sy_json_begin(j, '{');
    sy_json_key(j, "rope_type"), sy_json_text(j, rope_types[s->rope_type]);
    put_real(j, "factor", s->rope_factor, s->rope_type != SY_ROPE_DEFAULT);
    if (yarn || longrope || llama3) sy_json_key(j, "original_max_position_embeddings"), sy_json_int(j, s->original_max_position_embeddings);
    put_real(j, "low_freq_factor", s->rope_low_freq_factor, llama3);
    put_real(j, "high_freq_factor", s->rope_high_freq_factor, llama3);
    put_real(j, "beta_fast", s->rope_beta_fast, yarn);
    put_real(j, "beta_slow", s->rope_beta_slow, yarn);
    if (yarn) sy_json_key(j, "truncate"), sy_json_bool(j, s->rope_truncate);
    put_real(j, "attention_factor", s->rope_attention_factor, s->rope_attention_factor > 0);
    put_real(j, "mscale", s->rope_mscale, s->rope_mscale > 0);
    put_real(j, "mscale_all_dim", s->rope_mscale_all_dim, s->rope_mscale_all_dim > 0);
    put_real(j, "short_mscale", s->rope_short_mscale, w->f->rope_mscales && longrope);
    put_real(j, "long_mscale", s->rope_long_mscale, w->f->rope_mscales && longrope);
    if (longrope) put_factors(j, "short_factor", s->rope_short_factor), put_factors(j, "long_factor", s->rope_long_factor);
    sy_json_end(j, '}');
}

static const char *const rope_keys[] = { "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor", "original_max_position_embeddings", NULL };
const sy_family_group sy__keys_rope = { rope_keys, read_rope, write_rope };

/* --- windows --------------------------------------------------------------------------------------------------------------- */

/* use_sliding_window and sliding_window: the window, or 0. */
static sy_status read_window(sy_config_reading *r, sy_err *err)
{
    bool use = false;
    long long window = 4096;
    const json_t *v = json_object_get(r->root, "sliding_window");
    SY_TRY(sy_json_get_bool(r->root, r->path, "use_sliding_window", false, &use, err));
    if (v && json_is_null(v)) window = 0;
    SY_TRY(get_int(r, "sliding_window", use ? 1 : 0, 1 << 24, &window, err));
    r->c->spec.sliding_window = use ? (int)window : 0;
    return SY_OK;
}

static sy_status read_layer_types(sy_config_reading *r, const json_t *list, bool *slides, sy_err *err)
{
    int n = r->c->spec.num_hidden_layers;
    if (!json_is_array(list) || json_array_size(list) != (size_t)n)
        return sy_fail(err, SY_EFORMAT, "%s: layer_types must be a list of %d texts, one for each layer", r->path, n);
    for (int l = 0; l < n; l++) {
        const char *word = json_string_value(json_array_get(list, (size_t)l));
        if (!word || (strcmp(word, "full_attention") && strcmp(word, "sliding_attention")))
            return sy_fail(err, SY_EUNSUP, "%s: layer_types has '%.40s' for layer %d; known are full_attention and sliding_attention", r->path, word ? word : "(no text)", l);
        slides[l] = *word == 's';
        if (slides[l] && !r->c->spec.sliding_window) return sy_fail(err, SY_EFORMAT, "%s: layer %d is sliding_attention, but sliding_window is not in use", r->path, l);
    }
    return SY_OK;
}

static sy_status read_windows(sy_config_reading *r, bool even, sy_err *err)
{
    sy_spec *s = &r->c->spec;
    const json_t *list = json_object_get(r->root, "layer_types");
    long long from = 28;
    bool *slides = layer_flags(r);
    if (!slides) return no_memory(r, err);
    SY_TRY(read_window(r, err));
    SY_TRY(get_int(r, "max_window_layers", 0, 1 << 24, &from, err));
    for (int l = 0; l < s->num_hidden_layers; l++) slides[l] = s->sliding_window && (even ? l % 2 == 0 && l < from : l >= from);
    if (list && !json_is_null(list)) SY_TRY(read_layer_types(r, list, slides, err));
    if (!(s->window_layers = sy__pattern(r->a, slides, s->num_hidden_layers, "full", "sliding"))) return no_memory(r, err);
    return SY_OK;
}

static sy_status read_late(sy_config_reading *r, sy_err *err) { return read_windows(r, false, err); }
static sy_status read_even(sy_config_reading *r, sy_err *err) { return read_windows(r, true, err); }

static void write_window(sy_config_writing *w)
{
    sy_json_key(&w->j, "use_sliding_window"), sy_json_bool(&w->j, w->s->sliding_window > 0);
    sy_json_key(&w->j, "sliding_window");
    if (w->s->sliding_window) sy_json_int(&w->j, w->s->sliding_window);
    else sy_json_null(&w->j);
}

static void write_layer_types(sy_config_writing *w)
{
    sy_json_key(&w->j, "layer_types"), sy_json_begin(&w->j, '[');
    for (int l = 0; l < w->s->num_hidden_layers; l++) sy_json_text(&w->j, sy_spec_sliding(w->s, l) ? "sliding_attention" : "full_attention");
    sy_json_end(&w->j, ']');
}

static void write_windows(sy_config_writing *w)
{
    const sy_spec *s = w->s;
    int first = 0;
    while (first < s->num_hidden_layers && !sy_spec_sliding(s, first)) first++;
    write_window(w);
    sy_json_key(&w->j, "max_window_layers"), sy_json_int(&w->j, first);
    write_layer_types(w);
}

/* sliding_window null: no layer slides. */
static sy_status read_alternate(sy_config_reading *r, sy_err *err)
{
    sy_spec *s = &r->c->spec;
    const json_t *list = json_object_get(r->root, "layer_types"), *v = json_object_get(r->root, "sliding_window");
    long long window = v && json_is_null(v) ? 0 : 128;
    bool *slides = layer_flags(r);
    if (!slides) return no_memory(r, err);
    SY_TRY(get_int(r, "sliding_window", 1, 1 << 24, &window, err));
    s->sliding_window = (int)window;
    for (int l = 0; l < s->num_hidden_layers; l++) slides[l] = window && l % 2 == 0;
    if (list && !json_is_null(list)) SY_TRY(read_layer_types(r, list, slides, err));
    if (!(s->window_layers = sy__pattern(r->a, slides, s->num_hidden_layers, "full", "sliding"))) return no_memory(r, err);
    return SY_OK;
}

static void write_alternate(sy_config_writing *w)
{
    sy_json_key(&w->j, "sliding_window");
    if (w->s->sliding_window) sy_json_int(&w->j, w->s->sliding_window);
    else sy_json_null(&w->j);
    write_layer_types(w);
}

static const char *const alternate_keys[] = { "sliding_window", "layer_types", NULL };
const sy_family_group sy__keys_window_alternate = { alternate_keys, read_alternate, write_alternate };

static const char *const window_keys[] = { "use_sliding_window", "sliding_window", "max_window_layers", "layer_types", NULL };
const sy_family_group sy__keys_window_late = { window_keys, read_late, write_windows };
const sy_family_group sy__keys_window_even = { window_keys, read_even, write_windows };
static const char *const window_all_keys[] = { "use_sliding_window", "sliding_window", NULL };
const sy_family_group sy__keys_window_all = { window_all_keys, read_window, write_window };

/* --- sparse layers --------------------------------------------------------------------------------------------------------- */

static sy_status set_layers(sy_config_reading *r, const bool *sparse, sy_err *err)
{
    return (r->c->spec.layers = sy__pattern(r->a, sparse, r->c->spec.num_hidden_layers, "dense", "sparse")) ? SY_OK : no_memory(r, err);
}

/* Layer l is sparse when it is not in mlp_only_layers and decoder_sparse_step divides l + 1. */
static sy_status read_sparse_step(sy_config_reading *r, sy_err *err)
{
    int n = r->c->spec.num_hidden_layers;
    const json_t *only = json_object_get(r->root, "mlp_only_layers");
    long long step = 1;
    bool *sparse = layer_flags(r);
    if (!sparse) return no_memory(r, err);
    SY_TRY(get_int(r, "decoder_sparse_step", 1, 1 << 24, &step, err));
    for (int l = 0; l < n; l++) sparse[l] = (l + 1) % step == 0;
    if (only && !json_is_null(only) && !json_is_array(only)) return sy_fail(err, SY_EFORMAT, "%s: mlp_only_layers must be a list of layers", r->path);
    for (size_t i = 0; i < json_array_size(only); i++) {
        const json_t *v = json_array_get(only, i);
        if (!json_is_integer(v)) return sy_fail(err, SY_EFORMAT, "%s: mlp_only_layers must be a list of whole numbers", r->path);
        if (json_integer_value(v) >= 0 && json_integer_value(v) < n) sparse[json_integer_value(v)] = false;
    }
    return set_layers(r, sparse, err);
}

static void write_sparse_step(sy_config_writing *w)
{
    sy_json_key(&w->j, "decoder_sparse_step"), sy_json_int(&w->j, 1);
    sy_json_key(&w->j, "mlp_only_layers"), sy_json_begin(&w->j, '[');
    for (int l = 0; l < w->s->num_hidden_layers; l++) if (!sy_spec_sparse(w->s, l)) sy_json_int(&w->j, l);
    sy_json_end(&w->j, ']');
}

static const char *const step_keys[] = { "decoder_sparse_step", "mlp_only_layers", NULL };
const sy_family_group sy__keys_sparse_step = { step_keys, read_sparse_step, write_sparse_step };

/* Layer l is sparse from first_k_dense_replace on when moe_layer_freq divides l. */
static sy_status read_first_dense(sy_config_reading *r, sy_err *err)
{
    int n = r->c->spec.num_hidden_layers;
    long long first = 0, freq = 1;
    bool *sparse = layer_flags(r);
    if (!sparse) return no_memory(r, err);
    SY_TRY(sy_json_get_int(r->root, r->path, "first_k_dense_replace", true, 0, 1 << 24, &first, err));
    SY_TRY(get_int(r, "moe_layer_freq", 1, 1 << 24, &freq, err));
    for (int l = 0; l < n; l++) sparse[l] = l >= first && l % freq == 0;
    return set_layers(r, sparse, err);
}

static void write_first_dense(sy_config_writing *w)
{
    const sy_spec *s = w->s;
    int n = s->num_hidden_layers, first = 0, freq = 1;
    while (first < n && !sy_spec_sparse(s, first)) first++;
    for (int l; freq < n; freq++) {
        for (l = first; l < n && sy_spec_sparse(s, l) == (l % freq == 0); l++) { }
        if (l == n) break;
    }
    sy_json_key(&w->j, "first_k_dense_replace"), sy_json_int(&w->j, first);
    sy_json_key(&w->j, "moe_layer_freq"), sy_json_int(&w->j, freq);
}

static const char *const first_keys[] = { "first_k_dense_replace", "moe_layer_freq", NULL };
const sy_family_group sy__keys_first_dense = { first_keys, read_first_dense, write_first_dense };

/* n_shared_experts experts in one FFN of that many times the width; null or 0: none. */
static sy_status read_shared(sy_config_reading *r, sy_err *err)
{
    long long n = 0;
    sy_spec *s = &r->c->spec;
    SY_TRY(get_int(r, "n_shared_experts", 0, 1 << 16, &n, err));
    if (!is_there(r, "n_shared_experts")) return sy_fail(err, SY_EFORMAT, "%s says nothing of 'n_shared_experts', without which a model of family %s cannot be built", r->path, r->c->family->name);
    if (n * s->moe_intermediate_size > 1 << 24) return sy_fail(err, SY_ESHAPE, "%s: %lld shared experts of width %d are too many", r->path, n, s->moe_intermediate_size);
    s->shared_expert_intermediate_size = (int)n * s->moe_intermediate_size;
    return SY_OK;
}

static void write_shared(sy_config_writing *w)
{
    int F = w->s->moe_intermediate_size, n = F ? w->s->shared_expert_intermediate_size / F : 0;
    sy_json_key(&w->j, "n_shared_experts");
    if (n) sy_json_int(&w->j, n);
    else sy_json_null(&w->j);
}

static const char *const shared_keys[] = { "n_shared_experts", NULL };
const sy_family_group sy__keys_shared = { shared_keys, read_shared, write_shared };

/* Absent: one, as the classes have it. */
static sy_status read_mtp(sy_config_reading *r, sy_err *err)
{
    long long n = 1;
    SY_TRY(get_int(r, "num_mtp_layers", 0, 64, &n, err));
    SY_TRY(get_int(r, "num_nextn_predict_layers", 0, 64, &n, err));
    r->c->mtp_layers = (int)n;
    return SY_OK;
}

static void write_mtp(sy_config_writing *w) { sy_json_key(&w->j, "num_nextn_predict_layers"), sy_json_int(&w->j, 0); }

static const char *const mtp_keys[] = { "num_nextn_predict_layers", "num_mtp_layers", NULL };
const sy_family_group sy__keys_mtp = { mtp_keys, read_mtp, write_mtp };

/* --- balance --------------------------------------------------------------------------------------------------------------- */

/* Theirs: coef * E * sum over e of (slots of e / tokens) P_e, all sparse layers pooled. Ours: one loss a layer, slots as a share, summed over
 * layers: coef * K / layers. */
static sy_status read_coef(sy_config_reading *r, double coef, sy_err *err)
{
    sy_spec *s = &r->c->spec;
    const char *key = "router_aux_loss_coef", *k = r->router.n ? strstr(r->router.data, "num_experts_per_tok=") : NULL;
    int K = k ? atoi(k + 20) : 1, n = sy_spec_n_sparse(s);
    SY_TRY(sy_json_get_real(r->root, r->path, key, false, 0, 1e6, &coef, err));
    if (!n || !(coef > 0)) { s->balance = ""; return SY_OK; }
    double ours = coef * K / n;
    if (!(s->balance = sy_arena_printf(r->a, "switch:router_aux_loss_coef=%.17g", ours))) return sy_fail(err, SY_ENOMEM, "%s: no memory for the balance term", r->path);
    return sy__note(r, err, key, "%g over the slots of all layers together is %g of the shares of each of %d layers: balance switch", coef, ours, n);
}
static sy_status read_balance(sy_config_reading *r, sy_err *err) { return read_coef(r, 0.001, err); }
static sy_status read_balance_olmoe(sy_config_reading *r, sy_err *err) { return read_coef(r, 0.01, err); }

static void write_balance(sy_config_writing *w)
{
    const sy_method *m;
    sy_arena a = { 0 };
    void *state;
    sy_err err;
    size_t at, k_at;
    double coef = 0;
    const sy_opt *row = w->router_m && w->router_m->opts ? sy_opt_find(w->router_m->opts, "num_experts_per_tok", &k_at, NULL) : NULL;
    int K = row ? *(const int *)((const char *)w->router_s + k_at) : 1;
    if (*w->s->balance && sy_method_make(w->methods, SY_BALANCE, w->s->balance, &a, &m, &state, &err) == SY_OK && m->opts && sy_opt_find(m->opts, "router_aux_loss_coef", &at, NULL)) {
        char text[32];
        snprintf(text, sizeof text, "%.14g", *(const double *)((const char *)state + at) * sy_spec_n_sparse(w->s) / K);
        coef = strtod(text, NULL);
    }
    sy_json_key(&w->j, "router_aux_loss_coef"), sy_json_real(&w->j, coef);
    if (a.failed) w->j.b->failed = true;             /* no memory is not another coefficient */
    sy_arena_free(&a);
}

static const char *const balance_keys[] = { "router_aux_loss_coef", NULL };
const sy_family_group sy__keys_balance = { balance_keys, read_balance, write_balance };
const sy_family_group sy__keys_balance_olmoe = { balance_keys, read_balance_olmoe, write_balance };

/* aux_loss_alpha of DeepSeek is ours: a share of slots, layer by layer; over each sequence when seq_aux, else over the micro-batch. */
static sy_status read_alpha(sy_config_reading *r, sy_err *err)
{
    double alpha = 0.001;
    bool seq = true;
    SY_TRY(sy_json_get_real(r->root, r->path, "aux_loss_alpha", false, 0, 1e6, &alpha, err));
    SY_TRY(sy_json_get_bool(r->root, r->path, "seq_aux", false, &seq, err));
    r->c->spec.balance = alpha > 0 && sy_spec_n_sparse(&r->c->spec) ? sy_arena_printf(r->a, "switch:router_aux_loss_coef=%.17g,scope=%s", alpha, seq ? "sequence" : "micro") : "";
    return r->c->spec.balance ? SY_OK : sy_fail(err, SY_ENOMEM, "%s: no memory for the balance term", r->path);
}

static void write_alpha(sy_config_writing *w)
{
    const sy_method *m;
    sy_arena a = { 0 };
    void *state;
    sy_err err;
    size_t at;
    double alpha = 0;
    if (*w->s->balance && sy_method_make(w->methods, SY_BALANCE, w->s->balance, &a, &m, &state, &err) == SY_OK && m->opts && sy_opt_find(m->opts, "router_aux_loss_coef", &at, NULL))
        alpha = *(const double *)((const char *)state + at);
    sy_json_key(&w->j, "aux_loss_alpha"), sy_json_real(&w->j, alpha);
    sy_json_key(&w->j, "seq_aux"), sy_json_bool(&w->j, strstr(w->s->balance, "scope=micro") == NULL);
    if (a.failed) w->j.b->failed = true;
    sy_arena_free(&a);
}

static const char *const alpha_keys[] = { "aux_loss_alpha", "seq_aux", NULL };
const sy_family_group sy__keys_alpha = { alpha_keys, read_alpha, write_alpha };
