/* model/gguf_card.c - a spec from keys and keys from a spec, by the tables of gguf_arch.c. */
#include "model/gguf_card.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/number.h"

enum { TEXT = 256 };

/* Keys beside the tables that every architecture has. */
static const char *const common[] = { "block_count", "context_length", "embedding_length", "attention.head_count", "attention.head_count_kv", "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon",
                                      "attention.key_length", "attention.value_length", "attention.key_length_mla", "attention.value_length_mla", "rope.freq_base", "rope.dimension_count", "rope.scaling.type", "rope.scaling.factor",
                                      "rope.scaling.original_context_length", "rope.scaling.attn_factor", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "rope.scaling.yarn_log_multiplier", "vocab_size",
                                      "leading_dense_block_count", "expert_shared_count", "nextn_predict_layers", NULL };
/* Our own, for what rope_freqs.weight was made from. */
static const char LLAMA3[] = "switchyard.rope_scaling";
/* And for longrope: its factors on cosine and sine up to the original positions and beyond them, "short long", of which attn_factor keeps one as a float. */
static const char MSCALES[] = "switchyard.rope_mscales";

/* --- words ------------------------------------------------------------------------------------------------------------------ */

static bool translate(const char *words, const char *value, bool from_file, char *buf, size_t size)
{
    for (const char *p = words; *(p += strspn(p, " ")); p += strcspn(p, " ")) {
        char file[TEXT], field[TEXT];
        size_t n = strcspn(p, "="), k = strcspn(p + n + 1, " ");
        snprintf(file, sizeof file, "%.*s", (int)n, p);
        snprintf(field, sizeof field, "%.*s", (int)k, p + n + 1);
        if (strcmp(from_file ? file : field, value)) continue;
        snprintf(buf, size, "%s", from_file ? field : file);
        return true;
    }
    return false;
}

/* The shortest decimal that reads back as the same float: 1e-05 and not 9.9999997e-06. */
static void float_text(float v, char *buf, size_t size)
{
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(buf, size, "%.*g", digits, (double)v);
        if (strtof(buf, NULL) == v) return;
    }
}

static bool same_number(const char *a, const char *b)
{
    char *ea, *eb;
    double x = sy_real_read(a, &ea), y = sy_real_read(b, &eb);
    return !strcmp(a, b) || (ea != a && eb != b && !*ea && !*eb && x == y);
}

/* --- reading ---------------------------------------------------------------------------------------------------------------- */

typedef struct reading { sy_gguf_card *c; const sy_gguf *g; sy_arena *a; sy_ledger *l; sy_buf router, expert; } reading;

static char *full(const reading *r, const char *key, char *buf, size_t size) { snprintf(buf, size, "%s.%s", r->c->arch->arch, key); return buf; }
static bool has_tensor(const reading *r, const char *name) { return sy_gguf_find(r->g, name) != NULL; }

/* Whether the architecture has a row for that parameter. */
static bool has_part(const sy_gguf_arch *a, const char *own)
{
    const sy_family_part *p = a->parts;
    while (p->own && strcmp(p->own, own)) p++;
    return p->own != NULL;
}

static sy_status get_int(const reading *r, const char *key, bool must, int64_t lo, int64_t hi, int64_t *out, sy_err *err)
{
    char name[TEXT];
    return sy_gguf_int(r->g, full(r, key, name, sizeof name), must, lo, hi, out, err);
}

static sy_status get_real(const reading *r, const char *key, double lo, double hi, double *out, sy_err *err)
{
    char name[TEXT], text[64], *end;
    double v = *out;
    SY_TRY(sy_gguf_real(r->g, full(r, key, name, sizeof name), false, lo, hi, &v, err));
    if (v == *out) return SY_OK;
    float_text((float)v, text, sizeof text);
    *out = (double)(float)v == v ? sy_real_read(text, &end) : v;
    return SY_OK;
}

static sy_status set(reading *r, const char *field, const char *value, sy_err *err)
{
    sy_buf *b = !strncmp(field, "router.", 7) ? &r->router : !strncmp(field, "expert.", 7) ? &r->expert : NULL;
    if (!b) return sy_opt_set(sy_spec_opts, &r->c->spec, field, value, r->a, NULL, err);
    sy_buf_printf(b, "%s%s=%s", b->n ? "," : "", field + 7, value);
    return b->failed ? sy_fail(err, SY_ENOMEM, "no memory for %s", field) : SY_OK;
}

static sy_status set_int(reading *r, const char *field, int64_t v, sy_err *err)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)v);
    return set(r, field, text, err);
}

