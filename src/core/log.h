/* core/log.h - what a program tells the people who run it, line by line.
 *
 * A log is an object that is handed down; there is no global one, and a NULL log swallows everything. Results do not belong
 * here (they are returned or written), failures neither (they are statuses). Lines of several threads do not mix. */
#ifndef SY_LOG_H
#define SY_LOG_H

#include <stdio.h>

#include "core/status.h"

typedef enum { SY_LOG_NOTHING, SY_LOG_WARN, SY_LOG_INFO, SY_LOG_DEBUG } sy_log_level;

struct sy_progress;

typedef struct sy_log {
    sy_log_level level;                 /* lines above it are dropped */
    FILE        *to;                    /* where lines go; NULL: nowhere */
    void       (*fn)(void *arg, sy_log_level level, const char *line);  /* takes the lines instead of `to` when set; no newline */
    void        *arg;
    struct sy_progress *bar;            /* a bar on the same terminal: wiped before a line and drawn again below it; may be NULL */
} sy_log;

/* One line, at most 2000 bytes, cut at the end; control characters (a file's text may hold escapes) become '?'. */
void sy_log_line(sy_log *log, sy_log_level level, const char *fmt, ...) SY_PRINTF(3, 4);
#define sy_log_warn(log, ...)  sy_log_line((log), SY_LOG_WARN, __VA_ARGS__)       /* printed as "warning: ..." */
#define sy_log_info(log, ...)  sy_log_line((log), SY_LOG_INFO, __VA_ARGS__)
#define sy_log_debug(log, ...) sy_log_line((log), SY_LOG_DEBUG, __VA_ARGS__)

#endif
