/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration and its table as text: the effective settings, help, sample, manual page. */
#include <ini.h>
#include <string.h>

#include "config/config-internal.h"

#define HELP_WIDTH 80
#define MAN_WIDTH  66 /* what is escaped makes lines longer, and they should stay under 80 */

/* Writes text in lines of at most `width` with `prefix` before each. */
static void print_wrapped(FILE *file, const char *prefix, size_t width, const char *text)
{
	size_t column = 0;

	while (*(text += strspn(text, " "))) {
		size_t length = strcspn(text, " ");

		if (column > 0 && column + 1 + length > width) {
			fputc('\n', file);
			column = 0;
		}
		column += (size_t)fprintf(
			file, "%s%.*s", column > 0 ? " " : prefix, (int)length, text);
		text += length;
	}
	fputc('\n', file);
}

static void print_default(FILE *file, const struct setting *setting)
{
	if (setting_is_text(setting))
		fputs(setting->text, file);
	else
		setting_print_number(file, setting, setting_default(setting));
}

static bool has_range(const struct setting *setting)
{
	return !setting_is_text(setting);
}

/* "Default: 10 s. Allowed: 1 s to 300 s. Environment: NAME. A change needs a restart."  To be
 * freed; NULL: no memory. */
static char *facts(const struct setting *setting)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	if (!file)
		return NULL;
	fputs("Default: ", file);
	if (setting_is_text(setting) && !*setting->text)
		fputs("none", file);
	else if (setting->as)
		fputs(setting->as, file);
	else
		print_default(file, setting);
	if (has_range(setting)) {
		fputs(". Allowed: ", file);
		setting_print_allowed(file, setting);
	}
	if (setting->variable)
		fprintf(file, ". Environment: %s", setting->variable);
	fputs(setting->change == CHANGE_RESTART ? ". A change needs a restart." : ".", file);
	if (fclose(file) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static void print_facts(FILE *file, const char *prefix, size_t width, const struct setting *setting)
{
	_cleanup_(freep) char *text = facts(setting);

	print_wrapped(file, prefix, width, text ? text : "(out of memory)");
}

/* The effective settings. */

static void print_value(FILE *file, const struct setting *setting, const void *base)
{
	if (!setting_is_text(setting)) {
		setting_print_number(file, setting, setting_number(setting, base));
		return;
	}
	const char *text = *setting_text(setting, base);

	if (setting->type == TYPE_SECRET)
		fputs(*text ? SECRET_MASK : "", file);
	else if (setting->type == TYPE_URLS)
		urls_print_masked(file, text);
	else
		fputs(text, file);
}

/* A list that is too long for a line of a file, in a line for each of its items. */
static void print_list(FILE *file, const struct setting *setting, const char *line)
{
	for (; *line; line++)
		if (*line == ',')
			fprintf(file, "\n%s = ", setting->key);
		else
			fputc(*line, file);
	fputc('\n', file);
}

static void print_setting(
	FILE *file, const struct setting *setting, const void *base, char **origin)
{
	_cleanup_(freep) char *line = NULL;
	size_t size = 0;
	FILE *memory = open_memstream(&line, &size);

	if (memory) {
		fprintf(memory, "%s = ", setting->key);
		print_value(memory, setting, base);
		if (fclose(memory) != 0)
			size = 0;
	}
	if (size > 0 && line[size - 1] == ' ')
		line[--size] = '\0';
	if (size == 0) {
		fputs("# (out of memory)\n", file);
		return;
	}
	fprintf(file, "# %s\n", *origin ? *origin : "default");
	if (size > INI_MAX_LINE - 1 && setting_is_list(setting)) {
		print_list(file, setting, line);
		return;
	}
	if (size > INI_MAX_LINE - 1)
		fputs("# (too long for a file: to be given by the environment or an option)\n#",
			file);
	fprintf(file, "%s\n", line);
}

static void print_section(
	FILE *file, const struct section_kind *kind, const struct config_section *section)
{
	fprintf(file, "\n[%s %s]\n", kind->name, section->name);
	for (size_t i = 0; i < kind->n_settings; i++)
		print_setting(file, &kind->settings[i], section, &section->origins[i]);
}

void config_print(const struct config *config, FILE *file)
{
	for (size_t i = 0; i < config_n_settings; i++) {
		const struct setting *setting = &config_settings[i];

		if (begins_section(config_settings, i))
			fprintf(file, "%s[%s]\n", i > 0 ? "\n" : "", setting->section);
		print_setting(file, setting, config, &config->origins[i]);
	}
	for (const struct section_kind *kind = config->kinds; kind->name; kind++) {
		const struct config_sections *sections = sections_of(config, kind);

		for (size_t i = 0; i < sections->n; i++)
			print_section(file, kind, sections->list[i]);
	}
}

/* Help. */

static const char help_prefix[] = "    ";

static void print_help_setting(FILE *file, const struct setting *setting)
{
	print_wrapped(file, help_prefix, HELP_WIDTH, setting->help);
	print_facts(file, help_prefix, HELP_WIDTH, setting);
}

void sections_print_help(FILE *file, const struct section_kind *kinds)
{
	for (; kinds->name; kinds++)
		for (size_t i = 0; i < kinds->n_settings; i++) {
			fprintf(file, "\n%s NAME.%s\n", kinds->name, kinds->settings[i].key);
			print_help_setting(file, &kinds->settings[i]);
		}
}

void config_print_help(FILE *file)
{
	for (size_t i = 0; i < config_n_settings; i++) {
		const struct setting *setting = &config_settings[i];

		fprintf(file, "%s%s.%s\n", i > 0 ? "\n" : "", setting->section, setting->key);
		print_help_setting(file, setting);
	}
	sections_print_help(file, config_kinds);
}

/* Sample. */

static const char sample_head[] =
	"# The configuration of flagsse; flagsse.conf(5) explains it.\n"
	"#\n"
	"# Read in this order, and the later wins: this file, conf.d/*.conf beside it by\n"
	"# name, environment variables, options. What is commented out is the default.\n"
	"# After a change: systemctl reload flagsse, or restart where the setting says so.\n";

static void print_sample_setting(FILE *file, const struct setting *setting)
{
	fputc('\n', file);
	print_wrapped(file, "# ", HELP_WIDTH, setting->help);
	print_facts(file, "# ", HELP_WIDTH, setting);
	fprintf(file, "#%s =", setting->key);
	if (!setting_is_text(setting) || *setting->text)
		fputc(' ', file);
	print_default(file, setting);
	fputc('\n', file);
}

/* The default of a setting whose default another one is. */
static void print_default_as(FILE *file, const struct setting *setting)
{
	for (size_t i = 0; i < config_n_settings; i++)
		if (config_settings[i].offset == setting->as_offset)
			print_default(file, &config_settings[i]);
}

/* `values`: as in struct builtin_section; NULL: the defaults. */
static void print_sample_section(
	FILE *file, const struct section_kind *kind, const char *name, const char *const *values)
{
	fprintf(file, "\n#[%s %s]\n", kind->name, name);
	for (size_t i = 0; i < kind->n_settings; i++) {
		const struct setting *setting = &kind->settings[i];
		const char *value = values && values[i]        ? values[i]
				    : setting_is_text(setting) ? setting->text
							       : NULL;

		fprintf(file, "#%s =%s", setting->key, value && !*value ? "" : " ");
		if (value)
			fputs(value, file);
		else if (setting->as)
			print_default_as(file, setting);
		else
			print_default(file, setting);
		fputc('\n', file);
	}
}

void sections_print_sample(FILE *file, const struct section_kind *kinds)
{
	for (; kinds->name; kinds++) {
		fprintf(file, "\n%s", kinds->sample);
		for (size_t i = 0; i < kinds->n_settings; i++) {
			fprintf(file, "#\n# %s:\n", kinds->settings[i].key);
			print_wrapped(file, "#   ", HELP_WIDTH, kinds->settings[i].help);
		}
		if (!kinds->builtins)
			print_sample_section(file, kinds, "NAME", NULL);
		for (const struct builtin_section *builtin = kinds->builtins;
			builtin && builtin->name; builtin++)
			print_sample_section(file, kinds, builtin->name, builtin->values);
	}
}

void config_print_sample(FILE *file)
{
	fputs(sample_head, file);
	for (size_t i = 0; i < config_n_settings; i++) {
		const struct setting *setting = &config_settings[i];

		if (begins_section(config_settings, i))
			fprintf(file, "\n[%s]\n", setting->section);
		print_sample_setting(file, setting);
	}
	sections_print_sample(file, config_kinds);
}

/* Manual page. */

/* Writes text as man(7) has it: `name` in bold; '-' as it is typed; no request by accident. */
static void print_roff(FILE *file, const char *text)
{
	bool bold = false, line_begins = true;

	for (; *text; text++) {
		if (line_begins && (*text == '.' || *text == '\''))
			fputs("\\&", file);
		line_begins = *text == '\n';
		if (*text == '`') {
			bold = !bold;
			fputs(bold ? "\\fB" : "\\fR", file);
		} else if (*text == '-') {
			fputs("\\-", file);
		} else if (*text == '\\') {
			fputs("\\e", file);
		} else {
			fputc(*text, file);
		}
	}
}

static void print_roff_wrapped(FILE *file, const char *text)
{
	_cleanup_(freep) char *wrapped = NULL;
	size_t size;
	FILE *memory = open_memstream(&wrapped, &size);

	if (memory)
		print_wrapped(memory, "", MAN_WIDTH, text);
	print_roff(file, memory && fclose(memory) == 0 ? wrapped : "(out of memory)\n");
}

static void print_man_setting(FILE *file, const struct setting *setting)
{
	_cleanup_(freep) char *text = facts(setting);

	fprintf(file, ".TP\n.B %s\n", setting->key);
	print_roff_wrapped(file, setting->help);
	fputs(".br\n", file);
	print_roff_wrapped(file, text ? text : "(out of memory)");
}

void sections_print_man(FILE *file, const struct section_kind *kinds)
{
	for (; kinds->name; kinds++) {
		fprintf(file, ".SS [%s NAME]\n", kinds->name);
		for (size_t i = 0; i < kinds->n_settings; i++)
			print_man_setting(file, &kinds->settings[i]);
	}
}

void config_print_man(FILE *file)
{
	for (size_t i = 0; i < config_n_settings; i++) {
		if (begins_section(config_settings, i))
			fprintf(file, ".SS [%s]\n", config_settings[i].section);
		print_man_setting(file, &config_settings[i]);
	}
	sections_print_man(file, config_kinds);
}