/* A key's value as text; an array must say the same for all layers. */
static sy_status value_text(const reading *r, const sy_gguf_key *k, char *buf, size_t size, sy_err *err)
{
    int64_t whole, other;
    double real;
    for (uint64_t i = 1; k->type == SY_GGUF_ARRAY && i < k->n; i++)
        if (!sy_gguf_elem_int(k, 0, &whole) || !sy_gguf_elem_int(k, i, &other) || whole != other)
            return sy_fail(err, SY_EUNSUP, "%s: key '%s' differs from layer to layer; models are computed with one value for all", r->g->file, k->key);
    if (k->elem == SY_GGUF_TEXT || k->n == 0) return sy_fail(err, SY_EFORMAT, "%s: key '%s' must be a number", r->g->file, k->key);
    if (k->elem == SY_GGUF_BOOL) snprintf(buf, size, "%s", k->data[0] ? "true" : "false");
    else if (sy_gguf_elem_int(k, 0, &whole)) snprintf(buf, size, "%lld", (long long)whole);
    else if (k->elem == SY_GGUF_F32 && sy_gguf_elem_real(k, 0, &real)) float_text((float)real, buf, size);
    else if (sy_gguf_elem_real(k, 0, &real)) sy_real_text(buf, size, real);
    else return sy_fail(err, SY_EFORMAT, "%s: key '%s' is too large a number", r->g->file, k->key);
    return SY_OK;
}

static sy_status note(const reading *r, const char *key, const char *value, sy_err *err)
{
    char text[TEXT];
    if (!r->l) return SY_OK;
    snprintf(text, sizeof text, "not in the file: %s, as the architecture has it by default", value);
    return sy_ledger_add(r->l, SY_L_NOTE, key, text, 0, err);
}

static sy_status read_field(reading *r, const sy_gguf_field *f, sy_err *err)
{
    char name[TEXT], text[TEXT], mapped[TEXT];
    const sy_gguf_key *k = sy_gguf_key_find(r->g, full(r, f->key, name, sizeof name));
    const char *value = f->def;
    if (!k && !f->def) return sy_fail(err, SY_EFORMAT, "%s has no key '%s', without which a model of architecture %s cannot be built", r->g->file, name, r->c->arch->arch);
    if (!k) SY_TRY(note(r, name, f->def, err));
    else {
        SY_TRY(value_text(r, k, text, sizeof text, err));
        value = text;
        if (f->words) {
            if (!translate(f->words, text, true, mapped, sizeof mapped)) return sy_fail(err, SY_EUNSUP, "%s: key '%s' is %s, which is not computed; known are %s", r->g->file, name, text, f->words);
            value = mapped;
        }
        if (!f->field && !same_number(value, f->def)) return sy_fail(err, SY_EUNSUP, "%s: key '%s' is %s; the architecture is computed with %s only", r->g->file, name, value, f->def);
    }
    return f->field ? sy_within(err, set(r, f->field, value, err), "%s: %s", r->g->file, name) : SY_OK;
}

/* 1/angle of pair i under llama3, as a divisor of the plain angle (families: rope_type llama3). */
static double divisor(const sy_spec *s, int i)
{
    double turn = 2 * 3.14159265358979323846 * pow(s->rope_theta, 2.0 * i / sy_spec_rotary(s)), orig = s->original_max_position_embeddings, f = s->rope_factor;
    if (turn < orig / s->rope_high_freq_factor) return 1;
    if (turn > orig / s->rope_low_freq_factor) return f;
    double smooth = (orig / turn - s->rope_low_freq_factor) / (s->rope_high_freq_factor - s->rope_low_freq_factor);
    return 1 / ((1 - smooth) / f + smooth);
}

static const char FREQS[] = "rope_freqs.weight", LONG[] = "rope_factors_long.weight", SHORT[] = "rope_factors_short.weight";

const char *sy_gguf_divisors(const sy_spec *s, int n, float *out)
{
    int half = sy_spec_rotary(s) / 2;
    if (s->rope_type == SY_ROPE_LLAMA3 && n == 0) {
        for (int i = 0; i < half; i++) out[i] = (float)divisor(s, i);
        return FREQS;
    }
    if (s->rope_type != SY_ROPE_LONGROPE || n > 1) return NULL;
    const char *p = n ? s->rope_short_factor : s->rope_long_factor;
    for (int i = 0; i < half; i++) {
        char *end;
        out[i] = (float)sy_real_read(p + strspn(p, " "), &end);
        p = end;
    }
    return n ? SHORT : LONG;
}

/* The vector of that name: F32, a value for each pair that turns. NULL: the file has none. */
static sy_status vector(const reading *r, const char *name, const float **out, sy_err *err)
{
    const sy_gguf_tensor *t = sy_gguf_find(r->g, name);
    int n = sy_spec_rotary(&r->c->spec) / 2;
    *out = NULL;
    if (!t) return SY_OK;
    if (t->type != SY_W_F32 || t->n != (size_t)n) return sy_fail(err, SY_EFORMAT, "%s: tensor '%s' must be F32 of %d values, it is %s of %zu", r->g->file, name, n, sy_gguf_tensor_type(t->id), t->n);
    float *v = sy_arena_array(r->a, (size_t)n, sizeof *v);
    const uint8_t *bytes = v ? sy_gguf_bytes(t, 0, (size_t)n * sizeof *v) : NULL;
    if (!bytes) return sy_fail(err, SY_ENOMEM, "%s: no memory for %d divisors", r->g->file, n);
    memcpy(v, bytes, (size_t)n * sizeof *v);
    *out = v;
    return SY_OK;
}

