/* model/template_parts.h - what the interpreter of templates is made of: tokens, the tree, values, a run. Private to template*.c. */
#ifndef SY_TEMPLATE_PARTS_H
#define SY_TEMPLATE_PARTS_H

#include "core/arena.h"
#include "model/template.h"

enum { SY__TEMPLATE_MOST = 4 << 20, SY__NESTING = 100, SY__DEPTH = 200, SY__RANGE_MOST = 100000 };

/* --- values: Python's ----------------------------------------------------------------------------------------------------- */

typedef enum {
    SY__ABSENT,                         /* an argument that was not given; never a value of the template */
    SY__UNDEFINED, SY__NONE, SY__BOOL, SY__INT, SY__REAL, SY__TEXT, SY__SEQ, SY__DICT,
    SY__SPACE,                          /* namespace(): a dict whose names can be assigned */
    SY__MACRO, SY__LOOP, SY__GLOBAL, SY__METHOD,
    SY__WHEEL,                          /* cycler() and joiner() */
} sy__vkind;

typedef struct sy__text {
    const char *s, *m;                  /* bytes, UTF-8; their marks, NULL: none has any */
    size_t      n;
} sy__text;

typedef struct sy__val {
    sy__vkind kind;
    union {
        bool              b;
        int64_t           i;
        double            r;
        const sy__text   *text;
        struct sy__seq   *seq;
        struct sy__dict  *dict;         /* SY__DICT and SY__SPACE */
        struct sy__macro *macro;
        struct sy__loop  *loop;
        struct sy__method *method;
        struct sy__wheel *wheel;
        const char       *name;         /* SY__GLOBAL: which; SY__UNDEFINED: the sentence, "'x' is undefined" */
    };
} sy__val;

typedef enum { SY__LIST, SY__TUPLE, SY__STREAM /* can be read once */, SY__VIEW /* of a dict */, SY__RANGE } sy__form;
typedef struct sy__seq  { sy__form form; bool spent; size_t n, room; sy__val *v; const char *label; /* of a view or stream */ } sy__seq;
typedef struct sy__dict { size_t n, room; sy__val *key, *v; } sy__dict;
typedef struct sy__method { sy__val of; const char *name; } sy__method;
typedef struct sy__wheel { sy__seq *items; size_t at; bool joins; } sy__wheel;

/* --- the tree ------------------------------------------------------------------------------------------------------------- */

typedef enum {
    SY__N_CONST, SY__N_NAME, SY__N_LIST, SY__N_TUPLE, SY__N_DICT, SY__N_ATTR, SY__N_ITEM, SY__N_SLICE, SY__N_CALL, SY__N_FILTER, SY__N_TEST,
    SY__N_NOT, SY__N_NEG, SY__N_POS, SY__N_AND, SY__N_OR, SY__N_COMPARE, SY__N_MATH, SY__N_CONCAT, SY__N_COND,
    SY__N_DATA, SY__N_OUTPUT, SY__N_IF, SY__N_FOR, SY__N_SET, SY__N_SET_BLOCK, SY__N_MACRO, SY__N_CALL_BLOCK, SY__N_FILTER_BLOCK, SY__N_WITH,
    SY__N_GENERATION, SY__N_BREAK, SY__N_CONTINUE,
} sy__nkind;

typedef struct sy__node {
    sy__nkind    kind;
    int          line, n;               /* n children */
    bool         flag;                  /* TEST: negated; FOR: recursive */
    const char  *name;
    sy__val      value;                 /* CONST, DATA */
    struct sy__node *a, *b, *c;         /* operands; of COND: a if b else c; of FOR: target, list, condition; of SET: target, value */
    struct sy__node **kid;              /* [n]; of DICT: key, value, ...; of SLICE: start, stop, step, each or NULL */
    char        *ops;                   /* [n] before each child of MATH and COMPARE; the first of MATH has none */
    struct sy__args *args;              /* CALL, FILTER, TEST; MACRO and CALL_BLOCK: parameters */
    struct sy__node *body, *orelse, *next;      /* statements, linked by next */
    bool         uses_caller, uses_varargs, uses_kwargs;        /* MACRO */
} sy__node;

