/* A disk that is slower to sync, for LD_PRELOAD: fdatasync(2) takes SYNC_MS milliseconds more. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

int fdatasync(int file)
{
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    usleep(1000 * atoi(getenv("SYNC_MS")));
    return real(file);
}
