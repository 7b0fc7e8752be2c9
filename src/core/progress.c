/* core/progress.c */
#include "core/progress.h"

#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/utf8.h"

enum { LEAST_WIDTH = 20, BAR_MOST = 32, BAR_LEAST = 8 };

char *sy_duration(char *buf, size_t size, double seconds)
{
    if (!(seconds >= 0)) seconds = 0;
    if (seconds > 99 * 86400.0) { snprintf(buf, size, "over 99d"); return buf; }
    long s = lround(seconds);
    if (s < 3600) snprintf(buf, size, "%ld:%02ld", s / 60, s % 60);
    else if (s < 86400) snprintf(buf, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else snprintf(buf, size, "%ldd %02ld:%02ld", s / 86400, s / 3600 % 24, s / 60 % 60);
    return buf;
}

static bool can_draw(FILE *to)
{
    int fd = fileno(to);                             /* -1 for a stream without a file */
    const char *term = getenv("TERM");
    return fd >= 0 && isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

static int width_of(FILE *to)
{
    struct winsize w;
    return ioctl(fileno(to), TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

void sy_progress_open(sy_progress *p, FILE *to, const char *what, double total, sy_progress_mode mode)
{
    double now = sy_now();
    *p = (sy_progress){ .to = to, .mode = mode, .unit = "", .total = total > 0 ? total : 0, .began = now, .rate_at = now, .shown = now, .gap = 2 };
    if (!to) p->mode = SY_PROGRESS_QUIET;
    else if (mode == SY_PROGRESS_AUTO) p->mode = can_draw(to) ? SY_PROGRESS_BAR : SY_PROGRESS_PLAIN;
    snprintf(p->what, sizeof p->what, "%s", what);
    sy_utf8_clean(p->what);
}

/* Columns of a text, a character counted as one; at most `most` of them, *bytes gets the length of those. */
static int columns(const char *s, int most, size_t *bytes)
{
    int n = 0;
    size_t i = 0;
    while (s[i] && n < most) {
        do i++; while (((unsigned char)s[i] & 0xC0) == 0x80);
        n++;
    }
    *bytes = i;
    return n;
}

/* "168/400  3.1 step/s  1:15 left  loss 1.832" */
static void describe(const sy_progress *p, char *buf, size_t size)
{
    char left[32], rate[64] = "", eta[48] = "", of[32] = "";
    double r = p->rate_weight > 0 ? p->rate / p->rate_weight : 0;
    if (r > 0) {
        if (r >= 0.1) snprintf(rate, sizeof rate, "  %.*f %s/s", r < 100 ? 1 : 0, r, p->unit);
        else snprintf(rate, sizeof rate, "  %.1f s per %s", 1 / r, *p->unit ? p->unit : "item");
        if (p->total > p->done) snprintf(eta, sizeof eta, "  %s left", sy_duration(left, sizeof left, (p->total - p->done) / r));
    }
    if (p->total) snprintf(of, sizeof of, "/%.12g", p->total);
    snprintf(buf, size, "%.12g%s%s%s%s%s", p->done, of, rate, eta, *p->extra ? "  " : "", p->extra);
}

static void draw_bar(sy_progress *p)
{
    char text[512], line[1024];
    describe(p, text, sizeof text);
    size_t bytes;
    int width = width_of(p->to) - 1;                 /* the last column stays free: some terminals wrap there */
    if (width < LEAST_WIDTH) width = LEAST_WIDTH;
    int room = (width - 10) / 4;                     /* of the bar: does not follow the text, or it would jump */
    if (room > BAR_MOST) room = BAR_MOST;
    int n = snprintf(line, sizeof line, "%s  ", p->what);
    if (p->total) {
        double share = p->done < p->total ? p->done / p->total : 1;
        if (room >= BAR_LEAST) {
            bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;      /* plain ASCII unless the program chose a UTF-8 locale */
            int full = (int)(share * room);
            n += snprintf(line + n, sizeof line - (size_t)n, "[");
            for (int i = 0; i < room; i++)
                n += snprintf(line + n, sizeof line - (size_t)n, "%s", i < full ? (utf8 ? "\u2501" : "=") : i == full && !utf8 ? ">" : " ");
            n += snprintf(line + n, sizeof line - (size_t)n, "]  ");
        }
        n += snprintf(line + n, sizeof line - (size_t)n, "%3d %%  ", (int)(share * 100));
    }
    snprintf(line + n, sizeof line - (size_t)n, "%s", text);
    columns(line, width, &bytes);
    fprintf(p->to, "\r%.*s\033[K", (int)bytes, line);
    fflush(p->to);
    p->on_screen = true;
}

static void print_line(sy_progress *p)
{
    char text[512];
    describe(p, text, sizeof text);
    if (p->total) fprintf(p->to, "%s  %3d %%  %s\n", p->what, (int)(100 * (p->done < p->total ? p->done / p->total : 1)), text);
    else fprintf(p->to, "%s  %s\n", p->what, text);
    fflush(p->to);
}

void sy_progress_at(sy_progress *p, double done, const char *extra)
{
    if (p->mode == SY_PROGRESS_QUIET) return;
    double now = sy_now(), since = now - p->rate_at;
    p->done = done;
    if (extra) {
        snprintf(p->extra, sizeof p->extra, "%s", extra);
        sy_utf8_clean(p->extra);
    }
    if (since >= 0.05) {                             /* rate = sum of w * speed / sum of w, where w fades with a time of 20 s */
        double keep = exp(-since / 20), before = p->rate_done > p->from ? p->rate_done : p->from;
        p->rate = keep * p->rate + (1 - keep) * (done - before) / since;
        p->rate_weight = keep * p->rate_weight + (1 - keep);
        p->rate_at = now;
        p->rate_done = done;
    }
    if (p->mode == SY_PROGRESS_BAR) {
        if (p->on_screen && now - p->shown < 0.1) return;
        draw_bar(p);
    } else {
        if (now - p->shown < p->gap) return;
        print_line(p);
        p->gap = (now - p->began) / 4;
        if (p->gap < 5) p->gap = 5;
        if (p->gap > 60) p->gap = 60;
    }
    p->shown = now;
}

void sy_progress_hide(sy_progress *p)
{
    if (!p->on_screen) return;
    fprintf(p->to, "\r\033[K");
    fflush(p->to);
    p->on_screen = false;
}

void sy_progress_show(sy_progress *p)
{
    if (p->mode == SY_PROGRESS_BAR && p->to) draw_bar(p);
}

void sy_progress_close(sy_progress *p, const char *final_text)
{
    if (!p->to) return;                              /* never opened, or closed */
    sy_progress_hide(p);
    if (final_text && p->mode != SY_PROGRESS_QUIET) {
        fprintf(p->to, "%s\n", final_text);
        fflush(p->to);
    }
    p->to = NULL;
    p->mode = SY_PROGRESS_QUIET;
}
