/* model/pretoken.h - the cut of a text into words.
 *
 * Bytes that are not UTF-8 belong to the text: each malformed part (as core/utf8.h counts them) is a character of its own that is neither
 * letter, digit nor space, and goes through unchanged. Categories are those of utf8proc (2.8: of Unicode 15; letters and digits that came later are neither).
 * Knows nothing of vocabularies. */
#ifndef SY_PRETOKEN_H
#define SY_PRETOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/* A cut gives the length in bytes of the first piece of a text of n >= 1 bytes; 0: the text's first character belongs to none. A whole
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
#define SY__CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SY__PATTERN_MARKS SY__CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"     /* Qwen 3.5 */
#define SY__UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define SY__LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define SY__PATTERN_CASED(tail, digits) "[^\\r\\n\\p{L}\\p{N}]?" SY__UPPER "*" SY__LOWER "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" SY__UPPER "+" SY__LOWER "*" tail \
    "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SY__PATTERN_O200K SY__PATTERN_CASED(SY__CONTRACTION "?", "\\p{N}{1,3}")      /* GPT-4o, gpt-oss, Llama 4 */
#define SY__PATTERN_TEKKEN SY__PATTERN_CASED("", "\\p{N}")                           /* Mistral Nemo */
#define SY__PATTERN_DEEPSEEK3 "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
size_t sy__cut_marks(const char *s, size_t n);
size_t sy__cut_o200k(const char *s, size_t n);
size_t sy__cut_tekken(const char *s, size_t n);
size_t sy__cut_deepseek3(const char *s, size_t n);
size_t sy__cut_words(const char *s, size_t n);       /* \\w+|[^\\w\\s]+ */
sy__cut *sy__cut_of(const char *regex);              /* the scanner of an expression, line ends in it as \\r and \\n; NULL: none */
/* Numeric characters (Nd, Nl, No) apart from the rest: runs of them, or each alone. */
size_t sy__cut_digits(const char *s, size_t n);
size_t sy__cut_digit(const char *s, size_t n);
size_t sy__contraction(const char *s, size_t n);      /* 's, 't, 're, 've, 'm, 'll, 'd in any case at s, 0: none */
const char *sy__cut_name(sy__cut *cut);              /* a name for it, which goes into ids of tokenizers and never changes */

bool sy__is_space(uint32_t cp);                      /* White_Space */
bool sy__is_word(uint32_t cp);                       /* what \w matches: letters, marks, decimal digits, connectors, joiners */

#endif
