/* tests/report/html.h - a plain parser that a page must please. */
#ifndef SY_TESTS_REPORT_HTML_H
#define SY_TESTS_REPORT_HTML_H

#include "testing.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static inline bool is_void(const char *name, size_t n)
{
    static const char *const names[] = { "meta", "br", "hr", "wbr", "input", "link", "img" };
    for (size_t i = 0; i < SY_COUNT(names); i++)
        if (n == strlen(names[i]) && !memcmp(name, names[i], n)) return true;
    return false;
}

/* Tags balance, attributes are quoted, & begins a reference, ids are unique; raw text ends at its own end tag. */
static inline void check_html(const char *p)
{
    char open[64][16], ids[64][40];
    int depth = 0, n_id = 0;
    assert_memory_equal(p, "<!doctype html>\n", 16);
    for (p += 16; *p;) {
        if (*p == '&') {
            size_t n = strspn(p + 1, "#abcdefghijklmnopqrstuvwxyz0123456789");
            if (!n || p[1 + n] != ';') fail_msg("a bare & at %.30s", p);
        }
        assert_true(*p != '>');
        if (*p != '<') { p++; continue; }
        bool close = p[1] == '/';
        const char *name = p + 1 + close;
        size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");
        if (!n || n > 15) fail_msg("a bare < at %.30s", p);
        bool self = false;
        for (p = name + n; *p && *p != '>'; p++) {
            if (*p == '/') self = true;
            if (*p != '"') continue;
            assert_true(p[-1] == '=');
            if (!memcmp(p - 4, " id=", 4)) {
                snprintf(ids[n_id], sizeof ids[0], "%.*s", (int)strcspn(p + 1, "\""), p + 1);
                for (int i = 0; i < n_id; i++) assert_string_not_equal(ids[i], ids[n_id]);
                n_id++;
                assert_true(n_id < 64);
            }
            p += 1 + strcspn(p + 1, "\"");
        }
        assert_true(*p == '>');
        p++;
        if (close) {
            if (!depth || strlen(open[depth - 1]) != n || memcmp(open[depth - 1], name, n)) fail_msg("</%.*s> closes %s", (int)n, name, depth ? open[depth - 1] : "nothing");
            depth--;
        } else if (!self && !is_void(name, n)) {
            assert_true(depth < 64);
            snprintf(open[depth++], sizeof open[0], "%.*s", (int)n, name);
            if (!strcmp(open[depth - 1], "script") || !strcmp(open[depth - 1], "style")) {
                char end[20];
                snprintf(end, sizeof end, "</%s>", open[depth - 1]);
                p = strstr(p, end);
                assert_non_null(p);
            }
        }
    }
    assert_int_equal(depth, 0);
}

#endif
