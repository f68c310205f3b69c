package pid1

// Stats are numbers for a dashboard.
type Stats struct {
	Phase    string // "" before Run, then "starting", "serving", "stopping", "stopped"
	Step     string // of the stop, that runs now; as in the report
	Ready    bool
	InFlight int    // requests to *http.Servers whose handlers run
	Reaped   uint64 // orphans that were collected
}

// Stats returns the numbers of this moment. It costs a lock for each open
// connection.
func (a *App) Stats() Stats {
	s := Stats{
		Phase:  phases[a.phase.Load()],
		Step:   a.Shutdown.Running(),
		Ready:  a.Ready(),
		Reaped: a.Reaper.Stats().Reaped,
	}
	if servers := a.servers.Load(); servers != nil {
		for _, p := range servers.all {
			if c, ok := p.server.(interface{ inFlight() int }); ok {
				s.InFlight += c.inFlight()
			}
		}
	}
	return s
}

const (
	phaseStarting = iota + 1
	phaseServing
	phaseStopping
	phaseStopped
)

var phases = [...]string{"", "starting", "serving", "stopping", "stopped"}

func (h *httpServer) inFlight() int {
	if d := h.drain.Load(); d != nil {
		return d.InFlight()
	}
	return 0
}
