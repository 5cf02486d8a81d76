/* The compiled twin of what is hot in fastindex.trees.kernel and fastindex.names.ids, which say what is promised:
 * Python decides, C fetches.
 *
 * One call lists a folder, or measures many of its files, and other threads run meanwhile. What is plain is done
 * here; what is not is left to the twin in Python, by its position. For Linux, on the limited API: one shared
 * object serves each Python from 3.11 on.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LISTING_BYTES = 32 << 10, /* of a listing, that one system call may give */
    FIRST_BYTES = 64 << 10,   /* of a file, that are read before its size is known */
    MANY_NAMES = 128,         /* in one go: where each takes 10 ms, a signal waits for a second */
};

/* ---- without the interpreter's lock ---- */

typedef struct {
    PyThreadState *thread;
    bool raised; /* whether the handler of a signal has raised an exception: then there is nothing more to do */
} unlocked;

static unlocked unlock(void) { return (unlocked){.thread = PyEval_SaveThread()}; }

/* True unless there is an exception to be raised. */
static bool lock_again(unlocked *me)
{
    PyEval_RestoreThread(me->thread);
    return !me->raised;
}

static bool is_interrupted(unlocked *me)
{
    if (!me->raised) {
        PyEval_RestoreThread(me->thread);
        me->raised = PyErr_CheckSignals() < 0;
        me->thread = PyEval_SaveThread();
    }
    return me->raised;
}

/* Make a system call, again where a signal has interrupted it and no handler objects. */
#define RETRY(result, call) \
    do \
        result = (call); \
    while (result < 0 && errno == EINTR && !is_interrupted(me))

/* ---- list ---- */

/* fastindex.trees.Kind */
enum { UNKNOWN, REGULAR, FOLDER, LINK, OTHER };

/* As the system gives it; the C library has it under several names. */
typedef struct {
    uint64_t inode;
    int64_t offset;
    uint16_t bytes;
    uint8_t type; /* DT_…, until it is judged: then a Kind */
    char name[];
} entry;

typedef struct {
    char *entries;
    size_t bytes, room;
    Py_ssize_t count; /* but for . and .. */
} listing;

static ssize_t read_entries(int fd, void *buffer)
{
#if defined __GLIBC__ && __GLIBC_PREREQ(2, 30)
    return getdents64(fd, buffer, LISTING_BYTES);
#else
    return syscall(SYS_getdents64, fd, buffer, LISTING_BYTES);
#endif
}

static bool is_self_or_parent(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* As the C library has it, a folder that was removed while it is open is empty. */
static bool is_removed(int fd)
{
    struct stat info;
    int number = errno;
    bool is_gone = fstat(fd, &info) == 0 && info.st_nlink == 0;
    errno = number;
    return is_gone;
}

static uint8_t kind_of(int fd, const entry *one, unlocked *me)
{
    struct stat info = {.st_mode = DTTOIF(one->type)};
    int failed = 0;
    if (one->type == DT_UNKNOWN)
        RETRY(failed, fstatat(fd, one->name, &info, AT_SYMLINK_NOFOLLOW));
    if (failed)
        return UNKNOWN;
    mode_t mode = info.st_mode;
    return S_ISREG(mode) ? REGULAR : S_ISDIR(mode) ? FOLDER : S_ISLNK(mode) ? LINK : OTHER;
}

/* List on: 0, an errno, or -1 at the end. */
static int list_on(int fd, listing *list, unlocked *me)
{
    if (list->room - list->bytes < LISTING_BYTES) {
        list->room = 2 * (list->room + LISTING_BYTES);
        char *larger = realloc(list->entries, list->room);
        if (!larger)
            return ENOMEM;
        list->entries = larger;
    }
    char *next = list->entries + list->bytes;
    ssize_t bytes;
    RETRY(bytes, read_entries(fd, next));
    if (bytes < 0 && !(errno == ENOENT && is_removed(fd)))
        return errno;
    if (bytes <= 0)
        return -1;
    list->bytes += bytes;
    for (; next < list->entries + list->bytes; next += ((entry *)next)->bytes) {
        entry *one = (entry *)next;
        if (is_self_or_parent(one->name))
            continue;
        one->type = kind_of(fd, one, me);
        if (++list->count % MANY_NAMES == 0 && is_interrupted(me))
            return EINTR;
    }
    return 0;
}

static PyObject *make_block(const listing *list, int state)
{
    PyObject *names = PyList_New(list->count), *kinds = PyBytes_FromStringAndSize(NULL, list->count);
    bool is_done = names && kinds;
    Py_ssize_t i = 0;
    for (size_t at = 0; is_done && at < list->bytes;) {
        const entry *one = (const entry *)(list->entries + at);
        at += one->bytes;
        if (is_self_or_parent(one->name))
            continue;
        PyObject *name = PyUnicode_DecodeUTF8(one->name, strlen(one->name), "surrogateescape"); /* in any locale */
        PyBytes_AsString(kinds)[i] = (char)one->type;
        is_done = name && PyList_SetItem(names, i++, name) == 0;
    }
    PyObject *block = is_done ? Py_BuildValue("OOi", names, kinds, state) : NULL;
    Py_XDECREF(names);
    Py_XDECREF(kinds);
    return block;
}

PyDoc_STRVAR(list_names_doc,
"list_names(fd, is_first, count) -> (names, kinds, state)\n\n"
"List an open folder until there are `count` names or a few more: from its beginning, or on from where the last\n"
"call ended. `state` is 0 where there may be more, -1 at the end, or the errno with which the listing broke off.");

static PyObject *list_names(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd, is_first, state = 0;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(arguments, "ipn", &fd, &is_first, &count))
        return NULL;
    listing list = {0};
    unlocked me = unlock();
    if (is_first && lseek(fd, 0, SEEK_SET) < 0)
        state = errno;
    while (!state && list.count < count)
        state = list_on(fd, &list, &me);
    PyObject *block = lock_again(&me) ? make_block(&list, state) : NULL;
    free(list.entries);
    return block;
}

