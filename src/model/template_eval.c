/* model/template_eval.c - walks the tree: expressions to values, statements to text. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/template_parts.h"

static const char captured[] = " body";              /* the name of what a block caught; template_tree.c writes it */

/* --- names ---------------------------------------------------------------------------------------------------------------------------- */

static sy_status open_scope(sy__run *r, sy__scope *up, sy__scope **out)
{
    sy__scope *s = sy__t_alloc(r, sizeof *s);
    if (!s) return r->status;
    s->up = up;
    *out = s;
    return SY_OK;
}

static sy_status set_name(sy__run *r, sy__scope *s, const char *name, sy__val v)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->var[i].name, name)) {
            s->var[i].v = v;
            return sy__t_step(r, 1 + i / 8);
        }
    if (s->n == s->room) {
        size_t room = s->room ? 2 * s->room : 4;
        void *more = sy__t_alloc(r, room * sizeof *s->var);
        if (!more) return r->status;
        if (s->n) memcpy(more, s->var, s->n * sizeof *s->var);
        s->var = more;
        s->room = room;
    }
    s->var[s->n].name = name;
    s->var[s->n++].v = v;
    return sy__t_step(r, 1 + s->n / 8);
}

static bool find_name(sy__run *r, const sy__scope *s, const char *name, sy__val *out)
{
    for (; s; s = s->up) {
        r->steps += s->n / 8;
        for (size_t i = 0; i < s->n; i++)
            if (!strcmp(s->var[i].name, name)) {
                *out = s->var[i].v;
                return true;
            }
    }
    return false;
}

static sy_status name_value(sy__run *r, const sy__scope *s, const char *name, sy__val *out)
{
    if (find_name(r, s, name, out)) return SY_OK;
    if (sy__t_is_global(name)) {
        *out = (sy__val){ .kind = SY__GLOBAL, .name = name };
        return SY_OK;
    }
    return sy__t_undefined(r, out, "'%.80s' is undefined", name);
}

/* --- attributes and items ------------------------------------------------------------------------------------------------------------------ */

static sy_status need_defined(sy__run *r, sy__val v) { return v.kind == SY__UNDEFINED ? sy__t_fail(r, SY_EFORMAT, "%s", v.name) : SY_OK; }

static sy_status loop_attr(sy__run *r, sy__loop *l, const char *name, sy__val *out, bool *found)
{
    int64_t n = (int64_t)l->items->n, at = (int64_t)l->at;
    *found = true;
    if (!strcmp(name, "index")) *out = sy__t_int(at + 1);
    else if (!strcmp(name, "index0")) *out = sy__t_int(at);
    else if (!strcmp(name, "revindex")) *out = sy__t_int(n - at);
    else if (!strcmp(name, "revindex0")) *out = sy__t_int(n - at - 1);
    else if (!strcmp(name, "first")) *out = sy__t_bool(!at);
    else if (!strcmp(name, "last")) *out = sy__t_bool(at == n - 1);
    else if (!strcmp(name, "length")) *out = sy__t_int(n);
    else if (!strcmp(name, "depth")) *out = sy__t_int(l->depth + 1);
    else if (!strcmp(name, "depth0")) *out = sy__t_int(l->depth);
    else if (!strcmp(name, "previtem")) {
        if (!at) return sy__t_undefined(r, out, "there is no previous item");
        *out = l->items->v[at - 1];
    } else if (!strcmp(name, "nextitem")) {
        if (at == n - 1) return sy__t_undefined(r, out, "there is no next item");
        *out = l->items->v[at + 1];
    } else *found = false;
    return SY_OK;
}

static sy_status method_value(sy__run *r, sy__val of, const char *name, sy__val *out)
{
    sy__method *m = sy__t_alloc(r, sizeof *m);
    if (!m) return r->status;
    *m = (sy__method){ of, name };
    *out = (sy__val){ .kind = SY__METHOD, .method = m };
    return SY_OK;
}

static sy_status no_attr(sy__run *r, sy__val of, const char *name, sy__val *out)
{
    return sy__t_undefined(r, out, "'%s object' has no attribute '%.60s'", sy__t_type(of), name);
}

sy_status sy__t_attr(sy__run *r, sy__val of, const char *name, sy__val *out)
{
    bool found = false;
    SY_TRY(need_defined(r, of));
    if (of.kind == SY__LOOP) SY_TRY(loop_attr(r, of.loop, name, out, &found));
    if (found) return SY_OK;
    if (sy__t_is_method(of, name)) return method_value(r, of, name, out);
    if (of.kind == SY__DICT || of.kind == SY__SPACE) SY_TRY(sy__t_dict_find(r, of.dict, name, out, &found));
    return found ? SY_OK : no_attr(r, of, name, out);
}

