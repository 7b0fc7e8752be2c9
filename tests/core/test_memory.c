/* How much memory is left: a number that a large block lowers, and that is never more than the machine has. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static double total(void)
{
    double kb = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    if (!f || fscanf(f, "MemTotal: %lf", &kb) != 1) skip();
    fclose(f);
    return kb * 1024;
}

static void left(void **s)
{
    (void)s;
    double l = sy_memory_left();
    assert_true(l > 0);
    assert_true(l <= total());
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(left) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
