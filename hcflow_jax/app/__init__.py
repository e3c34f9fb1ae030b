"""`hcflow app`: one page in the browser, served by this machine alone."""
