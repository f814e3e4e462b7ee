/* Records what a process and its children do to the files under a folder, and what they send on sockets; loaded by LD_PRELOAD.
 *
 *   SHIM_ROOT   the folder
 *   SHIM_LOG    where to write what is seen, in the order in which it happened (see trace.py for the format)
 *   SHIM_LOSE   "fdatasync" or "fsync": it is answered and neither done nor noted: a product, or a disk, that breaks its promise
 *   SHIM_FAIL   "<call> <errno> <first> <count>": that call fails, from its first-th time on, count times
 *
 * An operation and its note are one step under a lock that all processes share, so the order of the notes is that of the
 * operations. A sync is noted twice, when it begins and when it has succeeded: it covers what was noted before it began. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAKE = 1, WRITE, CUT, RENAME, REMOVE, MAKE_FOLDER, MODE, SYNC_BEGINS, SYNCED, SENT, LINK };
struct note { uint32_t kind, first_bytes, second_bytes, number; uint64_t inode; int64_t offset; uint64_t length; };
struct shared { atomic_int lock; atomic_uint syncs; atomic_int calls; };

static struct shared *shared;
static int log_fd = -1, fail_errno, fail_first, fail_count;
static char root[PATH_MAX], fail_call[32], lost_call[32];
static size_t root_bytes;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("SHIM_ROOT"), *log = getenv("SHIM_LOG"), *broken = getenv("SHIM_LOSE"), *fail = getenv("SHIM_FAIL");
    if (!folder) return;
    root_bytes = strlen(strcpy(root, folder));
    if (broken) snprintf(lost_call, sizeof lost_call, "%s", broken);
    if (fail) sscanf(fail, "%31s %d %d %d", fail_call, &fail_errno, &fail_first, &fail_count);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); /* forked children share it */
    if (log) log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (shared == MAP_FAILED || (log && log_fd < 0)) abort();
}

static void enter(void) { while (atomic_exchange(&shared->lock, 1)) sched_yield(); }
static void leave(void) { int kept = errno; atomic_store(&shared->lock, 0); errno = kept; }

static int inside(const char *path) { return root_bytes && path && !strncmp(path, root, root_bytes) && path[root_bytes] == '/'; }

static int inside_fd(int fd, struct stat *facts) {
    char link[64], path[PATH_MAX];
    if (!root_bytes || fd < 0 || fstat(fd, facts) || (!S_ISREG(facts->st_mode) && !S_ISDIR(facts->st_mode))) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t count = syscall(SYS_readlink, link, path, sizeof path - 1);
    if (count < 0) return 0;
    path[count] = 0;
    return inside(path) || !strcmp(path, root);
}

static void write_all(struct iovec *parts, int count) {
    while (count) {
        ssize_t done = syscall(SYS_writev, log_fd, parts, count < IOV_MAX ? count : IOV_MAX);
        if (done < 0) { if (errno == EINTR) continue; abort(); }
        for (; count && (size_t)done >= parts->iov_len; parts++, count--) done -= parts->iov_len;
        if (count) { parts->iov_base = (char *)parts->iov_base + done; parts->iov_len -= done; }
    }
}

static void tell(uint32_t kind, uint64_t inode, int64_t offset, uint64_t length, uint32_t number, const char *first, const char *second, const struct iovec *data, int count) {
    if (log_fd < 0) return;
    int kept = errno;
    struct note note = { kind, first ? strlen(first) : 0, second ? strlen(second) : 0, number, inode, offset, length };
    struct iovec parts[3 + IOV_MAX] = { { &note, sizeof note }, { (void *)first, note.first_bytes }, { (void *)second, note.second_bytes } };
    int used = 3;
    for (uint64_t left = data ? length : 0; left && count; data++, count--) {
        size_t taken = data->iov_len < left ? data->iov_len : left;
        parts[used++] = (struct iovec){ data->iov_base, taken };
        left -= taken;
    }
    write_all(parts, used);
    errno = kept;
}

static int fails(const char *call) {
    if (strcmp(call, fail_call)) return 0;
    int turn = atomic_fetch_add(&shared->calls, 1) + 1;
    if (turn < fail_first || turn >= fail_first + fail_count) return 0;
    errno = fail_errno;
    return 1;
}

