/* SPDX-License-Identifier: BSD-3-Clause */
/* The stream on JetStream: found, compared with what it should be, or made. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "bus/nats/nats-internal.h"

#define NS_PER_S INT64_C(1000000000)

/* The stream, as Flagsmith's own service makes it. */
#define STREAM_MAX_AGE_NS    (3600 * NS_PER_S)
#define STREAM_DUPLICATES_NS (120 * NS_PER_S)

/* A stream that is gone may still be about to be removed: nats-server 2.9 answers that there is
 * none before it removes the directory, and takes that of a new one away with it.  What that then
 * acknowledges is in no file. */
#define REMOVAL_MS 300

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

static void compare_subjects(struct nats_bus *bus, const jsStreamConfig *config)
{
	if (config->SubjectsLen == 1 && strcmp(config->Subjects[0], NATS_SUBJECTS) == 0)
		return;
	bus->standard_shape = false;
	if (!bus->shape_warned)
		log_warning("The stream " NATS_STREAM
			    " on NATS has %d subject%s, the first %s, not "
			    "just %s. It is left as it is.",
			config->SubjectsLen, text_s((size_t)config->SubjectsLen),
			config->SubjectsLen > 0 ? config->Subjects[0] : "none", NATS_SUBJECTS);
}

/* Warns where it is not as we would have made it. */
static void check_shape(struct nats_bus *bus, const jsStreamConfig *config)
{
	/* In the order of nats.c's values. */
	static const char *const retentions[] = {"limits", "interest", "workqueue"};
	static const char *const discards[] = {"old", "new"};
	static const char *const storages[] = {"file", "memory"};
	const struct shape settings[] = {
		{"retention", config->Retention, js_LimitsPolicy, retentions},
		{"discard policy", config->Discard, js_DiscardOld, discards},
		{"storage", config->Storage, js_FileStorage, storages},
		{"replicas", config->Replicas, bus->replicas, NULL},
		{"max messages per subject", config->MaxMsgsPerSubject, 1, NULL},
		{"max messages", config->MaxMsgs, -1, NULL},
		{"max bytes", config->MaxBytes, -1, NULL},
		{"max age in s", config->MaxAge / NS_PER_S, STREAM_MAX_AGE_NS / NS_PER_S, NULL},
		{"duplicate window in s", config->Duplicates / NS_PER_S,
			STREAM_DUPLICATES_NS / NS_PER_S, NULL},
	};

	bus->standard_shape = true;
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		compare_setting(bus, &settings[i]);
	compare_subjects(bus, config);
	bus->shape_warned = true;
}

natsStatus nats_stream_ask(struct nats_bus *bus, jsStreamInfo **ret_info, jsErrCode *ret_error)
{
	struct nats_request request;

	nats_request_begin(&request, bus);
	return nats_request_end(&request, js_GetStreamInfo(ret_info, bus->jetstream, NATS_STREAM,
						  &request.options, ret_error));
}

void nats_stream_note_acks(struct nats_bus *bus, const jsStreamConfig *config)
{
	if (config->NoAck == bus->no_acks)
		return;
	bus->no_acks = config->NoAck;
	bus_post_text(bus->inbox, BUS_FAULT, "%s",
		config->NoAck ? "The stream " NATS_STREAM
				" on NATS has no_ack set: it does not say what it has stored. "
				"Set it to false, or delete the stream."
			      : "");
}

static bool create_stream(struct nats_bus *bus)
{
	const char *subjects[] = {NATS_SUBJECTS};
	struct nats_request request;
	jsStreamConfig config;
	jsStreamInfo *info = NULL;
	jsErrCode error = 0;
	natsStatus s;

	jsStreamConfig_Init(&config);
	config.Name = NATS_STREAM;
	config.Subjects = subjects;
	config.SubjectsLen = 1;
	config.Retention = js_LimitsPolicy;
	config.Discard = js_DiscardOld;
	config.Storage = js_FileStorage;
	config.Replicas = bus->replicas;
	config.MaxMsgsPerSubject = 1;
	config.MaxAge = STREAM_MAX_AGE_NS;
	config.Duplicates = STREAM_DUPLICATES_NS;
	nats_request_begin(&request, bus);
	s = nats_request_end(
		&request, js_AddStream(&info, bus->jetstream, &config, &request.options, &error));
	/* Another node may have been faster. */
	if (s != NATS_OK && error != JSStreamNameExistErr)
		return nats_session_fail(bus, "making the stream " NATS_STREAM, s, error);
	if (s == NATS_OK)
		log_notice("Made the stream " NATS_STREAM " on NATS, with %d replica%s.",
			bus->replicas, text_s((size_t)bus->replicas));
	jsStreamInfo_Destroy(info);
	return true;
}

/* Whether the subjects of environments go into this stream.  If not, an update would go nowhere. */
static bool stream_fits(const jsStreamConfig *config)
{
	static const char *const fitting[] = {
		NATS_SUBJECT_PREFIX ">", NATS_SUBJECT_PREFIX "*", "flagsmith.>", ">"};

	for (int i = 0; i < config->SubjectsLen; i++)
		for (size_t k = 0; k < sizeof(fitting) / sizeof(fitting[0]); k++)
			if (strcmp(config->Subjects[i], fitting[k]) == 0)
				return true;
	return false;
}

bool nats_stream_open(struct nats_bus *bus)
{
	jsStreamInfo *info = NULL;
	jsErrCode error = 0;
	natsStatus s;
	bool fits;

	s = nats_stream_ask(bus, &info, &error);
	if (s == NATS_NOT_FOUND || error == JSStreamNotFoundErr) {
		if (bus->stream_created != 0)
			nats_Sleep(REMOVAL_MS);
		if (!create_stream(bus))
			return false;
		s = nats_stream_ask(bus, &info, &error);
	}
	if (s != NATS_OK)
		return nats_session_fail(bus, "asking for the stream " NATS_STREAM, s, error);
	check_shape(bus, info->Config);
	nats_stream_note_acks(bus, info->Config);
	bus->n_messages = info->State.Msgs;
	bus->stream_created = info->Created;
	fits = stream_fits(info->Config);
	jsStreamInfo_Destroy(info);
	if (!fits)
		nats_session_end(bus, "the stream " NATS_STREAM
				      " on NATS is not for the subjects " NATS_SUBJECT_PREFIX
				      ">. Add them to it, or delete it.");
	return fits;
}
