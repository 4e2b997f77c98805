"""What measures finished runs, scans, readers and rules; each is run as `python -m studies.NAME` and writes into results/."""