/* ---- what a call measures, and what it found ---- */

typedef struct {
    int wrong; /* 0, an errno, LEFT or NO_ROOM */
    bool is_fresh; /* changed of late: nobody can know it again by its times */
    struct stat info;
} measure;

enum { LEFT = -1, NO_ROOM = -2 };

/* Names from position `start` on, as the system takes them, until position `end`. */
typedef struct {
    Py_ssize_t start, end;
    PyObject *owners; /* of the bytes of the names */
    const char *names[MANY_NAMES];
    measure measures[MANY_NAMES];
} files;

/* Get the object that owns the bytes of a name: itself, as what is ASCII is stored so, or what it is encoded to. */
static PyObject *encode(PyObject *name, const char **text)
{
    Py_ssize_t bytes;
    PyObject *owner = NULL;
    *text = PyUnicode_AsUTF8AndSize(name, &bytes);
    if (*text && bytes == PyUnicode_GetLength(name)) {
        owner = Py_NewRef(name);
    } else {
        char *data = NULL;
        PyErr_Clear(); /* it has no UTF-8 where it carries bytes that are none */
        owner = PyUnicode_AsEncodedString(name, "utf-8", "surrogateescape");
        if (owner && PyBytes_AsStringAndSize(owner, &data, &bytes) < 0)
            Py_CLEAR(owner);
        *text = data;
    }
    if (owner && (Py_ssize_t)strlen(*text) != bytes) {
        PyErr_SetString(PyExc_ValueError, "embedded null byte");
        Py_CLEAR(owner);
    }
    return owner;
}

/* Take names from position `start` on; false where an exception is set. */
static bool take_files(files *these, PyObject *names, Py_ssize_t start)
{
    Py_ssize_t count = PySequence_Size(names);
    if (count < 0)
        return false;
    these->start = start;
    these->end = count - start > MANY_NAMES ? start + MANY_NAMES : count;
    these->owners = PyTuple_New(count > start ? these->end - start : 0);
    for (Py_ssize_t i = 0; these->owners && start + i < these->end; i++) {
        PyObject *name = PySequence_GetItem(names, start + i);
        PyObject *owner = name ? encode(name, &these->names[i]) : NULL;
        Py_XDECREF(name);
        if (!owner || PyTuple_SetItem(these->owners, i, owner) < 0)
            Py_CLEAR(these->owners);
    }
    return these->owners;
}

