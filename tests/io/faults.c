/* System calls that fail when they are told to: for LD_PRELOAD.

   Between `faults_arm` and `faults_disarm` it counts calls. The one of the given number fails, and all
   later ones if `last` is not 0. An error of 0 is a short write (or read), after which there is no room. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int armed, fails, count, error, last;
static const char *failed = "";

void faults_arm(int number, int code, int all_later) {
  fails = number, error = code, last = all_later, count = 0, failed = "", armed = 1;
}

const char *faults_disarm(int *calls) {
  armed = 0, *calls = count;
  return failed;
}

static int fault(const char *name) {
  if (!armed) return 0;
  if (count++ != fails && !(last && count > fails)) return 0;
  if (!*failed) failed = name;
  errno = error ? error : ENOSPC;
  return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define FAILING(type, name, parameters, arguments)                   \
  type name parameters {                                             \
    static __typeof__(&name) real;                                   \
    if (!real) real = REAL(name);                                    \
    return fault(#name) ? (type)-1 : real arguments;                 \
  }

FAILING(int, rename, (const char *from, const char *to), (from, to))
FAILING(int, unlink, (const char *path), (path))
FAILING(int, rmdir, (const char *path), (path))
FAILING(int, mkdir, (const char *path, mode_t mode), (path, mode))
FAILING(int, ftruncate64, (int fd, off64_t size), (fd, size))
FAILING(off64_t, lseek64, (int fd, off64_t offset, int from), (fd, offset, from))
FAILING(int, stat64, (const char *path, struct stat64 *status), (path, status))
FAILING(int, lstat64, (const char *path, struct stat64 *status), (path, status))
FAILING(int, fstat64, (int fd, struct stat64 *status), (fd, status))
FAILING(int, flock, (int fd, int how), (fd, how))

/* The machine does not crash here, so nothing has to reach the disk, which takes most of a minute. */
int fsync(int fd) { return fault("fsync") ? -1 : 0; }

static int opened;

DIR *opendir(const char *path) {
  opened = 1;
  return fault("opendir") ? NULL : REAL(opendir)(path);
}

struct dirent64 *readdir64(DIR *folder) { /* the first call for a folder: each takes time */
  if (!opened) return REAL(readdir64)(folder);
  opened = 0;
  return fault("readdir64") ? NULL : REAL(readdir64)(folder);
}

int posix_fadvise64(int fd, off64_t from, off64_t size, int advice) {
  return fault("posix_fadvise64") ? errno : REAL(posix_fadvise64)(fd, from, size, advice);
}

int ioctl(int fd, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  return fault("ioctl") ? -1 : REAL(ioctl)(fd, request, argument);
}

int open64(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = va_arg(rest, mode_t);
  va_end(rest);
  return fault("open64") ? -1 : REAL(open64)(path, flags, mode);
}

int close(int fd) { /* a failed one closes, too */
  int done = REAL(close)(fd);
  return fault("close") ? -1 : done;
}

static int full;

ssize_t write(int fd, const void *data, size_t size) {
  if (!armed) full = 0;
  if (armed && full) return errno = ENOSPC, -1;
  if (!fault("write")) return REAL(write)(fd, data, size);
  if (error) return -1;
  full = 1;
  return REAL(write)(fd, data, size / 2);
}

ssize_t read(int fd, void *data, size_t size) {
  if (!fault("read")) return REAL(read)(fd, data, size);
  return error ? -1 : REAL(read)(fd, data, size / 2);
}