/* Files: data */
static ssize_t written(int fd, int64_t offset, ssize_t done, const struct stat *facts, const struct iovec *data, int count) {
    if (done > 0) tell(WRITE, facts->st_ino, offset, done, 0, NULL, NULL, data, count);
    return done;
}

static int64_t place(int fd, const struct stat *facts) {
    return fcntl(fd, F_GETFL) & O_APPEND ? facts->st_size : lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *buffer, size_t count) {
    struct stat facts;
    if (!inside_fd(fd, &facts)) return syscall(SYS_write, fd, buffer, count);
    struct iovec data = { (void *)buffer, count };
    enter();
    int64_t offset = place(fd, &facts);
    ssize_t done = written(fd, offset, syscall(SYS_write, fd, buffer, count), &facts, &data, 1);
    leave();
    return done;
}

ssize_t writev(int fd, const struct iovec *data, int count) {
    struct stat facts;
    if (!inside_fd(fd, &facts)) return syscall(SYS_writev, fd, data, count);
    enter();
    int64_t offset = place(fd, &facts);
    ssize_t done = written(fd, offset, syscall(SYS_writev, fd, data, count), &facts, data, count);
    leave();
    return done;
}

ssize_t pwrite64(int fd, const void *buffer, size_t count, off64_t offset) {
    struct stat facts;
    if (!inside_fd(fd, &facts)) return syscall(SYS_pwrite64, fd, buffer, count, offset);
    if (fails("pwrite")) return -1;
    struct iovec data = { (void *)buffer, count };
    enter();
    ssize_t done = written(fd, offset, syscall(SYS_pwrite64, fd, buffer, count, offset), &facts, &data, 1);
    leave();
    return done;
}

ssize_t pwritev64v2(int fd, const struct iovec *data, int count, off64_t offset, int flags) {
    struct stat facts;
    if (!inside_fd(fd, &facts)) return REAL(pwritev64v2)(fd, data, count, offset, flags);
    if (fails("pwritev")) return -1;
    enter();
    ssize_t done = written(fd, offset, REAL(pwritev64v2)(fd, data, count, offset, flags), &facts, data, count);
    leave();
    return done;
}

int ftruncate64(int fd, off64_t length) {
    struct stat facts;
    if (!inside_fd(fd, &facts)) return syscall(SYS_ftruncate, fd, length);
    enter();
    int done = syscall(SYS_ftruncate, fd, length);
    if (!done) tell(CUT, facts.st_ino, length, 0, 0, NULL, NULL, NULL, 0);
    leave();
    return done;
}

int truncate64(const char *path, off64_t length) {
    struct stat facts;
    if (!inside(path) || stat(path, &facts)) return syscall(SYS_truncate, path, length);
    enter();
    int done = syscall(SYS_truncate, path, length);
    if (!done) tell(CUT, facts.st_ino, length, 0, 0, NULL, NULL, NULL, 0);
    leave();
    return done;
}

static int sync_with(const char *call, long number, int fd, int whole) {
    struct stat facts;
    if (!inside_fd(fd, &facts)) return syscall(number, fd);
    if (!strcmp(call, lost_call)) return 0;
    if (fails(call)) return -1;
    enter();
    unsigned turn = atomic_fetch_add(&shared->syncs, 1);
    tell(SYNC_BEGINS, facts.st_ino, whole, 0, turn, NULL, NULL, NULL, 0);
    leave();
    int done = syscall(number, fd);
    enter();
    if (!done) tell(SYNCED, facts.st_ino, whole, 0, turn, NULL, NULL, NULL, 0);
    leave();
    return done;
}

int fdatasync(int fd) { return sync_with("fdatasync", SYS_fdatasync, fd, 0); }
int fsync(int fd) { return sync_with("fsync", SYS_fsync, fd, 1); }

