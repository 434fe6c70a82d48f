/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of each table of settings (*.def): its rows can mean something else in the next place.
 * No #pragma once: each table needs it. */
#undef SETTING_ROW
#undef SETTLED
#undef SELF
#undef SETTING_TEXT
#undef SETTING_PREFIX
#undef SETTING_PATH
#undef SETTING_LISTEN
#undef SETTING_SECRET
#undef SETTING_URLS
#undef SETTING_NUMBER
#undef SETTING_SIZE
#undef SETTING_DURATION
#undef SETTING_DURATION_AS
#undef SETTING_CHOICE
#undef SETTING_BOOLEAN
#undef MEMBER
#undef MEMBER_MS
#undef INDEX
#undef OWNER
