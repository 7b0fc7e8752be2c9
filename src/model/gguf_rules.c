/* model/gguf_rules.c - the rules that cut texts, by their names in GGUF files. */
#include "model/gguf_rules.h"

#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "core/utf8.h"
#include "model/pretoken.h"

#define HAN_HANGUL "[\xE4\xB8\x80-\xE9\xBE\xA5\xE0\xA0\x80-\xE4\xB8\x80\xEA\xB0\x80-\xED\x9F\xBF]+"
static const char CASED[] = "[CASED]";
static const char cased[] =              /* deepseek-llm's letters, code points in hexadecimal */
    "41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A 38C 38E-3A1 3A3-3F5 3F7-481 48A-52F 531-556 "
    "10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D "
    "1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 "
    "2128 212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D A680-A69B A722-A76F A771-A787 "
    "A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943";

static const sy_gguf_rule rules[] = {
    { "gpt-2 gpt2 mpt olmo jais phi-2 roberta-bpe gpt-neox gigachat trillion jina-es jina-de jina-v1-en jina-v2-code jina-v2-es jina-v2-de", { SY__PATTERN_GPT2 }, false },
    { "starcoder refact command-r smollm codeshell exaone minerva-7b", { "\\p{N}", SY__PATTERN_GPT2 }, false },
    { "falcon", { "[\\p{P}\\$\\+<=>\\^~\\|`]+", SY__PATTERN_GPT2, "[0-9][0-9][0-9]" }, false },
    { "default", { "[\\p{P}\\$\\+<=>\\^~\\|]+", SY__PATTERN_GPT2, "\\p{N}+", "[0-9][0-9][0-9]" }, false },
    { "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2", { SY__PATTERN_GPT4 }, true },
    { "dbrx smaug-bpe glm4 chatglm-bpe", { SY__PATTERN_GPT4 }, false },
    { "qwen2 deepseek-r1-qwen stablelm2 megrez hunyuan", { SY__PATTERN_QWEN }, false },
    { "qwen35", { SY__PATTERN_MARKS }, false },
    { "deepseek-coder", { "[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN_HANGUL, "\\p{N}" }, false },
    { "deepseek-llm", { "[\\r\\n]", "\\s?[CASED]+", "\\s?[!-/:-~\xEF\xBC\x81-\xEF\xBC\x8F\xEF\xBC\x9A-\xEF\xBD\x9E\xE2\x80\x98-\xE2\x80\x9F\xE3\x80\x80-\xE3\x80\x82]+", "\\s+$", HAN_HANGUL, "\\p{N}+" }, false },
    { "deepseek-v3 hunyuan-dense", { "\\p{N}{1,3}", "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+", SY__PATTERN_DEEPSEEK3 }, false },
    { "gpt-4o llama4", { SY__PATTERN_O200K }, false },
    { "tekken", { SY__PATTERN_TEKKEN }, true },
    { "bloom poro-chat gpt3-finnish", { " ?[^(\\s|.,!?\xE2\x80\xA6\xE3\x80\x82\xEF\xBC\x8C\xE3\x80\x81\xE0\xA5\xA4\xDB\x94\xD8\x8C)]+" }, false },
    { "viking", { " ?[^(\\s|.,!?\xE2\x80\xA6\xE3\x80\x82\xEF\xBC\x8C\xE3\x80\x81\xE0\xA5\xA4\xDB\x94\xD8\x8C)]+", "\\p{N}" }, false },
};

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *hit = list; n && (hit = strstr(hit, word)) != NULL; hit += n)
        if ((hit == list || hit[-1] == ' ') && (!hit[n] || hit[n] == ' ')) return true;
    return false;
}

const sy_gguf_rule *sy_gguf_rule_named(const char *pre)
{
    for (size_t i = 0; i < SY_COUNT(rules); i++) if (!strchr(pre, ' ') && has_word(rules[i].names, pre)) return &rules[i];
    return NULL;
}

static void put_cased(sy_buf *b)
{
    for (const char *at = cased; *at; at += strspn(at, " -")) {
        char utf8[4], *next;
        uint32_t cp = (uint32_t)strtoul(at, &next, 16);
        if (at > cased && at[-1] == '-') sy_buf_put(b, "-", 1);
        sy_buf_put(b, utf8, (size_t)sy_utf8_put(cp, utf8));
        at = next;
    }
}

void sy_gguf_rule_regex(const char *regex, sy_buf *out)
{
    const char *hit = strstr(regex, CASED);
    if (!hit) { sy_buf_text(out, regex); return; }
    sy_buf_put(out, regex, (size_t)(hit - regex) + 1);
    put_cased(out);
    sy_buf_text(out, hit + sizeof CASED - 2);
}

/* Whether the expressions are those of the rule; `b` is working memory. */
static bool cuts_by(const sy_gguf_rule *r, const char *const *regex, sy_buf *b)
{
    int k = 0;
    for (; regex[k] && r->regex[k]; k++) {
        sy_buf_clear(b);
        sy_gguf_rule_regex(r->regex[k], b);
        if (b->failed || strcmp(b->data, regex[k])) return false;
    }
    return k && !regex[k] && !r->regex[k];
}

sy_status sy_gguf_rule_of(const char *const *regex, bool ignore_merges, const sy_gguf_rule **out, sy_err *err)
{
    const sy_gguf_rule *found = NULL;
    sy_buf b = { 0 };
    for (size_t i = 0; i < SY_COUNT(rules) && !b.failed; i++)
        if (cuts_by(&rules[i], regex, &b) && (!found || (found->ignore_merges != ignore_merges && rules[i].ignore_merges == ignore_merges))) found = &rules[i];
    bool failed = b.failed;
    sy_buf_free(&b);
    if (failed) return sy_fail(err, SY_ENOMEM, "no memory for a pattern");
    *out = found;
    return SY_OK;
}

