/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of src/http/ share.  Main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "http/exchange.h"
#include "http/http.h"
#include "net/farewell.h"

struct http {
	struct http_settings settings;
	struct http_operations operations;
	void *userdata;

	struct mhd *mhd;
	struct listeners *listeners;
	struct farewells farewells; /* what has left its adapter for its last answer */
	bool stopping;              /* http_stop_accepting() */

	struct metrics metrics; /* main counts */
	uint64_t requests;
	uint64_t unauthorized; /* publishes with a wrong token, or none */
};

/* For adapters: the number of places may have changed.  Makes room if it is scarce, and then
 * accepts new connections, or leaves them waiting in the kernel. */
void http_update_room(struct http *http);

/* Counts a response with this status, 2xx to 5xx; -1: it was counted, and is none after all. */
void http_count_response(struct http *http, unsigned status, int n);

/* The functions that answer, in src/http/resources/. */
#define READS(path, handle)               resource_handler handle;
#define SUBSCRIBES(path, handle)          resource_handler handle;
#define PUBLISHES(path, handle, body_max) resource_handler handle;
#include "http/routes.def"
