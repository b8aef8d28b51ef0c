"""Commands for operators, admins and finance. Results go to standard output, logs to the other."""
