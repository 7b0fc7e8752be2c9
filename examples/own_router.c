/* A router of your own, outside the tree: sends a token to the expert that its id modulo the number of experts names, with a learned gate as weight.
 * Registers it, trains a few steps with it, saves the model.
 *
 *   cc own_router.c $(pkg-config --cflags --libs switchyard) -o own_router && ./own_router text.txt OUT */
#include <stdio.h>
#include <switchyard.h>
#include <switchyard/method.h>

typedef struct { int shift; } modulo_state;

static const sy_opt modulo_opts[] = {
    SY_INT(modulo_state, shift, NULL, 0, 0, 1024, "added to the id before the modulo"),
    { 0 }
};

/* expert = (id + shift) mod E; weight = the softmax probability of that expert, so that the linear gate still learns. */
static sy_status modulo_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *logits, sy_route *out, sy_err *err)
{
    const modulo_state *s = state;
    int E = in->site->E;
    out->first_slot = sy_tape_alloc(t, (size_t)in->T + 1, sizeof *out->first_slot);
    out->expert = sy_tape_alloc(t, (size_t)in->T, sizeof *out->expert);
    SY_TRY(sy_tape_status(t, err));
    out->n = in->T;
    for (int i = 0; i < in->T; i++) {
        out->first_slot[i + 1] = i + 1;
        out->expert[i] = (in->id[i] + s->shift) % E;
    }
    out->probs = sy_softmax(t, logits);
    out->weight = sy_pick(t, out->probs, out->first_slot, out->expert, out->n);
    return sy_tape_status(t, err);
}

static const sy_method modulo = {
    .kind = SY_ROUTER, .name = "modulo", .title = "expert by token id", .summary = "a fixed table with a learned weight; an example",
    .opts = modulo_opts, .size = sizeof(modulo_state),
    .hooks = &(const sy_router_hooks){ .abi = SY_ROUTER_ABI, .select = modulo_select },
};

int main(int argc, char **argv)
{
    sy_engine *engine = NULL;
    sy_trainer *trainer = NULL;
    sy_err err;
    char settings[1024];
    double loss = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: %s TEXT OUT\n", argv[0]);
        return 2;
    }
    snprintf(settings, sizeof settings, "data=%s layers=sparse router=modulo:shift=1 num_experts=4 hidden_size=32 num_hidden_layers=2 intermediate_size=64 "
                                        "max_position_embeddings=64 seq_len=64 batch_size=4 steps=20 warmup_steps=5", argv[1]);
    sy_status st = sy_engine_open(&engine, 0, NULL, &err);
    if (st == SY_OK) st = sy_engine_register(engine, &modulo, &err);
    if (st == SY_OK) st = sy_trainer_open(&trainer, engine, settings, &err);
    for (int i = 0; st == SY_OK && i < 20; i++) {
        st = sy_trainer_step(trainer, &loss, &err);
        if (st == SY_OK && i % 5 == 4) printf("step %d: %.3f nats per token\n", i + 1, loss);
    }
    if (st == SY_OK) st = sy_trainer_save(trainer, argv[2], &err);
    if (st != SY_OK) fprintf(stderr, "%s\n", err.text);
    sy_trainer_close(trainer);
    sy_engine_close(engine);
    return st == SY_OK ? 0 : 1;
}
