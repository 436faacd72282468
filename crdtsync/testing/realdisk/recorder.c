/* Stands in front of the C library: writes down every change of the files below one folder, and fails on demand.
 *
 * A record is: operation (1 byte), failed (1), descriptor (4), offset (8), length (4), little-endian, and then as many
 * bytes. Paths are relative to the folder. Everything happens under one lock, so the trace has one order.
 *
 *   o open      offset: 1 when the file was created, 2 when it was cut to nothing; bytes: path
 *   c close     w write     t truncate (offset: new size)     s sync of file or folder
 *   u unlink    d rmdir     m mkdir     r rename (bytes: old, NUL, new)     M mark
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#undef open64
#undef openat64
#undef pwrite64
#undef pread64
#undef ftruncate64

enum { WRITE = 1, SYNC = 2, TRUNCATE = 4, OPEN = 8, NAME = 16, READ = 32 };
enum { ONCE = 0, FROM_THEN_ON = 1, SHORT_WRITE = 2 };
#define DESCRIPTORS 4096

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char root[PATH_MAX];
static size_t root_length;
static int trace = -1;
static unsigned char watched[DESCRIPTORS];
static long fail_at, calls;
static int fail_kinds, fail_errno, fail_manner, fired;

#define REAL(type, name, ...)                                                                                          \
    static type (*found)(__VA_ARGS__);                                                                                 \
    if (!found) found = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int real_open(const char *path, int flags, int mode) {
    REAL(int, "open64", const char *, int, ...);
    return found(path, flags, mode);
}
static int real_openat(int at, const char *path, int flags, int mode) {
    REAL(int, "openat64", int, const char *, int, ...);
    return found(at, path, flags, mode);
}
static ssize_t real_write(int fd, const void *data, size_t length) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return found(fd, data, length);
}
static ssize_t real_pwrite(int fd, const void *data, size_t length, off_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off_t);
    return found(fd, data, length, offset);
}
static ssize_t real_read(int fd, void *data, size_t length) {
    REAL(ssize_t, "read", int, void *, size_t);
    return found(fd, data, length);
}
static ssize_t real_pread(int fd, void *data, size_t length, off_t offset) {
    REAL(ssize_t, "pread64", int, void *, size_t, off_t);
    return found(fd, data, length, offset);
}
static int real_ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate64", int, off_t);
    return found(fd, size);
}

/* -- for the program ----------------------------------------------------------------------------------------------- */

/* Watch the folder `path` from now on and write what happens into `file` (NULL: only fail on demand). */
int crdtsync_disk_watch(const char *path, const char *file) {
    pthread_mutex_lock(&lock);
    if (trace >= 0) close(trace);
    trace = -1;
    memset(watched, 0, sizeof watched);
    root_length = 0;
    if (path) {
        snprintf(root, sizeof root, "%s/", path);
        root_length = strlen(root);
        if (file) trace = real_open(file, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    }
    int result = path && file && trace < 0 ? -1 : 0;
    pthread_mutex_unlock(&lock);
    return result;
}

/* Make the `at`-th call of these kinds fail, counted from now (0: none). Returns how many there were so far. */
long crdtsync_disk_fail(long at, int kinds, int error, int manner) {
    pthread_mutex_lock(&lock);
    long before = calls;
    fail_at = at, fail_kinds = kinds, fail_errno = error, fail_manner = manner, calls = 0, fired = 0;
    pthread_mutex_unlock(&lock);
    return before;
}

/* Which kind of call failed first; 0 when none did. */
int crdtsync_disk_failed(void) { return fired; }

static void record(char operation, int failed, int fd, uint64_t offset, const void *data, uint32_t length) {
    if (trace < 0) return;
    unsigned char head[18] = {(unsigned char)operation, (unsigned char)failed};
    int32_t number = fd;
    memcpy(head + 2, &number, 4), memcpy(head + 6, &offset, 8), memcpy(head + 14, &length, 4);
    if (real_write(trace, head, sizeof head) != sizeof head || real_write(trace, data, length) != (ssize_t)length)
        dprintf(2, "the trace of the disk cannot be written\n"), _exit(70);
}

/* Write what the program says into the trace. */
void crdtsync_disk_mark(const void *data, uint32_t length) {
    pthread_mutex_lock(&lock);
    record('M', 0, -1, 0, data, length);
    pthread_mutex_unlock(&lock);
}

/* -- in front of the C library ------------------------------------------------------------------------------------- */

static int fails(int kind) {
    if (!(fail_kinds & kind)) return 0;
    calls++;
    if (fail_at && (calls == fail_at || (fail_manner == FROM_THEN_ON && calls > fail_at))) {
        if (!fired) fired = kind;
        errno = fail_errno;
        return 1;
    }
    return 0;
}

static const char *below(const char *path) {
    if (!root_length || !path) return NULL;
    if (strncmp(path, root, root_length) == 0) return path + root_length;
    if (strlen(path) + 1 == root_length && strncmp(path, root, root_length - 1) == 0) return "";
    return NULL;
}

/* The full path of one that may be relative to an open folder. */
static const char *full(int at, const char *path, char *buffer) {
    if (path[0] == '/' || at == AT_FDCWD) return path;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0) return path;
    snprintf(buffer + length, (size_t)(PATH_MAX - length), "/%s", path);
    return buffer;
}

