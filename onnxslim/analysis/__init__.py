"""Facts about a model; nothing here changes one."""
