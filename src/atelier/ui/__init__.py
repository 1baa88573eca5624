"""How things look: tables, pages, progress, files for people. It knows no registry."""
