/* SPDX-License-Identifier: BSD-3-Clause */
/* flagsse: options, and then the server. */
#include "program/program.h"

int main(int argc, char *argv[])
{
	return program_run(argc, argv);
}
