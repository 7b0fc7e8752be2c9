/* train/recipes.c - whole runs under a name. A recipe only sets keys; what it expects as data is named, never fetched. */
#include "train/config.h"

#define DEMO "hidden_size=128 num_hidden_layers=4 num_attention_heads=4 max_position_embeddings=256 seq_len=256 " \
             "steps=500 batch_size=16 lr=2e-3 warmup_steps=40 val_fraction=0.03 eval_every=125 log_every=5 checkpoint_every=250 tie_word_embeddings=true "

const sy_recipe sy_recipes[] = {
    { "demo", "a small mixture of experts on several domains, 8 experts of which a token uses 2",
      DEMO "layers=sparse num_experts=8 moe_intermediate_size=256 router=topk:top_k=2,norm_topk_prob=true balance=switch:coef=0.01", NULL },
    { "demo-dense", "its dense twin: one FFN as wide as the two experts that a token uses", DEMO "layers=dense intermediate_size=512", NULL },
    { "shakespeare", "bytes of Shakespeare: at most 1.60 nats per byte within 10 minutes on 2 cores",
      "hidden_size=160 num_hidden_layers=6 num_attention_heads=5 qk_norm=true max_position_embeddings=256 seq_len=256 layers=sparse num_experts=8 moe_intermediate_size=192 "
      "router=topk:top_k=2,norm_topk_prob=true balance=switch:coef=0.01 tie_word_embeddings=true steps=1200 batch_size=16 lr=3e-3 warmup_steps=100 min_lr_ratio=0.05 "
      "weight_decay=0.1 eval_every=300 checkpoint_every=300 val_fraction=0.1", "shakespeare" },
    { "lm-tiny", "the bed of the leagues: 3 layers, width 64, 8 experts of 128, 2 active",
      "hidden_size=64 num_hidden_layers=3 num_attention_heads=4 max_position_embeddings=64 seq_len=64 layers=sparse num_experts=8 moe_intermediate_size=128 "
      "router=topk:top_k=2,norm_topk_prob=true balance=switch:coef=0.01 steps=1000 batch_size=32 lr=3e-3 warmup_steps=100 eval_every=250", NULL },
    { NULL, NULL, NULL, NULL }
};