static int is_watched(int fd) { return fd >= 0 && fd < DESCRIPTORS && watched[fd]; }

static int opened(int at, const char *path, int flags, int mode) {
    char buffer[PATH_MAX];
    const char *name;
    if (!root_length || !(name = below(full(at, path, buffer)))) return real_openat(at, path, flags, mode);
    pthread_mutex_lock(&lock);
    int fd = -1;
    struct stat before;
    int there = fstatat(at, path, &before, 0) == 0;
    if (!fails(OPEN)) {
        fd = real_openat(at, path, flags, mode);
        if (fd >= 0 && fd < DESCRIPTORS) {
            watched[fd] = 1;
            record('o', 0, fd, (there ? 0 : 1) | (flags & O_TRUNC ? 2 : 0), name, (uint32_t)strlen(name));
        }
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(flags)                                                                                                    \
    int mode = 0;                                                                                                      \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                           \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, int);                                                                                      \
        va_end(rest);                                                                                                  \
    }
int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return opened(at, path, flags, mode); }

int close(int fd) {
    REAL(int, "close", int);
    if (!is_watched(fd)) return found(fd);
    pthread_mutex_lock(&lock);
    watched[fd] = 0;
    record('c', 0, fd, 0, "", 0);
    int result = found(fd), error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

static ssize_t written(int fd, const void *data, size_t length, off_t offset, int at_place) {
    if (!is_watched(fd)) return at_place ? real_pwrite(fd, data, length, offset) : real_write(fd, data, length);
    pthread_mutex_lock(&lock);
    ssize_t result = -1;
    off_t place = at_place ? offset : lseek(fd, 0, SEEK_CUR);
    int failing = fails(WRITE);
    if (failing && fail_manner == SHORT_WRITE && length > 1) failing = 0, length /= 2;
    if (!failing) {
        result = at_place ? real_pwrite(fd, data, length, offset) : real_write(fd, data, length);
        if (result > 0) record('w', 0, fd, (uint64_t)place, data, (uint32_t)result);
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

ssize_t write(int fd, const void *data, size_t length) { return written(fd, data, length, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return written(fd, data, length, offset, 1); }
ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return written(fd, data, length, offset, 1); }

static int reading_fails(int fd) {
    if (!is_watched(fd)) return 0;
    pthread_mutex_lock(&lock);
    int failing = fails(READ), error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return failing;
}

ssize_t read(int fd, void *data, size_t length) { return reading_fails(fd) ? -1 : real_read(fd, data, length); }
ssize_t pread(int fd, void *data, size_t length, off_t offset) {
    return reading_fails(fd) ? -1 : real_pread(fd, data, length, offset);
}
ssize_t pread64(int fd, void *data, size_t length, off_t offset) {
    return reading_fails(fd) ? -1 : real_pread(fd, data, length, offset);
}

static int truncated(int fd, off_t size) {
    if (!is_watched(fd)) return real_ftruncate(fd, size);
    pthread_mutex_lock(&lock);
    int result = fails(TRUNCATE) ? -1 : real_ftruncate(fd, size);
    if (result == 0) record('t', 0, fd, (uint64_t)size, "", 0);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off_t size) { return truncated(fd, size); }

static int synced(int fd, int (*sync)(int)) {
    if (!is_watched(fd)) return sync(fd);
    pthread_mutex_lock(&lock);
    int failing = fails(SYNC);
    int result = failing ? -1 : sync(fd), error = errno;
    record('s', result != 0, fd, 0, "", 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return synced(fd, found);
}
int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return synced(fd, found);
}

static int unlinked(int at, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    char buffer[PATH_MAX];
    const char *name;
    if (!root_length || !(name = below(full(at, path, buffer)))) return found(at, path, flags);
    pthread_mutex_lock(&lock);
    int result = fails(NAME) ? -1 : found(at, path, flags), error = errno;
    if (result == 0) record(flags & AT_REMOVEDIR ? 'd' : 'u', 0, -1, 0, name, (uint32_t)strlen(name));
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int unlink(const char *path) { return unlinked(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinked(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int at, const char *path, int flags) { return unlinked(at, path, flags); }

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    const char *name = below(path);
    if (!name) return found(path, mode);
    pthread_mutex_lock(&lock);
    int result = fails(NAME) ? -1 : found(path, mode), error = errno;
    if (result == 0) record('m', 0, -1, 0, name, (uint32_t)strlen(name));
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    const char *before = below(from), *after = below(to);
    if (!before || !after) return found(from, to);
    pthread_mutex_lock(&lock);
    int result = fails(NAME) ? -1 : found(from, to), error = errno;
    if (result == 0) {
        char both[2 * PATH_MAX];
        size_t first = strlen(before) + 1, second = strlen(after);
        memcpy(both, before, first), memcpy(both + first, after, second);
        record('r', 0, -1, 0, both, (uint32_t)(first + second));
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
