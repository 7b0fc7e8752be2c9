/* model/flow.c - text that changes and remembers where it came from. */
#include "model/flow.h"

#include <string.h>

#include "core/alloc.h"
#include "core/utf8.h"

sy__piece sy__part(const sy__piece *p, size_t from, size_t to)
{
    const sy__at *at = p->at ? p->at + from : NULL;
    return (sy__piece){ p->s + from, to - from, at, at && from < to ? at->begin : from ? 1 : p->begin };
}

void sy__flow_clear(sy__flow *f) { sy_buf_clear(&f->s); }

void sy__flow_free(sy__flow *f)
{
    sy_buf_free(&f->s);
    sy_free(f->at);
}

static sy__at *room_for(sy__flow *f, size_t n)
{
    if (f->s.failed) return NULL;
    if (f->s.n + n > f->room) {
        size_t room = f->room + f->room / 2;
        if (room < f->s.n + n) room = f->s.n + n;
        if (room < 256) room = 256;
        sy__at *at = sy_realloc(f->at, sy_mul_size(room, sizeof *at));
        if (!at) { f->s.failed = true; return NULL; }
        f->at = at;
        f->room = room;
    }
    return f->at + f->s.n;
}

void sy__flow_copy(sy__flow *f, const sy__piece *p, size_t from, size_t to)
{
    if (from >= to) return;
    if (p->at) {
        sy__at *at = room_for(f, to - from);
        if (at) memcpy(at, p->at + from, (to - from) * sizeof *at);
    }
    sy_buf_put(&f->s, p->s + from, to - from);
}

void sy__flow_put(sy__flow *f, const char *s, size_t n, const sy__at *at)
{
    if (at) {
        sy__at *to = room_for(f, n), same = *at;     /* `at` may lie in what room_for moves */
        for (size_t i = 0; to && i < n; i++) to[i] = same;
    }
    sy_buf_put(&f->s, s, n);
}

sy__piece sy__flow_piece(const sy__flow *f, const sy__piece *from)
{
    return (sy__piece){ f->s.data ? f->s.data : "", f->s.n, from->at ? f->at : NULL, from->at && f->s.n ? f->at->begin : from->begin };
}

static void swallow(sy__edit *e)
{
    uint32_t cp;
    if (e->at >= e->in->n) return;
    int len = sy_utf8_next(e->in->s + e->at, e->in->n - e->at, &cp);
    e->at += (size_t)(len < 0 ? -len : len);
}

void sy__edit_skip(sy__edit *e, size_t characters)
{
    for (; characters && e->at < e->in->n; characters--) swallow(e);
}

void sy__edit_put(sy__edit *e, uint32_t cp, int change)
{
    char utf8[4];
    size_t n = (size_t)sy_utf8_put(cp, utf8);
    sy__at at = { e->in->begin, e->in->begin };
    if (e->in->at && e->in->n) {
        if (change <= 0) at = e->in->at[e->at < e->in->n ? e->at : e->in->n - 1];
        else if (e->at) at = e->in->at[e->at - 1];
    }
    for (int i = change; i <= 0; i++) swallow(e);
    sy__flow_put(e->out, utf8, n, e->in->at ? &at : NULL);
}
