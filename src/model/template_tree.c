/* model/template_tree.c - tokens as a tree: the grammar of Jinja 2, by recursive descent. */
#include <string.h>

#include "model/template_parts.h"

typedef struct parser {
    sy_template     *t;
    const sy__token *at;
    int              deep, loops;       /* brackets and blocks around this place; loops, in this macro */
    sy__node        *macro;             /* the innermost macro, or NULL */
    sy_err          *err;
} parser;

static sy_status no_memory(parser *p) { return sy_fail(p->err, SY_ENOMEM, "no memory for the tree of %s", p->t->name); }

static sy_status make(parser *p, sy__nkind kind, sy__node **out)
{
    sy__node *n = sy_arena_zalloc(&p->t->arena, sizeof *n);
    if (!n) return no_memory(p);
    n->kind = kind;
    n->line = p->at->line;
    *out = n;
    return SY_OK;
}

/* Adds to an array of pointers that holds n: its room is the next power of two. */
static sy_status append(parser *p, void *list, int n, const void *item)
{
    void **v = *(void ***)list;
    if (!(n & (n - 1))) {
        void **more = sy_arena_array(&p->t->arena, n ? 2 * (size_t)n : 1, sizeof *more);
        if (!more) return no_memory(p);
        if (n) memcpy(more, v, (size_t)n * sizeof *v);
        *(void ***)list = v = more;
    }
    v[n] = (void *)item;
    return SY_OK;
}

static sy_status add_kid(parser *p, sy__node *n, sy__node *kid)
{
    SY_TRY(append(p, &n->kid, n->n, kid));
    n->n++;
    return SY_OK;
}

/* --- looking at tokens ------------------------------------------------------------------------------------------------------- */

static bool is_op(const parser *p, char op) { return p->at->kind == SY__T_OP && p->at->op == op; }
static bool is_name(const parser *p, const char *name) { return p->at->kind == SY__T_NAME && !strcmp(p->at->s, name); }
static bool skip_op(parser *p, char op) { return is_op(p, op) ? p->at++, true : false; }
static bool skip_name(parser *p, const char *name) { return is_name(p, name) ? p->at++, true : false; }

static const char *seen(const parser *p, char buf[80])
{
    static const char *const kinds[] = { "the end", "text", "{%", "%}", "{{", "}}" };
    static const char two[] = "E==N!=G>=L<=D//P**";
    const sy__token *t = p->at;
    if (t->kind <= SY__T_VARIABLE_END) return kinds[t->kind];
    if (t->kind == SY__T_NAME) snprintf(buf, 80, "'%.60s'", t->s);
    else if (t->kind == SY__T_OP) {
        const char *op = t->op >= 'A' && t->op <= 'Z' ? strchr(two, t->op) : NULL;
        snprintf(buf, 80, "'%.*s'", op ? 2 : 1, op ? op + 1 : &t->op);
    } else return t->kind == SY__T_STRING ? "a text" : "a number";
    return buf;
}

static sy_status expected(parser *p, const char *what)
{
    char buf[80];
    return sy__template_fail(p->t, p->at->line, SY_EFORMAT, p->err, "%s is expected, here is %s", what, seen(p, buf));
}

static sy_status need_op(parser *p, char op, const char *what) { return skip_op(p, op) ? SY_OK : expected(p, what); }

static sy_status need_name(parser *p, const char **name)
{
    if (p->at->kind != SY__T_NAME) return expected(p, "a name");
    *name = p->at++->s;
    return SY_OK;
}

static sy_status deeper(parser *p)
{
    if (++p->deep > SY__NESTING) return sy__template_fail(p->t, p->at->line, SY_ESHAPE, p->err, "nested more than %d deep", SY__NESTING);
    return SY_OK;
}

static bool constant(const char *name, sy__val *out)
{
    if (!strcmp(name, "true") || !strcmp(name, "True")) *out = sy__t_bool(true);
    else if (!strcmp(name, "false") || !strcmp(name, "False")) *out = sy__t_bool(false);
    else if (!strcmp(name, "none") || !strcmp(name, "None")) *out = sy__t_none();
    else return false;
    return true;
}

