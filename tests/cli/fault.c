/* fault.c: runs a program and fails one of its system calls, or kills it there.
 *
 *     fault PROGRAM ARGS...                     lists "NAME COUNT" of the calls it makes on FD 9
 *     fault -NAME=N:ERRNO PROGRAM ARGS...       the N-th call of NAME fails instead of being made;
 *                                               N 0: each of them; ERRNO 0: the program is killed
 *
 * The program is traced (ptrace) with all its threads; a child of its own runs untouched. Counting
 * begins when main has begun, which asks in its first line whether descriptor 1 is a terminal (an
 * ioctl with TCGETS): what the loader did before is not the program's. Calls of all threads are
 * counted together. Only the calls of the table are failed, and only as they can be: not exit, not
 * brk (it tells of failure by another way), and of futex not the waking. Exit status: the
 * program's, 128 + N for signal N, 90 if it never came to the N-th call, 77 where tracing is not
 * possible.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#if defined(__x86_64__)

#include <asm/ioctls.h>

enum { SKIPPED = 77, NEVER = 90, CALL_MAX = 512, TASK_MAX = 256 };

static const struct {
    const char *name;
    long nr;
} calls[] = {
#define CALL(name)                                                                                 \
    { #name, SYS_##name }
    CALL(access),
    CALL(chmod),
    CALL(clock_nanosleep),
    CALL(clone3),
    CALL(close),
    CALL(dup),
    CALL(dup2),
    CALL(fadvise64),
    CALL(fchmod),
    CALL(fchown),
    CALL(fcntl),
    CALL(fdatasync),
    CALL(flock),
    CALL(fstat),
    CALL(fstatfs),
    CALL(fsync),
    CALL(ftruncate),
    CALL(futex),
    CALL(getcwd),
    CALL(getdents64),
    CALL(getrandom),
    CALL(getrusage),
    CALL(ioctl),
    CALL(ioprio_set),
    CALL(linkat),
    CALL(lseek),
    CALL(madvise),
    CALL(mkdir),
    CALL(mlock),
    CALL(mmap),
    CALL(mprotect),
    CALL(mremap),
    CALL(munmap),
    CALL(newfstatat),
    CALL(open),
    CALL(openat),
    CALL(pipe2),
    CALL(poll),
    CALL(prctl),
    CALL(pread64),
    CALL(prlimit64),
    CALL(pselect6),
    CALL(pwrite64),
    CALL(read),
    CALL(readlink),
    CALL(rename),
    CALL(rmdir),
    CALL(rt_sigaction),
    CALL(rt_sigprocmask),
    CALL(sched_getaffinity),
    CALL(sched_setaffinity),
    CALL(sched_setscheduler),
    CALL(set_robust_list),
    CALL(setpriority),
    CALL(stat),
    CALL(statfs),
    CALL(sysinfo),
    CALL(umask),
    CALL(uname),
    CALL(unlink),
    CALL(vfork),
    CALL(wait4),
    CALL(write),
#undef CALL
};

static struct {
    pid_t id;
    bool inside; /* between a call's entry and its exit */
    bool failed; /* and the call is to fail */
} task[TASK_MAX];

static long count[CALL_MAX]; /* by number, since main has begun */
static bool begun;
static long fail_nr = -1, fail_at, fail_errno;
static bool fail_done;

static int task_of(pid_t id) {
    int free = -1;
    for (int i = 0; i < TASK_MAX; i++) {
        if (task[i].id == id) {
            return i;
        }
        free = free < 0 && task[i].id == 0 ? i : free;
    }
    if (free < 0) {
        fprintf(stderr, "fault: too many threads\n");
        exit(1);
    }
    task[free].id = id;
    task[free].inside = task[free].failed = false;
    return free;
}

