/* SPDX-License-Identifier: BSD-3-Clause */
/* Moves a database out of the way. */
#pragma once

/* Renames the database at `path`, and what SQLite keeps beside it, to PATH.WORD-TIME: never over a
 * file that exists, and nothing is deleted.  0 and the new name, which the caller frees, or -errno.
 */
int set_aside_database(const char *path, const char *word, char **ret_new_path);