/* --- expressions -------------------------------------------------------------------------------------------------------------- */

static sy_status expression(parser *p, sy__node **out);
static sy_status disjunction(parser *p, sy__node **out);
static sy_status unary(parser *p, bool filters, sy__node **out);
static sy_status primary(parser *p, sy__node **out);
static sy_status postfix(parser *p, sy__node **n);

/* Expressions with commas between them; one alone is itself, without a comma behind it. */
static sy_status tuple(parser *p, bool conditions, bool brackets, sy__node **out)
{
    sy__node *list = NULL, *one = NULL;
    bool comma = false;
    SY_TRY(make(p, SY__N_TUPLE, &list));
    for (;;) {
        if (list->n && !comma) break;
        int k = p->at->kind;
        if (k == SY__T_VARIABLE_END || k == SY__T_BLOCK_END || is_op(p, ')') || is_name(p, "recursive")) break;
        SY_TRY(conditions ? expression(p, &one) : disjunction(p, &one));
        SY_TRY(add_kid(p, list, one));
        comma = skip_op(p, ',');
    }
    if (!list->n && !brackets) return expected(p, "an expression");
    *out = list->n == 1 && !comma ? one : list;
    return SY_OK;
}

static sy_status text_value(parser *p, const char *s, size_t n, sy__val *out)
{
    sy__text *t = sy_arena_zalloc(&p->t->arena, sizeof *t);
    if (!t) return no_memory(p);
    *t = (sy__text){ .s = s, .n = n };
    *out = (sy__val){ .kind = SY__TEXT, .text = t };
    return SY_OK;
}

/* Texts that stand side by side are one. */
static sy_status text_literal(parser *p, sy__node *n)
{
    const sy__token *first = p->at;
    size_t all = 0, at = 0;
    for (; p->at->kind == SY__T_STRING; p->at++) all += p->at->n;
    if (p->at == first + 1) return text_value(p, first->s, first->n, &n->value);
    char *s = sy_arena_alloc(&p->t->arena, all + 1);
    if (!s) return no_memory(p);
    for (const sy__token *t = first; t < p->at; t++) {
        memcpy(s + at, t->s, t->n);
        at += t->n;
    }
    s[all] = 0;
    return text_value(p, s, all, &n->value);
}

static sy_status list_literal(parser *p, sy__node *n, char end)
{
    for (p->at++; !skip_op(p, end); ) {
        sy__node *key = NULL, *v = NULL;
        if (n->n) {
            SY_TRY(need_op(p, ',', "','"));
            if (skip_op(p, end)) break;
        }
        SY_TRY(expression(p, &key));
        SY_TRY(add_kid(p, n, key));
        if (end == ']') continue;
        SY_TRY(need_op(p, ':', "':'"));
        SY_TRY(expression(p, &v));
        SY_TRY(add_kid(p, n, v));
    }
    return SY_OK;
}

static void note_name(parser *p, const char *name)
{
    if (!p->macro) return;
    if (!strcmp(name, "caller")) p->macro->uses_caller = true;
    if (!strcmp(name, "varargs")) p->macro->uses_varargs = true;
    if (!strcmp(name, "kwargs")) p->macro->uses_kwargs = true;
}

