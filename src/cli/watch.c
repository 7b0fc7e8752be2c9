/* cli/watch.c */
#include "cli/watch.h"

#include <string.h>

#include "build_info.h"

bool sy_watch_stop(void *cli) { return *((sy_cli *)cli)->stop; }

void sy_watch_tell(const sy_trials *t, const char *what, void *watch)
{
    sy_watch *w = watch;
    if (!w->open) {
        sy_progress_open(&w->bar, stderr, "runs", 0, w->cli->progress);
        w->bar.unit = "run";
        w->open = true;
    }
    w->done = t->done, w->found = t->found;
    w->bar.total = t->all - t->found;
    sy_progress_at(&w->bar, t->done - t->found, what);
}

void sy_watch_close(sy_watch *w, sy_status st)
{
    if (!w->open) return;
    sy_progress_close(&w->bar, NULL);
    if (st == SY_ESTOP) sy_log_info(&w->cli->log, "%d runs were made and are kept; the same command goes on from there", w->done - w->found);
}

void sy_made_by(sy_buf *page, const char *words, const char *const *data, int n_data, int seeds, double budget, bool tuned, const char *kernels)
{
    sy_buf_printf(page, "`switchyard %s`", words);
    for (int i = 0; i < n_data; i++) {
        const char *eq = strchr(data[i], '='), *slash = strrchr(data[i], '/');
        sy_buf_printf(page, "%s%.*s%s", i ? ", " : " with --data ", eq ? (int)(eq - data[i] + 1) : 0, data[i], slash ? slash + 1 : eq ? eq + 1 : data[i]);
    }
    if (seeds) sy_buf_printf(page, " --seeds %d", seeds);
    if (budget) sy_buf_printf(page, " --budget %g", budget);
    if (!tuned) sy_buf_text(page, " --no-tuning");
    sy_buf_printf(page, " (version %s, commit %s, kernels %s)", SY_VERSION, SY_COMMIT, kernels);
}
