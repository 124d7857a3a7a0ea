/*
 * A disk that can fail, between a process and libc (LD_PRELOAD): every change of a file under KIN_DISK_FOLDER is passed on and
 * written to the journal KIN_DISK_JOURNAL in its order, and so is what the process says on standard output. From the journal,
 * test/disk/cut.ts builds what a power cut at any of its points could have left on the disk.
 *
 *   record = u32 kind ‖ u32 path bytes ‖ u64 offset ‖ u64 data bytes ‖ path ‖ data        (the machine's byte order)
 *   kinds    1 write  2 truncate (offset = size)  3 sync of a file  4 sync of a folder  5 unlink  6 rename (data = new path)
 *            7 created  8 said (data = what was written to standard output)  9 a sync that failed
 *
 * KIN_DISK_CONTROL names a file that is read before each change: "errno kinds from [short]": from the change number `from` on
 * (counted from 1), changes whose letter is in `kinds` fail with errno: w write and truncate, s sync, o open for writing,
 * r read. With `short` the first failing write takes half of its bytes. An empty file: nothing fails. Each failure is counted
 * in the file KIN_DISK_FAILURES, one byte each. KIN_DISK_LIES=1: a sync is said to be done and is not.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FD 4096
enum { WRITE = 1, TRUNCATE, SYNC, SYNC_FOLDER, UNLINK, RENAME, CREATED, SAID, SYNC_FAILED };

static char *paths[MAX_FD]; /* of open files under the folder */
static const char *folder, *control, *failures;
static size_t folder_length;
static int journal = -1, lies;
static uint64_t changes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("KIN_DISK_JOURNAL");
  folder = getenv("KIN_DISK_FOLDER");
  control = getenv("KIN_DISK_CONTROL");
  failures = getenv("KIN_DISK_FAILURES");
  lies = getenv("KIN_DISK_LIES") != NULL;
  folder_length = folder ? strlen(folder) : 0;
  if (folder && path) journal = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int watched(const char *path) {
  return folder && path && strncmp(path, folder, folder_length) == 0 &&
         (path[folder_length] == '/' || path[folder_length] == 0);
}

static char *path_of(int fd) { return fd >= 0 && fd < MAX_FD ? paths[fd] : NULL; }

/* The lock is held. */
static void record(uint32_t kind, const char *path, uint64_t offset, const void *data, uint64_t length) {
  struct __attribute__((packed)) { uint32_t kind, path; uint64_t offset, data; } head = {kind, strlen(path), offset, length};
  struct iovec parts[] = {{&head, sizeof head}, {(void *)path, head.path}, {(void *)data, length}};
  ssize_t want = sizeof head + head.path + length;
  if (journal >= 0 && REAL(writev)(journal, parts, 3) != want) {
    fprintf(stderr, "the journal of the failing disk could not be written\n");
    abort();
  }
}

static void note_failure(void) {
  if (!failures) return;
  int fd = REAL(open)(failures, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd >= 0) {
    (void)!REAL(write)(fd, "x", 1);
    REAL(close)(fd);
  }
}

