// SPDX-License-Identifier: MIT

package pid1

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/shutdown"
)

// A serverState is one server as App runs it.
type serverState struct {
	server Server
	name   string
	call   *call    // of ListenAndServe; nil before
	job    jobRules // nil for others

	members []*serverState // of a chain, in the order of the start; nil for others
	inChain bool

	blamed    bool // its end began the stop, which then reports its error
	completed bool // a job that returned nil before the stop began
}

// servers are those of an App as given to Run: a chain, not its members.
type servers []*serverState

// all are the servers that run: the members of a chain, not the chain.
func (s servers) all() (all []*serverState) {
	for _, p := range s {
		if p.members != nil {
			all = append(all, p.members...)
		} else {
			all = append(all, p)
		}
	}
	return all
}

// interrupted returns an error for each job that is not done, which it will not be any
// more.
func (s servers) interrupted(cause error) (errs []error) {
	for _, p := range s.all() {
		if p.job != nil && !p.completed {
			errs = append(errs, p.job.interrupted(p.name, cause))
		}
	}
	return errs
}

// newServers checks the servers and names them. With an error it returns those
// that are valid, for release.
func newServers(list []Server) (*servers, error) {
	s := new(servers)
	if len(list) == 0 {
		return s, errors.New("pid1: Run: no server: pass an *http.Server, a pid1.Func or another Server")
	}
	err := s.add("Run", list, nil)
	taken := map[string]bool{}
	for _, p := range s.all() {
		for name, n := p.name, 2; taken[p.name]; n++ {
			p.name = fmt.Sprintf("%s %d", name, n)
		}
		taken[p.name] = true
	}
	return s, err
}

