/* SPDX-License-Identifier: BSD-3-Clause */
/* Strict JSON (RFC 8259), by json-c, for what is small and comes from others.  Any thread. */
#pragma once

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

/* 0 and *ret, which the caller frees with json_object_put(); -EBADMSG: not JSON, or just "null";
 * -ENOMEM.  In *ret, each byte of a string that is not ASCII is a '?'. */
int json_parse(const char *text, size_t length, json_object **ret);

/* The member with this name: as a text, which lives as long as the object (NULL: there is none); as
 * an integer (0: there is none). */
const char *json_text_of(json_object *object, const char *name);
int64_t json_number_of(json_object *object, const char *name);