static sy_status factors(reading *r, const char *name, const char **out, sy_err *err)
{
    const float *v;
    char text[64];
    sy_buf b = { 0 };
    SY_TRY(vector(r, name, &v, err));
    if (!v) return sy_fail(err, SY_EFORMAT, "%s has one of '%s' and '%s', a rotation needs both", r->g->file, LONG, SHORT);
    for (int i = 0, n = sy_spec_rotary(&r->c->spec) / 2; i < n; i++) {
        if (!(v[i] > 0) || !isfinite(v[i])) {
            sy_buf_free(&b);
            return sy_fail(err, SY_EFORMAT, "%s: tensor '%s' has the divisor %g at %d; it must be above 0", r->g->file, name, (double)v[i], i);
        }
        float_text(v[i], text, sizeof text);
        sy_buf_printf(&b, "%s%s", i ? " " : "", text);
    }
    *out = b.failed ? NULL : sy_arena_strdup(r->a, b.data ? b.data : "");
    sy_buf_free(&b);
    return *out ? SY_OK : sy_fail(err, SY_ENOMEM, "%s: no memory for its rotation", r->g->file);
}

static double longrope_scale(const sy_spec *s)
{
    return s->rope_factor > 1 ? sqrt(1 + log(s->rope_factor) / log(s->original_max_position_embeddings)) : 1;
}

/* attn: the factor on cosine and sine. Where it is the formula's, the model's own, if it had one, was not kept. */
static sy_status read_longrope(reading *r, int64_t original, double attn, sy_err *err)
{
    sy_spec *s = &r->c->spec;
    const char *own = NULL;
    s->rope_type = SY_ROPE_LONGROPE;
    s->original_max_position_embeddings = (int)(original ? original : s->max_position_embeddings);
    s->rope_factor = (double)s->max_position_embeddings / s->original_max_position_embeddings;
    SY_TRY(factors(r, LONG, &s->rope_long_factor, err));
    SY_TRY(factors(r, SHORT, &s->rope_short_factor, err));
    SY_TRY(sy_gguf_text(r->g, MSCALES, false, r->a, &own, err));
    if (own) {
        char *end;
        s->rope_short_mscale = sy_real_read(own, &end), s->rope_long_mscale = sy_real_read(end, &end);
        if (!(s->rope_short_mscale >= 0 && s->rope_short_mscale < 1e3 && s->rope_long_mscale >= 0 && s->rope_long_mscale < 1e3)) return sy_fail(err, SY_EFORMAT, "%s: key '%s' is '%.60s'", r->g->file, MSCALES, own);
    } else if (fabs(attn - longrope_scale(s)) > 1e-6 * attn) s->rope_short_mscale = s->rope_long_mscale = attn;
    else if (r->l) return sy_ledger_add(r->l, SY_L_NOTE, "rope.scaling.attn_factor", "longrope's formula; a factor of the model's own (short_mscale, long_mscale) is not in the file", 0, err);
    return SY_OK;
}

static bool explains(const sy_spec *s, const float *want, int n)
{
    for (int i = 0; i < n; i++) if (fabs(divisor(s, i) - (double)want[i]) > 1e-4 * (double)want[i]) return false;
    return true;
}

/* The file keeps the divisors alone. Low and high scale with the original length, so low is taken as 1; two divisors between 1 and the factor
 * then give high and the length: (1 - s) / f + s = 1 / divisor is linear in 1 / turn. */
static sy_status read_divisors(reading *r, sy_err *err)
{
    sy_spec *s = &r->c->spec;
    int n = sy_spec_rotary(s) / 2, seen = 0;
    const char *own = NULL;
    const float *want;
    double x[2] = { 0, 0 }, y[2] = { 0, 0 };
    SY_TRY(vector(r, FREQS, &want, err));
    if (!want) return SY_OK;
    s->rope_type = SY_ROPE_LLAMA3;
    s->rope_factor = 1;
    for (int i = 0; i < n; i++) {
        if (!(want[i] >= 1) || !isfinite(want[i])) return sy_fail(err, SY_EFORMAT, "%s: tensor 'rope_freqs.weight' has the divisor %g at %d; it must be 1 or more", r->g->file, (double)want[i], i);
        if ((double)want[i] > s->rope_factor) s->rope_factor = (double)want[i];
    }
    s->rope_low_freq_factor = 1, s->rope_high_freq_factor = 4, s->original_max_position_embeddings = 8192;
    SY_TRY(sy_gguf_text(r->g, LLAMA3, false, r->a, &own, err));
    if (own) {
        double v[4] = { 0 };
        char *end = (char *)own;
        for (int i = 0; i < 4; i++) v[i] = sy_real_read(end, &end);
        if (!(v[0] >= 1 && v[0] < 1e6 && v[1] > 0 && v[2] > v[1] && v[2] < 1e6 && v[3] >= 1 && v[3] < 1 << 24)) return sy_fail(err, SY_EFORMAT, "%s: key '%s' is '%.60s'", r->g->file, LLAMA3, own);
        s->rope_factor = v[0], s->rope_low_freq_factor = v[1], s->rope_high_freq_factor = v[2], s->original_max_position_embeddings = (int)v[3];
    } else if (!explains(s, want, n)) {
        for (int i = 0; i < n && seen < 2; i++) {
            double f = s->rope_factor, d = (double)want[i];
            if (d < 1.0001 || d > f * 0.9999) continue;
            x[seen] = 1 / (2 * 3.14159265358979323846 * pow(s->rope_theta, 2.0 * i / sy_spec_rotary(s)));
            y[seen++] = (1 / d - 1 / f) / (1 - 1 / f);
        }
        double slope = seen == 2 ? (y[1] - y[0]) / (x[1] - x[0]) : 0, at0 = y[0] - slope * x[0];      /* orig / (high - low), -low / (high - low) */
        if (slope > 0 && at0 < 0) {
            s->rope_high_freq_factor = 1 - 1 / at0;
            s->rope_high_freq_factor = round(s->rope_high_freq_factor * 1000) / 1000;
            s->original_max_position_embeddings = (int)lrint(slope * (s->rope_high_freq_factor - 1));
        }
    }
    if (explains(s, want, n)) return SY_OK;
    return sy_fail(err, SY_EUNSUP, "%s: the divisors of 'rope_freqs.weight' are not those of a llama3 rotation; such a rotation is not computed", r->g->file);
}