typedef struct sy__args {
    sy__node   **pos;  int n;           /* MACRO: names */
    const char **key;  sy__node **val;  int keys;               /* MACRO: val are defaults of the last `keys` names */
    sy__node    *star, *stars;          /* *x and **x, or NULL */
} sy__args;

struct sy_template {
    sy_arena   arena;
    const char *name;
    sy__node  *body;
    bool       generates;
};

typedef struct sy__token {
    enum { SY__T_END, SY__T_DATA, SY__T_BLOCK, SY__T_BLOCK_END, SY__T_VARIABLE, SY__T_VARIABLE_END, SY__T_NAME, SY__T_INT, SY__T_REAL, SY__T_STRING, SY__T_OP } kind;
    int         line;
    char        op;                     /* itself; of two letters: E ==, N !=, G >=, L <=, D //, P ** */
    const char *s; size_t n;            /* NAME, DATA, STRING: text with a NUL behind */
    int64_t     i;
    double      r;
} sy__token;

/* Cuts the text into tokens, from the arena; the last is SY__T_END. */
sy_status sy__template_lex(sy_template *t, const char *text, size_t n, sy__token **out, sy_err *err);
sy_status sy__template_tree(sy_template *t, const sy__token *token, sy_err *err);
sy_status sy__template_fail(const sy_template *t, int line, sy_status status, sy_err *err, const char *fmt, ...) SY_PRINTF(5, 6);

/* --- a run ---------------------------------------------------------------------------------------------------------------- */

typedef struct sy__scope { struct sy__scope *up; size_t n, room; struct { const char *name; sy__val v; } *var; } sy__scope;

typedef struct sy__macro { const sy__node *node; sy__scope *scope; } sy__macro;
typedef struct sy__loop {
    const sy__node *node;
    sy__scope      *scope;              /* around the loop */
    const sy__seq  *items;
    size_t          at;
    int             depth;              /* of a recursive loop, from 0 */
    bool            seen;               /* changed() was asked */
    sy__val         last;               /* its arguments then, a tuple */
} sy__loop;

typedef struct sy__run {
    const sy_template *t;
    sy_arena   arena;
    char      *bump; size_t left;       /* what is left of the block that small things are taken from */
    uint64_t   steps, most_steps;
    size_t     most_memory, most_output;
    int        depth, line;
    uint8_t    mark;                    /* of what is output now */
    int64_t    now;
    sy__scope *top;
    sy_status  status;                  /* the first failure sticks */
    sy_err    *err;
} sy__run;

typedef struct sy__out { char *s, *m; size_t n, room; bool marked; } sy__out;   /* text that grows; memory of the run */

sy_status sy__t_fail(sy__run *r, sy_status status, const char *fmt, ...) SY_PRINTF(3, 4);
void     *sy__t_alloc(sy__run *r, size_t bytes);                     /* zeroed; NULL: r->status says why */
sy_status sy__t_step(sy__run *r, size_t n);
sy_status sy__t_enter(sy__run *r);                                   /* one level deeper; r->depth-- leaves it */

/* template_value.c */
sy__val   sy__t_int(int64_t i);
sy__val   sy__t_bool(bool b);
sy__val   sy__t_none(void);
sy_status sy__t_undefined(sy__run *r, sy__val *out, const char *fmt, ...) SY_PRINTF(3, 4);
sy_status sy__t_text(sy__run *r, const char *s, const char *m, size_t n, sy__val *out);     /* borrows s and m */
sy_status sy__t_copy(sy__run *r, const char *s, sy__val *out);       /* copies a text of the program */
sy_status sy__t_seq(sy__run *r, sy__form form, size_t room, sy__val *out);
sy_status sy__t_push(sy__run *r, sy__seq *s, sy__val v);
sy_status sy__t_dict(sy__run *r, sy__vkind kind, sy__val *out);
sy_status sy__t_dict_set(sy__run *r, sy__dict *d, sy__val key, sy__val v);
sy_status sy__t_dict_get(sy__run *r, const sy__dict *d, sy__val key, sy__val *out, bool *found);
sy_status sy__t_dict_find(sy__run *r, const sy__dict *d, const char *name, sy__val *out, bool *found);
sy_status sy__t_json(sy__run *r, const json_t *v, bool own, sy__val *out);
const char *sy__t_type(sy__val v);                                   /* Python's name of its type */
bool      sy__t_true(sy__val v);
sy_status sy__t_same(sy__run *r, sy__val a, sy__val b, bool *out);
sy_status sy__t_order(sy__run *r, sy__val a, sy__val b, const char *sign, int *out);    /* -1, 0, 1; 2: not ordered (NaN) */
sy_status sy__t_contains(sy__run *r, sy__val in, sy__val v, bool *out);
sy_status sy__t_items(sy__run *r, sy__val v, sy__seq **out);         /* what a loop goes over; a stream is spent */
size_t    sy__t_letters(const char *s, size_t n);                    /* code points */
size_t    sy__t_offset(const char *s, size_t n, size_t letters);     /* bytes of the first so many */
bool      sy__t_is_space(uint32_t cp);
size_t    sy__t_lead(const char *s, size_t n);                       /* bytes of white space in front */
size_t    sy__t_trail(const char *s, size_t n);                      /* and behind */

