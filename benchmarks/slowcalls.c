/* A file system that is far away: each call for a path below SLOWCALLS_ROOT waits SLOWCALLS_US microseconds.
 *
 *     cc -O3 -shared -fPIC -o slowcalls.so slowcalls.c
 *     SLOWCALLS_ROOT=/data SLOWCALLS_US=1000 LD_PRELOAD=./slowcalls.so python -m fastindex /data
 *
 * Opening, listing and stat'ing wait, once a call: what a network file system asks its server for. A name that
 * is relative to a descriptor is resolved by /proc/self/fd. Reading does not wait.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *root;
static size_t root_length;
static struct timespec delay;

__attribute__((constructor)) static void read_environment(void) {
    const char *microseconds = getenv("SLOWCALLS_US");
    long us = microseconds ? atol(microseconds) : 0;
    root = getenv("SLOWCALLS_ROOT");
    root_length = root && us > 0 ? strlen(root) : 0;
    delay = (struct timespec){us / 1000000, us % 1000000 * 1000};
}

static int is_below_root(const char *path) {
    return !strncmp(path, root, root_length) && (!path[root_length] || path[root_length] == '/');
}

/* Wait if `path`, relative to the open folder `fd`, is below the root. */
static void wait_for(int fd, const char *path) {
    char link[64], above[PATH_MAX];
    int number = errno;
    if (!root_length) return;
    if (path[0] != '/' && fd >= 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, above, sizeof above - 1);
        above[length > 0 ? length : 0] = 0;
        path = above;
    }
    if (is_below_root(path)) nanosleep(&delay, NULL);
    errno = number;
}

/* The function of this name that this library stands before. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define STAT_AT(name, type)                                                        \
    int name(int fd, const char *path, struct type *info, int flags) {             \
        static __typeof__(&name) next;                                             \
        if (!next) next = NEXT(name);                                              \
        wait_for(fd, path);                                                        \
        return next(fd, path, info, flags);                                        \
    }
STAT_AT(fstatat, stat)
STAT_AT(fstatat64, stat64)

#define STAT(name, type)                                                           \
    int name(const char *path, struct type *info) {                                \
        static __typeof__(&name) next;                                             \
        if (!next) next = NEXT(name);                                              \
        wait_for(AT_FDCWD, path);                                                  \
        return next(path, info);                                                   \
    }
STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)

static mode_t mode_in(int flags, va_list rest) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                                                 \
    int name(const char *path, int flags, ...) {                                   \
        static __typeof__(&name) next;                                             \
        va_list rest;                                                              \
        va_start(rest, flags);                                                     \
        mode_t mode = mode_in(flags, rest);                                        \
        va_end(rest);                                                              \
        if (!next) next = NEXT(name);                                              \
        wait_for(AT_FDCWD, path);                                                  \
        return next(path, flags, mode);                                            \
    }
OPEN(open)
OPEN(open64)

#define OPEN_AT(name)                                                              \
    int name(int fd, const char *path, int flags, ...) {                           \
        static __typeof__(&name) next;                                             \
        va_list rest;                                                              \
        va_start(rest, flags);                                                     \
        mode_t mode = mode_in(flags, rest);                                        \
        va_end(rest);                                                              \
        if (!next) next = NEXT(name);                                              \
        wait_for(fd, path);                                                        \
        return next(fd, path, flags, mode);                                        \
    }
OPEN_AT(openat)
OPEN_AT(openat64)

DIR *opendir(const char *path) {
    static __typeof__(&opendir) next;
    if (!next) next = NEXT(opendir);
    wait_for(AT_FDCWD, path);
    return next(path);
}

DIR *fdopendir(int fd) {
    static __typeof__(&fdopendir) next;
    if (!next) next = NEXT(fdopendir);
    wait_for(fd, "");
    return next(fd);
}

ssize_t getdents64(int fd, void *entries, size_t size) {
    static __typeof__(&getdents64) next;
    if (!next) next = NEXT(getdents64);
    if (lseek(fd, 0, SEEK_CUR) == 0) wait_for(fd, "");
    return next(fd, entries, size);
}
