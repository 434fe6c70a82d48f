/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection to NATS, by nats.c. */
#include "bus/nats/wire.h"

#include <stdio.h>
#include <stdlib.h>

#include "bus/nats/library-internal.h"

_Static_assert((int)NATS_RETENTION_LIMITS == (int)js_LimitsPolicy &&
		       (int)NATS_RETENTION_INTEREST == (int)js_InterestPolicy &&
		       (int)NATS_RETENTION_WORK_QUEUE == (int)js_WorkQueuePolicy,
	"nats.c's values");
_Static_assert(
	(int)NATS_DISCARD_OLD == (int)js_DiscardOld && (int)NATS_DISCARD_NEW == (int)js_DiscardNew,
	"nats.c's values");
_Static_assert((int)NATS_STORAGE_FILE == (int)js_FileStorage &&
		       (int)NATS_STORAGE_MEMORY == (int)js_MemoryStorage,
	"nats.c's values");

/* 0, or -errno and why. */
static int result(natsStatus status, jsErrCode code, struct nats_error *ret_error)
{
	return status == NATS_OK ? 0 : nats_failure_read(status, code, ret_error);
}

/* ---- Inboxes and subscriptions ---- */

static natsStatus make_inbox(char ret_inbox[static NATS_INBOX_SIZE])
{
	natsInbox *inbox = NULL;
	natsStatus s = natsInbox_Create(&inbox);

	if (s == NATS_OK)
		snprintf(ret_inbox, NATS_INBOX_SIZE, "%s", inbox);
	natsInbox_Destroy(inbox);
	return s;
}

int nats_wire_make_inbox(char ret_inbox[static NATS_INBOX_SIZE], struct nats_error *ret_error)
{
	return result(make_inbox(ret_inbox), 0, ret_error);
}

/* Without a limit of nats.c's own, which would drop messages in silence. */
static natsStatus subscribe(natsSubscription **subscription, const struct nats_wire *wire,
	const char *subject, natsMsgHandler handler)
{
	natsStatus s = natsConnection_Subscribe(
		subscription, wire->connection, subject, handler, wire->origin);

	if (s == NATS_OK)
		s = natsSubscription_SetPendingLimits(*subscription, -1, -1);
	return s;
}

int nats_wire_subscribe(struct nats_wire *wire, const char *inbox, struct nats_error *ret_error)
{
	natsStatus s = subscribe(&wire->messages, wire, inbox, nats_callbacks_on_message);

	return result(s, 0, ret_error);
}

void nats_wire_unsubscribe(struct nats_wire *wire)
{
	natsSubscription_Destroy(TAKE_PTR(wire->messages));
}

/* ---- Its beginning and end ---- */

static natsStatus open_jetstream(struct nats_wire *wire)
{
	jsOptions options;

	jsOptions_Init(&options);
	options.Wait = NATS_REQUEST_TIMEOUT_MS;
	return natsConnection_JetStream(&wire->jetstream, wire->connection, &options);
}

int nats_wire_open(struct nats_wire *wire, char ret_inbox[static NATS_INBOX_SIZE],
	struct nats_error *ret_error)
{
	char subjects[NATS_INBOX_SIZE + sizeof(".>")];
	natsStatus s = open_jetstream(wire);

	if (s == NATS_OK)
		s = make_inbox(ret_inbox);
	if (s == NATS_OK) {
		snprintf(subjects, sizeof(subjects), "%s.>", ret_inbox);
		s = subscribe(&wire->answers, wire, subjects, nats_callbacks_on_answer);
	}
	return result(s, 0, ret_error);
}

struct nats_wire *nats_wire_free(struct nats_wire *wire)
{
	if (!wire)
		return NULL;
	/* Closed first: then nothing below waits for a server that may hang. */
	natsConnection_Close(wire->connection);
	natsSubscription_Destroy(wire->messages);
	natsSubscription_Destroy(wire->answers);
	jsCtx_Destroy(wire->jetstream);
	natsConnection_Destroy(wire->connection);
	free(wire);
	return NULL;
}

const char *nats_wire_denied(struct nats_wire *wire)
{
	const char *text = NULL;

	return natsConnection_GetLastError(wire->connection, &text) == NATS_NOT_PERMITTED ? text
											  : NULL;
}

/* ---- Messages ---- */

