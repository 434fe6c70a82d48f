/* SPDX-License-Identifier: BSD-3-Clause */
/* Mail is read in slices: a pile of it must not hold up all else that the bus thread does. */
#include "bus/nats/mail.h"

#include <stdlib.h>
#include <unistd.h>

#define MEMORY_RETRY_US 10000

void nats_wait_for_memory(void)
{
	usleep(MEMORY_RETRY_US);
}

struct nats_mail *nats_mail_new(enum nats_mail_type type)
{
	struct nats_mail *mail;

	while (!(mail = calloc(1, sizeof(*mail))))
		nats_wait_for_memory();
	mail->type = type;
	return mail;
}

bool nats_mail_read(struct nats_bus *bus, struct nats_inlet *inlet,
	void (*act_upon)(struct nats_bus *bus, struct mail *mail))
{
	struct mail_list arrived;
	struct mail *mail;

	mailbox_take(&inlet->mailbox, &arrived);
	STAILQ_CONCAT(&inlet->backlog, &arrived);
	for (unsigned i = 0; i < NATS_SLICE && (mail = STAILQ_FIRST(&inlet->backlog)); i++) {
		STAILQ_REMOVE_HEAD(&inlet->backlog, link);
		act_upon(bus, mail);
	}
	return !STAILQ_EMPTY(&inlet->backlog);
}

int nats_inlet_init(struct nats_inlet *inlet)
{
	STAILQ_INIT(&inlet->backlog);
	return mailbox_init(&inlet->mailbox);
}

void nats_inlet_deinit(struct nats_inlet *inlet)
{
	mailbox_deinit(&inlet->mailbox);
}
