/* report/analysis.c - what the page shows of an analysis (infer/analysis_json.c writes it), checked entry by entry: of a file that says anything else the
 * page has gaps, never more than these sizes. */
#include <math.h>

#include "report/sheet.h"

enum { MAX_LAYERS = 256, MAX_DOMAINS = 64, MAX_BUCKETS = 64, MAX_STEPS = 200, MAX_LANGUAGES = 32, MAX_PAIRS = 8, NAME_BYTES = 64, MAX_CELLS = 200000 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static void members(sy_json *j, const json_t *o, const char *const *key)
{
    for (; *key; key++) sy__member(j, *key, sy__at_key(o, *key));
}

static void names(sy_json *j, const char *key, const json_t *a, size_t n)
{
    sy_json_key(j, key), sy_json_begin(j, '[');
    for (size_t i = 0; i < n; i++) sy__text_cut(j, json_is_string(json_array_get(a, i)) ? json_string_value(json_array_get(a, i)) : "?", NAME_BYTES);
    sy_json_end(j, ']');
}

static void numbers(sy_json *j, const json_t *a, size_t n)
{
    sy_json_begin(j, '[');
    for (size_t i = 0; i < n; i++) sy__real(j, sy__at_index(a, i));
    sy_json_end(j, ']');
}

static void table(sy_json *j, const char *key, const json_t *a, size_t rows, size_t cols)
{
    sy_json_key(j, key), sy_json_begin(j, '[');
    for (size_t i = 0; i < rows; i++) numbers(j, json_array_get(a, i), cols);
    sy_json_end(j, ']');
}

static void layer(sy_json *j, const json_t *l, size_t domains, size_t buckets)
{
    static const char *const plain[] = { "layer", "experts", "zero", "tokens", "slots", "load_entropy", "ceiling", "entropy", "maxvio", "repeats", "repeats_chance", "pairs", "pair_info", "pair_noise", NULL };
    static const char *const of_group[] = { "groups", "frequent", "u", "u_corrected", "u_noise_sd", "spread", "spread_noise", NULL };
    static const char *const groups[] = { "token", "position", "domain", NULL };
    static const char *const of_pair[] = { "count", "expected", "z", NULL };
    const json_t *pairs = json_object_get(l, "top_pairs");
    sy_json_begin(j, '{');
    members(j, l, plain);
    for (const char *const *g = groups; *g; g++) {
        sy_json_key(j, *g), sy_json_begin(j, '{');
        members(j, json_object_get(json_object_get(l, "groups"), *g), of_group);
        sy_json_end(j, '}');
    }
    sy_json_key(j, "entropy_by_domain"), numbers(j, json_object_get(l, "entropy_by_domain"), domains);
    table(j, "drop", json_object_get(l, "drop"), domains + 1, buckets);
    sy_json_key(j, "drop_chance"), numbers(j, json_object_get(l, "drop_chance"), buckets);
    sy_json_key(j, "top_pairs"), sy_json_begin(j, '[');
    for (size_t i = 0; i < least(json_array_size(pairs), MAX_PAIRS); i++) {
        sy_json_begin(j, '{');
        members(j, json_array_get(pairs, i), of_pair);
        sy_json_key(j, "experts"), numbers(j, json_object_get(json_array_get(pairs, i), "experts"), 2);
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
    sy_json_end(j, '}');
}

static void learning(sy_json *j, const json_t *a, size_t layers)
{
    static const char *const plain[] = { "layer", "overlap", "overlap_chance", "same", "same_chance", "u_token", "u_token_noise", NULL };
    sy_json_begin(j, '[');
    for (size_t i = 0; i < least(json_array_size(a), MAX_STEPS); i++) {
        const json_t *step = json_array_get(a, i), *list = json_object_get(step, "layers");
        sy_json_begin(j, '{');
        sy__member(j, "step", sy__at_key(step, "step"));
        sy_json_key(j, "layers"), sy_json_begin(j, '[');
        for (size_t l = 0; l < layers; l++) {
            sy_json_begin(j, '{');
            members(j, json_array_get(list, l), plain);
            sy_json_end(j, '}');
        }
        sy_json_end(j, ']');
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
}

static void languages(sy_json *j, const json_t *x)
{
    static const char *const plain[] = { "sentences", "empty", "too_long", "spearman_middle", NULL };
    size_t n = least(json_array_size(json_object_get(x, "names")), MAX_LANGUAGES), layers = least(json_array_size(json_object_get(x, "divergence")), MAX_LAYERS);
    const json_t *of = json_object_get(json_object_get(x, "routes"), "layers");
    sy_json_begin(j, '{');
    names(j, "names", json_object_get(x, "names"), n);
    members(j, x, plain);
    table(j, "divergence", json_object_get(x, "divergence"), layers, n);
    table(j, "error", json_object_get(x, "error"), layers, n);
    table(j, "other_sentence", json_object_get(x, "other_sentence"), layers, n);
    sy_json_key(j, "specific"), numbers(j, json_object_get(x, "specific"), layers);
    sy_json_key(j, "nats_per_sentence"), numbers(j, json_object_get(x, "nats_per_sentence"), n);
    sy_json_key(j, "layer"), sy_json_begin(j, '[');
    for (size_t l = 0; l < layers; l++) sy__real(j, sy__at_key(json_array_get(of, l), "layer"));
    sy_json_end(j, ']');
    sy_json_end(j, '}');
}

void sy__analysis_json(sy_json *j, const json_t *a)
{
    static const char *const plain[] = { "tokens", "docs", "ids", "longest", "short_docs", "buckets", "min_count", "shuffles", "capacity_factor", NULL };
    const json_t *list = json_object_get(a, "layers"), *x = json_object_get(a, "languages"), *steps = json_object_get(a, "learning");
    size_t domains = least(json_array_size(json_object_get(a, "domains")), MAX_DOMAINS), layers = least(json_array_size(list), MAX_LAYERS);
    double B = sy__at_key(a, "buckets");
    size_t buckets = B >= 1 && B <= MAX_BUCKETS ? (size_t)B : 0;
    if (layers * (domains + 1) * (buckets + 1) > MAX_CELLS) domains = 0;
    if (!json_is_object(a)) { sy_json_null(j); return; }
    sy_json_begin(j, '{');
    members(j, a, plain);
    names(j, "domains", json_object_get(a, "domains"), domains);
    sy_json_key(j, "tokens_by_domain"), numbers(j, json_object_get(a, "tokens_by_domain"), domains);
    sy_json_key(j, "docs_by_domain"), numbers(j, json_object_get(a, "docs_by_domain"), domains);
    sy_json_key(j, "layers"), sy_json_begin(j, '[');
    for (size_t l = 0; l < layers; l++) layer(j, json_array_get(list, l), domains, buckets);
    sy_json_end(j, ']');
    sy_json_key(j, "learning");
    if (json_is_array(steps)) learning(j, steps, layers);
    else sy_json_null(j);
    sy_json_key(j, "languages");
    if (json_is_object(x)) languages(j, x);
    else sy_json_null(j);
    sy_json_end(j, '}');
}