sy_status sy__t_item(sy__run *r, sy__val of, sy__val key, sy__val *out)
{
    bool found = false;
    int64_t i = key.kind == SY__BOOL ? key.b : key.i;
    SY_TRY(need_defined(r, of));
    if (of.kind == SY__DICT) {
        bool unhashable = key.kind == SY__SEQ && key.seq->form != SY__TUPLE;
        if (!unhashable && key.kind != SY__DICT) SY_TRY(sy__t_dict_get(r, of.dict, key, out, &found));
        if (found) return SY_OK;
    } else if (key.kind == SY__INT || key.kind == SY__BOOL) {
        if (of.kind == SY__SEQ && of.seq->form != SY__STREAM && of.seq->form != SY__VIEW) {
            if (i < 0) i += (int64_t)of.seq->n;
            if (i >= 0 && i < (int64_t)of.seq->n) {
                *out = of.seq->v[i];
                return SY_OK;
            }
        } else if (of.kind == SY__TEXT) {
            const sy__text *t = of.text;
            int64_t n = (int64_t)sy__t_letters(t->s, t->n);
            SY_TRY(sy__t_step(r, t->n / 16));
            if (i < 0) i += n;
            if (i >= 0 && i < n) {
                size_t at = sy__t_offset(t->s, t->n, (size_t)i);
                return sy__t_text(r, t->s + at, t->m ? t->m + at : NULL, sy__t_offset(t->s + at, t->n - at, 1), out);
            }
        }
        return sy__t_undefined(r, out, "'%s object' has no element %lld", sy__t_type(of), (long long)i);
    }
    if (key.kind == SY__TEXT && !memchr(key.text->s, 0, key.text->n)) {
        char *name = sy__t_alloc(r, key.text->n + 1);
        if (!name) return r->status;
        memcpy(name, key.text->s, key.text->n);
        return of.kind == SY__DICT && !sy__t_is_method(of, name) ? no_attr(r, of, name, out) : sy__t_attr(r, of, name, out);
    }
    return sy__t_undefined(r, out, "'%s object' has no such element", sy__t_type(of));
}

/* Python's slice.indices(): the first place, the step, and how many. */
static sy_status slice_places(sy__run *r, const sy__val part[3], int64_t n, int64_t *from, int64_t *step, int64_t *count)
{
    int64_t v[3] = { 0, 0, 1 };
    for (int i = 0; i < 3; i++) {
        if (part[i].kind == SY__NONE) continue;
        if (part[i].kind != SY__INT && part[i].kind != SY__BOOL) return sy__t_fail(r, SY_EFORMAT, "slice indices must be whole numbers or none, not %s", sy__t_type(part[i]));
        v[i] = part[i].kind == SY__BOOL ? part[i].b : part[i].i;
    }
    if (!v[2]) return sy__t_fail(r, SY_EFORMAT, "the step of a slice is 0");
    int64_t low = v[2] < 0 ? -1 : 0, high = v[2] < 0 ? n - 1 : n;
    for (int i = 0; i < 2; i++) {
        if (part[i].kind == SY__NONE) v[i] = (v[2] < 0) == (i == 0) ? high : low;
        else {
            if (v[i] < 0) v[i] += n;
            v[i] = v[i] < low ? low : v[i] > high ? high : v[i];
        }
    }
    if (v[2] == INT64_MIN) v[2]++;
    int64_t span = v[2] > 0 ? v[1] - v[0] : v[0] - v[1], by = v[2] > 0 ? v[2] : -v[2];
    *from = v[0];
    *step = v[2];
    *count = span > 0 ? (span - 1) / by + 1 : 0;
    return SY_OK;
}

static sy_status slice_text(sy__run *r, const sy__text *t, int64_t from, int64_t step, int64_t count, sy__val *out)
{
    if (step == 1 || !count) {
        size_t at = sy__t_offset(t->s, t->n, (size_t)(count ? from : 0)), n = sy__t_offset(t->s + at, t->n - at, (size_t)count);
        return sy__t_text(r, t->s + at, t->m ? t->m + at : NULL, n, out);
    }
    sy__val list;
    sy__out o = { 0 };
    sy__seq *letters = NULL;
    list = (sy__val){ .kind = SY__TEXT, .text = t };
    SY_TRY(sy__t_items(r, list, &letters));
    for (int64_t i = 0; i < count; i++) {
        const sy__text *one = letters->v[from + i * step].text;
        sy__t_put(r, &o, one->s, one->m, one->n);
    }
    return sy__t_done(r, &o, out);
}

static sy_status slice_value(sy__run *r, sy__val of, const sy__val part[3], sy__val *out)
{
    int64_t from, step, count;
    SY_TRY(need_defined(r, of));
    if (of.kind == SY__TEXT) {
        SY_TRY(sy__t_step(r, of.text->n / 16));
        SY_TRY(slice_places(r, part, (int64_t)sy__t_letters(of.text->s, of.text->n), &from, &step, &count));
        return slice_text(r, of.text, from, step, count, out);
    }
    if (of.kind != SY__SEQ || of.seq->form == SY__STREAM || of.seq->form == SY__VIEW) return sy__t_fail(r, SY_EFORMAT, "a %s cannot be sliced", sy__t_type(of));
    SY_TRY(slice_places(r, part, (int64_t)of.seq->n, &from, &step, &count));
    SY_TRY(sy__t_seq(r, of.seq->form, (size_t)count, out));
    for (int64_t i = 0; i < count; i++) SY_TRY(sy__t_push(r, out->seq, of.seq->v[from + i * step]));
    return SY_OK;
}

/* --- operators ------------------------------------------------------------------------------------------------------------------------------ */