/* Whether this change must fail: the errno, or 0. The lock is held. */
static int failing(char kind, int *is_short) {
  char text[64] = "", kinds[8] = "", word[8] = "";
  int code = 0;
  unsigned long long from = 0;
  changes++;
  if (!control) return 0;
  int fd = REAL(open)(control, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t got = REAL(read)(fd, text, sizeof text - 1);
  REAL(close)(fd);
  if (got <= 0 || sscanf(text, "%d %7s %llu %7s", &code, kinds, &from, word) < 3) return 0;
  if (changes < from || !strchr(kinds, kind)) return 0;
  if (is_short) *is_short = changes == from && word[0] == 's';
  note_failure();
  return code;
}

static int opened(const char *path, int flags, int existed, int fd) {
  if (fd < 0 || fd >= MAX_FD) return fd;
  pthread_mutex_lock(&lock);
  free(paths[fd]);
  paths[fd] = strdup(path);
  if ((flags & O_CREAT) && !existed) record(CREATED, path, 0, NULL, 0);
  if ((flags & O_TRUNC) && existed) record(TRUNCATE, path, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  return fd;
}

static int open_watched(const char *name, const char *path, int flags, mode_t mode) {
  if ((flags & O_ACCMODE) != O_RDONLY) {
    pthread_mutex_lock(&lock);
    int code = failing('o', NULL);
    pthread_mutex_unlock(&lock);
    if (code) return errno = code, -1;
  }
  int existed = access(path, F_OK) == 0;
  int (*next)(const char *, int, ...) = real(name);
  return opened(path, flags, existed, next(path, flags, mode));
}

#define OPEN(name)                                                     \
  int name(const char *path, int flags, ...) {                         \
    va_list rest;                                                      \
    va_start(rest, flags);                                             \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                                      \
    if (watched(path)) return open_watched(#name, path, flags, mode);  \
    int (*next)(const char *, int, ...) = real(#name);                 \
    return next(path, flags, mode);                                    \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name, plain)                                            \
  int name(int at, const char *path, int flags, ...) {                 \
    va_list rest;                                                      \
    va_start(rest, flags);                                             \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                                      \
    if (path[0] == '/' && watched(path)) return open_watched(plain, path, flags, mode); \
    int (*next)(int, const char *, int, ...) = real(#name);            \
    return next(at, path, flags, mode);                                \
  }
OPENAT(openat, "open")
OPENAT(openat64, "open64")

int close(int fd) {
  if (path_of(fd)) {
    pthread_mutex_lock(&lock);
    free(paths[fd]);
    paths[fd] = NULL;
    pthread_mutex_unlock(&lock);
  }
  return REAL(close)(fd);
}

/* offset < 0: where the file stands. */
static ssize_t write_watched(int fd, const char *path, const void *data, size_t length, off_t offset) {
  int is_short = 0;
  pthread_mutex_lock(&lock);
  int code = failing('w', &is_short);
  ssize_t done = -1;
  if (code && !(is_short && length > 1)) errno = code;
  else {
    off_t at = offset >= 0 ? offset : lseek(fd, 0, SEEK_CUR);
    if (offset < 0 && (fcntl(fd, F_GETFL) & O_APPEND)) at = lseek(fd, 0, SEEK_END);
    if (is_short) length /= 2;
    done = offset >= 0 ? REAL(pwrite)(fd, data, length, offset) : REAL(write)(fd, data, length);
    if (done > 0) record(WRITE, path, at, data, done);
  }
  pthread_mutex_unlock(&lock);
  return done;
}

ssize_t write(int fd, const void *data, size_t length) {
  char *path = path_of(fd);
  if (path) return write_watched(fd, path, data, length, -1);
  if (fd == STDOUT_FILENO) {
    pthread_mutex_lock(&lock);
    record(SAID, "", 0, data, length);
    pthread_mutex_unlock(&lock);
  }
  return REAL(write)(fd, data, length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
  char *path = path_of(fd);
  return path ? write_watched(fd, path, data, length, offset) : REAL(pwrite)(fd, data, length, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) { return pwrite(fd, data, length, offset); }

static ssize_t write_parts(int fd, char *path, const struct iovec *parts, int count, off_t offset) {
  ssize_t sum = 0;
  for (int i = 0; i < count; i++) {
    ssize_t done = write_watched(fd, path, parts[i].iov_base, parts[i].iov_len, offset < 0 ? -1 : offset + sum);
    if (done < 0) return sum > 0 ? sum : done;
    sum += done;
    if ((size_t)done < parts[i].iov_len) break;
  }
  return sum;
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  char *path = path_of(fd);
  return path ? write_parts(fd, path, parts, count, -1) : REAL(writev)(fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  char *path = path_of(fd);
  return path ? write_parts(fd, path, parts, count, offset) : REAL(pwritev)(fd, parts, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return pwritev(fd, parts, count, offset); }

ssize_t pread(int fd, void *into, size_t length, off_t offset) {
  if (path_of(fd)) {
    pthread_mutex_lock(&lock);
    int code = failing('r', NULL);
    pthread_mutex_unlock(&lock);
    if (code) return errno = code, -1;
  }
  return REAL(pread)(fd, into, length, offset);
}
ssize_t pread64(int fd, void *into, size_t length, off64_t offset) { return pread(fd, into, length, offset); }

int ftruncate(int fd, off_t size) {
  char *path = path_of(fd);
  if (!path) return REAL(ftruncate)(fd, size);
  pthread_mutex_lock(&lock);
  int code = failing('w', NULL);
  int done = code ? (errno = code, -1) : REAL(ftruncate)(fd, size);
  if (done == 0) record(TRUNCATE, path, size, NULL, 0);
  pthread_mutex_unlock(&lock);
  return done;
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

/* Nothing is really synced: the page cache outlives the process, and the cut is made from the journal. */
static int sync_watched(int fd, const char *path) {
  struct stat found;
  pthread_mutex_lock(&lock);
  int code = failing('s', NULL);
  int is_folder = fstat(fd, &found) == 0 && S_ISDIR(found.st_mode);
  if (code) record(SYNC_FAILED, path, 0, NULL, 0);
  else if (!lies) record(is_folder ? SYNC_FOLDER : SYNC, path, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  return code ? (errno = code, -1) : 0;
}
int fsync(int fd) {
  char *path = path_of(fd);
  return path ? sync_watched(fd, path) : REAL(fsync)(fd);
}
int fdatasync(int fd) {
  char *path = path_of(fd);
  return path ? sync_watched(fd, path) : REAL(fdatasync)(fd);
}

int unlink(const char *path) {
  if (!watched(path)) return REAL(unlink)(path);
  pthread_mutex_lock(&lock);
  int done = REAL(unlink)(path);
  if (done == 0) record(UNLINK, path, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  return done;
}

int rename(const char *from, const char *to) {
  if (!watched(from) && !watched(to)) return REAL(rename)(from, to);
  pthread_mutex_lock(&lock);
  int done = REAL(rename)(from, to);
  if (done == 0) record(RENAME, from, 0, to, strlen(to));
  pthread_mutex_unlock(&lock);
  return done;
}

/* What is written through a mapping can't be seen: the store must not do it (locking_mode EXCLUSIVE needs no -shm). */
static void refuse_mapping(int protection, int flags, int fd) {
  if (path_of(fd) && (protection & PROT_WRITE) && (flags & MAP_SHARED)) {
    fprintf(stderr, "%s is mapped for writing: the failing disk can't see that\n", path_of(fd));
    abort();
  }
}
void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
  refuse_mapping(protection, flags, fd);
  return REAL(mmap)(at, length, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset) {
  refuse_mapping(protection, flags, fd);
  return REAL(mmap64)(at, length, protection, flags, fd, offset);
}
