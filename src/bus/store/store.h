/* SPDX-License-Identifier: BSD-3-Clause */
/* The store: updates, durable, in SQLite in the state directory, in two tables with one row an
 * environment.  Used by one thread at a time (see thread.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "update/update.h"

struct store;

enum store_table {
	STORE_UPDATES, /* the latest of each environment: all that the local bus has */
	STORE_OUTBOX,  /* what NATS has not got yet; update->stored_us is when it was accepted */
	N_STORE_TABLES,
};

/* Opens or creates DIRECTORY/flagsse.db, and the directory itself if its parent exists, for this
 * process alone.  A file of an older format is brought up to date.  A file that is corrupt, or was
 * written by a newer version, is renamed (never deleted), as *ret_problem says then, and a new one
 * is begun. 0; -EBUSY: another process has it; else -errno.  *ret_problem (if not NULL) gets a text
 * for the log that names the file; the caller frees it. */
int store_open(const char *directory, struct store **ret, char **ret_problem);
/* Whether store_open() would succeed once the process `owner` has ended (0: there is none), as far
 * as that can be told without locking or changing anything; not to be called in a process that has
 * the store open, which would lose its locks.  0 or -errno.  *ret_problem as above; with 0 it says
 * that the file would be set aside. */
int store_check(const char *directory, pid_t owner, char **ret_problem);

struct store *store_free(struct store *store); /* takes NULL; returns NULL */
DEFINE_CLEANUP(struct store *, store_free)

/* Whether what is committed will be found by the next process. */
enum store_place {
	STORE_IN_PLACE,
	STORE_WITHOUT_LOG, /* the write-ahead log has been deleted or replaced: call
			      store_flush_log(), and open the store again */
	STORE_ASTRAY,      /* likewise the file itself, or its directory: call store_move() */
};

/* Looks whether the files are still in place: SQLite goes on writing into files that somebody has
 * deleted.  Costs two calls of stat(2).  *ret_text: what is wrong, for the log. */
enum store_place store_find(struct store *store, char *ret_text, size_t size);

/* Writes into the file what only the log has, durably.  0 or -errno. */
int store_flush_log(struct store *store);

/* Opens as store_open() does, and copies all that the store `from` has, which went astray and stays
 * the caller's.  A file that has taken its place is renamed, unless another process has it open
 * (-EBUSY). */
int store_move(struct store *from, const char *directory, struct store **ret, char **ret_problem);

/* Failures of all calls below: -ENOSPC: no space left; -EROFS: read-only; -EBADMSG: the file is
 * corrupt; -ENOMEM; for anything else -EIO. */

/* A transaction: what is put between the two is durable when store_commit() has returned 0, and
 * gone when it has failed. */
int store_begin(struct store *store);
int store_commit(struct store *store);

/* Undoes the transaction, also after a failure of store_commit() or of a call below.  It may make
 * space, so that -ENOSPC is worth a second try. */
void store_rollback(struct store *store);

/* The update of `key`.  1 and *ret; 0: none; -errno. */
int store_get(
	struct store *store, enum store_table table, const struct key *key, struct update *ret);

/* Puts the update in place of the environment's former one.  update->sequence is the table's own:
 * one more than the largest ever given; it is set here.  0 or -errno. */
int store_put(struct store *store, enum store_table table, struct update *update);

/* Deletes the update, unless it is gone or another of its environment has replaced it.  The number
 * of rows, or -errno. */
int store_delete(struct store *store, enum store_table table, const struct update *update);

/* Deletes from STORE_UPDATES what was stored before `stored_us`.  The number of rows, or -errno. */
int store_expire(struct store *store, int64_t stored_us);

/* Calls `visit` for each update, in the order of their sequences.  0 or -errno. */
int store_each(struct store *store, enum store_table table,
	void (*visit)(const struct update *update, void *userdata), void *userdata);

/* Whether the store can be written: writes a page durably, which changes nothing.  Not within a
 * transaction. 0 or -errno. */
int store_test(struct store *store);

/* What SQLite said of the last failure; valid until the next one. */
const char *store_problem(struct store *store);

/* The library's version, for --version. */
const char *store_library_version(void);
