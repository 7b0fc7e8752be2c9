/* cli/cmd_cmp.c - switchyard cmp: the first tensor in which two files differ. */
#include "core/json.h"

#include "cli/cli.h"
#include "infer/dump.h"

typedef struct args { double atol, rtol; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, atol, "atol", 0, SY_FLAG_REAL, "X", "differences up to X + rtol |b| count as none; default 0"),
    SY_FLAG(args, rtol, "rtol", 0, SY_FLAG_REAL, "X", "see --atol; default 0"),
    { 0 }
};

static sy_status print_json(const sy_difference *d, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "same"), sy_json_bool(&j, !d->why);
    sy_json_key(&j, "tensors_before"), sy_json_int(&j, d->same);
    if (d->why) {
        sy_json_key(&j, "name"), sy_json_text(&j, d->name);
        sy_json_key(&j, "why"), sy_json_text(&j, d->why);
    }
    if (d->differing) {
        sy_json_key(&j, "index"), sy_json_int(&j, (long long)d->at);
        sy_json_key(&j, "a"), sy_json_real(&j, d->a);
        sy_json_key(&j, "b"), sy_json_real(&j, d->b);
        sy_json_key(&j, "differing"), sy_json_int(&j, (long long)d->differing);
        sy_json_key(&j, "values"), sy_json_int(&j, (long long)d->n);
        sy_json_key(&j, "largest"), sy_json_real(&j, d->most);
    }
    sy_json_end(&j, '}');
    if (!b.failed) puts(b.data);
    bool failed = b.failed;
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the result") : SY_OK;
}

static sy_status run(sy_cli *cli, void *arg, const char *const *words, int n, sy_err *err)
{
    (void)n;
    const args *a = arg;
    sy_difference d;
    if (a->atol < 0 || a->rtol < 0) return sy_fail(err, SY_EARG, "--atol %g --rtol %g: a tolerance is 0 or more", a->atol, a->rtol);
    SY_TRY(sy_dump_compare(words[0], words[1], a->atol, a->rtol, &d, err));
    if (cli->json) SY_TRY(print_json(&d, err));
    if (!d.why) {
        if (!cli->json) printf("%d tensors agree\n", d.same);
        return SY_OK;
    }
    if (!d.differing) return sy_fail(err, SY_ESHAPE, "%s differs: %s (%d tensors before it agree)", d.name, d.why, d.same);
    return sy_fail(err, SY_ENUM, "%s differs first, %d tensors before it agree: value %zu is %.9g and %.9g; %zu of %zu values differ, by at most %.3g", d.name, d.same, d.at, d.a, d.b,
                   d.differing, d.n, d.most);
}

const sy_command sy_cmd_cmp = {
    .name = "cmp", .summary = "the first tensor in which two files differ", .usage = "A.safetensors B.safetensors",
    .text = "Compares tensors by name in the order in which a model makes them (layer 2 before layer 10, a module behind its parts), and says which is\n"
            "the first to differ and where. Exit code 0: all agree within the tolerances; 1: some do not.",
    .example = "switchyard cmp ours.safetensors theirs.safetensors --atol 1e-5", .flags = flags, .size = sizeof(args), .min_words = 2, .max_words = 2, .run = run,
};
