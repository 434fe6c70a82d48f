/* SPDX-License-Identifier: BSD-3-Clause */
/* uthash, with running out of memory as an error to be handled: after HASH_ADD_KEYPTR(hh, ...) an
 * element whose hh.tbl is NULL has not been added. */
#pragma once

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
