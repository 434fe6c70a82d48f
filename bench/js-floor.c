/* SPDX-License-Identifier: BSD-3-Clause */
/* The floor of publishing: js_PublishAsync() in a loop, into the stream that flagsse has made.
 * Prints how many a second JetStream has acknowledged.
 *
 * Usage: js-floor URL MESSAGES ENVIRONMENTS */
#include <inttypes.h>
#include <nats/nats.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define TIMEOUT_MS   60000
#define PENDING_MAX  1024 /* as many as may wait for their acknowledgement */
#define SUBJECT_SIZE 64
#define BODY_SIZE    64

static void check(natsStatus status, const char *what)
{
	if (status == NATS_OK)
		return;
	fprintf(stderr, "js-floor: %s: %s\n", what, natsStatus_GetText(status));
	exit(1);
}

static void publish_all(jsCtx *js, int64_t messages, int64_t environments)
{
	char subject[SUBJECT_SIZE], body[BODY_SIZE];

	for (int64_t i = 0; i < messages; i++) {
		int64_t now_us = clock_wall_us();
		int n = snprintf(body, sizeof(body), "{\"updated_at\": %" PRId64 ".%06" PRId64 "}",
			now_us / US_PER_S, now_us % US_PER_S);

		snprintf(subject, sizeof(subject), "flagsmith.environment.floor-%" PRId64,
			i % environments);
		check(js_PublishAsync(js, subject, body, n, NULL), "publish");
	}
}

int main(int argc, char *argv[])
{
	natsConnection *connection;
	jsOptions options;
	jsCtx *js;
	int64_t messages, begun_ms;
	double seconds;

	if (argc != 4) {
		fprintf(stderr, "Usage: js-floor URL MESSAGES ENVIRONMENTS\n");
		return 2;
	}
	messages = strtoll(argv[2], NULL, 10);
	check(natsConnection_ConnectTo(&connection, argv[1]), "connect");
	check(jsOptions_Init(&options), "options");
	options.PublishAsync.MaxPending = PENDING_MAX;
	check(natsConnection_JetStream(&js, connection, &options), "JetStream");
	begun_ms = clock_monotonic_ms();
	publish_all(js, messages, strtoll(argv[3], NULL, 10));
	options.Wait = TIMEOUT_MS;
	check(js_PublishAsyncComplete(js, NULL), "acknowledgements");
	seconds = (double)(clock_monotonic_ms() - begun_ms) / (double)MS_PER_S;
	printf("{\"messages\": %" PRId64 ", \"seconds\": %.3f, \"rate\": %.0f}\n", messages,
		seconds, (double)messages / seconds);
	jsCtx_Destroy(js);
	natsConnection_Destroy(connection);
	nats_Close();
	return 0;
}