/* Nanoseconds since 1970: 64 bits hold those of the years 1677 to 2262. */
static PyObject *to_nanoseconds(struct timespec time)
{
    const long long second = 1000000000;
    if (time.tv_sec < INT64_MAX / second && time.tv_sec > INT64_MIN / second)
        return PyLong_FromLongLong(time.tv_sec * second + time.tv_nsec);
    char digits[40]; /* the interpreter's own arithmetic: seconds, and nine digits behind them */
    snprintf(digits, sizeof digits, "%lld%09d", (long long)time.tv_sec, 0);
    PyObject *whole = PyLong_FromString(digits, NULL, 10), *rest = PyLong_FromLong(time.tv_nsec);
    PyObject *sum = whole && rest ? PyNumber_Add(whole, rest) : NULL;
    Py_XDECREF(whole);
    Py_XDECREF(rest);
    return sum;
}

static PyObject *make_fingerprint(const measure *one)
{
    const struct stat *info = &one->info;
    if (one->is_fresh)
        return Py_BuildValue("iii", 0, 0, 0);
    PyObject *mtime = to_nanoseconds(info->st_mtim), *ctime = to_nanoseconds(info->st_ctim);
    PyObject *inode = PyLong_FromUnsignedLongLong(info->st_ino);
    PyObject *fingerprint = mtime && ctime && inode ? PyTuple_Pack(3, mtime, ctime, inode) : NULL;
    Py_XDECREF(mtime);
    Py_XDECREF(ctime);
    Py_XDECREF(inode);
    return fingerprint;
}

/* Append an object, which is given away. */
static bool append(PyObject *list, PyObject *value)
{
    bool is_done = value && PyList_Append(list, value) == 0;
    Py_XDECREF(value);
    return is_done;
}

/* Make what a call returns, and let go of the names. */
static PyObject *make_columns(files *these, bool with_fingerprints)
{
    PyObject *sizes = PyList_New(0), *fingerprints = PyList_New(0), *left = PyList_New(0), *columns = NULL;
    bool is_done = sizes && fingerprints && left;
    for (Py_ssize_t i = 0; is_done && these->start + i < these->end; i++) {
        const measure *one = &these->measures[i];
        if (one->wrong)
            is_done = append(left, Py_BuildValue("ni", these->start + i, one->wrong == LEFT ? 0 : one->wrong));
        else
            is_done = append(sizes, PyLong_FromLongLong(one->info.st_size)) &&
                      (!with_fingerprints || append(fingerprints, make_fingerprint(one)));
    }
    if (is_done)
        columns = Py_BuildValue("nOOO", these->end, sizes, fingerprints, left);
    Py_XDECREF(sizes);
    Py_XDECREF(fingerprints);
    Py_XDECREF(left);
    return columns;
}

/* ---- stat ---- */

static int stat_file(int fd, const char *name, bool follow_links, struct stat *info, unlocked *me)
{
    int failed;
    RETRY(failed, fstatat(fd, name, info, AT_SYMLINK_NOFOLLOW));
    if (!failed && follow_links && S_ISLNK(info->st_mode))
        RETRY(failed, fstatat(fd, name, info, 0));
    return failed ? errno : S_ISREG(info->st_mode) ? 0 : LEFT;
}

PyDoc_STRVAR(stat_files_doc,
"stat_files(fd, names, start, follow_links, with_fingerprints) -> (end, sizes, fingerprints, left)\n\n"
"Look at files of an open folder, from position `start` to position `end`. Of what could not be looked at `left`\n"
"has position and errno; of what is no regular file, position and 0.");

static PyObject *stat_files(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd, follow_links, with_fingerprints;
    Py_ssize_t start;
    PyObject *names, *columns = NULL;
    files these;
    if (!PyArg_ParseTuple(arguments, "iOnpp", &fd, &names, &start, &follow_links, &with_fingerprints) ||
        !take_files(&these, names, start))
        return NULL;
    unlocked me = unlock();
    for (Py_ssize_t i = 0; start + i < these.end && !me.raised; i++) {
        measure *one = &these.measures[i];
        one->is_fresh = false;
        one->wrong = stat_file(fd, these.names[i], follow_links, &one->info, &me);
    }
    if (lock_again(&me))
        columns = make_columns(&these, with_fingerprints);
    Py_DECREF(these.owners);
    return columns;
}

/* ---- read ---- */

typedef struct {
    int folder, flags;
    char *buffer;
    Py_ssize_t buffer_bytes;
    long long max_bytes; /* a file of this size or more is left */
    struct timespec settled, future; /* between these a time is one of late */
} reader;

static bool is_before(struct timespec one, struct timespec other)
{
    return one.tv_sec < other.tv_sec || (one.tv_sec == other.tv_sec && one.tv_nsec < other.tv_nsec);
}

