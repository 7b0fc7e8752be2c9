/* train/objective.c - objectives made from a text. */
#include "train/objective.h"

#include <string.h>

#define HOOKS(term) ((const sy_objective_hooks *)(term).m->hooks)

static sy_status open_one(sy_term *e, const char *text, const sy_methods *methods, sy_arena *a, sy_err *err)
{
    SY_TRY(sy_method_make(methods, SY_OBJECTIVE, text, a, &e->m, &e->s, err));
    if (HOOKS(*e)->abi != SY_OBJECTIVE_ABI)
        return sy_fail(err, SY_EUNSUP, "objective %s was built for interface %d of objectives, this engine has %d", e->m->name, HOOKS(*e)->abi, SY_OBJECTIVE_ABI);
    if (HOOKS(*e)->passes < 1 || HOOKS(*e)->passes > SY_MAX_PASSES) return sy_fail(err, SY_EUNSUP, "objective %s asks for %d passes; 1 to %d can be run", e->m->name, HOOKS(*e)->passes, SY_MAX_PASSES);
    return SY_OK;
}

sy_status sy_objectives_open(sy_objectives *o, const char *text, const sy_methods *methods, sy_arena *a, sy_err *err)
{
    sy_objectives made = { .passes = 1 };
    for (const char *p = text + strspn(text, " "); *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        const char *one = sy_arena_printf(a, "%.*s", (int)len, p);
        if (!one) return sy_fail(err, SY_ENOMEM, "no memory for the objectives");
        if (made.n == SY_MAX_OBJECTIVES) return sy_fail(err, SY_EARG, "more than %d objectives", SY_MAX_OBJECTIVES);
        SY_TRY(open_one(&made.term[made.n], one, methods, a, err));
        for (int i = 0; i < made.n; i++)
            if (made.term[i].m == made.term[made.n].m) return sy_fail(err, SY_EARG, "objective %s is given twice", made.term[i].m->name);
        int passes = HOOKS(made.term[made.n++])->passes;
        if (passes > made.passes) made.passes = passes;
        p += len;
    }
    *o = made;
    return SY_OK;
}

bool sy_objectives_prepares(const sy_objectives *o)
{
    for (int i = 0; i < o->n; i++) if (HOOKS(o->term[i])->prepare) return true;
    return false;
}

sy_status sy_objectives_begin(sy_objectives *o, sy_model *m, sy_data *d, sy_arena *a, sy_err *err)
{
    o->id = 0;
    for (int i = 0; i < o->n; i++) {
        const sy_term *e = &o->term[i];
        uint64_t id = 0;
        if (e->m->check) SY_TRY(sy_within(err, e->m->check(e->s, m, err), "objective %s", e->m->name));
        if (!HOOKS(*e)->prepare) continue;
        SY_TRY(sy_within(err, HOOKS(*e)->prepare(e->s, m, d, a, &id, err), "objective %s", e->m->name));
        o->id = o->id * 1099511628211u ^ id;
    }
    return SY_OK;
}
