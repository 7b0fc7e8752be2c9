/* model/rope.c - the rules of rotary frequencies.
 *
 * theta_i = base^(-2i/d), d values of a head turn (Su et al., arXiv:2104.09864); an odd d, which part of a head may be, has (d+1)/2 pairs. Stretches:
 *   linear    theta_i / factor (Chen et al., arXiv:2306.15595)
 *   dynamic   base grows with the length n > N: base (factor n/N - (factor-1))^(d/(d-2)), N = max_position_embeddings
 *   llama3    waves shorter than O/high are kept, longer than O/low divided by factor, between them blended, O = original positions
 *   yarn      theta_i and theta_i / factor blended along a ramp between the dimensions of beta_fast and beta_slow turns over O (Peng et al., arXiv:2309.00071)
 *   longrope  theta_i / ext_i, the short list up to O positions and the long one beyond (Ding et al., arXiv:2402.13753)
 * all in double. */
#include "model/rope.h"

#include <math.h>
#include <string.h>

#include "core/number.h"

static int original(const sy_spec *s) { return s->original_max_position_embeddings ? s->original_max_position_embeddings : s->max_position_embeddings; }

static void llama3(const sy_spec *s, int half, double *f)
{
    double O = original(s), low = s->rope_low_freq_factor, high = s->rope_high_freq_factor;
    for (int i = 0; i < half; i++) {
        double wave = 2 * M_PI / f[i], share = (O / wave - low) / (high - low);
        if (wave > O / low) f[i] /= s->rope_factor;
        else if (wave >= O / high) f[i] *= (1 - share) / s->rope_factor + share;
    }
}

/* Dimension whose pair makes r turns over the original positions. */
static double dimension_of(const sy_spec *s, int rot, double r) { return rot * log(original(s) / (2 * M_PI * r)) / (2 * log(s->rope_theta)); }

static double mscale(double factor, double weight) { return factor > 1 ? 0.1 * weight * log(factor) + 1 : 1; }

static double yarn(const sy_spec *s, int half, double *f)
{
    double low = dimension_of(s, 2 * half, s->rope_beta_fast), high = dimension_of(s, 2 * half, s->rope_beta_slow);
    if (s->rope_truncate) low = floor(low), high = ceil(high);
    low = fmax(low, 0);
    high = fmin(high, 2 * half - 1);
    if (low == high) high += 0.001;
    for (int i = 0; i < half; i++) {
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
        f[i] = f[i] / s->rope_factor * ramp + f[i] * (1 - ramp);
    }
    if (s->rope_attention_factor > 0) return s->rope_attention_factor;
    if (s->rope_mscale > 0 && s->rope_mscale_all_dim > 0) return mscale(s->rope_factor, s->rope_mscale) / mscale(s->rope_factor, s->rope_mscale_all_dim);
    return mscale(s->rope_factor, 1);
}

static double longrope(const sy_spec *s, int half, int length, double *f)
{
    bool far = length > original(s);
    const char *p = far ? s->rope_long_factor : s->rope_short_factor;
    for (int i = 0; i < half; i++) {
        char *end;
        f[i] /= sy_real_read(p + strspn(p, " "), &end);
        p = end;
    }
    double given = far ? s->rope_long_mscale : s->rope_short_mscale;
    if (given > 0) return given;
    if (s->rope_attention_factor > 0) return s->rope_attention_factor;
    return s->rope_factor > 1 ? sqrt(1 + log(s->rope_factor) / log(original(s))) : 1;
}

void sy_rope_fill(const sy_spec *s, bool local, int length, double *inv_freq, double *scale)
{
    int d = sy_spec_turns(s), half = sy_spec_rotary(s) / 2, N = s->max_position_embeddings;
    bool own_base = local && s->rope_local_base_freq > 0;
    double base = own_base ? s->rope_local_base_freq : s->rope_theta;
    *scale = 1;
    if (!own_base && s->rope_type == SY_ROPE_DYNAMIC && length > N) base *= pow(s->rope_factor * length / N - (s->rope_factor - 1), d / (d - 2.0));
    for (int i = 0; i < half; i++) inv_freq[i] = pow(base, -2.0 * i / d);
    if (own_base) return;
    switch (s->rope_type) {
    case SY_ROPE_LINEAR: for (int i = 0; i < half; i++) inv_freq[i] /= s->rope_factor; break;
    case SY_ROPE_LLAMA3: llama3(s, half, inv_freq); break;
    case SY_ROPE_YARN: *scale = yarn(s, half, inv_freq); break;
    case SY_ROPE_LONGROPE: *scale = longrope(s, half, length, inv_freq); break;
    default: break;
    }
}

bool sy_rope_by_length(const sy_spec *s) { return s->rope_type == SY_ROPE_DYNAMIC || s->rope_type == SY_ROPE_LONGROPE; }

sy_status sy_rope_check(const sy_spec *s, sy_err *err)
{
    double f[2048], scale;                              /* check_rope: at most 4096 values turn */
    int half = sy_spec_rotary(s) / 2;
    for (int far = 0; far < 2; far++) {
        sy_rope_fill(s, false, far ? 2 * s->max_position_embeddings : 1, f, &scale);
        bool ok = isfinite(scale);
        for (int i = 0; i < half; i++) ok = ok && isfinite(f[i]);
        if (!ok) return sy_fail(err, SY_EARG, "the rotation has no finite angles with rope_theta %g, rope_factor %g and original_max_position_embeddings %d", s->rope_theta, s->rope_factor, original(s));
    }
    return SY_OK;
}
