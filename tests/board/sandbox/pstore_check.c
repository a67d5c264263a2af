/* Succeeds when one of the records of a kernel that crashed begins as the kernel writes it. */
static int pstore_check(struct cmd_tbl *cmdtp, int flag, int argc, char *const argv[])
{
	phys_addr_t end = pstore_addr + pstore_length - pstore_console_size - pstore_ftrace_size - pstore_pmsg_size;
	int found = 0;
	phys_addr_t at;
	char *text;

	pstore_init_buffer_size();
	text = calloc(1, buffer_size + 1);
	if (!text || !pstore_length)
		return CMD_RET_FAILURE;

	for (at = pstore_addr; at < end && !found; at += pstore_record_size) {
		bool compressed;
		u32 length = pstore_get_buffer(PERSISTENT_RAM_SIG, at, pstore_record_size, text);

		text[length] = '\0';
		found = length && pstore_read_kmsg_hdr(text, &compressed);
	}
	free(text);
	return found ? CMD_RET_SUCCESS : CMD_RET_FAILURE;
}
