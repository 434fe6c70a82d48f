/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether a process could start with this configuration. */
#include "restart/preflight.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "bus/store/store.h"
#include "net/listen.h"
#include "restart/next-check.h"

static int check_addresses(const struct config *config, const char *own)
{
	_cleanup_(freep) char *problem = NULL;
	int r;

	if (strcmp(own, NEXT_SYSTEMD) == 0)
		return 0;
	r = listen_try(config->http_listen, own, &problem);
	if (r < 0)
		log_error("%s", problem ? problem : strerror(-r));
	return r;
}

/* systemd makes it the service's again, with all that is in it, before it starts the next process.
 */
static bool is_mended_by_systemd(const char *directory)
{
	return getenv("STATE_DIRECTORY") && access(directory, W_OK | X_OK) < 0 && errno == EACCES;
}

/* The outbox of the NATS bus is opened as often as it takes: that it cannot be stops no start. */
static int check_store(const struct config *config)
{
	_cleanup_(freep) char *problem = NULL;
	bool needed = config->bus_type != BUS_TYPE_NATS;
	int r;

	if (is_mended_by_systemd(config->state_dir))
		return 0;
	r = store_check(config->state_dir, getppid(), &problem);
	if (problem)
		log_at(r < 0 && needed ? LOG_ERR : LOG_WARNING, "The store: %s", problem);
	return needed ? r : 0;
}

int preflight(const struct config *config, const char *own)
{
	int r = check_addresses(config, own), r_store = check_store(config);

	return r < 0 ? r : r_store;
}
