/* model/template.h - chat templates: the part of Jinja 2 that chat templates are written in, as transformers runs it.
 *
 * Trim and lstrip of blocks are on, loop controls and `generation` blocks are known, undefined names behave as Jinja's, values
 * as Python's; what is left out of the language (include, import, extends, block, autoescape, some filters) is refused by name. Case is changed
 * letter by letter (no special casing of one letter into two but for the sharp s); whole numbers have 64 bits; `escape` gives plain text.
 *
 * A template is hostile: steps, depth, memory and output are limited, and it reaches nothing but the values that it is given.
 * Every byte of the output says where it came from, so that text which a user wrote can never become a special token. */
#ifndef SY_TEMPLATE_H
#define SY_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/json.h"
#include "core/status.h"

typedef struct sy_template sy_template;

enum { SY_FROM_INPUT = 1, SY_GENERATED = 2 };        /* marks of a byte: it came with the values; it stands in a `generation` block */

typedef struct sy_template_limits {     /* 0 = the default that is named */
    uint64_t steps;                     /* 2^25: nodes evaluated, 16 bytes of text copied, ... */
    size_t   memory, output;            /* 512 MiB; 64 MiB */
} sy_template_limits;

typedef struct sy_template_input {
    const json_t *given;                /* an object: messages, tools, ...: all texts in it are input, but for roles that are one plain word */
    const json_t *own;                  /* an object or NULL: bos_token, ...: as if it stood in the template */
    int64_t       now;                  /* strftime_now: seconds since 1970, in local time; 0 = the clock's */
    sy_template_limits limits;
} sy_template_input;

typedef struct sy_rendering {           /* zeroed before the first use */
    sy_buf text;
    sy_buf mark;                        /* as many bytes as the text has */
} sy_rendering;

/* `name` stands in sentences, before the line. SY_EFORMAT: malformed, with the line; SY_EUNSUP: a part of Jinja that is left out. */
sy_status sy_template_parse(sy_template **out, const char *text, size_t n, const char *name, sy_err *err);
void      sy_template_close(sy_template *t);                         /* NULL is fine */
bool      sy_template_generates(const sy_template *t);               /* it has `generation` blocks */
/* Replaces what `out` holds. SY_EFORMAT: a failure of the template, its own raise_exception too; SY_ESHAPE: a limit was reached. */
sy_status sy_template_render(const sy_template *t, const sy_template_input *in, sy_rendering *out, sy_err *err);
void      sy_rendering_free(sy_rendering *r);

#endif
