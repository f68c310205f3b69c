package drain

// InFlight returns how many handlers run.
func (h *HTTP) InFlight() (n int) {
	h.conns.each(func(c *connection) { n += len(c.running) })
	return n
}