/* Names and modes */
static int open_and_tell(int folder, const char *path, int flags, mode_t mode) {
    struct stat facts;
    if (!inside(path) || !(flags & (O_CREAT | O_TRUNC))) return syscall(SYS_openat, folder, path, flags, mode);
    enter();
    int was_there = !syscall(SYS_faccessat, AT_FDCWD, path, F_OK);
    int fd = syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && !fstat(fd, &facts)) {
        if (!was_there) tell(MAKE, facts.st_ino, facts.st_mode & 0777, 0, 0, path, NULL, NULL, 0);
        else if (flags & O_TRUNC) tell(CUT, facts.st_ino, 0, 0, 0, NULL, NULL, NULL, 0);
    }
    leave();
    return fd;
}

#define MODE_ARGUMENT mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
int open64(const char *path, int flags, ...) { MODE_ARGUMENT return open_and_tell(AT_FDCWD, path, flags, mode); }
int open(const char *path, int flags, ...) { MODE_ARGUMENT return open_and_tell(AT_FDCWD, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE_ARGUMENT return open_and_tell(folder, path, flags, mode); }

static int name_anew(uint32_t kind, long number, const char *from, const char *to) {
    if (!inside(from)) return syscall(number, from, to);
    enter();
    int done = syscall(number, from, to);
    if (!done) tell(kind, 0, 0, 0, 0, from, to, NULL, 0);
    leave();
    return done;
}

int rename(const char *from, const char *to) { return name_anew(RENAME, SYS_rename, from, to); }
int link(const char *from, const char *to) { return name_anew(LINK, SYS_link, from, to); }

int unlink(const char *path) {
    if (!inside(path)) return syscall(SYS_unlink, path);
    enter();
    int done = syscall(SYS_unlink, path);
    if (!done) tell(REMOVE, 0, 0, 0, 0, path, NULL, NULL, 0);
    leave();
    return done;
}

int mkdir(const char *path, mode_t mode) {
    struct stat facts;
    if (!inside(path)) return syscall(SYS_mkdir, path, mode);
    enter();
    int done = syscall(SYS_mkdir, path, mode);
    if (!done && !stat(path, &facts)) tell(MAKE_FOLDER, facts.st_ino, facts.st_mode & 0777, 0, 0, path, NULL, NULL, 0);
    leave();
    return done;
}

static int mode_told(const struct stat *facts, mode_t mode, int done) {
    if (!done) tell(MODE, facts->st_ino, mode & 0777, 0, 0, NULL, NULL, NULL, 0);
    return done;
}

int fchmod(int fd, mode_t mode) {
    struct stat facts;
    if (!inside_fd(fd, &facts)) return syscall(SYS_fchmod, fd, mode);
    enter();
    int done = mode_told(&facts, mode, syscall(SYS_fchmod, fd, mode));
    leave();
    return done;
}

int chmod(const char *path, mode_t mode) {
    struct stat facts;
    if (!inside(path) || stat(path, &facts)) return syscall(SYS_chmod, path, mode);
    enter();
    int done = mode_told(&facts, mode, syscall(SYS_chmod, path, mode));
    leave();
    return done;
}

/* What would break the order of things if it were used on the files: then the trace is worth nothing. */
#define NEVER(name, condition) if (condition) { static const char why[] = "shim: " name " is not recorded\n"; syscall(SYS_write, 2, why, sizeof why); abort(); }
int renameat(int a, const char *from, int b, const char *to) { NEVER("renameat", inside(from)) return syscall(SYS_renameat, a, from, b, to); }
int unlinkat(int folder, const char *path, int flags) { NEVER("unlinkat", inside(path)) return syscall(SYS_unlinkat, folder, path, flags); }
int posix_fallocate64(int fd, off64_t offset, off64_t length) { struct stat f; NEVER("posix_fallocate", inside_fd(fd, &f)) return REAL(posix_fallocate64)(fd, offset, length); }

/* Sockets: noted before it is sent, since it can be seen from then on */
static void sent(const void *buffer, size_t count) {
    if (!root_bytes) return;
    struct iovec data = { (void *)buffer, count };
    enter();
    tell(SENT, 0, 0, count, 0, NULL, NULL, &data, 1);
    leave();
}

ssize_t send(int fd, const void *buffer, size_t count, int flags) {
    sent(buffer, count);
    return syscall(SYS_sendto, fd, buffer, count, flags, NULL, 0);
}
