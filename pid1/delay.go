package pid1

import (
	"context"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// kubernetesDelay is for the time that a Kubernetes Service takes to stop
// routing to a pod. It is asynchronous and has no bound; 5 s is what its users
// write into "preStop: sleep" hooks.
const kubernetesDelay = 5 * time.Second

// delaySlack is what the delay's step has beyond the delay. A process that stalls
// when the delay ends, as under load, must not be told that the delay is stuck.
const delaySlack = time.Second

// delay resolves Delay.
func (a *App) delay(parts []*part) time.Duration {
	switch {
	case a.Delay < 0:
		return 0
	case a.Delay > 0:
		return a.Delay
	case os.Getenv("KUBERNETES_SERVICE_HOST") == "":
		return 0
	}
	for _, p := range parts {
		if p.network() {
			return kubernetesDelay
		}
	}
	return 0
}

// waitDelay lets the servers go on until the delay is over, which ends ctx.
func (a *App) waitDelay(ctx context.Context, s *stop, parts []*part) {
	hurried := s.delay()
	defer s.endDelay()
	over := time.NewTimer(s.wait)
	defer over.Stop()

	a.arrivals.start() // before the servers count them
	for _, p := range parts {
		if d, ok := p.server.(drainer); ok {
			d.startDraining()
		}
	}
	for {
		var quiet <-chan time.Time
		if a.Quiet > 0 {
			left := a.Quiet - a.arrivals.since()
			if left <= 0 {
				return
			}
			quiet = time.After(left)
		}
		select {
		case <-quiet: // look again: a request may have come
		case <-over.C:
			return
		case <-hurried:
			return
		case <-ctx.Done():
			return
		}
	}
}

// arrivals tells how long ago the last request came, of those that count.
type arrivals struct {
	began  time.Time                // of the delay
	last   atomic.Int64             // since began, ns
	probes atomic.Pointer[[]string] // the URIs under which ReadyHandler was reached
}

// probesMost bounds them, since clients choose the query.
const probesMost = 8

func (a *arrivals) start() { a.began = time.Now() }

// probed notes that r reached ReadyHandler.
func (a *arrivals) probed(r *http.Request) {
	if a.probe(r) {
		return
	}
	old := a.probes.Load()
	uris := []string{r.RequestURI}
	if old != nil {
		uris = append(uris, (*old)[:min(len(*old), probesMost-1)]...)
	}
	a.probes.CompareAndSwap(old, &uris) // if another came first, this one comes again
}

// probe reports whether r is a readiness probe, or one of the kubelet's.
func (a *arrivals) probe(r *http.Request) bool {
	uris := a.probes.Load()
	return uris != nil && slices.Contains(*uris, r.RequestURI) || strings.HasPrefix(r.UserAgent(), "kube-probe/")
}

// count counts r, unless it is a probe.
func (a *arrivals) count(r *http.Request) {
	if !a.probe(r) {
		a.last.Store(int64(time.Since(a.began)))
	}
}

// since is how long no request that counts has come, in this delay.
func (a *arrivals) since() time.Duration { return time.Since(a.began) - time.Duration(a.last.Load()) }
