// SPDX-License-Identifier: MIT

package pid1

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// kubernetesDelay is for the time that a Kubernetes Service takes to stop routing
// to a pod. That is asynchronous and has no bound; 5 s is what users write into
// "preStop: sleep" hooks.
const kubernetesDelay = 5 * time.Second

// delaySlack is what the delay's step has beyond the delay. A process that stalls
// when the delay ends must not be told that the delay is stuck.
const delaySlack = time.Second

// A delay is how long the servers go on after a stop begins, and why.
type delay struct {
	d   time.Duration
	why string
}

// delayFor resolves App.Delay. The default is half of the grace at most; one that
// the user has set stays as it is.
func (a *App) delayFor(servers []*serverState, grace time.Duration) delay {
	switch {
	case a.Delay < 0:
		return delay{}
	case a.Delay > 0:
		return delay{a.Delay, "App.Delay"}
	case inKubernetes() && slices.ContainsFunc(servers, (*serverState).takesRequests):
		return delay{min(kubernetesDelay, grace/2), "default in Kubernetes, $KUBERNETES_SERVICE_HOST is set"}
	}
	return delay{}
}

// waitDelay lets the servers go on until the delay is over, or ended is closed, or
// ctx ends.
func (a *App) waitDelay(ctx context.Context, s *stop, ended <-chan struct{}, servers []*serverState) {
	defer s.delayOver()
	lasts := s.delay.d
	if end, ok := ctx.Deadline(); ok && time.Until(end) < lasts {
		lasts = time.Until(end) * 9 / 10 // a process that is late then is not stuck
		a.log().Warn("delay cut short: the steps after it need the rest of the grace", "delay", s.delay.d, "lasts", lasts)
	}
	over := time.NewTimer(lasts)
	defer over.Stop()

	a.arrivals.start() // before the servers count them
	for _, srv := range servers {
		srv.startDraining()
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
		case <-quiet: // a request may have come meanwhile
		case <-over.C:
			return
		case <-ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// arrivals knows how long ago the last request came, of those that count.
type arrivals struct {
	began  time.Time                // of the delay
	last   atomic.Int64             // since began, ns
	probes atomic.Pointer[[]string] // the URIs under which ReadyHandler was reached
}

// maxProbes bounds them, since clients choose the query.
const maxProbes = 8

func (a *arrivals) start() { a.began = time.Now() }

// sawProbe records that r reached ReadyHandler.
func (a *arrivals) sawProbe(r *http.Request) {
	if a.isProbe(r) {
		return
	}
	old := a.probes.Load()
	uris := []string{r.RequestURI}
	if old != nil {
		uris = append(uris, (*old)[:min(len(*old), maxProbes-1)]...)
	}
	a.probes.CompareAndSwap(old, &uris) // if another came first, this one comes again
}

// isProbe reports whether r is a readiness probe, or one of the kubelet's.
func (a *arrivals) isProbe(r *http.Request) bool {
	uris := a.probes.Load()
	return uris != nil && slices.Contains(*uris, r.RequestURI) || strings.HasPrefix(r.UserAgent(), "kube-probe/")
}

// count counts r, unless it is a probe.
func (a *arrivals) count(r *http.Request) {
	if !a.isProbe(r) {
		a.last.Store(int64(time.Since(a.began)))
	}
}

// since is how long no request that counts has come, in this delay.
func (a *arrivals) since() time.Duration { return time.Since(a.began) - time.Duration(a.last.Load()) }
