/* fuzz/fuzz_template.c - a chat template from hostile bytes, rendered with a conversation that has text, tools and odd values; limits are small, so that what
 * does not end is told from what is slow. Marks must be as long as the text. */
#include <stdlib.h>

#include "model/template.h"

static const char given[] = "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"h\u00e9 <x> 'q' \\n\"}, {\"role\": \"assistant\", \"content\": null, "
                            "\"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1.5, \"b\": [true, \"t\"]}}}]}], \"tools\": [{\"type\": \"function\"}], \"n\": 3, \"x\": -7.25, "
                            "\"l\": [3, 1, 2], \"d\": {\"a\": 1, \"items\": 2}, \"s\": \"Hello, World\", \"add_generation_prompt\": true, \"bos_token\": \"<s>\"}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *values;
    sy_template *t = NULL;
    sy_rendering r = { 0 };
    sy_err err;
    if (!values && sy_json_parse(&values, given, sizeof given - 1, "values", &err) != SY_OK) abort();
    if (sy_template_parse(&t, (const char *)data, size, "fuzz", &err) != SY_OK) return 0;
    sy_template_input in = { .given = values, .now = 1722000000, .limits = { .steps = 100000, .memory = 8 << 20, .output = 1 << 20 } };
    if (sy_template_render(t, &in, &r, &err) == SY_OK && r.text.n != r.mark.n) abort();
    sy_rendering_free(&r);
    sy_template_close(t);
    return 0;
}
