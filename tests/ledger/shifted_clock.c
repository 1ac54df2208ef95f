/* A process whose wall clock is off by CLOCK_SHIFT_S seconds; preloaded into a server by the tests. With CLOCK_SHIFT_IN only
   those processes whose command line has that word. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int is_meant(void) {
  static int known = -1;
  const char *word = getenv("CLOCK_SHIFT_IN");
  if (!word) return 1;
  if (known < 0) {
    char line[65536];
    int file = open("/proc/self/cmdline", O_RDONLY);
    ssize_t length = file < 0 ? 0 : read(file, line, sizeof line);
    if (file >= 0) close(file);
    known = length > 0 && memmem(line, (size_t)length, word, strlen(word)) != NULL;
  }
  return known;
}

static long shift(void) {
  const char *text = getenv("CLOCK_SHIFT_S");
  return text && is_meant() ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec precise;
  clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec precise;
  clock_gettime(CLOCK_REALTIME, &precise);
  if (out) *out = precise.tv_sec;
  return precise.tv_sec;
}