static sy_status primary_at(parser *p, sy__node **out)
{
    const sy__token *t = p->at;
    sy__node *n = NULL;
    if (t->kind == SY__T_OP && t->op == '(') {
        p->at++;
        SY_TRY(tuple(p, true, true, out));
        return need_op(p, ')', "')'");
    }
    if (t->kind == SY__T_OP && t->op != '[' && t->op != '{') return expected(p, "an expression");
    SY_TRY(make(p, SY__N_CONST, &n));
    *out = n;
    switch (t->kind) {
    case SY__T_STRING: return text_literal(p, n);
    case SY__T_INT: n->value = sy__t_int(t->i); break;
    case SY__T_REAL: n->value = (sy__val){ .kind = SY__REAL, .r = t->r }; break;
    case SY__T_NAME:
        if (constant(t->s, &n->value)) break;
        n->kind = SY__N_NAME;
        n->name = t->s;
        note_name(p, n->name);
        break;
    case SY__T_OP:
        n->kind = t->op == '[' ? SY__N_LIST : SY__N_DICT;
        return list_literal(p, n, t->op == '[' ? ']' : '}');
    default: return expected(p, "an expression");
    }
    p->at++;
    return SY_OK;
}

static sy_status primary(parser *p, sy__node **out)
{
    SY_TRY(deeper(p));
    SY_TRY(primary_at(p, out));
    p->deep--;
    return SY_OK;
}

static sy_status one_argument(parser *p, sy__args *a)
{
    sy__node *v = NULL;
    if (is_op(p, '*') || is_op(p, 'P')) {
        sy__node **to = is_op(p, '*') ? &a->star : &a->stars;
        if (*to) return expected(p, "one list of arguments");
        p->at++;
        return expression(p, to);
    }
    if (p->at->kind == SY__T_NAME && p->at[1].kind == SY__T_OP && p->at[1].op == '=') {
        const char *name = p->at->s;
        p->at += 2;
        SY_TRY(expression(p, &v));
        SY_TRY(append(p, &a->key, a->keys, name));
        SY_TRY(append(p, &a->val, a->keys, v));
        a->keys++;
        return SY_OK;
    }
    if (a->keys || a->star || a->stars) return expected(p, "a named argument");
    SY_TRY(expression(p, &v));
    SY_TRY(append(p, &a->pos, a->n, v));
    a->n++;
    return SY_OK;
}

static sy_status arguments(parser *p, sy__args **out)
{
    sy__args *a = sy_arena_zalloc(&p->t->arena, sizeof *a);
    if (!a) return no_memory(p);
    SY_TRY(need_op(p, '(', "'('"));
    for (bool first = true; !skip_op(p, ')'); first = false) {
        if (!first) {
            SY_TRY(need_op(p, ',', "','"));
            if (skip_op(p, ')')) break;
        }
        SY_TRY(one_argument(p, a));
    }
    *out = a;
    return SY_OK;
}

static sy_status wrap(parser *p, sy__nkind kind, sy__node **n)
{
    sy__node *outer = NULL;
    SY_TRY(make(p, kind, &outer));
    outer->a = *n;
    *n = outer;
    return SY_OK;
}

/* One index: an expression, or start:stop:step. */
static sy_status index_of(parser *p, sy__node **out)
{
    sy__node *part[3] = { NULL, NULL, NULL }, *n = NULL;
    int k = 0;
    for (;;) {
        if (is_op(p, ']') || is_op(p, ',')) break;
        if (skip_op(p, ':')) {
            if (++k > 2) return expected(p, "']'");
            continue;
        }
        if (part[k]) return expected(p, "']'");
        SY_TRY(expression(p, &part[k]));
        if (!is_op(p, ':')) break;
    }
    if (!k) {
        if (!part[0]) return expected(p, "an index");
        *out = part[0];
        return SY_OK;
    }
    SY_TRY(make(p, SY__N_SLICE, &n));
    for (int i = 0; i < 3; i++) SY_TRY(add_kid(p, n, part[i]));
    *out = n;
    return SY_OK;
}

