/* core/status.c - the one list of statuses, and the sentences. */
#include "core/status.h"

#include <stdio.h>
#include <string.h>

#include "core/utf8.h"

const char *sy_status_text(sy_status status)
{
    switch (status) {
#define X(name, value, text) case name: return text;
        SY_STATUS_LIST(X)
#undef X
    }
    return "unknown status";
}

/* A cut may split a character, and what was quoted from a file may hold anything. */
static void finish(char *text)
{
    size_t n = strlen(text);
    text[n - sy_utf8_tail(text, n)] = 0;
    sy_utf8_clean(text);
}

sy_status sy_fail(sy_err *err, sy_status status, const char *fmt, ...)
{
    if (!err) return status;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    finish(err->text);
    err->status = status;
    return status;
}

sy_status sy_within(sy_err *err, sy_status status, const char *fmt, ...)
{
    if (!err || status == SY_OK) return status;
    char place[256], inner[sizeof err->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(place, sizeof place, fmt, ap);
    va_end(ap);
    memcpy(inner, err->text, sizeof inner);
    inner[sizeof inner - 1] = 0;
    int n = snprintf(err->text, sizeof err->text, "%s: ", place);
    size_t room = sizeof err->text - (size_t)n - 1, len = strlen(inner);
    if (len > room) len = room;
    memcpy(err->text + n, inner, len);
    err->text[(size_t)n + len] = 0;
    finish(err->text);
    err->status = status;
    return status;
}