static sy_status read_rope(reading *r, sy_err *err)
{
    sy_spec *s = &r->c->spec;
    char name[TEXT];
    const char *type = "none";
    int64_t dims = s->head_dim, original = 0;
    double factor = 1, attn = 1, mscale = 0;
    if (r->c->arch->no_rope) return SY_OK;
    s->rope_theta = 10000;
    SY_TRY(get_real(r, "rope.freq_base", 1, 1e12, &s->rope_theta, err));
    if (r->c->arch->mla) dims = s->qk_rope_head_dim;
    SY_TRY(get_int(r, "rope.dimension_count", false, 2, dims, &dims, err));
    if (!r->c->arch->mla && dims != s->head_dim && !r->c->arch->partial) return sy_fail(err, SY_EUNSUP, "%s: heads of %d values rotate %lld of them; architecture %s rotates whole heads", r->g->file, s->head_dim, (long long)dims, r->c->arch->arch);
    if (dims % 2) return sy_fail(err, SY_EFORMAT, "%s: rope.dimension_count is %lld; values turn in pairs", r->g->file, (long long)dims);
    if (!r->c->arch->mla) s->partial_rotary_factor = sy_spec_share((int)dims, s->head_dim);
    SY_TRY(sy_gguf_text(r->g, full(r, "rope.scaling.type", name, sizeof name), false, r->a, &type, err));
    SY_TRY(get_real(r, "rope.scaling.factor", 1e-3, 1e6, &factor, err));
    SY_TRY(get_real(r, "rope.scaling.attn_factor", 1e-3, 1e3, &attn, err));
    SY_TRY(get_int(r, "rope.scaling.original_context_length", false, 1, 1 << 24, &original, err));
    SY_TRY(get_real(r, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, &s->rope_beta_fast, err));
    SY_TRY(get_real(r, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, &s->rope_beta_slow, err));
    SY_TRY(get_real(r, "rope.scaling.yarn_log_multiplier", 0, 1e3, &mscale, err));
    if (r->c->arch->longrope && (has_tensor(r, LONG) || has_tensor(r, SHORT))) return read_longrope(r, original, attn, err);
    s->rope_factor = factor;
    if (!strcmp(type, "none")) s->rope_type = SY_ROPE_DEFAULT;
    else if (!strcmp(type, "linear")) s->rope_type = SY_ROPE_LINEAR;
    else if (!strcmp(type, "yarn")) s->rope_type = SY_ROPE_YARN;
    else return sy_fail(err, SY_EUNSUP, "%s: key '%s' is '%.40s'; none, linear and yarn are read", r->g->file, name, type);
    if (s->rope_type == SY_ROPE_YARN) {
        s->original_max_position_embeddings = (int)(original ? original : s->max_position_embeddings);
        if (attn != 1) s->rope_attention_factor = attn * (0.1 * log(factor) + 1);
        if (mscale > 0) s->rope_mscale = s->rope_mscale_all_dim = round(mscale * 1e7) / 1e6;
    } else if (attn != 1) return sy_fail(err, SY_EUNSUP, "%s: rope.scaling.attn_factor is %g without yarn, which is not computed", r->g->file, attn);
    return read_divisors(r, err);
}

static sy_status read_layers(reading *r, sy_err *err)
{
    int64_t blocks = 0, first = 0, next = 0;
    char text[64];
    SY_TRY(get_int(r, "block_count", true, 1, 1 << 20, &blocks, err));
    if (r->c->arch->mtp) SY_TRY(get_int(r, "nextn_predict_layers", false, 0, blocks - 1, &next, err));
    r->c->mtp_layers = (int)next;
    SY_TRY(set_int(r, "num_hidden_layers", blocks -= next, err));
    if (!r->c->arch->dense_first) return SY_OK;
    SY_TRY(get_int(r, "leading_dense_block_count", false, 0, blocks - 1, &first, err));
    if (first) snprintf(text, sizeof text, "dense*%lld,sparse*%lld", (long long)first, (long long)(blocks - first));
    else snprintf(text, sizeof text, "sparse");
    return set(r, "layers", text, err);
}

