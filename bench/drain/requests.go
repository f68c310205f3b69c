// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

// clients is how many there are at once: connections over HTTP/1.1, streams
// over HTTP/2.
const clients = 20

// grace is what a stop under load may take.
const grace = 2 * time.Second

// freeze is a pause that clients make only when the machine lets none of them
// run. Any server closes a connection that is silent for long; whoever then
// wakes up and sends at that moment has a lost request, through no fault of
// the stop. Stops with such a pause are left out, for all subjects alike.
const freeze = 50 * time.Millisecond

func (b *bench) requests() (*report.Section, error) {
	second, err := start(job{Subject: plain, Grace: grace})
	if err != nil {
		return nil, err
	}
	defer second.kill()

	r := report.Results{}
	for run := range b.runs {
		tallies := map[string]*tally{}
		for _, name := range order {
			tallies[name] = newTally()
		}
		err := inTurn(b.stops, func(name string) error {
			return tallies[name].stop(name, second.addr)
		})
		if err != nil {
			return nil, err
		}
		for _, name := range order {
			t := tallies[name]
			r.Add(name, t.count)
			fmt.Fprintf(os.Stderr, "drain: run %d, %s: %v, why: %v\n", run+1, name, t.count, t.causes)
		}
	}
	return &report.Section{
		Title: "Requests lost in a stop, HTTP/1.1",
		About: fmt.Sprintf(`%d clients with a keep-alive connection each send POST and GET in turn, with pauses of up to
			2 ms, while the server gets SIGTERM. They go to a second server when a dial is refused, notice when an
			idle connection was closed, and repeat nothing: what gets no response is lost. %d stops a run; the
			losses of each of %d runs. Left out: stops in which the machine was so busy that a client was silent
			for %v, which says nothing of the server; what was lost in these is in parentheses.`,
			clients, b.stops, b.runs, freeze),
		Head: []string{"stop by", "POST lost", "GET lost", "POST sent", "GET sent", "lost a stop", "left out"},
		Rows: r.Table(order, title, func(f map[string][]float64) []string {
			lost := report.Sum(f["POST lost"]) + report.Sum(f["GET lost"])
			return []string{
				report.List(f["POST lost"]), report.List(f["GET lost"]),
				report.Number(report.Sum(f["POST"])), report.Number(report.Sum(f["GET"])),
				report.Number(lost / float64(b.stops*b.runs)),
				fmt.Sprintf("%.0f (%.0f)", report.Sum(f["left out"]), report.Sum(f["lost in these"])),
			}
		}),
	}, nil
}

// stop stops a busy server, and again if the machine spoiled that.
func (t *tally) stop(name, second string) error {
	const most = 20
	for again := 0; ; again++ {
		one := newTally()
		pause, err := one.stopUnderLoad(name, second)
		if err != nil {
			return err
		}
		if pause < freeze || again == most {
			t.add(one)
			return nil
		}
		t.count["left out"]++
		t.count["lost in these"] += one.count["POST lost"] + one.count["GET lost"]
	}
}

// stopUnderLoad stops a busy server, and tells the longest pause of a client.
func (t *tally) stopUnderLoad(name, second string) (pause time.Duration, err error) {
	first, err := start(job{Subject: name, Grace: grace})
	if err != nil {
		return 0, err
	}
	defer first.kill() // when all have gone it has nothing more to lose

	pid := strconv.Itoa(first.cmd.Process.Pid)
	var busy, warm sync.WaitGroup
	var stuck [clients]error
	var pauses [clients]time.Duration
	for i := range clients {
		warm.Add(1)
		busy.Go(func() {
			k := &keepAlive{backends: []string{first.addr, second}}
			defer k.close()
			t.send(k, http.MethodGet)
			warm.Done()
			n := i
			stuck[i] = untilElsewhere(pid, func() string {
				n++
				time.Sleep(rand.N(2 * time.Millisecond))
				return t.send(k, []string{http.MethodGet, http.MethodPost}[n%2])
			})
			pauses[i] = k.pause
		})
	}
	warm.Wait()
	time.Sleep(20*time.Millisecond + rand.N(20*time.Millisecond))
	err = first.stop()
	busy.Wait()
	return slices.Max(pauses[:]), errors.Join(append(stuck[:], err)...)
}

// untilElsewhere calls send until its requests have been answered by another
// server than pid several times in a row.
func untilElsewhere(pid string, send func() (pid string)) error {
	return untilElsewhereTimes(5, pid, send)
}

func untilElsewhereTimes(enough int, pid string, send func() (pid string)) error {
	began := time.Now()
	for elsewhere := 0; elsewhere < enough; {
		switch send() {
		case pid:
			elsewhere = 0
		case "": // lost
		default:
			elsewhere++
		}
		if time.Since(began) > timeLimit {
			return fmt.Errorf("still served by a server that had to stop, or by none, after %v", timeLimit)
		}
	}
	return nil
}

// A tally counts requests, and why they were lost.
type tally struct {
	mu     sync.Mutex // guards the rest
	count  report.Figures
	causes map[string]int
}

func newTally() *tally {
	return &tally{
		count:  report.Figures{"POST": 0, "GET": 0, "POST lost": 0, "GET lost": 0, "left out": 0, "lost in these": 0},
		causes: map[string]int{},
	}
}

func (t *tally) add(one *tally) {
	for name, n := range one.count {
		t.count[name] += n
	}
	for why, n := range one.causes {
		t.causes[why] += n
	}
}

// send sends a request and returns who answered.
func (t *tally) send(k *keepAlive, method string) (pid string) {
	pid, err := k.do(method)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count[method]++
	if err == nil {
		return pid
	}
	t.count[method+" lost"]++
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	t.causes[err.Error()]++
	return ""
}
