"""The file system as the rest of the disk needs it: directory handles, names, renames, syncs. One call, one place."""
