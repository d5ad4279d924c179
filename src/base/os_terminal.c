/* os_terminal.c: the signals that end the program, and the terminal, for POSIX systems.
 *
 * Owns the handler of SIGINT, SIGTERM, SIGHUP and SIGQUIT, and the terminal's raw mode, which that
 * handler must undo. Refuses to say what a signal means: it counts, and callers look.
 * Invariant: however the program ends, the terminal is as it was found.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/os.h"

static struct termios term_before;
static volatile sig_atomic_t term_fd = -1; /* the terminal in raw mode; -1 if none */
static volatile int *signal_count;

static void stop_handler(int sig) {
    (void)sig;
    if (os_stopped(signal_count)) {
        if (term_fd >= 0) {
            tcsetattr(term_fd, TCSANOW, &term_before);
        }
        _exit(130);
    }
    __atomic_store_n(signal_count, 1, __ATOMIC_RELAXED);
}

void os_signals_catch(volatile int *count) {
    signal_count = count;
    /* A terminal that goes away, and Ctrl-\, end the program as Ctrl-C does: with what there is,
     * written down. Whoever runs it under nohup ignores the first. */
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    enum { N = sizeof ends / sizeof *ends };
    struct sigaction sa = {.sa_handler = stop_handler}, old; /* no SA_RESTART: reads must end */
    sigemptyset(&sa.sa_mask);
    for (int i = 0; i < N; i++) {
        sigaddset(&sa.sa_mask, ends[i]);
    }
    for (int i = 0; i < N; i++) {
        if (ends[i] != SIGHUP || sigaction(SIGHUP, NULL, &old) != 0 || old.sa_handler != SIG_IGN) {
            sigaction(ends[i], &sa, NULL);
        }
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

bool os_is_terminal(int fd) {
    return isatty(fd) == 1;
}

int os_terminal_width(int fd) {
    struct winsize w = {0};
    return ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
}

enum err_code os_terminal_raw(int fd, struct err *e) {
    if (term_fd >= 0) {
        return ERR_OK;
    }
    if (tcgetattr(fd, &term_before) != 0) {
        return err_set(e, ERR_IO, "cannot read the terminal's settings: %s", strerror(errno));
    }
    struct termios raw = term_before;
    raw.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN | ISIG);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(fd, TCSADRAIN, &raw) != 0) {
        return err_set(e, ERR_IO, "cannot set the terminal: %s", strerror(errno));
    }
    term_fd = fd;
    return ERR_OK;
}

void os_terminal_restore(int fd) {
    if (fd == term_fd) {
        tcsetattr(fd, TCSADRAIN, &term_before);
        term_fd = -1;
    }
}