static sy_status read_sizes(reading *r, sy_err *err)
{
    sy_spec *s = &r->c->spec;
    int64_t v = 0, hd = 0, value = 0, most = 1 << 24;
    const sy_gguf_tensor *embed = sy_gguf_find(r->g, "token_embd.weight");
    const char *eps = r->c->arch->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    const sy_gguf_field field[] = {
        { "context_length", "max_position_embeddings", NULL, NULL }, { "embedding_length", "hidden_size", NULL, NULL }, { "attention.head_count", "num_attention_heads", NULL, NULL },
        { "attention.head_count_kv", "num_key_value_heads", "0", NULL }, { eps, "rms_norm_eps", NULL, NULL } };
    for (size_t i = 0; i < SY_COUNT(field); i++) SY_TRY(read_field(r, &field[i], err));
    if (!s->num_key_value_heads) s->num_key_value_heads = s->num_attention_heads;
    SY_TRY(get_int(r, "attention.key_length", false, 1, 1 << 20, &hd, err));
    SY_TRY(get_int(r, "attention.value_length", false, 1, 1 << 20, &value, err));
    if (r->c->arch->mla) {                           /* newer files: key_length and value_length are of what the cache holds, for one head */
        int64_t rot = 0;
        SY_TRY(get_int(r, "attention.key_length_mla", false, 1, 1 << 20, &hd, err));
        SY_TRY(get_int(r, "attention.value_length_mla", false, 1, 1 << 20, &value, err));
        s->num_key_value_heads = s->num_attention_heads;
        SY_TRY(get_int(r, "rope.dimension_count", true, 2, hd > 2 ? hd - 1 : 2, &rot, err));
        if (hd <= rot || !value) return sy_fail(err, SY_EFORMAT, "%s: keys of %lld values, of which %lld rotate, and values of %lld do not make a latent attention", r->g->file, (long long)hd, (long long)rot, (long long)value);
        s->qk_nope_head_dim = (int)(hd - rot), s->qk_rope_head_dim = (int)rot, s->v_head_dim = (int)value;
    } else if (hd && value && hd != value) return sy_fail(err, SY_EUNSUP, "%s: keys have %lld values and values %lld; architecture %s is computed with one width for both", r->g->file, (long long)hd, (long long)value, r->c->arch->arch);
    if (!r->c->arch->mla && !hd && s->hidden_size % s->num_attention_heads)
        return sy_fail(err, SY_EFORMAT, "%s: embedding_length %d is not a multiple of head_count %d, and attention.key_length is missing", r->g->file, s->hidden_size, s->num_attention_heads);
    if (!r->c->arch->mla) s->head_dim = hd ? (int)hd : s->hidden_size / s->num_attention_heads;
    if (embed && embed->nd == 2) v = embed->dim[0];
    SY_TRY(get_int(r, "vocab_size", !v, 1, most, &v, err));
    if (embed && embed->nd == 2 && embed->dim[0] != v) return sy_fail(err, SY_EFORMAT, "%s: vocab_size is %lld, token_embd.weight has %lld rows", r->g->file, (long long)v, (long long)embed->dim[0]);
    SY_TRY(set_int(r, "vocab_size", v, err));
    return SY_OK;
}

static const char *method_text(reading *r, const char *base, const sy_buf *given)
{
    const char *sep = !given->n ? "" : strchr(base, ':') ? "," : ":";
    return sy_arena_printf(r->a, "%s%s%s", base, sep, given->n ? given->data : "");
}

static sy_status read_all(reading *r, sy_err *err)
{
    const sy_gguf_arch *arch = r->c->arch;
    sy_spec *s = &r->c->spec;
    int64_t shared = 0;
    sy_spec_defaults(s);
    SY_TRY(sy_opt_parse(sy_spec_opts, s, arch->base, r->a, NULL, err));
    SY_TRY(read_layers(r, err));
    SY_TRY(read_sizes(r, err));
    for (const sy_gguf_field *f = arch->fields; f && f->key; f++) SY_TRY(read_field(r, f, err));
    SY_TRY(read_rope(r, err));
    s->tie_word_embeddings = s->lm_head && !has_tensor(r, "output.weight");
    s->lm_head_bias = has_part(arch, "lm_head.bias") && has_tensor(r, "output.bias");
    const sy_gguf_tensor *types = sy_gguf_find(r->g, "token_types.weight");
    if (types && has_part(arch, "model.embed_types.weight")) SY_TRY(set_int(r, "type_vocab_size", types->nd == 2 && types->dim[0] <= 1 << 20 ? types->dim[0] : 1, err));
    s->attention_bias = has_tensor(r, "blk.0.attn_q.bias") || has_tensor(r, "blk.0.attn_qkv.bias");
    s->attention_out_bias = has_tensor(r, "blk.0.attn_output.bias");
    if (arch->qk_norm && has_tensor(r, "blk.0.attn_q_norm.weight")) SY_TRY(set(r, "qk_norm", arch->qk_norm, err));
    if (arch->shared_count) {
        SY_TRY(get_int(r, "expert_shared_count", false, 0, 1024, &shared, err));
        SY_TRY(set_int(r, "shared_expert_intermediate_size", shared * s->moe_intermediate_size, err));
    }
    if (!arch->router) return SY_OK;
    s->router = method_text(r, arch->router, &r->router);
    s->expert = method_text(r, arch->expert, &r->expert);
    return s->router && s->expert ? SY_OK : sy_fail(err, SY_ENOMEM, "%s: no memory for the router", r->g->file);
}

