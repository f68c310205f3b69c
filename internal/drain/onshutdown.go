package drain

import (
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Shutdown calls the functions of RegisterOnShutdown each time it is called. A
// user's Shutdown beside or after ours would call them a second time, and where
// one closes a channel, that ends the process. Only who takes them away from the
// server can prevent it, and they are in a field that is not exported.

// privateServer finds those fields of an http.Server. ok is false with a net/http
// that has others.
var privateServer = sync.OnceValues(func() (at struct{ mu, inShutdown, onShutdown uintptr }, ok bool) {
	server := reflect.TypeFor[http.Server]()
	offset := func(name string, t reflect.Type) uintptr {
		f, found := server.FieldByName(name)
		ok = ok && found && f.Type == t
		return f.Offset
	}
	ok = true
	at.mu = offset("mu", reflect.TypeFor[sync.Mutex]())
	at.inShutdown = offset("inShutdown", reflect.TypeFor[atomic.Bool]())
	at.onShutdown = offset("onShutdown", reflect.TypeFor[[]func()]())
	return at, ok
})

// takeOnShutdown takes the functions that srv.Shutdown calls. stopped reports
// whether Shutdown, which may have called them, or Close was called before.
func takeOnShutdown(srv *http.Server) (functions []func(), stopped, ok bool) {
	at, ok := privateServer()
	if !ok {
		return nil, false, false
	}
	mu := (*sync.Mutex)(unsafe.Add(unsafe.Pointer(srv), at.mu))
	list := (*[]func())(unsafe.Add(unsafe.Pointer(srv), at.onShutdown))
	mu.Lock()
	defer mu.Unlock()
	functions, *list = *list, nil
	return functions, (*atomic.Bool)(unsafe.Add(unsafe.Pointer(srv), at.inShutdown)).Load(), true
}

// callOnShutdown calls the functions of RegisterOnShutdown, unless the user has by
// calling Shutdown. Later calls of that do not call them.
func (h *server) callOnShutdown() {
	functions, stopped, ok := takeOnShutdown(h.srv)
	if !ok || stopped && h.wasShutDown() {
		return // if not ok, Shutdown calls them
	}
	for _, f := range functions {
		if h.Go != nil {
			h.Go(f)
		} else {
			go f()
		}
	}
}

// wasShutDown reports whether Shutdown was called, and not Close: it calls a
// function of ours, in a goroutine that had to begin by now. We count ticks, not
// time: on a starved machine much time passes in which nothing ran.
func (h *server) wasShutDown() bool {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for range int(drainWindow / tick) {
		select {
		case <-h.shutDown:
			return true
		case <-ticks.C:
		}
	}
	return false
}
