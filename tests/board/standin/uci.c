/* A stand-in for OpenWrt's uci: the commands, the file format, the staged changes and the exit codes a script sees.
 *
 * Changes are staged as lines in SAVEDIR/CONFIG (/tmp/.uci) until commit, which forgets them, writes a temporary file
 * beside the configuration, syncs it and renames it, as libuci does: whether it could be written is not asked (file.c,
 * uci_file_commit), so on a full file system the configuration becomes empty. A file with an open quote is no
 * configuration, for any command. Memory is never freed: the program ends at once. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_WORDS 64
#define MAX_SECTIONS 1024
#define MAX_OPTIONS 256

struct option {
	char *name;
	bool list;
	int count;
	char *values[MAX_OPTIONS];
};

struct section {
	char *type, *name;
	bool anonymous;
	int count;
	struct option *options[MAX_OPTIONS];
};

struct package {
	char *name;
	int count;
	struct section *sections[MAX_SECTIONS];
};

struct address {
	char *package, *section, *option, *value;
};

static const char *config_folder = "/etc/config", *save_folder = "/tmp/.uci";
static bool quiet, unparsable;

static int fail(const char *text)
{
	if (!quiet)
		fprintf(stderr, "uci: %s\n", text);
	return 1;
}

static int not_found(void)
{
	return fail(unparsable ? "Parse error (EOF with unterminated ')" : "Entry not found");
}

static char *format(const char *pattern, ...)
{
	va_list list;
	char *text;

	va_start(list, pattern);
	if (vasprintf(&text, pattern, list) < 0)
		exit(255);
	va_end(list);
	return text;
}

static char *read_file(const char *path)
{
	FILE *file = fopen(path, "r");
	size_t size = 0, room = 65536;
	char *text;

	if (!file)
		return NULL;
	text = malloc(room);
	while (text && (size += fread(text + size, 1, room - size - 1, file)) == room - 1)
		text = realloc(text, room *= 2);
	fclose(file);
	if (text)
		text[size] = 0;
	return text;
}

/* Split the next line of *place into words; quotes may span lines. Returns the number of words, -1 at the end. */
static int next_words(char **place, char **words)
{
	char *from = *place, *to = *place;
	int count = 0;

	if (!*from)
		return -1;
	while (*from && *from != '\n') {
		char quote = 0, *word = to;

		if (isspace((unsigned char)*from)) {
			from++;
			continue;
		}
		if (*from == '#') {
			from += strcspn(from, "\n");
			break;
		}
		while (*from && (quote || !isspace((unsigned char)*from))) {
			if (quote ? *from == quote : *from == '\'' || *from == '"')
				quote = quote ? 0 : *from;
			else if (*from == '\\' && quote != '\'' && from[1])
				*to++ = *++from;
			else
				*to++ = *from;
			from++;
		}
		unparsable |= quote;
		if (count < MAX_WORDS)
			words[count++] = word;
		if (*from == '\n') {
			*to++ = 0;
			*place = from + 1;
			return count;
		}
		if (*from)
			from++;
		*to++ = 0;
	}
	*place = *from ? from + 1 : from;
	return count;
}

static void print_quoted(FILE *file, const char *text)
{
	fputc('\'', file);
	for (; *text; text++)
		if (*text == '\'')
			fputs("'\\''", file);
		else
			fputc(*text, file);
	fputc('\'', file);
}

static struct section *add_section(struct package *package, const char *type, const char *name)
{
	struct section *section = calloc(1, sizeof(*section));

	if (!section || package->count == MAX_SECTIONS)
		exit(255);
	section->type = strdup(type);
	section->name = name ? strdup(name) : NULL;
	section->anonymous = !name;
	package->sections[package->count++] = section;
	return section;
}

static struct option *find_option(struct section *section, const char *name)
{
	for (int i = 0; i < section->count; i++)
		if (!strcmp(section->options[i]->name, name))
			return section->options[i];
	return NULL;
}

static void add_value(struct section *section, const char *name, const char *value, bool list)
{
	struct option *option = find_option(section, name);

	if (!option) {
		option = calloc(1, sizeof(*option));
		if (!option || section->count == MAX_OPTIONS)
			exit(255);
		option->name = strdup(name);
		section->options[section->count++] = option;
	}
	if (!list)
		option->count = 0;
	option->list = list;
	if (option->count < MAX_OPTIONS)
		option->values[option->count++] = strdup(value);
}

