/* A disk that fails on demand, for whoever loads this before the C library: the nth matching call on a file
 * whose path begins with FAULTS_PREFIX fails, once or for a while, or stands still. Told by the mapped file
 * FAULTS_CONTROL. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, READ = 4 };

/* In the order of the fields in src/shim.rs. */
struct control {
    volatile int64_t nth;     /* which call fails, from 1; 0 for none */
    volatile int64_t kinds;   /* which calls count */
    volatile int64_t lasting; /* for how long all fail from then on, in microseconds */
    volatile int64_t done;    /* whether the call does its work before it fails */
    volatile int64_t error;   /* with what */
    volatile int64_t calls;   /* how many were counted */
    volatile int64_t hits;    /* how many failed */
    volatile int64_t since;   /* when the first did */
    volatile int64_t stalled; /* whether they wait instead until nth is 0, no longer than lasting says, and work then */
};

static struct control *control;
static const char *prefix;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULTS_CONTROL");
    prefix = getenv("FAULTS_PREFIX");
    if (!path || !prefix)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED)
        control = at;
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > 0 && !strncmp(path, prefix, strlen(prefix));
}

static void stand_still(void) {
    __sync_bool_compare_and_swap(&control->since, 0, now());
    __sync_add_and_fetch(&control->hits, 1);
    while (control->nth && now() - control->since < control->lasting)
        usleep(1000);
}

/* Whether this call fails. */
static int fails(int fd, int kind) {
    if (!control || !control->nth || !(control->kinds & kind) || !ours(fd))
        return 0;
    int64_t call = __sync_add_and_fetch(&control->calls, 1);
    if (control->stalled) {
        if (call >= control->nth)
            stand_still();
        return 0;
    }
    int fails = call == control->nth;
    if (fails)
        control->since = now();
    else if (control->since && control->lasting)
        fails = now() - control->since < control->lasting;
    if (fails)
        __sync_add_and_fetch(&control->hits, 1);
    return fails;
}

#define CALL(result, kind, name, declared, passed)                \
    result name declared {                                        \
        static result(*next) declared;                            \
        if (!next)                                                \
            next = (result(*) declared)dlsym(RTLD_NEXT, #name);   \
        if (fails(fd, kind)) {                                    \
            if (control->done)                                    \
                next passed;                                      \
            errno = (int)control->error;                          \
            return -1;                                            \
        }                                                         \
        return next passed;                                       \
    }

CALL(ssize_t, READ, read, (int fd, void *to, size_t size), (fd, to, size))
CALL(ssize_t, READ, pread, (int fd, void *to, size_t size, off_t at), (fd, to, size, at))
CALL(ssize_t, READ, pread64, (int fd, void *to, size_t size, off64_t at), (fd, to, size, at))
CALL(ssize_t, WRITE, write, (int fd, const void *from, size_t size), (fd, from, size))
CALL(ssize_t, WRITE, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
CALL(ssize_t, WRITE, pwrite64, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at))
CALL(int, WRITE, ftruncate, (int fd, off_t size), (fd, size))
CALL(int, WRITE, ftruncate64, (int fd, off64_t size), (fd, size))
CALL(int, SYNC, fsync, (int fd), (fd))
CALL(int, SYNC, fdatasync, (int fd), (fd))
