/* bench.h: the rates of the micro-kernels, beside this machine's ceilings.
 * One invariant: ceilings and kernels are measured in the same run, on one thread.
 */
#ifndef IGN_TESTS_KERN_BENCH_H
#define IGN_TESTS_KERN_BENCH_H

/* Prints a table for every level that the processor has; only rows whose name contains `function`,
 * if it is not NULL. */
void bench_all(const char *function);

#endif
