/* Numbers as text, checksums, clocks. Oracles: strtod; the check values of CRC-32C (RFC 3720, appendix B.4) and of SHA-256 (FIPS 180-4);
 * a masked checksum of a record that TensorBoard wrote. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/crc.h"
#include "core/number.h"
#include "core/sha256.h"

static void shortest_text(void **s)
{
    (void)s;
    static const struct { double v; const char *want; } cases[] = {
        { 0, "0" }, { -0.0, "-0" }, { 0.1, "0.1" }, { 1.0 / 3, "0.3333333333333333" }, { 0.1 + 0.2, "0.30000000000000004" }, { 1e22, "1e+22" }, { 123456789, "123456789" },
        { 5e-324, "5e-324" }, { 1.7976931348623157e308, "1.7976931348623157e+308" }, { INFINITY, "inf" }, { -INFINITY, "-inf" }, { NAN, "nan" },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        char buf[32], *end;
        const char *got = sy_real_text(buf, sizeof buf, cases[i].v);
        if (strcmp(got, cases[i].want) && !(isnan(cases[i].v) && !strcmp(got, "-nan"))) fail_msg("%s, want %s", got, cases[i].want);
        double back = sy_real_read(got, &end);
        assert_int_equal(*end, 0);
        if (!isnan(back)) sy_expect_same(got, &back, &cases[i].v, sizeof back);
    }
}

static void crc(void **s)
{
    (void)s;
    unsigned char b[32];
    memset(b, 0, sizeof b);
    assert_int_equal(sy_crc32c(0, b, 32), 0x8A9136AA);
    memset(b, 255, sizeof b);
    assert_int_equal(sy_crc32c(0, b, 32), 0x62A8AB43);
    for (int i = 0; i < 32; i++) b[i] = (unsigned char)i;
    assert_int_equal(sy_crc32c(0, b, 32), 0x46DD794E);
    for (int i = 0; i < 32; i++) b[i] = (unsigned char)(31 - i);
    assert_int_equal(sy_crc32c(0, b, 32), 0x113FDB5C);
    assert_int_equal(sy_crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(sy_crc32c(sy_crc32c(0, "1234", 4), "56789", 5), 0xE3069283);
    assert_int_equal(sy_crc32c(0, "", 0), 0);
    assert_int_equal(sy_crc32c_masked("123456789", 9), 0xC78AB0E5);
    /* the length field of the first record of an event file (24 bytes), and its checksum as it stands there */
    assert_int_equal(sy_crc32c_masked("\x18\0\0\0\0\0\0\0", 8), 0x224B7FA3);
}

static void sha(void **s)
{
    (void)s;
    static const struct { const char *text; int times; const char *want; } cases[] = {
        { "", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
        { "a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_sha256 h;
        unsigned char digest[32];
        char hex[65];
        sy_sha256_start(&h);
        for (int k = 0; k < cases[i].times; k++) sy_sha256_add(&h, cases[i].text, strlen(cases[i].text));
        sy_sha256_end(&h, digest);
        assert_string_equal(sy_hex(digest, 32, hex), cases[i].want);
    }
    for (size_t cut = 0; cut <= 130; cut++) {        /* any cut of the input gives the same */
        char text[131];
        unsigned char whole[32], parts[32];
        sy_sha256 h;
        memset(text, 'q', sizeof text);
        sy_sha256_start(&h);
        sy_sha256_add(&h, text, sizeof text);
        sy_sha256_end(&h, whole);
        sy_sha256_start(&h);
        sy_sha256_add(&h, text, cut);
        sy_sha256_add(&h, text + cut, sizeof text - cut);
        sy_sha256_end(&h, parts);
        assert_memory_equal(whole, parts, 32);
    }
}

static void clocks(void **s)
{
    (void)s;
    double a = sy_now(), w = sy_wall();
    usleep(2000);
    double b = sy_now();
    assert_true(b - a >= 0.002 && b - a < 60);
    assert_true(w > 1.6e9 && sy_wall() >= w - 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(shortest_text), cmocka_unit_test(crc), cmocka_unit_test(sha), cmocka_unit_test(clocks) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
