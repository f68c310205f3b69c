// SPDX-License-Identifier: MIT

package pid1_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/pid1"
	"github.com/entrypoint-go/entrypoint/shutdown"
)

var (
	orders    = flag.Int("orders", 20, "random InOrders for TestInOrderPromises")
	orderSeed = flag.Uint64("orders.seed", 0, "run TestInOrderPromises with this one only")
)

// TestInOrderPromises: whatever the servers of random InOrders do, each of them is
// in the report once, with how it ended, and begins to stop when the one after it
// has ended or was given up on.
func TestInOrderPromises(t *testing.T) {
	t.Parallel()
	slow(t)
	if *orderSeed != 0 {
		testOrder(t, *orderSeed)
		return
	}
	var running sync.WaitGroup
	for range *orders {
		running.Go(func() { testOrder(t, rand.Uint64()) })
	}
	running.Wait()
}

// An orderWorld is what the servers of one App do.
type orderWorld struct {
	rand    *rand.Rand
	kinds   map[string]string // what each server does when it should stop, by name
	chains  map[string]int    // the chain that each server is in, 0 is none
	release chan struct{}     // ends those that hang
	started sync.Map          // names of those that have been called
	dies    string            // the server that ends by itself
}

var orderStates = map[string]shutdown.State{
	"ok": shutdown.OK, "fails": shutdown.Failed, "hangs": shutdown.Stuck,
	"panics": shutdown.OK, // the panic is an error of Run, once
}

// draw makes n servers or chains of them.
func (w *orderWorld) draw(n, depth, chain int) (servers []pid1.Server) {
	for range n {
		if depth > 0 && w.rand.IntN(3) == 0 {
			inner := chain
			if inner == 0 {
				inner = len(w.kinds) + 1
			}
			servers = append(servers, pid1.InOrder(w.draw(1+w.rand.IntN(3), depth-1, inner)...))
			continue
		}
		name := fmt.Sprintf("s%02d", len(w.kinds))
		kind := []string{"ok", "ok", "ok", "fails", "panics", "hangs"}[w.rand.IntN(6)]
		w.kinds[name], w.chains[name] = kind, chain
		servers = append(servers, pid1.Named(name, pid1.Func(func(ctx context.Context) error {
			w.started.Store(name, true)
			if name == w.dies {
				return nil
			}
			<-ctx.Done()
			switch kind {
			case "fails":
				return errors.New("boom")
			case "panics":
				panic("boom")
			case "hangs":
				<-w.release
			}
			return nil
		})))
	}
	return servers
}

func testOrder(t *testing.T, seed uint64) {
	w := &orderWorld{rand: rand.New(rand.NewPCG(seed, 0)), kinds: map[string]string{}, chains: map[string]int{}, release: make(chan struct{})}
	servers := w.draw(1+w.rand.IntN(3), 2, 0)
	if w.rand.IntN(3) == 0 {
		w.dies = "s00"
	}
	app := pid1.App{Logger: discard, Shutdown: shutdown.Pipeline{Grace: 8 * time.Second, Reserve: 500 * time.Millisecond}}
	reports := reportOf(&app)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if w.dies == "" {
		go func() { <-stopWhenReady(&app); cancel() }()
	}
	stalled := stalls(t)
	err := app.Run(ctx, servers...)
	close(w.release)
	if lost := stalled(); lost > 2*time.Second {
		t.Logf("not judged: the machine has stalled for %v", lost)
		return
	}
	report := <-reports
	fail := func(format string, args ...any) {
		t.Errorf("-orders.seed=%d: %s: %v, dies %q\n%s", seed, fmt.Sprintf(format, args...), w.kinds, w.dies, report)
	}

	seen, last := map[string]bool{}, map[int]shutdown.Step{}
	var visit func(steps []shutdown.Step)
	visit = func(steps []shutdown.Step) {
		for _, s := range steps {
			visit(s.Members)
			if !strings.HasPrefix(s.Name, "s0") && !strings.HasPrefix(s.Name, "s1") && !strings.HasPrefix(s.Name, "s2") {
				continue
			}
			want := orderStates[w.kinds[s.Name]]
			if _, started := w.started.Load(s.Name); !started || s.Name == w.dies { // or the end of dies came first
				want = shutdown.OK
			}
			if seen[s.Name] || s.State != want {
				fail("%s: %v, seen before: %v; want %v", s.Name, s, seen[s.Name], want)
			}
			seen[s.Name] = true
			chain := w.chains[s.Name]
			if before, ok := last[chain]; ok && chain != 0 && (before.Name < s.Name || s.Start < before.Start+before.Took) {
				fail("%v begins at %v, after %v at %v", s, s.Start, before, before.Start)
			}
			last[chain] = s
		}
	}
	visit(report.Steps)
	for name, kind := range w.kinds {
		if _, started := w.started.Load(name); started && kind == "panics" && name != w.dies && pid1.ExitCode(err) != 2 {
			fail("%s panicked, exit code %d", name, pid1.ExitCode(err))
		}
	}
	if len(seen) != len(w.kinds) {
		fail("%d servers in the report, want %d", len(seen), len(w.kinds))
	}
}