// add adds the servers that were given to a function, to the chain unless that is
// nil.
func (s *servers) add(to string, list []Server, into *serverState) (first error) {
	for i, server := range list {
		state, problem := newServer(server)
		var err error
		if problem != "" {
			err = fmt.Errorf("pid1: %s: server %d of %d is %s", to, i+1, len(list), problem)
		} else if c, ok := state.server.(chain); ok {
			err = c.addTo(s, state, into)
		} else if state.inChain = into != nil; state.inChain {
			into.members = append(into.members, state)
		} else {
			*s = append(*s, state)
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// String names the servers for the log.
func (s servers) String() string {
	list := make([]string, len(s))
	for i, p := range s {
		list[i] = p.title()
		if c, ok := p.server.(chain); ok {
			list[i] = c.describe(p.members)
		}
	}
	return strings.Join(list, ", ")
}

// newServer says what is wrong with s, if it cannot run.
func newServer(s Server) (state *serverState, problem string) {
	state = &serverState{}
	for n, ok := s.(*named); ok; n, ok = s.(*named) {
		if s = n.Server; state.name == "" {
			state.name = n.name
		}
	}
	if isNil(s) {
		return nil, fmt.Sprintf("nil (%T)", s)
	}
	switch typed := s.(type) {
	case *http.Server:
		s = &httpServer{srv: typed}
	case *worker:
		state.job = typed.job
	case program:
		if problem := typed.problem(); problem != "" {
			return nil, problem
		}
	}
	state.server = s
	state.name = cmp.Or(state.name, state.ownName())
	if state.name == "" {
		state.name = fmt.Sprintf("%T", s)
	}
	return state, ""
}

// isNil reports whether s is nil or holds a nil pointer, map or the like.
func isNil(s Server) bool {
	if s == nil {
		return true
	}
	switch v := reflect.ValueOf(s); v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan, reflect.Interface:
		return v.IsNil()
	}
	return false
}

// InOrder makes a Server of several that depend on each other. It starts them
// first to last and stops them last to first, each one drained before the next
// one is told to stop. With
//
//	pid1.InOrder(metrics, worker, srv)
//
// the last request of srv may hand work to worker, and metrics answers until both
// are done. Servers beside it in Run start and stop at the same time as it does.
// An InOrder inside another one is as if its servers stood there themselves.
//
// All ports are taken before the first server starts. Then the next one starts
// when the one before it listens, or its program has been started ([Command]), or
// it has been called (Func and all others). The end of any of them stops the App.
// When a stop begins, those that have not been started are not.
//
// Each server has a name and times of its own in log and report. It may use all
// the time that the stop has left, less one Reserve (of [shutdown.Pipeline]) and some
// milliseconds for each server that stops after it: one that hangs takes nothing
// from the others.
// When the time is up or the stop is forced, those that are left stop at once.
//
// InOrder panics when there are no servers.
func InOrder(s ...Server) Server {
	if len(s) == 0 {
		panic("pid1: InOrder: no server")
	}
	return &ordered{slices.Clone(s)}
}

type ordered struct{ servers []Server }

// A chain is a server that consists of others, which run in place of it. It is an
// interface so that only programs that call InOrder link ordered.
type chain interface {
	addTo(s *servers, p, into *serverState) error // adds p, with its members
	stops(members []*serverState) []shutdown.Hook // in the order of the stop
	stopAll(ctx context.Context, stops []shutdown.Hook) error
	describe(members []*serverState) string
}

func (o *ordered) name() string { return "in order" }

func (o *ordered) addTo(s *servers, p, into *serverState) error {
	if into == nil {
		into = p
		*s = append(*s, p)
	}
	return s.add("InOrder", o.servers, into)
}

// describe is "a > b".
func (o *ordered) describe(members []*serverState) string {
	list := make([]string, len(members))
	for i, p := range members {
		list[i] = p.title()
	}
	return strings.Join(list, " > ")
}

func (o *ordered) stops(members []*serverState) []shutdown.Hook {
	hooks := make([]shutdown.Hook, len(members))
	for i, p := range members {
		hooks[len(hooks)-1-i] = p.hook()
	}
	return hooks
}

// overrun is kept beside the share of each server of an InOrder: one that ignores the
// end of its time is given up on some milliseconds after that.
const overrun = 20 * time.Millisecond

// stopAll runs the stops one after the other, supervised like the steps of the stop.
func (o *ordered) stopAll(ctx context.Context, stops []shutdown.Hook) error {
	deadline, limited := ctx.Deadline()
	left := time.Until(deadline)
	each := left / time.Duration(len(stops))
	late := min(overrun, each/2)
	share := left / 20
	if s, ok := ctx.Value(stopKey{}).(*stop); ok {
		share = s.app.Shutdown.Reserve
	}
	share = min(share, each-late)

	errs := make([]error, len(stops))
	var running sync.WaitGroup
	for i, h := range stops {
		if after := time.Duration(len(stops) - 1 - i); limited && after > 0 {
			h.Timeout = max(1, share, time.Until(deadline)-late-after*(share+late))
		}
		done := make(chan struct{})
		running.Go(func() {
			defer close(done)
			errs[i] = shutdown.Parallel(h)(ctx)
		})
		select {
		case <-done:
		case <-ctx.Done(): // the others must not wait for one that ignores it
		}
	}
	running.Wait()
	return errors.Join(errs...)
}

// ListenAndServe and Shutdown are for a Server that wraps this one: App does not
// see inside.

func (o *ordered) ListenAndServe() error {
	ended := make(chan error, len(o.servers))
	for _, s := range o.servers {
		goCall("InOrder", s.ListenAndServe, func(err error) { ended <- err })
	}
	return <-ended
}

func (o *ordered) Shutdown(ctx context.Context) error {
	stops := make([]shutdown.Hook, len(o.servers))
	for i, s := range o.servers {
		stops[i].Func = s.Shutdown
	}
	slices.Reverse(stops)
	return o.stopAll(ctx, stops)
}

// hasAddr reports whether the address, or one with its port, is in the name.
func hasAddr(name string, addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return strings.Contains(name, addr.String())
	}
	return slices.ContainsFunc(strings.Fields(name), func(word string) bool { return portOf(word) == tcp.Port })
}

// portOf is the port in an address that net.Listen takes: 0 is any, and -1 one that
// is not a number.
func portOf(addr string) int {
	_, port, err := net.SplitHostPort(addr)
	n, portErr := strconv.Atoi(cmp.Or(port, "0"))
	if err != nil || portErr != nil {
		return -1
	}
	return n
}

// serveAll starts the servers, those of a chain one after the other. It returns when
// programs run, too.
func serveAll(s *stop, servers []*serverState) {
	for _, p := range servers {
		switch {
		case !p.inChain:
			p.serve(s)
		case s.start.Err() == nil:
			p.serve(s)
			p.awaitStart(s.begun)
		}
	}
	for _, p := range servers {
		if p.startsLate() && !p.inChain {
			p.awaitStart(s.begun)
		}
	}
}

// startsLate reports whether it takes more than a goroutine until the server serves.
func (p *serverState) startsLate() bool {
	_, ok := p.server.(program)
	return ok || p.inChain
}