static sy_status arch_of(const sy_gguf *g, const char *name, sy_gguf_card *c, sy_err *err)
{
    char key[TEXT];
    int64_t experts = 0, gating = 1;
    sy_buf b = { 0 };
    snprintf(key, sizeof key, "%.100s.expert_count", name);
    SY_TRY(sy_gguf_int(g, key, false, 0, 1 << 20, &experts, err));
    snprintf(key, sizeof key, "%.100s.expert_gating_func", name);
    SY_TRY(sy_gguf_int(g, key, false, 0, 255, &gating, err));
    for (c->arch = sy_gguf_archs; c->arch->arch; c->arch++)
        if (!strcmp(c->arch->arch, name) && (experts > 0) == (c->arch->router != NULL) && (!c->arch->gating || c->arch->gating == gating)) return SY_OK;
    for (const sy_gguf_arch *a = sy_gguf_archs; a->arch; a++) if (a == sy_gguf_archs || strcmp(a->arch, a[-1].arch)) sy_buf_printf(&b, "%s%s", b.n ? ", " : "", a->arch);
    sy_fail(err, SY_EUNSUP, "%s: models of architecture '%.40s'%s are not read; known are %s", g->file, name, experts ? " with experts" : "", b.data ? b.data : "none");
    sy_buf_free(&b);
    return SY_EUNSUP;
}

sy_status sy_gguf_card_read(sy_gguf_card *c, const sy_gguf *g, sy_arena *a, sy_ledger *l, sy_err *err)
{
    reading r = { .c = c, .g = g, .a = a, .l = l };
    const char *name = NULL;
    *c = (sy_gguf_card){ 0 };
    SY_TRY(sy_gguf_text(g, "general.architecture", true, a, &name, err));
    SY_TRY(arch_of(g, name, c, err));
    c->names = (sy_family){ .name = c->arch->arch, .parts = c->arch->parts };
    sy_status st = read_all(&r, err);
    sy_buf_free(&r.router);
    sy_buf_free(&r.expert);
    return st == SY_OK ? sy_within(err, sy_spec_check(&c->spec, err), "%s", g->file) : st;
}

bool sy_gguf_card_knows(const sy_gguf_card *c, const char *key)
{
    size_t n = strlen(c->arch->arch);
    if (!strcmp(key, "general.architecture") || !strcmp(key, LLAMA3) || !strcmp(key, MSCALES)) return true;
    if (strncmp(key, c->arch->arch, n) || key[n] != '.') return false;
    for (const char *const *k = common; *k; k++) if (!strcmp(key + n + 1, *k)) return true;
    for (const sy_gguf_field *f = c->arch->fields; f && f->key; f++) if (!strcmp(key + n + 1, f->key)) return true;
    return false;
}

/* --- writing ---------------------------------------------------------------------------------------------------------------- */

typedef struct writing {
    sy_gguf_writer  *g;
    const sy_gguf_arch *arch;
    const sy_spec   *s;
    const sy_method *router_m, *expert_m;
    void            *router_s, *expert_s;
} writing;

static void put_int(const writing *w, const char *key, int v)
{
    char name[TEXT];
    snprintf(name, sizeof name, "%s.%s", w->arch->arch, key);
    sy_gguf_put_u32(w->g, name, (uint32_t)v);
}

static void put_real(const writing *w, const char *key, double v)
{
    char name[TEXT];
    snprintf(name, sizeof name, "%s.%s", w->arch->arch, key);
    sy_gguf_put_f32(w->g, name, (float)v);
}

static void put_text(const writing *w, const char *key, const char *v)
{
    char name[TEXT];
    snprintf(name, sizeof name, "%s.%s", w->arch->arch, key);
    sy_gguf_put_text(w->g, name, v, strlen(v));
}

static void put_typed(const writing *w, const char *key, sy_opt_type type, const char *text)
{
    char name[TEXT], *end;
    snprintf(name, sizeof name, "%s.%s", w->arch->arch, key);
    if (!strcmp(text, "true") || !strcmp(text, "false")) sy_gguf_put_bool(w->g, name, *text == 't');
    else if (type == SY_OPT_REAL) sy_gguf_put_f32(w->g, name, (float)sy_real_read(text, &end));
    else sy_gguf_put_u32(w->g, name, (uint32_t)strtoul(text, NULL, 10));
}

