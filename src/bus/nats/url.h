/* SPDX-License-Identifier: BSD-3-Clause */
/* Takes the URL of a NATS server apart.  No I/O. */
#pragma once

#include "base/cleanup.h"

/* nats.c decodes the user information of a URL in some versions and not in others, so it never sees
 * any: it is decoded here. */
struct nats_url {
	char *address;  /* the URL without it */
	char *user;     /* NULL: none; without a password it is a token */
	char *password; /* NULL: none */
};

/* Takes apart a URL that the configuration has let pass.  "%40" stands for '@'; a '%' that no two
 * hexadecimal digits follow, or that would be a NUL, stands for itself.  0, or -ENOMEM. */
int nats_url_parse(const char *text, struct nats_url *ret);

/* Wipes and frees it. */
void nats_url_deinit(struct nats_url *url);

/* The part of the URL that may be shown: its host and port. */
const char *nats_server_name(const char *url);
