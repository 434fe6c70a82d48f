/* SPDX-License-Identifier: BSD-3-Clause */
/* A session with NATS: the connection, the stream, and a consumer that reads the last value of each
 * subject and all that follows.  A session is never mended: nats.c's own reconnecting is off, and
 * whatever is in doubt is made anew and read again, in this one way. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/nats-internal.h"
#include "clock.h"
#include "log.h"

/* The server is pinged so often; two unanswered end the connection. */
#define PING_INTERVAL_MS 2000
#define PINGS_OUT_MAX    2

/* A write that the server does not take in this time ends the connection. */
#define WRITE_DEADLINE_MS 500

/* The consumer shows itself so often; nats.c tells when two have been missed. */
#define HEARTBEAT_NS INT64_C(1000000000)

#define NS_PER_S INT64_C(1000000000)

/* The stream, as Flagsmith's own service makes it. */
#define STREAM_MAX_AGE_NS    (3600 * NS_PER_S)
#define STREAM_DUPLICATES_NS (120 * NS_PER_S)

static const char *const stream_subjects[] = {NATS_SUBJECT_PREFIX ">"};

static void begin_down(struct nats_bus *bus, const char *text)
{
	bus->up = false;
	bus_post_down(bus->inbox, "%s", text);
}

/* ---- Callbacks, in nats.c's threads ---- */

static void on_message(
	natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *closure)
{
	struct nats_bus *bus = closure;
	struct nats_mail *mail = nats_mail_new(NATS_MAIL_MESSAGE);
	jsMsgMetaData *meta = NULL;

	(void)connection;
	(void)subscription;
	mail->problem = nats_read_message(message, &mail->update);
	if (natsMsg_GetMetaData(&meta, message) == NATS_OK) {
		mail->update.sequence = meta->Sequence.Stream;
		mail->update.stored_us = meta->Timestamp / NS_PER_US;
		mail->number = meta->Sequence.Consumer;
		snprintf(mail->consumer, sizeof(mail->consumer), "%s", meta->Consumer);
	}
	/* Without, it counts as a gap: number 0 is never the next. */
	jsMsgMetaData_Destroy(meta);
	natsMsg_Destroy(message);
	mailbox_post(&bus->mailbox, &mail->mail);
}

static void post_about_connection(struct nats_bus *bus, natsConnection *connection,
	enum nats_mail_type type, const char *text)
{
	struct nats_mail *mail = nats_mail_new(type);

	mail->connection = connection;
	snprintf(mail->text, sizeof(mail->text), "%s", text);
	mailbox_post(&bus->mailbox, &mail->mail);
}

static void on_closed(natsConnection *connection, void *closure)
{
	post_about_connection(closure, connection, NATS_MAIL_CLOSED, "");
}

static void on_error(natsConnection *connection, natsSubscription *subscription, natsStatus status,
	void *closure)
{
	(void)subscription;
	post_about_connection(closure, connection, NATS_MAIL_DOUBT, natsStatus_GetText(status));
}

/* ---- The connection ---- */

static natsStatus set_options(struct nats_bus *bus, natsOptions *options)
{
	bool tls = false;
	natsStatus s;

	for (int i = 0; i < bus->n_servers; i++)
		tls = tls || strncmp(bus->servers[i], "tls://", 6) == 0;
	s = natsOptions_SetServers(options, (const char **)bus->servers, bus->n_servers);
	if (s == NATS_OK && tls)
		s = natsOptions_SetSecure(options, true);
	if (s == NATS_OK)
		s = natsOptions_SetName(options, "flagsse");
	if (s == NATS_OK)
		s = natsOptions_SetAllowReconnect(options, false);
	if (s == NATS_OK)
		s = natsOptions_SetTimeout(options, bus->connect_timeout_ms);
	if (s == NATS_OK)
		s = natsOptions_SetPingInterval(options, PING_INTERVAL_MS);
	if (s == NATS_OK)
		s = natsOptions_SetMaxPingsOut(options, PINGS_OUT_MAX);
	if (s == NATS_OK)
		s = natsOptions_SetWriteDeadline(options, WRITE_DEADLINE_MS);
	if (s == NATS_OK)
		s = natsOptions_SetClosedCB(options, on_closed, bus);
	if (s == NATS_OK)
		s = natsOptions_SetErrorHandler(options, on_error, bus);
	return s;
}

/* The servers without user and password. */
static void format_servers(const struct nats_bus *bus, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (int i = 0; i < bus->n_servers && used < size; i++) {
		const char *at = strrchr(bus->servers[i], '@'),
			   *host = strstr(bus->servers[i], "://");
		int n;

		host = at ? at + 1 : (host ? host + 3 : bus->servers[i]);
		n = snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "", host);
		used += n > 0 ? (size_t)n : 0;
	}
}

