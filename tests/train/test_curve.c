/* tests/train/test_curve.c - fifty steps of two small models guard the whole: text, data order, starting weights, forward, backward, balance, clipping,
 * schedule and update. Oracle: tests/fixtures/curve-*.txt, a loss a line, written by the double build with the plain kernels
 * (SY_CURVE=write build/double/train_test_curve). The tolerance holds for every kernel set; a change of what is computed moves the curve by far more. */
#include "testing.h"

#include <math.h>

#include "bed.h"

enum { STEPS = 50 };

static const struct { const char *name, *settings; double tolerance; } curves[] = {
    { "topk", "steps=50 lr=5e-3 warmup_steps=5 micro_batch_size=2 balance='switch:coef=0.02 zloss:coef=0.001'", 1e-4 },
    { "auxfree", "steps=50 lr=5e-3 warmup_steps=5 lr_schedule=wsd layers=sparse router=auxfree:top_k=2,bias_update=0.01 balance=switch:scope=sequence,coef=0.001 "
                 "shared_expert_intermediate_size=8 qk_norm=true num_key_value_heads=1 label_smoothing=0.05 tie_word_embeddings=false", 1e-4 },
};

static void curve(const char *settings, const char *kernels, double *loss)
{
    bed b;
    sy_stepper s;
    sy_step_result r;
    sy_engine e;
    bed_open(&b, 1, settings);
    sy_expect_ok(sy_engine_init(&e, 2, kernels, &sy_builtin_methods, err));
    sy_engine_uninit(&b.eng);
    b.eng = e;
    sy_model *m = bed_model(&b);
    bed_stepper(&b, m, &s);
    for (int i = 0; i < STEPS; i++) {
        sy_expect_ok(sy_stepper_run(&s, &r, err));
        assert_false(r.skipped);
        loss[i] = r.loss;
    }
    sy_stepper_close(&s);
    sy_model_free(m);
    bed_close(&b);
}

static void write_curve(const char *path, const double *loss)
{
    sy_buf b = { 0 };
    for (int i = 0; i < STEPS; i++) sy_buf_printf(&b, "%.9f\n", loss[i]);
    sy_expect_ok(sy_file_write(path, b.data, b.n, err));
    sy_buf_free(&b);
}

static void test_curves(void **state)
{
    (void)state;
    for (size_t c = 0; c < SY_COUNT(curves); c++) {
        double loss[STEPS], want[STEPS];
        char path[256];
        snprintf(path, sizeof path, "tests/fixtures/curve-%s.txt", curves[c].name);
        if (getenv("SY_CURVE")) {
            curve(curves[c].settings, "ref", loss);
            write_curve(path, loss);
            continue;
        }
        sy_buf b = { 0 };
        sy_expect_ok(sy_file_read(path, 1 << 16, &b, err));
        char *at = b.data;
        for (int i = 0; i < STEPS; i++) want[i] = strtod(at, &at);
        assert_true(want[STEPS - 1] > 0 && want[STEPS - 1] < want[0] - 0.5);   /* it learns */
        sy_buf_free(&b);
        for (int k = 0; sy_kernels_at(k); k++) {
            double worst = 0;
            curve(curves[c].settings, sy_kernels_at(k)->name, loss);
            for (int i = 0; i < STEPS; i++) {
                sy_test_case("%s, kernels %s, step %d", curves[c].name, sy_kernels_at(k)->name, i + 1);
                sy_expect_near("loss", loss[i], want[i], curves[c].tolerance, 0);
                worst = fmax(worst, fabs(loss[i] - want[i]));
            }
            print_message("%s, kernels %s: within %.2g of the curve\n", curves[c].name, sy_kernels_at(k)->name, worst);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_curves) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