/* template_text.c */
void      sy__t_put(sy__run *r, sy__out *o, const char *s, const char *m, size_t n);
void      sy__t_puts(sy__run *r, sy__out *o, const char *s);
sy_status sy__t_done(sy__run *r, sy__out *o, sy__val *out);
sy_status sy__t_print(sy__run *r, sy__out *o, sy__val v);            /* str() */
sy_status sy__t_repr(sy__run *r, sy__out *o, sy__val v);
sy_status sy__t_str(sy__run *r, sy__val v, const sy__text **out);    /* str() as a text */
typedef struct sy__dump { bool ascii, sorted; const sy__text *indent, *item, *key; } sy__dump;
sy_status sy__t_dump(sy__run *r, sy__out *o, sy__val v, const sy__dump *how, int level);    /* json.dumps */
char     *sy__t_real(double v, char buf[40]);                        /* repr() of a float */
sy_status sy__t_percent(sy__run *r, const sy__text *f, sy__val args, sy__val *out);         /* "..." % args */

/* template_eval.c */
sy_status sy__t_eval(sy__run *r, sy__scope *s, const sy__node *n, sy__val *out);
sy_status sy__t_exec(sy__run *r, sy__scope *s, const sy__node *n, sy__out *o, int *leave);  /* leave: 1 break, 2 continue */
sy_status sy__t_math(sy__run *r, char op, sy__val a, sy__val b, sy__val *out);
sy_status sy__t_attr(sy__run *r, sy__val of, const char *name, sy__val *out);               /* of.name */
sy_status sy__t_item(sy__run *r, sy__val of, sy__val key, sy__val *out);                    /* of[key] */

typedef struct sy__call { sy__val *pos; int n; const char **key; sy__val *val; int keys; } sy__call;        /* arguments, evaluated */
/* Puts arguments in the places of their parameters: names "a,b,c", the first `must` of them required. */
sy_status sy__t_bind(sy__run *r, const char *what, const sy__call *c, const char *names, int must, sy__val *out);
sy_status sy__t_call(sy__run *r, sy__val f, const sy__call *c, sy__val *out);

/* template_filters.c, template_methods.c */
sy_status sy__t_filter(sy__run *r, const char *name, sy__val of, const sy__call *c, sy__val *out);
sy_status sy__t_test(sy__run *r, const char *name, sy__val of, const sy__call *c, bool *out);
bool      sy__t_is_method(sy__val of, const char *name);
sy_status sy__t_method(sy__run *r, const sy__method *m, const sy__call *c, sy__val *out);
bool      sy__t_is_global(const char *name);
sy_status sy__t_global(sy__run *r, const char *name, const sy__call *c, sy__val *out);
typedef enum { SY__LOWER, SY__UPPER, SY__CAPITALIZE, SY__TITLE, SY__SWAP } sy__case;
sy_status sy__t_case(sy__run *r, const sy__text *t, sy__case how, sy__val *out);
sy_status sy__t_replace(sy__run *r, const sy__text *t, const sy__text *old, const sy__text *new, int64_t most, sy__val *out);
sy_status sy__t_lines(sy__run *r, const sy__text *t, bool keep, sy__val *out);               /* splitlines() */

#endif
