/* SPDX-License-Identifier: BSD-3-Clause */
/* Moves a database out of the way. */
#pragma once

/* Renames the database at `path`, and SQLite's files beside it, to PATH.WORD-TIME.  Never
 * overwrites or deletes a file.  0 and the new name, which the caller frees, or -errno.
 */
int set_aside_database(const char *path, const char *word, char **ret_new_path);