static sy_status subscript(parser *p, sy__node **n)
{
    sy__node *list = NULL, *one = NULL;
    if (skip_op(p, '.')) {
        if (p->at->kind == SY__T_INT) {
            SY_TRY(wrap(p, SY__N_ITEM, n));
            return primary(p, &(*n)->b);
        }
        SY_TRY(wrap(p, SY__N_ATTR, n));
        return need_name(p, &(*n)->name);
    }
    p->at++;
    SY_TRY(make(p, SY__N_TUPLE, &list));
    while (!skip_op(p, ']')) {
        if (list->n) SY_TRY(need_op(p, ',', "','"));
        SY_TRY(index_of(p, &one));
        SY_TRY(add_kid(p, list, one));
    }
    if (!list->n) return expected(p, "an index");
    if (list->n > 1)
        for (int i = 0; i < list->n; i++) if (list->kid[i]->kind == SY__N_SLICE) return expected(p, "one slice");
    SY_TRY(wrap(p, SY__N_ITEM, n));
    (*n)->b = list->n == 1 ? list->kid[0] : list;
    return SY_OK;
}

static sy_status call(parser *p, sy__node **n)
{
    SY_TRY(wrap(p, SY__N_CALL, n));
    return arguments(p, &(*n)->args);
}

static sy_status postfix(parser *p, sy__node **n)
{
    for (;;) {
        if (is_op(p, '.') || is_op(p, '[')) SY_TRY(subscript(p, n));
        else if (is_op(p, '(')) SY_TRY(call(p, n));
        else return SY_OK;
    }
}

static sy_status filter(parser *p, sy__node **n)
{
    SY_TRY(wrap(p, SY__N_FILTER, n));
    SY_TRY(need_name(p, &(*n)->name));
    if (is_op(p, '(')) return arguments(p, &(*n)->args);
    (*n)->args = sy_arena_zalloc(&p->t->arena, sizeof *(*n)->args);
    return (*n)->args ? SY_OK : no_memory(p);
}

static sy_status test(parser *p, sy__node **n)
{
    sy__node *arg = NULL;
    SY_TRY(wrap(p, SY__N_TEST, n));
    sy__node *t = *n;
    t->flag = skip_name(p, "not");
    SY_TRY(need_name(p, &t->name));
    if (is_op(p, '(')) return arguments(p, &t->args);
    if (!(t->args = sy_arena_zalloc(&p->t->arena, sizeof *t->args))) return no_memory(p);
    int k = p->at->kind;
    bool begins = k == SY__T_NAME || k == SY__T_STRING || k == SY__T_INT || k == SY__T_REAL || is_op(p, '[') || is_op(p, '{');
    if (!begins || is_name(p, "else") || is_name(p, "or") || is_name(p, "and")) return SY_OK;
    if (is_name(p, "is")) return expected(p, "one test");
    SY_TRY(primary(p, &arg));
    SY_TRY(postfix(p, &arg));
    SY_TRY(append(p, &t->args->pos, 0, arg));
    t->args->n = 1;
    return SY_OK;
}

static sy_status filters_and_tests(parser *p, sy__node **n)
{
    for (;;) {
        if (skip_op(p, '|')) SY_TRY(filter(p, n));
        else if (skip_name(p, "is")) SY_TRY(test(p, n));
        else if (is_op(p, '(')) SY_TRY(call(p, n));
        else return SY_OK;
    }
}

static sy_status unary_at(parser *p, bool filters, sy__node **out)
{
    sy__node *n = NULL;
    if (is_op(p, '-') || is_op(p, '+')) {
        SY_TRY(make(p, is_op(p, '-') ? SY__N_NEG : SY__N_POS, &n));
        p->at++;
        SY_TRY(unary(p, false, &n->a));
    } else SY_TRY(primary(p, &n));
    SY_TRY(postfix(p, &n));
    if (filters) SY_TRY(filters_and_tests(p, &n));
    *out = n;
    return SY_OK;
}

static sy_status unary(parser *p, bool filters, sy__node **out)
{
    SY_TRY(deeper(p));
    SY_TRY(unary_at(p, filters, out));
    p->deep--;
    return SY_OK;
}