static bool is_at(struct timespec one, struct timespec other)
{
    return one.tv_sec == other.tv_sec && one.tv_nsec == other.tv_nsec;
}

/* Read a file again that may have changed since it was looked at. */
static int read_again(int fd, char *into, const struct stat *before, unlocked *me)
{
    struct stat info;
    ssize_t count;
    int failed;
    RETRY(count, pread(fd, into, before->st_size, 0));
    if (count < 0)
        return errno;
    RETRY(failed, fstat(fd, &info));
    if (failed)
        return errno;
    bool is_same = count == info.st_size && info.st_size == before->st_size &&
                   is_at(info.st_mtim, before->st_mtim) && is_at(info.st_ctim, before->st_ctim);
    return is_same ? 0 : LEFT;
}

/* Read an open file.
 *
 * A regular file that was last changed well before all this did not change while it was read: one fstat after the
 * read shows that. Any other one is read again between two that must agree. No file is longer than it says, so no
 * further read asks for its end. A file of more than FIRST_BYTES costs another read and another fstat.
 */
static int read_file(const reader *how, int fd, char *into, Py_ssize_t room, measure *one, unlocked *me)
{
    struct stat *info = &one->info;
    ssize_t count, more;
    int failed;
    RETRY(count, read(fd, into, room < FIRST_BYTES ? room : FIRST_BYTES));
    if (count < 0)
        return errno;
    RETRY(failed, fstat(fd, info));
    if (!failed && S_ISREG(info->st_mode) && count == FIRST_BYTES && count < info->st_size) {
        if (info->st_size >= how->max_bytes)
            return LEFT;
        if (info->st_size > room)
            return NO_ROOM;
        RETRY(more, read(fd, into + count, info->st_size - count));
        if (more < 0)
            return errno;
        count += more;
        RETRY(failed, fstat(fd, info));
    }
    if (failed)
        return errno;
    if (!S_ISREG(info->st_mode) || count != info->st_size || count >= how->max_bytes)
        return LEFT;
    one->is_fresh = !is_before(info->st_ctim, how->settled) ||
                    !(is_before(info->st_mtim, how->settled) || is_before(how->future, info->st_mtim));
    return one->is_fresh ? read_again(fd, into, info, me) : 0;
}

/* O_NOATIME: nobody has looked at what is hashed. Until a file of somebody else refuses it: then never again in this
 * process, as most of the others would cost a call more. */
static _Atomic int spare_atime = O_NOATIME;

static int open_to_read(const reader *how, const char *name, unlocked *me)
{
    int fd, spared = spare_atime;
    RETRY(fd, openat(how->folder, name, how->flags | spared));
    if (fd < 0 && errno == EPERM && spared) {
        spare_atime = 0;
        RETRY(fd, openat(how->folder, name, how->flags));
    }
    return fd;
}

/* Read files, one behind the other in the buffer, until there is no room for another. */
static void read_all(const reader *how, files *these, unlocked *me)
{
    Py_ssize_t used = 0;
    for (Py_ssize_t i = 0; these->start + i < these->end && !me->raised; i++) {
        measure *one = &these->measures[i];
        Py_ssize_t room = how->buffer_bytes - used;
        int fd;
        one->wrong = NO_ROOM;
        one->is_fresh = false;
        if (room >= FIRST_BYTES || !used) {
            fd = open_to_read(how, these->names[i], me);
            one->wrong = fd < 0 ? errno : read_file(how, fd, how->buffer + used, room, one, me);
            if (fd >= 0)
                close(fd);
        }
        if (!one->wrong)
            used += one->info.st_size;
        else if (one->wrong == NO_ROOM && used)
            these->end = these->start + i;
        else if (one->wrong == NO_ROOM)
            one->wrong = LEFT;
    }
}

PyDoc_STRVAR(read_files_doc,
"read_files(fd, names, start, follow_links, buffer, max_bytes, settled, future)\n"
"    -> (end, sizes, fingerprints, left)\n\n"
"Read files of an open folder, from position `start` to position `end`, until the buffer is full. It has then the\n"
"bytes of those that are in `sizes`, one behind the other. Of what could not be read `left` has position and\n"
"errno; position and 0 of what is no regular file, has `max_bytes` or more, or changes. What was changed since\n"
"`settled`, in seconds and nanoseconds since 1970, is read twice, and has a fingerprint of zeros; but an mtime after\n"
"`future` was given to the file, and does not count.");

