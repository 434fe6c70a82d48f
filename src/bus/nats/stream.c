/* SPDX-License-Identifier: BSD-3-Clause */
/* The stream on JetStream: finds it and compares it with what it should be, or makes it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "bus/nats/nats-internal.h"

#define NS_PER_S INT64_C(1000000000)

/* A stream that is gone may still be about to be removed: nats-server 2.9 answers that there is
 * none before it removes the directory, and takes that of a new one away with it.  What that then
 * acknowledges is in no file. */
#define REMOVAL_US 300000

/* One setting of the stream, and what we would have set. */
struct shape {
	const char *what;
	int64_t is, expected;
	const char *const *words; /* for the values; NULL: numbers */
};

static void format_value(const struct shape *shape, int64_t value, char *text, size_t size)
{
	if (shape->words)
		snprintf(text, size, "%s", shape->words[value]);
	else
		snprintf(text, size, "%" PRId64, value);
}

static void compare_setting(struct nats_bus *bus, const struct shape *shape)
{
	char is[32], expected[32];

	if (shape->is == shape->expected)
		return;
	bus->standard_shape = false;
	if (bus->shape_warned)
		return;
	format_value(shape, shape->is, is, sizeof(is));
	format_value(shape, shape->expected, expected, sizeof(expected));
	log_warning("The stream " NATS_STREAM " on NATS has %s %s, not %s. It is left as it is.",
		shape->what, is, expected);
}

static void compare_subjects(struct nats_bus *bus, const struct nats_stream_settings *settings)
{
	if (settings->n_subjects == 1 && strcmp(settings->subjects[0], NATS_SUBJECTS) == 0)
		return;
	bus->standard_shape = false;
	if (!bus->shape_warned)
		log_warning("The stream " NATS_STREAM
			    " on NATS has %d subject%s, the first %s, not "
			    "just %s. It is left as it is.",
			settings->n_subjects, text_s((size_t)settings->n_subjects),
			settings->n_subjects > 0 ? settings->subjects[0] : "none", NATS_SUBJECTS);
}

/* The stream, as Flagsmith's own service makes it. */
static struct nats_stream_settings our_settings(const struct nats_bus *bus)
{
	static const char *subjects[] = {NATS_SUBJECTS};

	return (struct nats_stream_settings){
		.subjects = subjects,
		.n_subjects = 1,
		.retention = NATS_RETENTION_LIMITS,
		.discard = NATS_DISCARD_OLD,
		.storage = NATS_STORAGE_FILE,
		.replicas = bus->replicas,
		.max_messages_per_subject = 1,
		.max_messages = -1,
		.max_bytes = -1,
		.max_age_ns = 3600 * NS_PER_S,
		.duplicates_ns = 120 * NS_PER_S,
	};
}

/* Warns where it is not as we would have made it. */
static void check_shape(struct nats_bus *bus, const struct nats_stream_settings *is)
{
	/* In the order of the enumerations. */
	static const char *const retentions[] = {"limits", "interest", "workqueue"};
	static const char *const discards[] = {"old", "new"};
	static const char *const storages[] = {"file", "memory"};
	const struct nats_stream_settings ours = our_settings(bus);
	const struct shape settings[] = {
		{"retention", is->retention, ours.retention, retentions},
		{"discard policy", is->discard, ours.discard, discards},
		{"storage", is->storage, ours.storage, storages},
		{"replicas", is->replicas, ours.replicas, NULL},
		{"max messages per subject", is->max_messages_per_subject,
			ours.max_messages_per_subject, NULL},
		{"max messages", is->max_messages, ours.max_messages, NULL},
		{"max bytes", is->max_bytes, ours.max_bytes, NULL},
		{"max age in s", is->max_age_ns / NS_PER_S, ours.max_age_ns / NS_PER_S, NULL},
		{"duplicate window in s", is->duplicates_ns / NS_PER_S,
			ours.duplicates_ns / NS_PER_S, NULL},
	};

	bus->standard_shape = true;
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		compare_setting(bus, &settings[i]);
	compare_subjects(bus, is);
	bus->shape_warned = true;
}

int nats_stream_ask(struct nats_bus *bus, struct nats_stream *ret, struct nats_error *ret_error)
{
	struct nats_request request;

	nats_request_begin(&request, bus);
	return nats_request_end(&request,
		nats_wire_get_stream(bus->wire, NATS_STREAM, request.wait_ms, ret, ret_error));
}

void nats_stream_note_acks(struct nats_bus *bus, bool no_ack)
{
	if (no_ack == bus->no_acks)
		return;
	bus->no_acks = no_ack;
	bus_post_text(bus->inbox, BUS_FAULT, "%s",
		no_ack ? "The stream " NATS_STREAM
			 " on NATS has no_ack set: it does not say what it has stored. "
			 "Set it to false, or delete the stream."
		       : "");
}

static bool create_stream(struct nats_bus *bus)
{
	const struct nats_stream_settings settings = our_settings(bus);
	struct nats_request request;
	struct nats_error error;
	int r;

	nats_request_begin(&request, bus);
	r = nats_request_end(&request,
		nats_wire_make_stream(bus->wire, NATS_STREAM, request.wait_ms, &settings, &error));
	/* Another node may have been faster. */
	if (r < 0 && r != -EEXIST)
		return nats_session_fail(bus, "making the stream " NATS_STREAM, &error);
	if (r == 0)
		log_notice("Made the stream " NATS_STREAM " on NATS, with %d replica%s.",
			bus->replicas, text_s((size_t)bus->replicas));
	return true;
}

/* Whether the subjects of environments go into this stream.  If not, an update would go nowhere. */
static bool stream_fits(const struct nats_stream_settings *settings)
{
	static const char *const fitting[] = {
		NATS_SUBJECT_PREFIX ">", NATS_SUBJECT_PREFIX "*", "flagsmith.>", ">"};

	for (int i = 0; i < settings->n_subjects; i++)
		for (size_t k = 0; k < sizeof(fitting) / sizeof(fitting[0]); k++)
			if (strcmp(settings->subjects[i], fitting[k]) == 0)
				return true;
	return false;
}

bool nats_stream_open(struct nats_bus *bus)
{
	_cleanup_(nats_stream_deinit) struct nats_stream stream = {0};
	struct nats_error error;
	int r;

	r = nats_stream_ask(bus, &stream, &error);
	if (r == -ENOENT) {
		if (bus->stream_created_ns != 0)
			usleep(REMOVAL_US);
		if (!create_stream(bus))
			return false;
		r = nats_stream_ask(bus, &stream, &error);
	}
	if (r < 0)
		return nats_session_fail(bus, "asking for the stream " NATS_STREAM, &error);
	check_shape(bus, &stream.settings);
	nats_stream_note_acks(bus, stream.settings.no_ack);
	bus->n_messages = stream.n_messages;
	bus->stream_created_ns = stream.created_ns;
	if (stream_fits(&stream.settings))
		return true;
	nats_session_end(bus,
		"the stream " NATS_STREAM " on NATS is not for the subjects " NATS_SUBJECT_PREFIX
		">. Add them to it, or delete it.");
	return false;
}