/* A row of operands with operators of one level between them, computed from the left: levels 3 **, 2 * / // %, 1 ~, 0 + -. */
static sy_status row(parser *p, int level, sy__node **out)
{
    static const char *const ops[] = { "+-", "~", "*/D%", "P" };
    sy__node *first = NULL, *n = NULL, *next = NULL;
    SY_TRY(level == 3 ? unary(p, true, &first) : row(p, level + 1, &first));
    while (p->at->kind == SY__T_OP && strchr(ops[level], p->at->op)) {
        char op = p->at->op;
        if (!n) {
            SY_TRY(make(p, level == 1 ? SY__N_CONCAT : SY__N_MATH, &n));
            SY_TRY(add_kid(p, n, first));
        }
        p->at++;
        SY_TRY(level == 3 ? unary(p, true, &next) : row(p, level + 1, &next));
        SY_TRY(add_kid(p, n, next));
        char *more = sy_arena_alloc(&p->t->arena, (size_t)n->n);
        if (!more) return no_memory(p);
        if (n->ops) memcpy(more, n->ops, (size_t)n->n - 1);
        more[n->n - 1] = op;
        n->ops = more;
    }
    *out = n ? n : first;
    return SY_OK;
}

/* The comparison that begins here: E N G L > <, i in, n not in; 0: none. */
static char comparison_op(parser *p)
{
    if (p->at->kind == SY__T_OP && strchr("ENGL<>", p->at->op)) return p->at++->op;
    if (skip_name(p, "in")) return 'i';
    if (!is_name(p, "not") || p->at[1].kind != SY__T_NAME || strcmp(p->at[1].s, "in")) return 0;
    p->at += 2;
    return 'n';
}

static sy_status comparison(parser *p, sy__node **out)
{
    sy__node *first = NULL, *n = NULL, *next = NULL;
    char op;
    SY_TRY(row(p, 0, &first));
    while ((op = comparison_op(p)) != 0) {
        if (!n) {
            SY_TRY(make(p, SY__N_COMPARE, &n));
            SY_TRY(add_kid(p, n, first));
            if (!(n->ops = sy_arena_zalloc(&p->t->arena, SY__NESTING))) return no_memory(p);
        }
        if (n->n == SY__NESTING) return sy__template_fail(p->t, n->line, SY_ESHAPE, p->err, "more than %d comparisons in a row", SY__NESTING - 1);
        n->ops[n->n] = op;
        SY_TRY(row(p, 0, &next));
        SY_TRY(add_kid(p, n, next));
    }
    *out = n ? n : first;
    return SY_OK;
}

static sy_status negation(parser *p, sy__node **out)
{
    sy__node *n = NULL;
    if (!is_name(p, "not")) return comparison(p, out);
    SY_TRY(make(p, SY__N_NOT, &n));
    p->at++;
    SY_TRY(deeper(p));
    SY_TRY(negation(p, &n->a));
    p->deep--;
    *out = n;
    return SY_OK;
}

static sy_status logic(parser *p, bool or, sy__node **out)
{
    sy__node *first = NULL, *n = NULL, *next = NULL;
    SY_TRY(or ? logic(p, false, &first) : negation(p, &first));
    while (skip_name(p, or ? "or" : "and")) {
        if (!n) {
            SY_TRY(make(p, or ? SY__N_OR : SY__N_AND, &n));
            SY_TRY(add_kid(p, n, first));
        }
        SY_TRY(or ? logic(p, false, &next) : negation(p, &next));
        SY_TRY(add_kid(p, n, next));
    }
    *out = n ? n : first;
    return SY_OK;
}

static sy_status disjunction(parser *p, sy__node **out) { return logic(p, true, out); }

static sy_status expression_at(parser *p, sy__node **out)
{
    sy__node *n = NULL, *cond = NULL;
    SY_TRY(disjunction(p, &n));
    while (skip_name(p, "if")) {
        SY_TRY(make(p, SY__N_COND, &cond));
        cond->a = n;
        SY_TRY(disjunction(p, &cond->b));
        if (skip_name(p, "else")) SY_TRY(expression(p, &cond->c));
        n = cond;
    }
    *out = n;
    return SY_OK;
}

