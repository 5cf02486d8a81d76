/* What the kernel allows: list every folder and stat every file below ROOT, with threads, and nothing else.
 *
 *     cc -O3 -o floor floor.c -lxxhash -lpthread && ./floor [-t THREADS] [-x] ROOT
 *
 * With -x each file is also opened, read and hashed (XXH3-128). Prints files, folders, bytes and errors. A
 * thread walks what it found by itself, by descriptors relative to each other, and gives folders away only while
 * another thread waits for work.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { LISTING_BYTES = 32 << 10, READ_BYTES = 1 << 20, MAX_SHARED = 64, MAX_THREADS = 256 };

typedef struct {
    long files, folders, bytes, errors;
    unsigned long digests; /* xor of all: so that no compiler leaves them out */
    char *buffer;
    XXH3_state_t *state;
} walker;

static bool hashing;
static int threads = 1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int shared[MAX_SHARED]; /* open folders that wait for a thread */
static int shared_count;
static atomic_int waiting;

static bool give_away(int fd) {
    if (!atomic_load_explicit(&waiting, memory_order_relaxed)) return false;
    pthread_mutex_lock(&lock);
    bool room = shared_count < MAX_SHARED;
    if (room) shared[shared_count++] = fd;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    return room;
}

/* The next folder that was given away, or -1 when all threads wait: then there is nothing left. */
static int take(void) {
    pthread_mutex_lock(&lock);
    waiting++;
    while (!shared_count && waiting < threads) pthread_cond_wait(&changed, &lock);
    int fd = -1;
    if (shared_count) {
        fd = shared[--shared_count];
        waiting--;
    } else {
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

static void hash_file(walker *me, int folder, const char *name, off_t size) {
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        me->errors++;
        return;
    }
    ssize_t got = read(fd, me->buffer, READ_BYTES);
    if (got == size && got < READ_BYTES) {
        me->digests ^= XXH3_128bits(me->buffer, got).low64;
    } else {
        XXH3_128bits_reset(me->state);
        for (; got > 0; got = read(fd, me->buffer, READ_BYTES)) XXH3_128bits_update(me->state, me->buffer, got);
        me->digests ^= XXH3_128bits_digest(me->state).low64;
    }
    if (got < 0) me->errors++;
    close(fd);
}

static void measure_file(walker *me, int folder, const char *name) {
    struct stat info;
    if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW)) {
        me->errors++;
        return;
    }
    me->files++;
    me->bytes += info.st_size;
    if (hashing) hash_file(me, folder, name, info.st_size);
}

/* Walk an open folder, and close it. */
static void walk(walker *me, int folder) {
    char listing[LISTING_BYTES], *names = NULL;
    size_t used = 0;
    ssize_t got;
    me->folders++;
    while ((got = getdents64(folder, listing, sizeof listing)) > 0) {
        for (ssize_t at = 0; at < got;) {
            struct dirent64 *entry = (struct dirent64 *)(listing + at);
            at += entry->d_reclen;
            if (entry->d_type == DT_REG) {
                measure_file(me, folder, entry->d_name);
            } else if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) {
                size_t size = strlen(entry->d_name) + 1;
                names = realloc(names, used + size);
                memcpy(names + used, entry->d_name, size);
                used += size;
            }
        }
    }
    if (got < 0) me->errors++;
    for (char *name = names; name < names + used; name += strlen(name) + 1) {
        int below = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below < 0) me->errors++;
        else if (!give_away(below)) walk(me, below);
    }
    free(names);
    close(folder);
}

static void *run(void *argument) {
    walker *me = argument;
    me->buffer = malloc(READ_BYTES);
    me->state = XXH3_createState();
    for (int fd; (fd = take()) >= 0;) walk(me, fd);
    return NULL;
}

int main(int count, char **words) {
    for (int option; (option = getopt(count, words, "t:x")) > 0;) {
        if (option == 't') threads = atoi(optarg);
        else if (option == 'x') hashing = true;
        else return 2;
    }
    if (optind != count - 1 || threads < 1 || threads > MAX_THREADS) return 2;
    shared[shared_count++] = open(words[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (shared[0] < 0) {
        perror(words[optind]);
        return 1;
    }
    static walker walkers[MAX_THREADS];
    pthread_t handles[MAX_THREADS];
    for (int i = 0; i < threads; i++) pthread_create(&handles[i], NULL, run, &walkers[i]);
    walker sum = {0};
    for (int i = 0; i < threads; i++) {
        pthread_join(handles[i], NULL);
        sum.files += walkers[i].files;
        sum.folders += walkers[i].folders;
        sum.bytes += walkers[i].bytes;
        sum.errors += walkers[i].errors;
        sum.digests ^= walkers[i].digests;
    }
    printf("%ld files, %ld folders, %ld bytes, %ld errors, digests %016lx\n", sum.files, sum.folders, sum.bytes,
           sum.errors, sum.digests);
    return sum.errors != 0;
}
