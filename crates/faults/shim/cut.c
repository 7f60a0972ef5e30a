/* Cuts the power of a mounted file system: from this call on nothing that it has not written gets written. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

/* FS_IOC_GOINGDOWN of Linux, without flushing the journal. */
#define GOING_DOWN _IOR('X', 125, uint32_t)
static const uint32_t NO_FLUSH = 2;

int main(int count, char **arguments) {
    int fd = count == 2 ? open(arguments[1], O_RDONLY) : -1;
    if (fd >= 0 && ioctl(fd, GOING_DOWN, &NO_FLUSH) == 0)
        return 0;
    perror("cut");
    return 1;
}
