/* Many threads encode with one tokenizer at the same time, and get what one alone gets. */
/* tsan */
#include "testing.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "model/bpe_train.h"

enum { THREADS = 4, ROUNDS = 20 };

struct job { const sy_tokenizer *t; const char *text; size_t n; int32_t *id; size_t ids; sy_status st; pthread_t thread; };

static void *encode_often(void *arg)
{
    struct job *j = arg;
    sy_err err;
    for (int i = 0; i < ROUNDS && j->st == SY_OK; i++) j->st = sy_tokenizer_encode_special(j->t, j->text, j->n, j->id, &j->ids, &err);
    return NULL;
}

static void threads_share_a_tokenizer(void **state)
{
    (void)state;
    json_t *root = NULL;
    sy_bpe_trainer *b = NULL;
    sy_tokenizer *t = NULL;
    struct job job[THREADS];
    sy_expect_ok(sy_json_read(&root, "tests/fixtures/tokenizer.json", 1 << 24, err));
    const char *text = json_string_value(json_object_get(root, "text"));
    size_t n = strlen(text), want;
    sy_expect_ok(sy_bpe_trainer_open(&b, err));
    sy_expect_ok(sy_bpe_trainer_feed(b, text, n, err));
    sy_expect_ok(sy_bpe_trainer_train(b, 400, NULL, NULL, &t, err));
    sy_bpe_trainer_close(b);
    int32_t *alone = malloc(sy_tokenizer_most(t, n) * sizeof *alone);
    sy_expect_ok(sy_tokenizer_encode_special(t, text, n, alone, &want, err));
    for (int i = 0; i < THREADS; i++) {
        job[i] = (struct job){ .t = t, .text = text, .n = n, .id = malloc(sy_tokenizer_most(t, n) * sizeof *alone) };
        assert_int_equal(pthread_create(&job[i].thread, NULL, encode_often, &job[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(job[i].thread, NULL);
        sy_test_case("thread %d", i);
        assert_int_equal(job[i].st, SY_OK);
        assert_int_equal(job[i].ids, want);
        sy_expect_ids("ids", job[i].id, alone, want);
        free(job[i].id);
    }
    free(alone);
    sy_tokenizer_close(t);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(threads_share_a_tokenizer) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