static PyObject *read_files(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    reader how;
    Py_buffer buffer;
    int follow_links;
    long long settled, future;
    long settled_ns, future_ns;
    Py_ssize_t start;
    PyObject *names, *columns = NULL;
    files these;
    if (!PyArg_ParseTuple(arguments, "iOnpw*L(Ll)(Ll)", &how.folder, &names, &start, &follow_links, &buffer,
                          &how.max_bytes, &settled, &settled_ns, &future, &future_ns))
        return NULL;
    how.flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | (follow_links ? 0 : O_NOFOLLOW); /* a FIFO must not block */
    how.buffer = buffer.buf;
    how.buffer_bytes = buffer.len;
    how.settled = (struct timespec){.tv_sec = settled, .tv_nsec = settled_ns};
    how.future = (struct timespec){.tv_sec = future, .tv_nsec = future_ns};
    if (take_files(&these, names, start)) {
        unlocked me = unlock();
        read_all(&how, &these, &me);
        if (lock_again(&me))
            columns = make_columns(&these, true);
        Py_DECREF(these.owners);
    }
    PyBuffer_Release(&buffer);
    return columns;
}

/* ---- ids, and columns of text ---- */

/* MD5 (RFC 1321), for names that are short: OpenSSL's takes as long to set up as this to be done. */

