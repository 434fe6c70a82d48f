/* SPDX-License-Identifier: BSD-3-Clause */
/* Strict JSON (RFC 8259), by json-c, for what is small and comes from others.  Any thread. */
#pragma once

#include <json-c/json.h>
#include <stddef.h>

/* 0 and *ret, which has to be freed with json_object_put(); -EBADMSG: not JSON, or no more than
 * "null"; -ENOMEM.  In strings, bytes that are not ASCII are each a '?' in *ret. */
int json_parse(const char *text, size_t length, json_object **ret);