static bool whole(sy__val v) { return v.kind == SY__INT || v.kind == SY__BOOL; }
static int64_t int_of(sy__val v) { return v.kind == SY__BOOL ? v.b : v.i; }
static double real_of(sy__val v) { return v.kind == SY__REAL ? v.r : (double)int_of(v); }
static sy_status too_large(sy__run *r) { return sy__t_fail(r, SY_EFORMAT, "a whole number has more than 64 bits"); }

static sy_status math_whole(sy__run *r, char op, int64_t a, int64_t b, sy__val *out)
{
    int64_t v = 0;
    bool over = false;
    switch (op) {
    case '+': over = __builtin_add_overflow(a, b, &v); break;
    case '-': over = __builtin_sub_overflow(a, b, &v); break;
    case '*': over = __builtin_mul_overflow(a, b, &v); break;
    case 'D': case '%':
        if (!b) return sy__t_fail(r, SY_EFORMAT, "division by zero");
        if (b == -1) {                               /* the one quotient that may not fit */
            over = op == 'D' && __builtin_sub_overflow((int64_t)0, a, &v);
            break;
        }
        v = op == 'D' ? a / b - (a % b && (a ^ b) < 0) : a % b + (a % b && (a ^ b) < 0 ? b : 0);
        break;
    case 'P':
        v = 1;
        for (int64_t base = a, e = b; e && !over; e >>= 1) {
            if (e & 1) over = __builtin_mul_overflow(v, base, &v);
            if (e > 1) over = over || __builtin_mul_overflow(base, base, &base);
        }
        break;
    }
    if (over) return too_large(r);
    *out = sy__t_int(v);
    return SY_OK;
}

static sy_status math_real(sy__run *r, char op, double a, double b, sy__val *out)
{
    double v = 0;
    if ((op == '/' || op == 'D' || op == '%') && b == 0) return sy__t_fail(r, SY_EFORMAT, "division by zero");
    switch (op) {
    case '+': v = a + b; break;
    case '-': v = a - b; break;
    case '*': v = a * b; break;
    case '/': v = a / b; break;
    case '%': case 'D': {
        double m = fmod(a, b), q = (a - m) / b;
        if (m != 0 && (b < 0) != (m < 0)) m += b, q -= 1;
        else if (m == 0) m = copysign(0, b);
        if (q != 0) {
            double f = floor(q);
            q = q - f > 0.5 ? f + 1 : f;
        } else q = copysign(0, a / b);
        v = op == '%' ? m : q;
        break;
    }
    case 'P':
        if (a == 0 && b < 0) return sy__t_fail(r, SY_EFORMAT, "0 cannot be raised to a negative power");
        if (a < 0 && b != floor(b)) return sy__t_fail(r, SY_EUNSUP, "a negative number to a power that is not whole");
        v = pow(a, b);
        if (isinf(v) && !isinf(a) && !isinf(b)) return sy__t_fail(r, SY_EFORMAT, "a power is too large");
        break;
    }
    *out = (sy__val){ .kind = SY__REAL, .r = v };
    return SY_OK;
}

static sy_status repeat(sy__run *r, sy__val what, int64_t times, sy__val *out)
{
    if (times < 0) times = 0;
    if (what.kind == SY__TEXT) {
        sy__out o = { 0 };
        for (int64_t i = 0; i < times && what.text->n && r->status == SY_OK; i++) sy__t_put(r, &o, what.text->s, what.text->m, what.text->n);
        return sy__t_done(r, &o, out);
    }
    SY_TRY(sy__t_seq(r, what.seq->form, 0, out));
    for (int64_t i = 0; i < times && what.seq->n; i++)
        for (size_t k = 0; k < what.seq->n; k++) SY_TRY(sy__t_push(r, out->seq, what.seq->v[k]));
    return SY_OK;
}

static bool repeats(sy__val v) { return v.kind == SY__TEXT || (v.kind == SY__SEQ && (v.seq->form == SY__LIST || v.seq->form == SY__TUPLE)); }

static sy_status join_two(sy__run *r, sy__val a, sy__val b, sy__val *out)
{
    if (a.kind == SY__TEXT) {
        sy__out o = { 0 };
        sy__t_put(r, &o, a.text->s, a.text->m, a.text->n);
        sy__t_put(r, &o, b.text->s, b.text->m, b.text->n);
        return sy__t_done(r, &o, out);
    }
    SY_TRY(sy__t_seq(r, a.seq->form, a.seq->n + b.seq->n, out));
    for (size_t i = 0; i < a.seq->n; i++) SY_TRY(sy__t_push(r, out->seq, a.seq->v[i]));
    for (size_t i = 0; i < b.seq->n; i++) SY_TRY(sy__t_push(r, out->seq, b.seq->v[i]));
    return SY_OK;
}

