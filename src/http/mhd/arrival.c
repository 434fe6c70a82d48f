/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections from accept(2) until libmicrohttpd reports them: before 1.0 it does so within
 * MHD_add_connection(), since 1.0 later.  This keeps what is known of them until then. */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "http/mhd/mhd-internal.h"

static struct connection *connection_new(struct mhd *mhd, int fd, const struct origin *origin)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (!connection)
		return NULL;
	connection->mhd = mhd;
	connection->fd = fd;
	connection->origin = *origin;
	TAILQ_INSERT_TAIL(&mhd->arriving, connection, link);
	mhd->n_arriving++;
	return connection;
}

struct connection *arrival_take(struct mhd *mhd, int fd)
{
	struct connection *connection;

	/* Mostly it is the first: there are no others yet, or they come in order. */
	TAILQ_FOREACH (connection, &mhd->arriving, link)
		if (connection->fd == fd)
			break;
	if (connection) {
		TAILQ_REMOVE(&mhd->arriving, connection, link);
		mhd->n_arriving--;
	}
	return connection;
}

int mhd_take(struct mhd *mhd, int fd, const struct origin *origin)
{
	int error;

	if (!connection_new(mhd, fd, origin)) {
		log_error("Out of memory: a new connection cannot be served.");
		close(fd);
		return 0;
	}
	/* It closes the descriptor if it fails. */
	if (MHD_add_connection(mhd->daemon, fd, (const struct sockaddr *)&origin->peer.address,
		    origin->peer.length) == MHD_YES)
		return 0;
	error = errno;
	free(arrival_take(mhd, fd));
	return error > 0 ? -error : -EIO;
}

void arrivals_init(struct mhd *mhd)
{
	TAILQ_INIT(&mhd->arriving);
}

void arrivals_forget(struct mhd *mhd)
{
	struct connection *connection;

	while ((connection = TAILQ_FIRST(&mhd->arriving)))
		free(arrival_take(mhd, connection->fd));
}
