/* tests/report/runs.h - run folders that tests write: believable ones, and broken ones. */
#ifndef SY_TEST_RUNS_H
#define SY_TEST_RUNS_H

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "testing.h"

static const char *const run_domain[] = { "c", "manuals", "shell" };

/* Writes FILE of a run folder below the test's own; `text` may hold any bytes. Returns the folder. */
static inline const char *run_file(const char *run, const char *file, const void *text, size_t n)
{
    static char dir[4][1200];
    static int turn;
    char path[1400];
    char *d = dir[turn++ % 4];
    snprintf(d, sizeof dir[0], "%s/%s", sy_test_dir(), run);
    snprintf(path, sizeof path, "%s/%s", d, file);
    sy_expect_ok(sy_mkdirs(d, err));
    sy_expect_ok(sy_file_write(path, text, n, err));
    return d;
}
#define RUN_TEXT(run, file, text) run_file(run, file, text, sizeof(text) - 1)

static inline double run_loss(int step, int domain, bool sparse) { return 1 + domain * 0.125 + 40.0 / (step + 10) + (sparse ? 0 : 0.0625); }

/* A whole run of 100 steps with 2 sparse layers of 4 experts (or dense). */
static inline const char *run_make(const char *run, bool sparse)
{
    sy_buf b = { 0 };
    for (int s = 1; s <= 100; s++) {
        sy_buf_printf(&b, "{\"step\":%d,\"tokens\":%d,\"loss\":%.17g,\"lr\":0.001,\"grad_norm\":0.5,\"tokens_per_s\":1000,\"aux\":{%s}", s, s * 512, 2.5 + 1.0 / s, sparse ? "\"switch\":0.01" : "");
        sy_buf_printf(&b, ",\"loss_by_domain\":{\"c\":%.17g}", 2 + 1.0 / s);
        if (s % 50 == 0) {
            double all = 0;
            sy_buf_text(&b, ",\"eval\":{");
            for (int d = 0; d < 3; d++) {
                sy_buf_printf(&b, "\"%s\":{\"nats_per_byte\":%.17g,\"nats_per_token\":%.17g},", run_domain[d], run_loss(s, d, sparse), 3 * run_loss(s, d, sparse));
                all += run_loss(s, d, sparse) / 3;
            }
            sy_buf_printf(&b, "\"all\":{\"nats_per_byte\":%.17g,\"nats_per_token\":%.17g}}", all, 3 * all);
            if (sparse) sy_buf_text(&b, ",\"routing\":[{\"layer\":1,\"maxvio\":0.5,\"entropy\":1.25,\"dropped\":0},{\"layer\":3,\"maxvio\":0.25,\"entropy\":1,\"dropped\":0.01}]");
        }
        sy_buf_text(&b, "}\n");
    }
    run_file(run, "metrics.jsonl", b.data, b.n);
    sy_buf_clear(&b);
    sy_buf_printf(&b, "{\"switchyard\":\"0.1.0\",\"commit\":\"abc\",\"model\":{\"num_experts\":%d},\"train\":{\"seed\":7},\"data\":{},\"derived\":{\"steps\":100,\"parameters\":5000,\"active_parameters\":2000,\"flops_per_token\":12000}}", sparse ? 4 : 0);
    run_file(run, "run.json", b.data, b.n);
    if (sparse)
        RUN_TEXT(run, "routing.json", "{\"domains\":[\"c\",\"manuals\",\"shell\"],\"layers\":[{\"layer\":1,\"experts\":4,\"zero\":0,\"load\":[1,2,3,4],\"by_domain\":[[1,0,1,2],[0,1,1,1],[0,1,1,1]],"
            "\"entropy\":1.2,\"dropped\":0,\"passed\":0,\"specialisation\":0.1,\"maxvio\":0.6,\"coactivation\":[[0,1,1,1],[0,0,1,1],[0,0,0,1],[0,0,0,0]],\"top_tokens\":[[{\"token\":\" the\",\"share\":0.5,\"count\":1}],[],[],[]]}],"
            "\"sentence\":{\"tokens\":[\"a\",\" b\"],\"layers\":[[{\"experts\":[0,1],\"weights\":[0.75,0.25]},{\"experts\":[],\"weights\":[]}]],\"next\":[[{\"token\":\"x\",\"p\":0.5}],[]]}}");
    sy_buf_free(&b);
    return RUN_TEXT(run, "samples.jsonl", "{\"step\":100,\"prompt\":\"The \",\"text\":\"end\"}\n");
}

#endif