sy_status sy__t_math(sy__run *r, char op, sy__val a, sy__val b, sy__val *out)
{
    static const char two[] = "D//P**";
    SY_TRY(sy__t_step(r, 1));
    if (op == '%' && a.kind == SY__TEXT) return sy__t_percent(r, a.text, b, out);
    SY_TRY(need_defined(r, a));
    SY_TRY(need_defined(r, b));
    bool numbers = (whole(a) || a.kind == SY__REAL) && (whole(b) || b.kind == SY__REAL);
    if (numbers && whole(a) && whole(b) && op != '/' && !(op == 'P' && int_of(b) < 0)) return math_whole(r, op, int_of(a), int_of(b), out);
    if (numbers) return math_real(r, op, real_of(a), real_of(b), out);
    if (op == '+' && repeats(a) && a.kind == b.kind && (a.kind == SY__TEXT || a.seq->form == b.seq->form)) return join_two(r, a, b, out);
    if (op == '*' && repeats(a) && whole(b)) return repeat(r, a, int_of(b), out);
    if (op == '*' && repeats(b) && whole(a)) return repeat(r, b, int_of(a), out);
    const char *sign = strchr(two, op);
    return sy__t_fail(r, SY_EFORMAT, "unsupported operands for %.*s: %s and %s", sign ? 2 : 1, sign ? sign + 1 : &op, sy__t_type(a), sy__t_type(b));
}

static sy_status eval_math(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    sy__val v, next;
    SY_TRY(sy__t_eval(r, s, n->kid[0], &v));
    for (int i = 1; i < n->n; i++) {
        SY_TRY(sy__t_eval(r, s, n->kid[i], &next));
        r->line = n->line;
        SY_TRY(sy__t_math(r, n->ops[i], v, next, &v));
    }
    *out = v;
    return SY_OK;
}

static sy_status compare(sy__run *r, char op, sy__val a, sy__val b, bool *out)
{
    int order;
    switch (op) {
    case 'E': case 'N':
        SY_TRY(sy__t_same(r, a, b, out));
        *out ^= op == 'N';
        return SY_OK;
    case 'i': case 'n':
        SY_TRY(sy__t_contains(r, b, a, out));
        *out ^= op == 'n';
        return SY_OK;
    }
    SY_TRY(sy__t_order(r, a, b, op == '<' ? "<" : op == '>' ? ">" : op == 'L' ? "<=" : ">=", &order));
    *out = op == '<' ? order == -1 : op == '>' ? order == 1 : op == 'L' ? order == -1 || order == 0 : order == 1 || order == 0;
    return SY_OK;
}

static sy_status eval_compare(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    sy__val a, b;
    bool yes = true;
    SY_TRY(sy__t_eval(r, s, n->kid[0], &a));
    for (int i = 1; i < n->n && yes; i++) {
        SY_TRY(sy__t_eval(r, s, n->kid[i], &b));
        r->line = n->line;
        SY_TRY(compare(r, n->ops[i], a, b, &yes));
        a = b;
    }
    *out = sy__t_bool(yes);
    return SY_OK;
}

static sy_status eval_sign(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    sy__val v;
    SY_TRY(sy__t_eval(r, s, n->a, &v));
    r->line = n->line;
    SY_TRY(need_defined(r, v));
    bool minus = n->kind == SY__N_NEG;
    if (v.kind == SY__REAL) *out = (sy__val){ .kind = SY__REAL, .r = minus ? -v.r : v.r };
    else if (whole(v)) return minus ? math_whole(r, '-', 0, int_of(v), out) : (*out = sy__t_int(int_of(v)), SY_OK);
    else return sy__t_fail(r, SY_EFORMAT, "a %s has no sign", sy__t_type(v));
    return SY_OK;
}

static sy_status eval_concat(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    sy__out o = { 0 };
    for (int i = 0; i < n->n; i++) {
        sy__val v;
        SY_TRY(sy__t_eval(r, s, n->kid[i], &v));
        SY_TRY(sy__t_print(r, &o, v));
    }
    return sy__t_done(r, &o, out);
}

/* --- calls ---------------------------------------------------------------------------------------------------------------------------------- */

static sy_status push_key(sy__run *r, sy__call *c, const char *key, sy__val v, int *room)
{
    for (int i = 0; i < c->keys; i++)
        if (!strcmp(c->key[i], key)) return sy__t_fail(r, SY_EFORMAT, "the argument '%.60s' is given twice", key);
    if (c->keys == *room) {
        int more = *room ? 2 * *room : 4;
        const char **k = sy__t_alloc(r, (size_t)more * sizeof *k);
        sy__val *w = sy__t_alloc(r, (size_t)more * sizeof *w);
        if (!k || !w) return r->status;
        if (c->keys) {
            memcpy(k, c->key, (size_t)c->keys * sizeof *k);
            memcpy(w, c->val, (size_t)c->keys * sizeof *w);
        }
        c->key = k;
        c->val = w;
        *room = more;
    }
    c->key[c->keys] = key;
    c->val[c->keys++] = v;
    return sy__t_step(r, 1 + (size_t)c->keys / 8);
}