static void remove_option(struct section *section, struct option *option)
{
	for (int i = 0; i < section->count; i++)
		if (section->options[i] == option) {
			memmove(section->options + i, section->options + i + 1, (--section->count - i) * sizeof(option));
			return;
		}
}

static void remove_section(struct package *package, struct section *section)
{
	for (int i = 0; i < package->count; i++)
		if (package->sections[i] == section) {
			memmove(package->sections + i, package->sections + i + 1, (--package->count - i) * sizeof(section));
			return;
		}
}

static unsigned add_to_hash(unsigned hash, const char *text)
{
	while (*text)
		hash = hash * 33 + (unsigned char)*text++;
	return hash;
}

/* Give an anonymous section the name that stands for it until the next commit. */
static void name_section(struct section *section, int number)
{
	unsigned hash = add_to_hash(5381, section->type);

	for (int i = 0; i < section->count; i++) {
		hash = add_to_hash(hash, section->options[i]->name);
		for (int j = 0; j < section->options[i]->count; j++)
			hash = add_to_hash(hash, section->options[i]->values[j]);
	}
	section->name = format("cfg%02x%04x", number, hash % 0x10000);
}

static struct section *find_section(struct package *package, const char *name)
{
	int wanted, found = 0, total = 0;
	char type[128], end;

	for (int i = 0; i < package->count; i++)
		if (!strcmp(package->sections[i]->name, name))
			return package->sections[i];
	if (sscanf(name, "@%127[^[][%d%c", type, &wanted, &end) != 3 || end != ']')
		return NULL;
	for (int i = 0; i < package->count; i++)
		total += !strcmp(package->sections[i]->type, type);
	if (wanted < 0)
		wanted += total;
	for (int i = 0; i < package->count; i++)
		if (!strcmp(package->sections[i]->type, type) && found++ == wanted)
			return package->sections[i];
	return NULL;
}

/* Split PACKAGE[.SECTION[.OPTION]][=VALUE]; a dot inside an index's brackets does not occur. */
static struct address parse_address(const char *text)
{
	struct address address = { 0 };
	char *copy = strdup(text), *dot;

	address.value = strchr(copy, '=');
	if (address.value)
		*address.value++ = 0;
	address.package = copy;
	if ((dot = strchr(copy, '.'))) {
		*dot++ = 0;
		address.section = dot;
		if ((dot = strchr(dot, '.'))) {
			*dot++ = 0;
			address.option = dot;
		}
	}
	return address;
}

/* Apply one change to the package; 0 when it could be. The sign says which: see stage(). */
static int apply(struct package *package, char sign, struct address at)
{
	struct section *section = at.section ? find_section(package, at.section) : NULL;
	struct option *option = section && at.option ? find_option(section, at.option) : NULL;

	switch (sign) {
	case '+':
		section = add_section(package, at.value, NULL);
		section->name = strdup(at.section);
		return 0;
	case '=':
		if (!at.option && section)
			section->type = strdup(at.value);
		else if (!at.option)
			add_section(package, at.value, at.section);
		else if (!section)
			return -1;
		else
			add_value(section, at.option, at.value, false);
		return 0;
	case '|':
		if (!section)
			return -1;
		add_value(section, at.option, at.value, true);
		return 0;
	case '~':
		for (int i = option ? option->count - 1 : -1; i >= 0; i--)
			if (!strcmp(option->values[i], at.value))
				memmove(option->values + i, option->values + i + 1, (--option->count - i) * sizeof(char *));
		if (option && !option->count)
			remove_option(section, option);
		return section ? 0 : -1;
	case '@':
		if (at.option ? !option : !section)
			return -1;
		if (at.option) {
			option->name = strdup(at.value);
		} else {
			section->name = strdup(at.value);
			section->anonymous = false;
		}
		return 0;
	default:
		if (at.option ? !option : !section)
			return -1;
		if (at.option)
			remove_option(section, option);
		else
			remove_section(package, section);
		return 0;
	}
}

static char *save_path(const char *name)
{
	return format("%s/%s", save_folder, name);
}

/* Read a configuration with its staged changes; NULL when there is no such file or it is not well formed. */
static struct package *load(const char *name)
{
	struct package *package = calloc(1, sizeof(*package));
	char *words[MAX_WORDS], *text = read_file(format("%s/%s", config_folder, name));
	struct section *section = NULL;
	int count;

