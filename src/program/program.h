/* SPDX-License-Identifier: BSD-3-Clause */
/* The program: its options and exit codes. */
#pragma once

/* All of main(): an exit code of sysexits.h(3head): EX_USAGE for wrong options, EX_CONFIG for a
 * configuration that cannot be used. */
int program_run(int argc, char *argv[]);
