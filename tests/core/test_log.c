/* Log, progress, debugging switches. Oracle: the bytes that reach the stream; a pseudo-terminal of known width. */
#include "testing.h"

#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "core/debug.h"
#include "core/log.h"
#include "core/progress.h"

static void lines(void **s)
{
    (void)s;
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    sy_log log = { .level = SY_LOG_INFO, .to = f };
    sy_log_info(&log, "%d steps", 3);
    sy_log_debug(&log, "dropped");
    sy_log_warn(&log, "no room in '%s'", "\x1b]0;evil\x07\n");
    sy_log_info(NULL, "nobody");
    log.level = SY_LOG_NOTHING;
    sy_log_warn(&log, "dropped too");
    log.level = SY_LOG_DEBUG;
    sy_log_debug(&log, "kept");
    char big[5000];
    for (size_t i = 0; i + 2 < sizeof big; i += 2) memcpy(big + i, "\xC3\xA4", 2);
    big[4998] = 0;
    sy_log_info(&log, "x%s", big);
    fclose(f);
    assert_memory_equal(text, "3 steps\nwarning: no room in '?]0;evil? '\nkept\nx", 46);
    char *last = strstr(text, "\nx") + 1;
    assert_true(strlen(last) >= 1999 && strlen(last) <= 2001);
    assert_null(strchr(last, '?'));
    free(text);
}

typedef struct { sy_log_level level; char text[100]; int n; } caught;
static void catch(void *arg, sy_log_level level, const char *line)
{
    caught *c = arg;
    c->level = level;
    c->n++;
    snprintf(c->text, sizeof c->text, "%s", line);
}

static void to_a_function(void **s)
{
    (void)s;
    caught c = { 0 };
    sy_log log = { .level = SY_LOG_INFO, .fn = catch, .arg = &c };
    sy_log_warn(&log, "%s", "hot");
    assert_string_equal(c.text, "hot");
    assert_int_equal(c.level, SY_LOG_WARN);
    sy_log_debug(&log, "no");
    assert_int_equal(c.n, 1);
}

static void durations(void **s)
{
    (void)s;
    static const struct { double t; const char *want; } cases[] = {
        { 0, "0:00" }, { 7.4, "0:07" }, { 59.6, "1:00" }, { 754, "12:34" }, { 3723, "1:02:03" }, { 273900, "3d 04:05" }, { -1, "0:00" }, { 1e300, "over 99d" }, { 0.0 / 0.0, "0:00" },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        char buf[32];
        assert_string_equal(sy_duration(buf, sizeof buf, cases[i].t), cases[i].want);
    }
}

/* Lets `seconds` pass for this bar, without waiting. */
static void pass(sy_progress *p, double seconds) { p->began -= seconds; p->shown -= seconds; p->rate_at -= seconds; }

static void plain_lines(void **s)
{
    (void)s;
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    sy_progress p;
    sy_progress_open(&p, f, "tra\x1b" "in", 400, SY_PROGRESS_AUTO);      /* no terminal */
    p.unit = "step";
    assert_int_equal(p.mode, SY_PROGRESS_PLAIN);
    sy_progress_at(&p, 1, "loss 9");                 /* too early for a line */
    fflush(f);
    assert_int_equal(n, 0);
    pass(&p, 10);
    sy_progress_at(&p, 100, "loss 1.83");
    fflush(f);
    assert_non_null(strstr(text, "tra?in   25 %  100/400  "));
    assert_non_null(strstr(text, " step/s  0:30 left  loss 1.83\n"));
    sy_progress_close(&p, "trained");
    sy_progress_close(&p, "twice");
    fclose(f);
    assert_non_null(strstr(text, "\ntrained\n"));
    assert_null(strstr(text, "twice"));
    assert_null(strchr(text, '\r'));
    free(text);
}

static void ever_fewer_lines(void **s)
{
    (void)s;
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    sy_progress p;
    sy_progress_open(&p, f, "x", 0, SY_PROGRESS_PLAIN);
    int hour_lines = 0, first_minute = 0;
    for (int t = 1; t <= 3600; t++) {
        pass(&p, 1);
        sy_progress_at(&p, t, NULL);
        if (t == 60 || t == 3600) {
            fflush(f);
            for (size_t i = 0; i < n; i++) hour_lines += text[i] == '\n';
            if (t == 60) first_minute = hour_lines;
            if (t == 60) hour_lines = 0;
        }
    }
    fclose(f);
    assert_in_range(first_minute, 5, 12);
    assert_in_range(hour_lines, 55, 80);
    free(text);
}

static void a_resumed_run_has_its_own_rate(void **s)
{
    (void)s;
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    sy_progress p;
    sy_progress_open(&p, f, "x", 2000, SY_PROGRESS_PLAIN);
    p.from = 1000;
    pass(&p, 10);
    sy_progress_at(&p, 1020, NULL);
    fclose(f);
    assert_non_null(strstr(text, "2.0 /s  8:10 left"));
    free(text);
}

static void quiet(void **s)
{
    (void)s;
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    sy_progress p;
    sy_progress_open(&p, f, "x", 10, SY_PROGRESS_QUIET);
    pass(&p, 100);
    sy_progress_at(&p, 5, "y");
    sy_progress_hide(&p);
    sy_progress_show(&p);
    sy_progress_close(&p, "z");
    sy_progress_open(&p, NULL, "x", 10, SY_PROGRESS_AUTO);
    sy_progress_at(&p, 5, "y");
    sy_progress_close(&p, "z");
    p = (sy_progress){ 0 };
    sy_progress_close(&p, "never opened");
    fclose(f);
    assert_int_equal(n, 0);
    free(text);
}

