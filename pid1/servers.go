package pid1

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
)

// A serverState is one server as App runs it.
type serverState struct {
	server Server
	name   string
	call   *call // of ListenAndServe; nil before
	job    bool

	members []*serverState // of a chain, in the order of the start; nil for others
	inChain bool

	blamed    bool // its end began the stop, which then reports its error
	completed bool // a job that returned nil before the stop began
}

// servers are those of an App.
type servers struct {
	all   []*serverState // that run: the members of a chain, not the chain
	top   []*serverState // as given to Run: the chain, not its members
	into  *serverState   // the chain that add adds to, or nil
	taken map[string]bool
}

// newServers checks the servers and names them. With an error it returns those
// that are valid, for release.
func newServers(list []Server) (*servers, error) {
	s := &servers{taken: map[string]bool{}}
	if len(list) == 0 {
		return s, errors.New("pid1: Run: no server: pass an *http.Server, a pid1.Func or another Server")
	}
	return s, s.add("Run", list)
}

// add adds the servers that were given to a function.
func (s *servers) add(to string, list []Server) (first error) {
	for i, server := range list {
		state, problem := newServer(server)
		var err error
		if problem != "" {
			err = fmt.Errorf("pid1: %s: server %d of %d is %s", to, i+1, len(list), problem)
		} else if c, ok := state.server.(chain); ok {
			err = c.addTo(s, state)
		} else {
			s.addOne(state)
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// addOne adds a server that runs, with a name of its own.
func (s *servers) addOne(p *serverState) {
	for name, n := p.name, 2; s.taken[p.name]; n++ {
		p.name = fmt.Sprintf("%s %d", name, n)
	}
	s.taken[p.name] = true
	s.all = append(s.all, p)
	if p.inChain = s.into != nil; p.inChain {
		s.into.members = append(s.into.members, p)
	} else {
		s.top = append(s.top, p)
	}
}

// String names the servers for the log.
func (s *servers) String() string {
	list := make([]string, len(s.top))
	for i, p := range s.top {
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
	case *Child:
		if typed.Cmd == nil {
			return nil, "a Child whose Cmd is nil"
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
