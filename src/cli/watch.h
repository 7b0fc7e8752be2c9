/* cli/watch.h - what reproduce and compare tell while many runs are made, and by what they were made. */
#ifndef SY_CLI_WATCH_H
#define SY_CLI_WATCH_H

#include "cli/cli.h"
#include "experiments/trials.h"

typedef struct sy_watch { sy_progress bar; bool open; int done, found; sy_cli *cli; } sy_watch;    /* zeroed but for cli */

bool sy_watch_stop(void *cli);                      /* for sy_bed_context: whether a signal came */
/* For sy_trials.tell: a bar over the runs that the store does not have, so that the time left is that of runs. */
void sy_watch_tell(const sy_trials *t, const char *what, void *watch);
/* Wipes the bar; after a stop, says what is kept. */
void sy_watch_close(sy_watch *w, sy_status st);

/* "`switchyard WORDS` with --data a=x --seeds 3 --budget 0.1 --no-tuning (version ..., commit ..., kernels ...)": sources without their folders; a number
 * that is 0 was not given. */
void sy_made_by(sy_buf *page, const char *words, const char *const *data, int n_data, int seeds, double budget, bool tuned, const char *kernels);

#endif
