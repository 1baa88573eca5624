"""Where pictures come from: files, archives, tables; how they are named, labelled and decoded."""