static bool connect_to_nats(struct nats_bus *bus)
{
	natsOptions *options = NULL;
	natsConnection *connection = NULL;
	natsStatus s;

	s = natsOptions_Create(&options);
	if (s == NATS_OK)
		s = set_options(bus, options);
	if (s == NATS_OK)
		s = natsConnection_Connect(&connection, options);
	natsOptions_Destroy(options);
	if (s != NATS_OK) {
		char servers[120], text[256];

		format_servers(bus, servers, sizeof(servers));
		snprintf(text, sizeof(text), "cannot connect to NATS at %s: %s.", servers,
			natsStatus_GetText(s));
		begin_down(bus, text);
		return false;
	}
	bus->connection = connection;
	return true;
}

static bool open_jetstream(struct nats_bus *bus)
{
	jsOptions options;

	jsOptions_Init(&options);
	options.Wait = NATS_REQUEST_TIMEOUT_MS;
	options.PublishAsync.MaxPending = INT32_MAX;
	options.PublishAsync.AckHandler = nats_publish_ack_handler;
	options.PublishAsync.AckHandlerClosure = bus;
	if (natsConnection_JetStream(&bus->jetstream, bus->connection, &options) != NATS_OK) {
		nats_session_end(bus, "out of memory for JetStream.");
		return false;
	}
	return true;
}

static void drop_consumer(struct nats_bus *bus)
{
	natsSubscription_Destroy(bus->subscription);
	bus->subscription = NULL;
	bus->consumer[0] = '\0';
}

/* nats.c leaves the unanswered messages to us.  Its list of them does not exist before the first
 * publish, which 3.4 does not check. */
static void drop_jetstream(struct nats_bus *bus)
{
	natsMsgList unanswered = {0};

	if (!bus->jetstream)
		return;
	if (bus->published && js_PublishAsyncGetPendingList(&unanswered, bus->jetstream) == NATS_OK)
		natsMsgList_Destroy(&unanswered);
	jsCtx_Destroy(bus->jetstream);
	bus->jetstream = NULL;
	bus->published = false;
}

void nats_session_end(struct nats_bus *bus, const char *why)
{
	natsConnection *connection = bus->connection;

	if (!connection)
		return;
	/* Not ours any more, so that what its closing posts is of no interest.  Closed first: then
	 * nothing below waits for a server that may hang. */
	bus->connection = NULL;
	natsConnection_Close(connection);
	drop_consumer(bus);
	drop_jetstream(bus);
	natsConnection_Destroy(connection);
	begin_down(bus, why);
	nats_publish_fail_all(bus, why);
	bus->next_attempt_ms = clock_monotonic_ms();
}

/* A request has failed: says why and what to do about it, and ends the session. */
static bool fail(struct nats_bus *bus, const char *what, natsStatus status, jsErrCode error)
{
	const char *reason = nats_GetLastError(NULL);
	char text[BUS_TEXT_SIZE], servers[80];

	format_servers(bus, servers, sizeof(servers));
	if (status == NATS_NO_RESPONDERS || error == JSNotEnabledErr ||
		error == JSNotEnabledForAccountErr)
		snprintf(text, sizeof(text),
			"NATS at %s has JetStream switched off. Add the line `jetstream {}` to "
			"nats-server's configuration and restart it, or start it with -js.",
			servers);
	else if (status == NATS_TIMEOUT)
		snprintf(text, sizeof(text),
			"JetStream at %s does not answer (%s). A cluster needs a majority.",
			servers, what);
	else
		snprintf(text, sizeof(text), "NATS at %s: %s failed: %s (JetStream's code %d).",
			servers, what, reason && *reason ? reason : natsStatus_GetText(status),
			(int)error);
	nats_session_end(bus, text);
	return false;
}

/* ---- The stream ---- */

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
	if (config->SubjectsLen == 1 && strcmp(config->Subjects[0], stream_subjects[0]) == 0)
		return;
	bus->standard_shape = false;
	if (!bus->shape_warned)
		log_warning("The stream " NATS_STREAM " on NATS has %d subjects, the first %s, not "
			    "just %s. It is left as it is.",
			config->SubjectsLen, config->SubjectsLen > 0 ? config->Subjects[0] : "none",
			stream_subjects[0]);
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