static sy_status expression(parser *p, sy__node **out)
{
    SY_TRY(deeper(p));
    SY_TRY(expression_at(p, out));
    p->deep--;
    return SY_OK;
}

/* --- statements ---------------------------------------------------------------------------------------------------------------- */

static sy_status statements(parser *p, const char *const *ends, sy__node **out);

static sy_status block_end(parser *p)
{
    if (p->at->kind != SY__T_BLOCK_END) return expected(p, "the end of the tag");
    p->at++;
    return SY_OK;
}

/* Statements up to one of the tags in `ends`, whose name is the next token. */
static sy_status body(parser *p, const char *const *ends, sy__node **out)
{
    SY_TRY(block_end(p));
    SY_TRY(deeper(p));
    SY_TRY(statements(p, ends, out));
    p->deep--;
    return SY_OK;
}

static sy_status body_to(parser *p, const char *end, sy__node **out)
{
    SY_TRY(body(p, (const char *const[]){ end, NULL }, out));
    p->at++;
    return block_end(p);
}

/* A body that runs as a call of its own: no loop around it can be left from inside. */
static sy_status apart(parser *p, sy__node *macro, const char *end, sy__node **out)
{
    sy__node *outer = p->macro;
    int loops = p->loops;
    if (macro) p->macro = macro;
    p->loops = 0;
    SY_TRY(body_to(p, end, out));
    p->macro = outer;
    p->loops = loops;
    return SY_OK;
}

static sy_status target_name(parser *p, sy__node **out)
{
    sy__val v;
    SY_TRY(make(p, SY__N_NAME, out));
    SY_TRY(need_name(p, &(*out)->name));
    if (constant((*out)->name, &v)) return sy__template_fail(p->t, (*out)->line, SY_EFORMAT, p->err, "'%s' cannot be assigned to", (*out)->name);
    return SY_OK;
}

static sy_status target_one(parser *p, sy__node **out)
{
    sy__node *list = NULL;
    if (!skip_op(p, '(')) return target_name(p, out);
    SY_TRY(deeper(p));
    SY_TRY(make(p, SY__N_TUPLE, &list));
    for (bool more = true; more && !is_op(p, ')'); more = skip_op(p, ',')) {
        sy__node *one = NULL;
        SY_TRY(target_one(p, &one));
        SY_TRY(add_kid(p, list, one));
    }
    p->deep--;
    *out = list->n == 1 ? list->kid[0] : list;
    return need_op(p, ')', "')'");
}

/* A name, several, or (in set) space.name. */
static sy_status target(parser *p, bool spaces, sy__node **out)
{
    sy__node *one = NULL, *list = NULL;
    SY_TRY(target_one(p, &one));
    if (spaces && one->kind == SY__N_NAME && skip_op(p, '.')) {
        SY_TRY(wrap(p, SY__N_ATTR, &one));
        *out = one;
        return need_name(p, &one->name);
    }
    *out = one;
    if (!is_op(p, ',')) return SY_OK;
    SY_TRY(make(p, SY__N_TUPLE, &list));
    SY_TRY(add_kid(p, list, one));
    while (skip_op(p, ',') && (p->at->kind == SY__T_NAME || is_op(p, '(')) && !is_name(p, "in")) {
        SY_TRY(target_one(p, &one));
        SY_TRY(add_kid(p, list, one));
    }
    *out = list;
    return SY_OK;
}

static sy_status parse_for(parser *p, sy__node *n)
{
    SY_TRY(target(p, false, &n->a));
    if (!skip_name(p, "in")) return expected(p, "'in'");
    SY_TRY(tuple(p, false, false, &n->b));
    if (skip_name(p, "if")) SY_TRY(expression(p, &n->c));
    n->flag = skip_name(p, "recursive");
    p->loops++;
    SY_TRY(body(p, (const char *const[]){ "endfor", "else", NULL }, &n->body));
    p->loops--;
    if (skip_name(p, "else")) return body_to(p, "endfor", &n->orelse);
    p->at++;
    return block_end(p);
}