static sy_status eval_args(sy__run *r, sy__scope *s, const sy__args *a, sy__call *c)
{
    sy__val list, v;
    sy__seq *items = NULL;
    int room = 0;
    *c = (sy__call){ 0 };
    if (!a) return SY_OK;
    SY_TRY(sy__t_seq(r, SY__LIST, (size_t)a->n, &list));
    for (int i = 0; i < a->n; i++) {
        SY_TRY(sy__t_eval(r, s, a->pos[i], &v));
        SY_TRY(sy__t_push(r, list.seq, v));
    }
    if (a->star) {
        SY_TRY(sy__t_eval(r, s, a->star, &v));
        SY_TRY(sy__t_items(r, v, &items));
        for (size_t i = 0; i < items->n; i++) SY_TRY(sy__t_push(r, list.seq, items->v[i]));
    }
    for (int i = 0; i < a->keys; i++) {
        SY_TRY(sy__t_eval(r, s, a->val[i], &v));
        SY_TRY(push_key(r, c, a->key[i], v, &room));
    }
    if (a->stars) {
        SY_TRY(sy__t_eval(r, s, a->stars, &v));
        if (v.kind != SY__DICT) return sy__t_fail(r, SY_EFORMAT, "what stands behind ** is a %s, not a dict", sy__t_type(v));
        for (size_t i = 0; i < v.dict->n; i++) {
            if (v.dict->key[i].kind != SY__TEXT) return sy__t_fail(r, SY_EFORMAT, "the names of arguments must be texts");
            const sy__text *t = v.dict->key[i].text;
            char *name = sy__t_alloc(r, t->n + 1);
            if (!name) return r->status;
            memcpy(name, t->s, t->n);
            SY_TRY(push_key(r, c, name, v.dict->v[i], &room));
        }
    }
    c->pos = list.seq->v;
    c->n = (int)list.seq->n;
    return SY_OK;
}

sy_status sy__t_bind(sy__run *r, const char *what, const sy__call *c, const char *names, int must, sy__val *out)
{
    int k = 0, used = 0;
    for (const char *p = names; *p; k++) {
        size_t n = strcspn(p, ",");
        out[k] = k < c->n ? c->pos[k] : (sy__val){ .kind = SY__ABSENT };
        for (int i = 0; i < c->keys; i++) {
            if (strncmp(c->key[i], p, n) || c->key[i][n]) continue;
            if (k < c->n) return sy__t_fail(r, SY_EFORMAT, "%s: the argument '%s' is given twice", what, c->key[i]);
            out[k] = c->val[i];
            used++;
        }
        if (k < must && out[k].kind == SY__ABSENT) return sy__t_fail(r, SY_EFORMAT, "%s: the argument '%.*s' is missing", what, (int)n, p);
        p += n + (p[n] == ',');
    }
    if (c->n > k) return sy__t_fail(r, SY_EFORMAT, "%s takes at most %d arguments, %d are given", what, k, c->n);
    if (used < c->keys) return sy__t_fail(r, SY_EFORMAT, "%s takes %s%s", what, *names ? "the arguments " : "no arguments", names);
    return SY_OK;
}

/* What is left over when parameters have their arguments: varargs, kwargs, caller. */
static sy_status extra_arguments(sy__run *r, const sy__node *n, const sy__call *c, sy__scope *s, const bool *taken)
{
    const char *name = n->name ? n->name : "caller";
    sy__val rest, named, key, caller = { .kind = SY__UNDEFINED, .name = "'caller' is undefined" };
    SY_TRY(sy__t_seq(r, SY__TUPLE, 0, &rest));
    SY_TRY(sy__t_dict(r, SY__DICT, &named));
    for (int i = n->args->n; i < c->n; i++) {
        if (!n->uses_varargs) return sy__t_fail(r, SY_EFORMAT, "macro '%s' takes %d arguments, %d are given", name, n->args->n, c->n);
        SY_TRY(sy__t_push(r, rest.seq, c->pos[i]));
    }
    for (int i = 0; i < c->keys; i++) {
        if (taken[i]) continue;
        if (!strcmp(c->key[i], "caller") && n->uses_caller) {
            caller = c->val[i];
            continue;
        }
        if (!n->uses_kwargs) return sy__t_fail(r, SY_EFORMAT, "macro '%s' takes no argument '%.60s'", name, c->key[i]);
        SY_TRY(sy__t_copy(r, c->key[i], &key));
        SY_TRY(sy__t_dict_set(r, named.dict, key, c->val[i]));
    }
    if (n->uses_caller) SY_TRY(set_name(r, s, "caller", caller));
    if (n->uses_varargs) SY_TRY(set_name(r, s, "varargs", rest));
    return n->uses_kwargs ? set_name(r, s, "kwargs", named) : SY_OK;
}

static sy_status call_macro(sy__run *r, const sy__macro *m, const sy__call *c, sy__val *out)
{
    const sy__node *n = m->node;
    const sy__args *a = n->args;
    sy__scope *s = NULL;
    sy__out o = { 0 };
    int leave = 0;
    bool *taken = sy__t_alloc(r, (size_t)c->keys + 1);
    if (!taken) return r->status;
    SY_TRY(open_scope(r, m->scope, &s));
    for (int i = 0; i < a->n; i++) {
        const char *name = a->pos[i]->name;
        sy__val v = { .kind = SY__ABSENT };
        if (i < c->n) v = c->pos[i];
        for (int k = 0; k < c->keys; k++) {
            if (strcmp(c->key[k], name)) continue;
            if (i < c->n) return sy__t_fail(r, SY_EFORMAT, "macro '%s': the argument '%s' is given twice", n->name ? n->name : "caller", name);
            v = c->val[k];
            taken[k] = true;
        }
        int d = i - (a->n - a->keys);
        if (v.kind == SY__ABSENT && d >= 0) SY_TRY(sy__t_eval(r, s, a->val[d], &v));
        if (v.kind == SY__ABSENT) SY_TRY(sy__t_undefined(r, &v, "parameter '%.60s' was not provided", name));
        SY_TRY(set_name(r, s, name, v));
    }
    SY_TRY(extra_arguments(r, n, c, s, taken));
    SY_TRY(sy__t_exec(r, s, n->body, &o, &leave));
    return sy__t_done(r, &o, out);
}