/* At a call's entry or exit. */
static void on_call(int t) {
    struct user_regs_struct r;
    if (ptrace(PTRACE_GETREGS, task[t].id, NULL, &r) != 0) {
        return;
    }
    long nr = (long)r.orig_rax;
    task[t].inside = !task[t].inside;
    if (!task[t].inside) {
        if (task[t].failed) {
            r.rax = (unsigned long long)-fail_errno;
            ptrace(PTRACE_SETREGS, task[t].id, NULL, &r);
            task[t].failed = false;
        }
        return;
    }
    begun = begun || (nr == SYS_ioctl && r.rdi == 1 && r.rsi == TCGETS);
    bool wakes = nr == SYS_futex && (r.rsi & FUTEX_CMD_MASK) != FUTEX_WAIT &&
                 (r.rsi & FUTEX_CMD_MASK) != FUTEX_WAIT_BITSET;
    if (!begun || nr < 0 || nr >= CALL_MAX || wakes) {
        return;
    }
    count[nr]++;
    if (nr == fail_nr && (count[nr] == fail_at || fail_at == 0)) {
        fail_done = true;
        if (fail_errno == 0) {
            kill(task[t].id, SIGKILL);
            return;
        }
        r.orig_rax = (unsigned long long)-1; /* no such call: the system does nothing */
        ptrace(PTRACE_SETREGS, task[t].id, NULL, &r);
        task[t].failed = true;
    }
}

/* Until the program has ended; its exit status. */
static int trace(pid_t program) {
    for (;;) {
        int status, deliver = 0;
        pid_t id = waitpid(-1, &status, __WALL);
        if (id < 0) {
            return 1;
        }
        int t = task_of(id);
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            task[t].id = 0;
            if (id == program) {
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            }
            continue;
        }
        int sig = WSTOPSIG(status);
        if (sig == (SIGTRAP | 0x80)) {
            on_call(t);
        } else if (status >> 16 == 0 && sig != SIGSTOP) {
            deliver = sig; /* neither an event nor a new thread's first stop */
        }
        ptrace(PTRACE_SYSCALL, id, NULL, (void *)(long)deliver);
    }
}

/* "-NAME=N:ERRNO" */
static bool parse(const char *text) {
    char name[32];
    if (sscanf(text, "-%31[a-z0-9_]=%ld:%ld", name, &fail_at, &fail_errno) != 3) {
        return false;
    }
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(calls[i].name, name) == 0) {
            fail_nr = calls[i].nr;
        }
    }
    return fail_nr >= 0;
}

static void list(void) {
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (count[calls[i].nr] > 0) {
            dprintf(9, "%s %ld\n", calls[i].name, count[calls[i].nr]);
        }
    }
    for (long nr = 0; nr < CALL_MAX; nr++) {
        bool known = count[nr] == 0;
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
            known = known || calls[i].nr == nr;
        }
        if (!known) {
            dprintf(9, "other-%ld %ld\n", nr, count[nr]);
        }
    }
}

int main(int argc, char **argv) {
    int first = argc > 1 && argv[1][0] == '-' ? 2 : 1, status;
    if (argc <= first || (first == 2 && !parse(argv[1]))) {
        fprintf(stderr, "fault: usage: fault [-NAME=N:ERRNO] PROGRAM ARGS...\n");
        return 2;
    }
    pid_t program = fork();
    if (program == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(SKIPPED);
        }
        raise(SIGSTOP);
        execv(argv[first], argv + first);
        _exit(127);
    }
    if (program < 0 || waitpid(program, &status, 0) < 0 || !WIFSTOPPED(status)) {
        return SKIPPED;
    }
    long options =
        PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC;
    if (ptrace(PTRACE_SETOPTIONS, program, NULL, (void *)options) != 0) {
        return SKIPPED;
    }
    ptrace(PTRACE_SYSCALL, program, NULL, NULL);
    int code = trace(program);
    if (first == 1) {
        list();
        return code;
    }
    return fail_done ? code : NEVER;
}

#else

int main(void) {
    return 77; /* this processor's way of changing a call is not written down here */
}

#endif