static void write_field(const writing *w, const sy_gguf_field *f)
{
    char text[TEXT], mapped[TEXT];
    size_t at = 0;
    const sy_opt *row = NULL;
    const void *s = w->s;
    const sy_method *m = f->field && !strncmp(f->field, "router.", 7) ? w->router_m : f->field && !strncmp(f->field, "expert.", 7) ? w->expert_m : NULL;
    if (m) row = m->opts ? sy_opt_find(m->opts, f->field + 7, &at, NULL) : NULL, s = m == w->router_m ? w->router_s : w->expert_s;
    else if (f->field) row = sy_opt_find(sy_spec_opts, f->field, &at, NULL);
    if (row) sy_opt_print(row, s, at, text, sizeof text);
    else if (f->def) snprintf(text, sizeof text, "%s", f->def);
    else return;                                     /* another method than the architecture's: reading back will tell */
    if (f->field && f->def && !f->words && same_number(text, "0") && same_number(f->def, "0")) return;        /* there is none; any other number is said, since llama.cpp wants some of them */
    if (f->words && translate(f->words, text, false, mapped, sizeof mapped)) put_typed(w, f->key, SY_OPT_INT, mapped);
    else put_typed(w, f->key, row ? row->type : SY_OPT_INT, text);
}

static void write_rope(const writing *w)
{
    const sy_spec *s = w->s;
    if (w->arch->no_rope) return;
    put_real(w, "rope.freq_base", s->rope_theta);
    put_int(w, "rope.dimension_count", sy_spec_rotary(s));
    if (s->rope_type == SY_ROPE_LLAMA3) {
        char text[128], a[32], b[32], c[32];
        snprintf(text, sizeof text, "%s %s %s %d", sy_real_text(a, sizeof a, s->rope_factor), sy_real_text(b, sizeof b, s->rope_low_freq_factor), sy_real_text(c, sizeof c, s->rope_high_freq_factor),
                 s->original_max_position_embeddings);
        sy_gguf_put_text(w->g, LLAMA3, text, strlen(text));
    }
    if (s->rope_type == SY_ROPE_LONGROPE) {
        char text[80], a[32], b[32];
        double near = s->rope_short_mscale, far = s->rope_long_mscale;
        put_int(w, "rope.scaling.original_context_length", s->original_max_position_embeddings);
        put_real(w, "rope.scaling.attn_factor", near > 0 ? near : longrope_scale(s));
        snprintf(text, sizeof text, "%s %s", sy_real_text(a, sizeof a, near), sy_real_text(b, sizeof b, far));
        if (near > 0 || far > 0) sy_gguf_put_text(w->g, MSCALES, text, strlen(text));
    }
    if (s->rope_type != SY_ROPE_LINEAR && s->rope_type != SY_ROPE_YARN) return;
    put_text(w, "rope.scaling.type", s->rope_type == SY_ROPE_YARN ? "yarn" : "linear");
    put_real(w, "rope.scaling.factor", s->rope_factor);
    if (s->rope_type != SY_ROPE_YARN) return;
    put_int(w, "rope.scaling.original_context_length", s->original_max_position_embeddings);
    put_real(w, "rope.scaling.yarn_beta_fast", s->rope_beta_fast);
    put_real(w, "rope.scaling.yarn_beta_slow", s->rope_beta_slow);
    if (s->rope_mscale_all_dim > 0) put_real(w, "rope.scaling.yarn_log_multiplier", 0.1 * s->rope_mscale_all_dim);
    if (s->rope_attention_factor > 0) put_real(w, "rope.scaling.attn_factor", s->rope_attention_factor / (0.1 * log(s->rope_factor) + 1));
}