	if (!package || !text || strchr(name, '/'))
		return NULL;
	package->name = strdup(name);
	while ((count = next_words(&text, words)) >= 0) {
		if (count == 0 || !strcmp(words[0], "package"))
			continue;
		if (!strcmp(words[0], "config") && (count == 2 || count == 3))
			section = add_section(package, words[1], count == 3 && *words[2] ? words[2] : NULL);
		else if (section && count == 3 && (!strcmp(words[0], "option") || !strcmp(words[0], "list")))
			add_value(section, words[1], words[2], *words[0] == 'l');
		else
			return NULL;
	}
	if (unparsable)
		return NULL;
	for (int i = 0; i < package->count; i++)
		if (package->sections[i]->anonymous)
			name_section(package->sections[i], i + 1);
	text = read_file(save_path(name));
	while (text && (count = next_words(&text, words)) >= 0)
		if (count == 1) {
			char sign = strchr("-+|~@", *words[0]) ? *words[0] : '=';

			apply(package, sign, parse_address(words[0] + (sign != '=')));
		}
	return package;
}

/* Apply a change and append it to the staged ones: = set, + add, | add_list, ~ del_list, @ rename, - delete. */
static int stage(struct package *package, char sign, struct address at)
{
	struct section *section = at.section ? find_section(package, at.section) : NULL;
	FILE *file;

	if (section && sign != '+')
		at.section = section->name;
	if (apply(package, sign, at))
		return sign == '=' || sign == '|' ? fail("Invalid argument") : not_found();
	mkdir(save_folder, 0700);
	file = fopen(save_path(package->name), "a");
	if (!file)
		return fail("I/O error");
	fprintf(file, "%s%s.%s%s%s", sign == '=' ? "" : (char[]){ sign, 0 }, package->name, at.section, at.option ? "." : "",
		at.option ? at.option : "");
	if (at.value) {
		fputc('=', file);
		print_quoted(file, at.value);
	}
	fputc('\n', file);
	fclose(file);
	return 0;
}

static void export_package(struct package *package, FILE *file)
{
	for (int i = 0; i < package->count; i++) {
		struct section *section = package->sections[i];

		fprintf(file, "\nconfig %s", section->type);
		if (!section->anonymous) {
			fputc(' ', file);
			print_quoted(file, section->name);
		}
		fputc('\n', file);
		for (int j = 0; j < section->count; j++)
			for (int k = 0; k < section->options[j]->count; k++) {
				fprintf(file, "\t%s %s ", section->options[j]->list ? "list" : "option", section->options[j]->name);
				print_quoted(file, section->options[j]->values[k]);
				fputc('\n', file);
			}
	}
	fputc('\n', file);
}

static int commit(const char *name)
{
	struct package *package = load(name);
	char *path = format("%s/%s", config_folder, name), *temporary = format("%s/.%s.uci-XXXXXX", config_folder, name);
	struct stat before;
	FILE *file;
	int descriptor;

	if (!package || stat(path, &before))
		return not_found();
	if (access(save_path(name), F_OK))
		return 0;
	unlink(save_path(name));
	descriptor = mkstemp(temporary);
	file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
	if (!file)
		return fail("I/O error");
	export_package(package, file);
	fflush(file);
	fsync(descriptor);
	fclose(file);
	if (chmod(temporary, before.st_mode & 07777) || rename(temporary, path)) {
		unlink(temporary);
		return fail("I/O error");
	}
	return 0;
}

static void show_values(struct option *option)
{
	for (int i = 0; i < option->count; i++) {
		if (i)
			putchar(' ');
		print_quoted(stdout, option->values[i]);
	}
	putchar('\n');
}

static void show_section(struct package *package, struct section *section, struct option *only)
{
	char *name = section->name;
	int index = 0;

	for (int i = 0; section->anonymous && package->sections[i] != section; i++)
		index += !strcmp(package->sections[i]->type, section->type);
	if (section->anonymous)
		name = format("@%s[%d]", section->type, index);
	if (!only)
		printf("%s.%s=%s\n", package->name, name, section->type);
	for (int i = 0; i < section->count; i++)
		if (!only || only == section->options[i]) {
			printf("%s.%s.%s=", package->name, name, section->options[i]->name);
			show_values(section->options[i]);
		}
}

static int look(struct package *package, struct address at, bool show)
{
	struct section *section = at.section ? find_section(package, at.section) : NULL;
	struct option *option = section && at.option ? find_option(section, at.option) : NULL;

	if ((at.section && !section) || (at.option && !option) || (!show && !section))
		return not_found();
	if (show) {
		for (int i = 0; i < package->count; i++)
			if (!section || section == package->sections[i])
				show_section(package, package->sections[i], option);
	} else if (!option) {
		puts(section->type);
	} else {
		for (int i = 0; i < option->count; i++)
			printf("%s%s", i ? " " : "", option->values[i]);
		putchar('\n');
	}
	return 0;
}

