"""Power, temperature and clocks of this machine. Begin at `reader`."""
