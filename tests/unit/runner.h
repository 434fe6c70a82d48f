/* SPDX-License-Identifier: BSD-3-Clause */
/* What every unit test has in common: its main(), in runner.c, which runs the program's suite and
 * fails if a test does.  Check's variables pick tests and change how they run, such as CK_RUN_CASE,
 * CK_EXCLUDE_TAGS and CK_FORK. */
#pragma once

#include <check.h>

/* Each program has one: its suite, with all its cases.  The runner frees it. */
Suite *test_suite(void);
