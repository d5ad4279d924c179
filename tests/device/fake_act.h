/* fake_act.h: the part that a fake driver plays, by IGN_FAKE in the environment.
 *
 * A part is a word; what it means is said where it is played. Invariant: a part that is not played
 * by a library leaves it well-behaved.
 */
#ifndef IGN_TESTS_DEVICE_FAKE_ACT_H
#define IGN_TESTS_DEVICE_FAKE_ACT_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))

static inline bool plays(const char *part) {
    const char *given = getenv("IGN_FAKE");
    return given && strcmp(given, part) == 0;
}

/* For ever, and deaf. */
static inline void hang(void) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (;;) {
        pause();
    }
}

/* What any call may do besides its duty. */
static inline void misbehave(void) {
    if (plays("segfault")) {
        raise(SIGSEGV);
    } else if (plays("abort")) {
        abort();
    } else if (plays("exit")) {
        exit(0);
    } else if (plays("fork") && fork() == 0) {
        hang(); /* holds every descriptor */
    } else if (plays("close")) {
        for (int fd = 0; fd < 64; fd++) {
            close(fd);
        }
    } else if (plays("noise")) {
        for (int i = 0; i < 100000; i++) {
            printf("driver: line %d of what nobody has asked for\n", i);
        }
        fflush(stdout);
    } else if (plays("flood")) {
        static const char line[] = "{\"device\":{}}\n{\"step\":\"x\"}\n{\"end\":1}\nnonsense\n";
        for (;;) {
            for (int fd = 3; fd < 16; fd++) {
                if (write(fd, line, sizeof line - 1) < 0) {
                    continue;
                }
            }
        }
    }
}

#endif
