/* model/pretoken.h - what happens to text before BPE: Unicode's normal form C, and the cut into words.
 *
 * Bytes that are not UTF-8 belong to the text: each malformed part (as core/utf8.h counts them) is a character of its own that is neither
 * letter, digit nor space, and goes through unchanged. Categories are those of utf8proc (2.8: of Unicode 15; letters and digits that came later are neither).
 * Knows nothing of vocabularies. */
#ifndef SY_PRETOKEN_H
#define SY_PRETOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

/* A cut gives the length in bytes of the first piece of a text of n >= 1 bytes. Pieces follow each other without gaps; a whole
 * text is cut in linear time. */
typedef size_t sy__cut(const char *s, size_t n);

/* Patterns that vocabularies are made with, as code: a regular expression from a file could take for ever, these cannot. */
#define SY__PATTERN_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SY__PATTERN_AFTER(digits) "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SY__PATTERN_GPT4 SY__PATTERN_AFTER("\\p{N}{1,3}")          /* GPT-4, Llama 3 */
#define SY__PATTERN_QWEN SY__PATTERN_AFTER("\\p{N}")               /* Qwen 2 and 3 */
size_t sy__cut_gpt2(const char *s, size_t n);
size_t sy__cut_gpt4(const char *s, size_t n);
size_t sy__cut_qwen(const char *s, size_t n);
/* Numeric characters (Nd, Nl, No) apart from the rest: runs of them, or each alone. */
size_t sy__cut_digits(const char *s, size_t n);
size_t sy__cut_digit(const char *s, size_t n);
const char *sy__cut_name(sy__cut *cut);              /* a name for it, which goes into ids of tokenizers and never changes */

bool sy__is_space(uint32_t cp);                      /* White_Space */
bool sy__is_word(uint32_t cp);                       /* what \w matches: letters, marks, decimal digits, connectors, joiners */

/* Whether normal form C can differ from the text; a quick look that may say yes too often. */
bool      sy__nfc_may_change(const char *s, size_t n);
/* Appends the text in normal form C, at most three times its length. Linear time, whatever marks pile up. */
sy_status sy__nfc(const char *s, size_t n, sy_buf *out, sy_err *err);
enum { SY__NFC_GROWTH = 3 };

#endif
