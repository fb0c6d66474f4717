/* Preloaded into a program, makes the disk below one folder fail with EIO: fsync and fdatasync for as long as there is a
 * file "sync" in the folder that FAILING_DISK_ORDERS names, writes for as long as there is a file "write". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int ordered(const char *what)
{
    const char *folder = getenv("FAILING_DISK_ORDERS");
    char path[PATH_MAX];
    if (folder == NULL || snprintf(path, sizeof path, "%s/%s", folder, what) >= (int)sizeof path)
        return 0;
    return access(path, F_OK) == 0;
}

static int fails(const char *what, int fd)
{
    const char *folder = getenv("FAILING_DISK_BELOW");
    char name[64], path[PATH_MAX];
    int before = errno, failing = 0;
    if (folder != NULL && ordered(what)) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(name, path, sizeof path - 1);
        failing = length > 0 && (size_t)length > strlen(folder) && strncmp(path, folder, strlen(folder)) == 0;
    }
    errno = failing ? EIO : before;
    return failing;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return fails("sync", fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails("sync", fd) ? -1 : REAL(fdatasync)(fd); }

ssize_t write(int fd, const void *from, size_t size) { return fails("write", fd) ? -1 : REAL(write)(fd, from, size); }

ssize_t pwrite(int fd, const void *from, size_t size, off_t at)
{
    return fails("write", fd) ? -1 : REAL(pwrite)(fd, from, size, at);
}

ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at)
{
    return fails("write", fd) ? -1 : REAL(pwrite64)(fd, from, size, at);
}

ssize_t pwritev(int fd, const struct iovec *from, int count, off_t at)
{
    return fails("write", fd) ? -1 : REAL(pwritev)(fd, from, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *from, int count, off64_t at)
{
    return fails("write", fd) ? -1 : REAL(pwritev64)(fd, from, count, at);
}
