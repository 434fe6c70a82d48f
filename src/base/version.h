/* SPDX-License-Identifier: BSD-3-Clause */
/* The version of this program.  Makefile.am writes version.c, with what tools/version prints. */
#pragma once

/* As 0.1.0, or 0.1.0+git20261127T081633.8fafd2c: letters, digits, '.', '+'. */
extern const char flagsse_version[];