/* An elif is the if that stands alone in its else. */
static sy_status parse_if(parser *p, sy__node *n)
{
    for (;;) {
        SY_TRY(tuple(p, false, false, &n->a));
        SY_TRY(body(p, (const char *const[]){ "elif", "else", "endif", NULL }, &n->body));
        if (!skip_name(p, "elif")) break;
        SY_TRY(make(p, SY__N_IF, &n->orelse));
        n = n->orelse;
    }
    if (skip_name(p, "else")) return body_to(p, "endif", &n->orelse);
    p->at++;
    return block_end(p);
}

/* The name under which a filter block or `set` with a body sees that body. */
static const char captured[] = " body";

static sy_status filter_chain(parser *p, bool first, sy__node **out)
{
    sy__node *n = NULL;
    SY_TRY(make(p, SY__N_NAME, &n));
    n->name = captured;
    if (first) SY_TRY(filter(p, &n));
    SY_TRY(filters_and_tests(p, &n));
    *out = n;
    return SY_OK;
}

static sy_status parse_set(parser *p, sy__node *n)
{
    SY_TRY(target(p, true, &n->a));
    if (skip_op(p, '=')) {
        SY_TRY(tuple(p, true, false, &n->b));
        return block_end(p);
    }
    n->kind = SY__N_SET_BLOCK;
    SY_TRY(filter_chain(p, false, &n->b));
    return apart(p, NULL, "endset", &n->body);
}

/* Parameters of a macro: names, the last with defaults. */
static sy_status parameters(parser *p, sy__args **out)
{
    sy__args *a = sy_arena_zalloc(&p->t->arena, sizeof *a);
    if (!a) return no_memory(p);
    *out = a;
    if (!skip_op(p, '(')) return SY_OK;
    while (!skip_op(p, ')')) {
        sy__node *name = NULL, *v = NULL;
        if (a->n) SY_TRY(need_op(p, ',', "','"));
        SY_TRY(target_name(p, &name));
        SY_TRY(append(p, &a->pos, a->n, name));
        a->n++;
        if (skip_op(p, '=')) {
            SY_TRY(expression(p, &v));
            SY_TRY(append(p, &a->val, a->keys, v));
            a->keys++;
        } else if (a->keys) return expected(p, "a default for this parameter, too");
    }
    return SY_OK;
}

static sy_status parse_macro(parser *p, sy__node *n)
{
    sy__node *outer = p->macro;
    SY_TRY(need_name(p, &n->name));
    if (!is_op(p, '(')) return expected(p, "'('");
    p->macro = n;
    SY_TRY(parameters(p, &n->args));
    p->macro = outer;
    return apart(p, n, "endmacro", &n->body);
}

static sy_status parse_call(parser *p, sy__node *n)
{
    sy__node *outer = p->macro, *callee;
    p->macro = n;
    SY_TRY(parameters(p, &n->args));
    p->macro = outer;
    SY_TRY(unary(p, true, &callee));
    if (callee->kind != SY__N_CALL) return expected(p, "a call");
    n->a = callee;
    return apart(p, n, "endcall", &n->body);
}

static sy_status parse_with(parser *p, sy__node *n)
{
    while (p->at->kind != SY__T_BLOCK_END) {
        sy__node *name = NULL, *v = NULL;
        if (n->n) SY_TRY(need_op(p, ',', "','"));
        SY_TRY(target(p, false, &name));
        SY_TRY(need_op(p, '=', "'='"));
        SY_TRY(expression(p, &v));
        SY_TRY(add_kid(p, n, name));
        SY_TRY(add_kid(p, n, v));
    }
    return body_to(p, "endwith", &n->body);
}

static sy_status parse_filter_block(parser *p, sy__node *n)
{
    SY_TRY(filter_chain(p, true, &n->b));
    return apart(p, NULL, "endfilter", &n->body);
}

