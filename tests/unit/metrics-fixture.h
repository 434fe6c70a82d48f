/* SPDX-License-Identifier: BSD-3-Clause */
/* The text of the metrics, for tests of it. */
#pragma once

#include "base/metrics.h"

/* What metrics_write() makes of these; to be freed. */
char *write_all(const struct metrics *total, metrics_read *read, const void *userdata);

void assert_has(const char *text, const char *part);
