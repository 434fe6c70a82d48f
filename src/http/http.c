/* SPDX-License-Identifier: BSD-3-Clause */
/* The HTTP side as its owner sees it: accepts, and lets an adapter make exchanges of what comes. */
#include "http/http.h"

#include <errno.h>
#include <stdlib.h>

#include "http/http-internal.h"
#include "http/mhd.h"

/* ---- Accepting ---- */

static bool has_room(void *userdata)
{
	const struct http *http = userdata;

	return mhd_has_room(http->mhd);
}

static int take(int fd, const struct origin *origin, void *userdata)
{
	struct http *http = userdata;

	metrics_add(&http->metrics, COUNT_HTTP_ACCEPTED, 1);
	return mhd_take(http->mhd, fd, origin);
}

void http_update_room(struct http *http)
{
	mhd_make_room(http->mhd);
	listeners_update(http->listeners);
}

static void after_accepting(void *userdata)
{
	struct http *http = userdata;

	mhd_kick(http->mhd);
	http_update_room(http);
}

int http_add_listener(struct http *http, int fd)
{
	return listeners_add(http->listeners, fd);
}

void http_accept_rest(struct http *http)
{
	listeners_accept_rest(http->listeners, http->settings.max_connections);
	mhd_kick(http->mhd);
}

/* ---- The whole ---- */

int http_new(sd_event *event, const struct http_settings *settings,
	const struct http_operations *operations, void *userdata, struct http **ret)
{
	static const struct listeners_operations accepting = {has_room, take, after_accepting};
	_cleanup_(http_freep) struct http *http = calloc(1, sizeof(*http));
	int r;

	if (!http)
		return -ENOMEM;
	http->settings = *settings;
	http->operations = *operations;
	http->userdata = userdata;
	r = farewells_init(&http->farewells, event);
	if (r >= 0)
		r = mhd_new(http, event, &http->mhd);
	if (r >= 0)
		r = listeners_new(event, &accepting, http, &http->listeners);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(http);
	return 0;
}

void http_configure(struct http *http, const struct http_settings *settings)
{
	struct http_settings before = http->settings;

	http->settings = *settings;
	mhd_configure(http->mhd, &before);
	http_update_room(http);
}

struct http *http_free(struct http *http)
{
	if (!http)
		return NULL;
	mhd_free(http->mhd);
	listeners_free(http->listeners);
	farewells_deinit(&http->farewells);
	free(http);
	return NULL;
}

void http_stop_accepting(struct http *http)
{
	http->stopping = true;
	listeners_close(http->listeners);
	mhd_end_idle(http->mhd);
	farewells_release(&http->farewells);
}

unsigned http_connections(const struct http *http)
{
	return mhd_connections(http->mhd);
}

unsigned http_held(const struct http *http)
{
	return http->farewells.n_held;
}

const struct metrics *http_metrics(const struct http *http)
{
	return &http->metrics;
}

uint64_t http_requests(const struct http *http)
{
	return http->requests;
}

void http_count_response(struct http *http, unsigned status, int n)
{
	metrics_add(&http->metrics, COUNT_RESPONSES_2XX + status / 100 - 2, (uint64_t)n);
}

const char *http_library_version(void)
{
	return mhd_version();
}
