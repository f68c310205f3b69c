package pid1

import (
	"fmt"
	"net/http"
	"syscall"
)

// ReadyHandler answers a readiness probe: 200 while Ready, else 503. In Kubernetes,
// when SIGTERM began the stop, it goes on with 200 until the delay is over: the pod
// leaves its Services anyway, and where it is the last one, requests are still sent
// to it as long as its probe passes. Do not use ReadyHandler for liveness: a
// process that drains is alive.
func (a *App) ReadyHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.arrivals.sawProbe(r)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if !a.Ready() && !a.stillRouted() {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready")
			return
		}
		fmt.Fprintln(w, "ready")
	})
}

// stillRouted reports whether Kubernetes has begun to end the pod, and the delay
// lasts. Then readiness no longer takes the pod out of its Services, since being
// terminating does; but kube-proxy falls back on terminating pods that are ready
// when there are no others (KEP-1669). A stop that began otherwise is not known to
// Kubernetes: there the probe has to fail.
func (a *App) stillRouted() bool {
	s := a.current.Load()
	if s == nil || !inKubernetes() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	by, ok := s.cause.(*SignalError)
	return ok && by.Signal == syscall.SIGTERM && s.delayEnd != nil
}
