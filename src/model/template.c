/* model/template.c - opening a template and rendering it. */
#include "model/template.h"

#include <string.h>

#include "core/alloc.h"
#include "model/template_parts.h"

sy_status sy_template_parse(sy_template **out, const char *text, size_t n, const char *name, sy_err *err)
{
    if (n > SY__TEMPLATE_MOST) return sy_fail(err, SY_ESHAPE, "%s has %zu bytes, a chat template has at most %d", name, n, SY__TEMPLATE_MOST);
    sy_template *t = sy_calloc(1, sizeof *t);
    sy__token *token = NULL;
    if (!t) return sy_fail(err, SY_ENOMEM, "no memory for %s", name);
    t->name = sy_arena_strdup(&t->arena, name);
    sy_status st = t->name ? sy__template_lex(t, text, n, &token, err) : sy_fail(err, SY_ENOMEM, "no memory for %s", name);
    if (st == SY_OK) st = sy__template_tree(t, token, err);
    if (st != SY_OK) {
        sy_template_close(t);
        return st;
    }
    *out = t;
    return SY_OK;
}

void sy_template_close(sy_template *t)
{
    if (!t) return;
    sy_arena_free(&t->arena);
    sy_free(t);
}

bool sy_template_generates(const sy_template *t) { return t->generates; }

void sy_rendering_free(sy_rendering *r)
{
    sy_buf_free(&r->text);
    sy_buf_free(&r->mark);
}

/* The members of an object become names of the outermost scope. */
static sy_status give_names(sy__run *r, const json_t *o, bool own)
{
    const char *key;
    json_t *v;
    size_t n = r->top->n;
    json_object_foreach((json_t *)o, key, v) {
        sy__val x, name;
        SY_TRY(sy__t_copy(r, key, &name));
        SY_TRY(sy__t_json(r, v, own, &x));
        if (n == r->top->room) return sy__t_fail(r, SY_ESHAPE, "more than %zu values", n);
        r->top->var[n].name = name.text->s;
        r->top->var[n++].v = x;
    }
    r->top->n = n;
    return SY_OK;
}

static sy_status prepare(sy__run *r, const sy_template_input *in)
{
    size_t room = json_object_size(in->given) + json_object_size(in->own) + 8;
    r->line = 1;
    if (!(r->top = sy__t_alloc(r, sizeof *r->top)) || !(r->top->var = sy__t_alloc(r, room * sizeof *r->top->var))) return r->status;
    r->top->room = room;
    SY_TRY(give_names(r, in->given, false));         /* what is given stands in front of what the model brings */
    return in->own ? give_names(r, in->own, true) : SY_OK;
}

static sy_status render(sy__run *r, const sy_template_input *in, sy_rendering *out)
{
    sy__out o = { 0 };
    sy__scope *s = NULL;
    int leave = 0;
    SY_TRY(prepare(r, in));
    if (!(s = sy__t_alloc(r, sizeof *s))) return r->status;
    s->up = r->top;
    SY_TRY(sy__t_exec(r, s, r->t->body, &o, &leave));
    sy_buf_clear(&out->text);
    sy_buf_clear(&out->mark);
    sy_buf_put(&out->text, o.s, o.n);
    sy_buf_put(&out->mark, o.m, o.n);
    return out->text.failed || out->mark.failed ? sy__t_fail(r, SY_ENOMEM, "no memory for a text of %zu bytes", o.n) : SY_OK;
}

sy_status sy_template_render(const sy_template *t, const sy_template_input *in, sy_rendering *out, sy_err *err)
{
    sy__run r = { .t = t, .err = err, .now = in->now, .most_steps = in->limits.steps ? in->limits.steps : (uint64_t)1 << 25,
                  .most_memory = in->limits.memory ? in->limits.memory : (size_t)512 << 20, .most_output = in->limits.output ? in->limits.output : (size_t)64 << 20 };
    sy_status st = render(&r, in, out);
    sy_arena_free(&r.arena);
    return st;
}
