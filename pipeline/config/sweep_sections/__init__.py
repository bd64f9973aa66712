"""The sections of a sweep file that have rules of their own."""