static sy_status run_loop(sy__run *r, sy__scope *s, const sy__node *n, sy__val list, int depth, sy__out *o);

static sy_status call_any(sy__run *r, sy__val f, const sy__call *c, sy__val *out)
{
    sy__out o = { 0 };
    sy__val list;
    switch (f.kind) {
    case SY__MACRO: return call_macro(r, f.macro, c, out);
    case SY__GLOBAL: return sy__t_global(r, f.name, c, out);
    case SY__METHOD: return sy__t_method(r, f.method, c, out);
    case SY__LOOP:
        if (!f.loop->node->flag) return sy__t_fail(r, SY_EFORMAT, "a loop calls itself, but it is not 'recursive'");
        SY_TRY(sy__t_bind(r, "loop", c, "iterable", 1, &list));
        SY_TRY(run_loop(r, f.loop->scope, f.loop->node, list, f.loop->depth + 1, &o));
        return sy__t_done(r, &o, out);
    case SY__WHEEL:
        SY_TRY(sy__t_bind(r, "joiner", c, "", 0, NULL));
        if (!f.wheel->joins) break;
        if (!f.wheel->at++) return sy__t_text(r, "", NULL, 0, out);
        *out = f.wheel->items->v[0];
        return SY_OK;
    case SY__UNDEFINED: return sy__t_fail(r, SY_EFORMAT, "%s", f.name);
    default: break;
    }
    return sy__t_fail(r, SY_EFORMAT, "'%s' object is not callable", sy__t_type(f));
}

sy_status sy__t_call(sy__run *r, sy__val f, const sy__call *c, sy__val *out)
{
    SY_TRY(sy__t_enter(r));
    SY_TRY(call_any(r, f, c, out));
    r->depth--;
    return SY_OK;
}

static sy_status eval_call(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    sy__val f, v = { 0 };
    sy__call c;
    SY_TRY(sy__t_eval(r, s, n->a, &f));
    SY_TRY(eval_args(r, s, n->args, &c));
    r->line = n->line;
    SY_TRY(sy__t_call(r, f, &c, &v));
    *out = v;
    return SY_OK;
}

/* --- expressions ------------------------------------------------------------------------------------------------------------------------------ */

static sy_status eval_filter(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    sy__val of;
    sy__call c;
    bool yes;
    SY_TRY(sy__t_eval(r, s, n->a, &of));
    SY_TRY(eval_args(r, s, n->args, &c));
    r->line = n->line;
    if (n->kind == SY__N_FILTER) return sy__t_filter(r, n->name, of, &c, out);
    SY_TRY(sy__t_test(r, n->name, of, &c, &yes));
    *out = sy__t_bool(yes != n->flag);
    return SY_OK;
}

static sy_status eval_list(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    sy__val v, w;
    if (n->kind == SY__N_DICT) {
        SY_TRY(sy__t_dict(r, SY__DICT, &v));
        for (int i = 0; i < n->n; i += 2) {
            sy__val key;
            SY_TRY(sy__t_eval(r, s, n->kid[i], &key));
            SY_TRY(sy__t_eval(r, s, n->kid[i + 1], &w));
            SY_TRY(sy__t_dict_set(r, v.dict, key, w));
        }
    } else {
        SY_TRY(sy__t_seq(r, n->kind == SY__N_LIST ? SY__LIST : SY__TUPLE, (size_t)n->n, &v));
        for (int i = 0; i < n->n; i++) {
            SY_TRY(sy__t_eval(r, s, n->kid[i], &w));
            SY_TRY(sy__t_push(r, v.seq, w));
        }
    }
    *out = v;
    return SY_OK;
}

static sy_status eval_item(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    sy__val of, key, part[3];
    SY_TRY(sy__t_eval(r, s, n->a, &of));
    if (n->kind == SY__N_ATTR) {
        r->line = n->line;
        return sy__t_attr(r, of, n->name, out);
    }
    if (n->b->kind == SY__N_SLICE) {
        for (int i = 0; i < 3; i++) {
            part[i] = sy__t_none();
            if (n->b->kid[i]) SY_TRY(sy__t_eval(r, s, n->b->kid[i], &part[i]));
        }
        r->line = n->line;
        return slice_value(r, of, part, out);
    }
    SY_TRY(sy__t_eval(r, s, n->b, &key));
    r->line = n->line;
    return sy__t_item(r, of, key, out);
}

static sy_status eval_logic(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    for (int i = 0; i < n->n; i++) {
        SY_TRY(sy__t_eval(r, s, n->kid[i], out));
        if (sy__t_true(*out) == (n->kind == SY__N_OR)) break;
    }
    return SY_OK;
}

static sy_status eval_cond(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    sy__val c;
    SY_TRY(sy__t_eval(r, s, n->b, &c));
    if (sy__t_true(c)) return sy__t_eval(r, s, n->a, out);
    if (n->c) return sy__t_eval(r, s, n->c, out);
    return sy__t_undefined(r, out, "an 'if' without 'else' was false");
}