static bool create_stream(struct nats_bus *bus)
{
	const char *subjects[] = {stream_subjects[0]};
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
	s = js_AddStream(&info, bus->jetstream, &config, NULL, &error);
	/* Another node may have been faster. */
	if (s != NATS_OK && error != JSStreamNameExistErr)
		return fail(bus, "making the stream " NATS_STREAM, s, error);
	if (s == NATS_OK)
		log_notice("Made the stream " NATS_STREAM " on NATS, with %d replicas.",
			bus->replicas);
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

/* Finds the stream, or makes it. */
static bool open_stream(struct nats_bus *bus)
{
	jsStreamInfo *info = NULL;
	jsErrCode error = 0;
	natsStatus s;
	bool fits;

	s = js_GetStreamInfo(&info, bus->jetstream, NATS_STREAM, NULL, &error);
	if (s == NATS_NOT_FOUND || error == JSStreamNotFoundErr) {
		if (!create_stream(bus))
			return false;
		s = js_GetStreamInfo(&info, bus->jetstream, NATS_STREAM, NULL, &error);
	}
	if (s != NATS_OK)
		return fail(bus, "asking for the stream " NATS_STREAM, s, error);
	check_shape(bus, info->Config);
	bus->stream_created = info->Created;
	fits = stream_fits(info->Config);
	jsStreamInfo_Destroy(info);
	if (!fits)
		nats_session_end(bus, "the stream " NATS_STREAM
				      " on NATS is not for the subjects " NATS_SUBJECT_PREFIX
				      ">. Add them to it, or delete it.");
	return fits;
}

/* ---- The consumer ---- */

static bool open_consumer(struct nats_bus *bus)
{
	jsSubOptions options;
	jsConsumerInfo *info = NULL;
	jsErrCode error = 0;
	natsStatus s;

	jsSubOptions_Init(&options);
	options.Stream = NATS_STREAM;
	options.Config.DeliverPolicy = js_DeliverLastPerSubject;
	options.Config.AckPolicy = js_AckNone;
	options.Config.FlowControl = true;
	options.Config.Heartbeat = HEARTBEAT_NS;
	options.Config.MemoryStorage = true;
	options.Config.Replicas = 1;
	s = js_Subscribe(&bus->subscription, bus->jetstream, stream_subjects[0], on_message, bus,
		NULL, &options, &error);
	if (s == NATS_OK)
		s = natsSubscription_SetPendingLimits(bus->subscription, -1, -1);
	if (s == NATS_OK)
		s = natsSubscription_GetConsumerInfo(&info, bus->subscription, NULL, &error);
	if (s != NATS_OK)
		return fail(bus, "making a consumer", s, error);
	snprintf(bus->consumer, sizeof(bus->consumer), "%s", info->Name);
	bus->delivered = 0;
	bus->sync_until = info->Delivered.Consumer + info->NumPending;
	jsConsumerInfo_Destroy(info);
	return true;
}

static void end_sync_if_complete(struct nats_bus *bus)
{
	if (!bus->syncing || bus->delivered < bus->sync_until)
		return;
	bus->syncing = false;
	/* Up first: what the bus has lost is written back then. */
	if (!bus->up)
		bus_post_event(bus->inbox, BUS_UP);
	bus->up = true;
	bus_post_event(bus->inbox, BUS_SYNC_END);
}

bool nats_session_sync(struct nats_bus *bus)
{
	drop_consumer(bus);
	nats_subjects_forget(bus, INT64_MAX);
	if (!open_stream(bus))
		return false;
	bus_post_event(bus->inbox, BUS_SYNC_BEGIN);
	bus->syncing = true;
	if (!open_consumer(bus))
		return false;
	end_sync_if_complete(bus);
	return true;
}

bool nats_session_begin(struct nats_bus *bus)
{
	return connect_to_nats(bus) && open_jetstream(bus) && nats_session_sync(bus);
}

void nats_session_on_message(struct nats_bus *bus, const struct nats_mail *mail)
{
	const struct update *update = &mail->update;

	if (!bus->subscription || strcmp(mail->consumer, bus->consumer) != 0)
		return; /* of a consumer that we gave up */
	if (mail->number != bus->delivered + 1) {
		log_info("NATS: a gap after message %" PRIu64 " of the consumer. All last values "
			 "are read again.",
			bus->delivered);
		nats_session_sync(bus);
		return;
	}
	bus->delivered = mail->number;
	if (update->key.length > 0)
		nats_subject_seen(
			bus, &update->key, update->sequence, mail->problem ? NULL : update);
	if (mail->problem)
		bus_post_skipped(
			bus->inbox, "number %" PRIu64 ": %s", update->sequence, mail->problem);
	else
		bus_post_update(bus->inbox, update);
	end_sync_if_complete(bus);
}

void nats_session_check(struct nats_bus *bus)
{
	jsStreamInfo *info = NULL;
	jsErrCode error = 0;
	natsStatus s;
	bool same;

	s = js_GetStreamInfo(&info, bus->jetstream, NATS_STREAM, NULL, &error);
	if (s != NATS_OK && s != NATS_NOT_FOUND && error != JSStreamNotFoundErr) {
		fail(bus, "asking for the stream " NATS_STREAM, s, error);
		return;
	}
	/* A purge is told to nobody.  A stream of another shape may keep less, though. */
	same = s == NATS_OK && info->Created == bus->stream_created &&
	       (bus->syncing || !bus->standard_shape ||
		       info->State.Msgs >= nats_subjects_alive(bus));
	jsStreamInfo_Destroy(info);
	nats_subjects_forget(bus, clock_wall_us() - UPDATE_LIFETIME_US);
	if (same)
		return;
	log_notice("The stream " NATS_STREAM " on NATS was deleted or purged. What it has lost is "
		   "written back.");
	nats_session_sync(bus);
}