static const uint32_t SINES[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};
static const uint8_t TURNS[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

static uint32_t load_word(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void add_block(uint32_t state[4], const uint8_t *block)
{
    uint32_t words[16], a = state[0], b = state[1], c = state[2], d = state[3];
    for (int i = 0; i < 16; i++)
        words[i] = load_word(block + 4 * i);
#define ROUND(first, mix, word) \
    _Pragma("GCC unroll 16") for (int i = first; i < first + 16; i++) { \
        uint32_t sum = a + (mix) + SINES[i] + words[(word) % 16]; \
        int turn = TURNS[i / 16][i % 4]; \
        a = d, d = c, c = b; \
        b += sum << turn | sum >> (32 - turn); \
    }
    ROUND(0, (b & c) | (~b & d), i)
    ROUND(16, (d & b) | (~d & c), 5 * i + 1)
    ROUND(32, b ^ c ^ d, 3 * i + 5)
    ROUND(48, c ^ (b | ~d), 7 * i)
#undef ROUND
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
}

/* The bytes of a message with its padding: whole blocks. */
static size_t padded_bytes(size_t bytes) { return (bytes + 8) / 64 * 64 + 64; }

/* Make the version 3 UUID (RFC 4122) of a message that has room for its padding. */
static void make_uuid3(uint8_t *message, size_t bytes, uint8_t uuid[16])
{
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    size_t end = padded_bytes(bytes);
    memset(message + bytes, 0, end - bytes);
    message[bytes] = 0x80;
    for (int i = 0; i < 8; i++)
        message[end - 8 + i] = (uint8_t)((uint64_t)bytes * 8 >> 8 * i);
    for (size_t at = 0; at < end; at += 64)
        add_block(state, message + at);
    for (int i = 0; i < 16; i++)
        uuid[i] = (uint8_t)(state[i / 4] >> 8 * (i % 4));
    uuid[6] = (uuid[6] & 0x0f) | 0x30;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

typedef struct {
    uint8_t *bytes;
    size_t room, used;
} message;

/* Put a bytes object behind what a message has, with room for the padding behind it; false with an exception set. */
static bool add_bytes(message *to, PyObject *object)
{
    char *data;
    Py_ssize_t bytes;
    if (!object || PyBytes_AsStringAndSize(object, &data, &bytes) < 0)
        return false;
    if (padded_bytes(to->used + bytes) > to->room) {
        size_t room = 2 * padded_bytes(to->used + bytes);
        uint8_t *larger = realloc(to->bytes, room);
        if (!larger) {
            PyErr_NoMemory();
            return false;
        }
        to->bytes = larger, to->room = room;
    }
    memcpy(to->bytes + to->used, data, bytes);
    to->used += bytes;
    return true;
}

static bool append_uuid3s(PyObject *uuids, message *one, PyObject *names, Py_ssize_t start, Py_ssize_t end)
{
    size_t head = one->used;
    for (Py_ssize_t i = start; i < end; i++, one->used = head) {
        uint8_t uuid[16];
        if (!add_bytes(one, PyList_GetItem(names, i)))
            return false;
        make_uuid3(one->bytes, one->used, uuid);
        if (PyList_SetItem(uuids, i, PyBytes_FromStringAndSize((char *)uuid, sizeof uuid)) < 0)
            return false;
    }
    return true;
}

PyDoc_STRVAR(uuid3s_doc,
"uuid3s(namespaces, counts, names) -> uuids\n\n"
"Make version 3 UUIDs, 16 bytes each: of the names, `counts[i]` are in the namespace `namespaces[i]`.");

static PyObject *uuid3s(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *namespaces, *counts, *names;
    if (!PyArg_ParseTuple(arguments, "O!O!O!", &PyList_Type, &namespaces, &PyList_Type, &counts, &PyList_Type,
                          &names))
        return NULL;
    Py_ssize_t total = PyList_Size(names), end = 0;
    PyObject *uuids = PyList_New(total);
    message one = {0};
    bool is_done = uuids;
    for (Py_ssize_t i = 0; is_done && i < PyList_Size(namespaces); i++) {
        PyObject *count = PyList_GetItem(counts, i);
        Py_ssize_t start = end, many = count ? PyLong_AsSsize_t(count) : -1;
        is_done = many >= 0 && many <= total - start;
        end += is_done ? many : 0;
        one.used = 0;
        is_done = is_done && add_bytes(&one, PyList_GetItem(namespaces, i)) &&
                  append_uuid3s(uuids, &one, names, start, end);
    }
    if (!PyErr_Occurred() && !(is_done && end == total))
        PyErr_SetString(PyExc_ValueError, "the counts are not those of the names");
    free(one.bytes);
    if (PyErr_Occurred())
        Py_CLEAR(uuids);
    return uuids;
}

PyDoc_STRVAR(to_characters_doc,
"to_characters(ids) -> characters\n\n"
"Write UUIDs of 16 bytes each as 36 characters each, without anything between them.");

static PyObject *to_characters(PyObject *Py_UNUSED(module), PyObject *ids)
{
    static const char digits[] = "0123456789abcdef";
    char *bytes;
    Py_ssize_t count;
    if (PyBytes_AsStringAndSize(ids, &bytes, &count) < 0)
        return NULL;
    if (count % 16)
        return PyErr_Format(PyExc_ValueError, "%zd bytes are no UUIDs", count);
    PyObject *characters = PyBytes_FromStringAndSize(NULL, count / 16 * 36);
    char *next = characters ? PyBytes_AsString(characters) : NULL;
    for (Py_ssize_t i = 0; characters && i < count; i++) {
        *next++ = digits[(uint8_t)bytes[i] >> 4];
        *next++ = digits[bytes[i] & 15];
        if (i % 16 % 2 && i % 16 >= 3 && i % 16 <= 9)
            *next++ = '-';
    }
    return characters;
}

PyDoc_STRVAR(find_ends_doc,
"find_ends(strings) -> ends\n\n"
"Add up the lengths of a list of bytes: where each one begins once they are joined, and where the last one ends, in\n"
"32 bits each.");

static PyObject *find_ends(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *strings;
    if (!PyArg_ParseTuple(arguments, "O!", &PyList_Type, &strings))
        return NULL;
    Py_ssize_t count = PyList_Size(strings);
    PyObject *ends = PyBytes_FromStringAndSize(NULL, (count + 1) * sizeof(uint32_t));
    uint32_t *next = ends ? (uint32_t *)PyBytes_AsString(ends) : NULL, end = 0;
    for (Py_ssize_t i = 0; ends && i < count; i++) {
        Py_ssize_t bytes = PyBytes_Size(PyList_GetItem(strings, i));
        *next++ = end;
        end += bytes;
        if (bytes < 0)
            Py_CLEAR(ends);
    }
    if (ends)
        *next = end;
    return ends;
}

/* ---- the module ---- */

static PyMethodDef methods[] = {
    {"find_ends", find_ends, METH_VARARGS, find_ends_doc},
    {"list_names", list_names, METH_VARARGS, list_names_doc},
    {"read_files", read_files, METH_VARARGS, read_files_doc},
    {"stat_files", stat_files, METH_VARARGS, stat_files_doc},
    {"to_characters", to_characters, METH_O, to_characters_doc},
    {"uuid3s", uuid3s, METH_VARARGS, uuid3s_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "fastindex._kernel",
    .m_doc = "The compiled twin of what is hot in fastindex.trees.kernel and fastindex.names.ids.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModuleDef_Init(&definition); }