static sy_status parse_generation(parser *p, sy__node *n)
{
    p->t->generates = true;
    return apart(p, NULL, "endgeneration", &n->body);
}

static sy_status parse_leave(parser *p, sy__node *n)
{
    if (!p->loops) return sy__template_fail(p->t, n->line, SY_EFORMAT, p->err, "'%s' stands in no loop", n->kind == SY__N_BREAK ? "break" : "continue");
    return block_end(p);
}

static sy_status parse_print(parser *p, sy__node *n)
{
    SY_TRY(tuple(p, true, false, &n->a));
    return block_end(p);
}

static sy_status tag(parser *p, sy__node **out)
{
    static const struct { const char *name; sy__nkind kind; sy_status (*parse)(parser *p, sy__node *n); } tags[] = {
        { "for", SY__N_FOR, parse_for }, { "if", SY__N_IF, parse_if }, { "set", SY__N_SET, parse_set }, { "macro", SY__N_MACRO, parse_macro },
        { "call", SY__N_CALL_BLOCK, parse_call }, { "filter", SY__N_FILTER_BLOCK, parse_filter_block }, { "with", SY__N_WITH, parse_with },
        { "generation", SY__N_GENERATION, parse_generation }, { "break", SY__N_BREAK, parse_leave }, { "continue", SY__N_CONTINUE, parse_leave },
        { "print", SY__N_OUTPUT, parse_print },
    };
    static const char *const left_out[] = { "include", "import", "from", "extends", "block", "autoescape" };
    const char *name = NULL;
    SY_TRY(make(p, SY__N_DATA, out));
    SY_TRY(need_name(p, &name));
    for (size_t i = 0; i < SY_COUNT(tags); i++)
        if (!strcmp(name, tags[i].name)) {
            (*out)->kind = tags[i].kind;
            return tags[i].parse(p, *out);
        }
    for (size_t i = 0; i < SY_COUNT(left_out); i++)
        if (!strcmp(name, left_out[i])) return sy__template_fail(p->t, (*out)->line, SY_EUNSUP, p->err, "the tag '%s' is no part of chat templates", name);
    return sy__template_fail(p->t, (*out)->line, SY_EFORMAT, p->err, "no tag is called '%.60s' here", name);
}

static bool ends_here(const parser *p, const char *const *ends)
{
    if (p->at->kind != SY__T_BLOCK || p->at[1].kind != SY__T_NAME) return false;
    for (; *ends; ends++) if (!strcmp(p->at[1].s, *ends)) return true;
    return false;
}

static sy_status statement(parser *p, sy__node **out)
{
    switch (p->at->kind) {
    case SY__T_DATA:
        SY_TRY(make(p, SY__N_DATA, out));
        SY_TRY(text_value(p, p->at->s, p->at->n, &(*out)->value));
        p->at++;
        return SY_OK;
    case SY__T_VARIABLE:
        p->at++;
        SY_TRY(make(p, SY__N_OUTPUT, out));
        SY_TRY(tuple(p, true, false, &(*out)->a));
        if (p->at->kind != SY__T_VARIABLE_END) return expected(p, "'}}'");
        p->at++;
        return SY_OK;
    case SY__T_BLOCK:
        p->at++;
        return tag(p, out);
    default: return expected(p, "text or a tag");
    }
}

static sy_status statements(parser *p, const char *const *ends, sy__node **out)
{
    for (*out = NULL; !ends_here(p, ends); out = &(*out)->next) {
        if (p->at->kind == SY__T_END) return sy__template_fail(p->t, p->at->line, SY_EFORMAT, p->err, "'%s' is missing", *ends);
        SY_TRY(statement(p, out));
    }
    p->at++;
    return SY_OK;
}

sy_status sy__template_tree(sy_template *t, const sy__token *token, sy_err *err)
{
    parser p = { .t = t, .at = token, .err = err };
    for (sy__node **to = &t->body; p.at->kind != SY__T_END; to = &(*to)->next) SY_TRY(statement(&p, to));
    return SY_OK;
}
