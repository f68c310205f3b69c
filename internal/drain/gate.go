// SPDX-License-Identifier: MIT

package drain

// A gate keeps connections of ours from reading a request.
type gate struct {
	open chan struct{} // closed when it opens
	end  bool          // then they end, and have not read a byte
}

// hold has connections wait that are about to read a request. Those that read already
// are not affected.
func (s *connections) hold() { s.gate.Store(&gate{open: make(chan struct{})}) }

// release has those that wait read, or has them end, and all that come after them.
func (s *connections) release(end bool) {
	g := s.gate.Load()
	g.end = end
	if !end {
		s.gate.Store(nil)
	}
	close(g.open)
}

// passLocked waits at the gate. A look at c, which is locked, after hold sees either
// that c reads or that c waits.
func (c *connection) passLocked() {
	for g := c.in.gate.Load(); g != nil; g = c.in.gate.Load() {
		c.mu.Unlock()
		<-g.open
		c.mu.Lock()
		if g.end {
			c.cut = true
			return
		}
	}
}
