/* A preloaded library that lets calls on files fail and records writes and syncs. It touches only
 * files under KEYHASP_DISK_DIR.
 *
 * KEYHASP_DISK_CONTROL  names a file with `struct control`, by which calls are made to fail
 * KEYHASP_DISK_LOG      if set, names the file to which changes are appended, in the order of effect
 * KEYHASP_DISK_LINES    if set, lines on the standard output are recorded between the changes
 * KEYHASP_DISK_FORGET   if set, syncs of files whose paths end so are not recorded, as if the process
 *                       had not asked for them; an empty value matches every path
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* `disk.rs` has the same words. */
struct control {
    uint64_t armed;   /* whether calls are counted */
    uint64_t seen;    /* calls counted since */
    uint64_t nth;     /* the call that fails, from 1 on */
    uint64_t number;  /* its errno */
    uint64_t lasting; /* whether all after it fail too */
    uint64_t manner;  /* of writes: 0 nothing is written, 1 half and no error, 2 half and the error;
                         of syncs: 3 the process is killed before it learns of the error */
    uint64_t syncs;   /* whether only syncs are counted and fail */
    uint64_t failed;  /* calls that failed */
    uint64_t present; /* set by this library: the process is watched */
};

/* An entry of the log, which `record.rs` reads; path and data follow. */
struct entry {
    uint8_t what;
    uint8_t unused[3];
    uint32_t path_len;
    uint64_t offset;
    uint64_t data_len;
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static struct control *control;
static char dir[PATH_MAX], lines[PATH_MAX];
static size_t dir_len;
static int log_fd = -1, control_fd = -1;
static const char *forget;

/* Between these a call takes effect and is noted. The parent kills this process while it holds the
 * lock of the control file; without the lock it could kill between a call and its note. */
static void enter(void) {
    pthread_mutex_lock(&turn);
    while (control_fd >= 0 && flock(control_fd, LOCK_EX) != 0 && errno == EINTR)
        ;
}

static void leave(void) {
    if (control_fd >= 0)
        flock(control_fd, LOCK_UN);
    pthread_mutex_unlock(&turn);
}

static void note(uint8_t what, const char *path, uint64_t offset, const void *data, size_t len) {
    if (log_fd < 0)
        return;
    struct entry entry = {what, {0}, (uint32_t)strlen(path), offset, len};
    struct iovec parts[3] = {
        {&entry, sizeof entry}, {(void *)path, entry.path_len}, {(void *)data, len}};
    /* The system call itself, since `writev` below is this library's. A log with a gap proves nothing. */
    if (syscall(SYS_writev, log_fd, parts, 3) != (long)(sizeof entry + entry.path_len + len))
        abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("KEYHASP_DISK_DIR");
    if (!at || !realpath(at, dir))
        return;
    dir_len = strlen(dir);
    forget = getenv("KEYHASP_DISK_FORGET");
    /* Known by its target, since the process copies the descriptor before it writes. */
    if (getenv("KEYHASP_DISK_LINES") && readlink("/proc/self/fd/1", lines, sizeof lines - 1) <= 0)
        abort();
    const char *log = getenv("KEYHASP_DISK_LOG");
    if (log && (log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) < 0)
        abort();
    const char *by = getenv("KEYHASP_DISK_CONTROL");
    if (by) {
        control_fd = (int)syscall(SYS_openat, AT_FDCWD, by, O_RDWR | O_CLOEXEC, 0);
        control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, control_fd, 0);
        if (control_fd < 0 || control == MAP_FAILED)
            abort();
        control->present = 1;
    }
    note('P', "", 0, NULL, 0);
}

/* Returns the part of a path below the directory; NULL for other paths. */
static const char *below(const char *path) {
    if (!dir_len || strncmp(path, dir, dir_len) || path[dir_len] != '/')
        return NULL;
    return path + dir_len + 1;
}

