/* report/page.c */
#include "report/page.h"

#include <math.h>
#include <stdio.h>

#include "core/utf8.h"
#include "report/sheet.h"

void sy__html(sy_buf *o, const char *text)
{
    for (size_t i = 0, n = strlen(text); i < n;) {
        uint32_t c;
        int len = sy_utf8_next(text + i, n - i, &c);
        if (len < 0 || sy__is_unseen(c)) sy_buf_text(o, "\xEF\xBF\xBD");
        else if (c == '<') sy_buf_text(o, "&lt;");
        else if (c == '>') sy_buf_text(o, "&gt;");
        else if (c == '&') sy_buf_text(o, "&amp;");
        else if (c == '"') sy_buf_text(o, "&quot;");
        else if (c == '\'') sy_buf_text(o, "&#39;");
        else sy_buf_put(o, text + i, (size_t)len);
        i += (size_t)(len < 0 ? -len : len);
    }
}

void sy__number(sy_buf *o, const char *fmt, double v)
{
    char b[64];
    if (!isfinite(v)) { sy_buf_text(o, "\u2013"); return; }
    snprintf(b, sizeof b, fmt, v);
    for (const char *p = b; *p; p++)
        if (*p == '-') sy_buf_text(o, "\u2212");
        else sy_buf_put(o, p, 1);
}

void sy__page_open(sy_buf *o, const char *title, const char *const *anchor, const char *const *word, int n)
{
    sy_buf_text(o, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                   "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"><meta name=\"color-scheme\" content=\"light dark\">\n<title>");
    sy__html(o, title);
    sy_buf_text(o, " \u00b7 switchyard</title>\n<style>\n");
    sy_buf_text(o, sy__report_css);
    sy_buf_text(o, sy__league_css);
    sy_buf_text(o, "</style></head><body>\n<a class=\"skip\" href=\"#main\">Skip to the results</a>\n<header class=\"top\"><div class=\"bar\"><p class=\"brand\">"
                   "<svg viewBox=\"0 0 28 20\" width=\"28\" height=\"20\" aria-hidden=\"true\"><path d=\"M1 10h8c5 0 5-8 10-8h8M9 10h18M9 10c5 0 5 8 10 8h8\"/></svg>switchyard</p><nav aria-label=\"Sections\">");
    for (int i = 0; i < n; i++) {
        sy_buf_text(o, "<a href=\"#");
        sy__html(o, anchor[i]);
        sy_buf_text(o, "\">");
        sy__html(o, word[i]);
        sy_buf_text(o, "</a>");
    }
    sy_buf_text(o, "</nav></div></header>\n<main id=\"main\">\n");
}

void sy__page_close(sy_buf *o, const char *made_by)
{
    sy_buf_text(o, "</main>\n<footer><p>Made by ");
    sy__html(o, made_by);
    sy_buf_text(o, ". This file holds all of its data and asks the network for nothing.</p></footer>\n</body></html>\n");
}