static sy_status eval(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    switch (n->kind) {
    case SY__N_CONST: *out = n->value; return SY_OK;
    case SY__N_NAME: r->line = n->line; return name_value(r, s, n->name, out);
    case SY__N_LIST: case SY__N_TUPLE: case SY__N_DICT: return eval_list(r, s, n, out);
    case SY__N_ATTR: case SY__N_ITEM: return eval_item(r, s, n, out);
    case SY__N_CALL: return eval_call(r, s, n, out);
    case SY__N_FILTER: case SY__N_TEST: return eval_filter(r, s, n, out);
    case SY__N_NOT:
        SY_TRY(sy__t_eval(r, s, n->a, out));
        *out = sy__t_bool(!sy__t_true(*out));
        return SY_OK;
    case SY__N_NEG: case SY__N_POS: return eval_sign(r, s, n, out);
    case SY__N_AND: case SY__N_OR: return eval_logic(r, s, n, out);
    case SY__N_COMPARE: return eval_compare(r, s, n, out);
    case SY__N_MATH: return eval_math(r, s, n, out);
    case SY__N_CONCAT: return eval_concat(r, s, n, out);
    case SY__N_COND: return eval_cond(r, s, n, out);
    default: return sy__t_fail(r, SY_EFORMAT, "a slice stands alone");
    }
}

sy_status sy__t_eval(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    SY_TRY(sy__t_enter(r));
    SY_TRY(eval(r, s, n, out));
    r->depth--;
    return r->status;
}

/* --- statements -------------------------------------------------------------------------------------------------------------------------------- */

static void emit(sy__run *r, sy__out *o, const sy__text *t)
{
    size_t from = o->n;
    sy__t_put(r, o, t->s, t->m, t->n);
    if (!r->mark || r->status != SY_OK) return;
    for (size_t i = from; i < o->n; i++) o->m[i] |= (char)r->mark;
    o->marked |= o->n > from;
}

static sy_status assign(sy__run *r, sy__scope *s, const sy__node *target, sy__val v)
{
    sy__val space, name;
    sy__seq *items = NULL;
    if (target->kind == SY__N_NAME) return set_name(r, s, target->name, v);
    if (target->kind == SY__N_ATTR) {
        SY_TRY(sy__t_eval(r, s, target->a, &space));
        r->line = target->line;
        if (space.kind != SY__SPACE) return sy__t_fail(r, SY_EFORMAT, "only a namespace() can be assigned to, '%s' is a %s", target->a->name, sy__t_type(space));
        if (target->name[0] == '_') return sy__t_fail(r, SY_EFORMAT, "a namespace cannot hold '%s': a name there does not begin with _", target->name);
        SY_TRY(sy__t_text(r, target->name, NULL, strlen(target->name), &name));
        return sy__t_dict_set(r, space.dict, name, v);
    }
    r->line = target->line;
    SY_TRY(need_defined(r, v));
    SY_TRY(sy__t_items(r, v, &items));
    if (items->n != (size_t)target->n) return sy__t_fail(r, SY_EFORMAT, "%zu values for %d names", items->n, target->n);
    for (int i = 0; i < target->n; i++) SY_TRY(assign(r, s, target->kid[i], items->v[i]));
    return SY_OK;
}

/* The items that meet the loop's condition. */
static sy_status chosen(sy__run *r, sy__scope *s, const sy__node *n, sy__val list, sy__seq **out)
{
    sy__seq *all = NULL;
    sy__val kept, yes;
    SY_TRY(sy__t_items(r, list, &all));
    *out = all;
    if (!n->c) return SY_OK;
    SY_TRY(sy__t_seq(r, SY__LIST, 0, &kept));
    for (size_t i = 0; i < all->n; i++) {
        sy__scope *inner = NULL;
        SY_TRY(open_scope(r, s, &inner));
        SY_TRY(assign(r, inner, n->a, all->v[i]));
        SY_TRY(sy__t_eval(r, inner, n->c, &yes));
        if (sy__t_true(yes)) SY_TRY(sy__t_push(r, kept.seq, all->v[i]));
    }
    *out = kept.seq;
    return SY_OK;
}

static sy_status run_loop(sy__run *r, sy__scope *s, const sy__node *n, sy__val list, int depth, sy__out *o)
{
    sy__loop *l = sy__t_alloc(r, sizeof *l);
    sy__seq *items = NULL;
    sy__scope *inner = NULL;
    int leave = 0;
    bool whole_pass = false;                         /* one went to its end: as in Jinja, passes that were left do not keep the else away */
    if (!l) return r->status;
    r->line = n->line;
    SY_TRY(chosen(r, s, n, list, &items));
    *l = (sy__loop){ .node = n, .scope = s, .items = items, .depth = depth };
    for (l->at = 0; l->at < items->n && leave != 1; l->at++) {
        SY_TRY(open_scope(r, s, &inner));            /* what one pass sets is gone in the next */
        SY_TRY(set_name(r, inner, "loop", (sy__val){ .kind = SY__LOOP, .loop = l }));
        SY_TRY(assign(r, inner, n->a, items->v[l->at]));
        leave = 0;
        SY_TRY(sy__t_exec(r, inner, n->body, o, &leave));
        whole_pass |= !leave;
    }
    if (whole_pass || !n->orelse) return SY_OK;
    leave = 0;
    SY_TRY(open_scope(r, s, &inner));
    return sy__t_exec(r, inner, n->orelse, o, &leave);
}

