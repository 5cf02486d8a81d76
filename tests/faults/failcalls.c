/* Fails or kills this process at calls into the C library that concern paths below a prefix. LD_PRELOAD.
 *
 *   failcalls_at(prefix, n, errno)                 the n-th call that changes a file: -1 and errno, or SIGKILL for 0
 *   failcalls_count()                              calls that change a file so far
 *   FAILCALLS_PREFIX, _RATE (of a million), _SEED, _LOG   each call that reads fails at random with EIO, EACCES,
 *                                                  ENOENT or ESTALE; "call errno path\0" is appended to the log
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char prefix[4096];
static int at, at_errno, count; /* calls that change something */
static unsigned rate;           /* calls that read */
static unsigned long state;
static int seeded_pid;

static int open_log(void)
{
    return syscall(SYS_openat, AT_FDCWD, getenv("FAILCALLS_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

__attribute__((constructor)) static void start(void)
{
    const char *value = getenv("FAILCALLS_PREFIX");
    if (!value || !getenv("FAILCALLS_RATE"))
        return;
    snprintf(prefix, sizeof prefix, "%s", value);
    rate = atoi(getenv("FAILCALLS_RATE"));
    syscall(SYS_close, open_log());
}

void failcalls_at(const char *below, int n, int number)
{
    snprintf(prefix, sizeof prefix, "%s", below);
    at = n;
    at_errno = number;
    count = 0;
}

int failcalls_count(void) { return count; }

/* The path that a call concerns; 0 where it is not below the prefix. */
static int resolve(int fd, const char *name, char *path, size_t size)
{
    char link[64];
    ssize_t length = 0;
    if (!*prefix)
        return 0;
    if (!name || *name != '/') {
        if (fd == AT_FDCWD)
            snprintf(link, sizeof link, "/proc/self/cwd");
        else
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        length = syscall(SYS_readlinkat, AT_FDCWD, link, path, size / 2);
        if (length < 0)
            return 0;
        if (name && *name)
            path[length++] = '/';
    }
    snprintf(path + length, size - length, "%s", name ? name : "");
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

static int changes(int fd, const char *name)
{
    char path[8192];
    int before = errno;
    int concerned = at && resolve(fd, name, path, sizeof path);
    errno = before;
    if (!concerned || ++count != at)
        return 0;
    if (!at_errno)
        kill(getpid(), SIGKILL);
    errno = at_errno;
    return 1;
}

static unsigned long next(void)
{
    if (seeded_pid != getpid()) { /* workers differ, and each is the same again */
        static int children;
        seeded_pid = getpid();
        state = strtoul(getenv("FAILCALLS_SEED"), 0, 10) * 2654435761UL + 88172645463325252UL + ++children;
        for (int i = 0; i < 20; i++)
            next();
    }
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state >> 16;
}

static int reads(const char *call, int fd, const char *name)
{
    static const int errors[] = {EIO, EACCES, ENOENT, ESTALE};
    char path[8192], line[8300];
    int before = errno;
    int concerned = rate && resolve(fd, name, path, sizeof path);
    errno = before;
    if (!concerned || next() % 1000000 >= rate)
        return 0;
    int number = errors[next() % 4];
    int length = snprintf(line, sizeof line, "%s %d %s", call, number, path);
    int log_fd = open_log(); /* each time: a worker closes what is not its own */
    syscall(SYS_write, log_fd, line, length + 1);
    syscall(SYS_close, log_fd);
    errno = number;
    return 1;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = dlsym(RTLD_NEXT, name)

#define OPEN(symbol, signature, call, fd) \
    int symbol signature \
    { \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); \
        } \
        if (flags & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC) ? changes(fd, name) : reads("open", fd, name)) \
            return -1; \
        call \
    }
#define OPEN_PATH(symbol) OPEN(symbol, (const char *name, int flags, ...), \
    REAL(int, #symbol, const char *, int, ...); return real(name, flags, mode);, AT_FDCWD)
#define OPEN_AT(symbol) OPEN(symbol, (int fd, const char *name, int flags, ...), \
    REAL(int, #symbol, int, const char *, int, ...); return real(fd, name, flags, mode);, fd)
OPEN_PATH(open) OPEN_PATH(open64) OPEN_AT(openat) OPEN_AT(openat64)

#define PATH(symbol, type) \
    int symbol(const char *name, type value) \
    { REAL(int, #symbol, const char *, type); return changes(AT_FDCWD, name) ? -1 : real(name, value); }
PATH(mkdir, mode_t) PATH(chmod, mode_t) PATH(rename, const char *)
#define PATH_ONLY(symbol) \
    int symbol(const char *name) { REAL(int, #symbol, const char *); return changes(AT_FDCWD, name) ? -1 : real(name); }
PATH_ONLY(rmdir) PATH_ONLY(unlink)
int unlinkat(int fd, const char *name, int flags)
{ REAL(int, "unlinkat", int, const char *, int); return changes(fd, name) ? -1 : real(fd, name, flags); }
int mkdirat(int fd, const char *name, mode_t mode)
{ REAL(int, "mkdirat", int, const char *, mode_t); return changes(fd, name) ? -1 : real(fd, name, mode); }
int renameat(int fd, const char *name, int to, const char *target)
{ REAL(int, "renameat", int, const char *, int, const char *); return changes(fd, name) ? -1 : real(fd, name, to, target); }

int fsync(int fd) { REAL(int, "fsync", int); return changes(fd, 0) ? -1 : real(fd); }
int ftruncate(int fd, off_t size) { REAL(int, "ftruncate", int, off_t); return changes(fd, 0) ? -1 : real(fd, size); }
int ftruncate64(int fd, off64_t size)
{ REAL(int, "ftruncate64", int, off64_t); return changes(fd, 0) ? -1 : real(fd, size); }
ssize_t write(int fd, const void *data, size_t size)
{ REAL(ssize_t, "write", int, const void *, size_t); return changes(fd, 0) ? -1 : real(fd, data, size); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place)
{ REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t); return changes(fd, 0) ? -1 : real(fd, data, size, place); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t place)
{ REAL(ssize_t, "pwrite", int, const void *, size_t, off_t); return changes(fd, 0) ? -1 : real(fd, data, size, place); }

#define STAT(symbol, type) \
    int symbol(const char *name, struct type *info) \
    { REAL(int, #symbol, const char *, struct type *); return reads("stat", AT_FDCWD, name) ? -1 : real(name, info); }
STAT(stat, stat) STAT(stat64, stat64) STAT(lstat, stat) STAT(lstat64, stat64)
#define STAT_AT(symbol, type) \
    int symbol(int fd, const char *name, struct type *info, int flags) \
    { REAL(int, #symbol, int, const char *, struct type *, int); return reads("stat", fd, name) ? -1 : real(fd, name, info, flags); }
STAT_AT(fstatat, stat) STAT_AT(fstatat64, stat64)
#define STAT_FD(symbol, type) \
    int symbol(int fd, struct type *info) \
    { REAL(int, #symbol, int, struct type *); return reads("fstat", fd, 0) ? -1 : real(fd, info); }
STAT_FD(fstat, stat) STAT_FD(fstat64, stat64)
DIR *fdopendir(int fd) { REAL(DIR *, "fdopendir", int); return reads("list", fd, 0) ? 0 : real(fd); }
struct dirent *readdir(DIR *folder)
{ REAL(struct dirent *, "readdir", DIR *); return reads("list", dirfd(folder), 0) ? 0 : real(folder); }
struct dirent64 *readdir64(DIR *folder)
{ REAL(struct dirent64 *, "readdir64", DIR *); return reads("list", dirfd(folder), 0) ? 0 : real(folder); }
ssize_t getdents64(int fd, void *data, size_t size)
{ REAL(ssize_t, "getdents64", int, void *, size_t); return reads("list", fd, 0) ? -1 : real(fd, data, size); }
ssize_t read(int fd, void *data, size_t size)
{ REAL(ssize_t, "read", int, void *, size_t); return reads("read", fd, 0) ? -1 : real(fd, data, size); }
ssize_t readv(int fd, const struct iovec *parts, int n)
{ REAL(ssize_t, "readv", int, const struct iovec *, int); return reads("read", fd, 0) ? -1 : real(fd, parts, n); }