/* Reads what the terminal got, and checks that no line is wider than the window. */
static void screen(int master, int columns, char *buf, size_t size)
{
    size_t n = 0;
    for (ssize_t k; n + 1 < size && (k = read(master, buf + n, size - 1 - n)) > 0; ) n += (size_t)k;
    buf[n] = 0;
    int wide = 0;
    for (char *c = buf; *c; c++) {
        if (*c == '\r' || *c == '\n') wide = 0;
        else if (!strncmp(c, "\033[K", 3)) c += 2;
        else wide += ((unsigned char)*c & 0xC0) != 0x80;
        if (wide >= columns) fail_msg("wider than %d columns: %s", columns, buf);
    }
}

static void on_a_terminal(void **s)
{
    (void)s;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (master < 0 || grantpt(master) || unlockpt(master)) { print_message("no pseudo-terminal here: left out\n"); return; }
    FILE *f = fopen(ptsname(master), "w");
    assert_non_null(f);
    char buf[8192];
    static const char *const locales[] = { "C", "C.UTF-8" };
    static const int widths[] = { 200, 80, 60, 30, 21 };
    setenv("TERM", "xterm", 1);
    for (size_t l = 0; l < SY_COUNT(locales); l++) {
        if (!setlocale(LC_CTYPE, locales[l])) continue;
        sy_progress p;
        sy_log log = { .level = SY_LOG_INFO, .to = f, .bar = &p };
        sy_progress_open(&p, f, "training", 400, SY_PROGRESS_AUTO);
        assert_int_equal(p.mode, SY_PROGRESS_BAR);
        p.unit = "step";
        for (size_t w = 0; w < SY_COUNT(widths); w++) {               /* the window is resized under the bar */
            sy_test_case("%d columns, %s", widths[w], locales[l]);
            assert_int_equal(ioctl(master, TIOCSWINSZ, &(struct winsize){ .ws_row = 24, .ws_col = (unsigned short)widths[w] }), 0);
            pass(&p, 10);
            sy_progress_at(&p, 100 + 50 * (double)w, "loss 1.83 \xC3\xA4\xC3\xA4\xC3\xA4\xC3\xA4");
            screen(master, widths[w], buf, sizeof buf);
            assert_non_null(strstr(buf, "training  "));
            if (widths[w] == 80) assert_non_null(strstr(buf, l ? "\u2501" : "[======>"));
            if (widths[w] == 200) assert_non_null(strstr(buf, "loss 1.83 \xC3\xA4"));
        }
        sy_progress_at(&p, 500, NULL);               /* drawn a moment ago: nothing; beyond the end later: 100 % */
        screen(master, 21, buf, sizeof buf);
        assert_string_equal(buf, "");
        sy_log_info(&log, "a line");
        screen(master, 21, buf, sizeof buf);
        assert_memory_equal(buf, "\r\033[Ka line\r\n\rtraining", 20);       /* wiped, printed, drawn again */
        assert_non_null(strstr(buf, "100 %"));
        sy_progress_close(&p, NULL);
        screen(master, 21, buf, sizeof buf);
        assert_string_equal(buf, "\r\033[K");
    }
    setlocale(LC_CTYPE, "C");
    setenv("TERM", "dumb", 1);
    sy_progress p;
    sy_progress_open(&p, f, "x", 10, SY_PROGRESS_AUTO);
    assert_int_equal(p.mode, SY_PROGRESS_PLAIN);
    sy_progress_close(&p, NULL);
    fclose(f);
    close(master);
}

static void switches(void **s)
{
    (void)s;
    sy_debug d = { .kernels = "left over" };
    sy_err e = { 0 }, *err = &e;
    unsetenv("SY_KERNELS");
    setenv("SY_CHECK", "", 1);
    sy_expect_ok(sy_debug_read(&d, err));
    assert_null(d.kernels);
    assert_null(d.check);
    setenv("SY_KERNELS", "avx2", 1);
    setenv("SY_CHECK", "nan", 1);
    sy_expect_ok(sy_debug_read(&d, err));
    assert_string_equal(d.kernels, "avx2");
    assert_string_equal(d.check, "nan");
    setenv("SY_KERNELS", "AVX2", 1);
    sy_expect_fail(sy_debug_read(&d, err), SY_EARG, "SY_KERNELS is 'AVX2'; it can be ref, avx2, avx512, avx512bf16, amx, or not set");
    assert_string_equal(d.kernels, "avx2");          /* as it was */
    unsetenv("SY_KERNELS");
    unsetenv("SY_CHECK");
    sy_buf b = { 0 };
    sy_debug_help(&b);
    for (const sy_switch *w = sy_switches; w->variable; w++) {
        assert_non_null(strstr(b.data, w->variable));
        assert_non_null(strstr(b.data, w->help));
    }
    sy_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines), cmocka_unit_test(to_a_function), cmocka_unit_test(durations), cmocka_unit_test(plain_lines), cmocka_unit_test(ever_fewer_lines),
        cmocka_unit_test(a_resumed_run_has_its_own_rate), cmocka_unit_test(quiet), cmocka_unit_test(on_a_terminal), cmocka_unit_test(switches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