/* Do something with each configuration that has a file in a folder. */
static int for_each(const char *folder, int (*action)(const char *name))
{
	DIR *files = opendir(folder);
	struct dirent *entry;
	int code = 0;

	while (files && (entry = readdir(files)))
		if (entry->d_name[0] != '.')
			code |= action(entry->d_name);
	return code;
}

static int show_all(const char *name)
{
	struct package *package = load(name);

	return package ? look(package, (struct address){ 0 }, true) : not_found();
}

static int export_one(const char *name)
{
	struct package *package = load(name);

	if (!package)
		return not_found();
	printf("package %s\n", name);
	export_package(package, stdout);
	return 0;
}

static int show_changes(const char *name)
{
	char *text = read_file(save_path(name));

	if (text)
		fputs(text, stdout);
	return 0;
}

static int revert(const char *name)
{
	return unlink(save_path(name)) && errno != ENOENT ? fail("I/O error") : 0;
}

static int run(int count, char **words);

static int batch(void)
{
	char *text = read_file("/dev/stdin"), *words[MAX_WORDS];
	int count, code = 0;

	while (text && (count = next_words(&text, words)) >= 0)
		if (count)
			code |= run(count, words);
	return code;
}

static int add(const char *name, const char *type)
{
	struct package *package = load(name);
	struct section *section;
	char *section_name;

	if (!package)
		return not_found();
	section = add_section(package, type, NULL);
	name_section(section, package->count);
	section_name = section->name;
	package->count--;
	if (stage(package, '+', (struct address){ .section = section_name, .value = (char *)type }))
		return 1;
	puts(section_name);
	return 0;
}

static int change(const char *command, const char *text)
{
	struct address at = parse_address(text);
	struct package *package = load(at.package);
	bool removes = !strcmp(command, "delete");

	if (!package)
		return not_found();
	if (!at.section || (!removes && !at.value))
		return fail("Invalid argument");
	if (removes || (!strcmp(command, "set") && at.option && !*at.value)) {
		at.value = NULL;
		return stage(package, '-', at);
	}
	if (!strcmp(command, "rename"))
		return stage(package, '@', at);
	if (!strcmp(command, "set"))
		return stage(package, '=', at);
	if (!at.option)
		return fail("Invalid argument");
	return stage(package, !strcmp(command, "add_list") ? '|' : '~', at);
}

static int run(int count, char **words)
{
	static const struct {
		const char *name, *folder_is_saved;
		int (*action)(const char *name);
	} each[] = {
		{ "commit", "yes", commit }, { "changes", "yes", show_changes }, { "export", NULL, export_one },
		{ "show", NULL, show_all },
	};
	const char *command = words[0];

	for (unsigned i = 0; i < sizeof(each) / sizeof(*each); i++) {
		if (strcmp(command, each[i].name))
			continue;
		if (count == 1)
			return for_each(each[i].folder_is_saved ? save_folder : config_folder, each[i].action);
		if (!strchr(words[1], '.'))
			return each[i].action(words[1]);
	}
	if (!strcmp(command, "batch"))
		return batch();
	if (!strcmp(command, "revert") && count == 2)
		return revert(words[1]);
	if (!strcmp(command, "add") && count == 3)
		return add(words[1], words[2]);
	if ((!strcmp(command, "get") || !strcmp(command, "show")) && count == 2) {
		struct address at = parse_address(words[1]);
		struct package *package = load(at.package);

		return package ? look(package, at, *command == 's') : not_found();
	}
	if (count == 2 && strstr(" set add_list del_list delete rename ", format(" %s ", command)))
		return change(command, words[1]);
	fprintf(stderr, "Usage: uci [-q] [-c FOLDER] [-P FOLDER] COMMAND [ARGUMENTS]\n");
	return 255;
}

int main(int count, char **words)
{
	int letter;

	while ((letter = getopt(count, words, "+qc:P:t:")) != -1)
		switch (letter) {
		case 'q':
			quiet = true;
			break;
		case 'c':
			config_folder = optarg;
			break;
		case 'P':
		case 't':
			save_folder = optarg;
			break;
		default:
			return 255;
		}
	if (optind == count) {
		fprintf(stderr, "Usage: uci [-q] [-c FOLDER] [-P FOLDER] COMMAND [ARGUMENTS]\n");
		return 255;
	}
	return run(count - optind, words + optind);
}
