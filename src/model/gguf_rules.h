/* model/gguf_rules.h - the names of tokenizer.ggml.pre and what they mean: expressions that cut a text into words, one after the other. One table, read in
 * both directions. */
#ifndef SY_GGUF_RULES_H
#define SY_GGUF_RULES_H

#include <stdbool.h>

#include "core/buffer.h"

typedef struct sy_gguf_rule {
    const char *names;                  /* with spaces between; the first one is written */
    const char *regex[7];               /* in the order of use, ended by NULL; [CASED] stands for a long list of letters */
    bool        ignore_merges;          /* a word of the vocabulary is its id, whatever the merges give */
} sy_gguf_rule;

const sy_gguf_rule *sy_gguf_rule_named(const char *pre);             /* NULL: not known */
/* The rule that cuts by these expressions, which are ended by NULL and have line ends as \r and \n; of several the one with this ignore_merges. *out NULL: none. */
sy_status sy_gguf_rule_of(const char *const *regex, bool ignore_merges, const sy_gguf_rule **out, sy_err *err);

void sy_gguf_rule_regex(const char *regex, sy_buf *out);             /* appends an expression of the table, written out */

#endif
