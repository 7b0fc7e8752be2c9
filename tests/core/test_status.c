/* Statuses and sentences. Oracle: the words themselves. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"

static void names(void **s)
{
    (void)s;
#define X(name, value, text) assert_string_equal(sy_status_text(name), text); assert_int_equal(name, value);
    SY_STATUS_LIST(X)
#undef X
    assert_string_equal(sy_status_text((sy_status)-99), "unknown status");
}

static void sentence(void **s)
{
    (void)s;
    sy_err e = { 0 };
    assert_int_equal(sy_fail(&e, SY_ESHAPE, "%d is not %d", 2, 3), SY_ESHAPE);
    assert_int_equal(e.status, SY_ESHAPE);
    assert_int_equal(sy_within(&e, SY_ESHAPE, "layer %d", 4), SY_ESHAPE);
    assert_string_equal(e.text, "layer 4: 2 is not 3");
    assert_int_equal(sy_within(&e, SY_OK, "nothing"), SY_OK);
    assert_string_equal(e.text, "layer 4: 2 is not 3");
    assert_int_equal(sy_fail(NULL, SY_EIO, "no one listens"), SY_EIO);
    assert_int_equal(sy_within(NULL, SY_EIO, "nowhere"), SY_EIO);
}

static void no_escapes_from_files(void **s)
{
    (void)s;
    sy_err e = { 0 };
    sy_fail(&e, SY_EFORMAT, "tensor '%s'", "a\x1b[31m\nb\xff\xc2\x9b\x7f");
    assert_string_equal(e.text, "tensor 'a?[31m b\?\?\?\?'");
}

static void long_sentences_are_cut_between_characters(void **s)
{
    (void)s;
    char big[4000];
    for (size_t i = 0; i + 2 < sizeof big; i += 2) memcpy(big + i, "\xC3\xA4", 2);
    big[sizeof big - 2] = 0;
    for (int pad = 0; pad < 2; pad++) {
        sy_err e = { 0 };
        sy_fail(&e, SY_EFORMAT, "%.*s%s", pad, "x", big);
        assert_true(strlen(e.text) >= sizeof e.text - 2);
        assert_null(strchr(e.text, '?'));
        for (int i = 0; i < 10; i++) sy_within(&e, SY_EFORMAT, "%.*s %s", pad, "y", big);
        assert_int_equal(sy_utf8_tail(e.text, strlen(e.text)), 0);
        assert_null(strchr(e.text, '?') ? strstr(e.text, "??") : NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names), cmocka_unit_test(sentence), cmocka_unit_test(no_escapes_from_files),
        cmocka_unit_test(long_sentences_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