static const char *below_fd(int fd, char *buffer) {
    char link[64];
    buffer[0] = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long len = dir_len ? syscall(SYS_readlinkat, AT_FDCWD, link, buffer, PATH_MAX - 1) : -1;
    if (len < 0)
        return NULL;
    buffer[len] = 0;
    return below(buffer);
}

/* Returns the same of a name in an open directory. */
static const char *below_at(int at, const char *path, char *buffer) {
    if (path[0] == '/')
        return below(path);
    char parent[PATH_MAX];
    if (at == AT_FDCWD || !below_fd(at, parent))
        return NULL;
    if (snprintf(buffer, PATH_MAX, "%s/%s", parent, path) >= PATH_MAX)
        return NULL;
    return below(buffer);
}

/* Decides whether this call fails, and sets its manner. */
static int fails(int is_sync, uint64_t *manner) {
    if (!control || !control->armed || (control->syncs && !is_sync))
        return 0;
    uint64_t seen = ++control->seen;
    if (!control->nth || (control->lasting ? seen < control->nth : seen != control->nth))
        return 0;
    control->failed++;
    if (manner)
        *manner = control->manner;
    errno = (int)control->number;
    return 1;
}

static ssize_t write_at(int fd, const void *data, size_t len, off_t offset, int is_at) {
    return is_at ? syscall(SYS_pwrite64, fd, data, len, offset) : syscall(SYS_write, fd, data, len);
}

static ssize_t do_write(int fd, const void *data, size_t len, off_t offset, int is_at) {
    char buffer[PATH_MAX];
    const char *path = below_fd(fd, buffer);
    if (!path) {
        int is_line = lines[0] && dir_len && !strcmp(buffer, lines);
        if (!is_line)
            return write_at(fd, data, len, offset, is_at);
        enter();
        ssize_t written = write_at(fd, data, len, offset, is_at);
        if (written > 0)
            note('A', "", 0, data, (size_t)written);
        leave();
        return written;
    }
    enter();
    uint64_t manner = 0;
    int is_bad = fails(0, &manner), number = errno;
    ssize_t written = -1;
    if (!is_bad || manner) {
        if (!is_at)
            offset = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
        written = write_at(fd, data, is_bad ? (len + 1) / 2 : len, offset, is_at);
        number = errno;
        if (written > 0)
            note('W', path, (uint64_t)offset, data, (size_t)written);
        if (is_bad && manner == 2) {
            written = -1;
            number = (int)control->number;
        }
    }
    leave();
    errno = number;
    return written;
}