static void write_all(const writing *w)
{
    const sy_spec *s = w->s;
    put_int(w, "block_count", s->num_hidden_layers);
    put_int(w, "context_length", s->max_position_embeddings);
    put_int(w, "embedding_length", s->hidden_size);
    put_int(w, "attention.head_count", s->num_attention_heads);
    put_int(w, "attention.head_count_kv", w->arch->mla ? s->num_attention_heads : s->num_key_value_heads);
    put_int(w, "attention.key_length", sy_spec_qk_dim(s));
    put_int(w, "attention.value_length", sy_spec_v_dim(s));
    put_real(w, w->arch->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", s->rms_norm_eps);
    put_int(w, "vocab_size", s->vocab_size);
    if (s->type_vocab_size) sy_gguf_put_u32(w->g, "tokenizer.ggml.token_type_count", (uint32_t)s->type_vocab_size);
    write_rope(w);
    for (const sy_gguf_field *f = w->arch->fields; f && f->key; f++) write_field(w, f);
    if (w->arch->dense_first) put_int(w, "leading_dense_block_count", s->num_hidden_layers - sy_spec_n_sparse(s));
    if (w->arch->shared_count) put_int(w, "expert_shared_count", s->moe_intermediate_size ? s->shared_expert_intermediate_size / s->moe_intermediate_size : 0);
}

sy_status sy_gguf_card_write(sy_gguf_writer *g, const sy_gguf_arch *arch, const sy_spec *s, const sy_methods *methods, sy_err *err)
{
    writing w = { .g = g, .arch = arch, .s = s };
    sy_arena a = { 0 };
    sy_status st = SY_OK;
    if (arch->router && sy_spec_n_sparse(s)) {
        st = sy_method_make(methods, SY_ROUTER, s->router, &a, &w.router_m, &w.router_s, err);
        if (st == SY_OK) st = sy_method_make(methods, SY_EXPERT, s->expert, &a, &w.expert_m, &w.expert_s, err);
    }
    if (st == SY_OK) write_all(&w);
    sy_arena_free(&a);
    return st;
}

/* --- which architecture -------------------------------------------------------------------------------------------------------- */

/* A file of these keys and of the tensors by whose presence fields are told, as reading would see it. */
static sy_status as_read(sy_gguf_card *back, const sy_gguf_arch *arch, const sy_spec *s, const sy_methods *methods, sy_arena *a, sy_err *err)
{
    sy_gguf_writer w = { .w = { .fd = -1 } };
    sy_gguf g;
    sy_buf b = { 0 };
    sy_gguf_tensor *t = sy_arena_array(a, 8, sizeof *t);
    int *order = sy_arena_array(a, 8, sizeof *order), n = 0, half = sy_spec_rotary(s) / 2;
    float *freqs = sy_arena_array(a, 2 * (size_t)half + 1, sizeof *freqs);
    uint32_t head[2] = { 0x46554747, 3 };
    int freq = 0;
    if (!t || !order || !freqs) return sy_fail(err, SY_ENOMEM, "no memory to look at %s", arch->arch);
    sy_gguf_put_text(&w, "general.architecture", arch->arch, strlen(arch->arch));
    sy_status st = sy_gguf_card_write(&w, arch, s, methods, err);
    uint64_t count[2] = { 0, w.n_keys };
    sy_buf_put(&b, head, 8), sy_buf_put(&b, count, 16);
    if (st == SY_OK) sy_buf_put(&b, w.keys.data, w.keys.n);
    if (st == SY_OK && (b.failed || w.keys.failed)) st = sy_fail(err, SY_ENOMEM, "no memory for the keys of %s", arch->arch);
    if (st == SY_OK) st = sy_gguf_parse(&g, (const uint8_t *)b.data, b.n, arch->arch, a, err);
    if (st == SY_OK) {                               /* sorted by name */
        if (s->attention_out_bias) t[n++].name = "blk.0.attn_output.bias";
        if (s->attention_bias) t[n++].name = "blk.0.attn_q.bias";
        if (s->qk_norm) t[n++].name = "blk.0.attn_q_norm.weight";
        if (s->lm_head_bias) t[n++].name = "output.bias";
        if (s->lm_head && !s->tie_word_embeddings) t[n++].name = "output.weight";
        for (const char *name; (name = sy_gguf_divisors(s, freq, freqs + freq * half)); freq++)
            t[n++] = (sy_gguf_tensor){ .name = name, .type = SY_W_F32, .nd = 1, .n = (size_t)half, .data = (const uint8_t *)(freqs + freq * half) };
        if (s->type_vocab_size) t[n++] = (sy_gguf_tensor){ .name = "token_types.weight", .nd = 2, .dim = { s->type_vocab_size, s->hidden_size } };
        for (int i = 0; i < n; i++) order[i] = i;
        g.t = t, g.n = n, g.by_name = order;
        st = sy_gguf_card_read(back, &g, a, NULL, err);
    }
    sy_buf_free(&b);
    sy_gguf_writer_abandon(&w);
    return st;
}

static sy_status can_say(const sy_gguf_arch *arch, const sy_spec *s, const sy_methods *methods, sy_err *err)
{
    sy_arena a = { 0 };
    sy_gguf_card back;
    char who[64];
    if (!arch->router != !sy_spec_n_sparse(s)) return sy_fail(err, SY_EUNSUP, "a GGUF file of architecture %s has %s, this model has %d", arch->arch, arch->router ? "sparse layers" : "no sparse layers", sy_spec_n_sparse(s));
    snprintf(who, sizeof who, "a GGUF file of architecture %s", arch->arch);
    sy_status st = as_read(&back, arch, s, methods, &a, err);
    if (st == SY_OK) st = sy_spec_same(s, &back.spec, methods, true, who, err);
    sy_arena_free(&a);
    return st;
}

sy_status sy_gguf_card_for(sy_gguf_card *c, const char *family, const sy_spec *s, const sy_methods *methods, sy_err *err)
{
    sy_err first = { 0 }, why;
    *c = (sy_gguf_card){ .spec = *s };
    for (int all = 0; all < 2; all++)                /* those of the family, then the others */
        for (const sy_gguf_arch *a = sy_gguf_archs; a->arch; a++) {
            bool own = family && !strcmp(a->family, family);
            if (own == (bool)all) continue;
            sy_status st = can_say(a, s, methods, &why);
            if (st == SY_ENOMEM) return sy_fail(err, st, "%s", why.text);
            if (st == SY_OK) {
                c->arch = a;
                c->names = (sy_family){ .name = a->arch, .parts = a->parts };
                return SY_OK;
            }
            if (!first.status || (own && !all)) first = why, first.status = st;
        }
    return sy_fail(err, SY_EUNSUP, "no architecture of GGUF files says all of this model: %s", first.text);
}
