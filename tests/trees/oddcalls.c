/* Calls of a file system that is odd. LD_PRELOAD; what is odd stands in the environment and in the names.
 *
 *   ODDCALLS has a `t`   a listing tells no types
 *   ODDCALLS has an `i`  each call is interrupted by SIGUSR1 before it is done, but for a look at a file
 *   ODDCALLS has an `s`  and so is that
 *   ODDCALLS has an `r`  SIGUSR1 comes before each look at a file, and interrupts nothing
 *   ODDCALLS has a `b`   a listing breaks off with EIO: at the second getdents64, at the tenth entry of readdir
 *   ODDCALLS has a `c`   a file has grown by a byte when it is read from where it begins (pread)
 *   ODDCALLS has an `n`  all files are somebody else's, who alone may open them so that their atime stays
 *   ODDCALLS has an `e`  a read that may not wait is EAGAIN, as of a regular file that somebody has a lease of
 *   …/eio.*              cannot be looked at: EIO
 *   …/waits.*            is looked at once there is the file that ODDCALLS_FILE names; ETIMEDOUT after a minute
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
#include <sys/uio.h>
#include <unistd.h>

static int is(char mode)
{
    const char *modes = getenv("ODDCALLS");
    return modes && strchr(modes, mode);
}

/* True each first time. */
static int interrupts(char mode)
{
    static int calls;
    if (!is(mode) || ++calls % 2 == 0)
        return 0;
    raise(SIGUSR1);
    errno = EINTR;
    return 1;
}

static int breaks_off(int at)
{
    static int calls;
    if (!is('b') || ++calls != at)
        return 0;
    calls = 0;
    errno = EIO;
    return 1;
}

static int is_leased(int fd)
{
    struct stat info;
    if (!is('e') || !(fcntl(fd, F_GETFL) & O_NONBLOCK) || fstat(fd, &info) || !S_ISREG(info.st_mode))
        return 0;
    errno = EAGAIN;
    return 1;
}

static int looks;

int oddcalls_looks(void) { return looks; }

static int looks_odd(const char *name)
{
    looks++;
    if (is('r'))
        raise(SIGUSR1);
    if (!strncmp(name, "eio.", 4)) {
        errno = EIO;
        return 1;
    }
    if (!strncmp(name, "waits.", 6)) {
        for (int ms = 0; access(getenv("ODDCALLS_FILE"), F_OK); ms++) {
            if (ms == 60000) {
                errno = ETIMEDOUT;
                return 1;
            }
            usleep(1000);
        }
    }
    return 0;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t getdents64(int fd, void *entries, size_t size)
{
    REAL(getdents64);
    if (breaks_off(2) || interrupts('i'))
        return -1;
    ssize_t bytes = real(fd, entries, size);
    for (ssize_t at = 0; is('t') && at < bytes; at += ((struct dirent64 *)((char *)entries + at))->d_reclen)
        ((struct dirent64 *)((char *)entries + at))->d_type = DT_UNKNOWN;
    return bytes;
}

struct dirent64 *readdir64(DIR *folder)
{
    REAL(readdir64);
    if (breaks_off(10))
        return NULL;
    struct dirent64 *entry = real(folder);
    if (entry && is('t'))
        entry->d_type = DT_UNKNOWN;
    return entry;
}

int fstatat64(int fd, const char *name, struct stat64 *info, int flags)
{ REAL(fstatat64); return looks_odd(name) || interrupts('s') ? -1 : real(fd, name, info, flags); }

int fstat64(int fd, struct stat64 *info)
{ REAL(fstat64); return interrupts('s') ? -1 : real(fd, info); }

static int refused;

int oddcalls_refused(void) { return refused; }

int openat64(int fd, const char *name, int flags, ...)
{
    REAL(openat64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (is('n') && flags & O_NOATIME) {
        refused++;
        errno = EPERM;
        return -1;
    }
    return interrupts('i') ? -1 : real(fd, name, flags, mode);
}

ssize_t read(int fd, void *data, size_t size)
{ REAL(read); return is_leased(fd) || interrupts('i') ? -1 : real(fd, data, size); }

ssize_t pread64(int fd, void *data, size_t size, off64_t offset)
{
    REAL(pread64);
    if (is('c')) {
        char path[40];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int file = open(path, O_WRONLY | O_APPEND);
        if (file < 0 || write(file, "x", 1) != 1 || close(file))
            abort();
    }
    return is_leased(fd) || interrupts('i') ? -1 : real(fd, data, size, offset);
}

ssize_t readv(int fd, const struct iovec *parts, int count)
{ REAL(readv); return is_leased(fd) || interrupts('i') ? -1 : real(fd, parts, count); }