ssize_t write(int fd, const void *data, size_t len) { return do_write(fd, data, len, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t len, off_t at) { return do_write(fd, data, len, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t len, off_t at) { return do_write(fd, data, len, at, 1); }

/* Neither engine writes by these. A call that was not recorded must not go unseen: `writev` ends the
 * process, and the copies within the kernel fail, so that `std::fs::copy` reads and writes instead. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
    char buffer[PATH_MAX];
    if (below_fd(fd, buffer))
        abort();
    return syscall(SYS_writev, fd, parts, count);
}
#define COPY(out, call)                                                                            \
    do {                                                                                           \
        char buffer[PATH_MAX];                                                                     \
        if (!below_fd(out, buffer))                                                                \
            return call;                                                                           \
        errno = ENOSYS;                                                                            \
        return -1;                                                                                 \
    } while (0)
ssize_t copy_file_range(int in, off_t *in_at, int out, off_t *out_at, size_t len, unsigned flags) {
    COPY(out, syscall(SYS_copy_file_range, in, in_at, out, out_at, len, flags));
}
ssize_t sendfile(int out, int in, off_t *at, size_t len) {
    COPY(out, syscall(SYS_sendfile, out, in, at, len));
}
ssize_t sendfile64(int out, int in, off_t *at, size_t len) {
    COPY(out, syscall(SYS_sendfile, out, in, at, len));
}

static int is_forgotten(uint8_t what, const char *path) {
    if (!forget || what != 'S')
        return 0;
    size_t len = strlen(path), end = strlen(forget);
    return len >= end && !strcmp(path + len - end, forget);
}

/* A sync ('S'), or `sync_file_range` ('R'), which promises nothing. */
#define SYNC(fd, what, call)                                                                       \
    do {                                                                                           \
        char buffer[PATH_MAX];                                                                     \
        const char *path = below_fd(fd, buffer);                                                   \
        if (!path && dir_len && !strcmp(buffer, dir))                                              \
            path = "";                                                                             \
        if (!path)                                                                                 \
            return (int)(call);                                                                    \
        enter();                                                                                   \
        int done = -1;                                                                             \
        uint64_t manner = 0;                                                                       \
        if (fails(what == 'S', &manner)) {                                                                      \
            note('F', path, 0, NULL, 0);                                                           \
            if (manner == 3)                                                                       \
                syscall(SYS_kill, getpid(), SIGKILL);                                              \
        }                                                                                          \
        else if ((done = (int)(call)) == 0 && !is_forgotten(what, path))                           \
            note(what, path, 0, NULL, 0);                                                          \
        int number = errno;                                                                        \
        leave();                                                                                   \
        errno = number;                                                                            \
        return done;                                                                               \
    } while (0)

int fsync(int fd) { SYNC(fd, 'S', syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { SYNC(fd, 'S', syscall(SYS_fdatasync, fd)); }
int sync_file_range(int fd, off64_t at, off64_t len, unsigned flags) {
    SYNC(fd, 'R', syscall(SYS_sync_file_range, fd, at, len, flags));
}

/* Another call with a path: it fails, or it is done and noted. */
#define CHANGE(path, call, noting)                                                                 \
    do {                                                                                           \
        enter();                                                                                   \
        int done = -1;                                                                             \
        if (!fails(0, NULL) && (done = (int)(call)) >= 0) {                                        \
            noting;                                                                                \
        }                                                                                          \
        int number = errno;                                                                        \
        leave();                                                                                   \
        errno = number;                                                                            \
        return done;                                                                               \
    } while (0)

static int truncated(int fd, off_t len) {
    char buffer[PATH_MAX];
    const char *path = below_fd(fd, buffer);
    if (!path)
        return (int)syscall(SYS_ftruncate, fd, len);
    CHANGE(path, syscall(SYS_ftruncate, fd, len), note('T', path, (uint64_t)len, NULL, 0));
}
int ftruncate(int fd, off_t len) { return truncated(fd, len); }
int ftruncate64(int fd, off64_t len) { return truncated(fd, len); }

static int opened(int at, const char *name, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *path = below_at(at, name, buffer);
    if (!path)
        return (int)syscall(SYS_openat, at, name, flags, mode);
    int is_new = (flags & O_CREAT) && syscall(SYS_faccessat, at, name, F_OK) != 0;
    CHANGE(path, syscall(SYS_openat, at, name, flags, mode), {
        if (is_new)
            note('C', path, 0, NULL, 0);
        else if (flags & O_TRUNC)
            note('T', path, 0, NULL, 0);
    });
}
#define MODE(flags)                                                                                \
    mode_t mode = 0;                                                                               \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                           \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }
int open(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int openat(int at, const char *name, int flags, ...) { MODE(flags) return opened(at, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...) { MODE(flags) return opened(at, name, flags, mode); }

int rename(const char *from, const char *to) {
    const char *path = below(from), *target = below(to);
    if (!path || !target)
        return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    CHANGE(path, syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0),
           note('N', path, 0, target, strlen(target)));
}
int mkdir(const char *name, mode_t mode) {
    const char *path = below(name);
    if (!path)
        return (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
    CHANGE(path, syscall(SYS_mkdirat, AT_FDCWD, name, mode), note('M', path, 0, NULL, 0));
}
int unlinkat(int at, const char *name, int flags) {
    char buffer[PATH_MAX];
    const char *path = below_at(at, name, buffer);
    if (!path)
        return (int)syscall(SYS_unlinkat, at, name, flags);
    CHANGE(path, syscall(SYS_unlinkat, at, name, flags), note('U', path, 0, NULL, 0));
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
