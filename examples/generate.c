/* Text from a checkpoint:  cc generate.c $(pkg-config --cflags --libs switchyard) -o generate && ./generate DIR "Once upon" */
#include <stdio.h>
#include <switchyard.h>

static bool print(void *arg, const char *text, size_t n)
{
    (void)arg;
    return fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    sy_engine *engine = NULL;
    sy_lm *model = NULL;
    sy_err err;
    if (argc != 3) {
        fprintf(stderr, "usage: %s DIR PROMPT\n", argv[0]);
        return 2;
    }
    sy_status st = sy_engine_open(&engine, 0, NULL, &err);
    if (st == SY_OK) st = sy_lm_open(&model, engine, argv[1], &err);
    if (st == SY_OK) st = sy_lm_generate(model, argv[2], "max_new_tokens=100,temperature=0.8", print, NULL, &err);
    if (st == SY_OK) putchar('\n');
    else fprintf(stderr, "%s\n", err.text);
    sy_lm_close(model);
    sy_engine_close(engine);
    return st == SY_OK ? 0 : 1;
}