static natsStatus send_with_headers(
	const struct nats_wire *wire, const struct nats_message *message)
{
	natsMsg *copy = NULL;
	natsStatus s = natsMsg_Create(
		&copy, message->subject, message->reply, message->body, (int)message->length);

	for (size_t i = 0; i < NATS_HEADERS_MAX && message->headers[i].name && s == NATS_OK; i++)
		s = natsMsgHeader_Set(copy, message->headers[i].name, message->headers[i].value);
	if (s == NATS_OK)
		s = natsConnection_PublishMsg(wire->connection, copy);
	natsMsg_Destroy(copy);
	return s;
}

int nats_wire_send(
	struct nats_wire *wire, const struct nats_message *message, struct nats_error *ret_error)
{
	natsStatus s;

	if (message->headers[0].name)
		s = send_with_headers(wire, message);
	else if (message->reply)
		s = natsConnection_PublishRequest(wire->connection, message->subject,
			message->reply, message->body, (int)message->length);
	else
		s = natsConnection_Publish(
			wire->connection, message->subject, message->body, (int)message->length);
	return result(s, 0, ret_error);
}

/* ---- JetStream ---- */

static void read_settings(const jsStreamConfig *config, struct nats_stream_settings *ret)
{
	*ret = (struct nats_stream_settings){
		.subjects = config->Subjects,
		.n_subjects = config->SubjectsLen,
		.retention = (enum nats_retention)config->Retention,
		.discard = (enum nats_discard)config->Discard,
		.storage = (enum nats_storage)config->Storage,
		.replicas = config->Replicas,
		.max_messages_per_subject = config->MaxMsgsPerSubject,
		.max_messages = config->MaxMsgs,
		.max_bytes = config->MaxBytes,
		.max_age_ns = config->MaxAge,
		.duplicates_ns = config->Duplicates,
		.no_ack = config->NoAck,
	};
}

int nats_wire_get_stream(struct nats_wire *wire, const char *name, int64_t wait_ms,
	struct nats_stream *ret, struct nats_error *ret_error)
{
	jsStreamInfo *info = NULL;
	jsErrCode code = 0;
	jsOptions options;
	natsStatus s;

	jsOptions_Init(&options);
	options.Wait = wait_ms;
	s = js_GetStreamInfo(&info, wire->jetstream, name, &options, &code);
	if (s != NATS_OK)
		return result(s, code, ret_error);
	read_settings(info->Config, &ret->settings);
	ret->created_ns = info->Created;
	ret->n_messages = info->State.Msgs;
	ret->n_consumers = info->State.Consumers;
	ret->owned = info;
	return 0;
}

void nats_stream_deinit(struct nats_stream *stream)
{
	jsStreamInfo_Destroy(TAKE_PTR(stream->owned));
}

int nats_wire_make_stream(struct nats_wire *wire, const char *name, int64_t wait_ms,
	const struct nats_stream_settings *settings, struct nats_error *ret_error)
{
	jsStreamInfo *info = NULL;
	jsErrCode code = 0;
	jsStreamConfig config;
	jsOptions options;
	natsStatus s;

	jsOptions_Init(&options);
	options.Wait = wait_ms;
	jsStreamConfig_Init(&config);
	config.Name = name;
	config.Subjects = settings->subjects;
	config.SubjectsLen = settings->n_subjects;
	config.Retention = (jsRetentionPolicy)settings->retention;
	config.Discard = (jsDiscardPolicy)settings->discard;
	config.Storage = (jsStorageType)settings->storage;
	config.Replicas = settings->replicas;
	config.MaxMsgsPerSubject = settings->max_messages_per_subject;
	config.MaxMsgs = settings->max_messages;
	config.MaxBytes = settings->max_bytes;
	config.MaxAge = settings->max_age_ns;
	config.Duplicates = settings->duplicates_ns;
	config.NoAck = settings->no_ack;
	s = js_AddStream(&info, wire->jetstream, &config, &options, &code);
	jsStreamInfo_Destroy(info);
	return result(s, code, ret_error);
}

int nats_wire_get_consumer(struct nats_wire *wire, const char *stream, const char *name,
	int64_t wait_ms, struct nats_consumer *ret, struct nats_error *ret_error)
{
	jsConsumerInfo *info = NULL;
	jsErrCode code = 0;
	jsOptions options;
	natsStatus s;

	jsOptions_Init(&options);
	options.Wait = wait_ms;
	s = js_GetConsumerInfo(&info, wire->jetstream, stream, name, &options, &code);
	if (s != NATS_OK)
		return result(s, code, ret_error);
	ret->delivered = info->Delivered.Consumer;
	ret->n_pending = info->NumPending;
	jsConsumerInfo_Destroy(info);
	return 0;
}
