/* model/pretoken.c - cutting text into words. */
#include "model/pretoken.h"

#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#include "core/utf8.h"

enum { OTHER, LETTER, DIGIT, SPACE };

/* One character per ASCII code: o, l, d, s. */
static const char ascii[129] =
    "ooooooooosssssoo" "oooooooooooooooo" "sooooooooooooooo" "ddddddddddoooooo"
    "olllllllllllllll" "lllllllllllooooo" "olllllllllllllll" "lllllllllllooooo";

bool sy__is_space(uint32_t cp)
{
    if (cp < 128) return ascii[cp] == 's';
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F
        || cp == 0x205F || cp == 0x3000;
}

static int class_of(uint32_t cp)
{
    if (sy__is_space(cp)) return SPACE;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM: case UTF8PROC_CATEGORY_LO: return LETTER;
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_NO: return DIGIT;
    default: return OTHER;
    }
}

bool sy__is_word(uint32_t cp)
{
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM: case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_PC: return true;
    default:                                         /* joiners, and the enclosed letters that are Alphabetic without being letters */
        return cp == 0x200C || cp == 0x200D || (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) || (cp >= 0x1F150 && cp <= 0x1F169)
            || (cp >= 0x1F170 && cp <= 0x1F189);
    }
}

static int class_beyond_ascii(const char *s, size_t n, size_t *len)
{
    uint32_t cp;
    int k = sy_utf8_next(s, n, &cp);
    *len = (size_t)(k > 0 ? k : -k);
    return k > 0 ? class_of(cp) : OTHER;
}

static inline int class_at(const char *s, size_t n, size_t *len)
{
    static const unsigned char code[] = { ['o'] = OTHER, ['l'] = LETTER, ['d'] = DIGIT, ['s'] = SPACE };
    unsigned char c = (unsigned char)*s;
    if (c >= 128) return class_beyond_ascii(s, n, len);
    *len = 1;
    return code[(unsigned char)ascii[c]];
}

/* End of the run of `class` that goes on at i. */
static size_t run(const char *s, size_t n, size_t i, int class)
{
    for (size_t len; i < n && class_at(s + i, n - i, &len) == class; i += len) continue;
    return i;
}

/* 's, 't, 're, 've, 'm, 'll, 'd at s; 0: none. Without regard to case the long s counts as one, too. */
static size_t contraction(const char *s, size_t n, bool any_case)
{
    static const char *const tail[] = { "s", "t", "re", "ve", "m", "ll", "d" };
    if (*s != '\'') return 0;
    for (size_t i = 0; i < SY_COUNT(tail); i++) {
        size_t len = strlen(tail[i]);
        if (n > len && (any_case ? !strncasecmp(s + 1, tail[i], len) : !memcmp(s + 1, tail[i], len))) return 1 + len;
    }
    return any_case && n > 2 && !memcmp(s + 1, "\xC5\xBF", 2) ? 3 : 0;
}

size_t sy__contraction(const char *s, size_t n) { return contraction(s, n, true); }

/* A run of spaces that begins with one of `len` bytes: all of it at the end of the text, else all but the last, \s+(?!\S), else that one. */
static size_t spaces(const char *s, size_t n, size_t len)
{
    size_t i = len, last = 0, more;
    for (; i < n && class_at(s + i, n - i, &more) == SPACE; i += more) last = i;
    return i == n || !last ? i : last;
}

size_t sy__cut_gpt2(const char *s, size_t n)
{
    size_t len, more;
    int class = class_at(s, n, &len);
    if ((more = contraction(s, n, false)) != 0) return more;
    if (class != SPACE) return run(s, n, len, class);
    if (*s == ' ' && n > 1 && (class = class_at(s + 1, n - 1, &more)) != SPACE) return run(s, n, 1 + more, class);
    return spaces(s, n, len);
}

static bool ends_line(char c) { return c == '\r' || c == '\n'; }

/* End of a run of other characters that goes on at i, and of the line ends behind it. */
static size_t others_and_lines(const char *s, size_t n, size_t i)
{
    i = run(s, n, i, OTHER);
    while (i < n && ends_line(s[i])) i++;
    return i;
}

static size_t cut_after_gpt4(const char *s, size_t n, int most_digits)
{
    size_t len, more = 0, i;
    int class = class_at(s, n, &len), next = OTHER;
    if ((i = contraction(s, n, true)) != 0) return i;
    if (class == LETTER) return run(s, n, len, LETTER);
    if (class == DIGIT) {
        for (i = len; --most_digits && i < n && class_at(s + i, n - i, &more) == DIGIT; i += more) continue;
        return i;
    }
    if (len < n) next = class_at(s + len, n - len, &more);
    if (len < n && next == LETTER && !ends_line(*s)) return run(s, n, len + more, LETTER);
    if (class == OTHER) return others_and_lines(s, n, len);
    if (len < n && next == OTHER && *s == ' ') return others_and_lines(s, n, len + more);
    size_t line = ends_line(*s) ? 1 : 0;             /* \s*[\r\n]+ goes up to the last line end of the run */
    for (i = len; i < n && class_at(s + i, n - i, &more) == SPACE; i += more) if (ends_line(s[i])) line = i + 1;
    return line ? line : spaces(s, n, len);
}

size_t sy__cut_gpt4(const char *s, size_t n) { return cut_after_gpt4(s, n, 3); }
size_t sy__cut_qwen(const char *s, size_t n) { return cut_after_gpt4(s, n, 1); }

size_t sy__cut_digits(const char *s, size_t n)
{
    size_t i, len;
    bool digit = class_at(s, n, &i) == DIGIT;
    while (i < n && (class_at(s + i, n - i, &len) == DIGIT) == digit) i += len;
    return i;
}

size_t sy__cut_digit(const char *s, size_t n)
{
    size_t i, len;
    if (class_at(s, n, &i) == DIGIT) return i;
    while (i < n && class_at(s + i, n - i, &len) != DIGIT) i += len;
    return i;
}

const char *sy__cut_name(sy__cut *cut)
{
    return cut == sy__cut_gpt2 ? "gpt2" : cut == sy__cut_gpt4 ? "gpt4" : cut == sy__cut_qwen ? "qwen" : cut == sy__cut_digit ? "digit" : cut == sy__cut_digits ? "digits"
         : cut == sy__cut_marks ? "marks" : cut == sy__cut_o200k ? "o200k" : cut == sy__cut_tekken ? "tekken" : cut == sy__cut_deepseek3 ? "deepseek3" : "words";
}
