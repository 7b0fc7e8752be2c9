/* model/pretoken_cased.c - the younger patterns: letters told apart by case, with marks or without; every character is one bit. */
#include <string.h>
#include <utf8proc.h>

#include "core/utf8.h"
#include "model/finder.h"
#include "model/pretoken.h"

#define BIT(name) (1u << UTF8PROC_CATEGORY_##name)
#define SPACE (1u << 31)                             /* no category; replaces it for White_Space */
enum { UPPER = BIT(LU) | BIT(LT) | BIT(LM) | BIT(LO) | SY__CATEGORY_M, LOWER = BIT(LL) | BIT(LM) | BIT(LO) | SY__CATEGORY_M };

static uint32_t at(const char *s, size_t n, size_t *len)
{
    uint32_t cp;
    int k = sy_utf8_next(s, n, &cp);
    *len = (size_t)(k < 0 ? -k : k);
    return sy__is_space(cp) ? SPACE : sy__category(cp);
}

/* End of the run of `kinds` that goes on at i. */
static size_t run(const char *s, size_t n, size_t i, uint32_t kinds)
{
    for (size_t len; i < n && at(s + i, n - i, &len) & kinds; i += len) continue;
    return i;
}

static bool ends_line(char c) { return c == '\r' || c == '\n'; }

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t blanks(const char *s, size_t n)
{
    size_t i = 0, last = 0, line = 0, len;
    for (; i < n && at(s + i, n - i, &len) == SPACE; i += len) {
        last = i;
        if (ends_line(s[i])) line = i + 1;
    }
    return line ? line : i == n || !last ? i : last;
}

/* [kinds]+[\r\n]*, with '/' among the latter where `slash`; 0: nothing of the kinds. */
static size_t kinds_and_lines(const char *s, size_t n, size_t from, uint32_t kinds, bool slash)
{
    size_t i = run(s, n, from, kinds);
    if (i == from) return 0;
    while (i < n && (ends_line(s[i]) || (slash && s[i] == '/'))) i++;
    return i;
}

/* Upper*Lower+ (alternative 1) or Upper+Lower* (2) at i: its end, 0: none. Marks and letters without case are both, so the first one gives
 * back what it has taken, up to the last character that may be lower. */
static size_t cased(const char *s, size_t n, size_t i, int alternative)
{
    size_t upper = i, lower = 0, len;
    for (uint32_t kind; upper < n && (kind = at(s + upper, n - upper, &len)) & UPPER; upper += len) if (kind & LOWER) lower = upper + len;
    size_t end = run(s, n, upper, LOWER);
    if (alternative == 1) return end > upper ? end : lower;
    return upper > i ? end : 0;
}

static size_t words_of_case(const char *s, size_t n, size_t first, uint32_t kind, int alternative)
{
    size_t end = 0;
    if (!(kind & (SY__CATEGORY_L | SY__CATEGORY_N)) && !ends_line(*s) && first < n) end = cased(s, n, first, alternative);
    return end ? end : cased(s, n, 0, alternative);
}

static size_t cut_cased(const char *s, size_t n, bool contractions, int digits)
{
    size_t len, i, more;
    uint32_t kind = at(s, n, &len);
    if ((i = words_of_case(s, n, len, kind, 1)) != 0 || (i = words_of_case(s, n, len, kind, 2)) != 0)
        return i + (contractions && i < n ? sy__contraction(s + i, n - i) : 0);
    if (kind & SY__CATEGORY_N) {
        for (i = len; --digits && i < n && at(s + i, n - i, &more) & SY__CATEGORY_N; i += more) continue;
        return i;
    }
    uint32_t others = ~(SPACE | SY__CATEGORY_L | SY__CATEGORY_N);
    if ((i = kinds_and_lines(s, n, *s == ' ', others, true)) != 0) return i;
    return blanks(s, n);
}

size_t sy__cut_o200k(const char *s, size_t n) { return cut_cased(s, n, true, 3); }
size_t sy__cut_tekken(const char *s, size_t n) { return cut_cased(s, n, false, 1); }

size_t sy__cut_marks(const char *s, size_t n)
{
    size_t len, i;
    uint32_t kind = at(s, n, &len), letters = SY__CATEGORY_L | SY__CATEGORY_M;
    if ((i = sy__contraction(s, n)) != 0) return i;
    if (!(kind & (SY__CATEGORY_L | SY__CATEGORY_N)) && !ends_line(*s) && (i = run(s, n, len, letters)) > len) return i;
    if (kind & letters) return run(s, n, len, letters);
    if (kind & SY__CATEGORY_N) return len;
    if ((i = kinds_and_lines(s, n, *s == ' ', ~(SPACE | letters | SY__CATEGORY_N), false)) != 0) return i;
    return blanks(s, n);
}

size_t sy__cut_deepseek3(const char *s, size_t n)
{
    size_t len, i;
    uint32_t kind = at(s, n, &len), letters = SY__CATEGORY_L | SY__CATEGORY_M, signs = SY__CATEGORY_P | SY__CATEGORY_S;
    if ((unsigned char)*s < 128 && kind & signs) {
        for (i = 1; i < n && ((s[i] | 32) >= 'a' && (s[i] | 32) <= 'z'); i++) continue;
        if (i > 1) return i;
    }
    if (!(kind & (SY__CATEGORY_L | signs)) && !ends_line(*s) && (i = run(s, n, len, letters)) > len) return i;
    if (kind & letters) return run(s, n, len, letters);
    if ((i = kinds_and_lines(s, n, *s == ' ', signs, false)) != 0) return i;
    return kind == SPACE ? blanks(s, n) : 0;
}

size_t sy__cut_words(const char *s, size_t n)
{
    size_t i = 0;
    int first = 0;
    for (int k; i < n; i += (size_t)(k < 0 ? -k : k)) {
        uint32_t cp;
        k = sy_utf8_next(s + i, n - i, &cp);
        int kind = sy__is_space(cp) ? 0 : sy__is_word(cp) ? 1 : 2;
        if (!kind || (i && kind != first)) break;
        first = kind;
    }
    return i;
}

sy__cut *sy__cut_of(const char *regex)
{
    static const struct { const char *regex; sy__cut *cut; } known[] = {
        { SY__PATTERN_GPT2, sy__cut_gpt2 }, { SY__PATTERN_GPT4, sy__cut_gpt4 }, { SY__PATTERN_QWEN, sy__cut_qwen }, { SY__PATTERN_MARKS, sy__cut_marks },
        { SY__PATTERN_O200K, sy__cut_o200k }, { SY__PATTERN_TEKKEN, sy__cut_tekken }, { SY__PATTERN_DEEPSEEK3, sy__cut_deepseek3 },
    };
    for (size_t i = 0; i < SY_COUNT(known); i++) if (!strcmp(known[i].regex, regex)) return known[i].cut;
    return NULL;
}
