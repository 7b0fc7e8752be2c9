/* core/log.c */
#include "core/log.h"

#include <stdarg.h>
#include <string.h>

#include "core/progress.h"
#include "core/utf8.h"

void sy_log_line(sy_log *log, sy_log_level level, const char *fmt, ...)
{
    if (!log || level > log->level || (!log->fn && !log->to)) return;
    char line[2048];
    size_t n = 0;
    if (level == SY_LOG_WARN && !log->fn) n = (size_t)snprintf(line, sizeof line, "warning: ");
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + n, 2001 - n, fmt, ap);
    va_end(ap);
    n = strlen(line);
    line[n -= sy_utf8_tail(line, n)] = 0;            /* a cut may split a character */
    sy_utf8_clean(line);
    if (log->fn) { log->fn(log->arg, level, line); return; }
    line[n] = '\n';
    if (log->bar) sy_progress_hide(log->bar);
    fwrite(line, 1, n + 1, log->to);                 /* one call, so that lines of threads do not mix; a log that cannot be written stops nothing */
    fflush(log->to);
    if (log->bar) sy_progress_show(log->bar);
}
