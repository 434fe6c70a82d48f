/* SPDX-License-Identifier: BSD-3-Clause */
/* The main() of every unit test. */
#include <stdlib.h>

#include "runner.h"

int main(void)
{
	SRunner *runner = srunner_create(test_suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