static sy_status exec_if(sy__run *r, sy__scope *s, const sy__node *n, sy__out *o, int *leave)
{
    for (;;) {
        sy__val c;
        SY_TRY(sy__t_eval(r, s, n->a, &c));
        if (sy__t_true(c)) return sy__t_exec(r, s, n->body, o, leave);
        const sy__node *e = n->orelse;
        if (!e || e->kind != SY__N_IF || e->next) return sy__t_exec(r, s, e, o, leave);
        n = e;                                       /* elif */
        SY_TRY(sy__t_step(r, 1));
    }
}

/* Runs a body apart and hands its text through the filters of `n`. */
static sy_status caught(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    sy__scope *inner = NULL;
    sy__out body = { 0 };
    sy__val v;
    int leave = 0;
    SY_TRY(open_scope(r, s, &inner));
    SY_TRY(sy__t_exec(r, inner, n->body, &body, &leave));
    SY_TRY(sy__t_done(r, &body, &v));
    SY_TRY(open_scope(r, s, &inner));
    SY_TRY(set_name(r, inner, captured, v));
    return sy__t_eval(r, inner, n->b, out);
}

static sy_status macro_value(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out)
{
    sy__macro *m = sy__t_alloc(r, sizeof *m);
    if (!m) return r->status;
    *m = (sy__macro){ n, s };
    *out = (sy__val){ .kind = SY__MACRO, .macro = m };
    return SY_OK;
}

static sy_status exec_call_block(sy__run *r, sy__scope *s, const sy__node *n, sy__out *o)
{
    sy__val f, caller, v;
    const sy__text *t = NULL;
    sy__call c;
    int room;
    SY_TRY(macro_value(r, s, n, &caller));
    SY_TRY(sy__t_eval(r, s, n->a->a, &f));
    SY_TRY(eval_args(r, s, n->a->args, &c));
    room = c.keys;
    r->line = n->line;
    SY_TRY(push_key(r, &c, "caller", caller, &room));
    SY_TRY(sy__t_call(r, f, &c, &v));
    SY_TRY(sy__t_str(r, v, &t));
    emit(r, o, t);
    return r->status;
}

static sy_status exec_with(sy__run *r, sy__scope *s, const sy__node *n, sy__out *o, int *leave)
{
    sy__scope *inner = NULL;
    SY_TRY(open_scope(r, s, &inner));
    for (int i = 0; i < n->n; i += 2) {
        sy__val v;
        SY_TRY(sy__t_eval(r, s, n->kid[i + 1], &v)); /* values are seen from outside */
        SY_TRY(assign(r, inner, n->kid[i], v));
    }
    return sy__t_exec(r, inner, n->body, o, leave);
}

static sy_status exec_generation(sy__run *r, sy__scope *s, const sy__node *n, sy__out *o)
{
    uint8_t mark = r->mark;
    sy__scope *inner = NULL;
    int leave = 0;
    r->mark |= SY_GENERATED;
    SY_TRY(open_scope(r, s, &inner));
    SY_TRY(sy__t_exec(r, inner, n->body, o, &leave));
    r->mark = mark;
    return SY_OK;
}

static sy_status exec_one(sy__run *r, sy__scope *s, const sy__node *n, sy__out *o, int *leave)
{
    const sy__text *t = NULL;
    sy__val v;
    switch (n->kind) {
    case SY__N_DATA: emit(r, o, n->value.text); return r->status;
    case SY__N_IF: return exec_if(r, s, n, o, leave);
    case SY__N_FOR:
        SY_TRY(sy__t_eval(r, s, n->b, &v));
        return run_loop(r, s, n, v, 0, o);
    case SY__N_SET:
        SY_TRY(sy__t_eval(r, s, n->b, &v));
        return assign(r, s, n->a, v);
    case SY__N_SET_BLOCK:
        SY_TRY(caught(r, s, n, &v));
        return assign(r, s, n->a, v);
    case SY__N_MACRO:
        SY_TRY(macro_value(r, s, n, &v));
        return set_name(r, s, n->name, v);
    case SY__N_CALL_BLOCK: return exec_call_block(r, s, n, o);
    case SY__N_WITH: return exec_with(r, s, n, o, leave);
    case SY__N_GENERATION: return exec_generation(r, s, n, o);
    case SY__N_BREAK: *leave = 1; return SY_OK;
    case SY__N_CONTINUE: *leave = 2; return SY_OK;
    default:                                         /* OUTPUT, FILTER_BLOCK */
        SY_TRY(n->kind == SY__N_OUTPUT ? sy__t_eval(r, s, n->a, &v) : caught(r, s, n, &v));
        r->line = n->line;
        SY_TRY(sy__t_str(r, v, &t));
        emit(r, o, t);
        return r->status;
    }
}

sy_status sy__t_exec(sy__run *r, sy__scope *s, const sy__node *n, sy__out *o, int *leave)
{
    SY_TRY(sy__t_enter(r));
    for (; n && !*leave; n = n->next) {
        r->line = n->line;
        SY_TRY(sy__t_step(r, 1));
        SY_TRY(exec_one(r, s, n, o, leave));
    }
    r->depth--;
    return r->status;
}
