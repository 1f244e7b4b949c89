/* Every clock of a process, and of what it starts, runs STRETCH times slower than the machine's.

       cc -O2 -shared -fPIC -o stretch.so tools/stretch.c -ldl
       STRETCH_EPOCH=$(date +%s) STRETCH=8 LD_PRELOAD=$PWD/stretch.so python …

   For real-time programs on a machine that is too slow or too busy for them: all that is started
   with the same two variables agrees about the time, deadlines and rates included, and has STRETCH
   times as long for its work. Not for measuring latencies. Linux with glibc, 64 bit. Other clocks
   (CPU time) are left alone, and so are waits that are not named here: futexes of languages that
   make their own, SO_RCVTIMEO, setitimer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

typedef long long nanoseconds;
typedef struct timespec Time;
static const nanoseconds SECOND = 1000000000LL;
static double stretch;       /* 0 until `begin` */
static nanoseconds epoch;    /* the wall clock's common beginning; the monotonic one's is 0 */

#define REAL(name, ...) static int (*real_##name)(__VA_ARGS__)
REAL(clock_gettime, clockid_t, Time *);
REAL(clock_nanosleep, clockid_t, int, const Time *, Time *);
REAL(select, int, fd_set *, fd_set *, fd_set *, struct timeval *);
REAL(poll, struct pollfd *, nfds_t, int);
REAL(epoll_wait, int, struct epoll_event *, int, int);
REAL(sem_timedwait, sem_t *, const Time *);
REAL(sem_clockwait, sem_t *, clockid_t, const Time *);
REAL(pthread_cond_timedwait, pthread_cond_t *, pthread_mutex_t *, const Time *);
REAL(pthread_cond_clockwait, pthread_cond_t *, pthread_mutex_t *, clockid_t, const Time *);
REAL(timerfd_settime, int, int, const struct itimerspec *, struct itimerspec *);

__attribute__((constructor)) static void begin(void) {
  if (stretch > 0.0) return;
#define FIND(name) real_##name = dlsym(RTLD_NEXT, #name)
  FIND(clock_gettime);
  FIND(clock_nanosleep);
  FIND(select);
  FIND(poll);
  FIND(epoll_wait);
  FIND(sem_timedwait);
  FIND(sem_clockwait);
  FIND(pthread_cond_timedwait); /* of several versions the newest; see below */
  FIND(pthread_cond_clockwait);
  FIND(timerfd_settime);
  void *newer = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2"); /* x86-64 */
  if (newer) real_pthread_cond_timedwait = newer;
  const char *factor = getenv("STRETCH"), *start = getenv("STRETCH_EPOCH");
  epoch = (start ? atoll(start) : 0) * SECOND;
  stretch = factor && atof(factor) > 0.0 ? atof(factor) : 1.0;
}

static nanoseconds count(const Time *t) { return t->tv_sec * SECOND + t->tv_nsec; }
static Time time_of(nanoseconds n) { return (Time){n > 0 ? n / SECOND : 0, n > 0 ? n % SECOND : 0}; }
static Time longer(const Time *t) { return time_of((nanoseconds)(count(t) * stretch)); }
static int longer_ms(int ms) { return ms > 0 ? (int)(ms * stretch) : ms; }

/* A deadline as the kernel must know it; on which clock, its size tells: nothing runs for 30 years. */
static Time due(const Time *t) {
  nanoseconds zero = t->tv_sec > 1000000000 ? epoch : 0;
  return time_of(zero + (nanoseconds)((count(t) - zero) * stretch));
}

int clock_gettime(clockid_t clock, Time *t) {
  begin();
  int failed = real_clock_gettime(clock, t);
  int wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  int steady = clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW ||
               clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME;
  nanoseconds zero = wall ? epoch : 0;
  if (!failed && (wall || steady)) *t = time_of(zero + (nanoseconds)((count(t) - zero) / stretch));
  return failed;
}

int gettimeofday(struct timeval *v, void *zone) {
  Time t;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &t);
  *v = (struct timeval){t.tv_sec, t.tv_nsec / 1000};
  return 0;
}

time_t time(time_t *seconds) {
  Time t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (seconds) *seconds = t.tv_sec;
  return t.tv_sec;
}

int clock_nanosleep(clockid_t clock, int flags, const Time *t, Time *rest) {
  begin();
  Time real = flags & TIMER_ABSTIME ? due(t) : longer(t);
  return real_clock_nanosleep(clock, flags, &real, rest);
}

int nanosleep(const Time *t, Time *rest) {
  int error = clock_nanosleep(CLOCK_MONOTONIC, 0, t, rest);
  if (error) errno = error;
  return error ? -1 : 0;
}

int usleep(useconds_t us) {
  Time t = time_of(us * 1000LL);
  return nanosleep(&t, NULL);
}

int select(int n, fd_set *in, fd_set *out, fd_set *odd, struct timeval *v) {
  begin();
  if (!v) return real_select(n, in, out, odd, v);
  nanoseconds us = (nanoseconds)((v->tv_sec * 1000000LL + v->tv_usec) * stretch);
  struct timeval real = {us / 1000000, us % 1000000};
  return real_select(n, in, out, odd, &real);
}

int poll(struct pollfd *what, nfds_t n, int ms) {
  begin();
  return real_poll(what, n, longer_ms(ms));
}

int epoll_wait(int fd, struct epoll_event *what, int n, int ms) {
  begin();
  return real_epoll_wait(fd, what, n, longer_ms(ms));
}

int sem_timedwait(sem_t *s, const Time *t) {
  begin();
  Time real = due(t);
  return real_sem_timedwait(s, &real);
}

int sem_clockwait(sem_t *s, clockid_t clock, const Time *t) {
  begin();
  Time real = due(t);
  return real_sem_clockwait(s, clock, &real);
}

int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const Time *t) {
  begin();
  Time real = due(t);
  return real_pthread_cond_timedwait(c, m, &real);
}

int pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m, clockid_t clock, const Time *t) {
  begin();
  Time real = due(t);
  return real_pthread_cond_clockwait(c, m, clock, &real);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *t, struct itimerspec *old) {
  begin();
  Time first = flags & TFD_TIMER_ABSTIME ? due(&t->it_value) : longer(&t->it_value);
  struct itimerspec real = {longer(&t->it_interval), first};
  return real_timerfd_settime(fd, flags, &real, old);
}
