/* model/tokenizer_added.c - added tokens in a text: from left to right, the longest at each place. */
#include <stdlib.h>

#include "core/alloc.h"
#include "model/tokenizer_parts.h"

static int by_bytes(const void *a, const void *b)
{
    const sy__pattern *p = a, *q = b;
    int d = memcmp(p->text, q->text, p->n < q->n ? p->n : q->n);
    return d ? d : (p->n > q->n) - (p->n < q->n);
}

/* Of texts that become one the package finds that which comes first by its bytes. */
static int by_rank(const void *a, const void *b)
{
    const sy__pattern *p = a, *q = b;
    int d = by_bytes(a, b);
    return d ? d : strcmp(p->own, q->own);
}

static int by_use(const void *a, const void *b)
{
    const sy__pattern *p = a, *q = b;
    return p->hidden != q->hidden ? (p->hidden ? 1 : -1) : by_rank(a, b);
}

/* Different texts may be one once they are normalised: the first one is found, the others go behind those that are. */
static sy_status hide(sy__matcher *m, sy_err *err)
{
    m->all = m->n;
    for (int i = 1; i < m->all; i++) {
        const sy__added *a = m->pattern[i].added, *b = m->pattern[i - 1].added;
        if (by_bytes(&m->pattern[i - 1], &m->pattern[i])) continue;
        if (!strcmp(m->pattern[i].own, m->pattern[i - 1].own))
            return sy_fail(err, SY_EFORMAT, "the added tokens with ids %d and %d are the same text", b->id < a->id ? b->id : a->id, b->id < a->id ? a->id : b->id);
        m->pattern[i].hidden = true;
        m->ordinary -= !a->special;
        m->n--;
    }
    if (m->n < m->all) qsort(m->pattern, (size_t)m->all, sizeof *m->pattern, by_use);
    return SY_OK;
}

sy_status sy__matcher_open(sy__matcher *m, const sy_tokenizer *t, bool normalized, sy_err *err)
{
    m->pattern = sy_malloc(sy_mul_size((size_t)t->n_added, sizeof *m->pattern));
    if (!m->pattern) return sy_fail(err, SY_ENOMEM, "no memory for %d added tokens", t->n_added);
    for (int i = 0; i < t->n_added; i++) {
        const sy__added *a = &t->added[i];
        size_t n, before = m->text.n;
        const char *text = sy__tokenizer_text(t, a->id, &n);
        if (a->normalized != normalized) continue;
        if (normalized) SY_TRY(sy__normalise(t, text, n, &m->text, err));
        else sy_buf_put(&m->text, text, n);
        if (m->text.n == before) continue;           /* nothing is left to be found */
        m->pattern[m->n++] = (sy__pattern){ .n = m->text.n - before, .own = text, .added = a };
        m->ordinary += !a->special;
    }
    if (m->text.failed) return sy_fail(err, SY_ENOMEM, "no memory for %d added tokens", t->n_added);
    const char *text = m->text.data;
    for (int i = 0; i < m->n; text += m->pattern[i++].n) m->pattern[i].text = text;
    if (m->n) qsort(m->pattern, (size_t)m->n, sizeof *m->pattern, by_rank);
    SY_TRY(hide(m, err));
    for (int c = 0, i = 0; c <= 256; c++) {
        while (i < m->n && (unsigned char)*m->pattern[i].text < c) i++;
        m->first[c] = i;
    }
    return SY_OK;
}

void sy__matcher_close(sy__matcher *m)
{
    sy_free(m->pattern);
    sy_buf_free(&m->text);
}

/* First pattern of [lo, hi), which agree on the bytes before `depth`, whose byte there is `least` or more. */
static int lower(const sy__pattern *p, int lo, int hi, size_t depth, int least)
{
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if ((unsigned char)p[mid].text[depth] < least) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

const sy__pattern *sy__matcher_next(const sy__matcher *m, const char *s, size_t n, size_t from, size_t *at)
{
    for (size_t i = from; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        int lo = m->first[c], hi = m->first[c + 1];
        const sy__pattern *best = NULL;
        for (size_t depth = 1; lo < hi; depth++) {   /* lo..hi-1 begin with s[i..i+depth) */
            if (m->pattern[lo].n == depth) best = &m->pattern[lo++];
            if (i + depth == n) break;
            c = (unsigned char)s[i + depth];
            lo = lower(m->pattern, lo, hi, depth, c);
            hi = lower(m->pattern, lo, hi, depth, c + 1);
        }
        if (best) { *at = i; return best; }
    }
    return NULL;
}
